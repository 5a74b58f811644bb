//! The ledger: who drew what, in whole microjoules, and the sum is the host.
//!
//! Does:      charges intervals to accounts; totals only grow, over restarts too; daily sheets.
//! Does not:  measure (`fusion`), sign (the caller does), or keep anything by itself: it gives
//!            and takes checkpoints as bytes.
//! Bounds:    `ACCOUNTS_MAX` accounts; a further one's energy is `Unknown`. Totals are `u64`
//!            microjoules: 580 years at 1 kW.
//! Trusts:    no checkpoint whose accounts do not sum to its host.
//! Start at:  `Ledger::charge`.

pub mod idle;
pub mod share;
pub mod sheet;
pub mod slices;

pub use idle::Idle;
pub use share::{Claim, Interval, Part, Shared};
pub use sheet::{BadSheet, DayRow, DaySheet};
pub use slices::{Slice, Slices, Topology, Total, Used};

use protocol::{Microjoules, VmId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Accounts of one node: all VMs of a day, its services, and the fixed ones.
pub const ACCOUNTS_MAX: usize = 4096;
/// How wrong the sharing itself may be, one standard deviation. On the made-up machines of
/// `tests/attribution.rs` it is a hundredth; on real ones HaPPy found 7.5 %.
pub const SHARING_SIGMA_PPM: u32 = 75_000;
/// A bar that holds nine of ten truths is this many standard deviations, in thousandths.
const NINE_OF_TEN: u64 = 1645;

/// Who energy is charged to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Account {
    Vm(VmId),
    /// A part of LUC OS itself.
    Service(Service),
    /// VMs that were deleted, after their last day was told.
    Gone,
    /// What the machine draws for vCPUs that nobody has.
    Unsold,
    /// The kernel, programs that are not ours, and what nobody could be charged for.
    Unknown,
}

/// A part of LUC OS that costs energy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Service {
    /// PID 1: supervision, devices, consoles.
    Init,
    /// Overlay, API, network, storage.
    Node,
    /// The reading of meters and this accounting.
    Energy,
}

impl Service {
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Node => "node",
            Self::Energy => "energy",
        }
    }
}

/// What an account drew since the ledger was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// For work.
    pub active: Microjoules,
    /// For being kept ready: its part of the idle machine.
    pub idle: Microjoules,
    /// One standard deviation of the sum.
    pub sigma: Microjoules,
}

impl Row {
    #[must_use]
    pub fn total(&self) -> Microjoules {
        self.active.saturating_add(self.idle)
    }

    /// The bar that holds nine of ten truths, to either side.
    #[must_use]
    pub fn bar(&self) -> Microjoules {
        let bar = u128::from(self.sigma.0) * u128::from(NINE_OF_TEN) / 1000;
        Microjoules(u64::try_from(bar).unwrap_or(u64::MAX))
    }

    fn add(&mut self, part: Part, sigma_ppm: u32) {
        self.active = self.active.saturating_add(part.active);
        self.idle = self.idle.saturating_add(part.idle);
        let whole = part.active.saturating_add(part.idle);
        // Errors of one meter point one way: they add up, they do not average out.
        let sigma = u128::from(whole.0) * u128::from(sigma_ppm) / 1_000_000;
        let sigma = Microjoules(u64::try_from(sigma).unwrap_or(u64::MAX));
        self.sigma = self.sigma.saturating_add(sigma);
    }

    fn merge(&mut self, other: Self) {
        self.active = self.active.saturating_add(other.active);
        self.idle = self.idle.saturating_add(other.idle);
        self.sigma = self.sigma.saturating_add(other.sigma);
    }

    fn minus(self, before: Self) -> Self {
        Self {
            active: self.active.saturating_sub(before.active),
            idle: self.idle.saturating_sub(before.idle),
            sigma: self.sigma.saturating_sub(before.sigma),
        }
    }
}

/// Why a checkpoint was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCheckpoint {
    #[error("the energy ledger's checkpoint is damaged: {why}")]
    Damaged { why: &'static str },
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Grows with each opening; totals of an epoch never shrink, and go on in the next.
    epoch: u32,
    host: Microjoules,
    rows: BTreeMap<Account, Row>,
    /// Rows as they stood when the last daily sheet was made.
    told: BTreeMap<Account, Row>,
    day: u32,
    /// Accounts that get nothing more.
    closed: Vec<VmId>,
}

impl Ledger {
    #[must_use]
    pub fn new() -> Self {
        Self {
            epoch: 1,
            ..Self::default()
        }
    }

