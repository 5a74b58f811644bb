//! What a node keeps, and what it does while its disk keeps nothing.
#![allow(clippy::unwrap_used)]

mod guards;
mod world;

use guards::{Guards, swap, value};
use overlay::overlay::journal::Happening;
use overlay::{Draft, Input};
use protocol::peer::register::{Outcome, Wish};
use protocol::peer::{Realm, RecordKind};
use world::{World, contact, node_id, site_id};

fn site_of(count: usize, seed: u64) -> Guards {
    let mut guards = Guards::new(seed);
    guards.add(1, count);
    guards.run(60_000);
    guards
}

/// Goal: a guardian whose disk keeps nothing votes no more, another takes its place, and what was
/// written stays; once its disk keeps again it may be chosen again, and votes with what it holds.
#[test]
fn a_fenced_guardian_is_replaced_and_nothing_is_lost() {
    let mut guards = site_of(4, 9);
    let seats = guards.guardians(0);
    assert_eq!(guards.ask_now(0, 1, swap(None, 1)).1, Outcome::Done);
    guards.fence(seats[1], true);
    guards.run(100);
    assert!(!guards.machine(seats[1]).is_guardian());
    guards.run(60_000);
    let again = guards.guardians(0);
    assert_eq!(again.len(), 3);
    assert!(!again.contains(&seats[1]), "{again:?}");
    assert!(again.iter().all(|seat| guards.machine(*seat).is_guardian()));
    assert_eq!(guards.ask_now(2, 1, swap(Some(1), 2)).1, Outcome::Done);

    // Two more lose their power: the one that keeps again is needed.
    guards.fence(seats[1], false);
    let other = *again.iter().find(|seat| **seat != 0).unwrap();
    guards.crash(other);
    guards.run(90_000);
    assert!(guards.machine(seats[1]).is_guardian());
    let Outcome::Value { value: held, .. } = guards.ask_now(0, 1, Wish::Look).1 else {
        panic!("it is not read");
    };
    assert_eq!(held, Some(value(2)));
}

/// A fenced node that is alone in its site decides nothing, and founds nothing anew.
#[test]
fn a_site_whose_only_guardian_is_fenced_rests() {
    let mut guards = site_of(1, 3);
    assert_eq!(guards.ask_now(0, 1, swap(None, 1)).1, Outcome::Done);
    guards.fence(0, true);
    let outcome = guards.ask_now(0, 1, swap(Some(1), 2)).1;
    assert!(
        matches!(outcome, Outcome::Unsure | Outcome::Refused),
        "{outcome:?}"
    );
    guards.run(60_000);
    assert!(!guards.machine(0).is_guardian());
    guards.fence(0, false);
    guards.run(5_000);
    let Outcome::Value { value: held, .. } = guards.ask_now(0, 1, Wish::Look).1 else {
        panic!("it is not read");
    };
    assert!([Some(value(1)), Some(value(2))].contains(&held), "{held:?}");
}

/// Goal: what an overlay leaves behind is what it has asked a disk to keep, line by line.
#[test]
fn what_is_left_of_an_overlay_is_what_its_disk_holds() {
    let mut world = World::new();
    for number in 1..=3 {
        world.start(0, number, 1, Default::default());
    }
    for number in 2..=3 {
        world.introduce(contact(0, 1), contact(0, number));
    }
    let draft = |subject: u8, ended| Draft {
        realm: Realm::Site(site_id(0)),
        kind: RecordKind::VM,
        subject: [subject; 16],
        epoch: 1,
        ended,
        body: vec![subject; 100],
    };
    world.run(60_000);
    for (subject, ended) in [(1, false), (2, false), (2, true)] {
        let draft = Input::Publish(draft(subject, ended));
        world.input(node_id(0, 1), draft).unwrap();
    }
    let swap = Input::Swap {
        ask: 1,
        register: [7; 16],
        expect: None,
        value: vec![1],
    };
    world.input(node_id(0, 2), swap).unwrap();
    world.run(61_000);
    for number in 1..=3 {
        let now = world.now();
        let node = world.take(0, number);
        let disk = node.disk;
        let (_, saved) = node.overlay.into_saved(now);
        let left: std::collections::BTreeMap<_, _> = saved.into_iter().collect();
        let is_lasting = |key: &&String| *key != "overlay/seen" && !key.starts_with("contact/");
        let keys = |map: &std::collections::BTreeMap<String, Vec<u8>>| {
            map.keys().filter(is_lasting).cloned().collect::<Vec<_>>()
        };
        assert_eq!(keys(&left), keys(&disk), "node {number}");
        for start in [
            "record/",
            "register/slot/",
            "register/council/",
            "register/epoch",
        ] {
            assert!(
                left.keys().any(|key| key.starts_with(start)),
                "{number}: {start}"
            );
        }
        for key in keys(&disk) {
            assert_eq!(left[&key], disk[&key], "node {number}: {key}");
        }
    }
}

#[test]
fn the_journal_says_when_a_node_guards_nothing() {
    let mut world = World::new();
    world.start(0, 1, 1, Default::default());
    world.input(node_id(0, 1), Input::Fence(true)).unwrap();
    world.input(node_id(0, 1), Input::Fence(false)).unwrap();
    let overlay = &world.node(0, 1).overlay;
    let told = overlay.journal(0).filter_map(|entry| match entry.what {
        Happening::Fenced { is_fenced } => Some(is_fenced),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [true, false]);
}
