//! Security groups, conversations and their limits, and what `explain` says of them.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

mod world;

use std::net::IpAddr;

use netcore::offload::Offload;
use netcore::switch::groups::{Direction, GroupId, Remote, Service};
use netcore::switch::port::{Limits, PortSettings};
use netcore::switch::records::PortId;
use netcore::switch::{Input, Rate, Switch, flows};
use world::{
    ACK, FIN, RST, SYN, between, between6, drain, drops, echo, ethernet, got, here, lan, mac, net,
    packet, rule, send, send_at, station, tcp, udp, v4,
};

const WEB: GroupId = GroupId(10);
const CLIENTS: GroupId = GroupId(11);

/// Guest 2 serves: it gets port 80 from clients, pings from anyone, and may send nothing of its
/// own. Guest 3 is a client that may send anything and gets nothing; guest 4 is in no group.
fn web() -> Switch {
    let mut switch = lan(&[2, 3, 4]);
    let serve = vec![
        rule(Direction::In, Service::Tcp(80..=80), Remote::Group(CLIENTS)),
        rule(
            Direction::In,
            Service::Icmp(Some(8)),
            Remote::Prefix([10, 0, 0, 0].into(), 24),
        ),
    ];
    switch.put_group(WEB, serve).unwrap();
    let ask = vec![rule(Direction::Out, Service::Any, Remote::Anyone)];
    switch.put_group(CLIENTS, ask).unwrap();
    for (last, groups) in [(2, vec![WEB]), (3, vec![CLIENTS]), (4, vec![])] {
        let mut record = station(last, here(last));
        record.groups = groups;
        record.epoch = 2;
        switch.put_station(net(5), record).unwrap();
    }
    switch
}

fn passes(switch: &mut Switch, from: u8, to: u8, number: u8, body: &[u8]) -> bool {
    let outputs = send(switch, from, &between(from, to, number, body));
    !got(&outputs, to).is_empty()
}

#[test]
#[rustfmt::skip] // keeps the columns
fn only_what_a_rule_lets_pass_begins_a_conversation() {
    let check = |from, to, number, body: &[u8], expected| {
        assert_eq!(passes(&mut web(), from, to, number, body), expected, "{from} to {to}: {body:?}");
    };
    //    from to            what                    passes
    check(3,   2,  6,  &tcp(999, 80, SYN),           true);
    check(3,   2,  6,  &tcp(999, 81, SYN),           false);
    check(3,   2,  17, &udp(999, 80, b"x"),          false);
    check(3,   2,  1,  &echo(8, 1),                  true);
    check(3,   2,  1,  &echo(0, 1),                  false); // an answer nobody asked for
    check(4,   2,  6,  &tcp(999, 80, SYN),           false); // in no group: it sends nothing
    check(3,   4,  6,  &tcp(999, 80, SYN),           false); // and gets nothing
    check(2,   3,  6,  &tcp(999, 80, SYN),           false);
    check(3,   2,  132, &[0; 12],                    false);
}

/// Sixteen flows, each allowed or denied by IPv4 and by IPv6 alike.
#[test]
fn sixteen_flows_are_judged_alike_in_both_kinds_of_ip() {
    for port in 0..8u16 {
        let mut switch = lan(&[2, 3]);
        let rules = vec![
            rule(Direction::In, Service::Tcp(4..=7), Remote::Anyone),
            rule(Direction::In, Service::Udp(2..=5), Remote::Anyone),
            rule(Direction::Out, Service::Any, Remote::Anyone),
        ];
        switch.put_group(world::OPEN, rules).unwrap();
        for (number, body, expected) in [
            (6, tcp(999, port, SYN), (4..=7).contains(&port)),
            (17, udp(999, port, b"x"), (2..=5).contains(&port)),
        ] {
            let outputs = send(&mut switch, 2, &between(2, 3, number, &body));
            assert_eq!(
                !got(&outputs, 3).is_empty(),
                expected,
                "IPv4 {number} {port}"
            );
            let outputs = send(&mut switch, 2, &between6(2, 3, number, &body));
            assert_eq!(
                !got(&outputs, 3).is_empty(),
                expected,
                "IPv6 {number} {port}"
            );
        }
    }
}

