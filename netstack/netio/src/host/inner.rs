//! One turn of the host stack: frames in, smoltcp, frames out, then housekeeping.
//!
//! Does:      owns smoltcp's interface and sockets; sorts each frame (tap, SYN, rest); tells when
//!            it wants to run again.
//! Does not:  wait; `HostStack`'s task does.
//! Bounds:    `FRAMES_PER_TURN` frames in and `ROUNDS_PER_TURN` rounds out, then others run.
//! Trusts:    smoltcp to check what it parses.
//! Start at:  `Inner::turn`.

use std::net::Ipv4Addr;
use std::task::Waker;

use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::socket::dns;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr, Ipv4Cidr};

use super::arp::Guard;
use super::device::Nic;
use super::neighbours::Neighbours;
use super::tap::Taps;
use super::tcp::{TcpTable, v4};
use super::{Counters, StackSettings};
use netcore::dice::Dice;
use netcore::ethernet::{Mac, arp_announcement};

/// Frames taken from the port before other tasks run.
const FRAMES_PER_TURN: usize = 64;

/// Rounds of sending, each with one packet a socket, before other tasks run.
const ROUNDS_PER_TURN: usize = 64;

/// The shortest sleep when smoltcp claims to be due but had nothing to do. It can happen when a
/// packet waits for a neighbour; without this it would be a busy loop.
const IDLE_SLEEP_MS: u64 = 10;

/// Sockets of all kinds. smoltcp looks them up one by one, so this bounds the cost of a packet.
pub const SOCKETS_MAX: usize = 256;

pub(super) struct Inner {
    pub iface: Interface,
    pub sockets: SocketSet<'static>,
    pub nic: Nic,
    pub tcp: TcpTable,
    pub taps: Taps,
    pub guard: Guard,
    pub neighbours: Neighbours,
    pub gateway: Option<Ipv4Addr>,
    pub dns: SocketHandle,
    pub dns_servers: Vec<Ipv4Addr>,
    /// Names that are being resolved.
    pub queries: usize,
    pub settings: StackSettings,
    pub dice: Dice,
    pub counters: Counters,
    /// Wakes the stack's task, while it waits.
    pub kick: Option<Waker>,
    pub kicked: bool,
}

/// What the task does after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Next {
    /// There is more to do right now.
    pub again: bool,
    /// Also wait until the port can be written.
    pub wants_write: bool,
    /// When to run at the latest.
    pub deadline_ms: Option<u64>,
}

fn instant(now_ms: u64) -> Instant {
    Instant::from_millis(i64::try_from(now_ms).unwrap_or(i64::MAX))
}

impl Inner {
    pub fn new(mut nic: Nic, settings: StackSettings, seed: u64, now_ms: u64) -> Inner {
        let address = HardwareAddress::Ethernet(EthernetAddress(settings.mac.0));
        let mut config = Config::new(address);
        config.random_seed = seed;
        let iface = Interface::new(config, &mut nic, instant(now_ms));
        let mut sockets = SocketSet::new(Vec::new());
        let dns = sockets.add(dns::Socket::new(&[], Vec::new()));
        Inner {
            iface,
            sockets,
            nic,
            tcp: TcpTable::default(),
            taps: Taps::default(),
            guard: Guard::default(),
            neighbours: Neighbours::default(),
            gateway: None,
            dns,
            dns_servers: Vec::new(),
            queries: 0,
            settings,
            dice: Dice::new(seed),
            counters: Counters::default(),
            kick: None,
            kicked: false,
        }
    }

    /// Asks the task for a turn.
    pub fn kick(&mut self) {
        self.kicked = true;
        if let Some(waker) = self.kick.take() {
            waker.wake();
        }
    }

    pub fn turn(&mut self, now_ms: u64) -> Next {
        let now = instant(now_ms);
        self.nic.out.flush();
        self.iface.poll_maintenance(now);
        let mut frames = 0;
        while frames < FRAMES_PER_TURN && self.nic.fill() {
            frames += 1;
            self.take_frame(now_ms);
        }
        let mut rounds = 0;
        while rounds < ROUNDS_PER_TURN
            && self
                .iface
                .poll_egress(now, &mut self.nic, &mut self.sockets)
                != PollResult::None
        {
            rounds += 1;
        }
        self.nic.out.flush();
        self.tcp
            .settle(&mut self.sockets, &mut self.counters, now_ms);
        self.next(now_ms, frames, rounds)
    }

