//! Sessions over a wire that loses, doubles, reorders and forges.

#![allow(clippy::unwrap_used)]

mod wire;

use protocol::peer::DATAGRAM_BYTES_MAX;
use session::{Destination, Limits, NotSent, Output, Reason, Refusal};
use std::collections::BTreeMap;
use wire::{Faults, World, address, moment, node_id, node_peer};

const LAN: Faults = Faults {
    lost: 0,
    doubled: 0,
    latency_ms: 1,
    jitter_ms: 0,
};
const WAN: Faults = Faults {
    lost: 0,
    doubled: 0,
    latency_ms: 40,
    jitter_ms: 30,
};

#[test]
fn a_message_opens_a_session_and_arrives_whole() {
    for bytes in [0, 1, 2, 700, DATAGRAM_BYTES_MAX] {
        let mut world = World::with_nodes(1, LAN, 2);
        let message = vec![7; bytes];
        world.send(1, 2, &message);
        world.run_ms(10);
        assert_eq!(world.end(2).messages(), [message]);
        assert!(world.end(1).is_established_with(2) && world.end(2).is_established_with(1));
        assert!(world.captured.iter().all(|d| d.bytes.len() <= 1232));
    }
}

#[test]
fn a_message_that_is_too_long_is_refused() {
    let mut world = World::with_nodes(1, LAN, 2);
    let to = Destination {
        node: None,
        address: address(2),
    };
    let result = world
        .end(1)
        .datagrams
        .send(moment(1), to, &[0; DATAGRAM_BYTES_MAX + 1]);
    assert_eq!(result, Err(NotSent::TooLong { bytes: 1151 }));
}

/// Goal: whatever the wire does, messages arrive unchanged, once, under their sender's name; and
/// they go on arriving.
#[test]
fn a_bad_wire_never_changes_or_doubles_a_message() {
    for seed in 1..=24 {
        let faults = Faults {
            lost: 300,
            doubled: 300,
            latency_ms: 5,
            jitter_ms: 200,
        };
        let mut world = World::with_nodes(seed, faults, 3);
        let mut sent: BTreeMap<u8, u32> = BTreeMap::new();
        for round in 0..300_u32 {
            for (from, to) in [(1, 2), (2, 1), (3, 1), (2, 3)] {
                let words = format!("from {from} to {to}: {round}");
                world.send(from, to, words.as_bytes());
                *sent.entry(to).or_default() += 1;
            }
            world.run_ms(100);
        }
        world.run_ms(5_000);
        for (number, sent) in sent {
            let end = world.end(number);
            let mut messages = Vec::new();
            for output in &end.outputs {
                if let Output::Received { peer, bytes, .. } = output {
                    let words = String::from_utf8(bytes.clone()).unwrap();
                    let from: u8 = words["from ".len()..][..1].parse().unwrap();
                    assert_eq!(*peer, node_peer(from), "seed {seed}: {words}");
                    assert!(words.contains(&format!("to {number}:")), "seed {seed}");
                    messages.push(words);
                }
            }
            let all = messages.len();
            messages.sort();
            messages.dedup();
            assert_eq!(messages.len(), all, "seed {seed}: a message came twice");
            let least = sent as usize / 2;
            let counters = world.end(number).datagrams.counters();
            let what = format!("{all} of {sent} came to {number}: {counters:?}");
            assert!(all >= least, "seed {seed}: {what}");
        }
    }
}

/// Goal: two that open at the same moment, over any latencies, soon use one session, and nothing
/// is lost on the way there.
#[test]
fn both_sides_may_open_at_once() {
    for seed in 1..=64 {
        let faults = if seed % 2 == 0 { LAN } else { WAN };
        let mut world = World::with_nodes(seed, faults, 2);
        world.send(1, 2, b"a");
        world.run_ms(seed % 7 * 20);
        world.send(2, 1, b"b");
        world.run_ms(4_000);
        assert_eq!(world.end(1).messages(), [b"b"], "seed {seed}");
        assert_eq!(world.end(2).messages(), [b"a"], "seed {seed}");
        for minute in 0..4 {
            world.send(1, 2, &[minute]);
            world.send(2, 1, &[minute]);
            world.run_ms(30_000);
        }
        assert_eq!(world.end(1).messages().len(), 5, "seed {seed}");
        assert_eq!(world.end(2).messages().len(), 5, "seed {seed}");
        assert_eq!(world.end(1).datagrams.counters().unknown, 0, "seed {seed}");
    }
}

