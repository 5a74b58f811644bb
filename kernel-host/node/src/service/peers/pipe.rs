//! A sealed stream to a peer, as the rest of the node reads and writes it.
//!
//! Does:      the handshake; plain bytes or whole messages over `session::Stream` over TCP.
//! Does not:  run by itself: whoever reads or writes moves it.
//! Bounds:    those of `session::Stream`, and `CHUNK_BYTES` read ahead.
//! Trusts:    the gate for who is there.
//! Start at:  `PeerStream::connect`, `PeerStream::accept`.

use crate::service::Clock;
use crate::service::streams::ByteStream;
use hyper::rt::ReadBufCursor;
use identity::ring::SharedKeys;
use netio::host::TcpStream;
use session::stream::Full;
use session::{Broken, Peer, Purpose, Rng, Secret, Stream, StreamEvent};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Bytes taken from TCP at once.
const CHUNK_BYTES: usize = 16 << 10;

/// A stream whose other end has proved itself.
#[derive(Debug)]
pub(crate) struct PeerStream {
    tcp: TcpStream,
    gate: SharedKeys,
    clock: Clock,
    session: RefCell<Stream>,
    /// Bytes from TCP for which the session had no room.
    ahead: RefCell<Vec<u8>>,
    ended: Cell<bool>,
    peer: Peer,
    purpose: Purpose,
    address: SocketAddr,
}

/// What both sides of a handshake need.
pub(crate) struct Door {
    pub secret: Secret,
    pub rng: Rng,
    pub gate: SharedKeys,
    pub clock: Clock,
}

impl PeerStream {
    /// The handshake of the side that connected.
    pub async fn connect(tcp: TcpStream, mut door: Door, purpose: Purpose) -> io::Result<Self> {
        let session = Stream::connect(&door.secret, &mut door.rng, purpose);
        let manners = (door.gate, door.clock);
        Self::shake(tcp, manners, session.map_err(io::Error::other)?).await
    }

    /// The handshake of the side that was connected to.
    pub async fn accept(tcp: TcpStream, mut door: Door) -> io::Result<Self> {
        let session = Stream::accept(&door.secret, &mut door.rng);
        let manners = (door.gate, door.clock);
        Self::shake(tcp, manners, session.map_err(io::Error::other)?).await
    }

    async fn shake(
        tcp: TcpStream,
        (gate, clock): (SharedKeys, Clock),
        session: Stream,
    ) -> io::Result<Self> {
        let address = tcp.peer().ok_or(io::ErrorKind::NotConnected)?;
        let mut stream = Self {
            tcp,
            gate,
            clock,
            session: RefCell::new(session),
            ahead: RefCell::default(),
            ended: Cell::new(false),
            // Nobody sees these before the handshake has replaced them.
            peer: Peer::Stranger(protocol::peer::SessionKey([0; 32])),
            purpose: Purpose::Overlay,
            address: SocketAddr::V4(address),
        };
        let (peer, purpose) = poll_fn(|cx| stream.poll_established(cx)).await?;
        stream.peer = peer;
        stream.purpose = purpose;
        Ok(stream)
    }

    pub const fn peer(&self) -> Peer {
        self.peer
    }

