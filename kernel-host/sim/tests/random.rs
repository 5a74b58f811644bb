//! The promises of the overlay under random histories, and proof that its judge can see.
//!
//! Does:      judges `SEEDS` random histories and all named scenarios; then switches off one rule of
//!            safety at a time, which the same histories must find out.
//! Does not:  run those scenarios that take minutes, or more seeds: `LUC_SIM_LONG=1` does both.
//! Bounds:    about a minute and a half of two processors.
//! Trusts:    the judge, which has tests of its own.
//! Start at:  `random_histories_hold`. Replay one: `cargo sim run --seeds SEED`.

#![allow(clippy::unwrap_used)]

use overlay::Rules;
use sim::Ours;
use sim::checks::{Limits, Violation, judge, judge_with};
use sim::history::{History, draw, shrink};
use sim::scenarios::SCENARIOS;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

const SEEDS: u64 = 1000;
const LONG_SEEDS: u64 = 50_000;
const THREADS: u64 = 2;

fn is_long() -> bool {
    std::env::var_os("LUC_SIM_LONG").is_some()
}

fn seeds() -> u64 {
    if is_long() { LONG_SEEDS } else { SEEDS }
}

fn broken(history: &History, rules: Rules) -> Vec<Violation> {
    judge_with::<Ours>(history, Limits::OVERLAY, rules, None).violations
}

/// Looks at seeds from 1 on until one says stop.
fn each_seed(look: &(dyn Fn(u64) -> bool + Sync)) {
    let next = AtomicU64::new(1);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > seeds() {
                        break;
                    }
                    if look(seed) {
                        next.store(seeds() + 1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

#[test]
fn random_histories_hold() {
    let bad = Mutex::new(BTreeSet::new());
    each_seed(&|seed| {
        let is_bad = !broken(&draw::history(seed), Rules::ALL).is_empty();
        if is_bad {
            bad.lock().unwrap().insert(seed);
        }
        is_bad
    });
    if let Some(seed) = bad.lock().unwrap().first() {
        panic!("{}", told(*seed));
    }
}

/// What a seed broke, and the least history that breaks it too, to be kept in `regressions`.
fn told(seed: u64) -> String {
    let history = draw::history(seed);
    let violations = broken(&history, Rules::ALL);
    let rule = violations[0].rule;
    let small = shrink::shrink(history, &mut |history: &History| {
        let violations = broken(history, Rules::ALL);
        violations.iter().any(|violation| violation.rule == rule)
    });
    let lines: Vec<String> = violations.iter().map(|one| format!("  {one}")).collect();
    format!(
        "seed {seed}  replay: cargo sim run --seeds {seed}\n{}\nregressions/seed-{seed}.toml:\n{}",
        lines.join("\n"),
        small.to_toml().unwrap()
    )
}

#[test]
fn what_others_had_in_public_does_not_happen_here() {
    let rows = SCENARIOS.iter().filter(|row| is_long() || !row.is_long);
    let rows: Vec<_> = rows.collect();
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let work = || {
            while let Some(row) =
                rows.get(usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap())
            {
                let outcome = row.run::<Ours>(1);
                let name = row.name;
                let replay = format!("cargo sim scenario {name} --seed 1");
                assert!(
                    outcome.is_good(),
                    "{name}  {replay}: {:#?}",
                    outcome.violations
                );
            }
        };
        for _ in 0..THREADS {
            scope.spawn(work);
        }
    });
}

#[test]
fn each_family_of_public_bugs_has_a_scenario() {
    let families: BTreeSet<u8> = SCENARIOS
        .iter()
        .map(|row| row.family)
        .filter(|family| *family > 0)
        .collect();
    assert_eq!(families, (1..=20).collect());
}

/// Without a rule, some of the histories that hold with it break.
#[test]
fn a_rule_that_is_switched_off_is_missed() {
    const ALL: Rules = Rules::ALL;
    let epoch_check = Rules {
        epoch_check: false,
        ..ALL
    };
    let tombstone_horizon = Rules {
        tombstone_horizon: false,
        ..ALL
    };
    let lease_margin = Rules {
        lease_margin: false,
        ..ALL
    };
    let indirect_probe = Rules {
        indirect_probe: false,
        ..ALL
    };
    for (name, rules, law) in [
        ("epoch check", epoch_check, "I1"),
        ("tombstone horizon", tombstone_horizon, "I6"),
        ("lease margin", lease_margin, "I1"),
        ("indirect probe", indirect_probe, "L6"),
    ] {
        let found = Mutex::new(None);
        each_seed(&|seed| {
            let history = draw::history(seed);
            let sees = |violation: &Violation| violation.rule == law;
            let is_seen = broken(&history, rules).iter().any(sees);
            if is_seen {
                // The rule's absence is the cause: with it, the same history holds.
                assert!(broken(&history, ALL).is_empty(), "seed {seed}");
                *found.lock().unwrap() = Some(seed);
            }
            is_seen
        });
        let found = *found.lock().unwrap();
        println!("without {name}: {law} broken by seed {found:?}");
        assert!(found.is_some(), "nobody misses the {name}");
    }
}

/// Invariant I10, for our own machine.
#[test]
fn the_same_history_gives_the_same_trace() {
    for seed in 1..=20 {
        let history = draw::history(seed);
        let first = judge::<Ours>(&history, Limits::OVERLAY);
        assert_eq!(
            first,
            judge::<Ours>(&history, Limits::OVERLAY),
            "seed {seed}"
        );
    }
}
