//! Where a thing is, and how fresh that knowledge is.
//!
//! Does:      the host of a VM or image as the answering node knows it; sites; joiners that wait.
//! Does not:  decide who is alive (`overlay`) or what follows from it (`cloud`).
//! Bounds:    `limits::NODE_NAME_CHARS_MAX` of a node's name.
//! Trusts:    a received object for nothing but its shape.
//! Start at:  `Place`.

use crate::{ByteCount, Name, NodeId, Selector, SiteId, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Which node or site a request is for. Nothing said: whoever fits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    pub node: Option<Selector>,
    pub site: Option<Name>,
}

impl Wish {
    pub fn is_none(&self) -> bool {
        self.node.is_none() && self.site.is_none()
    }
}

/// Where a thing is, as the answering node knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub node: NodeId,
    /// The node's name; its id if the name is not known.
    pub name: String,
    /// Nodes without a cluster have none.
    pub site: Option<Name>,
    pub reachable: bool,
    /// How long ago the host was last known to be alive; what is told was true then. `null`: the
    /// host itself answered.
    pub age_ms: Option<u64>,
}

/// What a node's neighbours say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    Alive,
    /// Does not answer; it may be slow.
    Suspect,
    /// Does not answer its site.
    Dead,
    /// Said goodbye.
    Left,
    /// Nobody of its site answers: nobody knows.
    Unreachable,
}

impl Standing {
    pub const ALL: [Self; 5] = [
        Self::Alive,
        Self::Suspect,
        Self::Dead,
        Self::Left,
        Self::Unreachable,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Dead => "dead",
            Self::Left => "left",
            Self::Unreachable => "unreachable",
        }
    }

    /// Whether asking it makes sense.
    pub const fn may_answer(self) -> bool {
        matches!(self, Self::Alive | Self::Suspect)
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a node has and uses, as it said last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    pub cpus: u32,
    /// Virtual CPUs of VMs that run.
    pub vcpus: u32,
    /// For VMs and images together.
    pub memory: ByteCount,
    /// What of that is promised.
    pub reserved: ByteCount,
    /// How busy its processors are, in thousandths of all of them.
    pub load_permille: u32,
    pub vms: u32,
    pub images: u32,
    /// Virtual machines can run here.
    pub kvm: bool,
}

impl Capacity {
    pub fn free(&self) -> ByteCount {
        self.memory.saturating_sub(self.reserved)
    }

    /// How full it is, in thousandths: the scarcer of memory and processors.
    pub fn fullness_permille(&self) -> u64 {
        let share = |part: u64, whole: u64| match whole {
            0 => 1000,
            _ => part.saturating_mul(1000) / whole,
        };
        let memory = share(self.reserved.get(), self.memory.get());
        let vcpus = share(u64::from(self.vcpus), u64::from(self.cpus));
        memory.max(vcpus).max(u64::from(self.load_permille))
    }
}

/// A node of the cluster, as the answering node knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeEntry {
    pub id: NodeId,
    pub name: String,
    pub site: Option<Name>,
    pub state: Standing,
    /// Why, if that is not plain.
    pub reason: Option<String>,
    /// Where other nodes reach it.
    pub address: Option<String>,
    /// How often its machine has booted with this identity.
    pub boots: u32,
    /// `null`: it said nothing yet.
    pub capacity: Option<Capacity>,
    /// Age of this knowledge. `null`: first-hand, by the node itself or by one of its site.
    pub age_ms: Option<u64>,
}

/// A site, as the answering node knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteEntry {
    pub id: SiteId,
    pub name: Name,
    /// Some node of it answers.
    pub reachable: bool,
    pub nodes: u32,
    pub alive: u32,
    /// VMs on its nodes that are alive.
    pub vms: u32,
    /// Memory that its nodes that are alive have left.
    pub free: ByteCount,
    /// A round trip from the answering node: measured, or guessed from others' measurements.
    /// `null`: its own site, or not known.
    pub round_trip_us: Option<u64>,
    /// Age of this knowledge. `null`: the answering node's own site.
    pub age_ms: Option<u64>,
}

/// A machine that asks to join, and has no right that nodes can check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingNode {
    /// What its own screen shows, and what `approve` takes.
    pub code: String,
    /// `null`, as all below: nobody with this code waits at the answering node; the nodes of its
    /// site let the machine in when it asks again.
    pub node: Option<NodeId>,
    pub site: Option<Name>,
    pub address: Option<String>,
    /// The name that it asks for.
    pub machine: Option<String>,
    pub waiting_ms: u64,
}

/// A request to let a waiting machine in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approve {
    pub code: String,
}

/// Something that the cluster's owner signed at home, handed to any node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnerWord {
    /// `luc-word-...`: no secret.
    pub word: String,
}

/// An owner's word that counts from now on, and spreads to all nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerWordTaken {
    /// What it says, for people.
    pub what: String,
}

/// Something that a node saw happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Counts the events of the node that answers.
    pub seq: u64,
    pub at: Timestamp,
    /// `node`, `site`, `vm`, `image` or `cluster`.
    pub kind: String,
    /// The node that it is about, or that the thing is on.
    pub node: Option<NodeId>,
    /// Name of what it is about.
    pub subject: String,
    pub text: String,
}

/// Events after the one asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventPage {
    pub items: Vec<Event>,
    /// The `after` of the next request.
    pub next: u64,
    /// Events in between that the node no longer has.
    pub missed: u64,
}
