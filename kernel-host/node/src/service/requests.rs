//! Requests in, replies out.
//!
//! Does:      reads the body within its limits, has the request answered by whoever has to
//!            (`route`), else parses it, asks the cloud and upgrades consoles.
//! Does not:  know sockets (`server`) or paths (`api`).
//! Bounds:    the route's body limit; `BODY_MS` for all of a body.
//! Trusts:    nobody.
//! Start at:  `answer`.

use super::cluster::boxed;
use super::route::{self, Asked, respond};
use super::server::{Upgrade, Upgrades};
use super::{Node, count};
use crate::supervision::{End, ToInit};
use api::{Call, Reply, RequestHead};
use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use protocol::{Code, Command, NodeState, PowerReply, Problem, Selector, Wish};
use std::rc::Rc;
use tungstenite::handshake::derive_accept_key;

/// A megabyte over a bad line takes a few seconds.
const BODY_MS: u64 = 30_000;

type Answer = Response<Full<Bytes>>;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A person or program; this node finds whoever has to answer.
    Client,
    /// Another node, for its client. What it asks ends here.
    Peer,
}

/// The reply to one request.
pub(crate) async fn answer(
    node: &Rc<Node>,
    origin: Origin,
    upgrades: &Upgrades,
    request: Request<Incoming>,
) -> Answer {
    count(&node.counters.requests);
    let request_id = format!("r-{}", node.counters.requests.get());
    let (parts, body) = request.into_parts();
    let answer = match take(node, origin, upgrades, &parts, body).await {
        Ok(answer) => answer,
        Err(problem) => {
            count(&node.counters.problems);
            if problem.code == Code::Internal {
                node.line(
                    "error",
                    &format!("request {request_id}: {}", problem.detail),
                );
            }
            respond(Reply::problem(*problem, &request_id))
        }
    };
    let mut response = answer;
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert("x-request-id", value);
    }
    response
}

/// Reads the request whole, and has it answered where it belongs.
async fn take(
    node: &Rc<Node>,
    origin: Origin,
    upgrades: &Upgrades,
    parts: &Parts,
    body: Incoming,
) -> Result<Answer, Box<Problem>> {
    let head = RequestHead::from(parts);
    let most = api::body_max(&head)?;
    let body = node.executor.timeout(BODY_MS, read_body(body, most)).await;
    let body = body.map_err(|_| {
        let detail = format!("The body did not arrive within {} s", BODY_MS / 1000);
        Box::new(Problem::new(
            Code::BadRequest,
            detail,
            "Send it faster, or in smaller pieces",
        ))
    })??;
    let wish = api::wish(&head)?;
    let asked = Asked {
        upgrades,
        parts,
        wish: wish.clone(),
        body: Bytes::from(body),
    };
    if origin == Origin::Client
        && node.has_peers()
        && let Some(answer) = route::elsewhere(node, &asked).await?
    {
        return Ok(answer);
    }
    if origin == Origin::Peer
        && let Some(answer) = route::for_absent_host(node, &asked).await?
    {
        return Ok(answer);
    }
    // The only holder by now: the bytes are taken back, not copied.
    let call = api::parse(&head, asked.body.into())?;
    match call {
        Call::Console { vm, since, take } => upgrade(node, upgrades, parts, &vm, since, take),
        call => match super::cluster::answer(node, &call, &wish).await {
            Some(reply) => reply.map(respond),
            None => match known(node, origin, &call, &wish)? {
                Some(reply) => Ok(respond(reply)),
                None => here(node, call).await.map(respond),
            },
        },
    }
}

/// What can be read off the atlas. A forwarded question about a VM is for its host's own tables.
fn known(
    node: &Node,
    origin: Origin,
    call: &Call,
    wish: &Wish,
) -> Result<Option<Reply>, Box<Problem>> {
    let Call::Cloud(request) = call else {
        return Ok(None);
    };
    let own = matches!(request.command, Command::ShowVm(_)) && origin == Origin::Peer;
    if own {
        return Ok(None);
    }
    let answer = node.atlas().answer(&request.command, wish).transpose();
    Ok(answer.map_err(boxed)?.map(|answer| Reply::answer(&answer)))
}

