//! Histories written by hand, one line for each thing that happens.
//!
//! Start at:  `Script`.

use crate::history::{Act, Deed, History, Shape, Work};
use crate::world::network::{Effect, Group, Weather};
use netcore::dice::Dice;

/// A history in the making; times in seconds.
#[derive(Debug)]
pub struct Script {
    pub history: History,
    pub dice: Dice,
}

impl Script {
    pub fn new(seed: u64, sites: &[u16]) -> Self {
        let nodes = sites.iter().map(|nodes| u32::from(*nodes)).sum();
        let mut shape = Shape::even(nodes, 1, Weather::CALM);
        shape.sites = sites.to_vec();
        let history = History {
            seed,
            safety_ms: 0,
            heal_ms: 0,
            shape,
            acts: Vec::new(),
        };
        Self {
            history,
            dice: Dice::new(crate::ids::mix(seed ^ 0x5c)),
        }
    }

    pub fn loss(mut self, ppm: u32) -> Self {
        self.history.shape.weather.loss_ppm = ppm;
        self
    }

    /// Nobody tells a node of others after it has started.
    pub fn without_discovery(mut self) -> Self {
        self.history.shape.beacons = false;
        self.history.shape.asks_again = false;
        self
    }

    pub fn deed(mut self, at_s: u64, deed: Deed) -> Self {
        self.history.acts.push(Act {
            at_ms: at_s * 1000,
            deed,
        });
        self
    }

    pub fn deed_ms(&mut self, at_ms: u64, deed: Deed) {
        self.history.acts.push(Act { at_ms, deed });
    }

    pub fn work(self, at_s: u64, work: Work) -> Self {
        self.deed(at_s, Deed::Work(work))
    }

    pub fn crash(self, at_s: u64, host: u32, down_s: u64) -> Self {
        let keeps_disk = true;
        self.deed(
            at_s,
            Deed::Crash {
                host,
                down_ms: down_s * 1000,
                keeps_disk,
            },
        )
    }

    pub fn crash_without_disk(self, at_s: u64, host: u32, down_s: u64) -> Self {
        let keeps_disk = false;
        self.deed(
            at_s,
            Deed::Crash {
                host,
                down_ms: down_s * 1000,
                keeps_disk,
            },
        )
    }

    /// Nothing passes between two groups of sites.
    pub fn cut_sites(self, at_s: u64, some: &[u16], others: &[u16], for_s: u64) -> Self {
        let (from, to) = (Group::Sites(some.to_vec()), Group::Sites(others.to_vec()));
        self.disturb(at_s, from, to, true, Effect::Block, for_s)
    }

    pub fn cut_hosts(self, at_s: u64, some: &[u32], others: &[u32], for_s: u64) -> Self {
        let (from, to) = (Group::Hosts(some.to_vec()), Group::Hosts(others.to_vec()));
        self.disturb(at_s, from, to, true, Effect::Block, for_s)
    }

    pub fn disturb(
        self,
        at_s: u64,
        from: Group,
        to: Group,
        both: bool,
        effect: Effect,
        for_s: u64,
    ) -> Self {
        let for_ms = for_s * 1000;
        self.deed(
            at_s,
            Deed::Disturb {
                from,
                to,
                both,
                effect,
                for_ms,
            },
        )
    }

    pub fn hosts(&self) -> u32 {
        self.history.shape.hosts()
    }

    /// The faults end after `safety_s`; the judgement falls after another `heal_s`.
    pub fn done(mut self, safety_s: u64, heal_s: u64) -> History {
        self.history.safety_ms = safety_s * 1000;
        self.history.heal_ms = heal_s * 1000;
        self.history.acts.sort_by_key(|act| act.at_ms);
        self.history
    }
}
