//! What the gateway answers, byte for byte where others rely on it, and what it leaves to the host.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

mod world;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netcore::dhcp::message::{Kind, Message};
use netcore::dhcp::options::code;
use netcore::ethernet::{Datagram, Mac};
use netcore::offload::{Abilities, Cut, Offload, Partial};
use netcore::packet::{Ip, Packet, Transport};
use netcore::switch::records::{GATEWAY_MAC, PortId, Refused};
use netcore::switch::{Input, Output};
use world::{
    GATEWAY, arp, between, drain, drops, echo, ethernet, got, lan, link_local, mac, neighbour, net,
    packet, packet_with, send, settings, station, tcp, udp, v4, v6,
};

const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

fn to_gateway(source: IpAddr, target: IpAddr, number: u8, body: &[u8]) -> Vec<u8> {
    ethernet(GATEWAY_MAC, mac(2), &packet(source, target, number, body))
}

#[test]
#[rustfmt::skip] // keeps the columns
fn arp_is_answered_from_records() {
    let mut switch = lan(&[2, 3]);
    let mut ask = |target: Ipv4Addr| {
        let outputs = send(&mut switch, 2, &arp(true, mac(2), v4(2), target));
        assert!(got(&outputs, 3).is_empty(), "nobody else hears");
        got(&outputs, 2).first().map(|frame| {
            assert_eq!(frame[..6], mac(2).0);
            assert_eq!(frame[20..22], [0, 2]);
            assert_eq!(frame[28..32], target.octets());
            Mac(frame[22..28].try_into().unwrap())
        })
    };
    assert_eq!(ask(v4(3)),    Some(mac(3)));
    assert_eq!(ask(GATEWAY),  Some(GATEWAY_MAC));
    assert_eq!(ask(METADATA), Some(GATEWAY_MAC)); // on the link, as cloud-init may have it
    assert_eq!(ask(v4(99)),   None);
    assert_eq!(ask(v4(2)),    None); // its own: a probe, and it is free
}

#[test]
fn neighbours_are_answered_from_records() {
    let mut switch = lan(&[2, 3]);
    let mut ask = |source: Ipv6Addr, target: Ipv6Addr| {
        let option = (!source.is_unspecified()).then_some((1, mac(2)));
        let body = neighbour(135, target, option);
        let packet = packet_with(source.into(), target.into(), 58, 255, &body);
        let outputs = send(&mut switch, 2, &ethernet(mac(9), mac(2), &packet));
        let frame = got(&outputs, 2).first().cloned()?;
        let ip = Packet::parse(&frame).unwrap().ip().unwrap();
        assert!(ip.has_good_checksum(&frame));
        assert_eq!((frame[54], ip.hop_limit), (136, 255));
        assert_eq!(frame[62..78], target.octets());
        assert_eq!(ip.source, IpAddr::V6(target));
        Some((
            Mac(frame[80..86].try_into().unwrap()),
            frame[58] >> 5,
            ip.target,
        ))
    };
    let own: IpAddr = v6(2).into();
    let metadata: Ipv6Addr = "fe80::a9fe:a9fe".parse().unwrap();
    let gateway: Ipv6Addr = "fe80::1".parse().unwrap();
    // The three bits: it is a router, it was asked, it overrides.
    assert_eq!(ask(v6(2), v6(3)), Some((mac(3), 0b011, own)));
    assert_eq!(ask(v6(2), link_local(3)), Some((mac(3), 0b011, own)));
    assert_eq!(ask(v6(2), gateway), Some((GATEWAY_MAC, 0b111, own)));
    assert_eq!(ask(v6(2), metadata), Some((GATEWAY_MAC, 0b111, own)));
    assert_eq!(ask(v6(2), v6(99)), None);
    // Is it free? Ours is; a neighbour's is not, and everybody is told.
    assert_eq!(ask(Ipv6Addr::UNSPECIFIED, v6(2)), None);
    let all: IpAddr = "ff02::1".parse().unwrap();
    assert_eq!(
        ask(Ipv6Addr::UNSPECIFIED, v6(3)),
        Some((mac(3), 0b001, all))
    );
}

