//! How the world carries a message from one host to another, or loses it.
//!
//! Does:      the sender's line, sessions and their handshakes, streams in order, the fate that the
//!            network tells, what the receiver is by then.
//! Does not:  know distances or loss (`network`).
//! Bounds:    `FLIGHT_MAX` messages in flight.
//! Trusts:    machines to name any address; those of nobody are lost.
//! Start at:  `World::send`, `World::arrive`.

use super::network::{self, Fate, Place};
use super::{FLIGHT_MAX, Packet, What, World, at, host};
use crate::ids;
use crate::machine::Machine;
use protocol::NodeId;
use protocol::peer::{Channel, Contact};

/// After so long without an answer a stream counts as broken.
const STREAM_PATIENCE_US: u64 = 3_000_000;
/// A peer that does not answer under an old session gets a new handshake after this.
const SESSION_STALE_US: u64 = 3_000_000;

/// In a world of so many hosts, sessions of hosts that are up for this long are not looked up.
const CROWD: usize = 500;
const STEADY_US: u64 = 20_000_000;

impl<M: Machine> World<M> {
    /// A host sends bytes of somebody else's making to another.
    pub fn inject(&mut self, host: u32, to: u32, channel: Channel, bytes: Vec<u8>) {
        let (Some(from), Some(receiver)) = (self.hosts.get(at(host)), self.hosts.get(at(to)))
        else {
            return;
        };
        if from.is_up() && host != to {
            let contact = receiver.contact();
            self.send(host, contact.node, contact.address, channel, bytes);
        }
    }

    pub(super) fn send(
        &mut self,
        host: u32,
        to_id: NodeId,
        address: std::net::SocketAddr,
        channel: Channel,
        bytes: Vec<u8>,
    ) {
        if bytes.len() > channel.bytes_max() {
            self.counts.oversized += 1;
        }
        let receiver = ids::number_of(address)
            .and_then(|number| self.at_address.get(at(number)).copied())
            .unwrap_or(u32::MAX);
        let from = &mut self.hosts[at(host)];
        let overhead = match channel {
            Channel::Datagram => network::DATAGRAM_OVERHEAD_BYTES,
            Channel::Stream => network::STREAM_OVERHEAD_BYTES,
        };
        let wire = bytes.len() as u64 + overhead;
        let kind = bytes.get(2).map_or(7, |kind| usize::from(*kind).min(7));
        from.traffic.messages_out += 1;
        from.traffic.bytes_out += wire;
        from.traffic.by_kind[kind] += wire;
        from.line_free_us = from.line_free_us.max(self.now_us) + network::line_us(wire);
        self.counts.messages += 1;
        let packet = Packet {
            from: host,
            from_boot: from.boot,
            from_id: from.id,
            from_address: from.address,
            to: receiver,
            to_id,
            to_boot: 0,
            channel,
            bytes,
            copies: 1,
        };
        match channel {
            Channel::Datagram => self.send_datagram(packet, wire),
            Channel::Stream => self.send_stream(packet, wire),
        }
    }

    fn place(&self, host: u32) -> Option<Place> {
        let site = self.glances.get(at(host))?.site;
        Some(Place { host, site })
    }

    /// What a session adds: the time of a handshake. `None`: the peer does not know it any more.
    fn session_us(&mut self, packet: &mut Packet, trip_us: u64) -> Option<u64> {
        let now_us = self.now_us;
        let [from, to] = [packet.from, packet.to].map(|host| self.glances[at(host)]);
        packet.to_boot = to.boot;
        if M::HAS_SESSIONS {
            return Some(0);
        }
        let steady_us = from.booted_us.max(to.booted_us) + STEADY_US;
        if self.glances.len() >= CROWD && now_us > steady_us {
            return Some(0);
        }
        let fresh = host::Session {
            boot: to.boot,
            stale_us: None,
            stream_us: 0,
        };
        let sessions = &mut self.hosts[at(packet.from)].sessions;
        let Some(session) = sessions.get_mut(&packet.to) else {
            sessions.insert(packet.to, fresh);
            let back = host::Session {
                boot: packet.from_boot,
                ..fresh
            };
            self.hosts[at(packet.to)].sessions.insert(packet.from, back);
            return Some(2 * trip_us);
        };
        if session.boot == to.boot {
            return Some(0);
        }
        let since = *session.stale_us.get_or_insert(now_us);
        if now_us >= since + SESSION_STALE_US {
            *session = fresh;
            return Some(2 * trip_us);
        }
        None
    }

    fn send_datagram(&mut self, mut packet: Packet, wire: u64) {
        let (Some(from), Some(to)) = (self.place(packet.from), self.place(packet.to)) else {
            self.counts.lost += 1;
            return;
        };
        let queued_us = self.hosts[at(packet.from)].line_free_us - self.now_us;
        let fate = self.network.datagram(from, to, wire, queued_us);
        let trip_us = self.network.distance_us(from.site, to.site);
        let Some(handshake_us) = self.session_us(&mut packet, trip_us) else {
            self.counts.lost += 1;
            return;
        };
        let now_us = self.now_us + handshake_us;
        match fate {
            Fate::Lost => self.counts.lost += 1,
            Fate::Comes(us) => {
                self.launch(packet, now_us + us, false);
            }
            Fate::Twice(first, second) => {
                packet.copies = 2;
                let index = self.launch(packet, now_us + first, false);
                if let Some(index) = index {
                    self.queue.push(now_us + second, What::Arrive(index));
                }
            }
        }
    }

