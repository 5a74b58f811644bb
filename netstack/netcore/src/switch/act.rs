//! What the switch does with a verdict.
//!
//! Does:      remembers conversations, takes from rates, cuts and rewrites frames, and says where
//!            they go.
//! Does not:  decide; `judge` did.
//! Bounds:    one input makes at most as many outputs as it has segments, or its network stations.
//! Trusts:    the verdict, which was made from the same tables just before.
//! Start at:  `Switch::hear_guest`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::flows::{End, FlowKey};
use super::groups::Direction;
use super::judge::{Fate, Pass, Passing, Verdict};
use super::reason::Reason;
use super::records::{GATEWAY_MAC, METADATA_V4, METADATA_V6, NetworkId, PeerId, Place, PortId};
use super::shim::{HOPS_MAX, SHIM_LEN, Shim};
use super::translate::{Side, translate};
use super::write::{self, Complaint};
use super::{Output, Switch};
use crate::ethernet::{HEADER_LEN, Mac};
use crate::offload::{Checked, Offload};
use crate::packet::{Ip, Packet};

/// One hop of a packet to a station.
#[derive(Clone, Copy)]
struct Hop {
    network: NetworkId,
    mac: Mac,
    place: Place,
    epoch: u64,
    is_routed: bool,
}

impl Switch {
    pub(super) fn hear_guest(&mut self, now_ms: u64, id: PortId, frame: &[u8], offload: Offload) {
        let Some(port) = self.tables.ports.get_mut(&id) else {
            return; // unplugged while the frame was on its way
        };
        let bytes = u64::try_from(frame.len()).unwrap_or(u64::MAX);
        port.counters.sent_frames += 1;
        port.counters.sent_bytes += bytes;
        let checked = match Checked::new(frame, offload) {
            Ok(checked) => checked,
            Err(bad) => return self.drop_at(id, &Reason::Malformed(bad)),
        };
        if !port.out_frames.take(now_ms, 1) {
            return self.drop_at(id, &Reason::TooFast("frames"));
        }
        if !port.out_bytes.take(now_ms, bytes) {
            return self.drop_at(id, &Reason::TooFast("bytes"));
        }
        let verdict = self.tables.judge_guest(now_ms, id, &checked);
        self.act(now_ms, id, &checked, verdict);
    }

    fn act(&mut self, now_ms: u64, id: PortId, checked: &Checked<'_>, verdict: Verdict) {
        let Some(port) = self.tables.ports.get_mut(&id) else {
            return;
        };
        let network = port.network;
        match verdict.fate {
            Fate::Drop(reason) => self.drop_at(id, &reason),
            Fate::Complain(reason, complaint) => {
                self.drop_at(id, &reason);
                self.complain(now_ms, id, checked, complaint);
            }
            Fate::Quiet(_) => port.counters.quiet += 1,
            Fate::Gateway(ask) => self.answer(now_ms, id, checked, ask),
            Fate::Station {
                mac,
                place,
                epoch,
                is_routed,
            } => {
                let Some(ip) = checked.packet().ip() else {
                    return;
                };
                let hop = Hop {
                    network,
                    mac,
                    place,
                    epoch,
                    is_routed,
                };
                if !self.commit(now_ms, id, &ip, verdict.sent, Direction::Out, None) {
                    return self.drop_at(id, &Reason::NoRoom);
                }
                self.go(now_ms, checked, &ip, hop, verdict.got);
            }
            Fate::Everyone => {
                if !port.for_all.take(now_ms, 1) {
                    return self.drop_at(id, &Reason::TooFast("frames for everybody"));
                }
                let Some(ip) = checked.packet().ip() else {
                    return;
                };
                if !self.commit(now_ms, id, &ip, verdict.sent, Direction::Out, None) {
                    return self.drop_at(id, &Reason::NoRoom);
                }
                self.spread(now_ms, network, Some(id), checked, &ip);
            }
            Fate::Outside(end) => self.leave(now_ms, id, checked, verdict.sent, end),
        }
    }

