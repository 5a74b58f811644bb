//! Who thinks what of whom, against the truth: I2 of lives, I8, L1 and L6.
//!
//! Does:      once a second compares each node's opinion of each other with who really runs.
//! Does not:  look at clusters above some hundred nodes: the work grows with the square.
//! Bounds:    one entry for each pair that is wrong.
//! Trusts:    the world for who runs, the calendar for who is in a fault.
//! Start at:  `Views::look`.

use super::calendar::Calendar;
use super::{Found, LOOK_US, Limits};
use crate::machine::{Machine, Opinion};
use crate::world::{World, at};
use protocol::NodeId;
use protocol::peer::Life;
use std::collections::{BTreeMap, BTreeSet};

/// A wrong opinion of a node in no fault may last so long (I8).
const WRONG_MS_MAX: u64 = 10_000;
/// So long after a fault or a start, opinions are not judged yet.
const RECOVER_MS: u64 = 20_000;
/// What a far view needs after any fault: its news come through others.
const FAR_RECOVER_MS: u64 = 40_000;
const MINUTE_MS: u64 = 60_000;

#[derive(Debug)]
pub struct Views {
    calendar: Calendar,
    limits: Limits,
    /// Since when a host thinks wrongly of another.
    wrong_since: BTreeMap<(u32, u32), u64>,
    /// Pairs already reported.
    reported: BTreeSet<(u32, u32)>,
    /// Every id that ever ran.
    ids: BTreeSet<NodeId>,
    started_ms: BTreeMap<u32, u64>,
    lives: BTreeMap<u32, Life>,
    /// Times of changes of opinion since the heal.
    changes_ms: Vec<u64>,
    healed_ms: Option<u64>,
    pub one_view_ms: Option<u64>,
    /// Who was wrong when all should have been right.
    late: Option<String>,
}

impl Views {
    pub fn new(calendar: Calendar, limits: Limits) -> Self {
        Self {
            calendar,
            limits,
            wrong_since: BTreeMap::new(),
            reported: BTreeSet::new(),
            ids: BTreeSet::new(),
            started_ms: BTreeMap::new(),
            lives: BTreeMap::new(),
            changes_ms: Vec::new(),
            healed_ms: None,
            one_view_ms: None,
            late: None,
        }
    }

    pub fn heal(&mut self, now_ms: u64) {
        self.healed_ms = Some(now_ms);
        self.one_view_ms = None;
    }

    pub fn power<M: Machine>(&mut self, world: &World<M>, host: u32, on: bool) {
        self.wrong_since
            .retain(|(a, b), _| *a != host && *b != host);
        self.lives.remove(&host);
        if on {
            self.started_ms.insert(host, world.now_ms());
            self.ids.insert(world.hosts[at(host)].id);
        }
    }

    pub fn changed(&mut self, now_ms: u64, _of: NodeId, _opinion: Opinion) {
        if self.healed_ms.is_some() {
            self.changes_ms.push(now_ms);
        }
    }

    pub fn reborn<M: Machine>(
        &mut self,
        world: &World<M>,
        host: u32,
        life: Life,
        found: &mut Found,
    ) {
        let before = self.lives.insert(host, life);
        if let Some(before) = before.filter(|before| *before > life) {
            let what = format!("the life of host {host} went from {before} to {life}");
            found.add("I2", world.now_ms(), what);
        }
    }

