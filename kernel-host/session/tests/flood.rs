//! Floods, bounds, and the bytes of a transcript.

#![allow(clippy::unwrap_used)]

mod wire;

use netcore::dice::Dice;
use session::{Destination, Limits, NotSent, Output, packet};
use std::net::SocketAddr;
use wire::{Faults, World, address, moment, node_peer};

const LAN: Faults = Faults {
    lost: 0,
    doubled: 0,
    latency_ms: 1,
    jitter_ms: 0,
};

/// An opening with any ephemeral key, as whoever floods would make it.
fn forged_open(dice: &mut Dice) -> Vec<u8> {
    let padded = dice.below(2) == 0;
    let mut bytes = vec![0; if padded { packet::OPEN_BYTES } else { 56 }];
    bytes[..4].copy_from_slice(&[0xa1, packet::VERSION, 0, 0]);
    for place in (4..8).chain(24..56) {
        bytes[place] = dice.next_u64().to_le_bytes()[0];
    }
    bytes
}

/// Goal: 20,000 openings from forged addresses cost bounded work and bounded bytes, and somebody
/// real still gets a session meanwhile.
#[test]
fn a_flood_of_strangers_does_not_keep_a_node_out() {
    let mut world = World::with_nodes(1, LAN, 2);
    let mut dice = Dice::new(9);
    let mut flood_bytes = 0;
    for second in 0..10 {
        for _ in 0..2_000 {
            let [a, b, c, d, ..] = dice.next_u64().to_le_bytes();
            let from = SocketAddr::from(([172, a, b, c], 1024 + u16::from(d)));
            let open = forged_open(&mut dice);
            flood_bytes += open.len();
            world.inject(from, address(2), &open);
        }
        if second == 5 {
            world.send(1, 2, b"I am real");
        }
        world.run_ms(1_000);
    }
    world.run_ms(5_000);
    assert_eq!(world.end(2).messages(), [b"I am real"]);
    let counters = *world.end(2).datagrams.counters();
    assert!(counters.cookies_sent >= 18_000, "{counters:?}");
    let answers = world.captured.iter().filter(|d| d.bytes[0] == 0xa2).count();
    assert!(
        answers <= 1_300,
        "{answers} answers: 200 at once, 100 per second"
    );
    let sent: usize = world.captured.iter().map(|d| d.bytes.len()).sum();
    assert!(
        sent < flood_bytes / 8,
        "it amplifies nothing: {sent} of {flood_bytes}"
    );
}

#[test]
fn no_datagram_is_answered_by_a_longer_one() {
    let mut world = World::with_nodes(1, LAN, 2);
    let mut dice = Dice::new(3);
    for _ in 0..2_000 {
        let length = usize::try_from(dice.below(1_240)).unwrap();
        let mut bytes: Vec<u8> = (0..length)
            .map(|_| dice.next_u64().to_le_bytes()[0])
            .collect();
        if dice.below(2) == 0 {
            bytes = forged_open(&mut dice);
        }
        if let Some(kind) = bytes.first_mut() {
            *kind = 0xa0 + (*kind % 8);
        }
        let before = world.captured.len();
        world.inject(address(99), address(2), &bytes);
        world.run_ms(2);
        let answers: usize = world.captured[before..].iter().map(|d| d.bytes.len()).sum();
        assert!(
            answers <= bytes.len(),
            "{answers} bytes for {}",
            bytes.len()
        );
    }
}

/// Goal: thousands of handshakes leave tables within their limits, and strangers make room first.
#[test]
fn tables_stay_within_their_limits() {
    let mut world = World::new(1, LAN);
    let limits = Limits {
        sessions_max: 40,
        strangers_max: 10,
        answers_per_second: 100_000,
        answers_burst: 100_000,
        ..Limits::default()
    };
    world.add(1, limits);
    for round in 0..2_000_u32 {
        let number = 2 + u8::try_from(round % 200).unwrap();
        world.add(number, Limits::default());
        if round % 3 == 0 {
            world.end(number).gate.number = None; // a stranger
        }
        world.send(number, 1, b"here");
        world.run_ms(5);
        world.ends.remove(&number);
    }
    let peers: Vec<_> = world.end(1).datagrams.peers().collect();
    let strangers = peers.iter().filter(|(peer, _)| peer.node().is_none());
    assert_eq!(peers.len(), 40);
    assert!(strangers.count() <= 1, "they made room for nodes");
    let counters = *world.end(1).datagrams.counters();
    assert!(counters.established >= 2_000 && counters.sessions_evicted > 0);
}

#[test]
fn handshakes_that_nobody_answers_are_bounded() {
    let mut world = World::new(1, LAN);
    let limits = Limits {
        openings_max: 16,
        waiting_max: 4,
        ..Limits::default()
    };
    world.add(1, limits);
    let now = moment(world.now_ms);
    let to = |number| Destination {
        node: None,
        address: address(number),
    };
    let datagrams = &mut world.end(1).datagrams;
    for number in 0..16 {
        for _ in 0..6 {
            assert_eq!(datagrams.send(now, to(100 + number), b"?"), Ok(()));
        }
    }
    assert_eq!(datagrams.send(now, to(200), b"?"), Err(NotSent::Busy));
    assert_eq!(datagrams.counters().waiting_dropped, 16 * 2);
    assert_eq!(datagrams.counters().openings_full, 1);
    world.collect(1);
    world.run_ms(60_000);
    let now = moment(world.now_ms);
    assert_eq!(world.end(1).datagrams.send(now, to(200), b"?"), Ok(()));
}

#[test]
fn a_revoked_node_is_forgotten_without_a_word() {
    let mut world = World::with_nodes(1, LAN, 2);
    world.send(1, 2, b"hello");
    world.run_ms(100);
    world.end(2).gate.refuses = vec![1];
    world.end(2).datagrams.forget(wire::node_id(1));
    for _ in 0..100 {
        world.send(1, 2, b"let me speak");
        world.run_ms(100);
    }
    assert_eq!(world.end(2).messages(), [b"hello"]);
    let told = |o: &Output| matches!(o, Output::Refused { .. });
    assert!(world.end(1).has(told) && world.end(1).lost(2));
    assert_eq!(world.end(2).datagrams.peers().count(), 0);
    assert_ne!(node_peer(1), node_peer(2));
}

/// Goal: the same seeds give the same bytes; a change of the wire format is seen here.
#[test]
fn the_same_seeds_give_the_same_bytes() {
    let transcript = || {
        let mut world = World::with_nodes(42, LAN, 2);
        world.send(1, 2, b"golden");
        world.run_ms(3_000);
        let line = |bytes: &[u8]| -> String {
            let hex = bytes.iter().map(|byte| format!("{byte:02x}"));
            hex.chain(["\n".to_owned()]).collect()
        };
        let lines = world.captured.iter().map(|d| line(&d.bytes));
        lines.collect::<String>()
    };
    let bytes = transcript();
    assert_eq!(transcript(), bytes);
    assert_eq!(bytes, include_str!("golden/datagrams.txt"), "{bytes}");
}
