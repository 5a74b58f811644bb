//! Small random histories: a few nodes in a few sites, and much that goes wrong.
//!
//! Does:      each seed first draws which kinds of faults exist at all, so that rare pairs meet
//!            undisturbed by the rest (Groce and others, "Swarm Testing", 2012).
//! Does not:  run anything.
//! Bounds:    `ACTS_MAX` of its parent is never reached: faults grow with nodes and time to 1,000.
//! Trusts:    its dice.
//! Start at:  `history`.

use super::{Act, Deed, History, Shape, Work};
use crate::ids::mix;
use crate::world::network::{Effect, Group, Weather};
use netcore::dice::Dice;

/// Chances out of a hundred that a kind of fault exists in a history.
const KIND_PERCENT: u64 = 35;
const SAFETY_MS: [u64; 2] = [40_000, 140_000];
/// Time to find one view, to run out of old messages, and to be quiet.
const HEAL_MS: u64 = 120_000;
/// Nodes first find each other.
const FIRST_ACT_MS: u64 = 15_000;

/// Kinds of faults.
#[rustfmt::skip]
const KINDS: [fn(&mut Draw) -> Deed; 16] = [
    Draw::crash, Draw::crash_without_disk, Draw::pause, Draw::slow,
    Draw::cut_sites, Draw::cut_one_way, Draw::cut_host, Draw::cut_channel,
    Draw::loss, Draw::lag, Draw::black_hole, Draw::clock,
    Draw::stall, Draw::leave, Draw::clone, Draw::join,
];

struct Draw {
    dice: Dice,
    shape: Shape,
    has_clones: bool,
}

/// What is asked of a history, instead of its own dice.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    pub nodes: Option<u32>,
    pub sites: Option<u16>,
    pub safety_ms: Option<u64>,
    /// Disks are copied too. What a cluster owes its users while two machines have one key is not
    /// the same: after that, views may stay wrong until the next renewals.
    pub clones: bool,
}

/// The history of a seed.
pub fn history(seed: u64) -> History {
    history_of(seed, Wanted::default())
}

/// The history of a seed, with the size that is wanted.
pub fn history_of(seed: u64, wanted: Wanted) -> History {
    let mut dice = Dice::new(mix(seed));
    let mut shape = shape(&mut dice);
    if wanted.nodes.is_some() || wanted.sites.is_some() {
        let nodes = wanted.nodes.unwrap_or(shape.hosts());
        let sites = wanted.sites.unwrap_or(shape.site_count());
        shape.sites = Shape::even(nodes, sites, shape.weather).sites;
        shape.spares.clear();
        shape.diskless.retain(|host| *host < nodes);
    }
    let [least, most] = SAFETY_MS;
    let drawn_ms = least + dice.below(most - least);
    let safety_ms = wanted.safety_ms.unwrap_or(drawn_ms).max(least);
    let mut draw = Draw {
        dice,
        shape,
        has_clones: wanted.clones,
    };
    let kinds: Vec<_> = KINDS
        .iter()
        .filter(|_| draw.dice.below(100) < KIND_PERCENT)
        .collect();
    let mut acts = draw.work(safety_ms);
    let faults_max = 12 * u64::from(draw.shape.hosts()).div_ceil(9) * safety_ms.div_ceil(most);
    let faults = if kinds.is_empty() {
        0
    } else {
        1 + draw.dice.below(faults_max.min(1000))
    };
    for _ in 0..faults {
        let at_ms = FIRST_ACT_MS + draw.dice.below(safety_ms - FIRST_ACT_MS);
        let kind = kinds[index(&mut draw.dice, kinds.len())];
        let deed = kind(&mut draw);
        acts.push(Act { at_ms, deed });
    }
    acts.extend(super::table::orders(
        seed,
        &draw.shape,
        FIRST_ACT_MS / 2,
        safety_ms,
    ));
    acts.sort_by_key(|act| act.at_ms);
    History {
        seed,
        safety_ms,
        heal_ms: HEAL_MS,
        shape: draw.shape,
        acts,
    }
}