/// Goal: no byte of any datagram can be changed to any effect but delay.
#[test]
fn a_changed_byte_changes_nothing_but_the_time() {
    let mut clean = World::with_nodes(5, LAN, 2);
    clean.send(1, 2, b"the message");
    clean.run_ms(10);
    let lengths: Vec<usize> = clean.captured.iter().map(|d| d.bytes.len()).collect();
    assert!(lengths.len() >= 4);
    for (place, length) in lengths.into_iter().enumerate().take(4) {
        let padding = |at: &usize| place != 0 || *at < 64 || at.is_multiple_of(97);
        for at in (0..length).filter(padding) {
            let mut world = World::with_nodes(5, LAN, 2);
            world.meddle = Box::new(move |now, datagram| {
                if now == place {
                    datagram.bytes[at] ^= 1 << (at % 8);
                }
                true
            });
            world.send(1, 2, b"the message");
            world.run_ms(3_000);
            world.send(1, 2, b"the second");
            world.run_ms(3_000);
            let messages = world.end(2).messages();
            let what = format!("byte {at} of datagram {place}: {messages:?}");
            for message in &messages {
                assert!(
                    message == b"the message" || message == b"the second",
                    "{what}"
                );
            }
            assert!(messages.contains(&b"the second".to_vec()), "{what}");
            let strangers = |o: &Output| {
                matches!(o, Output::Established { peer, .. }
                if *peer != node_peer(1))
            };
            assert!(!world.end(2).has(strangers), "{what}");
        }
    }
}

#[test]
fn what_was_recorded_cannot_be_played_again() {
    let mut world = World::with_nodes(3, LAN, 2);
    for round in 0..20 {
        world.send(1, 2, &[round]);
        world.send(2, 1, &[round]);
        world.run_ms(50);
    }
    let recorded = world.captured.clone();
    let established = |world: &mut World| {
        let count = |n: u8, w: &mut World| w.end(n).datagrams.counters().established;
        (count(1, world), count(2, world))
    };
    let before = established(&mut world);
    for wait_ms in [0, 20_000, 60_000] {
        world.run_ms(wait_ms);
        for datagram in &recorded {
            world.inject(datagram.from, datagram.to, &datagram.bytes);
            world.run_ms(20);
        }
    }
    assert_eq!(world.end(1).messages().len(), 20);
    assert_eq!(world.end(2).messages().len(), 20);
    assert_eq!(established(&mut world), before);
}

#[test]
fn a_message_for_one_node_is_not_given_to_another() {
    let mut world = World::with_nodes(3, LAN, 2);
    let to = Destination {
        node: Some(node_id(9)),
        address: address(2),
    };
    world.send_to(1, to, b"for node 9 alone");
    world.run_ms(1_000);
    assert_eq!(world.end(2).messages(), Vec::<Vec<u8>>::new());
    assert_eq!(world.end(1).datagrams.counters().wrong_node, 1);
    assert!(world.end(1).is_established_with(2));
}

#[test]
fn whom_the_gate_refuses_has_no_session_and_is_told_why() {
    for initiator_refuses in [true, false] {
        let mut world = World::with_nodes(3, LAN, 2);
        let (refuser, refused) = if initiator_refuses { (1, 2) } else { (2, 1) };
        world.end(refuser).gate.refuses = vec![refused];
        world.send(1, 2, b"secret");
        world.run_ms(40_000);
        let reason = Reason::Ours(Refusal::Revoked);
        let ours = |o: &Output| matches!(o, Output::Refused { reason: r, .. } if *r == reason);
        assert!(world.end(refuser).has(ours));
        assert_eq!(world.end(2).messages(), Vec::<Vec<u8>>::new());
        assert_eq!(world.end(refuser).datagrams.peers().count(), 0);
        if !initiator_refuses {
            let reason = Reason::Theirs(Refusal::Revoked);
            let told = |o: &Output| matches!(o, Output::Refused { reason: r, .. } if *r == reason);
            assert!(world.end(refused).has(told));
        }
    }
}