#[test]
fn answers_of_a_conversation_pass_without_a_rule() {
    let mut switch = web();
    assert!(
        !passes(&mut switch, 2, 3, 6, &tcp(80, 999, SYN | ACK)),
        "not before it is asked"
    );
    assert!(passes(&mut switch, 3, 2, 6, &tcp(999, 80, SYN)));
    assert!(passes(&mut switch, 2, 3, 6, &tcp(80, 999, SYN | ACK)));
    assert!(
        !passes(&mut switch, 2, 3, 6, &tcp(80, 998, SYN | ACK)),
        "of no other"
    );
    assert!(!passes(&mut switch, 2, 3, 6, &tcp(81, 999, SYN | ACK)));
    assert!(passes(&mut switch, 3, 2, 1, &echo(8, 5)));
    assert!(passes(&mut switch, 2, 3, 1, &echo(0, 5)));
    assert!(!passes(&mut switch, 2, 3, 1, &echo(0, 6)));
}

/// Group 16: errors about a conversation pass although no rule knows ICMP; others don't.
#[test]
fn errors_about_a_conversation_always_pass() {
    let mut switch = web();
    assert!(passes(&mut switch, 3, 2, 6, &tcp(999, 80, SYN)));
    let quote = |source: u16| packet(v4(3).into(), v4(2).into(), 6, &tcp(source, 80, SYN));
    let too_big = |source| [&[3, 4, 0, 0, 0, 0, 5, 0][..], &quote(source)[..28]].concat();
    assert!(passes(&mut switch, 2, 3, 1, &too_big(999)));
    assert!(
        !passes(&mut switch, 2, 3, 1, &too_big(998)),
        "about what was never sent"
    );
    let not_own = packet(v4(4).into(), v4(2).into(), 6, &tcp(999, 80, SYN));
    let body = [&[3, 4, 0, 0, 0, 0, 5, 0][..], &not_own[..28]].concat();
    assert!(!passes(&mut switch, 2, 3, 1, &body));
}

#[test]
fn a_conversation_ends_by_its_own_words_or_by_silence() {
    let opens = |switch: &mut Switch| {
        let syn = send_at(switch, 0, 3, &between(3, 2, 6, &tcp(999, 80, SYN)));
        assert_eq!(got(&syn, 2).len(), 1);
    };
    let answers_at = |switch: &mut Switch, now_ms| {
        switch.handle_timeout(now_ms);
        drain(switch);
        let answer = between(2, 3, 6, &tcp(80, 999, ACK));
        !got(&send_at(switch, now_ms, 2, &answer), 3).is_empty()
    };
    let mut switch = web();
    opens(&mut switch);
    assert!(answers_at(&mut switch, 29_999), "half open for 30 s");
    assert!(
        answers_at(&mut switch, 7_000_000),
        "then open for two hours"
    );
    let mut switch = web();
    opens(&mut switch);
    assert!(!answers_at(&mut switch, 30_000));
    for (from, flags) in [(3, RST), (2, RST)] {
        let mut switch = web();
        opens(&mut switch);
        assert!(answers_at(&mut switch, 1));
        let ports = if from == 3 { (999, 80) } else { (80, 999) };
        let reset = between(from, 5 - from, 6, &tcp(ports.0, ports.1, flags));
        send_at(&mut switch, 2, from, &reset);
        assert!(
            !answers_at(&mut switch, 10_002),
            "over ten seconds after a reset"
        );
    }
    let mut switch = web();
    opens(&mut switch);
    assert!(answers_at(&mut switch, 1));
    send_at(
        &mut switch,
        2,
        3,
        &between(3, 2, 6, &tcp(999, 80, FIN | ACK)),
    );
    assert!(answers_at(&mut switch, 20_000), "one side may go on");
    send_at(
        &mut switch,
        20_000,
        2,
        &between(2, 3, 6, &tcp(80, 999, FIN | ACK)),
    );
    assert!(!answers_at(&mut switch, 30_001), "over after both");
    assert_eq!(switch.tables().flows.len(), 0, "and nothing is left");
}

