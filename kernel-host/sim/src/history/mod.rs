//! What will go wrong in a run, decided before it starts.
//!
//! Does:      shape of the cluster, faults and orders with their times; each deed ends by itself,
//!            so that any part of the list is a history too, which is what shrinking needs.
//! Does not:  perform them: `World` does.
//! Bounds:    `ACTS_MAX`.
//! Trusts:    files to come from this program; indices beyond the shape are ignored.
//! Start at:  `History`.

use crate::world::network::{Effect, Group, Weather};
use serde::{Deserialize, Serialize};

pub mod draw;
pub mod shrink;
mod table;

/// Deeds of one history.
pub const ACTS_MAX: usize = 4096;

/// A run, but for what the machines make of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    pub seed: u64,
    /// How long things go wrong, and how long they then may not.
    pub safety_ms: u64,
    pub heal_ms: u64,
    pub shape: Shape,
    #[serde(default)]
    pub acts: Vec<Act>,
}

/// The cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Hosts of each site.
    pub sites: Vec<u16>,
    pub weather: Weather,
    /// Hosts start at random within this time.
    pub start_ms: u64,
    /// Hosts that don't start by themselves: a deed starts them.
    #[serde(default)]
    pub spares: Vec<u32>,
    /// Hosts without a disk: each boot is another node.
    #[serde(default)]
    pub diskless: Vec<u32>,
    /// Nodes of other sites that everybody is told at each boot.
    pub seeds: u16,
    /// Whether nodes of one site hear each other's calls on the LAN while they run.
    pub beacons: bool,
    /// Whether a node that has lost everybody asks its seeds again.
    pub asks_again: bool,
    /// What the monotonic clocks show when hosts first start: machines that run for long.
    #[serde(default)]
    pub uptime_ms: u64,
}

/// A deed and its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    pub at_ms: u64,
    pub deed: Deed,
}

/// Something that is done to the world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    /// Power loss; it boots again after `down_ms`, with its disk or with an empty one.
    Crash {
        host: u32,
        down_ms: u64,
        keeps_disk: bool,
    },
    /// The process stands still: SIGSTOP, or a stall of the machine below.
    Pause {
        host: u32,
        for_ms: u64,
    },
    /// Each step takes so many times longer.
    Slow {
        host: u32,
        times: u32,
        for_ms: u64,
    },
    /// Messages from one group to another suffer; in both directions if `both`.
    Disturb {
        from: Group,
        to: Group,
        both: bool,
        effect: Effect,
        for_ms: u64,
    },
    /// `onto` boots with a copy of `of`'s disk: two nodes with one key.
    Clone {
        of: u32,
        onto: u32,
        for_ms: u64,
    },
    /// The wall clock jumps, and the monotonic clock drifts from now on.
    Clock {
        host: u32,
        jump_ms: i64,
        drift_ppm: i32,
    },
    /// Nothing becomes durable for a while.
    Stall {
        host: u32,
        for_ms: u64,
    },
    /// The node says goodbye and its power goes off.
    Leave {
        host: u32,
    },
    /// A spare starts.
    Join {
        host: u32,
    },
    /// The host reboots with another address.
    Move {
        host: u32,
        address: u32,
    },
    Work(Work),
}

/// An order to a node, by a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// A VM is made on this host.
    Create {
        host: u32,
        vm: u32,
    },
    /// The VM's host writes a new state.
    Change {
        vm: u32,
    },
    /// The VM is deleted at its host.
    Delete {
        vm: u32,
    },
    /// A record of a kind that nobody knows.
    Strange {
        host: u32,
    },
    /// As above, with a body of so many bytes.
    Large {
        host: u32,
        bytes: u32,
    },
    /// A record of a kind that everybody knows, whose body makes no sense.
    Poison {
        host: u32,
        kind: u16,
    },
    /// So many VMs at once.
    Fill {
        host: u32,
        first_vm: u32,
        count: u32,
    },
    /// `host` lies: it sends everybody a record in the name of `of`, and a tombstone for the VM.
    Forge {
        host: u32,
        of: u32,
        vm: u32,
    },
    /// The key of `whom` is no longer trusted; `host` tells the others.
    Revoke {
        host: u32,
        whom: u32,
    },
    /// All of them are deleted.
    Empty {
        first_vm: u32,
        count: u32,
    },
    /// One step of a register: read it, then write what follows.
    Swap {
        host: u32,
        register: u32,
    },
    /// Two users take such a step at once: the other one at another node of the site, if any runs.
    Race {
        host: u32,
        register: u32,
    },
    /// An entry of the table.
    Put {
        host: u32,
        key: u32,
    },
    /// The host takes back what it has put.
    Remove {
        host: u32,
        key: u32,
    },
    Find {
        host: u32,
        key: u32,
    },
}

impl Shape {
    pub fn hosts(&self) -> u32 {
        self.sites.iter().map(|nodes| u32::from(*nodes)).sum()
    }

    pub fn site_count(&self) -> u16 {
        u16::try_from(self.sites.len()).unwrap_or(u16::MAX)
    }

    /// Site by site, host by host.
    pub fn places(&self) -> impl Iterator<Item = crate::world::network::Place> + '_ {
        let sites = (0..).zip(&self.sites);
        sites
            .flat_map(|(site, nodes)| (0..*nodes).map(move |_| site))
            .zip(0..)
            .map(|(site, host)| crate::world::network::Place { host, site })
    }

    /// The first host that starts by itself, of each of the first sites: everybody knows them.
    pub fn seed_hosts(&self) -> Vec<crate::world::network::Place> {
        let mut seeds: Vec<crate::world::network::Place> = Vec::new();
        for place in self.places() {
            let is_first = seeds.iter().all(|seed| seed.site != place.site);
            if is_first && !self.spares.contains(&place.host) {
                seeds.push(place);
            }
            if seeds.len() >= usize::from(self.seeds) {
                break;
            }
        }
        seeds
    }

    /// `nodes` spread over `sites` evenly, in rain.
    pub fn even(nodes: u32, sites: u16, weather: Weather) -> Self {
        let sites = sites.max(1);
        let share = |site: u16| {
            let (site, count) = (u32::from(site), u32::from(sites));
            nodes * (site + 1) / count - nodes * site / count
        };
        Self {
            sites: (0..sites)
                .map(|site| u16::try_from(share(site)).unwrap_or(u16::MAX))
                .collect(),
            weather,
            start_ms: 10_000,
            spares: Vec::new(),
            diskless: Vec::new(),
            seeds: 3,
            beacons: true,
            asks_again: true,
            uptime_ms: 0,
        }
    }
}

impl History {
    /// Reads a saved history.
    pub fn from_toml(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// The text that `from_toml` reads. `None`: a number too large for the format.
    pub fn to_toml(&self) -> Option<String> {
        toml::to_string(self).ok()
    }
}