async fn read_body(mut body: Incoming, most: usize) -> Result<Vec<u8>, Box<Problem>> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let broken = |error: hyper::Error| {
            let detail = format!("The body could not be read: {error}");
            Problem::new(Code::BadRequest, detail, "Send the request again")
        };
        if let Ok(data) = frame.map_err(broken)?.into_data() {
            if bytes.len() + data.len() > most {
                return Err(Box::new(api::too_large(most)));
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes)
}

/// This node's own answer.
pub(super) async fn here(node: &Rc<Node>, call: Call) -> Result<Reply, Box<Problem>> {
    match call {
        Call::Home => Ok(Reply::home(node.standing.borrow().name())),
        Call::OpenApi => Ok(Reply::openapi()),
        Call::ShowNode => Ok(Reply::node(&node.describe())),
        Call::ShowEnergy => Ok(Reply::listed(&node.show_energy())),
        Call::Metrics => Ok(Reply::text(super::energy::metrics(&node.show_energy()))),
        Call::PowerOff => Ok(end(node, End::PowerOff)),
        Call::Reboot => Ok(end(node, End::Reboot)),
        Call::Cloud(request) => {
            refuse_when_going_down(node, &request.command)?;
            if matches!(request.command, Command::CreateVm(_) | Command::StartVm(_)) {
                node.need_kvm().await?;
            }
            match node.command(request) {
                Ok(answer) => Ok(Reply::answer(&node.atlas().dress(answer))),
                Err(refusal) => Err(Box::new(refusal.into())),
            }
        }
        Call::ConsoleLog { vm } => {
            let vm = node
                .cloud
                .borrow()
                .vm(&vm)
                .map(|vm| vm.id)
                .map_err(Problem::from)?;
            Ok(Reply::text(node.console(vm).scrollback()))
        }
        _ => {
            let detail = "A request reached the wrong part of the node";
            Err(Box::new(Problem::new(
                Code::Internal,
                detail,
                "Report this",
            )))
        }
    }
}

fn end(node: &Node, how: End) -> Reply {
    node.parent.say(&ToInit::Wish(how));
    Reply::power(&PowerReply {
        node: node.facts.id.get(),
        state: NodeState::GoingDown,
    })
}

/// A node that ends takes no new work; it still shows, stops and deletes.
fn refuse_when_going_down(node: &Node, command: &Command) -> Result<(), Box<Problem>> {
    let new_work = matches!(
        command,
        Command::CreateVm(_)
            | Command::StartVm(_)
            | Command::ResetVm(_)
            | Command::CreateImage(_)
            | Command::PutBlob { .. }
    );
    if new_work && node.going_down.get() {
        let detail = "The node is going down and takes no new work";
        return Err(Box::new(Problem::new(
            Code::GoingDown,
            detail,
            "Use another node",
        )));
    }
    Ok(())
}

/// Accepts a WebSocket and leaves the console's client for the connection.
fn upgrade(
    node: &Node,
    upgrades: &Upgrades,
    parts: &Parts,
    vm: &Selector,
    since: Option<u64>,
    take: bool,
) -> Result<Answer, Box<Problem>> {
    let (id, state) = {
        let cloud = node.cloud.borrow();
        let vm = cloud.vm(vm).map_err(Problem::from)?;
        (vm.id, vm.state)
    };
    let header = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let key = header("sec-websocket-key").filter(|_| header("sec-websocket-version") == Some("13"));
    let key = key.ok_or_else(|| {
        let detail = "The WebSocket handshake lacks its key, or is not version 13";
        Problem::new(
            Code::BadRequest,
            detail,
            "Use a WebSocket client, such as: luc vm console",
        )
    })?;
    let console = node.console(id);
    let client = console.attach(since, take, state).map_err(|_| {
        let detail = format!("{} clients read this console already", console.clients());
        Problem::new(
            Code::Busy,
            detail,
            "Close one of them, or read the console/log",
        )
    })?;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
    upgrades.replace(Some(Upgrade::Console { console, client }));
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Ok(accept) = accept {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    Ok(response)
}
