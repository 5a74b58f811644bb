//! Connection tracking: what belongs to a conversation that was allowed once.
//!
//! Does:      remembers conversations per port, how far they are, and when they end; which
//!            fragments belong to a first one that passed.
//! Does not:  check TCP's sequence numbers: whoever forges a segment of a connection that is
//!            allowed gets it as far as the guest's own TCP.
//! Bounds:    `FLOWS_MAX` in all, `FLOWS_PER_PORT_MAX` of one port, `FRAGMENTS_MAX` of one port.
//!            At a port's maximum its oldest half-open conversation makes room, then its oldest
//!            closed one; without either the new one is refused. At the overall maximum the port
//!            that holds most makes room in the same way. Each is counted.
//! Trusts:    packets as far as `packet` checked them.
//! Start at:  `Flows::find`, `Flows::open`, `Flows::touch`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::records::PortId;
use crate::packet::{Fragment, Ip, Transport, protocol, tcp_flag};

/// Conversations of all guests: about 60 MB.
pub const FLOWS_MAX: usize = 131_072;
/// Conversations of one guest.
pub const FLOWS_PER_PORT_MAX: usize = 32_768;
/// Datagrams of one guest that arrive in parts at one time; beyond it the oldest is forgotten.
pub const FRAGMENTS_MAX: usize = 64;

const HALF_OPEN_MS: u64 = 30_000;
const CLOSED_MS: u64 = 10_000;
/// RFC 5382: at least 2 hours and 4 minutes.
const TCP_OPEN_MS: u64 = 7_440_000;
/// RFC 4787: at least two minutes.
const UDP_OPEN_MS: u64 = 180_000;
const OTHER_OPEN_MS: u64 = 60_000;
/// Linux reassembles for 30 s; parts that come later than this are lost for other reasons.
const FRAGMENT_MS: u64 = 2_000;
/// Ended conversations that one call forgets, so that no call takes long.
const SWEEP_MAX: usize = 1024;

/// An end of a conversation; the number is a port, or the id of an echo.
pub type End = (IpAddr, u16);

/// One conversation of one guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowKey {
    pub port: PortId,
    pub protocol: u8,
    pub guest: End,
    pub far: End,
}

impl FlowKey {
    /// The conversation of a packet that the guest at `port` sends. `None`: a packet of no
    /// conversation, as an error, or a later fragment.
    pub fn outgoing(port: PortId, ip: &Ip) -> Option<FlowKey> {
        let (source, target) = ends(ip)?;
        Some(FlowKey {
            port,
            protocol: ip.protocol,
            guest: (ip.source, source),
            far: (ip.target, target),
        })
    }

    /// The conversation of a packet that the guest at `port` gets.
    pub fn incoming(port: PortId, ip: &Ip) -> Option<FlowKey> {
        let key = FlowKey::outgoing(port, ip)?;
        let turned = FlowKey {
            guest: key.far,
            far: key.guest,
            ..key
        };
        Some(turned.with_echo_at_guest())
    }

    /// Of a packet that passes the port one way or the other.
    pub fn passing(port: PortId, ip: &Ip, is_from_guest: bool) -> Option<FlowKey> {
        if is_from_guest {
            FlowKey::outgoing(port, ip)
        } else {
            FlowKey::incoming(port, ip)
        }
    }

    /// The conversation that an error's quote is from: `from_guest` says who sent the error.
    pub fn quoted(port: PortId, quote: &Ip, from_guest: bool) -> Option<FlowKey> {
        FlowKey::passing(port, quote, !from_guest)
    }

    /// An echo has one number, which stands at the guest's end.
    fn with_echo_at_guest(self) -> FlowKey {
        if matches!(self.protocol, protocol::ICMP | protocol::ICMPV6) {
            FlowKey {
                guest: (self.guest.0, self.far.1),
                far: (self.far.0, 0),
                ..self
            }
        } else {
            self
        }
    }
}

