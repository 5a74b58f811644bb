//! How fast, how dear, how right: one cluster under a fixed programme.
//!
//! Does:      start, quiet time, waves of deaths, a row of records; distributions of when the
//!            others knew; bytes on the wire; memory.
//! Does not:  compare with targets (`report`).
//! Bounds:    `VICTIMS_MAX` deaths and `RECORDS_MAX` records.
//! Trusts:    the machines' own count of their memory.
//! Start at:  `measure`.

use crate::history::{History, Shape, Work};
use crate::ids::mix;
use crate::machine::{Ask, Machine, Note, Opinion};
use crate::world::network::Weather;
use crate::world::{Watch, World, at};
use netcore::dice::Dice;
use protocol::NodeId;
use protocol::peer::{Realm, RecordKey, RecordKind};
use serde::Serialize;
use std::collections::BTreeMap;

pub const VICTIMS_MAX: u32 = 40;
pub const RECORDS_MAX: u32 = 40;
/// How often opinions are looked at: the grain of detection times.
const LOOK_US: u64 = 100_000;
/// Given up after this: counts as this long.
const PATIENCE_US: u64 = 30_000_000;
/// So many die at once, each in a site of its own: sites know nothing of each other's dead until
/// all is over.
const WAVE: usize = 10;
/// Between two waves.
const REST_US: u64 = 2_000_000;
/// Between two records, and after the last.
const RECORDS_US: u64 = 250_000;
const ARRIVAL_US: u64 = 10_000_000;
/// The kind of the records that are spread.
const PROBE_KIND: RecordKind = RecordKind(60_001);

/// What to measure.
#[derive(Debug, Clone, Copy)]
pub struct Programme {
    pub seed: u64,
    pub nodes: u32,
    pub sites: u16,
    pub weather: Weather,
    /// All hosts start within this time.
    pub start_ms: u64,
    /// Time to find each other: at least, and at most if some have not found all by then.
    pub settle_ms: u64,
    pub settle_max_ms: u64,
    /// Quiet time, which is measured.
    pub quiet_ms: u64,
    pub victims: u32,
    pub records: u32,
}

/// A distribution, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Spread {
    pub count: u64,
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
}

impl Spread {
    pub fn of(mut values: Vec<u64>) -> Self {
        values.sort_unstable();
        let pick = |percent: usize| {
            let place = (values.len() * percent).div_ceil(100).max(1) - 1;
            values.get(place).copied().unwrap_or(0)
        };
        Self {
            count: values.len() as u64,
            p50: pick(50),
            p99: pick(99),
            max: values.last().copied().unwrap_or(0),
        }
    }
}

/// What was measured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    pub machine: String,
    pub seed: u64,
    pub nodes: u32,
    pub sites: u16,
    /// From the last start until all nodes of a site knew each other; whether they did at last.
    pub joined_ms: u64,
    pub has_joined: bool,
    /// Wrong opinions: a running node was called dead.
    pub false_deaths: u64,
    pub false_suspicions: u64,
    pub quiet_ms: u64,
    /// Of the quiet time, overhead of UDP and sessions included.
    pub bytes_out_per_node_s: u64,
    pub bytes_out_max_per_s: u64,
    /// By kind of message, bytes per node and second.
    pub by_kind: Vec<u64>,
    pub steps_per_node_s: u64,
    pub memory_mean: u64,
    pub memory_max: u64,
    pub dead_in_site: Spread,
    pub dead_everywhere: Spread,
    pub spread: Spread,
    /// Thousandths of payloads received for each that was needed.
    pub copies_milli: u64,
    /// Pairs of node and record that never met within the patience.
    pub missed: u64,
    pub virtual_ms: u64,
    pub events: u64,
    pub trace: u64,
}

/// Collects what nodes say.
#[derive(Debug, Default)]
struct Clipboard {
    false_deaths: u64,
    false_suspicions: u64,
    /// When a record was published, and how long it took to each node.
    published_us: BTreeMap<[u8; 16], u64>,
    arrived_ms: Vec<u64>,
    /// Those that are looked at.
    victims: Vec<Victim>,
}

/// A node that died, and who knows since when.
#[derive(Debug)]
struct Victim {
    id: NodeId,
    site: u16,
    died_us: u64,
    /// Somebody of its site knows: from now on others may.
    is_found: bool,
    all_know: bool,
    knows_ms: Vec<Option<u64>>,
}

