//! What a large cluster must survive: half of it gone at once, a restart of all, a long split.
//!
//! Does:      one ordeal on one cluster; how long until the survivors have one view again and a new
//!            record reaches all of them.
//! Does not:  look at every pair each second: samples, and all pairs once at the end.
//! Bounds:    `PATIENCE_MS`; then it counts as failed.
//! Trusts:    machines' opinions, which are what is judged.
//! Start at:  `survive`.

use crate::history::{Act, Deed, History, Shape, Work};
use crate::ids::{host_of, mix};
use crate::machine::{Ask, Machine, Note};
use crate::measure::Tick;
use crate::world::network::{Effect, Group, Weather};
use crate::world::{Watch, World, at};
use netcore::dice::Dice;
use protocol::NodeId;
use protocol::peer::{Realm, RecordKey, RecordKind};
use serde::Serialize;
use std::fmt;

/// Views are looked at this often, by samples.
const LOOK_US: u64 = 500_000;
const SAMPLES: usize = 60;
/// After this an ordeal counts as failed.
const PATIENCE_MS: u64 = 120_000;
/// All start within this time.
const START_MS: u64 = 10_000;
/// Time to find each other first.
const SETTLE_MS: u64 = 60_000;
const PROBE_KIND: RecordKind = RecordKind(60_002);

/// What is done to a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ordeal {
    /// A random half loses power for good.
    HalfGone,
    /// All restart at random times within a minute, half of them without their disks.
    AllRestart,
    /// Half of the sites cannot reach the other half.
    SplitHalves { for_ms: u64 },
    /// One of a hundred nodes, with its site, cannot reach the rest.
    SplitOne { for_ms: u64 },
}

impl Ordeal {
    pub const fn name(self) -> &'static str {
        match self {
            Self::HalfGone => "half of all nodes gone at once",
            Self::AllRestart => "all restarted within 60 s",
            Self::SplitHalves { .. } => "split 50/50 healed",
            Self::SplitOne { .. } => "split 99/1 healed",
        }
    }

    /// One view again, at the latest.
    pub const fn limit_ms(self) -> u64 {
        match self {
            Self::HalfGone | Self::AllRestart => 30_000,
            Self::SplitHalves { .. } | Self::SplitOne { .. } => 10_000,
        }
    }
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Survival {
    pub ordeal: String,
    pub nodes: u32,
    pub limit_ms: u64,
    /// Until all samples were right and stayed so.
    pub one_view_ms: u64,
    /// Pairs that were wrong at the end, of all pairs.
    pub wrong_pairs: u64,
    /// Nodes that a record of afterwards did not reach in 10 s.
    pub unreached: u64,
}

impl Survival {
    pub fn is_good(&self) -> bool {
        self.one_view_ms <= self.limit_ms && self.wrong_pairs == 0 && self.unreached == 0
    }
}

impl fmt::Display for Survival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: one view after {} ms of {}, {} pairs wrong, {} nodes not reached",
            self.ordeal, self.one_view_ms, self.limit_ms, self.wrong_pairs, self.unreached
        )
    }
}

#[derive(Debug, Default)]
struct Ears {
    heard: u64,
}

impl<M: Machine> Watch<M> for Ears {
    fn note(&mut self, _world: &mut World<M>, _host: u32, note: Note) {
        if matches!(note, Note::Stored(record) if record.key.kind == PROBE_KIND) {
            self.heard += 1;
        }
    }

    fn wake(&mut self, _world: &mut World<M>, _tag: u64) {}
    fn work(&mut self, _world: &mut World<M>, _work: &Work) {}
    fn power(&mut self, _world: &mut World<M>, _host: u32, _on: bool) {}
}

/// All ordeals, with splits that last so long.
pub const fn all(split_ms: u64) -> [Ordeal; 4] {
    [
        Ordeal::HalfGone,
        Ordeal::AllRestart,
        Ordeal::SplitHalves { for_ms: split_ms },
        Ordeal::SplitOne { for_ms: split_ms },
    ]
}

