//! What becomes of a packet, and why.
//!
//! Does:      decides where a frame goes, from the records alone; finds the rule or the
//!            conversation that lets it pass; names the reason when it does not.
//! Does not:  change anything: the switch acts on the verdict, and `explain` only tells it.
//! Bounds:    one look at each table.
//! Trusts:    records; frames only as far as `packet` and `guard` checked them.
//! Start at:  `Tables::judge_guest`, `Tables::judge_far`, `Tables::judge_outside`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::flows::{End, FlowKey, Flows};
use super::groups::{Direction, GroupId, Groups};
use super::guard::{Neighbour, Spoof, guard, neighbour};
use super::outside::{Entry, Outside};
use super::port::Port;
use super::reason::{GroupList, Reason};
use super::records::{
    GATEWAY_LINK_LOCAL, GATEWAY_MAC, METADATA_V4, METADATA_V6, Network, NetworkId, PeerId, Place,
    PortId, Station,
};
use super::write::Complaint;
use crate::ethernet::Mac;
use crate::offload::Checked;
use crate::packet::{Arp, Body, Fragment, Ip, Packet, Transport, protocol};

/// Everything that a verdict rests on.
#[derive(Debug, Default)]
pub struct Tables {
    pub networks: BTreeMap<NetworkId, Network>,
    pub ports: BTreeMap<PortId, Port>,
    pub groups: Groups,
    pub flows: Flows,
    pub outside: Outside,
}

/// Why a packet may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// It belongs to a conversation.
    Flow,
    /// It is an error about one.
    Related,
    /// Its first part passed.
    Fragment,
    Rule(GroupId, usize),
}

/// What the gateway is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Who has this address; the answer is known.
    Arp {
        address: Ipv4Addr,
        mac: Mac,
    },
    Neighbour {
        mac: Mac,
        asked: Neighbour,
    },
    Router,
    Lease,
    Name,
    Echo,
    Metadata,
}

/// Where a packet goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    Drop(Reason),
    /// Dropped, and its sender is told.
    Complain(Reason, Complaint),
    /// Nothing needs to be done with it.
    Quiet(&'static str),
    Gateway(Ask),
    Station {
        mac: Mac,
        place: Place,
        epoch: u64,
        /// By way of the gateway, which is one hop.
        is_routed: bool,
    },
    Everyone,
    /// Outside, as this end.
    Outside(End),
}

/// A verdict: where to, and what let it pass on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub fate: Fate,
    pub sent: Option<Pass>,
    pub got: Option<Pass>,
}

impl From<Fate> for Verdict {
    fn from(fate: Fate) -> Verdict {
        Verdict {
            fate,
            sent: None,
            got: None,
        }
    }
}

impl From<Reason> for Verdict {
    fn from(drop: Reason) -> Verdict {
        Fate::Drop(drop).into()
    }
}

/// A packet at a port: all that a question about groups and conversations needs.
#[derive(Clone, Copy, Debug)]
pub struct Passing<'a> {
    pub port: PortId,
    pub network: &'a Network,
    pub station: &'a Station,
    pub bytes: &'a [u8],
    pub ip: &'a Ip,
    /// Its checksum is still to come.
    pub is_partial: bool,
}

impl Tables {
    /// The port, its network and the record of its guest.
    pub fn guest(&self, id: PortId) -> Result<(&Port, &Network, &Station), Reason> {
        let port = self.ports.get(&id).ok_or(Reason::NoPort(id.0))?;
        let network = self.networks.get(&port.network).ok_or(Reason::NoNetwork)?;
        let station = network
            .station(port.mac)
            .ok_or(Reason::NoStation(port.mac))?;
        if station.place != Place::Here(id) {
            return Err(Reason::Moved {
                name: station.name.clone(),
                epoch: station.epoch,
            });
        }
        Ok((port, network, station))
    }