    pub fn look<M: Machine>(
        &mut self,
        world: &World<M>,
        revoked: &BTreeSet<NodeId>,
        found: &mut Found,
    ) {
        let now_ms = world.now_ms();
        let running: Vec<_> = world
            .hosts
            .iter()
            .filter(|host| !revoked.contains(&host.id))
            .filter_map(|host| Some((host, host.machine.as_ref()?)))
            .collect();
        let mut all_right = true;
        for (host, machine) in &running {
            for (other, _) in running.iter().filter(|(other, _)| other.id != host.id) {
                let pair = (host.place.host, other.place.host);
                if machine.opinion(other.id).is_there() {
                    self.wrong_since.remove(&pair);
                } else {
                    all_right = false;
                    self.wrong(world, pair, found);
                }
            }
        }
        if self.healed_ms.is_some() && self.one_view_ms.is_none() {
            let mut alive: BTreeSet<NodeId> = running.iter().map(|(host, _)| host.id).collect();
            alive.extend(revoked);
            let ghosts = || self.ids.iter().filter(|id| !alive.contains(id));
            let haunted = running
                .iter()
                .any(|(_, machine)| ghosts().any(|id| machine.opinion(*id).is_there()));
            let passed_ms = self.healed_ms.map_or(0, |healed| now_ms - healed);
            if all_right && !haunted {
                self.one_view_ms = Some(passed_ms);
            } else if self.late.is_none() && passed_ms > self.limits.one_view_ms {
                self.late = Some(self.disagreement(world));
            }
        }
    }

    /// A running host does not think that another running host is there.
    fn wrong<M: Machine>(&mut self, world: &World<M>, pair: (u32, u32), found: &mut Found) {
        let now_ms = world.now_ms();
        let since = *self.wrong_since.entry(pair).or_insert(now_ms);
        let (a, b) = (world.hosts[at(pair.0)].place, world.hosts[at(pair.1)].place);
        let recover_ms = if a.site == b.site {
            RECOVER_MS
        } else {
            FAR_RECOVER_MS
        };
        let started = |host| self.started_ms.get(&host).copied().unwrap_or(0);
        let up_since = started(a.host).max(started(b.host));
        let from_ms = now_ms.saturating_sub(recover_ms);
        let is_judged = now_ms >= since + WRONG_MS_MAX
            && now_ms >= up_since + recover_ms
            && self.calendar.is_calm(a, b, from_ms, now_ms);
        if is_judged && self.reported.insert(pair) {
            let opinion = world.machine(a.host).map(|machine| {
                let id = world.hosts[at(b.host)].id;
                machine.opinion(id)
            });
            let what = format!(
                "host {} (site {}) thinks {opinion:?} of host {} (site {}) since {} ms; \
                 the last cut ended at {} ms",
                a.host,
                a.site,
                b.host,
                b.site,
                since,
                self.calendar.last_cut_ms(now_ms)
            );
            found.add("I8", now_ms, what);
        }
    }

    pub fn finish<M: Machine>(&mut self, world: &World<M>, found: &mut Found) {
        let now_ms = world.now_ms();
        match self.one_view_ms {
            None => found.add("L1", now_ms, self.disagreement(world)),
            // The world is looked at once in `LOOK_US`: a view is seen so much later than it came.
            Some(ms) if ms > self.limits.one_view_ms + LOOK_US / 1000 => {
                let limit = self.limits.one_view_ms;
                let late = self.late.as_deref().unwrap_or_default();
                let what = format!("one view came after {ms} ms, not {limit}; until then {late}");
                found.add("L1", now_ms, what);
            }
            Some(_) => {}
        }
        let late = self
            .changes_ms
            .iter()
            .filter(|ms| **ms + MINUTE_MS > now_ms)
            .count() as u64;
        let allowed = self.limits.changes_per_minute * world.hosts.len() as u64;
        if late > allowed {
            let what = format!("{late} changes of opinion in the last minute, {allowed} allowed");
            found.add("L6", now_ms, what);
        }
    }

    /// Who is wrong about whom.
    fn disagreement<M: Machine>(&self, world: &World<M>) -> String {
        let mut said = Vec::new();
        for host in &world.hosts {
            let Some(machine) = &host.machine else {
                continue;
            };
            for id in &self.ids {
                let of = crate::ids::host_of(*id);
                let runs = world
                    .hosts
                    .iter()
                    .any(|other| other.is_up() && other.id == *id);
                let opinion = machine.opinion(*id);
                if *id != host.id && runs != opinion.is_there() {
                    let truth = if runs { "runs" } else { "is gone" };
                    let key = id.bytes()[15];
                    said.push(format!(
                        "host {} thinks {opinion:?} of host {of} key {key}, which {truth}",
                        host.place.host
                    ));
                }
            }
        }
        said.truncate(6);
        said.join("; ")
    }
}
