//! The world itself: what the checks stand on.

#![allow(clippy::unwrap_used)]

use sim::checks::{Limits, judge};
use sim::flat::Flat;
use sim::history::draw;

const FLAT: Limits = Limits {
    has_records: false,
    ..Limits::OVERLAY
};

/// Invariant I10, for the yardstick.
#[test]
fn the_same_seed_gives_the_same_trace() {
    let mut traces = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let first = judge::<Flat>(&draw::history(seed), FLAT);
        let second = judge::<Flat>(&draw::history(seed), FLAT);
        assert_eq!(first, second, "seed {seed}");
        traces.insert(first.trace);
    }
    assert_eq!(traces.len(), 40, "each seed has a trace of its own");
}
