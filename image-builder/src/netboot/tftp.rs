//! Carries TFTP datagrams between `netcore`'s server and the network.
//!
//! Does:      brings the files; tells the listener how far each client is.
//! Does not:  know the protocol.
//! Bounds:    one datagram at a time; the core bounds transfers and windows.
//! Trusts:    nobody; the core parses.
//! Start at:  `serve`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::rc::Rc;

use netcore::tftp::server::{self as core, End, Output};
use netio::executor::{Either, Handle, race};

use super::event::{Event, Outcome, Protocol, Tracker, Transfer};
use super::{Config, Files, Listener};

/// No datagram is fragmented on an Ethernet of this size.
const MTU: u16 = 1500;
/// The longest datagram that a client has a reason to send.
const DATAGRAM_BYTES_MAX: usize = 2048;

/// Where datagrams come from.
pub(super) enum Socket {
    Stack(netio::host::UdpSocket),
    Kernel(Handle, UdpSocket),
}

impl Socket {
    async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddrV4)> {
        match self {
            Socket::Stack(socket) => {
                let (length, from, _) = socket.recv_from(buffer).await?;
                Ok((length, from))
            }
            Socket::Kernel(executor, socket) => loop {
                match socket.recv_from(buffer) {
                    Ok((length, SocketAddr::V4(from))) => return Ok((length, from)),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        executor.readable(socket).await?;
                    }
                    // The answer to an earlier datagram: its client is gone.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                    Err(error) => return Err(error),
                }
            },
        }
    }

    /// A datagram that does not leave is one that was lost; the protocol repeats it.
    async fn send(&self, bytes: &[u8], to: SocketAddrV4) {
        match self {
            Socket::Stack(socket) => {
                let _ = socket.send_to(bytes, to).await;
            }
            Socket::Kernel(executor, socket) => {
                while let Err(error) = socket.send_to(bytes, to) {
                    let full = error.kind() == io::ErrorKind::WouldBlock;
                    if !full || executor.writable(socket).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// The files, and who is being served at this moment.
struct Shelf {
    files: Files,
    listener: Listener,
    client: Option<SocketAddrV4>,
    trackers: BTreeMap<SocketAddrV4, Tracker>,
}

struct Shared(Rc<RefCell<Shelf>>);

impl core::Files for Shared {
    fn length(&mut self, name: &str) -> Option<u64> {
        let mut shelf = self.0.borrow_mut();
        let found = shelf
            .files
            .find(plain(name))
            .map(|bytes| bytes.len() as u64);
        if let Some(client) = shelf.client {
            match found {
                Some(total) => shelf.begin(client, name, total),
                None => shelf.refuse(client, name),
            }
        }
        found
    }

    fn read(&mut self, name: &str, offset: u64, buffer: &mut [u8]) -> bool {
        let mut shelf = self.0.borrow_mut();
        let Some(bytes) = shelf.files.find(plain(name)) else {
            return false;
        };
        let end = offset + buffer.len() as u64;
        let Ok(start) = usize::try_from(offset) else {
            return false;
        };
        let Some(part) = bytes.get(start..start.saturating_add(buffer.len())) else {
            return false;
        };
        buffer.copy_from_slice(part);
        let client = shelf.client;
        if let Some(tracker) = client.and_then(|client| shelf.trackers.get_mut(&client)) {
            tracker.reached(end);
        }
        true
    }
}

/// Firmware asks for `/luc.efi`, and some versions add bytes of their own behind a name.
fn plain(name: &str) -> &str {
    name.trim_start_matches(['/', '.'])
        .trim_end_matches(['\u{fffd}', '\0', '\u{ff}', ' '])
}

impl Shelf {
    fn begin(&mut self, client: SocketAddrV4, name: &str, total: u64) {
        // A client that asks again on the same port starts over: its old transfer is forgotten.
        let listener = Rc::clone(&self.listener);
        let peer = SocketAddr::V4(client);
        let tracker = Tracker::start(Protocol::Tftp, peer, plain(name), total, listener);
        self.trackers.insert(client, tracker);
    }

    fn refuse(&self, client: SocketAddrV4, name: &str) {
        (self.listener)(&Event::Transfer(Transfer {
            protocol: Protocol::Tftp,
            peer: SocketAddr::V4(client),
            file: name.chars().take(100).collect(),
            sent: 0,
            total: 0,
            outcome: Outcome::Refused("no such file".to_owned()),
        }));
    }

    fn end(&mut self, client: SocketAddrV4, end: End) {
        let Some(mut tracker) = self.trackers.remove(&client) else {
            return;
        };
        match end {
            End::Complete => tracker.done(),
            End::Stopped => tracker.cut("the client asked only for the size"),
            End::Silent => tracker.cut("the client fell silent"),
            End::Broken => tracker.cut("the file could not be read"),
        }
    }
}

/// Serves until the socket fails.
pub(super) fn serve(
    executor: Handle,
    socket: Socket,
    config: &Config,
) -> impl Future<Output = io::Result<()>> + 'static {
    let shelf = Rc::new(RefCell::new(Shelf {
        files: config.files.clone(),
        listener: Rc::clone(&config.listener),
        client: None,
        trackers: BTreeMap::new(),
    }));
    async move {
        let mut server = core::Server::new(Shared(Rc::clone(&shelf)), MTU);
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            match next(&executor, &socket, server.next_timeout(), &mut buffer).await? {
                Some((length, from)) => {
                    shelf.borrow_mut().client = Some(from);
                    server.handle_datagram(executor.now_ms(), from, &buffer[..length]);
                    shelf.borrow_mut().client = None;
                }
                None => server.handle_timeout(executor.now_ms()),
            }
            while let Some(output) = server.poll_output() {
                match output {
                    Output::Send { to, bytes } => socket.send(&bytes, to).await,
                    Output::Finished { client, end, .. } => shelf.borrow_mut().end(client, end),
                }
            }
        }
    }
}

/// The next datagram, or `None` when the core's deadline came first.
async fn next(
    executor: &Handle,
    socket: &Socket,
    deadline_ms: Option<u64>,
    buffer: &mut [u8],
) -> io::Result<Option<(usize, SocketAddrV4)>> {
    let Some(deadline_ms) = deadline_ms else {
        return socket.receive(buffer).await.map(Some);
    };
    let receive = std::pin::pin!(socket.receive(buffer));
    match race(receive, executor.sleep_until(deadline_ms)).await {
        Either::Left(received) => received.map(Some),
        Either::Right(()) => Ok(None),
    }
}