/// Group 18: a SYN with a wrong checksum begins nothing.
#[test]
fn a_wrong_checksum_begins_no_conversation() {
    let mut switch = web();
    let mut frame = between(3, 2, 6, &tcp(999, 80, SYN));
    frame[50] ^= 1;
    for _ in 0..1000 {
        assert_eq!(send(&mut switch, 3, &frame), []);
    }
    assert_eq!(switch.tables().flows.len(), 0);
    assert_eq!(drops(&switch, 3, "checksum"), 1000);
}

/// A flood takes the places of the flooder's own half-open conversations, oldest first; those that
/// are open stay, and other guests keep all of theirs.
#[test]
fn a_flood_of_conversations_evicts_only_the_flooders_half_open_ones() {
    let mut switch = lan(&[2, 3, 4]);
    let good = |switch: &mut Switch, now_ms, from: u8, to: u8, ports: (u16, u16), flags| {
        let frame = between(from, to, 6, &tcp(ports.0, ports.1, flags));
        !got(&send_at(switch, now_ms, from, &frame), to).is_empty()
    };
    assert!(good(&mut switch, 0, 3, 4, (5, 80), SYN));
    assert!(good(&mut switch, 0, 4, 3, (80, 5), SYN | ACK));
    assert!(good(&mut switch, 0, 2, 3, (7, 80), SYN));
    assert!(good(&mut switch, 0, 3, 2, (80, 7), SYN | ACK));
    let mut sent = 0;
    for target in 0..=255u8 {
        for port in 0..200u16 {
            let target: IpAddr = [192, 0, 2, target].into();
            let body = udp(1000 + port, 9, b"x");
            let packet = packet(v4(2).into(), target, 17, &body);
            send_at(&mut switch, 1, 2, &ethernet(mac(3), mac(2), &packet));
            sent += 1;
        }
    }
    let flows = &switch.tables().flows;
    assert!(sent > flows::FLOWS_PER_PORT_MAX);
    assert_eq!(flows.of_port(PortId(2)), flows::FLOWS_PER_PORT_MAX);
    assert!(flows.len() <= flows::FLOWS_MAX);
    assert!(flows.counters().evicted > 0);
    assert_eq!(flows.of_port(PortId(4)), 1);
    assert!(good(&mut switch, 2, 2, 3, (7, 80), ACK));
    assert!(good(&mut switch, 2, 3, 4, (5, 80), ACK));
    switch.handle_timeout(2);
    for _ in 0..200 {
        switch.handle_timeout(40_000); // at most a thousand are forgotten in one call
    }
    assert_eq!(
        switch.tables().flows.of_port(PortId(2)),
        1,
        "only the open one is left"
    );
}