    fn send_stream(&mut self, mut packet: Packet, wire: u64) {
        let now_us = self.now_us;
        let (Some(from), Some(to)) = (self.place(packet.from), self.place(packet.to)) else {
            self.launch(packet, now_us + STREAM_PATIENCE_US, true);
            return;
        };
        let session = self.hosts[at(packet.from)].sessions.get(&packet.to);
        let is_fresh = session.is_none_or(|session| session.stream_us == 0);
        let queued_us = self.hosts[at(packet.from)].line_free_us - now_us;
        let Some(travel_us) = self.network.stream(from, to, wire, is_fresh) else {
            self.launch(packet, now_us + STREAM_PATIENCE_US, true);
            return;
        };
        // A stream whose peer has rebooted is reset by it: a new one is made at once.
        let trip_us = self.network.distance_us(from.site, to.site);
        let extra_us = self.session_us(&mut packet, trip_us).unwrap_or(4 * trip_us);
        let mut arrive_us = now_us + queued_us + travel_us + extra_us;
        let sessions = &mut self.hosts[at(packet.from)].sessions;
        let session = sessions.entry(packet.to).or_insert(host::Session {
            boot: packet.to_boot,
            stale_us: None,
            stream_us: 0,
        });
        arrive_us = arrive_us.max(session.stream_us + 1);
        session.stream_us = arrive_us;
        self.launch(packet, arrive_us, false);
    }

    fn launch(&mut self, packet: Packet, at_us: u64, is_broken: bool) -> Option<u32> {
        if self.counts.in_flight >= FLIGHT_MAX as u64 {
            self.counts.lost += 1;
            return None;
        }
        self.counts.in_flight += 1;
        self.counts.flight_max = self.counts.flight_max.max(self.counts.in_flight);
        let index = match self.free.pop() {
            Some(index) => {
                self.packets[at(index)] = Some(packet);
                index
            }
            None => {
                self.packets.push(Some(packet));
                u32::try_from(self.packets.len() - 1).unwrap_or(u32::MAX)
            }
        };
        let what = if is_broken {
            What::Broken(index)
        } else {
            What::Arrive(index)
        };
        self.queue.push(at_us, what);
        Some(index)
    }

    fn land(&mut self, index: u32) -> Option<Packet> {
        self.counts.in_flight -= 1;
        self.free.push(index);
        self.packets[at(index)].take()
    }

    pub(super) fn arrive(&mut self, index: u32) {
        let now_us = self.now_us;
        let Some(packet) = &mut self.packets[at(index)] else {
            return;
        };
        let receiver = self.glances[at(packet.to)];
        if receiver.is_up() && receiver.ready_us > now_us {
            self.queue.push(receiver.ready_us, What::Arrive(index));
            return;
        }
        let is_cut = self.network.is_disturbed() && {
            let [from, to] = [packet.from, packet.to].map(|host| Place {
                host,
                site: self.glances[at(host)].site,
            });
            self.network.is_blocked(from, to, packet.channel)
        };
        let is_same = receiver.boot == packet.to_boot
            && (M::HAS_SESSIONS || self.hosts[at(packet.to)].id == packet.to_id);
        let is_known = receiver.is_up() && is_same && !is_cut;
        let packet = if packet.copies > 1 {
            packet.copies -= 1;
            Packet {
                bytes: packet.bytes.clone(),
                ..*packet
            }
        } else {
            match self.land(index) {
                Some(packet) => packet,
                None => return,
            }
        };
        if is_known {
            self.hand_over(packet);
            return;
        }
        if receiver.is_up() && !is_cut && !is_same {
            // Somebody else lives there now: the handshake says who.
            self.meet(packet.from, packet.to);
        }
        if packet.channel == Channel::Stream {
            self.launch(packet, now_us + STREAM_PATIENCE_US, true);
        } else {
            self.counts.lost += 1;
        }
    }

    fn hand_over(&mut self, packet: Packet) {
        let contact = Contact {
            node: packet.from_id,
            site: self.ids.site(ids::site_of(packet.from_id)),
            address: ids::address_of(packet.from_address),
        };
        self.mark(2, packet.to, &packet.bytes);
        let place = &mut self.hosts[at(packet.to)];
        place.traffic.bytes_in += packet.bytes.len() as u64;
        let now = place.clock.moment(self.now_us);
        if let Some(machine) = &mut place.machine {
            machine.receive(now, contact, packet.channel, &packet.bytes);
        }
        self.after_step(packet.to);
    }

    pub(super) fn broken(&mut self, index: u32) {
        let Some(packet) = self.land(index) else {
            return;
        };
        self.counts.broken_streams += 1;
        let place = &mut self.hosts[at(packet.from)];
        if place.boot != packet.from_boot {
            return;
        }
        if let Some(session) = place.sessions.get_mut(&packet.to) {
            session.stream_us = 0;
        }
        let now = place.clock.moment(self.now_us);
        let Some(machine) = &mut place.machine else {
            return;
        };
        machine.unreachable(now, packet.to_id, packet.channel);
        self.mark(3, packet.from, &[]);
        self.after_step(packet.from);
    }
}
