//! The host stack: TCP/IP in our own process, behind our own API.
//!
//! Does:      one smoltcp interface on one frame port: address, gateway, DNS, ARP and ping answers,
//!            TCP listeners and connections, UDP sockets, name resolution.
//! Does not:  route between stacks, or speak IPv6 yet. Several NICs are several stacks.
//! Bounds:    `SOCKETS_MAX` sockets, `TCP_BUFFER_LEN` a direction and connection by default.
//! Trusts:    the executor's thread; nobody on the wire.
//! Start at:  `HostStack::start`, then `TcpListener`, `TcpStream`, `UdpSocket`.
//!
//! A stack lives as long as any handle or socket of it; then its task ends and its port closes.

mod arp;
mod device;
mod dhcp;
mod direct;
mod expose;
mod inner;
mod neighbours;
mod query;
mod stream;
mod tap;
mod tcp;
mod udp;

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use rustix::rand::{GetRandomFlags, getrandom};

use crate::executor::{Handle, Readiness, yield_now};
use crate::frame::{FramePort, Mac};

pub use arp::fuzz_arp;
pub use dhcp::{DhcpClient, DhcpEvent, DhcpSettings};
pub use direct::{DirectUdp, Received};
pub use expose::{CONNECTIONS_MAX, expose};
pub use inner::{DNS_SERVERS_MAX, SOCKETS_MAX};
pub use stream::{TcpListener, TcpStream, tcp_connect};
pub use tap::UdpTap;
pub use udp::UdpSocket;

use device::Nic;
use inner::{Inner, Next};

/// Bytes of buffer in each direction of a connection: API traffic on a LAN.
pub const TCP_BUFFER_LEN: usize = 64 * 1024;

/// How long a peer may be silent by default: a switch that restarts takes about half of it.
pub const TCP_SILENCE_MS_MAX: u64 = 45_000;

/// What a stack needs to know about its NIC.
#[derive(Debug, Clone, Copy)]
pub struct StackSettings {
    pub mac: Mac,
    /// The largest IP packet, 1500 on Ethernet.
    pub mtu: u16,
    pub tcp_buffer_len: usize,
    /// A peer that is silent for so long is gone. A third of it brings the first probe.
    pub tcp_silence_ms_max: u64,
    /// Where ports, sequence numbers and retries come from. `None`: the kernel's randomness, as
    /// everywhere but in tests.
    pub seed: Option<u64>,
}

impl StackSettings {
    pub fn new(mac: Mac, mtu: u16) -> StackSettings {
        StackSettings {
            mac,
            mtu,
            tcp_buffer_len: TCP_BUFFER_LEN,
            tcp_silence_ms_max: TCP_SILENCE_MS_MAX,
            seed: None,
        }
    }
}

/// What the stack did so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counters {
    pub frames_received: u64,
    pub frames_sent: u64,
    /// Frames that a full or closed port did not take.
    pub sends_dropped: u64,
    /// SYNs that found their listener's backlog full.
    pub syns_dropped: u64,
    /// Handshakes that never finished.
    pub half_open_cut: u64,
    /// TIME-WAITs that ended early to bound memory.
    pub time_waits_cut: u64,
    /// Dropped connections whose peer would not part.
    pub lingers_cut: u64,
    /// Frames in which somebody else claimed our address.
    pub address_conflicts: u64,
    /// Sockets of all kinds that exist now.
    pub sockets: usize,
    /// Of these, closed by their owner and not yet buried.
    pub orphans: usize,
}

/// The smallest MTU that IPv4 allows a host to rely on.
const MTU_MIN: u16 = 576;

struct Shared {
    inner: RefCell<Inner>,
    executor: Handle,
}

/// A handle to one stack; clones are the same stack.
#[derive(Clone)]
pub struct HostStack {
    shared: Rc<Shared>,
}

impl fmt::Debug for HostStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostStack")
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}