fn discover(switch: &mut netcore::switch::Switch, message: &Message) -> Option<Message> {
    let body = udp(68, 67, &message.emit());
    let nobody: IpAddr = Ipv4Addr::UNSPECIFIED.into();
    let frame = packet(nobody, Ipv4Addr::BROADCAST.into(), 17, &body);
    let outputs = send(switch, 2, &ethernet(Mac::BROADCAST, mac(2), &frame));
    assert!(got(&outputs, 3).is_empty(), "no other guest hears");
    let frame = got(&outputs, 2).first().cloned()?;
    // The parser wants the UDP checksum right, which old clients and FreeBSD need (group 10).
    let datagram = Datagram::parse(&frame).unwrap();
    assert_eq!(
        (datagram.source_mac, datagram.source),
        (GATEWAY_MAC, GATEWAY)
    );
    let reply = Message::parse(datagram.payload).unwrap();
    let is_broadcast = datagram.target_mac == Mac::BROADCAST;
    assert_eq!(is_broadcast, message.broadcast || reply.kind == Kind::Nak);
    Some(reply)
}

#[test]
fn dhcp_gives_the_address_of_the_record_and_no_other() {
    let mut switch = lan(&[2, 3]);
    for broadcast in [false, true] {
        let mut message = Message::new(Kind::Discover, 7, mac(2));
        message.broadcast = broadcast;
        message.options.set_address(code::REQUESTED_ADDRESS, v4(3));
        let offer = discover(&mut switch, &message).unwrap();
        assert_eq!((offer.kind, offer.yours), (Kind::Offer, v4(2)));
        let options = &offer.options;
        assert_eq!(options.number16(code::MTU), Some(1380));
        assert_eq!(options.address(code::MASK), Some([255, 255, 255, 0].into()));
        assert_eq!(options.address(code::ROUTER), Some(GATEWAY));
        assert_eq!(options.address(code::DNS), Some(GATEWAY));
        assert_eq!(options.text(code::HOST_NAME), Some("vm2"));
        assert_eq!(options.text(code::DOMAIN), Some("lan5.internal"));
        // Metadata by way of the gateway, and the default again (RFC 3442).
        let routes = [32, 169, 254, 169, 254, 10, 0, 0, 1, 0, 10, 0, 0, 1];
        assert_eq!(options.bytes(121), Some(&routes[..]));
        assert_eq!(options.bytes(249), Some(&routes[..]));
        message.kind = Kind::Request;
        message.options.set_address(code::SERVER_ID, GATEWAY);
        assert_eq!(
            discover(&mut switch, &message).unwrap().kind,
            Kind::Nak,
            "not its own"
        );
        message.options.set_address(code::REQUESTED_ADDRESS, v4(2));
        let ack = discover(&mut switch, &message).unwrap();
        assert_eq!((ack.kind, ack.yours), (Kind::Ack, v4(2)));
        message.options.set_address(code::SERVER_ID, v4(3));
        assert_eq!(
            discover(&mut switch, &message),
            None,
            "it chose another server"
        );
    }
    let message = Message::new(Kind::Discover, 7, mac(3));
    assert_eq!(
        discover(&mut switch, &message),
        None,
        "asked for another station"
    );
}