    /// Remembers that a packet passed a port. False: there is no room for its conversation.
    fn commit(
        &mut self,
        now_ms: u64,
        port: PortId,
        ip: &Ip,
        pass: Option<Pass>,
        direction: Direction,
        outside: Option<End>,
    ) -> bool {
        let from_guest = direction == Direction::Out;
        let flows = &mut self.tables.flows;
        let key = FlowKey::passing(port, ip, from_guest);
        if let (Some(key), Some(Pass::Rule(..))) = (key, pass)
            && !ip.is_icmp_error()
        {
            if !flows.open(now_ms, key, from_guest, outside) {
                return false;
            }
            if let Some(end) = outside {
                self.tables.outside.hold(port, ip.protocol, key.guest, end);
            }
        }
        let flows = &mut self.tables.flows;
        if let Some(key) = key {
            flows.touch(now_ms, &key, ip, from_guest);
        }
        if pass.is_some() {
            flows.remember_first(now_ms, port, ip);
        }
        true
    }

    /// To one station, here or elsewhere.
    fn go(&mut self, now_ms: u64, checked: &Checked<'_>, ip: &Ip, hop: Hop, got: Option<Pass>) {
        let mtu = self.mtu(hop.network);
        let Place::Here(port) = hop.place else {
            for frame in checked.segments() {
                self.go_there(frame, ip, hop, mtu, HOPS_MAX);
            }
            return;
        };
        if !self.commit(now_ms, port, ip, got, Direction::In, None) {
            return self.drop_at(port, &Reason::NoRoom);
        }
        let abilities = self.tables.ports.get(&port).map(|port| port.abilities);
        let offload = checked.offload();
        if abilities.is_some_and(|abilities| abilities.can(offload)) {
            let mut frame = checked.packet().bytes().to_vec();
            let is_partial = offload.partial.is_some();
            dress(&mut frame, ip, hop, mtu, is_partial);
            return self.deliver(now_ms, port, frame, offload);
        }
        for mut frame in checked.segments() {
            dress(&mut frame, ip, hop, mtu, false);
            self.deliver(now_ms, port, frame, Offload::default());
        }
    }

    fn go_there(&mut self, mut frame: Vec<u8>, ip: &Ip, hop: Hop, mtu: u16, hops: u8) {
        let Place::There(peer) = hop.place else {
            return;
        };
        dress(&mut frame, ip, hop, mtu, false);
        let shim = Shim {
            network: hop.network,
            hops,
            epoch: Shim::short_epoch(hop.epoch),
        };
        let mut message = Vec::with_capacity(SHIM_LEN + frame.len());
        message.extend(shim.emit());
        message.extend(frame);
        self.push(Output::Peer { peer, message });
    }

    /// To every station whose groups let it in, each here once, each other switch once.
    fn spread(
        &mut self,
        now_ms: u64,
        id: NetworkId,
        from: Option<PortId>,
        checked: &Checked<'_>,
        ip: &Ip,
    ) {
        let Some(network) = self.tables.networks.get(&id) else {
            return;
        };
        let whole: Vec<Vec<u8>> = checked.segments().collect();
        let mut here = Vec::new();
        let mut there = BTreeSet::new();
        for station in network.stations() {
            match station.place {
                Place::There(peer) => {
                    there.insert(peer);
                }
                Place::Here(port) if Some(port) != from => {
                    let passing = Passing {
                        port,
                        network,
                        station,
                        bytes: checked.packet().bytes(),
                        ip,
                        is_partial: checked.offload().partial.is_some(),
                    };
                    if let Ok(pass) = self.tables.pass(now_ms, Direction::In, &passing) {
                        here.push((port, pass));
                    }
                }
                Place::Here(_) => {}
            }
        }
        // Who got it from another switch does not pass it on: its sender told everybody.
        if from.is_none() {
            there.clear();
        }
        for (port, pass) in here {
            if self.commit(now_ms, port, ip, Some(pass), Direction::In, None) {
                for frame in &whole {
                    self.deliver(now_ms, port, frame.clone(), Offload::default());
                }
            }
        }
        for peer in there {
            for frame in &whole {
                let shim = Shim {
                    network: id,
                    hops: 0,
                    epoch: 0,
                };
                let message = [&shim.emit()[..], frame].concat();
                self.push(Output::Peer { peer, message });
            }
        }
    }

