//! Judges a run: what must never happen, and what must happen after all faults have ended.
//!
//! Does:      invariants at each note and each second; one view, equal replicas and answers to
//!            users in the heal phase; names what was broken, when and where.
//! Does not:  check escrow (I5): no service spends rights yet.
//! Bounds:    `VIOLATIONS_MAX` violations are kept; the rest is counted.
//! Trusts:    the world for what is true.
//! Start at:  `judge`, then the table `INVARIANTS`.

mod calendar;
mod councils;
mod leases;
mod records;
mod registers;
mod table;
mod views;

use crate::history::{History, Work};
use crate::machine::{Machine, Note};
use crate::world::{Counts, Watch, World};
use calendar::Calendar;
pub use records::EQUAL_MS;
use std::fmt;

/// Violations that are kept: the first ones tell the cause.
const VIOLATIONS_MAX: usize = 20;
/// How often the whole world is looked at.
const LOOK_US: u64 = 1_000_000;
const LOOK: u64 = 1;
const CROWD: usize = 24;
const TRAFFIC_LOOKS: u64 = 10;
/// What a node may use for all that the overlay keeps.
const MEMORY_BYTES_MAX: usize = 8 << 20;
/// When, after the heal, users' orders must be carried out again.
const SERVICE_MS: u64 = 40_000;

/// Each thing that is checked: its name in the research, and what it says.
#[rustfmt::skip]
pub const INVARIANTS: [(&str, &str); 17] = [
    ("I1", "at most one running copy of a VM that may move; one that may not is never moved"),
    ("I2", "epochs, versions and lives never fall"),
    ("I3", "an acknowledged write of a register is never lost, and no two follow one value"),
    ("I4", "no record without a good signature"),
    ("I6", "what was deleted stays deleted"),
    ("I7", "memory and traffic stay below their caps"),
    ("I8", "a node in no fault is never called dead for more than 10 s"),
    ("I11", "records of unknown kinds survive"),
    ("I12", "no datagram is longer than every path carries"),
    ("check", "a machine's own state is in order"),
    ("L1", "one view after the heal"),
    ("L4", "what was put into the table is found"),
    ("L5", "every register answers when a majority is connected"),
    ("L6", "opinions rest when nothing happens"),
    ("L7", "all replicas are equal"),
    ("L8", "a record can be made in every island"),
    ("I10", "same history, same trace"),
];

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub rule: &'static str,
    pub at_ms: u64,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = INVARIANTS.iter().find(|(rule, _)| *rule == self.rule);
        let said = said.map_or("", |(_, said)| said);
        let (s, ms) = (self.at_ms / 1000, self.at_ms % 1000);
        write!(f, "{} at {s}.{ms:03} s: {} ({said})", self.rule, self.what)
    }
}

/// How a run ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    pub violations: Vec<Violation>,
    pub more_violations: u64,
    pub trace: u64,
    pub counts: Counts,
    /// From the heal to one view everywhere. `None`: never.
    pub one_view_ms: Option<u64>,
    /// Orders of users by how they ended.
    pub done: u64,
    pub refused: u64,
    pub unsure: u64,
    pub virtual_ms: u64,
    pub memory_max: usize,
}

impl Outcome {
    pub fn is_good(&self) -> bool {
        self.violations.is_empty()
    }
}

/// Limits that a history is judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// One view after the heal, at the latest.
    pub one_view_ms: u64,
    /// Changes of opinion per node in the last minute.
    pub changes_per_minute: u64,
    /// What a node may send in a second, over `TRAFFIC_LOOKS` looks.
    pub bytes_per_s: u64,
    /// Whether records, registers and the table are looked at: a yardstick has none.
    pub has_records: bool,
}

impl Limits {
    /// After many faults at once, some of which end together; named scenarios are stricter.
    pub const OVERLAY: Self = Self {
        one_view_ms: 30_000,
        changes_per_minute: 1,
        bytes_per_s: 64 << 10,
        has_records: true,
    };
}

/// The judge of one run.
#[derive(Debug)]
pub struct Judge {
    found: Found,
    views: views::Views,
    records: records::Records,
    registers: registers::Registers,
    leases: leases::Leases,
    table: table::Table,
    limits: Limits,
    heal_ms: u64,
    end_ms: u64,
    memory_max: usize,
    /// What each host had sent, some looks ago.
    sent: Vec<u64>,
    sent_ms: u64,
    looks: u64,
    served: bool,
    tell: Option<fn(&str)>,
}

