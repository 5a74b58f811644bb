//! A guest that lies: about who it is, where others are, what a router or a DHCP server says.
//! Each lie is dropped first, by name, and nothing changes for others.
#![allow(clippy::unwrap_used)]

mod world;

use std::net::{IpAddr, Ipv6Addr};

use netcore::ethernet::Mac;
use netcore::switch::Output;
use netcore::switch::records::{GATEWAY_MAC, PeerId, Place};
use world::{
    arp, between, between6, drain, drops, echo, ethernet, got, lan, link_local, mac, neighbour,
    packet, packet_with, plug_into, send, set_peers, station, tcp, udp, v4, v6,
};

const ALL: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The lie reaches nobody, is counted under its name, and honest frames still pass both ways.
fn is_dropped(name: &str, frame: &[u8]) {
    let mut switch = lan(&[2, 3]);
    let far = station(4, Place::There(PeerId(7)));
    switch.put_station(world::net(5), far).unwrap();
    set_peers(&mut switch, &[7]);
    let outputs = send(&mut switch, 2, frame);
    assert_eq!(outputs, [], "{name}");
    assert_eq!(
        drops(&switch, 2, name),
        1,
        "{:?}",
        switch.port_counters(netcore::switch::records::PortId(2))
    );
    let honest = between(3, 2, 1, &echo(8, 1));
    assert_eq!(got(&send(&mut switch, 3, &honest), 2).len(), 1);
    let honest = between(2, 3, 1, &echo(0, 1));
    assert_eq!(got(&send(&mut switch, 2, &honest), 3).len(), 1);
}

#[test]
#[rustfmt::skip] // keeps the columns
fn a_lie_is_dropped_by_name() {
    let ip = |source: IpAddr, target: IpAddr, number, body: &[u8]| {
        ethernet(mac(3), mac(2), &packet(source, target, number, body))
    };
    let nd = |source: Ipv6Addr, body: &[u8]| {
        ethernet(mac(3), mac(2), &packet_with(source.into(), ALL.into(), 58, 255, body))
    };
    let request = udp(9, 9, b"x");
    // Hardware addresses: another guest's, the gateway's, a group.
    is_dropped("spoofed-mac", &ethernet(mac(3), mac(4), &packet(v4(2).into(), v4(3).into(), 17, &request)));
    is_dropped("spoofed-mac", &ethernet(mac(3), GATEWAY_MAC, &packet(v4(2).into(), v4(3).into(), 17, &request)));
    is_dropped("spoofed-mac", &ethernet(mac(3), Mac::BROADCAST, &packet(v4(2).into(), v4(3).into(), 17, &request)));
    // Addresses: a neighbour's, the gateway's, the metadata service's, one of another network.
    for last in [1, 3, 77] {
        is_dropped("spoofed-address", &ip(v4(last).into(), v4(3).into(), 17, &request));
    }
    is_dropped("spoofed-address", &ip([169, 254, 169, 254].into(), v4(3).into(), 17, &request));
    is_dropped("spoofed-address", &ip([192, 0, 2, 1].into(), v4(3).into(), 17, &request));
    is_dropped("spoofed-address", &ip([0, 0, 0, 0].into(), v4(3).into(), 17, &request));
    is_dropped("spoofed-address", &ip(v6(3).into(), v6(3).into(), 17, &request));
    is_dropped("spoofed-address", &ip(link_local(3).into(), v6(3).into(), 17, &request));
    is_dropped("spoofed-address", &ip(Ipv6Addr::UNSPECIFIED.into(), v6(3).into(), 17, &request));
    // ARP: another's address at our MAC, ours at another's MAC, asked and answered.
    is_dropped("spoofed-arp", &arp(true, mac(2), v4(3), v4(3)));
    is_dropped("spoofed-arp", &arp(false, mac(2), v4(1), v4(3)));
    is_dropped("spoofed-arp", &arp(false, mac(2), [0, 0, 0, 0].into(), v4(3)));
    let mut inner = arp(true, mac(2), v4(2), v4(3));
    inner[22..28].copy_from_slice(&mac(3).0);
    is_dropped("spoofed-arp", &inner);
    // Neighbours: another's address, another's MAC, from off the link.
    is_dropped("spoofed-neighbour", &nd(v6(2), &neighbour(136, v6(3), Some((2, mac(2))))));
    is_dropped("spoofed-neighbour", &nd(link_local(2), &neighbour(136, "fe80::1".parse().unwrap(), Some((2, mac(2))))));
    is_dropped("spoofed-neighbour", &nd(v6(2), &neighbour(136, v6(2), Some((2, mac(3))))));
    is_dropped("spoofed-neighbour", &nd(v6(2), &neighbour(135, v6(3), Some((1, mac(3))))));
    is_dropped("spoofed-neighbour", &nd(Ipv6Addr::UNSPECIFIED, &neighbour(135, v6(2), Some((1, mac(2))))));
    let body = neighbour(135, v6(3), Some((1, mac(2))));
    let far = packet_with(v6(2).into(), ALL.into(), 58, 64, &body);
    is_dropped("spoofed-neighbour", &ethernet(mac(3), mac(2), &far));
    // Routers and redirects, of both kinds.
    is_dropped("rogue-router", &nd(link_local(2), &neighbour(134, ALL, None)));
    is_dropped("rogue-router", &nd(link_local(2), &neighbour(137, ALL, None)));
    is_dropped("rogue-router", &ip(v4(2).into(), v4(3).into(), 1, &[5, 1, 0, 0, 10, 0, 0, 2]));
    is_dropped("rogue-router", &ip(v4(2).into(), v4(3).into(), 1, &[9, 0, 0, 0, 1, 2, 0, 60]));
    // DHCP servers, of both kinds.
    is_dropped("rogue-dhcp", &ip(v4(2).into(), v4(3).into(), 17, &udp(67, 68, &[2; 300])));
    is_dropped("rogue-dhcp", &ip(link_local(2).into(), link_local(3).into(), 17, &udp(547, 546, b"x")));
    // What is no IP at all: spanning tree, LACP, LLDP, a VLAN tag.
    for kind in [[0x00, 0x26], [0x88, 0x09], [0x88, 0xcc], [0x81, 0x00]] {
        let frame = [&[1, 0x80, 0xc2, 0, 0, 0][..], &mac(2).0, &kind, &[0; 60]].concat();
        is_dropped("malformed", &frame);
    }
}