    /// Goes on from a checkpoint, in a new epoch.
    ///
    /// # Errors
    /// When the bytes are no checkpoint; a new ledger then begins at zero.
    pub fn restore(bytes: &[u8]) -> Result<Self, BadCheckpoint> {
        let damaged = |why| BadCheckpoint::Damaged { why };
        let bytes = bytes
            .strip_prefix(CHECKPOINT)
            .ok_or(damaged("it has another form"))?;
        let mut ledger: Self =
            postcard::from_bytes(bytes).map_err(|_| damaged("its bytes end or make no sense"))?;
        if ledger.rows.len() > ACCOUNTS_MAX || ledger.closed.len() > ACCOUNTS_MAX {
            return Err(damaged("it has too many accounts"));
        }
        let whole = |row: &Row| u128::from(row.active.0) + u128::from(row.idle.0);
        let sum: u128 = ledger.rows.values().map(whole).sum();
        if sum != u128::from(ledger.host.0) {
            return Err(damaged("its accounts do not sum to its host"));
        }
        let told = |(account, told): (&Account, &Row)| {
            let row = ledger.rows.get(account).copied().unwrap_or_default();
            told.active <= row.active && told.idle <= row.idle
        };
        if !ledger.told.iter().all(told) {
            return Err(damaged("more was told than was drawn"));
        }
        ledger.epoch = ledger
            .epoch
            .checked_add(1)
            .ok_or(damaged("its epochs are used up"))?;
        Ok(ledger)
    }

    /// All of it as bytes, for a disk.
    #[must_use]
    pub fn checkpoint(&self) -> Vec<u8> {
        // Maps and integers: postcard has no reason to refuse them.
        let body = postcard::to_allocvec(self).unwrap_or_default();
        [CHECKPOINT, &body].concat()
    }

    /// Charges one interval.
    pub fn charge(
        &mut self,
        interval: &Interval,
        sigma_ppm: u32,
        claims: &[(Account, Claim)],
    ) -> Shared {
        let plain: Vec<Claim> = claims.iter().map(|(_, claim)| *claim).collect();
        let shared = share::shared(interval, &plain);
        let active_ppm = both(sigma_ppm, SHARING_SIGMA_PPM);
        for ((account, _), part) in claims.iter().zip(&shared.parts) {
            self.add(*account, *part, active_ppm);
        }
        let idle = |energy| Part {
            idle: energy,
            ..Part::default()
        };
        let active = |energy| Part {
            active: energy,
            ..Part::default()
        };
        self.add(Account::Unsold, idle(shared.unsold), sigma_ppm);
        self.add(Account::Unknown, active(shared.unknown), active_ppm);
        self.host = self.host.saturating_add(interval.host);
        shared
    }

    fn add(&mut self, account: Account, part: Part, sigma_ppm: u32) {
        let full = self.rows.len() >= ACCOUNTS_MAX && !self.rows.contains_key(&account);
        let account = if full { Account::Unknown } else { account };
        self.rows.entry(account).or_default().add(part, sigma_ppm);
    }

    /// The VM is deleted: its row joins `Gone` once its last day was told.
    pub fn close(&mut self, vm: VmId) {
        let known = self.rows.contains_key(&Account::Vm(vm));
        if known && !self.closed.contains(&vm) && self.closed.len() < ACCOUNTS_MAX {
            self.closed.push(vm);
        }
    }

    /// The sheet of what was drawn since the last one, when a day is over; days since 1970 in UTC.
    /// Without a clock that was set there are no sheets. A clock that goes back makes none either.
    pub fn day_is(&mut self, day: u32, node: protocol::NodeId) -> Option<DaySheet> {
        if self.day == 0 || day <= self.day {
            self.day = self.day.max(day);
            return None;
        }
        let changed = |(account, row): (&Account, &Row)| {
            let before = self.told.get(account).copied().unwrap_or_default();
            let row = row.minus(before);
            (row != Row::default()).then_some(DayRow {
                account: *account,
                row,
            })
        };
        let sheet = DaySheet {
            node,
            epoch: self.epoch,
            day: self.day,
            rows: self.rows.iter().filter_map(changed).collect(),
        };
        self.day = day;
        for vm in std::mem::take(&mut self.closed) {
            if let Some(row) = self.rows.remove(&Account::Vm(vm)) {
                self.rows.entry(Account::Gone).or_default().merge(row);
            }
        }
        // What was just told of a VM is not told again when it is `Gone`'s.
        self.told = self.rows.clone();
        Some(sheet)
    }

    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    #[must_use]
    pub fn host(&self) -> Microjoules {
        self.host
    }

    #[must_use]
    pub fn row(&self, account: Account) -> Row {
        self.rows.get(&account).copied().unwrap_or_default()
    }

    pub fn rows(&self) -> impl Iterator<Item = (Account, Row)> + '_ {
        self.rows.iter().map(|(account, row)| (*account, *row))
    }
}

/// What a checkpoint begins with.
const CHECKPOINT: &[u8] = b"luc energy ledger 1\0";

/// Two independent errors together.
fn both(a: u32, b: u32) -> u32 {
    let sum = u64::from(a) * u64::from(a) + u64::from(b) * u64::from(b);
    u32::try_from(sum.isqrt()).unwrap_or(u32::MAX)
}