fn index(dice: &mut Dice, limit: usize) -> usize {
    usize::try_from(dice.below(limit as u64)).unwrap_or(0)
}

fn number(dice: &mut Dice, limit: u64) -> u32 {
    u32::try_from(dice.below(limit)).unwrap_or(0)
}

fn shape(dice: &mut Dice) -> Shape {
    let sites = 2 + dice.below(2);
    let sites: Vec<u16> = (0..sites)
        .map(|_| u16::try_from(1 + dice.below(3)).unwrap_or(1))
        .collect();
    let rare = |dice: &mut Dice, most: u64| {
        if dice.below(3) == 0 {
            number(dice, most)
        } else {
            0
        }
    };
    let weather = Weather {
        loss_ppm: rare(dice, 50_000),
        double_ppm: rare(dice, 50_000),
        disorder_ppm: rare(dice, 20_000),
        far_us: 5000 + number(dice, 100_000),
    };
    let mut shape = Shape {
        sites,
        weather,
        start_ms: 500 + dice.below(10_000),
        spares: Vec::new(),
        diskless: Vec::new(),
        seeds: 2,
        beacons: dice.below(2) == 0,
        asks_again: true,
        uptime_ms: 0,
    };
    // At least five nodes, so that there is a majority to lose.
    while shape.hosts() < 5 {
        let site = index(dice, shape.sites.len());
        shape.sites[site] += 1;
    }
    let hosts = shape.hosts();
    shape.diskless = (0..hosts).filter(|_| dice.below(5) == 0).collect();
    shape.spares = (0..hosts).filter(|_| dice.below(10) == 0).collect();
    shape
}

impl Draw {
    fn host(&mut self) -> u32 {
        number(&mut self.dice, u64::from(self.shape.hosts()))
    }

    fn site(&mut self) -> u16 {
        let site = self.dice.below(u64::from(self.shape.site_count()));
        u16::try_from(site).unwrap_or(0)
    }

    /// Short, medium or long, so that each time-out is met from both sides.
    fn for_ms(&mut self) -> u64 {
        let most = [2000, 15_000, 60_000][index(&mut self.dice, 3)];
        100 + self.dice.below(most)
    }

    fn crash(&mut self) -> Deed {
        Deed::Crash {
            host: self.host(),
            down_ms: self.for_ms(),
            keeps_disk: true,
        }
    }

    fn crash_without_disk(&mut self) -> Deed {
        Deed::Crash {
            host: self.host(),
            down_ms: self.for_ms(),
            keeps_disk: false,
        }
    }

    fn pause(&mut self) -> Deed {
        Deed::Pause {
            host: self.host(),
            for_ms: self.for_ms(),
        }
    }

    fn slow(&mut self) -> Deed {
        Deed::Slow {
            host: self.host(),
            times: 100,
            for_ms: self.for_ms(),
        }
    }

    fn disturb(&mut self, from: Group, to: Group, both: bool, effect: Effect) -> Deed {
        Deed::Disturb {
            from,
            to,
            both,
            effect,
            for_ms: self.for_ms(),
        }
    }

    fn cut_sites(&mut self) -> Deed {
        let sites = Group::Sites(vec![self.site()]);
        let others = (0..self.shape.site_count()).filter(|site| !sites_has(&sites, *site));
        let others = Group::Sites(others.collect());
        self.disturb(sites, others, true, Effect::Block)
    }

    fn cut_one_way(&mut self) -> Deed {
        let (from, to) = (self.host(), self.host());
        let (from, to) = (Group::Hosts(vec![from]), Group::Hosts(vec![to]));
        self.disturb(from, to, false, Effect::Block)
    }

    fn cut_host(&mut self) -> Deed {
        let host = self.host();
        let others = (0..self.shape.hosts()).filter(|other| *other != host);
        let others = Group::Hosts(others.collect());
        let both = self.dice.below(2) == 0;
        self.disturb(Group::Hosts(vec![host]), others, both, Effect::Block)
    }

    fn cut_channel(&mut self) -> Deed {
        let effect = if self.dice.below(2) == 0 {
            Effect::BlockDatagrams
        } else {
            Effect::BlockStreams
        };
        let from = Group::Hosts(vec![self.host()]);
        self.disturb(from, Group::All, true, effect)
    }

