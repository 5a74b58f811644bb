//! TCP sockets from birth to burial.
//!
//! Does:      gives each arriving SYN a socket while its listener has a place (smoltcp itself has
//!            no backlog); hands opened connections to `accept`; closes what was dropped and frees
//!            the slot when the protocol is done with it.
//! Does not:  speak TCP; smoltcp does.
//! Bounds:    a listener's backlog, `SOCKETS_MAX` sockets, `TIME_WAITS_MAX` in TIME-WAIT. A SYN
//!            without a place is dropped, not reset, so the peer tries again (`syns_dropped`).
//! Trusts:    nothing in a SYN: its checksum is verified before a socket is spent on it.
//! Start at:  `Inner::admit_syn`, then `TcpTable::settle`.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::task::Waker;

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};
use smoltcp::time::Duration;
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpAddress, IpEndpoint, IpProtocol, Ipv4Packet, TcpPacket,
};

use super::inner::{Admission, Inner};
use super::{Counters, StackSettings};

/// A SYN whose handshake does not finish frees its place after this.
const HALF_OPEN_MS_MAX: u64 = 10_000;

/// A dropped connection gets this long to deliver its last bytes and part politely; then a reset.
const LINGER_MS_MAX: u64 = 30_000;

/// Dropped sockets in TIME-WAIT. Each holds its buffers for 10 s; beyond this the oldest goes early
/// (`time_waits_cut`).
const TIME_WAITS_MAX: usize = 32;

/// Listeners on one stack.
const LISTENERS_MAX: usize = 16;

struct Pending {
    socket: SocketHandle,
    since_ms: u64,
}

pub(super) struct Listener {
    port: u16,
    backlog: usize,
    half_open: Vec<Pending>,
    ready: VecDeque<SocketHandle>,
    pub waker: Option<Waker>,
}

/// A socket whose owner is gone.
struct Orphan {
    socket: SocketHandle,
    since_ms: u64,
    aborted: bool,
}

#[derive(Default)]
pub(super) struct TcpTable {
    listeners: Vec<Option<Listener>>,
    orphans: Vec<Orphan>,
}

/// The four values that name a connection, from our side.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Pair {
    local: IpEndpoint,
    remote: IpEndpoint,
}

impl Pair {
    fn of(socket: &Socket<'_>) -> Option<Pair> {
        Some(Pair {
            local: socket.local_endpoint()?,
            remote: socket.remote_endpoint()?,
        })
    }
}

/// A socket with every timeout set; smoltcp's defaults would wait for ever.
pub(super) fn new_socket(settings: &StackSettings) -> Socket<'static> {
    let buffer = || SocketBuffer::new(vec![0; settings.tcp_buffer_len]);
    let mut socket = Socket::new(buffer(), buffer());
    socket.set_keep_alive(Some(Duration::from_millis(settings.tcp_silence_ms_max / 3)));
    socket.set_timeout(Some(Duration::from_millis(settings.tcp_silence_ms_max)));
    socket.set_nagle_enabled(false);
    socket.set_congestion_control(CongestionControl::Cubic);
    socket
}

/// Reads a frame as the first packet of a connection. `None`: it is something else, or damaged.
fn parse_syn(frame: &[u8]) -> Option<Pair> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    if ethernet.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let ip = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
    if ip.next_header() != IpProtocol::Tcp || ip.more_frags() || ip.frag_offset() != 0 {
        return None;
    }
    let (source, target) = (
        IpAddress::Ipv4(ip.src_addr()),
        IpAddress::Ipv4(ip.dst_addr()),
    );
    let tcp = TcpPacket::new_checked(ip.payload()).ok()?;
    if !tcp.syn() || tcp.ack() || tcp.rst() || tcp.fin() {
        return None;
    }
    if !ip.verify_checksum() || !tcp.verify_checksum(&source, &target) {
        return None;
    }
    Some(Pair {
        local: IpEndpoint::new(target, tcp.dst_port()),
        remote: IpEndpoint::new(source, tcp.src_port()),
    })
}

impl Inner {
    /// Looks at the frame on loan: does it open a connection, and is there a place for it?
    pub(super) fn admit_syn(&mut self, now_ms: u64) -> Admission {
        let Some(pair) = parse_syn(self.nic.frame()) else {
            return Admission::Pass;
        };
        let Some(listener) = self.tcp.listener_on(pair.local.port) else {
            return Admission::Pass;
        };
        if !self
            .iface
            .ip_addrs()
            .iter()
            .any(|cidr| cidr.address() == pair.local.addr)
        {
            return Admission::Pass;
        }
        match self.tcp.socket_of(&self.sockets, pair) {
            Some((_, state)) if state != State::TimeWait => return Admission::Pass,
            // The same port again: the old connection is over, RFC 1122 lets the new one through.
            Some((socket, _)) if self.tcp.forget_orphan(socket) => {
                self.sockets.remove(socket);
            }
            _ => {}
        }
        self.tcp
            .settle(&mut self.sockets, &mut self.counters, now_ms);
        if !self.has_room() || !self.tcp.has_place(listener) {
            return Admission::Drop;
        }
        let mut socket = new_socket(&self.settings);
        if socket.listen(pair.local.port).is_err() {
            return Admission::Drop;
        }
        Admission::Born {
            listener,
            socket: self.sockets.add(socket),
        }
    }
}