    /// A guest sends a frame.
    pub fn judge_guest(&self, now_ms: u64, id: PortId, checked: &Checked<'_>) -> Verdict {
        let (_, network, station) = match self.guest(id) {
            Ok(found) => found,
            Err(drop) => return drop.into(),
        };
        let packet = checked.packet();
        if let Err(spoof) = guard(packet, station) {
            return Reason::Spoofed(spoof).into();
        }
        let ip = match packet.body {
            Body::Arp(arp) => return judge_arp(network, station, arp).into(),
            Body::Ip(ip) => ip,
        };
        if let Some(fate) = judge_service(network, station, packet, &ip) {
            return fate.into();
        }
        let mtu = network.settings.mtu;
        if checked.wire_len() > usize::from(mtu) {
            let drop = Reason::TooLong {
                length: checked.wire_len(),
                mtu,
            };
            return Fate::Complain(drop, Complaint::TooBig(mtu)).into();
        }
        let passing = Passing {
            port: id,
            network,
            station,
            bytes: packet.bytes(),
            ip: &ip,
            is_partial: checked.offload().partial.is_some(),
        };
        let sent = match self.pass(now_ms, Direction::Out, &passing) {
            Ok(pass) => pass,
            Err(drop) => return drop.into(),
        };
        let mut verdict = self.judge_way(now_ms, packet, checked, &passing);
        verdict.sent = Some(sent);
        verdict
    }

    /// A guest's packet may leave its port: where to?
    fn judge_way(
        &self,
        now_ms: u64,
        packet: &Packet<'_>,
        checked: &Checked<'_>,
        passing: &Passing<'_>,
    ) -> Verdict {
        let (network, ip) = (passing.network, passing.ip);
        let target = packet.target_mac;
        if !target.is_unicast() {
            return if checked.offload().cut.is_some() {
                Reason::LongForAll.into()
            } else {
                Fate::Everyone.into()
            };
        }
        if target != GATEWAY_MAC {
            return match network.station(target) {
                Some(station) => self.judge_station(now_ms, station, passing, false),
                None => Reason::NoStation(target).into(),
            };
        }
        if !is_routable(ip.target) {
            return Reason::NotRoutable(ip.target).into();
        }
        if ip.hop_limit <= 1 {
            return Fate::Complain(Reason::Hops, Complaint::TimeExceeded).into();
        }
        if network.settings.contains(ip.target) {
            return match network.station_at(ip.target) {
                Some(station) => self.judge_station(now_ms, station, passing, true),
                None => Fate::Complain(Reason::NoAddress(ip.target), Complaint::NoRoute).into(),
            };
        }
        match self.end_outside(passing.port, passing.bytes, ip) {
            Ok(end) => Fate::Outside(end).into(),
            Err(Reason::NoWayOut) => Fate::Complain(Reason::NoWayOut, Complaint::NoRoute).into(),
            Err(drop) => drop.into(),
        }
    }

    /// What the sender's end is outside.
    fn end_outside(&self, port: PortId, bytes: &[u8], ip: &Ip) -> Result<End, Reason> {
        if matches!(ip.fragment, Fragment::Later(_)) {
            return Err(Reason::Fragment); // it has no ports to translate
        }
        if let Some(quoted) = ip.quoted(bytes) {
            let key = FlowKey::quoted(port, &quoted, true);
            let flow = key.and_then(|key| self.flows.find(&key));
            return flow.and_then(|flow| flow.outside).ok_or(Reason::NoWayOut);
        }
        let key = FlowKey::outgoing(port, ip).ok_or(Reason::NoWayOut)?;
        if let Some(end) = self.flows.find(&key).and_then(|flow| flow.outside) {
            return Ok(end);
        }
        let end = self.outside.leave(port, ip.protocol, key.guest);
        end.map_err(Reason::NoEnd)?.ok_or(Reason::NoWayOut)
    }

    /// A packet for a station, wherever it is; if it is here its own groups are asked.
    fn judge_station(
        &self,
        now_ms: u64,
        target: &Station,
        passing: &Passing<'_>,
        is_routed: bool,
    ) -> Verdict {
        let mut verdict = Verdict::from(Fate::Station {
            mac: target.mac,
            place: target.place,
            epoch: target.epoch,
            is_routed,
        });
        if let Place::Here(port) = target.place {
            let passing = Passing {
                port,
                station: target,
                ..*passing
            };
            match self.pass(now_ms, Direction::In, &passing) {
                Ok(pass) => verdict.got = Some(pass),
                Err(drop) => return drop.into(),
            }
        }
        verdict
    }