    fn loss(&mut self) -> Deed {
        let ppm = number(&mut self.dice, 500_000);
        let from = Group::Sites(vec![self.site()]);
        self.disturb(from, Group::All, true, Effect::LossPpm(ppm))
    }

    fn lag(&mut self) -> Deed {
        let us = self.dice.below(1_500_000);
        let from = Group::Hosts(vec![self.host()]);
        self.disturb(from, Group::All, false, Effect::DelayUs(us))
    }

    fn black_hole(&mut self) -> Deed {
        let from = Group::Sites(vec![self.site()]);
        self.disturb(from, Group::All, true, Effect::SizeMax(1280))
    }

    fn clock(&mut self) -> Deed {
        let years_10: i64 = 315_360_000_000;
        let jumps = [-3_600_000, years_10, -1_795_564_800_000, 0];
        let drift = i32::try_from(self.dice.below(20_000)).unwrap_or(0);
        Deed::Clock {
            host: self.host(),
            jump_ms: jumps[index(&mut self.dice, 4)],
            drift_ppm: drift - 10_000,
        }
    }

    fn stall(&mut self) -> Deed {
        Deed::Stall {
            host: self.host(),
            for_ms: self.for_ms(),
        }
    }

    fn leave(&mut self) -> Deed {
        let host = self.host();
        let is_seed = self.shape.seed_hosts().iter().any(|seed| seed.host == host);
        if is_seed {
            // Whoever comes back without its disk would find nobody by its seeds.
            return Deed::Crash {
                host,
                down_ms: 5000,
                keeps_disk: true,
            };
        }
        Deed::Leave { host }
    }

    fn clone(&mut self) -> Deed {
        let (of, onto, for_ms) = (self.host(), self.host(), self.for_ms());
        if self.has_clones {
            return Deed::Clone { of, onto, for_ms };
        }
        Deed::Crash {
            host: onto,
            down_ms: for_ms,
            keeps_disk: true,
        }
    }

    fn join(&mut self) -> Deed {
        let spares = &self.shape.spares;
        let host = match spares.get(index(&mut self.dice, spares.len())) {
            Some(host) => *host,
            None => self.host(),
        };
        Deed::Join { host }
    }

    /// What users do meanwhile.
    fn work(&mut self, safety_ms: u64) -> Vec<Act> {
        let mut acts = Vec::new();
        let orders = self.dice.below(24);
        let mut vms = 0;
        for _ in 0..orders {
            let at_ms = FIRST_ACT_MS / 2 + self.dice.below(safety_ms);
            let vm = number(&mut self.dice, u64::from(vms.max(1)));
            let key = number(&mut self.dice, 4);
            let host = self.host();
            let work = match self.dice.below(10) {
                0..3 => {
                    vms += 1;
                    Work::Create { host, vm: vms - 1 }
                }
                3 => Work::Change { vm },
                4 => Work::Delete { vm },
                5 => Work::Strange { host },
                6..8 => Work::Swap {
                    host,
                    register: key % 2,
                },
                8 => Work::Race {
                    host,
                    register: key % 2,
                },
                _ if self.dice.below(3) == 0 => Work::Forge {
                    host,
                    of: self.host(),
                    vm,
                },
                _ if self.dice.below(2) == 0 => Work::Put { host, key },
                _ => Work::Find { host, key },
            };
            acts.push(Act {
                at_ms,
                deed: Deed::Work(work),
            });
        }
        acts
    }
}

fn sites_has(group: &Group, site: u16) -> bool {
    matches!(group, Group::Sites(sites) if sites.binary_search(&site).is_ok())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_the_same_after_it_was_saved() {
        for seed in 0..300 {
            let drawn = history(seed);
            let text = drawn.to_toml().unwrap();
            assert_eq!(History::from_toml(&text).unwrap(), drawn, "{text}");
            assert!((5..=9).contains(&drawn.shape.hosts()), "{:?}", drawn.shape);
        }
    }
}
