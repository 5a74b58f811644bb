//! Guests, switches and frames for the switch's tests.
#![allow(dead_code, clippy::unwrap_used, clippy::cast_possible_truncation)]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netcore::ethernet::{Mac, checksum};
use netcore::offload::{Abilities, Offload};
use netcore::packet::Pseudo;
use netcore::switch::groups::{Direction, GroupId, Remote, Rule, Service};
use netcore::switch::port::{Limits, PortSettings};
use netcore::switch::records::{
    NetworkId, NetworkSettings, PeerId, Place, PortId, Station, Subnet, from_mac,
};
use netcore::switch::{Input, Output, Switch};

pub const PREFIX: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 0);
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The group of all guests unless a test says otherwise: everything may pass.
pub const OPEN: GroupId = GroupId(1);

pub fn net(number: u32) -> NetworkId {
    NetworkId::new(number).unwrap()
}

pub fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, last])
}

pub fn v4(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

pub fn v6(last: u8) -> Ipv6Addr {
    from_mac(PREFIX, mac(last))
}

pub fn link_local(last: u8) -> Ipv6Addr {
    from_mac(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), mac(last))
}

pub fn settings(number: u32) -> NetworkSettings {
    NetworkSettings {
        id: net(number),
        name: format!("lan{number}"),
        v4: Some(Subnet {
            address: Ipv4Addr::new(10, 0, 0, 0),
            prefix_len: 24,
        }),
        v6: Some(PREFIX),
        mtu: 1380,
    }
}

pub fn station(last: u8, place: Place) -> Station {
    Station {
        mac: mac(last),
        v4: Some(v4(last)),
        v6: Some(v6(last)),
        name: format!("vm{last}"),
        groups: vec![OPEN],
        place,
        epoch: 1,
    }
}

pub fn here(last: u8) -> Place {
    Place::Here(PortId(u32::from(last)))
}

pub fn rule(direction: Direction, service: Service, remote: Remote) -> Rule {
    Rule {
        direction,
        service,
        remote,
    }
}

/// A switch that knows network 5 and the group that lets everything pass.
pub fn empty() -> Switch {
    let mut switch = Switch::new();
    let any = |direction| rule(direction, Service::Any, Remote::Anyone);
    let rules = vec![any(Direction::In), any(Direction::Out)];
    switch.put_group(OPEN, rules).unwrap();
    switch.put_network(settings(5)).unwrap();
    switch
}

/// Plugs in guest `last` of network 5 at the port of the same number.
pub fn plug(switch: &mut Switch, last: u8) {
    plug_into(switch, net(5), u32::from(last), station(last, here(last)));
}

pub fn plug_into(switch: &mut Switch, network: NetworkId, port: u32, station: Station) {
    let settings = PortSettings {
        network,
        mac: station.mac,
        abilities: Abilities::default(),
        limits: Limits::FREE,
    };
    switch.attach(0, PortId(port), settings).unwrap();
    switch.put_station(network, station).unwrap();
}

/// A switch with these guests of network 5.
pub fn lan(guests: &[u8]) -> Switch {
    let mut switch = empty();
    for last in guests {
        plug(&mut switch, *last);
    }
    while switch.poll_output().is_some() {}
    switch
}

pub fn set_peers(switch: &mut Switch, peers: &[u64]) {
    let peers: BTreeSet<PeerId> = peers.iter().copied().map(PeerId).collect();
    switch.set_peers(net(5), peers).unwrap();
}

pub fn drain(switch: &mut Switch) -> Vec<Output> {
    std::iter::from_fn(|| switch.poll_output()).collect()
}

pub fn send(switch: &mut Switch, port: u8, frame: &[u8]) -> Vec<Output> {
    send_at(switch, 0, port, frame)
}

pub fn send_at(switch: &mut Switch, now_ms: u64, port: u8, frame: &[u8]) -> Vec<Output> {
    let input = Input::Guest {
        port: PortId(u32::from(port)),
        frame,
        offload: Offload::default(),
    };
    switch.handle_input(now_ms, input);
    drain(switch)
}

/// The frames that a guest gets.
pub fn got(outputs: &[Output], last: u8) -> Vec<Vec<u8>> {
    let frames = outputs.iter().filter_map(|output| match output {
        Output::Guest { port, frame, .. } if port.0 == u32::from(last) => Some(frame.clone()),
        _ => None,
    });
    frames.collect()
}