impl Victim {
    fn known_by(&mut self, host: usize, now_us: u64) {
        if let Some(since @ None) = self.knows_ms.get_mut(host) {
            *since = Some((now_us - self.died_us) / 1000);
        }
    }
}

impl<M: Machine> Watch<M> for Clipboard {
    fn note(&mut self, world: &mut World<M>, host: u32, note: Note) {
        match note {
            Note::Opinion { of, opinion } => self.opinion(world, host, of, opinion),
            Note::Stored(record) if record.key.kind == PROBE_KIND => {
                if let Some(since) = self.published_us.get(&record.key.subject) {
                    self.arrived_ms.push((world.now_us - since) / 1000);
                }
            }
            _ => {}
        }
    }

    fn wake(&mut self, _world: &mut World<M>, _tag: u64) {}
    fn work(&mut self, _world: &mut World<M>, _work: &Work) {}
    fn power(&mut self, _world: &mut World<M>, _host: u32, _on: bool) {}
}

impl Clipboard {
    fn opinion<M: Machine>(&mut self, world: &World<M>, host: u32, of: NodeId, opinion: Opinion) {
        let subject = &world.hosts[at(crate::ids::host_of(of))];
        let runs = subject.is_up() && subject.id == of;
        match opinion {
            Opinion::Dead if runs => self.false_deaths += 1,
            Opinion::Suspect if runs => self.false_suspicions += 1,
            Opinion::Dead => {
                if let Some(victim) = self.victims.iter_mut().find(|victim| victim.id == of) {
                    victim.is_found = true;
                    victim.known_by(at(host), world.now_us);
                }
            }
            _ => {}
        }
    }
}

/// Called now and then with virtual milliseconds done and to do.
pub type Tick<'a> = &'a mut dyn FnMut(u64, u64);

/// A cluster, its clipboard, and how far it has come.
struct Trial<'a, M> {
    world: World<M>,
    clipboard: Clipboard,
    figures: Figures,
    dice: Dice,
    programme: Programme,
    tick: Tick<'a>,
}

/// Runs the programme on one machine.
pub fn measure<M: Machine>(name: &str, programme: Programme, tick: Tick<'_>) -> Figures {
    measure_and_keep::<M>(name, programme, tick).0
}

/// The same; the cluster lives on, for what else is to be done with it.
pub fn measure_and_keep<M: Machine>(
    name: &str,
    programme: Programme,
    tick: Tick<'_>,
) -> (Figures, World<M>) {
    let mut shape = Shape::even(programme.nodes, programme.sites, programme.weather);
    shape.start_ms = programme.start_ms;
    let history = History {
        seed: programme.seed,
        safety_ms: 0,
        heal_ms: 0,
        shape,
        acts: Vec::new(),
    };
    let mut trial = Trial::<M> {
        world: World::new(&history),
        clipboard: Clipboard::default(),
        figures: Figures {
            machine: name.to_owned(),
            seed: programme.seed,
            nodes: programme.nodes,
            sites: programme.sites,
            ..Figures::default()
        },
        dice: Dice::new(mix(programme.seed ^ 99)),
        programme,
        tick,
    };
    trial.begin();
    trial.quiet();
    trial.deaths();
    trial.records();
    trial.finish()
}