#[test]
fn later_fragments_follow_a_first_one_that_passed() {
    let fragment = |offset: u16, more: bool, id: u8, body: &[u8]| {
        let mut packet = packet(v4(2).into(), v4(3).into(), 17, body);
        packet[5] = id;
        let field = (offset / 8) | if more { 0x2000 } else { 0 };
        packet[6..8].copy_from_slice(&field.to_be_bytes());
        packet[10..12].copy_from_slice(&[0, 0]);
        let sum = netcore::ethernet::checksum(&[&packet[..20]]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        ethernet(mac(3), mac(2), &packet)
    };
    let mut switch = lan(&[2, 3]);
    let first = fragment(0, true, 1, &udp(1, 2, &[0; 16]));
    let later = fragment(24, false, 1, &[0; 8]);
    assert_eq!(
        got(&send(&mut switch, 2, &later), 3).len(),
        0,
        "not before the first"
    );
    assert_eq!(got(&send(&mut switch, 2, &first), 3).len(), 1);
    assert_eq!(got(&send(&mut switch, 2, &later), 3).len(), 1);
    let other = fragment(24, false, 2, &[0; 8]);
    assert_eq!(
        got(&send(&mut switch, 2, &other), 3).len(),
        0,
        "of another datagram"
    );
    assert_eq!(
        got(&send_at(&mut switch, 3000, 2, &later), 3).len(),
        0,
        "too late"
    );
}

#[test]
fn a_port_is_as_fast_as_it_may_be() {
    let mut switch = lan(&[3]);
    let limits = Limits {
        out_bytes: Rate {
            per_second: 1_000_000,
            burst: 10_000,
        },
        out_frames: Rate {
            per_second: 1000,
            burst: 1000,
        },
        in_bytes: Rate {
            per_second: 500_000,
            burst: 5_000,
        },
    };
    let settings = PortSettings {
        network: net(5),
        mac: mac(2),
        abilities: Default::default(),
        limits,
    };
    switch.attach(0, PortId(2), settings).unwrap();
    switch.put_station(net(5), station(2, here(2))).unwrap();
    let frame = |from: u8| between(from, 5 - from, 17, &udp(1, 2, &[0; 958])); // 1,000 bytes
    let mut passed = |from: u8, now_ms| {
        let all = (0..100).map(|_| send_at(&mut switch, now_ms, from, &frame(from)).len());
        all.sum::<usize>()
    };
    assert_eq!(passed(2, 0), 10, "the burst");
    assert_eq!(passed(2, 5), 5, "and then a thousand bytes a millisecond");
    assert_eq!(passed(3, 5), 5, "what it gets has a rate of its own");
    assert_eq!(passed(3, 9), 2);
    assert_eq!(drops(&switch, 2, "too-fast"), 90 + 95 + 95 + 98);
}

#[test]
fn explain_says_which_rule_or_why_not() {
    let switch = web();
    let explain = |from: u8, frame: &[u8]| {
        switch.explain(0, PortId(u32::from(from)), frame, Offload::default())
    };
    assert_eq!(
        explain(3, &between(3, 2, 6, &tcp(999, 80, SYN))),
        "TCP from 10.0.0.3 port 999 to 10.0.0.2 port 80.\n\
         It may leave: rule 1 of group 11 lets it.\n\
         It may arrive: rule 1 of group 10 lets it.\n\
         Delivered to 02:00:00:00:00:02 at port 2 here.\n"
    );
    assert_eq!(
        explain(3, &between(3, 2, 6, &tcp(999, 22, SYN))),
        "TCP from 10.0.0.3 port 999 to 10.0.0.2 port 22.\n\
         Dropped: no rule lets vm2 get it; its groups are 10.\n"
    );
    assert!(
        explain(4, &between(4, 2, 6, &tcp(999, 80, SYN)))
            .ends_with("Dropped: no rule lets vm4 send it; it is in no group.\n")
    );
    assert!(
        explain(3, &between(4, 2, 6, &tcp(999, 80, SYN)))
            .contains("it is spoofed: its hardware address 02:00:00:00:00:04 is not the sender's")
    );
    assert!(explain(3, &world::arp(true, mac(3), v4(3), v4(2))).contains("where an address is"));
    let before = switch.port_counters(PortId(3)).unwrap().clone();
    explain(3, &between(3, 2, 6, &tcp(999, 80, SYN)));
    assert_eq!(switch.tables().flows.len(), 0, "nothing is remembered");
    assert_eq!(
        *switch.port_counters(PortId(3)).unwrap(),
        before,
        "nothing is counted"
    );
}

#[test]
fn an_unplugged_guest_leaves_nothing_behind() {
    let mut switch = web();
    assert!(passes(&mut switch, 3, 2, 6, &tcp(999, 80, SYN)));
    switch.detach(PortId(3));
    assert_eq!(switch.tables().flows.of_port(PortId(3)), 0);
    let frame = between(3, 2, 6, &tcp(999, 80, SYN));
    let input = Input::Guest {
        port: PortId(3),
        frame: &frame,
        offload: Offload::default(),
    };
    switch.handle_input(0, input);
    assert_eq!(drain(&mut switch), []);
}