/// Violations found so far.
#[derive(Debug, Default)]
pub struct Found {
    list: Vec<Violation>,
    more: u64,
}

impl Found {
    pub fn add(&mut self, rule: &'static str, at_ms: u64, what: String) {
        if self.list.len() < VIOLATIONS_MAX {
            self.list.push(Violation { rule, at_ms, what });
        } else {
            self.more += 1;
        }
    }
}

/// Runs a history and judges it.
pub fn judge<M: Machine>(history: &History, limits: Limits) -> Outcome {
    judge_and_tell::<M>(history, limits, None)
}

/// The same, telling each note and each change of power on the way.
pub fn judge_and_tell<M: Machine>(
    history: &History,
    limits: Limits,
    tell: Option<fn(&str)>,
) -> Outcome {
    judge_with::<M>(history, limits, overlay::Rules::ALL, tell)
}

/// The same, with machines that lack some rule of safety: the judge must find out.
pub fn judge_with<M: Machine>(
    history: &History,
    limits: Limits,
    rules: overlay::Rules,
    tell: Option<fn(&str)>,
) -> Outcome {
    let mut world = World::<M>::new(history);
    world.rules = rules;
    let heal_ms = history.safety_ms;
    let end_ms = history.safety_ms + history.heal_ms;
    let mut judge = Judge {
        found: Found::default(),
        views: views::Views::new(Calendar::new(history), limits),
        records: records::Records::default(),
        registers: registers::Registers::new(Calendar::new(history)),
        leases: leases::Leases::default(),
        table: table::Table::default(),
        limits,
        heal_ms,
        end_ms,
        memory_max: 0,
        sent: Vec::new(),
        sent_ms: 0,
        looks: 0,
        served: false,
        tell,
    };
    world.wake_at(LOOK_US, LOOK);
    world.run(heal_ms * 1000, &mut judge);
    world.heal();
    judge.views.heal(world.now_ms());
    world.run(end_ms * 1000, &mut judge);
    judge.finish(&world)
}

impl Judge {
    fn finish<M: Machine>(mut self, world: &World<M>) -> Outcome {
        let found = &mut self.found;
        self.views.finish(world, found);
        if self.limits.has_records {
            self.records.finish(world, found);
            self.registers.finish(world, found);
        }
        if world.counts.oversized > 0 {
            let what = format!("{} messages", world.counts.oversized);
            found.add("I12", world.now_ms(), what);
        }
        let [done, refused, unsure] = self.registers.ended;
        Outcome {
            violations: self.found.list,
            more_violations: self.found.more,
            trace: world.trace,
            counts: world.counts,
            one_view_ms: self.views.one_view_ms,
            done,
            refused,
            unsure,
            virtual_ms: world.now_ms(),
            memory_max: self.memory_max,
        }
    }

    fn look<M: Machine>(&mut self, world: &mut World<M>) {
        self.views
            .look(world, self.records.revoked(), &mut self.found);
        self.looks += 1;
        if self.looks.is_multiple_of(TRAFFIC_LOOKS) {
            self.traffic(world);
        }
        let now_ms = world.now_ms();
        for host in &world.hosts {
            let Some(machine) = &host.machine else {
                continue;
            };
            machine.check();
            let bytes = machine.memory_bytes();
            self.memory_max = self.memory_max.max(bytes);
            if bytes > MEMORY_BYTES_MAX {
                let what = format!("host {} uses {bytes} bytes", host.place.host);
                self.found.add("I7", now_ms, what);
            }
        }
        if !self.limits.has_records {
            return;
        }
        if now_ms + EQUAL_MS >= self.end_ms {
            self.records.compare(world);
        }
        self.registers.look(world, &mut self.found);
        self.table.look(world, &mut self.found);
        if !self.served && now_ms >= self.heal_ms + SERVICE_MS {
            self.served = true;
            self.registers.serve_all(world);
            self.table.serve_all(world);
        }
    }
}

/// A record in a line, for logs.
fn gist(record: &protocol::peer::Record) -> String {
    use protocol::peer::members::Health;
    use protocol::peer::{RecordKind, SiteMembers};
    let (epoch, seq) = (record.version.epoch, record.version.seq);
    let end = if record.ended { " ended" } else { "" };
    let mut said = format!(
        "stored kind {} of {} by {} version {epoch}.{seq}{end}",
        record.key.kind.0,
        protocol::NodeId::from_bytes(record.key.subject).short(),
        record.author.short()
    );
    if record.key.kind == RecordKind::SITE_MEMBERS {
        for line in SiteMembers::lines(&record.body) {
            let health = match line.health {
                Health::Alive => "alive",
                Health::Dead => "dead",
                Health::Left => "left",
                Health::Other(_) => "?",
            };
            said += &format!(", {} {} {health}", line.node.short(), line.life);
        }
    }
    said
}