/// Groups 11: an IPv6 guest learns prefix, MTU, DNS and domain from the advertisement alone.
#[test]
fn the_router_advertises_prefix_mtu_and_names() {
    let mut switch = lan(&[2]);
    let body = neighbour(133, Ipv6Addr::UNSPECIFIED, Some((1, mac(2))));
    let all_routers: IpAddr = "ff02::2".parse().unwrap();
    let packet = packet_with(link_local(2).into(), all_routers, 58, 255, &body);
    let frame = ethernet(Mac([0x33, 0x33, 0, 0, 0, 2]), mac(2), &packet);
    let frame = got(&send(&mut switch, 2, &frame), 2).remove(0);
    let ip = Packet::parse(&frame).unwrap().ip().unwrap();
    assert!(ip.has_good_checksum(&frame));
    assert_eq!(ip.source, "fe80::1".parse::<IpAddr>().unwrap());
    assert_eq!(ip.hop_limit, 255);
    let body = &frame[54..];
    assert_eq!(body[..2], [134, 0]);
    assert_eq!(
        body[5..8],
        [0, 0, 0],
        "neither managed nor a way outside, which there is not"
    );
    let mut options = std::collections::BTreeMap::new();
    let mut rest = &body[16..];
    while let [kind, words, ..] = rest {
        let (option, tail) = rest.split_at(usize::from(*words) * 8);
        options.insert(*kind, option.to_vec());
        rest = tail;
    }
    assert_eq!(options[&1][2..], GATEWAY_MAC.0);
    assert_eq!(options[&5][4..], 1380u32.to_be_bytes());
    assert_eq!(options[&3][2..4], [64, 0xc0]);
    assert_eq!(options[&3][16..], world::PREFIX.octets());
    assert_eq!(
        options[&25][8..],
        "fe80::1".parse::<Ipv6Addr>().unwrap().octets()
    );
    assert!(options[&31][8..].starts_with(b"\x04lan5\x08internal\0"));
}

#[test]
fn unsolicited_advertisements_come_at_boot_and_every_five_minutes() {
    let mut switch = world::empty();
    world::plug(&mut switch, 2);
    assert_eq!(switch.next_timeout(), Some(0));
    switch.handle_timeout(0);
    assert_eq!(got(&drain(&mut switch), 2).len(), 1);
    assert_eq!(switch.next_timeout(), Some(300_000));
    switch.handle_timeout(299_999);
    assert_eq!(drain(&mut switch), []);
    switch.handle_timeout(300_000);
    assert_eq!(got(&drain(&mut switch), 2).len(), 1);
}

#[test]
fn the_gateway_answers_echoes_and_nothing_else() {
    let mut switch = lan(&[2]);
    let pings: [(IpAddr, IpAddr, u8, u8, u8); 3] = [
        (v4(2).into(), GATEWAY.into(), 1, 8, 0),
        (v6(2).into(), "fd00:0:0:1::1".parse().unwrap(), 58, 128, 129),
        (
            link_local(2).into(),
            "fe80::1".parse().unwrap(),
            58,
            128,
            129,
        ),
    ];
    for (source, target, number, request, reply) in pings {
        let frame = to_gateway(source, target, number, &echo(request, 7));
        let frame = got(&send(&mut switch, 2, &frame), 2).remove(0);
        let ip = Packet::parse(&frame).unwrap().ip().unwrap();
        assert!(ip.has_good_checksum(&frame));
        assert_eq!((ip.source, ip.target), (target, source));
        assert!(matches!(ip.transport, Transport::Icmp { kind, id: 7, .. } if kind == reply));
        assert!(frame.ends_with(b"ping"));
    }
    let frame = to_gateway(v4(2).into(), GATEWAY.into(), 6, &tcp(9, 22, world::SYN));
    let frame = got(&send(&mut switch, 2, &frame), 2).remove(0);
    let ip = Packet::parse(&frame).unwrap().ip().unwrap();
    assert!(matches!(
        ip.transport,
        Transport::Tcp {
            source: 22,
            target: 9,
            flags: 0x14
        }
    ));
    let frame = to_gateway(v4(2).into(), GATEWAY.into(), 17, &udp(9, 161, b"x"));
    let frame = got(&send(&mut switch, 2, &frame), 2).remove(0);
    let ip = Packet::parse(&frame).unwrap().ip().unwrap();
    assert!(matches!(
        ip.transport,
        Transport::Icmp {
            kind: 3,
            code: 3,
            ..
        }
    ));
    let mut broken = to_gateway(v4(2).into(), GATEWAY.into(), 1, &echo(8, 7));
    broken[40] ^= 1;
    assert_eq!(send(&mut switch, 2, &broken), []);
    assert_eq!(drops(&switch, 2, "checksum"), 1);
}