    /// Gives a guest a frame, if its rate allows.
    pub(super) fn deliver(&mut self, now_ms: u64, id: PortId, frame: Vec<u8>, offload: Offload) {
        let Some(port) = self.tables.ports.get_mut(&id) else {
            return;
        };
        let bytes = u64::try_from(frame.len()).unwrap_or(u64::MAX);
        if !port.in_bytes.take(now_ms, bytes) {
            return self.drop_at(id, &Reason::TooFast("bytes to the guest"));
        }
        port.counters.got_frames += 1;
        port.counters.got_bytes += bytes;
        self.push(Output::Guest {
            port: id,
            frame,
            offload,
        });
    }

    /// Outside, from another address. What comes back to an address of ours never leaves.
    fn leave(
        &mut self,
        now_ms: u64,
        id: PortId,
        checked: &Checked<'_>,
        sent: Option<Pass>,
        end: End,
    ) {
        let Some(ip) = checked.packet().ip() else {
            return;
        };
        if !self.commit(now_ms, id, &ip, sent, Direction::Out, Some(end)) {
            return self.drop_at(id, &Reason::NoRoom);
        }
        let mtu = self.tables.ports.get(&id).map(|port| port.network);
        let mtu = mtu.map_or(u16::MAX, |network| self.mtu(network));
        for frame in checked.segments() {
            let mut packet = frame[HEADER_LEN..].to_vec();
            let Ok(ip) = Ip::parse(&packet) else {
                continue;
            };
            write::clamp_segment_size(&mut packet, &ip, mtu, false);
            write::lower_hop_limit(&mut packet, ip.is_v4());
            if !translate(&mut packet, &ip, Side::Source, end) {
                self.drop_at(id, &Reason::Fragment);
            } else if self.tables.outside.owns(ip.target) {
                self.hear_outside(now_ms, &packet);
            } else {
                self.push(Output::Outside { packet });
            }
        }
    }

    pub(super) fn hear_outside(&mut self, now_ms: u64, packet: &[u8]) {
        if let Err(reason) = self.enter(now_ms, packet) {
            let drops = &mut self.counters.outside_drops;
            *drops.entry(reason.name()).or_default() += 1;
        }
    }

    fn enter(&mut self, now_ms: u64, packet: &[u8]) -> Result<(), Reason> {
        let malformed = |bad| Reason::Malformed(crate::offload::BadOffload::Packet(bad));
        let ip = Ip::parse(packet).map_err(malformed)?;
        let packet = &packet[..ip.end];
        let (entry, guest) = self.tables.entry(&ip, packet)?;
        let (_, network, station) = self.tables.guest(entry.port)?;
        let (mtu, mac) = (network.settings.mtu, station.mac);
        if ip.hop_limit <= 1 {
            return Err(Reason::Hops);
        }
        if packet.len() > usize::from(mtu) {
            // The sender knows its packet as it was before its address changed.
            let about = Complaint::TooBig(mtu);
            let length = packet.len();
            if let Some(packet) = write::complaint(&ip, packet, entry.outside.0, about) {
                self.push(Output::Outside { packet });
            }
            return Err(Reason::TooLong { length, mtu });
        }
        let mut packet = packet.to_vec();
        if !translate(&mut packet, &ip, Side::Target, guest) {
            return Err(Reason::Fragment);
        }
        write::lower_hop_limit(&mut packet, ip.is_v4());
        let ip = Ip::parse(&packet).map_err(malformed)?;
        write::clamp_segment_size(&mut packet, &ip, mtu, false);
        let passing = Passing {
            port: entry.port,
            network,
            station,
            bytes: &packet,
            ip: &ip,
            is_partial: false,
        };
        let pass = self.tables.pass(now_ms, Direction::In, &passing)?;
        let outside = Some(entry.outside);
        if !self.commit(now_ms, entry.port, &ip, Some(pass), Direction::In, outside) {
            return Err(Reason::NoRoom);
        }
        let frame = write::frame(mac, GATEWAY_MAC, &packet);
        self.deliver(now_ms, entry.port, frame, Offload::default());
        Ok(())
    }