impl HostStack {
    /// Puts a stack on a port and starts the task that drives it.
    pub fn start(
        executor: &Handle,
        port: impl FramePort + 'static,
        settings: StackSettings,
    ) -> io::Result<HostStack> {
        if settings.mtu < MTU_MIN || !settings.mac.is_unicast() {
            let text = format!("a NIC with MAC {} and MTU {}", settings.mac, settings.mtu);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        // The task waits on its own copy, so that the port can go while it waits.
        let readiness = port.readiness().try_clone_to_owned()?;
        let nic = Nic::new(Box::new(port), settings.mtu);
        let seed = settings.seed.map_or_else(random_seed, Ok)?;
        let inner = Inner::new(nic, settings, seed, executor.now_ms());
        let shared = Rc::new(Shared {
            inner: RefCell::new(inner),
            executor: executor.clone(),
        });
        let task = drive(Rc::downgrade(&shared), readiness, executor.clone());
        executor.spawn_detached(task).map_err(io::Error::other)?;
        Ok(HostStack { shared })
    }

    pub fn executor(&self) -> &Handle {
        &self.shared.executor
    }

    /// Gives the stack its only address, and announces it to the LAN. Setting the same again is
    /// harmless; connections of an old, different address are reset.
    pub fn set_address(&self, address: Ipv4Addr, prefix_len: u8, gateway: Option<Ipv4Addr>) {
        let prefix_len = prefix_len.min(32);
        self.shared
            .inner
            .borrow_mut()
            .set_address(address, prefix_len, gateway);
    }

    /// Takes the address and gateway away; connections end.
    pub fn clear_address(&self) {
        self.shared.inner.borrow_mut().clear_address();
    }

    /// Address and prefix length.
    pub fn address(&self) -> Option<(Ipv4Addr, u8)> {
        self.shared.inner.borrow().address()
    }

    /// The servers that `resolve` asks; beyond `DNS_SERVERS_MAX` they are ignored.
    pub fn set_dns(&self, servers: &[Ipv4Addr]) {
        self.shared.inner.borrow_mut().set_dns(servers);
    }

    pub fn mac(&self) -> Mac {
        self.shared.inner.borrow().mac()
    }

    /// Sends a whole Ethernet frame past smoltcp, as DHCP must before there is an address.
    pub fn send_frame(&self, frame: &[u8]) {
        let mut inner = self.shared.inner.borrow_mut();
        inner.nic.out.send(frame);
        inner.kick();
    }

    /// Takes all frames of one UDP port past smoltcp. Fails when the port is tapped already.
    pub fn tap_udp(&self, port: u16) -> io::Result<UdpTap> {
        let taps = &mut self.shared.inner.borrow_mut().taps;
        let tap = taps.add(port, tap::FRAMES_MAX);
        tap.ok_or_else(|| io::Error::new(io::ErrorKind::AddrInUse, format!("UDP port {port}")))
    }

    /// Why the port is gone, if it is. The stack stays, deaf and mute.
    pub fn port_failure(&self) -> Option<String> {
        self.shared
            .inner
            .borrow()
            .nic
            .out
            .failure
            .as_ref()
            .map(ToString::to_string)
    }

    pub fn counters(&self) -> Counters {
        let inner = self.shared.inner.borrow();
        Counters {
            frames_sent: inner.nic.out.sent,
            sends_dropped: inner.nic.out.dropped,
            address_conflicts: inner.guard.conflicts,
            sockets: inner.sockets.iter().count(),
            orphans: inner.tcp.orphan_count(),
            ..inner.counters
        }
    }
}

/// Eight bytes of the kernel's randomness, for ports, sequence numbers and retries.
pub(crate) fn random_seed() -> io::Result<u64> {
    let mut seed = [0u8; 8];
    getrandom(&mut seed, GetRandomFlags::empty())?;
    Ok(u64::from_ne_bytes(seed))
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The task sees that the stack is gone, and ends.
        self.inner.get_mut().kick();
    }
}

/// The stack's task: a turn, then a sleep until the port, a timer or a socket's user calls.
async fn drive(stack: Weak<Shared>, port: OwnedFd, executor: Handle) {
    loop {
        let Some(shared) = stack.upgrade() else {
            return;
        };
        let next = {
            let mut inner = shared.inner.borrow_mut();
            inner.kicked = false;
            let mut next = inner.turn(executor.now_ms());
            next.again |= inner.kicked;
            next
        };
        let gone = shared.inner.borrow().nic.out.failure.is_some();
        drop(shared);
        if next.again {
            yield_now().await;
        } else {
            wait(&stack, &port, &executor, next, gone).await;
        }
    }
}

async fn wait(stack: &Weak<Shared>, port: &OwnedFd, executor: &Handle, next: Next, gone: bool) {
    let mut readable = pin!((!gone).then(|| executor.readable(port)));
    let mut writable = pin!((next.wants_write && !gone).then(|| executor.writable(port)));
    let mut sleep = pin!(next.deadline_ms.map(|at_ms| executor.sleep_until(at_ms)));
    poll_fn(|cx| {
        let kicked = register_kick(stack, cx.waker());
        let ready = poll_readiness(readable.as_mut(), cx) | poll_readiness(writable.as_mut(), cx);
        let due = sleep
            .as_mut()
            .as_pin_mut()
            .is_some_and(|sleep| sleep.poll(cx).is_ready());
        if kicked || ready || due {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// True: a kick came already, or the stack is gone.
fn register_kick(stack: &Weak<Shared>, waker: &Waker) -> bool {
    let Some(shared) = stack.upgrade() else {
        return true;
    };
    let mut inner = shared.inner.borrow_mut();
    inner.kick = Some(waker.clone());
    inner.kicked
}

fn poll_readiness(wait: Pin<&mut Option<Readiness<'_>>>, cx: &mut Context<'_>) -> bool {
    wait.as_pin_mut()
        .is_some_and(|ready| ready.poll(cx).is_ready())
}