    /// Whether a packet may pass a port, and by what.
    pub fn pass(
        &self,
        now_ms: u64,
        direction: Direction,
        at: &Passing<'_>,
    ) -> Result<Pass, Reason> {
        let ip = at.ip;
        if matches!(ip.fragment, Fragment::Later(_)) {
            let passed = self.flows.first_passed(now_ms, at.port, ip);
            return passed.then_some(Pass::Fragment).ok_or(Reason::Fragment);
        }
        let is_from_guest = direction == Direction::Out;
        if let Some(key) = FlowKey::passing(at.port, ip, is_from_guest)
            && self.flows.find(&key).is_some()
        {
            return Ok(Pass::Flow);
        }
        if let Some(quoted) = ip.quoted(at.bytes)
            && let Some(key) = FlowKey::quoted(at.port, &quoted, is_from_guest)
            && self.flows.find(&key).is_some()
        {
            return Ok(Pass::Related);
        }
        let rule = self.groups.rule_for(at.network, at.station, direction, ip);
        let Some((group, place)) = rule else {
            return Err(Reason::NoRule {
                direction,
                name: at.station.name.clone(),
                groups: GroupList(at.station.groups.clone()),
            });
        };
        if !at.is_partial && !ip.has_good_checksum(at.bytes) {
            return Err(Reason::Checksum);
        }
        Ok(Pass::Rule(group, place))
    }

    /// Another switch sends a frame of this network.
    pub fn judge_far(
        &self,
        now_ms: u64,
        peer: PeerId,
        network: &Network,
        packet: &Packet<'_>,
    ) -> Verdict {
        if !network.peers.contains(&peer) {
            return Reason::NotMember.into();
        }
        // What comes from the gateway was routed there; its sender is known by its address.
        let by_mac = network.station(packet.source_mac);
        let is_routed = packet.source_mac == GATEWAY_MAC;
        let by_address = || network.station_at(packet.ip()?.source);
        let sender = if is_routed { by_address() } else { by_mac };
        let Some(sender) = sender else {
            return Reason::NoStation(packet.source_mac).into();
        };
        if matches!(sender.place, Place::Here(_)) {
            return Reason::Spoofed(Spoof::Mac(packet.source_mac)).into();
        }
        // A router puts its own address in the sender's place.
        let guarded = packet.said_by(sender.mac);
        if let Err(spoof) = guard(&guarded, sender) {
            return Reason::Spoofed(spoof).into();
        }
        let Some(ip) = packet.ip() else {
            return Fate::Quiet("ARP is answered from records").into();
        };
        if packet.bytes().len() - crate::ethernet::HEADER_LEN > usize::from(network.settings.mtu) {
            return Reason::TooLong {
                length: packet.bytes().len(),
                mtu: network.settings.mtu,
            }
            .into();
        }
        let passing = Passing {
            port: PortId(0),
            network,
            station: sender,
            bytes: packet.bytes(),
            ip: &ip,
            is_partial: false,
        };
        if !packet.target_mac.is_unicast() {
            return Fate::Everyone.into();
        }
        match network.station(packet.target_mac) {
            Some(station) => self.judge_station(now_ms, station, &passing, false),
            None => Reason::NoStation(packet.target_mac).into(),
        }
    }

    /// A packet comes from outside: to whom, and what is its end there? The address is looked up
    /// here; whether it may pass is asked once it is translated.
    pub fn entry(&self, ip: &Ip, packet: &[u8]) -> Result<(Entry, End), Reason> {
        if matches!(ip.fragment, Fragment::Later(_)) {
            return Err(Reason::Fragment);
        }
        let (number, outside) = match ip.quoted(packet) {
            Some(quoted) => {
                let key = FlowKey::outgoing(PortId(0), &quoted).ok_or(Reason::NoEntry)?;
                (quoted.protocol, key.guest)
            }
            None => {
                let key = FlowKey::incoming(PortId(0), ip).ok_or(Reason::NoEntry)?;
                (ip.protocol, key.guest)
            }
        };
        // An error about a packet of ours comes back to where that packet came from.
        if outside.0 != ip.target {
            return Err(Reason::NoEntry);
        }
        let entry = self.outside.enter(number, outside).ok_or(Reason::NoEntry)?;
        let (_, _, station) = self.guest(entry.port)?;
        let own = if ip.is_v4() {
            station.v4.map(IpAddr::V4)
        } else {
            station.v6.map(IpAddr::V6)
        };
        let address = entry.guest.or(own).ok_or(Reason::NoEntry)?;
        Ok((entry, (address, entry.guest_port)))
    }
}

