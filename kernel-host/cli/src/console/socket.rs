//! The WebSocket to a console.
//!
//! Does:      connects, upgrades, and turns a refusal into the node's own problem.
//! Bounds:    `HANDSHAKE_TIMEOUT`; messages by `limits::CONSOLE_MESSAGE_BYTES_MAX`.
//! Start at:  `connect`.

use crate::client::NodeAddress;
use protocol::{Code, Problem, VmId, limits};
use std::{
    io,
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};
use tungstenite::{HandshakeError, WebSocket, protocol::WebSocketConfig};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A console's socket, not blocking.
pub(super) type Socket = WebSocket<TcpStream>;

pub(super) fn connect(node: &NodeAddress, vm: VmId, take: bool) -> Result<Socket, Problem> {
    let stream = reach(node).map_err(|error| lost(node, &error))?;
    stream
        .set_read_timeout(Some(HANDSHAKE_TIMEOUT))
        .and_then(|()| stream.set_write_timeout(Some(HANDSHAKE_TIMEOUT)))
        .and_then(|()| stream.set_nodelay(true))
        .map_err(|error| lost(node, &error))?;
    let uri = format!(
        "ws://{node}/v1/vms/{vm}/console{}",
        if take { "?take=true" } else { "" }
    );
    let most = limits::CONSOLE_MESSAGE_BYTES_MAX;
    let config = WebSocketConfig::default()
        .max_message_size(Some(most))
        .max_frame_size(Some(most))
        .max_write_buffer_size(16 * most);
    let (socket, _) = tungstenite::client::client_with_config(uri, stream, Some(config))
        .map_err(|error| refused(node, error))?;
    socket
        .get_ref()
        .set_nonblocking(true)
        .map_err(|error| lost(node, &error))?;
    Ok(socket)
}

fn reach(node: &NodeAddress) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (node.host(), node.port()).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, HANDSHAKE_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The connection to the node is gone.
pub(super) fn lost(node: &NodeAddress, error: &impl std::fmt::Display) -> Problem {
    Problem::new(
        Code::Unreachable,
        format!("The console at node {node} was lost: {error}"),
        "Try again; the node keeps what the VM printed meanwhile",
    )
    .with_lost("The VM goes on.")
}

type ClientError = HandshakeError<tungstenite::ClientHandshake<TcpStream>>;

fn refused(node: &NodeAddress, error: ClientError) -> Problem {
    let error = match error {
        HandshakeError::Failure(error) => error,
        HandshakeError::Interrupted(_) => {
            return lost(node, &"no answer to the request to open it");
        }
    };
    if let tungstenite::Error::Http(response) = &error {
        let body = response.body().as_deref().unwrap_or_default();
        if let Ok(problem) = serde_json::from_slice(body) {
            return problem;
        }
    }
    lost(node, &error)
}
