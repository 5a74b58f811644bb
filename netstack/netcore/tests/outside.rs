//! The way outside and back: shared address, forwarded port, floating address, errors, quotas.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

mod world;

use std::net::IpAddr;

use netcore::packet::{Ip, Transport, protocol};
use netcore::switch::groups::{Direction, Remote, Service};
use netcore::switch::outside::{ENDS_PER_PORT_MAX, Forward, Shared};
use netcore::switch::records::{GATEWAY_MAC, PortId};
use netcore::switch::{Input, Output, Switch};
use world::{
    ACK, RST, SYN, drain, drops, echo, ethernet, got, lan, mac, packet, packet_with, rule, send,
    send_at, tcp, udp, v4, v6,
};

fn shared() -> IpAddr {
    [192, 0, 2, 1].into()
}

fn floating() -> IpAddr {
    [192, 0, 2, 2].into()
}

fn far() -> IpAddr {
    [198, 51, 100, 7].into()
}

/// Guests 2 and 3, who may send anything and get nothing that was not asked for; a shared address.
fn site() -> Switch {
    let mut switch = lan(&[2, 3]);
    let rules = vec![rule(Direction::Out, Service::Any, Remote::Anyone)];
    switch.put_group(world::OPEN, rules).unwrap();
    switch.share(Shared {
        address: shared(),
        ports: 20_000..=29_999,
    });
    switch.share(Shared {
        address: "2001:db8::1".parse().unwrap(),
        ports: 20_000..=29_999,
    });
    switch
}

fn out(
    switch: &mut Switch,
    from: u8,
    source: IpAddr,
    target: IpAddr,
    number: u8,
    body: &[u8],
) -> Vec<Vec<u8>> {
    let frame = ethernet(
        GATEWAY_MAC,
        mac(from),
        &packet(source, target, number, body),
    );
    let outputs = send(switch, from, &frame);
    let packets = outputs.into_iter().filter_map(|output| match output {
        Output::Outside { packet } => Some(packet),
        _ => None,
    });
    packets.collect()
}

fn out4(switch: &mut Switch, from: u8, number: u8, body: &[u8]) -> Option<(Ip, Vec<u8>)> {
    let packet = out(switch, from, v4(from).into(), far(), number, body).pop()?;
    let ip = Ip::parse(&packet).unwrap();
    assert!(ip.has_good_checksum(&packet));
    assert_eq!(ip.hop_limit, 63);
    Some((ip, packet))
}

fn back(switch: &mut Switch, to: u8, packet: &[u8]) -> Option<(Ip, Vec<u8>)> {
    switch.handle_input(0, Input::Outside { packet });
    let frame = got(&drain(switch), to).pop()?;
    assert_eq!(
        (frame[..6].to_vec(), frame[6..12].to_vec()),
        (mac(to).0.to_vec(), GATEWAY_MAC.0.to_vec())
    );
    let ip = Ip::parse(&frame[14..]).unwrap();
    assert!(ip.has_good_checksum(&frame[14..]));
    Some((ip, frame[14..].to_vec()))
}

fn ports(ip: &Ip) -> (u16, u16) {
    match ip.transport {
        Transport::Tcp { source, target, .. } | Transport::Udp { source, target } => {
            (source, target)
        }
        Transport::Icmp { id, .. } => (id, id),
        Transport::Other => (0, 0),
    }
}

#[test]
fn two_guests_with_one_port_get_two_outside_and_hear_only_their_own_answers() {
    let mut switch = site();
    for (number, body) in [
        (protocol::TCP, tcp(25_000, 80, SYN)),
        (protocol::UDP, udp(25_000, 80, b"x")),
        (protocol::ICMP, echo(8, 25_000)),
    ] {
        let (first, _) = out4(&mut switch, 2, number, &body).unwrap();
        let (second, _) = out4(&mut switch, 3, number, &body).unwrap();
        assert_eq!((first.source, second.source), (shared(), shared()));
        assert_eq!(ports(&first).0, 25_000, "kept while it is free");
        assert_ne!(ports(&first).0, ports(&second).0);
        let reply = |to: u16| match number {
            protocol::TCP => tcp(80, to, SYN | ACK),
            protocol::UDP => udp(80, to, b"y"),
            _ => echo(0, to),
        };
        for (guest, ip) in [(2, &first), (3, &second)] {
            let answer = packet(far(), shared(), number, &reply(ports(ip).0));
            let (ip, _) = back(&mut switch, guest, &answer).unwrap();
            assert_eq!((ip.source, ip.target), (far(), v4(guest).into()));
            assert_eq!(ports(&ip).1, 25_000);
        }
        let stranger = packet([198, 51, 100, 8].into(), shared(), number, &reply(25_000));
        assert_eq!(back(&mut switch, 2, &stranger), None, "nobody asked him");
    }
}