fn judge_arp(network: &Network, station: &Station, arp: Arp) -> Fate {
    if !arp.is_request || station.owns(arp.target.into()) {
        return Fate::Quiet("where it is stands in its record");
    }
    let settings = &network.settings;
    if settings.is_gateway(arp.target.into()) || arp.target == METADATA_V4 {
        return Fate::Gateway(Ask::Arp {
            address: arp.target,
            mac: GATEWAY_MAC,
        });
    }
    match network.station_at(arp.target.into()) {
        Some(found) => Fate::Gateway(Ask::Arp {
            address: arp.target,
            mac: found.mac,
        }),
        None => Fate::Drop(Reason::NoAddress(arp.target.into())),
    }
}

/// What the switch answers itself, before groups are asked.
fn judge_service(
    network: &Network,
    station: &Station,
    packet: &Packet<'_>,
    ip: &Ip,
) -> Option<Fate> {
    match ip.transport {
        Transport::Udp {
            source: 68,
            target: 67,
        } if ip.is_v4() => {
            return Some(Fate::Gateway(Ask::Lease));
        }
        Transport::Icmp {
            kind: 133..=137, ..
        } if !ip.is_v4() => {
            return Some(judge_neighbour(network, station, packet, ip));
        }
        Transport::Icmp {
            kind: 130..=132 | 143,
            ..
        } if !ip.is_v4() => {
            return Some(Fate::Quiet(
                "groups are not followed: all stations are known",
            ));
        }
        _ if ip.is_v4() && ip.protocol == protocol::IGMP => {
            return Some(Fate::Quiet(
                "groups are not followed: all stations are known",
            ));
        }
        _ => {}
    }
    if packet.target_mac.is_unicast() && packet.target_mac != GATEWAY_MAC {
        return None;
    }
    let is_metadata = ip.target == IpAddr::V4(METADATA_V4) || ip.target == IpAddr::V6(METADATA_V6);
    let is_gateway = network.settings.is_gateway(ip.target);
    if !is_metadata && !is_gateway {
        return None;
    }
    if ip.source.is_unspecified() {
        return Some(Fate::Drop(Reason::NotRoutable(ip.source)));
    }
    if ip.fragment != Fragment::Whole {
        return Some(Fate::Drop(Reason::Fragment));
    }
    Some(match ip.transport {
        Transport::Icmp { kind: 8, .. } if ip.is_v4() => Fate::Gateway(Ask::Echo),
        Transport::Icmp { kind: 128, .. } if !ip.is_v4() => Fate::Gateway(Ask::Echo),
        Transport::Icmp { .. } => Fate::Quiet("the gateway only answers echoes"),
        Transport::Udp { target: 53, .. } if is_gateway => Fate::Gateway(Ask::Name),
        Transport::Tcp { target: 80, .. } if is_metadata => Fate::Gateway(Ask::Metadata),
        _ => Fate::Complain(Reason::NoListener, Complaint::NoPort),
    })
}

fn judge_neighbour(network: &Network, station: &Station, packet: &Packet<'_>, ip: &Ip) -> Fate {
    let Some(asked) = Neighbour::parse(packet.bytes(), ip) else {
        return Fate::Drop(Reason::Spoofed(Spoof::Neighbour));
    };
    if asked.kind == neighbour::ROUTER_SOLICITATION {
        return Fate::Gateway(Ask::Router);
    }
    // Its own address: it finds out whether anybody else has it, and nobody has.
    if asked.kind != neighbour::SOLICITATION || station.owns(asked.target.into()) {
        return Fate::Quiet("where it is stands in its record");
    }
    let settings = &network.settings;
    let is_gateway = asked.target == METADATA_V6
        || asked.target == GATEWAY_LINK_LOCAL
        || settings.is_gateway(asked.target.into());
    let found = network
        .station_at(asked.target.into())
        .map(|found| found.mac);
    match if is_gateway { Some(GATEWAY_MAC) } else { found } {
        Some(mac) => Fate::Gateway(Ask::Neighbour { mac, asked }),
        None => Fate::Drop(Reason::NoAddress(asked.target.into())),
    }
}

fn is_routable(address: IpAddr) -> bool {
    let is_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !is_local && !address.is_loopback() && !address.is_multicast() && !address.is_unspecified()
}
