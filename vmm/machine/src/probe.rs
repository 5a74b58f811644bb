//! Can this host run virtual machines? Asked by running one, of three instructions.
//!
//! A `/dev/kvm` that opens proves little: under some hypervisors it is there, creates machines,
//! and fails or hangs when one runs.

use std::fs::OpenOptions;
use std::io;
use std::sync::mpsc;
use std::time::Duration;

use kvm_bindings::kvm_regs;
use kvm_ioctls::{VcpuExit, VcpuFd};
use virtio::Memory;
use vm_memory::{Bytes, GuestAddress};

use crate::vm::{BuildError, create_vm, open_kvm};
use crate::{child, memory};

/// Three instructions under the slowest emulation take milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);
const CODE: u64 = 0x1000;
const PORT: u16 = 0x10;
const ANSWER: u8 = 42;

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum KvmProblem {
    /// No device node.
    #[error("/dev/kvm does not exist")]
    Absent,
    /// This user may not.
    #[error("/dev/kvm may not be opened by this user")]
    Forbidden,
    /// Opening failed otherwise.
    #[error("Opening /dev/kvm")]
    Open {
        /// Why.
        source: io::Error,
    },
    /// A machine could not be built.
    #[error("KVM does not build a machine: {reason}")]
    Build {
        /// What was tried, and the cause.
        reason: String,
    },
    /// A machine was built and does not run.
    #[error("KVM builds a machine that does not run: {reason}")]
    Run {
        /// What it did instead.
        reason: String,
    },
    /// It neither ran nor failed.
    #[error("KVM did not run three instructions within ten seconds")]
    Hangs,
}

impl KvmProblem {
    /// The operator's next step.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Absent => {
                "Turn on virtualization (VT-x or AMD-V) in the firmware; then load kvm_intel or \
                 kvm_amd"
            }
            Self::Forbidden => "Run as root, or join the group that owns /dev/kvm",
            Self::Open { .. } | Self::Build { .. } => "Look into the kernel log for kvm",
            Self::Run { .. } | Self::Hangs => {
                "The host is itself a VM whose hypervisor offers no working nested \
                 virtualization; turn it on there, or use another host"
            }
        }
    }
}

/// Runs a tiny machine. `Ok`: virtual machines work here.
pub fn probe() -> Result<(), KvmProblem> {
    let kvm = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => KvmProblem::Absent,
            io::ErrorKind::PermissionDenied => KvmProblem::Forbidden,
            _ => KvmProblem::Open { source },
        })?;
    let (vcpu, memory) = build(kvm.into()).map_err(|error| KvmProblem::Build {
        reason: child::chain(&error),
    })?;
    // On a thread, because a broken KVM may not return. Then the thread stays behind, asleep in
    // the kernel; the process goes on.
    let (answer, question) = mpsc::channel();
    let spawned = std::thread::Builder::new()
        .name("kvm-probe".to_owned())
        .spawn(move || {
            let _ = answer.send(run(vcpu));
            drop(memory);
        });
    if let Err(source) = spawned {
        return Err(KvmProblem::Open { source });
    }
    match question.recv_timeout(PATIENCE) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(reason)) => Err(KvmProblem::Run { reason }),
        Err(_) => Err(KvmProblem::Hangs),
    }
}

fn build(kvm: std::os::fd::OwnedFd) -> Result<(VcpuFd, Memory), BuildError> {
    let at = |what| move |source| BuildError::Kvm { what, source };
    let kvm = open_kvm(kvm)?;
    let vm = create_vm(&kvm)?;
    let memory = memory::create(1)?;
    memory::register(&vm, &memory)?;
    let [low, high] = PORT.to_le_bytes();
    let code = [
        0xba, low, high, // mov dx, PORT
        0xb0, ANSWER, // mov al, ANSWER
        0xee,   // out dx, al
    ];
    memory
        .write_slice(&code, GuestAddress(CODE))
        .map_err(|source| BuildError::Write {
            what: "probe",
            source,
        })?;
    let vcpu = vm.create_vcpu(0).map_err(at("Creating a vCPU"))?;
    let mut special = vcpu.get_sregs().map_err(at("Reading registers"))?;
    special.cs.base = 0;
    special.cs.selector = 0;
    vcpu.set_sregs(&special).map_err(at("Setting registers"))?;
    vcpu.set_regs(&kvm_regs {
        rip: CODE,
        rflags: 2,
        ..Default::default()
    })
    .map_err(at("Setting registers"))?;
    Ok((vcpu, memory))
}

fn run(mut vcpu: VcpuFd) -> Result<(), String> {
    loop {
        match vcpu.run() {
            Ok(VcpuExit::IoOut(PORT, [ANSWER])) => return Ok(()),
            Ok(VcpuExit::Intr) => {}
            Ok(other) => return Err(format!("it ended with {other:?}")),
            Err(error) if error.errno() == libc::EINTR => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}