    pub const fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Where the other end is.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    fn poll_established(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Peer, Purpose)>> {
        loop {
            let moved = self.pump(cx);
            if let Some(StreamEvent::Established { peer, purpose }) =
                self.session.borrow_mut().poll_event()
            {
                return Poll::Ready(Ok((peer, purpose)));
            }
            match moved {
                Err(error) => return Poll::Ready(Err(error)),
                Ok(_) if self.ended.get() => {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
            }
        }
    }

    /// Moves bytes both ways as far as they go. `false`: none moved; the task is woken when some
    /// can.
    pub fn pump(&self, cx: &mut Context<'_>) -> io::Result<bool> {
        let wrote = self.pump_out(cx)?;
        let read = self.pump_in(cx);
        // A session that broke may have a last word for the other side.
        let wrote = self.pump_out(cx)? || wrote;
        Ok(read? || wrote)
    }

    fn pump_out(&self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut moved = false;
        loop {
            let mut session = self.session.borrow_mut();
            if session.wanted().is_empty() {
                return Ok(moved);
            }
            match self.tcp.poll_write_from(cx, session.wanted()) {
                Poll::Ready(Ok(count)) => session.wrote(count),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(moved),
            }
            moved = true;
        }
    }

    fn pump_in(&self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut ahead = self.ahead.borrow_mut();
        if ahead.is_empty() && !self.ended.get() {
            let mut chunk = [0; CHUNK_BYTES];
            match self.tcp.poll_read_into(cx, &mut chunk) {
                Poll::Ready(Ok(0)) => self.ended.set(true),
                Poll::Ready(Ok(count)) => ahead.extend_from_slice(&chunk[..count]),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(false),
            }
        }
        let mut session = self.session.borrow_mut();
        let taken = session.handle_bytes(self.clock.now(), &self.gate, &ahead);
        let taken = taken.map_err(broken)?;
        ahead.drain(..taken);
        Ok(taken > 0)
    }

    /// The next whole message. `None`: the other side has said that there are no more.
    pub fn poll_message(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Vec<u8>>>> {
        loop {
            if let Some(message) = self.session.borrow_mut().poll_message().map_err(broken)? {
                return Poll::Ready(Ok(Some(message)));
            }
            let moved = self.pump(cx)?;
            if self.session.borrow().is_at_end() {
                return Poll::Ready(Ok(None));
            }
            if !moved && self.ended.get() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            if !moved {
                return Poll::Pending;
            }
        }
    }

    /// Puts a message into the session; `pump` sends it.
    pub fn put_message(&self, message: &[u8]) -> Result<(), Full> {
        self.session.borrow_mut().send_message(message)
    }

    /// Says that no more will be sent.
    pub fn finish(&self) {
        self.session.borrow_mut().finish();
    }

    pub fn poll_read_into(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let count = self.session.borrow_mut().read(buffer);
            if count > 0 || buffer.is_empty() || self.session.borrow().is_at_end() {
                return Poll::Ready(Ok(count));
            }
            match self.pump(cx)? {
                true => {}
                // The end of TCP without the session's own end is a cut, perhaps by a stranger.
                false if self.ended.get() && self.session.borrow().is_at_end() => {}
                false if self.ended.get() => {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                false => return Poll::Pending,
            }
        }
    }

    pub fn poll_write_from(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let count = self.session.borrow_mut().write(bytes);
            let moved = self.pump_out(cx)?;
            if count > 0 || bytes.is_empty() {
                return Poll::Ready(Ok(count));
            }
            if !self.session.borrow().is_open() {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if !moved {
                return Poll::Pending;
            }
        }
    }

    pub fn poll_flushed(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pump_out(cx)?;
        match self.session.borrow().wanted().is_empty() {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }

    /// Breaks the connection at once, for both sides.
    pub fn abort(&self) {
        self.tcp.abort();
    }
}

fn broken(broken: Broken) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, broken)
}

impl Drop for PeerStream {
    /// What was written and fits into TCP's buffer is still sent.
    fn drop(&mut self) {
        self.finish();
        let _gone = self.pump_out(&mut Context::from_waker(Waker::noop()));
    }
}

impl ByteStream for PeerStream {
    fn abort(&mut self) {
        Self::abort(self);
    }
}

impl hyper::rt::Read for PeerStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut chunk = [0; CHUNK_BYTES];
        let most = cursor.remaining().min(CHUNK_BYTES);
        let polled = self.poll_read_into(cx, &mut chunk[..most]);
        polled.map_ok(|count| cursor.put_slice(&chunk[..count]))
    }
}

impl hyper::rt::Write for PeerStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_from(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flushed(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        let flushed = self.poll_flushed(cx);
        if flushed.is_ready() {
            self.tcp.shutdown();
        }
        flushed
    }
}
