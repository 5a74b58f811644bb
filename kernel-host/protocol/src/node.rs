//! A node, as the API shows it.
//!
//! Does:      who it is, how it is reached, what it has and what its own processes use.
//! Start at:  `Node`.

use crate::{ByteCount, NodeId, Timestamp};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// Where a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Not everything works yet.
    Starting,
    /// Takes work.
    Ready,
    /// Takes requests, but something is missing; `reason` says what.
    Degraded,
    /// Powers off or reboots.
    GoingDown,
}

impl NodeState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::GoingDown => "going_down",
        }
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A step of the boot, in milliseconds of the kernel's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootStage {
    pub stage: String,
    pub at_ms: u64,
}

/// An address of the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAddress {
    pub nic: String,
    /// Address and prefix length, such as `192.0.2.7/24`.
    pub address: String,
    pub gateway: Option<String>,
}

/// A node's memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeMemory {
    pub total: ByteCount,
    /// What the kernel says could still be given out.
    pub available: ByteCount,
    /// What VMs, private disks and images may use together.
    pub for_guests: ByteCount,
    /// What of that is promised.
    pub reserved: ByteCount,
}

/// Whether virtual machines can run here; found out by running one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvmStatus {
    pub usable: bool,
    /// If not: why, and what to do.
    pub detail: Option<String>,
}

/// What one of our own processes uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessUse {
    pub name: String,
    pub pid: u32,
    pub resident: ByteCount,
    pub open_files: u32,
}

/// A server running the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub id: NodeId,
    pub name: String,
    pub version: String,
    pub kernel: String,
    pub state: NodeState,
    pub reason: Option<String>,
    pub addresses: Vec<NodeAddress>,
    /// What the node's own wall clock says.
    pub now: Timestamp,
    pub uptime_ms: u64,
    pub timeline: Vec<BootStage>,
    pub cpus: u32,
    pub memory: NodeMemory,
    pub kvm: KvmStatus,
    pub vms: u32,
    pub images: u32,
    pub processes: Vec<ProcessUse>,
    pub counters: BTreeMap<String, u64>,
}

/// The answer to a request to power off or reboot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PowerReply {
    pub node: NodeId,
    pub state: NodeState,
}