impl<M: Machine> Trial<'_, M> {
    fn run_for(&mut self, us: u64) {
        let until_us = self.world.now_us + us;
        self.world.run(until_us, &mut self.clipboard);
        let programme = &self.programme;
        let total_ms = programme.start_ms
            + programme.settle_ms
            + programme.quiet_ms
            + u64::from(programme.victims) * 10_000 / self.wave() as u64
            + (u64::from(programme.records) * RECORDS_US + ARRIVAL_US) / 1000;
        (self.tick)(self.world.now_ms(), total_ms);
    }

    fn begin(&mut self) {
        let start_us = self.programme.start_ms * 1000;
        while self.world.now_us < start_us {
            self.run_for(1_000_000);
        }
        let settled_us = start_us + self.programme.settle_ms * 1000;
        let at_last_us = settled_us.max(start_us + self.programme.settle_max_ms * 1000);
        let mut joined_us = None;
        while self.world.now_us < settled_us
            || joined_us.is_none() && self.world.now_us < at_last_us
        {
            self.run_for(500_000);
            if joined_us.is_none() && self.all_know_their_site() {
                joined_us = Some(self.world.now_us - start_us);
            }
        }
        let patience_us = at_last_us - start_us;
        self.figures.has_joined = joined_us.is_some();
        self.figures.joined_ms = joined_us.unwrap_or(patience_us) / 1000;
        self.clipboard.false_deaths = 0;
        self.clipboard.false_suspicions = 0;
    }

    fn all_know_their_site(&self) -> bool {
        if M::TELLS_ALL {
            // A flat cluster knows all or is not there yet; its lists are slow to search.
            let wanted = self.world.hosts.len() - 1;
            let mut machines = self
                .world
                .hosts
                .iter()
                .filter_map(|host| host.machine.as_ref());
            return machines.all(|machine| machine.others_there() >= wanted);
        }
        let ids: Vec<(NodeId, u16)> = self
            .world
            .hosts
            .iter()
            .filter(|host| host.is_up())
            .map(|host| (host.id, host.place.site))
            .collect();
        self.world.hosts.iter().all(|host| {
            let Some(machine) = &host.machine else {
                return true;
            };
            let first = ids.partition_point(|(_, site)| *site < host.place.site);
            let of_site = ids[first..]
                .iter()
                .take_while(|(_, site)| *site == host.place.site);
            of_site
                .filter(|(id, _)| *id != host.id)
                .all(|(id, _)| machine.opinion(*id).is_there())
        })
    }

    fn quiet(&mut self) {
        let before: Vec<_> = self.world.hosts.iter().map(|host| host.traffic).collect();
        let until_us = self.world.now_us + self.programme.quiet_ms * 1000;
        while self.world.now_us < until_us {
            self.run_for(1_000_000);
        }
        let seconds = (self.programme.quiet_ms / 1000).max(1);
        let nodes = u64::from(self.programme.nodes).max(1);
        let mut by_kind = [0; 8];
        let (mut total, mut most, mut steps) = (0, 0, 0);
        for (host, before) in self.world.hosts.iter().zip(&before) {
            let bytes = host.traffic.bytes_out - before.bytes_out;
            total += bytes;
            most = most.max(bytes / seconds);
            steps += host.traffic.steps - before.steps;
            for (sum, (now, then)) in by_kind
                .iter_mut()
                .zip(host.traffic.by_kind.iter().zip(before.by_kind))
            {
                *sum += now - then;
            }
        }
        let figures = &mut self.figures;
        figures.quiet_ms = self.programme.quiet_ms;
        figures.bytes_out_per_node_s = total / nodes / seconds;
        figures.bytes_out_max_per_s = most;
        figures.by_kind = by_kind.iter().map(|sum| sum / nodes / seconds).collect();
        figures.steps_per_node_s = steps / nodes / seconds;
        let memory = self
            .world
            .hosts
            .iter()
            .filter_map(|host| host.machine.as_ref());
        let memory: Vec<u64> = memory
            .map(|machine| machine.memory_bytes() as u64)
            .collect();
        figures.memory_mean = memory.iter().sum::<u64>() / (memory.len() as u64).max(1);
        figures.memory_max = memory.iter().copied().max().unwrap_or(0);
    }

    /// A running host, by chance.
    fn any_host(&mut self) -> u32 {
        let hosts = u64::from(self.programme.nodes);
        for _ in 0..1000 {
            let host = u32::try_from(self.dice.below(hosts)).unwrap_or(0);
            if self.world.hosts[at(host)].is_up() {
                return host;
            }
        }
        0
    }

    fn deaths(&mut self) {
        let (mut in_site, mut everywhere) = (Vec::new(), Vec::new());
        let mut left = usize::try_from(self.programme.victims.min(VICTIMS_MAX)).unwrap_or(0);
        while left > 0 {
            let wave = left.min(self.wave());
            left -= wave;
            (0..wave).for_each(|_| self.kill());
            let until_us = self.world.now_us + PATIENCE_US;
            while self.world.now_us < until_us && !self.look() {
                self.run_for(LOOK_US);
            }
            for victim in std::mem::take(&mut self.clipboard.victims) {
                for (host, since) in self.world.hosts.iter().zip(&victim.knows_ms) {
                    if host.is_up() {
                        let since = since.unwrap_or(PATIENCE_US / 1000);
                        everywhere.push(since);
                        if host.place.site == victim.site {
                            in_site.push(since);
                        }
                    }
                }
            }
            self.run_for(REST_US);
        }
        self.figures.dead_in_site = Spread::of(in_site);
        self.figures.dead_everywhere = Spread::of(everywhere);
    }

    /// How many die at once.
    const fn wave(&self) -> usize {
        if self.programme.sites as usize > 2 * WAVE {
            WAVE
        } else {
            1
        }
    }

    /// One more loses power, in a site where nobody else of this wave did.
    fn kill(&mut self) {
        let is_hit = |trial: &Self, host: u32| {
            let site = trial.world.hosts[at(host)].place.site;
            let mut victims = trial.clipboard.victims.iter();
            victims.any(|victim| victim.site == site)
        };
        let mut host = self.any_host();
        while is_hit(self, host) {
            host = self.any_host();
        }
        let place = &self.world.hosts[at(host)];
        let victim = Victim {
            id: place.id,
            site: place.place.site,
            died_us: self.world.now_us,
            is_found: false,
            all_know: false,
            knows_ms: vec![None; self.world.hosts.len()],
        };
        self.clipboard.victims.push(victim);
        self.world.cut_power(host);
    }

    /// Asks those that have not said yet what they think of the victims. `true`: all know.
    fn look(&mut self) -> bool {
        let now_us = self.world.now_us;
        for victim in &mut self.clipboard.victims {
            if !victim.is_found || victim.all_know {
                continue;
            }
            let mut all = true;
            for (at, host) in self.world.hosts.iter().enumerate() {
                let Some(machine) = &host.machine else {
                    continue;
                };
                if victim.knows_ms[at].is_some() {
                    continue;
                }
                if !M::TELLS_ALL && !machine.opinion(victim.id).is_there() {
                    victim.known_by(at, now_us);
                } else {
                    all = false;
                }
            }
            victim.all_know = all;
        }
        let mut victims = self.clipboard.victims.iter();
        victims.all(|victim| victim.all_know)
    }

    fn records(&mut self) {
        if M::TELLS_ALL {
            return; // a yardstick without records
        }
        let running = self.world.hosts.iter().filter(|host| host.is_up()).count() as u64;
        let (copies_before, fresh_before) = self.payloads();
        let mut wanted = 0;
        for number in 0..self.programme.records.min(RECORDS_MAX) {
            let host = self.any_host();
            let mut subject = [0xee; 16];
            subject[..4].copy_from_slice(&number.to_be_bytes());
            let key = RecordKey {
                realm: Realm::Cluster,
                kind: PROBE_KIND,
                subject,
            };
            self.clipboard
                .published_us
                .insert(subject, self.world.now_us);
            let ask = Ask::Publish {
                key,
                epoch: 1,
                ended: false,
                body: vec![7; 200],
            };
            self.world.ask(host, u64::from(number), &ask);
            wanted += running - 1;
            self.run_for(RECORDS_US);
        }
        self.run_for(ARRIVAL_US);
        let arrived = self.clipboard.arrived_ms.len() as u64;
        self.figures.missed = wanted.saturating_sub(arrived);
        self.figures.spread = Spread::of(std::mem::take(&mut self.clipboard.arrived_ms));
        // All records count: those of the sites' speakers take the same ways.
        let (copies, fresh) = self.payloads();
        self.figures.copies_milli = (copies - copies_before) * 1000 / (fresh - fresh_before).max(1);
    }

    /// Payloads that nodes have received so far: all copies, and those that were new.
    fn payloads(&self) -> (u64, u64) {
        let hosts = self.world.hosts.iter();
        let machines = hosts.filter_map(|host| host.machine.as_ref());
        let each = machines.map(M::payloads);
        each.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    fn finish(self) -> (Figures, World<M>) {
        let mut figures = self.figures;
        figures.false_deaths = self.clipboard.false_deaths;
        figures.false_suspicions = self.clipboard.false_suspicions;
        figures.virtual_ms = self.world.now_ms();
        figures.events = self.world.counts.events;
        figures.trace = self.world.trace;
        (figures, self.world)
    }
}