impl TcpTable {
    /// `None`: the port is taken or `LISTENERS_MAX` are bound.
    pub fn listen(&mut self, port: u16, backlog: usize) -> Option<usize> {
        if self.listener_on(port).is_some() {
            return None;
        }
        let listener = Listener {
            port,
            backlog,
            half_open: Vec::new(),
            ready: VecDeque::new(),
            waker: None,
        };
        if let Some(slot) = self.listeners.iter().position(Option::is_none) {
            self.listeners[slot] = Some(listener);
            return Some(slot);
        }
        if self.listeners.len() >= LISTENERS_MAX {
            return None;
        }
        self.listeners.push(Some(listener));
        Some(self.listeners.len() - 1)
    }

    /// Ends a listener; connections that nobody accepted are reset.
    pub fn unlisten(&mut self, sockets: &mut SocketSet<'_>, slot: usize, now_ms: u64) {
        let Some(listener) = self.listeners.get_mut(slot).and_then(Option::take) else {
            return;
        };
        let half_open = listener.half_open.into_iter().map(|pending| pending.socket);
        for socket in half_open.chain(listener.ready) {
            sockets.get_mut::<Socket<'_>>(socket).abort();
            self.orphans.push(Orphan {
                socket,
                since_ms: now_ms,
                aborted: true,
            });
        }
    }

    pub fn listener(&mut self, slot: usize) -> Option<&mut Listener> {
        self.listeners.get_mut(slot)?.as_mut()
    }

    fn listener_on(&self, port: u16) -> Option<usize> {
        self.listeners
            .iter()
            .position(|slot| slot.as_ref().is_some_and(|l| l.port == port))
    }

    fn has_place(&self, slot: usize) -> bool {
        let listener = self.listeners.get(slot).and_then(Option::as_ref);
        listener.is_some_and(|l| l.half_open.len() + l.ready.len() < l.backlog)
    }

    fn socket_of(&self, sockets: &SocketSet<'_>, pair: Pair) -> Option<(SocketHandle, State)> {
        sockets.iter().find_map(|(handle, socket)| match socket {
            smoltcp::socket::Socket::Tcp(tcp) if Pair::of(tcp) == Some(pair) => {
                Some((handle, tcp.state()))
            }
            _ => None,
        })
    }

    fn forget_orphan(&mut self, socket: SocketHandle) -> bool {
        let before = self.orphans.len();
        self.orphans.retain(|orphan| orphan.socket != socket);
        self.orphans.len() < before
    }

    /// smoltcp saw the SYN. If it did not take it, the socket goes again.
    pub fn born(
        &mut self,
        sockets: &mut SocketSet<'_>,
        slot: usize,
        socket: SocketHandle,
        now_ms: u64,
    ) {
        let taken = sockets.get::<Socket<'_>>(socket).state() != State::Listen;
        match self.listener(slot) {
            Some(listener) if taken => listener.half_open.push(Pending {
                socket,
                since_ms: now_ms,
            }),
            _ => {
                sockets.remove(socket);
            }
        }
    }

    /// Whoever dropped a stream leaves its socket here.
    pub fn adopt(&mut self, sockets: &mut SocketSet<'_>, socket: SocketHandle, now_ms: u64) {
        sockets.get_mut::<Socket<'_>>(socket).close();
        self.orphans.push(Orphan {
            socket,
            since_ms: now_ms,
            aborted: false,
        });
    }

    /// Moves finished handshakes to `ready` and buries what is over.
    pub fn settle(&mut self, sockets: &mut SocketSet<'_>, counters: &mut Counters, now_ms: u64) {
        for listener in self.listeners.iter_mut().flatten() {
            listener.settle(sockets, counters, now_ms);
        }
        self.settle_orphans(sockets, counters, now_ms);
    }