/// What hides behind extension headers or fragments is found, or nothing passes.
#[test]
fn extension_headers_hide_nothing() {
    let advertisement = neighbour(134, ALL, None);
    let hidden = |next: u8, header: &[u8]| {
        let mut body = header.to_vec();
        let sum_at = body.len() + 2;
        body.extend(&advertisement);
        let source: IpAddr = link_local(2).into();
        let mut packet = packet_with(source, ALL.into(), next, 255, &body);
        packet[40 + sum_at..40 + sum_at + 2].copy_from_slice(&[1, 1]);
        ethernet(mac(3), mac(2), &packet)
    };
    is_dropped("rogue-router", &hidden(0, &[58, 0, 1, 4, 0, 0, 0, 0]));
    is_dropped("rogue-router", &hidden(60, &[58, 0, 1, 4, 0, 0, 0, 0]));
    is_dropped("rogue-router", &hidden(44, &[58, 0, 0, 0, 0, 0, 0, 9]));
    is_dropped("rogue-router", &hidden(44, &[58, 0, 0, 1, 0, 0, 0, 9])); // a first fragment
    is_dropped("fragment", &hidden(44, &[58, 0, 0, 9, 0, 0, 0, 9])); // a later one
    is_dropped("malformed", &hidden(43, &[58, 0, 0, 0, 0, 0, 0, 0])); // source routing
    let many = [&[0, 0, 1, 4, 0, 0, 0, 0][..]; 9].concat();
    is_dropped("malformed", &hidden(0, &many));
    // A first fragment too short to have its ports.
    let source: IpAddr = v6(2).into();
    let short = packet(
        source,
        v6(3).into(),
        44,
        &[6, 0, 0, 1, 0, 0, 0, 9, 0, 80, 0, 80],
    );
    is_dropped("malformed", &ethernet(mac(3), mac(2), &short));
}

#[test]
fn a_network_never_hears_another_with_the_same_addresses() {
    let mut switch = lan(&[2, 3]);
    switch.put_network(world::settings(6)).unwrap();
    let twin = station(3, Place::Here(netcore::switch::records::PortId(63)));
    plug_into(&mut switch, world::net(6), 63, twin);
    drain(&mut switch);
    for frame in [
        between(2, 3, 6, &tcp(1, 80, world::SYN)),
        between6(2, 3, 17, &udp(1, 2, b"x")),
        ethernet(
            Mac::BROADCAST,
            mac(2),
            &packet(v4(2).into(), v4(255).into(), 17, &udp(1, 2, b"x")),
        ),
    ] {
        let outputs = send(&mut switch, 2, &frame);
        assert_eq!(got(&outputs, 3).len(), 1);
        assert_eq!(got(&outputs, 63).len(), 0);
    }
    assert!(
        switch
            .explain(
                0,
                netcore::switch::records::PortId(63),
                &ethernet(
                    mac(2),
                    mac(3),
                    &packet(v4(3).into(), v4(2).into(), 17, &udp(1, 2, b"x"))
                ),
                netcore::offload::Offload::default()
            )
            .contains("no record of 02:00:00:00:00:02")
    );
}