#[test]
fn one_end_of_a_guest_has_one_end_outside() {
    let mut switch = site();
    let mut seen = Vec::new();
    for target in 1..=5u8 {
        let target = [198, 51, 100, target].into();
        let packets = out(
            &mut switch,
            2,
            v4(2).into(),
            target,
            17,
            &udp(999, 53, b"x"),
        );
        seen.push(ports(&Ip::parse(&packets[0]).unwrap()).0);
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "whoever is on the far side");
    assert!((20_000..=29_999).contains(&seen[0]));
    assert_eq!(switch.tables().outside.ends_of(PortId(2)), 1);
    switch.handle_timeout(1_000_000);
    assert_eq!(
        switch.tables().outside.ends_of(PortId(2)),
        0,
        "given back after the last"
    );
}

#[test]
fn ipv6_goes_out_and_comes_back_too() {
    let mut switch = site();
    let far: IpAddr = "2001:db8:9::9".parse().unwrap();
    let packets = out(&mut switch, 2, v6(2).into(), far, 6, &tcp(999, 80, SYN));
    let ip = Ip::parse(&packets[0]).unwrap();
    assert!(ip.has_good_checksum(&packets[0]));
    assert_eq!(ip.source, "2001:db8::1".parse::<IpAddr>().unwrap());
    let answer = packet(far, ip.source, 6, &tcp(80, ports(&ip).0, SYN | ACK));
    let (ip, _) = back(&mut switch, 2, &answer).unwrap();
    assert_eq!((ip.target, ports(&ip).1), (v6(2).into(), 999));
    let packets = out(&mut switch, 2, v6(2).into(), far, 58, &echo(128, 9));
    let ip = Ip::parse(&packets[0]).unwrap();
    let answer = packet(far, ip.source, 58, &echo(129, ports(&ip).0));
    assert_eq!(ports(&back(&mut switch, 2, &answer).unwrap().0).0, 9);
}

/// Group 16: the error of a router outside reaches the guest as one about its own packet.
#[test]
fn errors_from_outside_are_translated_with_what_they_quote() {
    let mut switch = site();
    let router: IpAddr = [203, 0, 113, 1].into();
    for (number, body) in [
        (protocol::TCP, tcp(999, 80, SYN)),
        (protocol::UDP, udp(999, 80, &[7; 100])),
        (protocol::ICMP, echo(8, 999)),
    ] {
        let (_, sent) = out4(&mut switch, 2, number, &body).unwrap();
        for quoted in [sent.len(), 28] {
            let quote = &sent[..quoted];
            let error = [&[3, 4, 0, 0, 0, 0, 5, 0][..], quote].concat();
            let error = packet(router, shared(), 1, &error);
            let (ip, bytes) = back(&mut switch, 2, &error).unwrap();
            assert_eq!((ip.source, ip.target), (router, v4(2).into()));
            let quote = ip.quoted(&bytes).unwrap();
            assert_eq!((quote.source, quote.target), (v4(2).into(), far()));
            assert_eq!(ports(&quote).0, 999);
            assert_eq!(
                netcore::ethernet::checksum(&[&bytes[28..48]]),
                0,
                "the quote's own header"
            );
        }
        let mut forged = sent.clone();
        forged[22] ^= 0x40; // about another port
        forged[24] ^= 0x40;
        let error = [&[3, 4, 0, 0, 0, 0, 5, 0][..], &forged].concat();
        assert_eq!(
            back(&mut switch, 2, &packet(router, shared(), 1, &error)),
            None
        );
    }
}

