//! TCP as its users see it: listeners and streams.
//!
//! Does:      `bind` and `accept`, `connect`, async reads and writes, hyper's traits.
//! Does not:  buffer on top of smoltcp's buffers.
//! Bounds:    one reader and one writer wait on a stream at a time; the last one is woken.
//! Trusts:    the table in `tcp` to bury what is dropped here.
//! Start at:  `TcpListener::bind`, `TcpStream::poll_read_into`.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddrV4;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::rt::ReadBufCursor;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{ConnectError, RecvError, Socket, State};

use super::tcp::{TcpTable, new_socket, to_endpoint, to_socket_addr};
use super::{HostStack, Shared};
use crate::host::inner::Inner;

/// Ports for outgoing connections (RFC 6335's dynamic range).
const LOCAL_PORT_FIRST: u16 = 49_152;
const LOCAL_PORTS: u64 = 16_384;

/// Random tries to find a free local port; with 256 sockets the first one nearly always is.
const LOCAL_PORT_TRIES: usize = 64;

fn no_room(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::QuotaExceeded,
        format!("{what}: all places are taken"),
    )
}

pub(super) fn free_local_port(inner: &mut Inner) -> io::Result<u16> {
    for _ in 0..LOCAL_PORT_TRIES {
        let offset = u16::try_from(inner.dice.below(LOCAL_PORTS)).unwrap_or(0);
        let port = LOCAL_PORT_FIRST + offset;
        if TcpTable::is_port_free(&inner.sockets, port) {
            return Ok(port);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AddrInUse,
        "no free local port",
    ))
}

/// Waits for connections on one port. Dropping it resets those that nobody accepted.
pub struct TcpListener {
    shared: Rc<Shared>,
    slot: usize,
    port: u16,
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpListener")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl TcpListener {
    /// `backlog`: connections that may wait, half open or opened, until `accept` takes them. SYNs
    /// beyond it are dropped, so their senders try again.
    pub fn bind(stack: &HostStack, port: u16, backlog: usize) -> io::Result<TcpListener> {
        if port == 0 || backlog == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "port and backlog above 0",
            ));
        }
        let slot = stack.shared.inner.borrow_mut().tcp.listen(port, backlog);
        let in_use = || io::Error::new(io::ErrorKind::AddrInUse, format!("TCP port {port}"));
        Ok(TcpListener {
            shared: Rc::clone(&stack.shared),
            slot: slot.ok_or_else(in_use)?,
            port,
        })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The next opened connection.
    pub async fn accept(&mut self) -> io::Result<TcpStream> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<TcpStream>> {
        let mut inner = self.shared.inner.borrow_mut();
        let Some(listener) = inner.tcp.listener(self.slot) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        match listener.accept() {
            Some(socket) => {
                drop(inner);
                Poll::Ready(Ok(TcpStream {
                    shared: Rc::clone(&self.shared),
                    socket,
                }))
            }
            None => {
                listener.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        let now_ms = self.shared.executor.now_ms();
        let mut inner = self.shared.inner.borrow_mut();
        let Inner { tcp, sockets, .. } = &mut *inner;
        tcp.unlisten(sockets, self.slot, now_ms);
        inner.kick();
    }
}

/// Opens a connection. Give it a limit with `Handle::timeout`; without one it ends when the peer
/// has been silent for `tcp_silence_ms_max`.
pub async fn tcp_connect(stack: &HostStack, to: SocketAddrV4) -> io::Result<TcpStream> {
    let stream = begin_connect(stack, to)?;
    poll_fn(|cx| stream.poll_connected(cx)).await?;
    Ok(stream)
}

fn begin_connect(stack: &HostStack, to: SocketAddrV4) -> io::Result<TcpStream> {
    let mut guard = stack.shared.inner.borrow_mut();
    if !guard.has_room() {
        return Err(no_room("sockets"));
    }
    let port = free_local_port(&mut guard)?;
    let inner = &mut *guard;
    let mut socket = new_socket(&inner.settings);
    socket
        .connect(inner.iface.context(), to_endpoint(to), port)
        .map_err(|error| match error {
            ConnectError::Unaddressable => {
                let text = format!("no address to reach {to} from");
                io::Error::new(io::ErrorKind::AddrNotAvailable, text)
            }
            ConnectError::InvalidState => io::ErrorKind::InvalidInput.into(),
        })?;
    let socket = inner.sockets.add(socket);
    inner.kick();
    Ok(TcpStream {
        shared: Rc::clone(&stack.shared),
        socket,
    })
}

/// One connection. Dropping it sends what was written, then parts; the stack sees to it.
pub struct TcpStream {
    shared: Rc<Shared>,
    socket: SocketHandle,
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpStream")
            .field("peer", &self.peer())
            .finish_non_exhaustive()
    }
}