#[test]
fn a_flood_of_questions_takes_nothing_from_others() {
    let mut switch = lan(&[2, 3]);
    let ask = arp(true, mac(2), v4(2), v4(3));
    let answers: usize = (0..10_000).map(|_| send(&mut switch, 2, &ask).len()).sum();
    assert_eq!(answers, 400, "the burst, and no more in the same moment");
    assert_eq!(drops(&switch, 2, "too-fast"), 9_600);
    let honest = arp(true, mac(3), v4(3), v4(2));
    assert_eq!(send(&mut switch, 3, &honest).len(), 1);
    let for_all = packet(v4(2).into(), v4(255).into(), 17, &udp(1, 2, b"x"));
    let for_all = ethernet(Mac::BROADCAST, mac(2), &for_all);
    let copies: usize = (0..10_000)
        .map(|_| send(&mut switch, 2, &for_all).len())
        .sum();
    assert_eq!(copies, 100);
}

#[test]
fn a_vm_that_moved_away_speaks_no_more_from_its_old_port() {
    let mut switch = lan(&[2, 3]);
    let mut moved = station(2, Place::There(PeerId(7)));
    moved.epoch = 2;
    switch.put_station(world::net(5), moved).unwrap();
    let outputs = send(&mut switch, 2, &between(2, 3, 1, &echo(8, 1)));
    assert_eq!(outputs, []);
    assert_eq!(drops(&switch, 2, "moved"), 1);
    let old = station(2, world::here(2));
    assert!(
        switch.put_station(world::net(5), old).is_err(),
        "an old record changes nothing"
    );
}

#[test]
fn a_switch_that_is_no_member_is_not_heard_and_a_member_speaks_only_for_its_own() {
    let mut switch = lan(&[2, 3]);
    switch
        .put_station(world::net(5), station(4, Place::There(PeerId(7))))
        .unwrap();
    set_peers(&mut switch, &[7]);
    let shim = [0x10, 0, 0, 0, 5, 0, 1, 0];
    let mut hear = |peer: u64, frame: &[u8]| {
        let message = [&shim[..], frame].concat();
        let input = netcore::switch::Input::Peer {
            peer: PeerId(peer),
            message: &message,
        };
        switch.handle_input(0, input);
        let outputs = drain(&mut switch);
        (got(&outputs, 3).len(), switch.counters().peer_drops.clone())
    };
    assert_eq!(hear(7, &between(4, 3, 1, &echo(8, 1))).0, 1);
    let (count, drops) = hear(8, &between(4, 3, 1, &echo(8, 1)));
    assert_eq!((count, drops["not-member"]), (0, 1));
    let (count, drops) = hear(7, &between(2, 3, 1, &echo(8, 1)));
    assert_eq!(
        (count, drops["spoofed-mac"]),
        (0, 1),
        "a guest of this switch"
    );
    let (count, drops) = hear(7, &between(9, 3, 1, &echo(8, 1)));
    assert_eq!((count, drops["no-station"]), (0, 1), "nobody's");
    let lie = ethernet(
        mac(3),
        mac(4),
        &packet(v4(2).into(), v4(3).into(), 1, &echo(8, 1)),
    );
    let (count, drops) = hear(7, &lie);
    assert_eq!((count, drops["spoofed-address"]), (0, 1));
    let routed = ethernet(
        mac(3),
        GATEWAY_MAC,
        &packet(v4(4).into(), v4(3).into(), 1, &echo(8, 1)),
    );
    assert_eq!(hear(7, &routed).0, 1, "by way of the gateway there");
    let routed = ethernet(
        mac(3),
        GATEWAY_MAC,
        &packet(v4(2).into(), v4(3).into(), 1, &echo(8, 1)),
    );
    assert_eq!(hear(7, &routed).0, 0, "which is not ours");
    let _ = Output::Stale {
        peer: PeerId(7),
        network: world::net(5),
        mac: mac(2),
    };
}