    fn settle_orphans(
        &mut self,
        sockets: &mut SocketSet<'_>,
        counters: &mut Counters,
        now_ms: u64,
    ) {
        self.orphans.retain_mut(|orphan| {
            let socket = sockets.get_mut::<Socket<'_>>(orphan.socket);
            // Nobody reads this any more; taking it lets the peer's last bytes and FIN arrive.
            while socket.can_recv() && socket.recv(|bytes| (bytes.len(), ())).is_ok() {}
            // An abort still owes its reset; smoltcp forgets the peer once that is sent.
            if socket.state() == State::Closed && socket.remote_endpoint().is_none() {
                sockets.remove(orphan.socket);
                return false;
            }
            let overdue = now_ms >= orphan.since_ms + LINGER_MS_MAX;
            if overdue && orphan.aborted {
                sockets.remove(orphan.socket); // its reset can't be sent; a minute is enough
                return false;
            }
            if overdue && socket.state() != State::TimeWait {
                socket.abort();
                counters.lingers_cut += 1;
                orphan.aborted = true;
                orphan.since_ms = now_ms;
            }
            true
        });
        self.cut_time_waits(sockets, counters);
    }

    fn cut_time_waits(&mut self, sockets: &mut SocketSet<'_>, counters: &mut Counters) {
        let waits = |orphan: &Orphan, sockets: &SocketSet<'_>| {
            sockets.get::<Socket<'_>>(orphan.socket).state() == State::TimeWait
        };
        let count = self
            .orphans
            .iter()
            .filter(|orphan| waits(orphan, sockets))
            .count();
        let mut excess = count.saturating_sub(TIME_WAITS_MAX);
        // Oldest first: orphans stand in the order of their adoption.
        self.orphans.retain(|orphan| {
            let cut = excess > 0 && waits(orphan, sockets);
            if cut {
                excess -= 1;
                counters.time_waits_cut += 1;
                sockets.remove(orphan.socket);
            }
            !cut
        });
    }

    /// When `settle` has to run although nothing arrived. What is due already has been settled.
    pub fn next_ms(&self, now_ms: u64) -> Option<u64> {
        let half_open = self
            .listeners
            .iter()
            .flatten()
            .flat_map(|listener| &listener.half_open);
        let half_open = half_open.map(|pending| pending.since_ms + HALF_OPEN_MS_MAX);
        let orphans = self
            .orphans
            .iter()
            .map(|orphan| orphan.since_ms + LINGER_MS_MAX);
        half_open
            .chain(orphans)
            .filter(|at_ms| *at_ms > now_ms)
            .min()
    }

    pub fn orphan_count(&self) -> usize {
        self.orphans.len()
    }

    /// A local port that no connection to `remote` uses.
    pub fn is_port_free(sockets: &SocketSet<'_>, port: u16) -> bool {
        !sockets.iter().any(|(_, socket)| match socket {
            smoltcp::socket::Socket::Tcp(tcp) => {
                tcp.local_endpoint().is_some_and(|local| local.port == port)
            }
            smoltcp::socket::Socket::Udp(udp) => udp.endpoint().port == port,
            _ => false,
        })
    }
}

impl Listener {
    fn settle(&mut self, sockets: &mut SocketSet<'_>, counters: &mut Counters, now_ms: u64) {
        let Listener {
            half_open,
            ready,
            waker,
            ..
        } = self;
        half_open.retain(|pending| {
            match sockets.get::<Socket<'_>>(pending.socket).state() {
                State::SynReceived if now_ms < pending.since_ms + HALF_OPEN_MS_MAX => return true,
                State::SynReceived => counters.half_open_cut += 1,
                State::Listen | State::Closed => {}
                _ => {
                    ready.push_back(pending.socket);
                    return false;
                }
            }
            sockets.remove(pending.socket);
            false
        });
        if !ready.is_empty()
            && let Some(waker) = waker.take()
        {
            waker.wake();
        }
    }

    pub fn accept(&mut self) -> Option<SocketHandle> {
        self.ready.pop_front()
    }
}

/// smoltcp's endpoint as the standard library writes it. The stack speaks IPv4 only.
pub(super) fn to_socket_addr(endpoint: IpEndpoint) -> SocketAddrV4 {
    let address = v4(endpoint.addr).unwrap_or(Ipv4Addr::UNSPECIFIED);
    SocketAddrV4::new(address, endpoint.port)
}

/// An address that this stack can have. A build that shares smoltcp with others (as tests do) knows
/// IPv6 too; no socket of ours is ever given such an address.
pub(super) fn v4(address: IpAddress) -> Option<Ipv4Addr> {
    match address {
        IpAddress::Ipv4(address) => Some(address),
        #[allow(unreachable_patterns)] // reachable only where smoltcp knows IPv6
        _ => None,
    }
}

pub(super) fn to_endpoint(address: SocketAddrV4) -> IpEndpoint {
    let ip: Ipv4Addr = *address.ip();
    IpEndpoint::new(IpAddress::Ipv4(ip), address.port())
}