fn ends(ip: &Ip) -> Option<(u16, u16)> {
    if matches!(ip.fragment, Fragment::Later(_)) {
        return None;
    }
    match ip.transport {
        Transport::Tcp { source, target, .. } | Transport::Udp { source, target } => {
            Some((source, target))
        }
        Transport::Icmp { kind, id, .. } => {
            let is_echo = matches!((ip.is_v4(), kind), (true, 0 | 8) | (false, 128 | 129));
            is_echo.then_some((id, 0))
        }
        Transport::Other => Some((0, 0)),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Only one side spoke.
    HalfOpen,
    /// Over; kept for what is still on its way.
    Closed,
    Open,
}

#[derive(Clone, Copy, Debug)]
pub struct Flow {
    pub phase: Phase,
    /// What the outside knows the guest's end as, if the conversation goes there.
    pub outside: Option<End>,
    opened_by_guest: bool,
    guest_finished: bool,
    far_finished: bool,
    changed_ms: u64,
    seen_ms: u64,
    /// When it is looked at next.
    due_ms: u64,
}

impl Flow {
    fn ends_ms(&self, protocol: u8) -> u64 {
        let keep = match (self.phase, protocol) {
            (Phase::HalfOpen, _) => HALF_OPEN_MS,
            (Phase::Closed, _) => CLOSED_MS,
            (Phase::Open, protocol::TCP) => TCP_OPEN_MS,
            (Phase::Open, protocol::UDP) => UDP_OPEN_MS,
            (Phase::Open, _) => OTHER_OPEN_MS,
        };
        self.seen_ms.saturating_add(keep)
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlowCounters {
    pub opened: u64,
    pub ended: u64,
    /// Made room for another before its time.
    pub evicted: u64,
    /// There was no room.
    pub refused: u64,
}

/// The conversations of one port that may make room: half-open ones first, then closed ones.
#[derive(Debug, Default)]
struct OfPort {
    count: usize,
    weak: BTreeSet<(Phase, u64, FlowKey)>,
    fragments: BTreeMap<(IpAddr, IpAddr, u8, u32), u64>,
}

#[derive(Debug, Default)]
pub struct Flows {
    flows: BTreeMap<FlowKey, Flow>,
    /// When to look whether a conversation has ended: one entry of each.
    due: BTreeSet<(u64, FlowKey)>,
    ports: BTreeMap<PortId, OfPort>,
    /// Ends outside that are not needed any more, until the caller takes them.
    released: Vec<(u8, End)>,
    counters: FlowCounters,
}

impl Flows {
    pub fn find(&self, key: &FlowKey) -> Option<&Flow> {
        self.flows.get(key)
    }

    pub fn len(&self) -> usize {
        self.flows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    pub fn of_port(&self, port: PortId) -> usize {
        self.ports.get(&port).map_or(0, |of_port| of_port.count)
    }

    pub fn counters(&self) -> FlowCounters {
        self.counters
    }

    /// Begins a conversation. False: there is no room for it.
    #[must_use]
    pub(super) fn open(
        &mut self,
        now_ms: u64,
        key: FlowKey,
        by_guest: bool,
        outside: Option<End>,
    ) -> bool {
        if self.flows.contains_key(&key) {
            return true;
        }
        if self.of_port(key.port) >= FLOWS_PER_PORT_MAX && !self.make_room(key.port) {
            self.counters.refused += 1;
            return false;
        }
        if self.flows.len() >= FLOWS_MAX {
            let fullest = self.ports.iter().max_by_key(|(_, of_port)| of_port.count);
            let fullest = fullest.map(|(port, _)| *port);
            if !fullest.is_some_and(|port| self.make_room(port)) {
                self.counters.refused += 1;
                return false;
            }
        }
        let mut flow = Flow {
            phase: Phase::HalfOpen,
            outside,
            opened_by_guest: by_guest,
            guest_finished: false,
            far_finished: false,
            changed_ms: now_ms,
            seen_ms: now_ms,
            due_ms: 0,
        };
        flow.due_ms = flow.ends_ms(key.protocol);
        self.due.insert((flow.due_ms, key));
        let of_port = self.ports.entry(key.port).or_default();
        of_port.count += 1;
        of_port.weak.insert((flow.phase, now_ms, key));
        self.flows.insert(key, flow);
        self.counters.opened += 1;
        true
    }

    /// A packet of the conversation passed.
    pub(super) fn touch(&mut self, now_ms: u64, key: &FlowKey, ip: &Ip, from_guest: bool) {
        let Some(flow) = self.flows.get_mut(key) else {
            return;
        };
        flow.seen_ms = flow.seen_ms.max(now_ms);
        let before = (flow.phase, flow.changed_ms, *key);
        let mut phase = flow.phase;
        if phase == Phase::HalfOpen && from_guest != flow.opened_by_guest {
            phase = Phase::Open;
        }
        if let Transport::Tcp { flags, .. } = ip.transport {
            let has = |flag: u8| flags & flag != 0;
            flow.guest_finished |= from_guest && has(tcp_flag::FIN);
            flow.far_finished |= !from_guest && has(tcp_flag::FIN);
            if has(tcp_flag::RST) || (flow.guest_finished && flow.far_finished) {
                phase = Phase::Closed;
            }
            // The same ports again: a new connection.
            let is_anew = has(tcp_flag::SYN) && !has(tcp_flag::ACK);
            if is_anew && flow.phase == Phase::Closed {
                phase = Phase::HalfOpen;
                flow.opened_by_guest = from_guest;
                (flow.guest_finished, flow.far_finished) = (false, false);
            }
        }
        if phase == flow.phase {
            return;
        }
        flow.phase = phase;
        flow.changed_ms = now_ms;
        self.due.remove(&(flow.due_ms, *key));
        flow.due_ms = flow.ends_ms(key.protocol);
        self.due.insert((flow.due_ms, *key));
        let of_port = self.ports.entry(key.port).or_default();
        of_port.weak.remove(&before);
        if phase != Phase::Open {
            of_port.weak.insert((phase, now_ms, *key));
        }
    }

    fn make_room(&mut self, port: PortId) -> bool {
        let weak = self
            .ports
            .get(&port)
            .and_then(|of_port| of_port.weak.first());
        let Some((_, _, key)) = weak.copied() else {
            return false;
        };
        self.forget(&key);
        self.counters.evicted += 1;
        true
    }

    fn forget(&mut self, key: &FlowKey) -> Option<Flow> {
        let flow = self.flows.remove(key)?;
        self.due.remove(&(flow.due_ms, *key));
        if let Some(of_port) = self.ports.get_mut(&key.port) {
            of_port.weak.remove(&(flow.phase, flow.changed_ms, *key));
            of_port.count -= 1;
        }
        self.released
            .extend(flow.outside.map(|end| (key.protocol, end)));
        Some(flow)
    }

    /// Ends outside of conversations that are over.
    pub(super) fn take_released(&mut self) -> Vec<(u8, End)> {
        std::mem::take(&mut self.released)
    }

    /// Forgets every conversation of a port.
    pub(super) fn forget_port(&mut self, port: PortId) {
        let keys: Vec<FlowKey> = self
            .flows
            .keys()
            .filter(|key| key.port == port)
            .copied()
            .collect();
        for key in keys {
            self.forget(&key);
        }
        self.ports.remove(&port);
    }

    /// Forgets conversations with such an end outside, which is somebody else's now.
    pub(super) fn forget_outside(&mut self, is_gone: impl Fn(u8, End) -> bool) {
        let gone = self
            .flows
            .iter()
            .filter(|(key, flow)| flow.outside.is_some_and(|end| is_gone(key.protocol, end)));
        let keys: Vec<FlowKey> = gone.map(|(key, _)| *key).collect();
        for key in keys {
            self.forget(&key);
        }
    }

    /// Forgets what has ended; the due times of what goes on are set anew.
    pub(super) fn sweep(&mut self, now_ms: u64) {
        for _ in 0..SWEEP_MAX {
            let Some((_, key)) = self.due.first().copied().filter(|(due, _)| *due <= now_ms) else {
                return;
            };
            self.due.pop_first();
            let Some(flow) = self.flows.get_mut(&key) else {
                continue;
            };
            let ends_ms = flow.ends_ms(key.protocol);
            if ends_ms <= now_ms {
                self.forget(&key);
                self.counters.ended += 1;
            } else {
                flow.due_ms = ends_ms;
                self.due.insert((ends_ms, key));
            }
        }
    }

    pub(super) fn next_timeout(&self) -> Option<u64> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Remembers that the first part of a datagram passed.
    pub(super) fn remember_first(&mut self, now_ms: u64, port: PortId, ip: &Ip) {
        let Fragment::First(id) = ip.fragment else {
            return;
        };
        let fragments = &mut self.ports.entry(port).or_default().fragments;
        fragments.retain(|_, until_ms| *until_ms > now_ms);
        if fragments.len() >= FRAGMENTS_MAX {
            let oldest = fragments.iter().min_by_key(|(_, until_ms)| **until_ms);
            if let Some(key) = oldest.map(|(key, _)| *key) {
                fragments.remove(&key);
            }
        }
        let key = (ip.source, ip.target, ip.protocol, id);
        fragments.insert(key, now_ms.saturating_add(FRAGMENT_MS));
    }

    /// Whether the first part of this datagram passed.
    pub fn first_passed(&self, now_ms: u64, port: PortId, ip: &Ip) -> bool {
        let Fragment::Later(id) = ip.fragment else {
            return false;
        };
        let key = (ip.source, ip.target, ip.protocol, id);
        let of_port = self.ports.get(&port);
        let until_ms = of_port.and_then(|of_port| of_port.fragments.get(&key));
        until_ms.is_some_and(|until_ms| *until_ms > now_ms)
    }
}
