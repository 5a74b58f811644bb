//! What sessions cost. Not a promise, so nothing is asserted:
//! `cargo test -p session --test measure -- --ignored --nocapture`.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // it looks at the clock

mod wire;

use session::Limits;
use std::time::Instant;
use wire::{Faults, World};

#[test]
#[ignore = "prints numbers, checks nothing"]
fn what_a_handshake_and_a_message_cost() {
    let mut world = World::new(1, Faults::default());
    let limits = Limits {
        answers_per_second: 1_000_000,
        answers_burst: 1_000_000,
        ..Limits::default()
    };
    world.add(1, limits);
    let started = Instant::now();
    for round in 0..1_000_u32 {
        let number = 2 + u8::try_from(round % 200).unwrap();
        world.add(number, Limits::default());
        world.send(number, 1, b"here");
        world.run_ms(1);
        world.ends.remove(&number);
    }
    let each = started.elapsed() / 1_000;
    let bytes: usize = world.captured.iter().map(|d| d.bytes.len()).sum();
    println!("a handshake, both sides: {each:?}, {} bytes", bytes / 1_000);

    let mut world = World::with_nodes(2, Faults::default(), 2);
    world.send(1, 2, b"first");
    world.run_ms(1);
    let started = Instant::now();
    for _ in 0..100_000 {
        world.send(1, 2, &[7; 300]);
        world.run_ms(0);
        world.captured.clear();
    }
    let each = started.elapsed() / 100_000;
    println!("a message of 300 bytes, sealed, carried and opened: {each:?}");
}
