//! Requests that another node has to answer.
//!
//! Does:      sends a request once over a stream to that node, and gives its answer back as it
//!            is; joins a client's console to the one over there.
//! Does not:  choose the node (`route`), or forward what was forwarded: that ends where it is.
//! Bounds:    `OPEN_MS` for the stream, `ANSWER_MS` for the answer, `ANSWER_BYTES_MAX` of it; the
//!            body is the one that was read, moved on and not copied.
//! Trusts:    the other node for its answer, not for its size or its patience.
//! Start at:  `forward`.

use super::Node;
use super::server::{Upgrade, Upgrades};
use super::streams::Stream;
use bytes::Bytes;
use cloud::Refusal;
use http::header::{CONNECTION, HOST, HeaderName, HeaderValue, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use protocol::{Code, NodeId, Problem, limits};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;

/// A session and a stream to a node far away are there within this, or the node is not.
const OPEN_MS: u64 = 5_000;
/// Beyond what a node may need for an answer, its longest wait for an event included.
const ANSWER_MS: u64 = match cfg!(test) {
    false => limits::EVENTS_WAIT_MS_MAX + 5_000,
    true => 2_000,
};
/// No answer of a node is longer.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Says that a request has been forwarded, and by that ends its journey.
pub(crate) const FORWARDED: HeaderName = HeaderName::from_static("luc-forwarded");
/// Names the node that answered.
const ANSWERED_BY: HeaderName = HeaderName::from_static("luc-answered-by");

/// What goes along; everything else of a head is between a client and its node.
const HEADERS_OUT: [&str; 6] = [
    "content-type",
    "idempotency-key",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-protocol",
    "accept",
];
const HEADERS_BACK: [&str; 7] = [
    "content-type",
    "cache-control",
    "location",
    "allow",
    "retry-after",
    "sec-websocket-accept",
    "sec-websocket-protocol",
];

type Answer = Response<Full<Bytes>>;

/// A stream to node `to`. An error means that it was asked nothing. `what`: what it has that is
/// asked for, for the case that it does not answer.
pub(super) async fn open(
    node: &Node,
    to: NodeId,
    what: Option<String>,
) -> Result<Stream, Box<Problem>> {
    let silent = |error: &dyn std::fmt::Display| silent(node, to, what.clone(), error);
    let peers = node.peers.borrow().clone();
    let peers = peers.ok_or_else(|| Box::new(super::cluster::no_cluster()))?;
    let opening = node.executor.timeout(OPEN_MS, peers.open_http(to)).await;
    opening
        .map_err(|_| silent(&"no stream came about in time"))?
        .map_err(|error| silent(&error))
}

/// The answer of node `to`. `target`: path and query as that node should see them. `what`: as in
/// `open`. An error leaves open whether it did what was asked.
pub(super) async fn forward(
    node: &Node,
    upgrades: &Upgrades,
    to: NodeId,
    request: (&Parts, &str),
    body: Bytes,
    what: Option<String>,
) -> Result<Answer, Box<Problem>> {
    let stream = open(node, to, what.clone()).await?;
    forward_over(stream, node, upgrades, (to, what), request, body).await
}

/// The same over a stream that is open.
pub(super) async fn forward_over(
    stream: Stream,
    node: &Node,
    upgrades: &Upgrades,
    (to, what): (NodeId, Option<String>),
    (parts, target): (&Parts, &str),
    body: Bytes,
) -> Result<Answer, Box<Problem>> {
    let silent = |error: &dyn std::fmt::Display| silent(node, to, what.clone(), error);
    let request = request(parts, target, body)?;
    let asked = node.executor.timeout(ANSWER_MS, ask(stream, request)).await;
    let (answer, left) = asked
        .map_err(|_| silent(&"no answer in time"))?
        .map_err(|error| silent(&error))?;
    if let Some((peer, ahead)) = left {
        upgrades.replace(Some(Upgrade::Relay { peer, ahead }));
    }
    let mut reply = Response::new(Full::new(answer.1));
    *reply.status_mut() = answer.0.status;
    copy(&answer.0.headers, reply.headers_mut(), &HEADERS_BACK);
    if reply.status() == StatusCode::SWITCHING_PROTOCOLS {
        set_upgrade(reply.headers_mut());
    }
    if let Ok(name) = HeaderValue::from_str(&to.to_string()) {
        reply.headers_mut().insert(ANSWERED_BY, name);
    }
    Ok(reply)
}

fn request(parts: &Parts, target: &str, body: Bytes) -> Result<Request<Full<Bytes>>, Box<Problem>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = target.parse().map_err(|error| {
        let detail = format!("The request can't be forwarded: {error}");
        Box::new(Problem::new(Code::Internal, detail, "Report this"))
    })?;
    let headers = request.headers_mut();
    copy(&parts.headers, headers, &HEADERS_OUT);
    if parts.headers.contains_key(UPGRADE) {
        set_upgrade(headers);
    }
    headers.insert(HOST, HeaderValue::from_static("node"));
    headers.insert(FORWARDED, HeaderValue::from_static("1"));
    Ok(request)
}

fn set_upgrade(headers: &mut HeaderMap) {
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
}

fn copy(from: &HeaderMap, to: &mut HeaderMap, names: &[&'static str]) {
    for name in names {
        if let Some(value) = from.get(*name) {
            to.insert(HeaderName::from_static(name), value.clone());
        }
    }
}

/// An answer whole, and the stream if it became something else than HTTP.
type Asked = ((http::response::Parts, Bytes), Option<(Stream, Vec<u8>)>);

/// One request and its answer on a stream of its own.
async fn ask(stream: Stream, request: Request<Full<Bytes>>) -> io::Result<Asked> {
    let (mut sender, connection) = http1::handshake(stream).await.map_err(io::Error::other)?;
    let mut connection = pin!(connection.without_shutdown());
    let mut over = None;
    let response = drive(connection.as_mut(), &mut over, sender.send_request(request));
    let response = response.await?.map_err(io::Error::other)?;
    let (head, body) = response.into_parts();
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        let parts = match over.take() {
            Some(parts) => parts,
            None => connection.await,
        };
        let parts = parts.map_err(io::Error::other)?;
        let left = (parts.io, parts.read_buf.to_vec());
        return Ok(((head, Bytes::new()), Some(left)));
    }
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect();
    let body = drive(connection.as_mut(), &mut over, body).await?;
    let body = body.map_err(io::Error::other)?.to_bytes();
    Ok(((head, body), None))
}

/// Waits for something that the connection has to be polled for.
async fn drive<C: Future, T>(
    mut connection: Pin<&mut C>,
    over: &mut Option<C::Output>,
    wanted: impl Future<Output = T>,
) -> io::Result<T> {
    let mut wanted = pin!(wanted);
    poll_fn(|cx| {
        if over.is_none()
            && let Poll::Ready(ended) = connection.as_mut().poll(cx)
        {
            *over = Some(ended);
        }
        wanted.as_mut().poll(cx).map(Ok)
    })
    .await
}

/// The node did not answer; says which, and why.
fn silent(
    node: &Node,
    to: NodeId,
    what: Option<String>,
    error: &dyn std::fmt::Display,
) -> Box<Problem> {
    let name = node.atlas().place(to).name;
    let refusal = Refusal::HostSilent { node: name, what };
    let mut problem = Problem::from(refusal);
    let detail = format!("{}: {error}", problem.detail);
    problem.detail = limits::shortened(&detail, 500);
    Box::new(problem)
}
