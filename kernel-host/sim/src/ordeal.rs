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
use crate::machine::{Ask, Machine, Note, Opinion};
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
/// Time to rest between two ordeals of one cluster: what the one left must not count for the next.
const REST_MS: u64 = 30_000;
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
    const fn is_split(self) -> bool {
        matches!(self, Self::SplitHalves { .. } | Self::SplitOne { .. })
    }

    /// One view again, at the latest.
    pub const fn limit_ms(self) -> u64 {
        match self {
            Self::HalfGone | Self::AllRestart => 30_000,
            Self::SplitHalves { .. } | Self::SplitOne { .. } => 10_000,
        }
    }
}

impl fmt::Display for Ordeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HalfGone => write!(f, "half of all nodes gone at once"),
            Self::AllRestart => write!(f, "all restarted within 60 s"),
            Self::SplitHalves { for_ms } => write!(f, "split 50/50 of {} s healed", for_ms / 1000),
            Self::SplitOne { for_ms } => write!(f, "split 99/1 of {} s healed", for_ms / 1000),
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
    /// Running nodes that a node of their site called dead during a split; a restart or a loss of
    /// half of all may well be taken for a death too many.
    pub false_deaths: u64,
    pub memory_max: u64,
}

impl Survival {
    pub fn is_good(&self) -> bool {
        self.one_view_ms <= self.limit_ms
            && self.wrong_pairs == 0
            && self.unreached == 0
            && self.false_deaths == 0
    }
}

impl fmt::Display for Survival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: one view after {} ms of {}, {} pairs wrong, {} nodes not reached, {} false \
             deaths, {} kB",
            self.ordeal,
            self.one_view_ms,
            self.limit_ms,
            self.wrong_pairs,
            self.unreached,
            self.false_deaths,
            self.memory_max >> 10
        )
    }
}

#[derive(Debug, Default)]
struct Ears {
    heard: u64,
    listens_to_deaths: bool,
    false_deaths: u64,
}

impl<M: Machine> Watch<M> for Ears {
    fn note(&mut self, world: &mut World<M>, _host: u32, note: Note) {
        match note {
            Note::Stored(record) if record.key.kind == PROBE_KIND => self.heard += 1,
            Note::Opinion {
                of,
                opinion: Opinion::Dead,
            } => {
                let subject = &world.hosts[at(host_of(of))];
                let runs = subject.is_up() && subject.id == of;
                self.false_deaths += u64::from(runs && self.listens_to_deaths);
            }
            _ => {}
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

/// The same, in the order in which one cluster can bear them one after the other.
pub const fn in_a_row(split_ms: u64) -> [Ordeal; 4] {
    let [half, restart, halves, one] = all(split_ms);
    [restart, halves, one, half]
}

/// Lets a fresh cluster of this size go through it.
pub fn survive<M: Machine>(
    seed: u64,
    nodes: u32,
    sites: u16,
    ordeal: Ordeal,
    tick: Tick<'_>,
) -> Survival {
    let mut shape = Shape::even(nodes, sites, Weather::RAIN);
    shape.start_ms = START_MS;
    let history = History {
        seed,
        safety_ms: 0,
        heal_ms: 0,
        shape,
        acts: Vec::new(),
    };
    endure(&mut World::<M>::new(&history), seed, ordeal, tick)
}

/// Lets a cluster go through it, which may have gone through others.
pub fn endure<M: Machine>(
    world: &mut World<M>,
    seed: u64,
    ordeal: Ordeal,
    tick: Tick<'_>,
) -> Survival {
    let rest_ms = if world.now_us == 0 {
        START_MS + SETTLE_MS
    } else {
        REST_MS
    };
    let begun_ms = world.now_ms();
    let begin_ms = begun_ms + rest_ms;
    let (acts, calm_ms) = acts(seed, world.shape(), ordeal, begin_ms);
    let mut ears = Ears {
        listens_to_deaths: ordeal.is_split(),
        ..Ears::default()
    };
    let end_ms = calm_ms + ordeal.limit_ms() + LOOK_US / 1000;
    let mut run_to = |world: &mut World<M>, ears: &mut Ears, until_us: u64| {
        while world.now_us < until_us {
            let step_us = until_us.min(world.now_us + LOOK_US);
            world.run(step_us, ears);
            let now_ms = world.now_ms();
            tick(now_ms - begun_ms, end_ms.max(now_ms) - begun_ms);
        }
    };
    world.add_acts(acts);
    run_to(world, &mut ears, begin_ms * 1000);
    let mut dice = Dice::new(mix(seed ^ 31));
    let before: Vec<NodeId> = world.hosts.iter().map(|host| host.id).collect();
    if ordeal == Ordeal::HalfGone {
        for host in 0..world.shape().hosts() {
            if dice.below(2) == 0 {
                world.cut_power(host);
            }
        }
    }
    run_to(world, &mut ears, calm_ms * 1000);
    let mut right_since = None;
    while world.now_ms() < calm_ms + PATIENCE_MS {
        let until_us = world.now_us + LOOK_US;
        run_to(world, &mut ears, until_us);
        if !samples_are_right(world, &before, &mut dice) {
            right_since = None;
        } else if right_since.is_none() {
            right_since = Some(world.now_ms() - calm_ms);
        } else if world.now_ms() > calm_ms + ordeal.limit_ms() {
            break;
        }
    }
    let memory = world.hosts.iter().filter_map(|host| host.machine.as_ref());
    let memory_max = memory.map(|one| one.memory_bytes() as u64).max();
    Survival {
        ordeal: ordeal.to_string(),
        nodes: world.shape().hosts(),
        limit_ms: ordeal.limit_ms(),
        one_view_ms: right_since.unwrap_or(PATIENCE_MS),
        wrong_pairs: wrong_pairs(world, &before),
        unreached: unreached(world, &mut ears),
        false_deaths: ears.false_deaths,
        memory_max: memory_max.unwrap_or(0),
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
    let mut subject = [9; 16];
    subject[..8].copy_from_slice(&world.now_us.to_be_bytes());
    let key = RecordKey {
        realm: Realm::Cluster,
        kind: PROBE_KIND,
        subject,
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
