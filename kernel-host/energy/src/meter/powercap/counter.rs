//! One energy counter that wraps: what was spent between two looks at it, or that nobody knows.
//!
//! A step counts only if the counter's range is known, if the looks were close enough that it
//! can't have wrapped unseen, and if no more was spent than the zone can draw. Everything else,
//! a reset and a suspended machine included, is a gap, and the count goes on from there.

use crate::meter::Uptime;
use protocol::{Microjoules, Microwatts};

/// Two looks closer than this see more of the counter's own steps, of about a millisecond, than
/// of power.
const APART_NS_MIN: u64 = 20_000_000;

/// A counter and where it stood.
#[derive(Debug, Clone)]
pub(super) struct Counter {
    pub range: Option<u64>,
    /// The most its zone draws.
    pub most: Microwatts,
    last: Option<(Uptime, u64)>,
}

/// What a look says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing to compare with yet, or too early.
    Nothing,
    Spent {
        energy: Microjoules,
        over_ns: u64,
    },
    Gap {
        over_ns: u64,
    },
}

impl Counter {
    pub const fn new(range: Option<u64>, most: Microwatts) -> Self {
        Self {
            range,
            most,
            last: None,
        }
    }

    /// Goes on from where a counter of the same zone stood.
    pub fn resume(&mut self, before: &Self) {
        if self.range == before.range {
            self.last = before.last;
        }
    }

    pub fn look(&mut self, now: Uptime, value: u64) -> Look {
        let Some((then, before)) = self.last else {
            self.last = Some((now, value));
            return Look::Nothing;
        };
        let over_ns = now.since(then);
        if over_ns < APART_NS_MIN && now >= then {
            return Look::Nothing;
        }
        self.last = Some((now, value));
        match self.step(before, value, over_ns) {
            Some(energy) => Look::Spent { energy, over_ns },
            None => Look::Gap { over_ns },
        }
    }

    fn step(&self, before: u64, value: u64, over_ns: u64) -> Option<Microjoules> {
        let range = self.range.filter(|range| *range > 0)?;
        // Half of the range at the most power: it can't have wrapped twice, nor once unseen.
        let spendable = self.most.during(over_ns);
        if over_ns == 0 || spendable.0 >= range / 2 {
            return None;
        }
        let spent = match value >= before {
            true => value - before,
            false => range.checked_sub(before)?.checked_add(value)?,
        };
        (spent <= spendable.0).then_some(Microjoules(spent))
    }

    /// Whether both stand at the same place: two independent counters never do for long.
    pub fn stands_with(&self, other: &Self) -> bool {
        const NEAR_UJ: u64 = 2_000_000;
        match (self.last, other.last) {
            (Some((_, a)), Some((_, b))) => {
                let apart = a.abs_diff(b);
                let around = self.range.map_or(apart, |range| range.abs_diff(apart));
                apart.min(around) <= NEAR_UJ
            }
            _ => false,
        }
    }
}
