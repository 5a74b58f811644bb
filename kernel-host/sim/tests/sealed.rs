//! Machines behind real sessions, in the same world.

#![allow(clippy::unwrap_used)]

use sim::checks::{Limits, judge};
use sim::flat::Flat;
use sim::history::{History, Shape};
use sim::sealed::Sealed;
use sim::world::network::Weather;

const FLAT: Limits = Limits {
    has_records: false,
    ..Limits::OVERLAY
};

#[test]
fn the_yardstick_finds_one_view_through_sessions() {
    for seed in 0..5 {
        let history = History {
            seed,
            safety_ms: 30_000,
            heal_ms: 90_000,
            shape: Shape::even(6, 2, Weather::RAIN),
            acts: Vec::new(),
        };
        let outcome = judge::<Sealed<Flat>>(&history, FLAT);
        assert!(outcome.is_good(), "seed {seed}: {:#?}", outcome.violations);
        assert_eq!(
            outcome,
            judge::<Sealed<Flat>>(&history, FLAT),
            "seed {seed}"
        );
    }
}