#[test]
fn a_stranger_becomes_a_node_in_the_session_that_it_has() {
    let mut world = World::with_nodes(3, LAN, 2);
    world.end(1).gate.number = None;
    world.send(1, 2, b"let me in");
    world.run_ms(100);
    let stranger = |o: &Output| matches!(o, Output::Received { peer, .. } if peer.node().is_none());
    assert!(world.end(2).has(stranger));
    world.end(1).gate.number = Some(1);
    let now = moment(world.now_ms);
    world.end(1).datagrams.renew(now);
    world.collect(1);
    world.run_ms(100);
    assert!(world.end(2).is_established_with(1));
    world.send(2, 1, b"welcome");
    world.run_ms(100);
    assert_eq!(world.end(1).messages(), [b"welcome"]);
    assert_eq!(world.end(2).datagrams.peers().count(), 1);
}

/// Goal: a node that has started anew, with its old key, is spoken to again within a round trip
/// where hints arrive, and within seconds where they do not.
#[test]
fn a_restarted_peer_is_found_again() {
    for (hints, within_ms) in [(true, 500), (false, 7_000)] {
        for seed in 1..=16 {
            let mut world = World::with_nodes(seed, WAN, 2);
            world.send(1, 2, b"before");
            world.run_ms(30_000);
            world.add(2, Limits::default());
            world.meddle = Box::new(move |_, datagram| hints || datagram.bytes[0] != 0xa6);
            let mut waited_ms = 0;
            while world.end(2).messages().is_empty() {
                world.send(1, 2, b"after");
                world.run_ms(50);
                waited_ms += 50;
                assert!(waited_ms <= within_ms, "seed {seed}, hints {hints}");
            }
            assert!(!world.end(1).lost(2), "it is the same peer");
        }
    }
}

#[test]
fn a_peer_that_comes_back_with_a_new_key_replaces_the_old_one() {
    let mut world = World::with_nodes(4, LAN, 2);
    world.send(1, 2, b"before");
    world.run_ms(1_000);
    world.add_with_key(2, 7, Limits::default());
    for _ in 0..100 {
        world.send(1, 2, b"who are you?");
        world.run_ms(100);
    }
    assert!(world.end(1).is_established_with(7));
    assert!(world.end(1).lost(2));
    assert_eq!(world.end(2).messages(), Vec::<Vec<u8>>::new());
}

#[test]
fn a_peer_that_calls_after_a_restart_is_answered_at_once() {
    for (identity, same) in [(2, true), (7, false)] {
        let mut world = World::with_nodes(4, LAN, 2);
        world.send(1, 2, b"before");
        world.run_ms(30_000);
        world.add_with_key(2, identity, Limits::default());
        let (now, established) = (moment(world.now_ms), world.end(1).outputs.len());
        assert_eq!(world.end(1).datagrams.open(now, address(2)), Ok(()));
        world.collect(1);
        world.run_ms(20);
        assert!(world.end(2).is_established_with(1), "the same key: {same}");
        let told = &world.end(1).outputs[established..];
        let is_anew = |o: &Output| matches!(o, Output::Anew { peer } if *peer == node_peer(2));
        let is_new = |o: &Output| matches!(o, Output::Established { .. });
        assert_eq!(told.iter().any(is_anew), same, "{told:?}");
        assert_eq!(told.iter().any(is_new), !same, "{told:?}");
    }
}

#[test]
fn sessions_are_renewed_and_nothing_is_lost_meanwhile() {
    for seed in 1..=8 {
        let mut world = World::with_nodes(seed, WAN, 2);
        let mut sent = 0_usize;
        for _ in 0..2_000 {
            world.send(1, 2, b"one way");
            sent += 1;
            world.run_ms(500);
        }
        assert_eq!(world.end(2).messages().len(), sent, "seed {seed}");
        let rekeyed = world.end(1).datagrams.counters().rekeyed;
        assert!((7..=10).contains(&rekeyed), "seed {seed}: {rekeyed}");
        assert_eq!(world.end(2).datagrams.counters().rekeyed, rekeyed);
        assert!(!world.end(1).lost(2) && !world.end(2).lost(1));
    }
}