    fn next(&mut self, now_ms: u64, frames: usize, rounds: usize) -> Next {
        let blocked = self.nic.out.is_blocked();
        let again = frames == FRAMES_PER_TURN || (rounds == ROUNDS_PER_TURN && !blocked);
        let due = self.iface.poll_at(instant(now_ms), &self.sockets);
        let mut deadline_ms = due.map(|at| u64::try_from(at.total_millis()).unwrap_or(0));
        if deadline_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            let idle = frames == 0 && rounds == 0;
            deadline_ms = Some(now_ms + if idle { IDLE_SLEEP_MS } else { 0 });
        }
        if blocked && deadline_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            deadline_ms = None; // it can't send before the port can
        }
        let deadline_ms = [deadline_ms, self.tcp.next_ms(now_ms)]
            .into_iter()
            .flatten()
            .min();
        Next {
            again,
            wants_write: blocked,
            deadline_ms,
        }
    }

    /// One frame: to a tap, dropped, or through smoltcp.
    fn take_frame(&mut self, now_ms: u64) {
        self.counters.frames_received += 1;
        if self.taps.take(self.nic.frame()) {
            self.nic.discard();
            return;
        }
        for frame in self.neighbours.hear_arp(self.nic.frame(), now_ms) {
            self.nic.out.send(&frame);
        }
        if let Some((address, _)) = self.address() {
            let us = (self.settings.mac, address);
            if let Some(answer) = self.guard.answer(self.nic.frame(), us, now_ms) {
                self.nic.out.send(&answer);
            }
        }
        let admission = self.admit_syn(now_ms);
        if admission == Admission::Drop {
            self.nic.discard();
            self.counters.syns_dropped += 1;
            return;
        }
        self.iface
            .poll_ingress_single(instant(now_ms), &mut self.nic, &mut self.sockets);
        if let Admission::Born { listener, socket } = admission {
            self.tcp.born(&mut self.sockets, listener, socket, now_ms);
        }
    }

    pub fn set_address(&mut self, address: Ipv4Addr, prefix_len: u8, gateway: Option<Ipv4Addr>) {
        let cidr = IpCidr::Ipv4(Ipv4Cidr::new(address, prefix_len));
        if self.iface.ip_addrs() != [cidr] {
            self.iface.update_ip_addrs(|all| {
                all.clear();
                all.push(cidr)
                    .expect("an empty table of four has room for one");
            });
        }
        self.iface.routes_mut().remove_default_ipv4_route();
        self.gateway = gateway;
        if let Some(gateway) = gateway {
            let added = self.iface.routes_mut().add_default_ipv4_route(gateway);
            added.expect("an empty table of four has room for one");
        }
        self.nic
            .out
            .send(&arp_announcement(self.settings.mac, address));
        self.kick();
    }

    pub fn clear_address(&mut self) {
        self.iface.update_ip_addrs(|all| all.clear());
        self.gateway = None;
        self.iface.routes_mut().remove_default_ipv4_route();
        self.kick();
    }

    pub fn address(&self) -> Option<(Ipv4Addr, u8)> {
        let cidr = self.iface.ip_addrs().first()?;
        Some((v4(cidr.address())?, cidr.prefix_len()))
    }

    pub fn set_dns(&mut self, servers: &[Ipv4Addr]) {
        self.dns_servers = servers.iter().copied().take(DNS_SERVERS_MAX).collect();
        let addresses: Vec<IpAddress> = self
            .dns_servers
            .iter()
            .map(|server| IpAddress::Ipv4(*server))
            .collect();
        self.sockets
            .get_mut::<dns::Socket>(self.dns)
            .update_servers(&addresses);
    }

    pub fn mac(&self) -> Mac {
        self.settings.mac
    }

    /// Room for one more socket?
    pub fn has_room(&self) -> bool {
        self.sockets.iter().count() < SOCKETS_MAX
    }
}

/// Servers asked in turn. More are ignored: smoltcp is built for three.
pub const DNS_SERVERS_MAX: usize = 3;

/// What to do with a frame that might open a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Nothing new: smoltcp handles it.
    Pass,
    /// The listener has no place: silence makes the peer try again, a reset would make it give up.
    Drop,
    /// A socket was put in place for it.
    Born {
        listener: usize,
        socket: SocketHandle,
    },
}
