//! The accountant: readings and processor time in, a ledger that sums to the host out.
//!
//! Does:      one interval at each tick: host power by `fusion`, idle by its lower edge, weights
//!            by threads, and the charge; keeps the last interval for whoever asks what is now.
//! Does not:  read meters or /proc, or decide when to tick.
//! Bounds:    those of its parts.
//! Trusts:    the caller's clock and counters as `Slices` does.
//! Start at:  `Accountant::tick`.

use crate::fusion::{Fusion, Host};
use crate::ledger::{Account, Claim, Idle, Interval, Ledger, Part};
use crate::ledger::{Slice, Slices, Topology, Total};
use crate::meter::{Class, Uptime};
use protocol::{Microjoules, Microwatts};

/// What the machine is.
#[derive(Debug, Clone)]
pub struct Machine {
    pub topology: Topology,
    /// Logical processors: also the vCPUs it can be sold as.
    pub threads: u32,
    /// What a model says it draws without load.
    pub idle_guess: Microwatts,
}

/// What the caller saw since the tick before.
#[derive(Debug, Clone, Copy)]
pub struct Tick<'a> {
    pub now: Uptime,
    /// `now` on the clock of the threads' `began`.
    pub began_clock: u64,
    pub slices: &'a [Slice],
    pub totals: &'a [Total],
    /// vCPUs that are kept for each account.
    pub reserved: &'a [(Account, u32)],
    /// Busy time of all processors since the machine started.
    pub busy_ns: u64,
    /// What a model says of the load since the tick before, and how good it is.
    pub model: Microwatts,
    pub model_class: Class,
}

/// The last interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Last {
    pub host: Host,
    pub load_ppm: u32,
    pub idle: Microwatts,
    pub parts: Vec<(Account, Part)>,
    pub unsold: Microjoules,
    pub unknown: Microjoules,
}

/// See the module.
#[derive(Debug)]
pub struct Accountant {
    pub fusion: Fusion,
    pub ledger: Ledger,
    machine: Machine,
    idle: Idle,
    slices: Slices,
    before: Option<(Uptime, u64, u64)>,
    last: Option<Last>,
}

impl Accountant {
    #[must_use]
    pub fn new(machine: Machine, ledger: Ledger) -> Self {
        Self {
            fusion: Fusion::default(),
            ledger,
            idle: Idle::new(machine.idle_guess),
            machine,
            slices: Slices::default(),
            before: None,
            last: None,
        }
    }

    /// Busy time over what there was since the last tick, in millionths: what a model wants.
    #[must_use]
    pub fn load_ppm(&self, now: Uptime, busy_ns: u64) -> u32 {
        let Some((then, _, before)) = self.before else {
            return 0;
        };
        let could = u128::from(now.since(then)) * u128::from(self.machine.threads.max(1));
        let busy = u128::from(busy_ns.saturating_sub(before)) * 1_000_000;
        let load = busy.checked_div(could).unwrap_or(0).min(1_000_000);
        u32::try_from(load).unwrap_or(0)
    }

    /// Charges the interval since the tick before; the first one only begins.
    pub fn tick(&mut self, tick: &Tick<'_>) -> Option<&Last> {
        let load_ppm = self.load_ppm(tick.now, tick.busy_ns);
        let before = self
            .before
            .replace((tick.now, tick.began_clock, tick.busy_ns));
        let host = self.fusion.host(tick.now, tick.model, tick.model_class);
        let (then, since_began, busy_before) = before.unwrap_or_default();
        let over_ns = tick.now.since(then);
        let used = self.slices.take(
            &self.machine.topology,
            over_ns,
            since_began,
            tick.slices,
            tick.totals,
        );
        let host = host?;
        if let Some(power) = host.energy.over(over_ns) {
            self.idle.see(power, load_ppm, over_ns);
        }
        let claimed: u64 = used
            .values()
            .fold(0, |sum, used| sum.saturating_add(used.cpu_ns));
        let busy = tick.busy_ns.saturating_sub(busy_before);
        let mut claims: Vec<(Account, Claim)> = used
            .iter()
            .map(|(account, used)| {
                let claim = Claim {
                    weight: used.weight,
                    reserved: 0,
                };
                (*account, claim)
            })
            .collect();
        for (account, reserved) in tick.reserved {
            match claims.iter_mut().find(|(known, _)| known == account) {
                Some((_, claim)) => claim.reserved = *reserved,
                None => claims.push((
                    *account,
                    Claim {
                        weight: 0,
                        reserved: *reserved,
                    },
                )),
            }
        }
        let interval = Interval {
            host: host.energy,
            idle: self.idle.power().during(over_ns),
            unclaimed: busy.saturating_sub(claimed),
            capacity: self.machine.threads,
        };
        let shared = self.ledger.charge(&interval, host.sigma_ppm, &claims);
        let accounts = claims.iter().map(|(account, _)| *account);
        self.last = Some(Last {
            host,
            load_ppm,
            idle: self.idle.power(),
            parts: accounts.zip(shared.parts).collect(),
            unsold: shared.unsold,
            unknown: shared.unknown,
        });
        self.last.as_ref()
    }

    #[must_use]
    pub fn last(&self) -> Option<&Last> {
        self.last.as_ref()
    }
}
