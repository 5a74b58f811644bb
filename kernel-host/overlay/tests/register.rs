//! Registers, guardians and leases, on a bad wire.
#![allow(clippy::unwrap_used)]

mod guards;

use guards::{Guards, swap, value};
use protocol::peer::register::{Outcome, Wish};

fn site_of(count: usize, seed: u64) -> Guards {
    let mut guards = Guards::new(seed);
    guards.add(1, count);
    guards.run(60_000);
    guards
}

#[test]
#[rustfmt::skip] // keeps the columns
fn a_site_has_as_many_guardians_as_its_size_asks_for() {
    //   nodes  guardians
    check_size(1,  1);
    check_size(2,  1);
    check_size(3,  3);
    check_size(7,  3);
    check_size(8,  5);
    check_size(12, 5);
}

fn check_size(nodes: usize, wanted: usize) {
    let guards = site_of(nodes, 7);
    for at in 0..nodes {
        assert_eq!(
            guards.guardians(at),
            guards.guardians(0),
            "one council of {nodes}"
        );
        assert!(
            guards.hosts[at].belief.is_some(),
            "host {at} of {nodes} has its lease"
        );
    }
    assert_eq!(guards.guardians(0).len(), wanted, "{nodes} nodes");
}

#[test]
fn what_is_swapped_is_read_from_anywhere() {
    let mut guards = site_of(5, 1);
    assert_eq!(guards.ask_now(0, 1, Wish::Look).1, looked(None));
    assert_eq!(guards.ask_now(1, 1, swap(None, 10)).1, Outcome::Done);
    assert_eq!(
        guards.ask_now(2, 1, swap(None, 11)).1,
        Outcome::Conflict(Some(value(10)))
    );
    assert_eq!(guards.ask_now(3, 1, swap(Some(10), 12)).1, Outcome::Done);
    for at in 0..5 {
        let Outcome::Value { value: held, .. } = guards.ask_now(at, 1, Wish::Look).1 else {
            panic!("no value");
        };
        assert_eq!(held, Some(value(12)));
    }
}

fn looked(held: Option<u64>) -> Outcome {
    Outcome::Value {
        value: held.map(value),
        age_ms: 0,
    }
}