#[test]
fn a_session_is_renewed_after_so_many_messages() {
    let mut world = World::new(1, LAN);
    let limits = Limits {
        rekey_after_messages: 1_000,
        ..Limits::default()
    };
    world.add(1, limits.clone());
    world.add(2, limits);
    for _ in 0..10_000 {
        world.send(1, 2, b"");
        world.run_ms(4);
    }
    assert_eq!(world.end(1).datagrams.counters().rekeyed, 2);
    assert_eq!(world.end(2).messages().len(), 10_000);
}

#[test]
fn a_peer_that_falls_silent_is_lost() {
    // Somebody speaks to it: seconds. Nobody does: minutes.
    for (speaks, earliest_ms, latest_ms) in [(true, 6_000, 40_000), (false, 170_000, 185_000)] {
        let mut world = World::with_nodes(6, LAN, 2);
        world.send(1, 2, b"hello");
        world.run_ms(100);
        world.ends.remove(&2);
        let start_ms = world.now_ms;
        while !world.end(1).lost(2) {
            if speaks {
                world.send(1, 2, b"are you there?");
            }
            world.run_ms(500);
            assert!(world.now_ms < start_ms + latest_ms, "speaks: {speaks}");
        }
        assert!(world.now_ms >= start_ms + earliest_ms, "speaks: {speaks}");
    }
}

#[test]
fn nobody_who_only_listens_is_thought_dead() {
    let mut world = World::with_nodes(6, LAN, 2);
    for _ in 0..600 {
        world.send(1, 2, b"news");
        world.run_ms(500);
    }
    assert!(!world.end(1).lost(2));
    let begun = world.end(1).datagrams.counters().begun;
    assert!(begun <= 4, "only renewals: {begun}");
}

#[test]
fn a_peer_that_moves_is_followed() {
    let mut world = World::with_nodes(2, LAN, 2);
    world.send(1, 2, b"from here");
    world.run_ms(100);
    world.end(1).address = address(77);
    world.send(1, 2, b"from there");
    world.run_ms(100);
    assert_eq!(
        world.end(2).datagrams.address_of(node_id(1)),
        Some(address(77))
    );
    world.send(2, 1, b"found you");
    world.run_ms(100);
    assert_eq!(world.end(1).messages(), [b"found you"]);
}

#[test]
fn a_goodbye_ends_the_session_at_once() {
    let mut world = World::with_nodes(2, LAN, 2);
    world.send(1, 2, b"hello");
    world.run_ms(100);
    let now = moment(world.now_ms);
    world.end(1).datagrams.close(now);
    world.collect(1);
    world.run_ms(10);
    assert!(world.end(2).lost(1));
}

#[test]
fn no_answer_is_told() {
    let mut world = World::with_nodes(2, LAN, 1);
    world.send(1, 9, b"anybody?");
    world.run_ms(60_000);
    let silent = |o: &Output| {
        matches!(o, Output::Refused { reason, .. }
        if *reason == Reason::NoAnswer)
    };
    assert!(world.end(1).has(silent));
    assert_eq!(
        world.end(1).datagrams.next_timeout(),
        None,
        "nothing is left"
    );
}

#[test]
fn the_tunnels_of_the_fabric_pass_by() {
    let mut world = World::with_nodes(2, LAN, 2);
    for kind in 1..=4 {
        world.inject(address(1), address(2), &[kind; 148]);
    }
    world.run_ms(10);
    assert_eq!(world.end(2).datagrams.counters().fabric, 4);
    assert!(world.captured.is_empty());
}

#[test]
fn nothing_of_a_message_is_on_the_wire() {
    let faults = Faults {
        lost: 100,
        doubled: 100,
        ..WAN
    };
    let mut world = World::with_nodes(8, faults, 3);
    let message: Vec<u8> = b"nobody may read this ".repeat(40);
    for _ in 0..400 {
        world.send(1, 2, &message);
        world.send(2, 3, &message);
        world.send(3, 1, &message);
        world.run_ms(1_000);
    }
    assert!(world.captured.len() > 1_200);
    let certificate = [1_u8; 16];
    for datagram in &world.captured {
        let has = |words: &[u8]| datagram.bytes.windows(words.len()).any(|w| w == words);
        assert!(!has(b"nobody") && !has(b"read this"));
        assert!(!has(&certificate));
        let ids = [node_id(1), node_id(2), node_id(3)];
        assert!(!ids.iter().any(|id| has(&id.bytes()[..8])));
    }
}
