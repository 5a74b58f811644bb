//! Bugs that others had in public, as histories: each must not happen here.
//!
//! Does:      one named history, or a few, for each of the twenty families of reports.
//! Does not:  judge in a way of its own: `checks` does, with limits that a scenario may tighten.
//! Bounds:    seconds of a processor each; those marked long are not part of the test command.
//! Trusts:    `checks`.
//! Start at:  `SCENARIOS`.

mod cuts;
mod identity;
mod records;
pub mod script;

use crate::checks::{Limits, Outcome, judge};
use crate::history::History;
use crate::machine::Machine;

/// A story that once went wrong elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    /// The family of reports, by its row in the research.
    pub family: u8,
    pub says: &'static str,
    pub make: fn(u64) -> History,
    pub limits: Limits,
    pub is_long: bool,
}

/// The limits when no host starts at the heal: a cut alone must be forgotten in 10 s.
const AFTER_A_CUT: Limits = Limits {
    one_view_ms: 10_000,
    ..Limits::OVERLAY
};

/// The limits otherwise.
const AFTER_FAULTS: Limits = Limits {
    one_view_ms: 30_000,
    ..Limits::OVERLAY
};

/// 200 new records meet a loss of 20 %: what mends others has a budget beside that of broadcasts.
const WHILE_MENDING: Limits = Limits {
    bytes_per_s: 96 << 10,
    ..AFTER_FAULTS
};

const fn row(
    name: &'static str,
    family: u8,
    make: fn(u64) -> History,
    says: &'static str,
) -> Scenario {
    Scenario {
        name,
        family,
        says,
        make,
        limits: AFTER_FAULTS,
        is_long: false,
    }
}

impl Scenario {
    const fn within(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    const fn long(mut self) -> Self {
        self.is_long = true;
        self
    }

    pub fn run<M: Machine>(&self, seed: u64) -> Outcome {
        judge::<M>(&(self.make)(seed), self.limits)
    }
}

#[rustfmt::skip]
pub const SCENARIOS: &[Scenario] = &[
    row("mass-restart", 1, identity::mass_restart, "all restart within a minute, half without their disks: all alive everywhere 30 s later"),
    row("replaced-node", 2, identity::replaced_node, "new key at an old address, old key at a new address: neither is refused"),
    row("cloned-disk", 3, identity::cloned_disk, "two nodes boot from one disk image: nobody else is called dead"),
    row("restarts", 4, identity::restarts, "120 restarts of 20 nodes in three minutes: tables hold the living and a bounded number of dead"),
    row("thousand-restarts", 4, identity::thousand_restarts, "1,000 restarts of 50 nodes: tables hold the living and a bounded number of dead").long(),
    row("dead-stay-dead", 5, identity::dead_stay_dead, "nodes vanish for good at different times: nobody learns them again from others"),
    row("large-resync", 6, records::large_resync, "a resync of many datagrams under 20 % loss does not revive what was deleted").within(WHILE_MENDING),
    row("deleted-while-away", 7, records::deleted_while_away, "a holder returns with its old disk: the deleted VM does not"),
    row("old-machine", 8, identity::old_machine, "400 days of uptime, then a reboot"),
    row("wrong-clocks", 9, identity::wrong_clocks, "1970, ten years ahead, an hour back, 1 % drift"),
    row("cut-1-min-50-50", 10, cuts::minute_halves, "half against half for a minute: one view within 10 s").within(AFTER_A_CUT),
    row("cut-1-min-99-1", 10, cuts::minute_one, "one node against the rest for a minute: one view within 10 s").within(AFTER_A_CUT),
    row("cut-1-h-50-50", 10, cuts::hour_halves, "half against half for an hour, nobody is told of others: one view within 10 s").within(AFTER_A_CUT),
    row("cut-1-h-99-1", 10, cuts::hour_one, "one node against the rest for an hour").within(AFTER_A_CUT).long(),
    row("cut-7-d-50-50", 10, cuts::week_halves, "half against half for a week").within(AFTER_A_CUT).long(),
    row("born-apart", 10, cuts::born_apart, "two halves start without ever having met").within(AFTER_A_CUT),
    row("bridge", 11, cuts::bridge, "two groups that only meet through one node: writes go on"),
    row("chain", 11, cuts::chain, "each node only reaches its neighbours in a row"),
    row("stalled-disk", 11, records::stalled_disk, "a guardian's disk stands still for 60 s"),
    row("revoked-while-cut", 12, identity::revoked_while_cut, "a key is revoked while a site is cut off and a node is down: nobody who hears of it takes its word"),
    row("lying-node", 12, identity::lying_node, "a node sends records and tombstones in the name of others: nobody takes them"),
    row("paused-host", 13, records::paused_host, "a host stands still for ten times its lease and goes on"),
    row("all-links-cut", 14, cuts::all_links, "no link at all for an hour: all is found again without seeds").within(AFTER_A_CUT),
    row("mad-distances", 15, cuts::mad_distances, "travel times of nothing and of seconds"),
    row("datagrams-blocked", 16, cuts::datagrams_blocked, "UDP blocked, TCP open, and the other way round"),
    row("black-hole", 16, cuts::black_hole, "datagrams above 1,280 bytes vanish"),
    row("one-way", 16, cuts::one_way, "a node hears and is not heard: nobody else suffers"),
    row("flapping-link", 16, cuts::flapping, "30 s on, 30 s off: no node that is well is called dead"),
    row("large-record", 17, records::large_record, "the largest record arrives everywhere"),
    row("no-seeds", 18, identity::no_seeds, "a whole site starts from its disks, and no seed answers"),
    row("join-storm", 19, identity::join_storm, "everybody starts in the same second"),
    row("unknown-kinds", 19, records::unknown_kinds, "records of a later version are kept and passed on"),
    row("poison-record", 20, records::poison, "a record that makes no sense spreads to everybody and harms nobody"),
];

/// The scenario with this name.
pub fn named(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}
