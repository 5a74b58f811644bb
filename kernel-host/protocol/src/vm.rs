//! Virtual machines, as the API shows them.
//!
//! Does:      the request to make one, what it was made of, its state, and how it got there.
//! Does not:  hold rules about which state follows which: `cloud` does.
//! Bounds:    those of `limits`.
//! Trusts:    a received object for nothing but its shape.
//! Start at:  `Vm`.

use crate::{ByteCount, Name, NodeId, Place, Timestamp, VmId, limits};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Where a VM stands. `running` is never said before its virtual CPUs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VmState {
    /// Accepted; its monitor process is being made for the first time.
    Creating,
    /// The monitor process exists, the guest does not run yet; also between reset and running.
    Starting,
    /// Virtual CPUs run.
    Running,
    /// Asked to stop, or its monitor process is ending.
    Stopping,
    /// No process; may be started again.
    Stopped,
    /// Ended in a way nobody asked for; `reason` says how. May be started again.
    Failed,
    /// Asked to vanish; gone as soon as its process is.
    Deleting,
    /// Its host is gone for good, and the VM with it; listed until it is deleted.
    Lost,
}

impl VmState {
    pub const ALL: [Self; 8] = [
        Self::Creating,
        Self::Starting,
        Self::Running,
        Self::Stopping,
        Self::Stopped,
        Self::Failed,
        Self::Deleting,
        Self::Lost,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Deleting => "deleting",
            Self::Lost => "lost",
        }
    }

    /// Whether the state stays as it is until somebody does something.
    pub const fn is_settled(self) -> bool {
        matches!(
            self,
            Self::Running | Self::Stopped | Self::Failed | Self::Lost
        )
    }
}

impl fmt::Display for VmState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a text is no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no state of a VM")]
pub struct BadVmState(pub String);

impl FromStr for VmState {
    type Err = BadVmState;

    fn from_str(text: &str) -> Result<Self, BadVmState> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| BadVmState(limits::shortened(text, 40)))
    }
}

/// How a VM uses its image's disk, if the image has one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskUse {
    /// One copy, shared by all VMs of the image; costs nothing.
    #[default]
    ReadOnly,
    /// Its own copy, which lives as long as the VM and costs its size in memory.
    Private,
    /// Not attached.
    None,
}

impl DiskUse {
    pub const ALL: [Self; 3] = [Self::ReadOnly, Self::Private, Self::None];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "read_only",
            Self::Private => "private",
            Self::None => "none",
        }
    }
}

/// What a VM is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmSpec {
    pub image: Name,
    pub vcpus: u8,
    pub memory: ByteCount,
    /// Kernel arguments, put behind those of the image.
    pub cmdline: String,
    pub disk: DiskUse,
}

/// A request to make a VM. Unknown fields are refused: a typo must not be ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewVm {
    pub name: Name,
    pub image: Name,
    #[serde(default = "default_vcpus")]
    pub vcpus: u8,
    #[serde(default = "default_memory")]
    pub memory: ByteCount,
    #[serde(default)]
    pub cmdline: String,
    #[serde(default)]
    pub disk: DiskUse,
}

pub const fn default_vcpus() -> u8 {
    1
}

pub const fn default_memory() -> ByteCount {
    ByteCount::mib(128)
}

impl NewVm {
    /// A VM with the usual size.
    pub fn new(name: Name, image: Name) -> Self {
        Self {
            name,
            image,
            vcpus: default_vcpus(),
            memory: default_memory(),
            cmdline: String::new(),
            disk: DiskUse::default(),
        }
    }

    pub fn spec(self) -> (Name, VmSpec) {
        let Self {
            name,
            image,
            vcpus,
            memory,
            cmdline,
            disk,
        } = self;
        (
            name,
            VmSpec {
                image,
                vcpus,
                memory,
                cmdline,
                disk,
            },
        )
    }
}

/// A step on the way of the newest start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VmStageName {
    /// The request was accepted.
    Asked,
    /// The monitor process runs in its jail.
    VmmStarted,
    /// Virtual CPUs entered the guest.
    GuestRunning,
    /// The guest wrote its first byte to its console.
    FirstOutput,
}

impl VmStageName {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::VmmStarted => "vmm_started",
            Self::GuestRunning => "guest_running",
            Self::FirstOutput => "first_output",
        }
    }
}

/// When a step happened, in milliseconds after `asked`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmStage {
    pub stage: VmStageName,
    pub at_ms: u64,
}

/// A virtual machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vm {
    pub id: VmId,
    pub name: Name,
    pub node: NodeId,
    pub spec: VmSpec,
    pub state: VmState,
    /// Why it is in this state, if that is not plain.
    pub reason: Option<String>,
    pub created_at: Timestamp,
    /// When `state` last changed.
    pub changed_at: Timestamp,
    /// How often a monitor process was made for it.
    pub starts: u32,
    /// How often its guest was reset since it was made, by itself or by request.
    pub resets: u32,
    /// The steps of the newest start; only its host knows them.
    pub timeline: Vec<VmStage>,
    /// How to point at it: its name, or `name~site` while another VM has the same name.
    #[serde(default)]
    pub label: Option<String>,
    /// Its host, and how fresh all this is.
    #[serde(default)]
    pub place: Option<Place>,
}
