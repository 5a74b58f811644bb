//! The HTTP server on one network card's stack, and on streams of other nodes.
//!
//! Does:      accepts, serves HTTP/1.1 with keep-alive, hands upgraded connections to consoles.
//! Does not:  know the API; `requests` does.
//! Bounds:    `CONNECTIONS_MAX` on all cards together, then new ones wait in the backlog;
//!            `PEERS_MAX` streams of other nodes;
//!            `HEADER_BYTES_MAX`, `HEADERS_MAX`, `IDLE` between requests and for each header.
//! Trusts:    nobody.
//! Start at:  `listen`.

use super::requests::Origin;
use super::streams::{self, Stream};
use super::watched::Watched;
use super::{Node, count, requests};
use crate::console::Console;
use crate::console::session::{self, End};
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use netio::executor::HyperTimer;
use netio::host::{HostStack, TcpListener, TcpStream};
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

/// Where the API lives until it has certificates.
pub(crate) const PORT: u16 = 80;
/// Connections at once. Each may cost 128 KiB of buffers.
const CONNECTIONS_MAX: usize = 64;
/// Streams of other nodes that are served at once; more are closed, and that node says so.
const PEERS_MAX: u64 = 32;
/// Connections that wait for `accept`.
const BACKLOG: usize = 16;
/// A request's whole head. At it: 431 and the end of the connection.
const HEADER_BYTES_MAX: usize = 32 * 1024;
const HEADERS_MAX: usize = 64;
/// A connection without a request for so long is closed; so is one whose head takes longer.
const IDLE: Duration = Duration::from_secs(10);
/// Pause before looking again for a free place.
const FULL_PAUSE_MS: u64 = 50;

thread_local! {
    /// Connections on all cards.
    static OPEN: Cell<usize> = const { Cell::new(0) };
}

/// A place among the connections; free again when dropped.
struct Place;

impl Place {
    fn take() -> Option<Place> {
        OPEN.with(|open| {
            (open.get() < CONNECTIONS_MAX).then(|| {
                open.set(open.get() + 1);
                Place
            })
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        OPEN.with(|open| open.set(open.get() - 1));
    }
}

/// What a connection was upgraded for.
pub(crate) enum Upgrade {
    /// A console of this node.
    Console {
        console: Rc<Console>,
        client: crate::console::ClientId,
    },
    /// A console of another node, and what it said already.
    Relay { peer: Stream, ahead: Vec<u8> },
}

/// What the requests of one connection leave for it.
pub(crate) type Upgrades = Rc<RefCell<Option<Upgrade>>>;

/// Serves a stack for as long as it lives.
pub(crate) async fn listen(node: Rc<Node>, stack: HostStack) {
    let mut listener = match TcpListener::bind(&stack, PORT, BACKLOG) {
        Ok(listener) => listener,
        Err(error) => {
            node.line("error", &format!("the API can't listen: {error}"));
            return;
        }
    };
    loop {
        let Some(place) = Place::take() else {
            count(&node.counters.connections_refused);
            node.executor.sleep(FULL_PAUSE_MS).await;
            continue;
        };
        let Ok(stream) = listener.accept().await else {
            return;
        };
        count(&node.counters.connections);
        let connection = client(node.clone(), stream, place);
        // At the executor's limit the stream is dropped, and its peer sees it close.
        if node.executor.spawn_detached(connection).is_err() {
            count(&node.counters.connections_refused);
        }
    }
}

async fn client(node: Rc<Node>, stream: TcpStream, _place: Place) {
    serve(node, Origin::Client, Box::new(stream)).await;
}

/// A client that comes by a pipe.
#[cfg(test)]
pub(crate) async fn serve_client_for_test(node: Rc<Node>, stream: Stream) {
    serve(node, Origin::Client, stream).await;
}

/// Serves another node's forwarded requests on a stream of its session.
pub(crate) async fn serve_peer(node: Rc<Node>, stream: Stream) {
    let open = &node.counters.peers_served;
    if open.get() >= PEERS_MAX {
        count(&node.counters.connections_refused);
        return; // the other node sees it close, and tells its client
    }
    open.set(open.get() + 1);
    serve(node.clone(), Origin::Peer, stream).await;
    let open = &node.counters.peers_served;
    open.set(open.get() - 1);
}

async fn serve(node: Rc<Node>, origin: Origin, stream: Stream) {
    let upgrades = Upgrades::default();
    let service = {
        let (node, upgrades) = (node.clone(), upgrades.clone());
        service_fn(move |request: Request<Incoming>| {
            let (node, upgrades) = (node.clone(), upgrades.clone());
            async move {
                let answer = requests::answer(&node, origin, &upgrades, request).await;
                Ok::<_, Infallible>(answer)
            }
        })
    };
    let watched = Watched::new(stream, node.executor.clone());
    let served = Builder::new()
        .timer(HyperTimer)
        .header_read_timeout(IDLE)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(watched, service)
        .without_shutdown()
        .await;
    let upgrade = upgrades.take();
    match (served, upgrade) {
        (Ok(parts), Some(Upgrade::Console { console, client })) => {
            let (stream, ahead) = (parts.io.into_stream(), parts.read_buf.to_vec());
            count(&node.counters.sessions);
            let end = session::serve(node.executor.clone(), console, client, stream, ahead).await;
            if end == End::TooSlow {
                count(&node.counters.sessions_too_slow);
            }
        }
        (Ok(parts), Some(Upgrade::Relay { peer, ahead })) => {
            let client = (parts.io.into_stream(), parts.read_buf.to_vec());
            count(&node.counters.sessions);
            streams::join(&node.executor, client, (peer, ahead)).await;
        }
        // The client left before the upgrade was through.
        (Err(_), Some(Upgrade::Console { console, client })) => console.detach(client),
        // Dropping the stream sends what is left and closes it.
        (_, None) | (Err(_), Some(Upgrade::Relay { .. })) => {}
    }
}