/// Group 20: the tenant is the port, whatever the packet says; the host's words come back to it.
#[test]
fn metadata_goes_to_the_host_with_the_port_that_asks() {
    let mut switch = lan(&[2, 3]);
    let six: IpAddr = "fe80::a9fe:a9fe".parse().unwrap();
    for (source, target) in [(v4(2).into(), METADATA.into()), (link_local(2).into(), six)] {
        let frame = to_gateway(source, target, 6, &tcp(4000, 80, world::SYN));
        let outputs = send(&mut switch, 2, &frame);
        let [Output::Host { port, packet }] = &outputs[..] else {
            panic!("{outputs:?}");
        };
        assert_eq!((*port, &packet[..]), (PortId(2), &frame[14..]));
        let answer = world::packet(target, source, 6, &tcp(80, 4000, 0x12));
        for (port, expected) in [(2, 1), (3, 0)] {
            let port = PortId(port);
            switch.handle_input(
                0,
                Input::Host {
                    port,
                    packet: &answer,
                },
            );
            assert_eq!(got(&drain(&mut switch), port.0 as u8).len(), expected);
        }
    }
    // The host speaks as nobody else, and other ports of the address are closed.
    let answer = world::packet(v4(3).into(), v4(2).into(), 6, &tcp(80, 4000, 0x12));
    switch.handle_input(
        0,
        Input::Host {
            port: PortId(2),
            packet: &answer,
        },
    );
    assert_eq!(drain(&mut switch), []);
    let frame = to_gateway(v4(2).into(), METADATA.into(), 6, &tcp(4000, 22, world::SYN));
    let reset = got(&send(&mut switch, 2, &frame), 2).remove(0);
    assert_eq!(reset[47], 0x14);
}

/// Group 16: what is too long comes back with the network's MTU and enough of itself.
#[test]
fn a_packet_longer_than_the_network_carries_comes_back() {
    let mut switch = lan(&[2, 3]);
    let long = between(2, 3, 17, &udp(1, 2, &[0; 1400]));
    let outputs = send(&mut switch, 2, &long);
    assert!(got(&outputs, 3).is_empty());
    let frame = got(&outputs, 2).remove(0);
    let ip = Packet::parse(&frame).unwrap().ip().unwrap();
    assert!(ip.has_good_checksum(&frame));
    assert!(matches!(
        ip.transport,
        Transport::Icmp {
            kind: 3,
            code: 4,
            ..
        }
    ));
    assert_eq!(frame[40..42], 1380u16.to_be_bytes());
    assert!(ip.end - ip.transport_at >= 512 + 8);
    assert_eq!(ip.quoted(&frame).unwrap().target, IpAddr::V4(v4(3)));
    let long = world::between6(2, 3, 17, &udp(1, 2, &[0; 1400]));
    let frame = got(&send(&mut switch, 2, &long), 2).remove(0);
    assert_eq!((frame[54], &frame[58..62]), (2, &1380u32.to_be_bytes()[..]));
    // A long one that is to be cut is as long as its segments.
    let mut switch = lan(&[2, 3]);
    let whole = between(2, 3, 6, &[&tcp(1, 2, world::ACK)[..], &[0; 3000]].concat());
    let mut cut = |size| {
        let offload = Offload {
            partial: Some(Partial {
                start: 34,
                offset: 16,
            }),
            cut: Some((Cut::Tcp4, size)),
        };
        let input = Input::Guest {
            port: PortId(2),
            frame: &whole,
            offload,
        };
        switch.handle_input(0, input);
        got(&drain(&mut switch), 3).len()
    };
    assert_eq!(cut(1500), 0);
    assert_eq!(cut(1336), 3, "cut for a guest that can't");
    switch.set_abilities(PortId(3), Abilities::ALL).unwrap();
    let offload = Offload {
        partial: Some(Partial {
            start: 34,
            offset: 16,
        }),
        cut: Some((Cut::Tcp4, 1336)),
    };
    switch.handle_input(
        0,
        Input::Guest {
            port: PortId(2),
            frame: &whole,
            offload,
        },
    );
    let outputs = drain(&mut switch);
    let [
        Output::Guest {
            offload: given,
            frame,
            ..
        },
    ] = &outputs[..]
    else {
        panic!("{outputs:?}");
    };
    assert_eq!(
        (*given, frame),
        (offload, &whole),
        "whole for a guest that can"
    );
}

