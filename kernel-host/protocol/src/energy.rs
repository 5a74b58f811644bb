//! What a node draws and who it is charged to, as the API shows it.
//!
//! Does:      power and energy in whole micro-units, each with the bar that holds nine of ten
//!            truths; the meters and why one is silent.
//! Start at:  `NodeEnergy`.

use crate::{Microjoules, Microwatts, NodeId, Timestamp, VmId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Who an amount is charged to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnergyKind {
    Vm,
    /// A part of LUC OS itself.
    Service,
    /// VMs that were deleted.
    Gone,
    /// The idle machine, for vCPUs that nobody has.
    Unsold,
    /// The kernel, and what nobody could be charged for.
    Unknown,
}

impl EnergyKind {
    pub const ALL: [Self; 5] = [
        Self::Vm,
        Self::Service,
        Self::Gone,
        Self::Unsold,
        Self::Unknown,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vm => "vm",
            Self::Service => "service",
            Self::Gone => "gone",
            Self::Unsold => "unsold",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for EnergyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One account of a node's ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnergyAccount {
    pub kind: EnergyKind,
    /// Of the VM or the service; of the others what they are.
    pub name: String,
    pub vm: Option<VmId>,
    /// In the last interval.
    pub power_uw: Microwatts,
    /// For work, since the ledger was opened.
    pub active_uj: Microjoules,
    /// For being kept ready.
    pub idle_uj: Microjoules,
    /// Nine of ten truths lie within this of the sum.
    pub bar_uj: Microjoules,
}

impl EnergyAccount {
    pub const fn energy(&self) -> Microjoules {
        self.active_uj.saturating_add(self.idle_uj)
    }
}

/// One meter of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnergySource {
    pub name: String,
    /// `new`, `good`, `failing` or `quarantined`.
    pub state: String,
    /// Why its last round failed, and what to do.
    pub detail: Option<String>,
    /// What its last round said, all zones of this machine's own sum together.
    pub power_uw: Option<Microwatts>,
    /// Since it was last heard.
    pub age_ms: Option<u64>,
    pub rounds: u64,
    pub faults: u64,
}

/// What a node draws. The accounts' energies sum to `energy_uj`, to the microjoule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeEnergy {
    pub node: NodeId,
    pub name: String,
    pub now: Timestamp,
    /// Grows when the ledger is opened anew; energies never shrink.
    pub epoch: u32,
    /// Length of the last interval; zero before the first one.
    pub interval_ms: u64,
    pub power_uw: Microwatts,
    /// Nine of ten truths lie within this of `power_uw`.
    pub bar_uw: Microwatts,
    /// Where the power comes from: `wall`, `board`, `rapl`, `fitted`, `curve` or `guess`.
    pub class: String,
    /// Why that and nothing better.
    pub reason: String,
    /// Two meters have disagreed by more than 15 % for five minutes.
    pub alarm: bool,
    pub load_permille: u32,
    /// What it draws without load.
    pub idle_uw: Microwatts,
    pub energy_uj: Microjoules,
    pub accounts: Vec<EnergyAccount>,
    pub sources: Vec<EnergySource>,
}
