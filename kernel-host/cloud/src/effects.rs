//! What the core asks of the node, and what the node tells the core.
//!
//! Does:      names each output and event, and says what the node owes for it.
//! Start at:  `Output`.

use crate::Publication;
use protocol::{ByteCount, Digest, Name, VmId, VmState};

/// What the node has to do, in this order. None of them is for a VM after its `ForgetVm`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Make a monitor process. Owed: events of this `vm` and `run`, and at last one `Exited`,
    /// also if the process could not be made.
    SpawnVm(Launch),
    /// Tell the guest to shut down.
    PressPowerButton { vm: VmId, run: u32 },
    /// Reset the guest. Owed: `GuestReset`, then `Running`, or the `Exited` of the process.
    ResetVm { vm: VmId, run: u32 },
    /// End the process at once. Owed: `Exited`. May come more than once.
    KillVm { vm: VmId, run: u32 },
    /// The VM is gone, its process too: drop its console and its private disk.
    ForgetVm { vm: VmId, name: Name },
    /// A VM's state changed; for the node's own screen and log.
    VmChanged {
        vm: VmId,
        name: Name,
        state: VmState,
        reason: Option<String>,
    },
    /// Make room for the bytes of a blob. If storing fails now or later: `BlobFailed`.
    CreateBlob { digest: Digest, size: u64 },
    /// Store these bytes at the end of what is there.
    AppendBlob {
        digest: Digest,
        offset: u64,
        bytes: Vec<u8>,
    },
    /// All bytes are there and right: make them immutable.
    SealBlob { digest: Digest },
    /// Give the room back.
    DropBlob { digest: Digest },
    /// Tell the cluster. Asked for only after `Cloud::start_publishing`.
    Publish(Publication),
}

/// Everything a monitor process needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    pub vm: VmId,
    /// Counts the processes of this VM from 1.
    pub run: u32,
    pub name: Name,
    pub vcpus: u8,
    pub memory: ByteCount,
    /// The image's kernel arguments, then the VM's.
    pub cmdline: String,
    pub kernel: Digest,
    pub initrd: Option<Digest>,
    pub disk: Option<Disk>,
}

/// The disk of a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    pub blob: Digest,
    /// The VM writes to its own copy, made at its first start and kept until `ForgetVm`.
    pub private: bool,
}

/// What happened outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Vm {
        vm: VmId,
        run: u32,
        what: VmEvent,
    },
    /// The bytes of a blob could not be stored; it is dropped.
    BlobFailed {
        digest: Digest,
    },
    /// The node may use this much memory for guests and images from now on.
    Capacity(ByteCount),
    /// What the machine itself is like by now.
    Machine {
        cpus: u32,
        load_permille: u32,
        kvm: bool,
    },
}

/// What happened to one monitor process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VmEvent {
    /// It runs in its jail.
    VmmStarted,
    /// Virtual CPUs entered the guest, for the first time or after a reset.
    Running,
    /// The guest wrote its first byte.
    FirstOutput,
    /// The guest was reset. Either `Running` follows, or `Exited` and then the core asks for a
    /// new process.
    GuestReset,
    /// The guest switched itself off; `Exited` follows.
    GuestShutdown,
    /// The guest's CPU gave up. The core asks to kill the process.
    TripleFault,
    /// The monitor gave up; `Exited` follows, by itself or by the kill that the core asks for.
    Failed { stage: String, reason: String },
    /// The process is gone and everything it used is free.
    Exited(Ended),
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    Code(i32),
    Signal(i32),
    /// It could not even be made.
    NeverStarted(String),
}