impl TcpStream {
    /// The other end. `None` once the connection is over.
    pub fn peer(&self) -> Option<SocketAddrV4> {
        self.with(|socket| socket.remote_endpoint().map(to_socket_addr))
    }

    /// Our end. `None` once the connection is over.
    pub fn local(&self) -> Option<SocketAddrV4> {
        self.with(|socket| socket.local_endpoint().map(to_socket_addr))
    }

    /// Reads at least one byte. 0: the peer will send no more.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read_into(cx, buffer)).await
    }

    /// Writes at least one byte of a non-empty buffer into the send buffer.
    pub async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_write_from(cx, bytes)).await
    }

    /// Writes everything into the send buffer.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self.write(bytes).await?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Waits until the peer has acknowledged everything written.
    pub async fn drain(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_drained(cx)).await
    }

    /// Tells the peer that nothing more will be written. Reading goes on.
    pub fn shutdown(&self) {
        self.with(Socket::close);
        self.shared.inner.borrow_mut().kick();
    }

    /// Resets the connection at once, for both sides.
    pub fn abort(&self) {
        self.with(Socket::abort);
        self.shared.inner.borrow_mut().kick();
    }

    fn with<T>(&self, act: impl FnOnce(&mut Socket<'static>) -> T) -> T {
        act(self
            .shared
            .inner
            .borrow_mut()
            .sockets
            .get_mut::<Socket<'_>>(self.socket))
    }

    fn poll_connected(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|socket| match socket.state() {
            State::SynSent | State::SynReceived => {
                socket.register_send_waker(cx.waker());
                Poll::Pending
            }
            State::Closed => Poll::Ready(Err(io::ErrorKind::ConnectionRefused.into())),
            _ => Poll::Ready(Ok(())),
        })
    }

    pub fn poll_read_into(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_recv(cx, |bytes| {
            let count = bytes.len().min(buffer.len());
            buffer[..count].copy_from_slice(&bytes[..count]);
            count
        })
    }

    /// `take` gets what has arrived (never empty) and says how much of it it took.
    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&[u8]) -> usize,
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.shared.inner.borrow_mut();
        let socket = inner.sockets.get_mut::<Socket<'_>>(self.socket);
        if !socket.can_recv() && socket.may_recv() {
            socket.register_recv_waker(cx.waker());
            return Poll::Pending;
        }
        let received = socket.recv(|bytes| {
            let count = take(bytes);
            (count, count)
        });
        match received {
            Ok(count) => {
                inner.kick(); // the window may have opened
                Poll::Ready(Ok(count))
            }
            Err(RecvError::Finished) => Poll::Ready(Ok(0)),
            Err(RecvError::InvalidState) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }

    pub fn poll_write_from(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut inner = self.shared.inner.borrow_mut();
        let socket = inner.sockets.get_mut::<Socket<'_>>(self.socket);
        if !socket.may_send() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        match socket.send_slice(bytes) {
            Ok(0) if !bytes.is_empty() => {
                socket.register_send_waker(cx.waker());
                Poll::Pending
            }
            Ok(count) => {
                inner.kick();
                Poll::Ready(Ok(count))
            }
            Err(_) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_drained(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|socket| {
            if socket.send_queue() == 0 {
                return Poll::Ready(Ok(()));
            }
            if socket.state() == State::Closed {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            socket.register_send_waker(cx.waker());
            Poll::Pending
        })
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        let now_ms = self.shared.executor.now_ms();
        let mut inner = self.shared.inner.borrow_mut();
        let Inner { tcp, sockets, .. } = &mut *inner;
        tcp.adopt(sockets, self.socket, now_ms);
        inner.kick();
    }
}

impl hyper::rt::Read for TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if cursor.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let polled = self.poll_recv(cx, |bytes| {
            let count = bytes.len().min(cursor.remaining());
            cursor.put_slice(&bytes[..count]);
            count
        });
        polled.map_ok(|_| ())
    }
}

impl hyper::rt::Write for TcpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_from(cx, bytes)
    }

    /// The stack sends what is written without being asked.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shutdown();
        Poll::Ready(Ok(()))
    }
}
