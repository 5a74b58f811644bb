//! UDP sockets.
//!
//! Does:      bind, send and receive datagrams, also to broadcast addresses and before the stack
//!            has an address (then as receiver only).
//! Does not:  reassemble beyond smoltcp's 8 KiB, or send without a source address.
//! Bounds:    `DATAGRAMS_MAX` datagrams and `BUFFER_LEN` bytes in each direction. A full receive
//!            buffer drops the newest; a full send buffer makes `send_to` wait.
//! Trusts:    nobody.
//! Start at:  `UdpSocket::bind`.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::task::{Context, Poll};

use smoltcp::iface::SocketHandle;
use smoltcp::socket::udp::{PacketBuffer, PacketMetadata, RecvError, SendError, Socket};
use smoltcp::wire::{IpAddress, IpEndpoint};

use super::stream::free_local_port;
use super::tcp::{to_endpoint, to_socket_addr, v4};
use super::{HostStack, Shared};

/// Datagrams waiting in each direction: two TFTP windows.
const DATAGRAMS_MAX: usize = 64;

/// Bytes of payload waiting in each direction.
const BUFFER_LEN: usize = 64 * 1024;

/// One bound UDP port.
pub struct UdpSocket {
    shared: Rc<Shared>,
    socket: SocketHandle,
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpSocket")
            .field("port", &self.port())
            .finish_non_exhaustive()
    }
}

fn buffer() -> PacketBuffer<'static> {
    PacketBuffer::new(
        vec![PacketMetadata::EMPTY; DATAGRAMS_MAX],
        vec![0; BUFFER_LEN],
    )
}

impl UdpSocket {
    /// Binds a port on every address of the stack. 0 picks a free one.
    pub fn bind(stack: &HostStack, port: u16) -> io::Result<UdpSocket> {
        let mut inner = stack.shared.inner.borrow_mut();
        if !inner.has_room() {
            return Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                "all sockets are taken",
            ));
        }
        let taken = inner.sockets.iter().any(|(_, socket)| {
            matches!(socket, smoltcp::socket::Socket::Udp(udp) if udp.endpoint().port == port)
        });
        if port != 0 && taken {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("UDP port {port}"),
            ));
        }
        let port = if port == 0 {
            free_local_port(&mut inner)?
        } else {
            port
        };
        let mut socket = Socket::new(buffer(), buffer());
        socket
            .bind(port)
            .map_err(|_| io::Error::from(io::ErrorKind::AddrInUse))?;
        let socket = inner.sockets.add(socket);
        drop(inner);
        Ok(UdpSocket {
            shared: Rc::clone(&stack.shared),
            socket,
        })
    }

    pub fn port(&self) -> u16 {
        self.shared
            .inner
            .borrow()
            .sockets
            .get::<Socket<'_>>(self.socket)
            .endpoint()
            .port
    }

    /// Queues one datagram; waits while the queue is full.
    pub async fn send_to(&self, bytes: &[u8], to: SocketAddrV4) -> io::Result<()> {
        self.send_from(bytes, to, None).await
    }

    /// As `send_to`, with a source address of our choice: a server answers from the address that
    /// it was asked at.
    pub async fn send_from(
        &self,
        bytes: &[u8],
        to: SocketAddrV4,
        from: Option<Ipv4Addr>,
    ) -> io::Result<()> {
        poll_fn(|cx| self.poll_send(cx, bytes, to, from)).await
    }

    fn poll_send(
        &self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        to: SocketAddrV4,
        from: Option<Ipv4Addr>,
    ) -> Poll<io::Result<()>> {
        let mut inner = self.shared.inner.borrow_mut();
        let target: IpEndpoint = to_endpoint(to);
        if from.is_none() && inner.iface.get_source_address(&target.addr).is_none() {
            let text = format!("no address to reach {to} from");
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::AddrNotAvailable, text)));
        }
        let socket = inner.sockets.get_mut::<Socket<'_>>(self.socket);
        if bytes.len() > socket.payload_send_capacity() {
            return Poll::Ready(Err(io::Error::from(io::ErrorKind::InvalidInput)));
        }
        let mut metadata = smoltcp::socket::udp::UdpMetadata::from(target);
        metadata.local_address = from.map(IpAddress::Ipv4);
        match socket.send_slice(bytes, metadata) {
            Ok(()) => {
                inner.kick();
                Poll::Ready(Ok(()))
            }
            Err(SendError::BufferFull) => {
                socket.register_send_waker(cx.waker());
                Poll::Pending
            }
            Err(SendError::Unaddressable) => {
                Poll::Ready(Err(io::ErrorKind::AddrNotAvailable.into()))
            }
        }
    }

    /// The next datagram: its length, its sender, and the address it was sent to. What does not
    /// fit into `buffer` is an error, never a silent cut.
    pub async fn recv_from(
        &self,
        buffer: &mut [u8],
    ) -> io::Result<(usize, SocketAddrV4, Option<Ipv4Addr>)> {
        poll_fn(|cx| self.poll_recv(cx, buffer)).await
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddrV4, Option<Ipv4Addr>)>> {
        let mut inner = self.shared.inner.borrow_mut();
        let socket = inner.sockets.get_mut::<Socket<'_>>(self.socket);
        match socket.recv_slice(buffer) {
            Ok((length, metadata)) => {
                let at = metadata.local_address.and_then(v4);
                Poll::Ready(Ok((length, to_socket_addr(metadata.endpoint), at)))
            }
            Err(RecvError::Exhausted) => {
                socket.register_recv_waker(cx.waker());
                Poll::Pending
            }
            Err(RecvError::Truncated) => {
                let text = format!("a datagram longer than {} bytes", buffer.len());
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)))
            }
        }
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        let mut inner = self.shared.inner.borrow_mut();
        inner.sockets.remove(self.socket);
    }
}