    pub(super) fn hear_peer(&mut self, now_ms: u64, peer: PeerId, message: &[u8]) {
        if let Err(reason) = self.hear_frame(now_ms, peer, message) {
            let drops = &mut self.counters.peer_drops;
            *drops.entry(reason.name()).or_default() += 1;
        }
    }

    fn hear_frame(&mut self, now_ms: u64, peer: PeerId, message: &[u8]) -> Result<(), Reason> {
        let (shim, frame) = Shim::parse(message).ok_or(Reason::Shim)?;
        let network = self.tables.networks.get(&shim.network);
        let network = network.ok_or(Reason::NoNetwork)?;
        let checked = Checked::new(frame, Offload::default()).map_err(Reason::Malformed)?;
        let packet: &Packet<'_> = checked.packet();
        let verdict = self.tables.judge_far(now_ms, peer, network, packet);
        let Some(ip) = packet.ip() else {
            return Ok(());
        };
        match verdict.fate {
            Fate::Station {
                mac, place, epoch, ..
            } => {
                let hop = Hop {
                    network: shim.network,
                    mac,
                    place,
                    epoch,
                    is_routed: false,
                };
                self.hint(now_ms, peer, &shim, hop);
                match place {
                    Place::Here(_) => self.go(now_ms, &checked, &ip, hop, verdict.got),
                    Place::There(other) if other == peer || shim.hops == 0 => {
                        return Err(Reason::Hops);
                    }
                    Place::There(_) => {
                        self.counters.passed_on += 1;
                        let mtu = self.mtu(shim.network);
                        self.go_there(packet.bytes().to_vec(), &ip, hop, mtu, shim.hops - 1);
                    }
                }
            }
            Fate::Everyone => self.spread(now_ms, shim.network, None, &checked, &ip),
            Fate::Drop(reason) | Fate::Complain(reason, _) => return Err(reason),
            Fate::Quiet(_) | Fate::Gateway(_) | Fate::Outside(_) => {}
        }
        Ok(())
    }

    /// Tells a peer that sent with an older record than ours what it should know.
    fn hint(&mut self, now_ms: u64, peer: PeerId, shim: &Shim, hop: Hop) {
        let ahead = Shim::short_epoch(hop.epoch).wrapping_sub(shim.epoch);
        let is_older = (1..0x8000).contains(&ahead) || hop.place == Place::There(peer);
        let elsewhere = matches!(hop.place, Place::There(_));
        if (is_older || elsewhere) && self.stale.take(now_ms, 1) {
            self.push(Output::Stale {
                peer,
                network: hop.network,
                mac: hop.mac,
            });
        }
    }

    /// The host speaks to a guest as the metadata service and as nobody else.
    pub(super) fn hear_host(&mut self, now_ms: u64, id: PortId, packet: &[u8]) {
        let Ok(ip) = Ip::parse(packet) else {
            return;
        };
        let is_metadata =
            ip.source == IpAddr::V4(METADATA_V4) || ip.source == IpAddr::V6(METADATA_V6);
        let Ok((_, network, station)) = self.tables.guest(id) else {
            return;
        };
        if !is_metadata || !station.owns(ip.target) {
            return;
        }
        let (mtu, mac) = (network.settings.mtu, station.mac);
        let mut packet = packet[..ip.end].to_vec();
        write::clamp_segment_size(&mut packet, &ip, mtu, false);
        let frame = write::frame(mac, GATEWAY_MAC, &packet);
        self.deliver(now_ms, id, frame, Offload::default());
    }

    pub(super) fn drop_at(&mut self, id: PortId, reason: &Reason) {
        if let Some(port) = self.tables.ports.get_mut(&id) {
            port.count_drop(reason.name());
        }
    }

    fn mtu(&self, id: NetworkId) -> u16 {
        let network = self.tables.networks.get(&id);
        network.map_or(u16::MAX, |network| network.settings.mtu)
    }
}

/// What a frame needs on its way to a station.
fn dress(frame: &mut [u8], ip: &Ip, hop: Hop, mtu: u16, is_partial: bool) {
    if hop.is_routed {
        write::route(frame, ip, hop.mac);
    }
    write::clamp_segment_size(frame, ip, mtu, is_partial);
}
