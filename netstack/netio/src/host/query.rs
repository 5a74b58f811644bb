//! Questions to the network: names and pings.
//!
//! Does:      resolves a name to IPv4 addresses through the stack's DNS servers; sends one ping.
//! Does not:  cache, or search domains.
//! Bounds:    `QUERIES_MAX` names at once; smoltcp gives up on one after about 10 s a server.
//! Trusts:    nobody: a DNS answer is a hint, so what matters is signed elsewhere.
//! Start at:  `HostStack::resolve`, `HostStack::ping`.

use std::future::poll_fn;
use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::task::Poll;

use smoltcp::iface::SocketHandle;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::dns::{self, GetQueryResultError, QueryHandle, StartQueryError};
use smoltcp::socket::icmp;
use smoltcp::wire::{DnsQueryType, Icmpv4Packet, Icmpv4Repr, IpAddress};

use super::inner::Inner;
use super::tcp::v4;
use super::{HostStack, Shared};

/// A ping's payload.
const PING_PAYLOAD: &[u8] = b"LUC OS asks whether you are here";

/// Names that may be resolved at once. At the limit `resolve` refuses.
const QUERIES_MAX: usize = 32;

/// A query in flight; dropping it gives the slot back.
struct Query {
    shared: Rc<Shared>,
    /// `None` once smoltcp freed it with its result.
    handle: Option<QueryHandle>,
}

impl Drop for Query {
    fn drop(&mut self) {
        let mut inner = self.shared.inner.borrow_mut();
        inner.queries -= 1;
        if let Some(handle) = self.handle.take() {
            let dns = inner.dns;
            inner
                .sockets
                .get_mut::<dns::Socket<'_>>(dns)
                .cancel_query(handle);
        }
    }
}

/// A socket that goes when its owner goes.
struct PingSocket {
    shared: Rc<Shared>,
    socket: SocketHandle,
}

impl Drop for PingSocket {
    fn drop(&mut self) {
        self.shared.inner.borrow_mut().sockets.remove(self.socket);
    }
}

impl HostStack {
    /// The IPv4 addresses of a name. A literal address is its own answer.
    pub async fn resolve(&self, name: &str) -> io::Result<Vec<Ipv4Addr>> {
        if let Ok(address) = name.parse() {
            return Ok(vec![address]);
        }
        let mut query = self.start_query(name)?;
        poll_fn(|cx| {
            let Some(handle) = query.handle else {
                return Poll::Ready(Err(no_answer(name)));
            };
            let mut inner = self.shared.inner.borrow_mut();
            let dns = inner.dns;
            let socket = inner.sockets.get_mut::<dns::Socket<'_>>(dns);
            match socket.get_query_result(handle) {
                Err(GetQueryResultError::Pending) => {
                    socket.register_query_waker(handle, cx.waker());
                    Poll::Pending
                }
                Err(GetQueryResultError::Failed) => {
                    query.handle = None;
                    Poll::Ready(Err(no_answer(name)))
                }
                Ok(found) => {
                    query.handle = None;
                    Poll::Ready(Ok(found.iter().filter_map(|found| v4(*found)).collect()))
                }
            }
        })
        .await
    }

    fn start_query(&self, name: &str) -> io::Result<Query> {
        let mut guard = self.shared.inner.borrow_mut();
        let Inner {
            sockets,
            iface,
            dns,
            dns_servers,
            queries,
            ..
        } = &mut *guard;
        if dns_servers.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "no DNS server is known",
            ));
        }
        if *queries >= QUERIES_MAX {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let socket = sockets.get_mut::<dns::Socket<'_>>(*dns);
        let started = socket.start_query(iface.context(), name, DnsQueryType::A);
        let handle = started.map_err(|error| match error {
            StartQueryError::NoFreeSlot => io::Error::from(io::ErrorKind::QuotaExceeded),
            StartQueryError::InvalidName | StartQueryError::NameTooLong => io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{name:?} is no host name"),
            ),
        })?;
        *queries += 1;
        guard.kick();
        Ok(Query {
            shared: Rc::clone(&self.shared),
            handle: Some(handle),
        })
    }

    /// Sends one echo request and returns the milliseconds until its answer.
    pub async fn ping(&self, to: Ipv4Addr, timeout_ms: u64) -> io::Result<u64> {
        let started_ms = self.shared.executor.now_ms();
        let ping = self.send_ping(to)?;
        self.shared
            .executor
            .timeout(timeout_ms, ping_answer(&ping, to))
            .await?;
        Ok(self.shared.executor.now_ms() - started_ms)
    }

    fn send_ping(&self, to: Ipv4Addr) -> io::Result<PingSocket> {
        let mut guard = self.shared.inner.borrow_mut();
        let inner = &mut *guard;
        if !inner.has_room() {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let ident = u16::try_from(inner.dice.below(u64::from(u16::MAX))).unwrap_or(0);
        let request = Icmpv4Repr::EchoRequest {
            ident,
            seq_no: 1,
            data: PING_PAYLOAD,
        };
        let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 2], vec![0; 256]);
        let mut socket = icmp::Socket::new(buffer(), buffer());
        let bound = socket.bind(icmp::Endpoint::Ident(ident));
        bound.map_err(|_| io::Error::from(io::ErrorKind::AddrInUse))?;
        let room = socket.send(request.buffer_len(), IpAddress::Ipv4(to));
        let room = room.map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        request.emit(
            &mut Icmpv4Packet::new_unchecked(room),
            &ChecksumCapabilities::default(),
        );
        let socket = inner.sockets.add(socket);
        inner.kick();
        Ok(PingSocket {
            shared: Rc::clone(&self.shared),
            socket,
        })
    }
}

fn no_answer(name: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        format!("no DNS server knows {name}"),
    )
}

/// Waits for an echo reply from `to`; anything else with our ident is passed over.
async fn ping_answer(ping: &PingSocket, to: Ipv4Addr) {
    poll_fn(|cx| {
        let mut inner = ping.shared.inner.borrow_mut();
        let socket = inner.sockets.get_mut::<icmp::Socket<'_>>(ping.socket);
        while let Ok((bytes, from)) = socket.recv() {
            let Ok(packet) = Icmpv4Packet::new_checked(bytes) else {
                continue;
            };
            let reply = Icmpv4Repr::parse(&packet, &ChecksumCapabilities::default());
            let answered = matches!(reply, Ok(Icmpv4Repr::EchoReply { .. }));
            if answered && from == IpAddress::Ipv4(to) {
                return Poll::Ready(());
            }
        }
        socket.register_recv_waker(cx.waker());
        Poll::Pending
    })
    .await;
}