#[test]
fn a_floating_address_is_its_guests_both_ways_and_moves() {
    let mut switch = site();
    switch.float(floating(), PortId(2)).unwrap();
    assert_eq!(
        drain(&mut switch),
        [Output::Announce {
            address: floating()
        }]
    );
    let (ip, _) = out4(&mut switch, 2, 6, &tcp(999, 80, SYN)).unwrap();
    assert_eq!((ip.source, ports(&ip).0), (floating(), 999));
    let (ip, _) = out4(&mut switch, 3, 6, &tcp(999, 80, SYN)).unwrap();
    assert_eq!(ip.source, shared(), "nobody else's");
    let call = packet(far(), floating(), 6, &tcp(5, 22, SYN));
    assert_eq!(back(&mut switch, 2, &call), None, "its groups decide");
    assert_eq!(switch.counters().outside_drops["no-rule"], 1);
    let rules = vec![
        rule(
            Direction::In,
            Service::Tcp(22..=22),
            Remote::Prefix(far(), 32),
        ),
        rule(Direction::Out, Service::Any, Remote::Anyone),
    ];
    switch.put_group(world::OPEN, rules).unwrap();
    let (ip, _) = back(&mut switch, 2, &call).unwrap();
    assert_eq!((ip.target, ports(&ip).1), (v4(2).into(), 22));
    let (ip, _) = out4(&mut switch, 2, 6, &tcp(22, 5, SYN | ACK)).unwrap();
    assert_eq!((ip.source, ports(&ip)), (floating(), (22, 5)));
    let (ip, _) = out4(&mut switch, 2, 1, &echo(8, 4)).unwrap();
    assert_eq!((ip.source, ports(&ip).0), (floating(), 4));
    switch.float(floating(), PortId(3)).unwrap();
    drain(&mut switch);
    assert!(back(&mut switch, 3, &call).is_some());
    assert!(
        out4(&mut switch, 2, 6, &tcp(22, 5, ACK)).is_none_or(|(ip, _)| ip.source == shared()),
        "what guest 2 had open does not speak for guest 3 now"
    );
    switch.sink(floating());
    assert_eq!(back(&mut switch, 3, &call), None);
}

#[test]
fn a_forwarded_port_leads_in_and_its_answers_out() {
    let mut switch = site();
    let rules = vec![rule(
        Direction::In,
        Service::Tcp(8080..=8080),
        Remote::Anyone,
    )];
    switch.put_group(world::OPEN, rules).unwrap();
    let forward = Forward {
        protocol: protocol::TCP,
        outside: (shared(), 80),
        port: PortId(2),
        guest_port: 8080,
    };
    switch.forward(forward).unwrap();
    let call = packet(far(), shared(), 6, &tcp(5, 80, SYN));
    let (ip, _) = back(&mut switch, 2, &call).unwrap();
    assert_eq!((ip.target, ports(&ip)), (v4(2).into(), (5, 8080)));
    let (ip, _) = out4(&mut switch, 2, 6, &tcp(8080, 5, SYN | ACK)).unwrap();
    assert_eq!((ip.source, ports(&ip)), (shared(), (80, 5)));
    assert_eq!(
        back(
            &mut switch,
            2,
            &packet(far(), shared(), 17, &udp(5, 80, b"x"))
        ),
        None
    );
    switch.forget_forward(protocol::TCP, (shared(), 80));
    assert_eq!(
        back(
            &mut switch,
            2,
            &packet(far(), shared(), 6, &tcp(6, 80, SYN))
        ),
        None
    );
}

#[test]
fn a_guest_reaches_another_guests_outside_address_without_leaving() {
    let mut switch = site();
    let any = |direction| rule(direction, Service::Any, Remote::Anyone);
    switch
        .put_group(world::OPEN, vec![any(Direction::In), any(Direction::Out)])
        .unwrap();
    switch.float(floating(), PortId(2)).unwrap();
    drain(&mut switch);
    let frame = packet(v4(3).into(), floating(), 6, &tcp(999, 80, SYN));
    let outputs = send(&mut switch, 3, &ethernet(GATEWAY_MAC, mac(3), &frame));
    let frame = got(&outputs, 2).pop().unwrap();
    let ip = Ip::parse(&frame[14..]).unwrap();
    assert_eq!((ip.source, ip.target), (shared(), v4(2).into()));
    let (to, from) = ports(&ip);
    let frame = packet(v4(2).into(), shared(), 6, &tcp(from, to, SYN | ACK));
    let outputs = send(&mut switch, 2, &ethernet(GATEWAY_MAC, mac(2), &frame));
    let frame = got(&outputs, 3).pop().unwrap();
    let ip = Ip::parse(&frame[14..]).unwrap();
    assert_eq!((ip.source, ports(&ip)), (floating(), (80, 999)));
    assert!(ip.has_good_checksum(&frame[14..]));
}