impl Judge {
    fn tell<M: Machine>(&self, world: &World<M>, host: u32, what: &dyn fmt::Debug) {
        if let Some(tell) = self.tell {
            let (s, ms) = (world.now_ms() / 1000, world.now_ms() % 1000);
            let id = world.hosts[crate::world::at(host)].id;
            tell(&format!(
                "{s:>6}.{ms:03} host {host} {}: {what:?}",
                id.short()
            ));
        }
    }

    fn traffic<M: Machine>(&mut self, world: &World<M>) {
        let sent: Vec<u64> = world
            .hosts
            .iter()
            .map(|host| host.traffic.bytes_out)
            .collect();
        for (host, (now, before)) in (0_u32..).zip(sent.iter().zip(&self.sent)) {
            let looked_ms = (world.now_ms() - self.sent_ms).max(1);
            let rate = (now - before) * 1000 / looked_ms;
            if rate > self.limits.bytes_per_s {
                let what = format!("host {host} sent {rate} bytes a second for 10 s");
                self.found.add("I7", world.now_ms(), what);
            }
        }
        self.sent = sent;
        self.sent_ms = world.now_ms();
    }
}

impl Judge {
    fn runs_twice<M: Machine>(&self, world: &World<M>, host: u32) -> bool {
        let site = crate::ids::site_of(world.hosts[crate::world::at(host)].id);
        self.registers.councils.was_double(site, world.now_ms())
    }
}

impl<M: Machine> Watch<M> for Judge {
    fn note(&mut self, world: &mut World<M>, host: u32, note: Note) {
        match &note {
            Note::Stored(record) => self.tell(world, host, &gist(record)),
            note => self.tell(world, host, note),
        }
        match note {
            Note::Opinion { of, opinion } => self.views.changed(world.now_ms(), of, opinion),
            Note::Stored(record) => self.records.stored(world, host, &record, &mut self.found),
            Note::Forgotten(key) => self.records.forgotten(host, &key),
            Note::Reborn(life) => self.views.reborn(world, host, life, &mut self.found),
            Note::Reply { ask, reply } => {
                let (revoked, found) = (self.records.revoked(), &mut self.found);
                if !self.table.reply(world, ask, &reply, revoked, found) {
                    self.registers.reply(world, host, ask, reply, found);
                }
            }
            // Two machines that use one key hold one lease until they hear of each other.
            Note::LeaseHeld { .. } | Note::LeaseTaken { .. } if self.runs_twice(world, host) => {}
            Note::LeaseHeld { epoch, .. } => {
                self.leases.held(world, host, epoch, &mut self.found);
            }
            Note::LeaseTaken { host: of, epoch } => {
                self.leases.taken(world, (of, epoch), host, &mut self.found);
            }
            Note::Cloned => self.table.cloned(world.hosts[crate::world::at(host)].id),
            Note::LeaseLost { .. } => {}
        }
    }

    fn wake(&mut self, world: &mut World<M>, tag: u64) {
        if tag == LOOK {
            self.look(world);
            // The work grows with the square of the hosts: larger clusters are looked at less often
            // until all faults have ended.
            let is_crowd = world.hosts.len() > CROWD && world.now_ms() < self.heal_ms;
            let wait_us = if is_crowd { 10 * LOOK_US } else { LOOK_US };
            let next_us =
                (world.now_us + wait_us).min(world.now_us.max(self.heal_ms * 1000) + LOOK_US);
            if next_us / 1000 <= self.end_ms {
                world.wake_at(next_us, LOOK);
            }
        }
    }

    fn work(&mut self, world: &mut World<M>, work: &Work) {
        if self.limits.has_records && !self.table.work(world, work) {
            self.records.work(world, work, &mut self.found);
            self.registers.work(world, work);
        }
    }

    fn power(&mut self, world: &mut World<M>, host: u32, on: bool) {
        self.tell(world, host, if on { &"starts" } else { &"has no power" });
        self.views.power(world, host, on);
        self.records.power(world, host, on);
        self.registers.power(world, host, on);
        self.table.power(host);
    }
}