#[test]
fn the_gateway_passes_on_inside_the_network_and_counts_the_hop() {
    let mut switch = lan(&[2, 3]);
    let frame = to_gateway(v4(2).into(), v4(3).into(), 17, &udp(1, 2, b"x"));
    let frame = got(&send(&mut switch, 2, &frame), 3).remove(0);
    let passed = Packet::parse(&frame).unwrap();
    assert_eq!(
        (passed.source_mac, passed.target_mac),
        (GATEWAY_MAC, mac(3))
    );
    assert_eq!(passed.ip().unwrap().hop_limit, 63);
    let last = packet_with(v4(2).into(), v4(3).into(), 17, 1, &udp(1, 2, b"x"));
    let frame = got(
        &send(&mut switch, 2, &ethernet(GATEWAY_MAC, mac(2), &last)),
        2,
    )
    .remove(0);
    assert_eq!(frame[34], 11, "time exceeded");
    let frame = to_gateway(v4(2).into(), [192, 0, 2, 1].into(), 17, &udp(1, 2, b"x"));
    let frame = got(&send(&mut switch, 2, &frame), 2).remove(0);
    assert_eq!((frame[34], frame[35]), (3, 0), "there is no way outside");
    for target in ["127.0.0.1", "169.254.1.1", "224.0.0.1", "0.0.0.0"] {
        let target: Ipv4Addr = target.parse().unwrap();
        let frame = to_gateway(v4(2).into(), target.into(), 17, &udp(1, 2, b"x"));
        assert_eq!(send(&mut switch, 2, &frame), [], "{target}");
    }
}

#[test]
fn segment_sizes_of_containers_inside_guests_are_lowered() {
    let mut switch = lan(&[2, 3]);
    for (frame, expected) in [
        (between(2, 3, 6, &tcp(1, 80, world::SYN)), 1340),
        (world::between6(2, 3, 6, &tcp(1, 80, world::SYN)), 1320),
        (between(3, 2, 6, &tcp(80, 1, world::SYN | world::ACK)), 1340),
        (between(2, 3, 6, &tcp(1, 80, world::ACK)), 1460),
    ] {
        let from = frame[11];
        let frame = got(&send(&mut switch, from, &frame), 5 - from).remove(0);
        let ip: Ip = Packet::parse(&frame).unwrap().ip().unwrap();
        assert!(ip.has_good_checksum(&frame));
        let at = ip.transport_at + 22;
        assert_eq!(u16::from_be_bytes([frame[at], frame[at + 1]]), expected);
    }
}

#[test]
#[rustfmt::skip] // keeps the columns
fn a_record_that_can_not_be_right_is_refused() {
    let mut switch = lan(&[2, 3]);
    let mut put = |change: fn(&mut netcore::switch::records::Station)| {
        let mut record = station(4, world::here(4));
        change(&mut record);
        switch.put_station(net(5), record)
    };
    assert_eq!(put(|_| ()), Ok(()));
    assert_eq!(put(|r| r.mac = GATEWAY_MAC),          Err(Refused::Mac(GATEWAY_MAC)));
    assert_eq!(put(|r| r.v4 = Some(GATEWAY)),         Err(Refused::Address(GATEWAY.into())));
    assert_eq!(put(|r| r.v4 = Some([10, 0, 1, 4].into())), Err(Refused::Address([10, 0, 1, 4].into())));
    assert_eq!(put(|r| r.v4 = Some(v4(3))),           Err(Refused::Taken(v4(3).into())));
    assert_eq!(put(|r| r.v6 = Some(v6(5))),           Err(Refused::Address(v6(5).into())));
    assert_eq!(put(|r| r.name = "vm3".into()),        Err(Refused::NameTaken("vm3".into())));
    assert_eq!(put(|r| r.name = "a.b".into()),        Err(Refused::Name("a.b".into())));
    assert_eq!(put(|r| r.epoch = 0),                  Err(Refused::Stale { known: 1, told: 0 }));
    let mut changed = settings(5);
    changed.mtu = 1400;
    assert_eq!(switch.put_network(changed),           Err(Refused::Fixed(net(5))));
}