/// Group 19: many connections to one destination: a quota of the guest's own, and what is closed
/// is free again.
#[test]
fn shared_ports_have_a_quota_and_come_back() {
    let mut switch = site();
    let mut passed = 0;
    for port in 0..=5000u16 {
        passed += usize::from(out4(&mut switch, 2, 6, &tcp(30_000 + port, 80, SYN)).is_some());
    }
    assert_eq!(passed, ENDS_PER_PORT_MAX);
    assert_eq!(drops(&switch, 2, "no-end"), 5001 - ENDS_PER_PORT_MAX as u64);
    assert!(
        out4(&mut switch, 3, 6, &tcp(30_000, 80, SYN)).is_some(),
        "others have their own"
    );
    let frame = packet(v4(2).into(), far(), 6, &tcp(30_000, 80, RST));
    send_at(&mut switch, 1, 2, &ethernet(GATEWAY_MAC, mac(2), &frame));
    switch.handle_timeout(10_001);
    assert!(out4(&mut switch, 2, 6, &tcp(40_000, 80, SYN)).is_some());
    for _ in 0..10 {
        switch.handle_timeout(60_000);
    }
    assert_eq!(switch.tables().outside.ends_of(PortId(2)), 0);
    assert_eq!(switch.tables().flows.len(), 0);
}

/// Group 19: thirty thousand connections to one destination through one floating address: each is
/// its own, nobody else loses any, and after their end nothing is left.
#[test]
fn a_floating_address_carries_thirty_thousand_connections_and_forgets_them() {
    let mut switch = site();
    switch.float(floating(), PortId(2)).unwrap();
    drain(&mut switch);
    assert!(out4(&mut switch, 3, 6, &tcp(7, 80, SYN)).is_some());
    for port in 1000..31_000u16 {
        let (ip, _) = out4(&mut switch, 2, 6, &tcp(port, 80, SYN)).unwrap();
        assert_eq!((ip.source, ports(&ip).0), (floating(), port));
    }
    for port in [1000, 30_999] {
        let answer = packet(far(), floating(), 6, &tcp(80, port, SYN | ACK));
        assert_eq!(ports(&back(&mut switch, 2, &answer).unwrap().0).1, port);
    }
    assert_eq!(switch.tables().flows.of_port(PortId(2)), 30_000);
    assert_eq!(switch.tables().flows.of_port(PortId(3)), 1);
    for port in 1000..31_000u16 {
        let reset = packet(far(), floating(), 6, &tcp(80, port, RST));
        assert!(back(&mut switch, 2, &reset).is_some());
    }
    for _ in 0..40 {
        switch.handle_timeout(10_000); // a thousand in one call
    }
    assert_eq!(switch.tables().flows.of_port(PortId(2)), 0);
    assert_eq!(switch.tables().flows.of_port(PortId(3)), 1);
}

/// Group 16: too long for the network: the sender outside is told about its own packet.
#[test]
fn a_long_packet_from_outside_goes_back_untranslated() {
    let mut switch = site();
    let (ip, _) = out4(&mut switch, 2, 17, &udp(999, 80, b"x")).unwrap();
    let long = packet(far(), shared(), 17, &udp(80, ports(&ip).0, &[0; 1400]));
    switch.handle_input(0, Input::Outside { packet: &long });
    let outputs = drain(&mut switch);
    let [Output::Outside { packet }] = &outputs[..] else {
        panic!("{outputs:?}");
    };
    let ip = Ip::parse(packet).unwrap();
    assert_eq!((ip.source, ip.target), (shared(), far()));
    assert_eq!(
        (packet[20], packet[21], &packet[26..28]),
        (3, 4, &1380u16.to_be_bytes()[..])
    );
    assert_eq!(ip.quoted(packet).unwrap().target, shared());
    assert!(packet.len() >= 28 + 512);
}

#[test]
fn what_nobody_asked_for_stays_outside() {
    let mut switch = site();
    for stray in [
        packet(far(), shared(), 6, &tcp(5, 25_000, SYN)),
        packet(far(), [192, 0, 2, 99].into(), 6, &tcp(5, 25_000, SYN)),
        packet(far(), v4(2).into(), 6, &tcp(5, 25_000, SYN)),
        packet_with(far(), shared(), 6, 1, &tcp(5, 25_000, SYN)),
        vec![],
        vec![0x45; 19],
    ] {
        switch.handle_input(0, Input::Outside { packet: &stray });
        assert_eq!(drain(&mut switch), []);
    }
    let counted: u64 = switch.counters().outside_drops.values().sum();
    assert_eq!(counted, 6);
}