/// Lets a cluster of this size go through it.
pub fn survive<M: Machine>(
    seed: u64,
    nodes: u32,
    sites: u16,
    ordeal: Ordeal,
    tick: Tick<'_>,
) -> Survival {
    let mut shape = Shape::even(nodes, sites, Weather::RAIN);
    shape.start_ms = START_MS;
    let begin_ms = START_MS + SETTLE_MS;
    let (acts, calm_ms) = acts(seed, &shape, ordeal, begin_ms);
    let history = History {
        seed,
        safety_ms: 0,
        heal_ms: 0,
        shape,
        acts,
    };
    let mut world = World::<M>::new(&history);
    let mut ears = Ears::default();
    let end_ms = calm_ms + ordeal.limit_ms() + LOOK_US / 1000;
    let mut run_to = |world: &mut World<M>, ears: &mut Ears, until_us: u64| {
        while world.now_us < until_us {
            let step_us = until_us.min(world.now_us + LOOK_US);
            world.run(step_us, ears);
            tick(world.now_ms(), end_ms.max(world.now_ms()));
        }
    };
    run_to(&mut world, &mut ears, begin_ms * 1000);
    let mut dice = Dice::new(mix(seed ^ 31));
    let before: Vec<NodeId> = world.hosts.iter().map(|host| host.id).collect();
    if ordeal == Ordeal::HalfGone {
        for host in 0..nodes {
            if dice.below(2) == 0 {
                world.cut_power(host);
            }
        }
    }
    run_to(&mut world, &mut ears, calm_ms * 1000);
    let mut right_since = None;
    while world.now_ms() < calm_ms + PATIENCE_MS {
        let until_us = world.now_us + LOOK_US;
        run_to(&mut world, &mut ears, until_us);
        if !samples_are_right(&world, &before, &mut dice) {
            right_since = None;
        } else if right_since.is_none() {
            right_since = Some(world.now_ms() - calm_ms);
        } else if world.now_ms() > calm_ms + ordeal.limit_ms() {
            break;
        }
    }
    let wrong_pairs = wrong_pairs(&world, &before);
    Survival {
        ordeal: ordeal.name().to_owned(),
        nodes,
        limit_ms: ordeal.limit_ms(),
        one_view_ms: right_since.unwrap_or(PATIENCE_MS),
        wrong_pairs,
        unreached: unreached(&mut world, &mut ears),
    }
}

/// What happens, and when it is over.
fn acts(seed: u64, shape: &Shape, ordeal: Ordeal, begin_ms: u64) -> (Vec<Act>, u64) {
    let mut dice = Dice::new(mix(seed ^ 32));
    let sites = shape.site_count();
    let split = |first: u16, for_ms: u64| {
        let deed = Deed::Disturb {
            from: Group::Sites((0..first).collect()),
            to: Group::Sites((first..sites).collect()),
            both: true,
            effect: Effect::Block,
            for_ms,
        };
        let act = Act {
            at_ms: begin_ms,
            deed,
        };
        (vec![act], begin_ms + for_ms)
    };
    match ordeal {
        Ordeal::HalfGone => (Vec::new(), begin_ms),
        Ordeal::SplitHalves { for_ms } => split(sites / 2, for_ms),
        Ordeal::SplitOne { for_ms } => split(sites.div_ceil(100), for_ms),
        Ordeal::AllRestart => {
            let restart = |host| Act {
                at_ms: begin_ms + dice.below(55_000),
                deed: Deed::Crash {
                    host,
                    down_ms: 5000,
                    keeps_disk: host % 2 == 0,
                },
            };
            ((0..shape.hosts()).map(restart).collect(), begin_ms + 60_000)
        }
    }
}

/// Whether `host` rightly thinks of the node that was or is there.
fn is_right<M: Machine>(world: &World<M>, machine: &M, of: NodeId) -> bool {
    let subject = &world.hosts[at(host_of(of))];
    let runs = subject.is_up() && subject.id == of;
    machine.opinion(of).is_there() == runs
}

fn samples_are_right<M: Machine>(world: &World<M>, before: &[NodeId], dice: &mut Dice) -> bool {
    let mut pick = || usize::try_from(dice.below(before.len() as u64)).unwrap_or(0);
    (0..SAMPLES * SAMPLES).all(|_| {
        let (host, of) = (&world.hosts[pick()], pick());
        let ids = [before[of], world.hosts[of].id];
        host.machine.as_ref().is_none_or(|machine| {
            ids.iter()
                .all(|id| *id == host.id || is_right(world, machine, *id))
        })
    })
}

fn wrong_pairs<M: Machine>(world: &World<M>, before: &[NodeId]) -> u64 {
    let mut wrong = 0;
    for host in &world.hosts {
        let Some(machine) = &host.machine else {
            continue;
        };
        for (other, was) in world.hosts.iter().zip(before) {
            let is_me = other.id == host.id;
            wrong += u64::from(!is_me && !is_right(world, machine, other.id));
            let is_new = *was != other.id;
            wrong += u64::from(is_new && !is_right(world, machine, *was));
        }
    }
    wrong
}

/// Publishes one record and counts whom it does not reach.
fn unreached<M: Machine>(world: &mut World<M>, ears: &mut Ears) -> u64 {
    let up: Vec<u32> = (0..world.shape().hosts())
        .filter(|host| world.hosts[at(*host)].is_up())
        .collect();
    ears.heard = 0;
    let key = RecordKey {
        realm: Realm::Cluster,
        kind: PROBE_KIND,
        subject: [9; 16],
    };
    let ask = Ask::Publish {
        key,
        epoch: 1,
        ended: false,
        body: vec![3; 100],
    };
    let Some(first) = up.first() else {
        return 0;
    };
    world.ask(*first, 0, &ask);
    let until_us = world.now_us + 10_000_000;
    world.run(until_us, ears);
    // The first knows it already.
    (up.len() as u64 - 1).saturating_sub(ears.heard)
}