pub fn drops(switch: &Switch, port: u8, reason: &str) -> u64 {
    let counters = switch.port_counters(PortId(u32::from(port))).unwrap();
    counters.drops.get(reason).copied().unwrap_or(0)
}

/// An IP packet with a complete checksum.
pub fn packet(source: IpAddr, target: IpAddr, number: u8, body: &[u8]) -> Vec<u8> {
    packet_with(source, target, number, 64, body)
}

pub fn packet_with(
    source: IpAddr,
    target: IpAddr,
    number: u8,
    hop_limit: u8,
    body: &[u8],
) -> Vec<u8> {
    let mut packet = match (source, target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            let mut header = vec![0x45, 0, 0, 0, 0, 7, 0x40, 0, hop_limit, number, 0, 0];
            header[2..4].copy_from_slice(&((20 + body.len()) as u16).to_be_bytes());
            header.extend(source.octets());
            header.extend(target.octets());
            let sum = checksum(&[&header]);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            header
        }
        (IpAddr::V6(source), IpAddr::V6(target)) => {
            let mut header = vec![0x60, 0, 0, 0, 0, 0, number, hop_limit];
            header[4..6].copy_from_slice(&(body.len() as u16).to_be_bytes());
            header.extend(source.octets());
            header.extend(target.octets());
            header
        }
        _ => panic!("addresses of two kinds"),
    };
    let at = packet.len();
    packet.extend_from_slice(body);
    let offset = match number {
        6 => Some(16),
        17 => Some(6),
        1 | 58 => Some(2),
        _ => None,
    };
    if let Some(offset) = offset {
        packet[at + offset..at + offset + 2].copy_from_slice(&[0, 0]);
        let pseudo = Pseudo::new(source, target, number, body.len());
        let pseudo: &[u8] = if number == 1 { &[] } else { pseudo.bytes() };
        let sum = checksum(&[pseudo, &packet[at..]]);
        packet[at + offset..at + offset + 2].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

pub fn ethernet(target: Mac, source: Mac, packet: &[u8]) -> Vec<u8> {
    let kind: [u8; 2] = if packet[0] >> 4 == 6 {
        [0x86, 0xdd]
    } else {
        [8, 0]
    };
    [&target.0[..], &source.0, &kind, packet].concat()
}

pub fn udp(source: u16, target: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for number in [source, target, 8 + payload.len() as u16, 0] {
        body.extend(number.to_be_bytes());
    }
    body.extend_from_slice(payload);
    body
}

pub const SYN: u8 = 2;
pub const ACK: u8 = 16;
pub const RST: u8 = 4;
pub const FIN: u8 = 1;

/// A TCP segment that announces segments of 1,460 bytes.
pub fn tcp(source: u16, target: u16, flags: u8) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(source.to_be_bytes());
    body.extend(target.to_be_bytes());
    body.extend([0, 0, 0, 1, 0, 0, 0, 2, 6 << 4, flags, 16, 0, 0, 0, 0, 0]);
    body.extend([2, 4, 5, 180]);
    body
}

pub fn echo(kind: u8, id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    vec![kind, 0, 0, 0, high, low, 0, 1, b'p', b'i', b'n', b'g']
}

/// A frame between two guests of network 5, by IPv4.
pub fn between(from: u8, to: u8, number: u8, body: &[u8]) -> Vec<u8> {
    let packet = packet(v4(from).into(), v4(to).into(), number, body);
    ethernet(mac(to), mac(from), &packet)
}

/// A frame between two guests of network 5, by IPv6.
pub fn between6(from: u8, to: u8, number: u8, body: &[u8]) -> Vec<u8> {
    let packet = packet(v6(from).into(), v6(to).into(), number, body);
    ethernet(mac(to), mac(from), &packet)
}

pub fn arp(is_request: bool, sender_mac: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend([0xff; 6]);
    frame.extend(sender_mac.0);
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, if is_request { 1 } else { 2 }]);
    frame.extend(sender_mac.0);
    frame.extend(sender.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame
}

/// A message of neighbour discovery with one option that says a hardware address.
pub fn neighbour(kind: u8, target: Ipv6Addr, option: Option<(u8, Mac)>) -> Vec<u8> {
    let mut body = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    if kind != 133 {
        body.extend(target.octets());
    }
    if let Some((number, mac)) = option {
        body.extend([number, 1]);
        body.extend(mac.0);
    }
    body
}
