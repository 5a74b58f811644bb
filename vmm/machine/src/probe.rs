//! Can this host run virtual machines? Asked by running one, of a few instructions.
//!
//! Does:      what a kernel does, in small: long mode, paging, the kernel's own addresses, a
//!            model-specific register, and a busy loop that only a real processor finishes soon.
//! Does not:  boot a kernel, or trust a `/dev/kvm` because it opens. Under some hypervisors it is
//!            there, creates machines, even interprets code, and never gets a kernel anywhere.
//! Bounds:    `PATIENCE`, 2 MiB of guest memory, and one idle machine kept per process (`keep_on`).
//! Trusts:    nothing that KVM says before the loop is through.
//! Start at:  `probe`.

use std::fs::OpenOptions;
use std::io;
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use kvm_ioctls::{VcpuExit, VcpuFd};
use virtio::Memory;
use vm_memory::{Bytes, GuestAddress};

use crate::layout::PAGE_TABLES;
use crate::vcpu::{cpuid, registers};
use crate::vm::{BuildError, create_vm, open_kvm};
use crate::{child, memory};

/// A processor needs milliseconds, the slowest emulation of one a second; an interpreter hours.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where the code lies, and the same in a kernel's half of the address space.
const CODE: u64 = 0x10_0000;
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
    #[error("KVM did not get through a short loop within ten seconds")]
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
        Ok(Ok(())) => {
            KEPT.get_or_init(|| keep_on().is_ok());
            Ok(())
        }
        Ok(Err(reason)) => Err(KvmProblem::Run { reason }),
        Err(_) => Err(KvmProblem::Hangs),
    }
}

/// Whether an idle machine holds KVM switched on for this process.
static KEPT: OnceLock<bool> = OnceLock::new();

/// Creates a machine that never runs and is never closed. The first machine and the last one, and
/// the first vCPU with its APIC off and the last one, make the kernel patch its own code on all
/// CPUs: dear on large hosts, and emulated ones were seen to crash on it. With one machine kept,
/// that happens once and not at every start and end of a lone VM.
fn keep_on() -> Result<(), BuildError> {
    let kvm = OpenOptions::new().read(true).write(true).open("/dev/kvm");
    let kvm = kvm.map_err(|source| BuildError::Io {
        what: "Opening /dev/kvm",
        source,
    })?;
    let vm = create_vm(&open_kvm(kvm.into())?)?;
    let vcpu = vm.create_vcpu(0).map_err(|source| BuildError::Kvm {
        what: "Creating a vCPU",
        source,
    })?;
    std::mem::forget((vm, vcpu)); // the process's end closes them
    Ok(())
}

fn build(kvm: std::os::fd::OwnedFd) -> Result<(VcpuFd, Memory), BuildError> {
    let at = |what| move |source| BuildError::Kvm { what, source };
    let write = |source| BuildError::Write {
        what: "probe",
        source,
    };
    let kvm = open_kvm(kvm)?;
    let vm = create_vm(&kvm)?;
    let memory = memory::create(2)?;
    memory::register(&vm, &memory)?;
    memory
        .write_slice(&code(), GuestAddress(CODE))
        .map_err(write)?;
    let vcpu = vm.create_vcpu(0).map_err(at("Creating a vCPU"))?;
    let cpuid = cpuid::supported(&kvm).map_err(at("Reading the CPU's features"))?;
    vcpu.set_cpuid2(&cpuid::for_vcpu(&cpuid, 0, 1))
        .map_err(at("Setting the CPU's features"))?;
    registers::enter_linux(&vcpu, &memory, CODE)?;
    // The last entry of the top table maps the first GiB once more, where kernels live.
    let pointers = PAGE_TABLES + 0x1000;
    memory
        .write_obj(pointers | 3, GuestAddress(PAGE_TABLES + 511 * 8))
        .map_err(write)?;
    memory
        .write_obj((PAGE_TABLES + 0x2000) | 3, GuestAddress(pointers + 510 * 8))
        .map_err(write)?;
    Ok((vcpu, memory))
}

fn code() -> Vec<u8> {
    let [low, high] = PORT.to_le_bytes();
    let mut code = vec![
        0x48, 0xc7, 0xc0, 0x10, 0x00, 0x10, 0x80, // mov rax, 0xffffffff80100010
        0xff, 0xe0, // jmp rax
    ];
    code.resize(0x10, 0x90);
    code.extend([
        0x0f, 0x20, 0xd8, // mov rax, cr3
        0x0f, 0x22, 0xd8, // mov cr3, rax
        0xb9, 0x80, 0x00, 0x00, 0xc0, // mov ecx, EFER
        0x0f, 0x32, // rdmsr
        0x0f, 0x30, // wrmsr
        0xb9, 0x00, 0x00, 0x80, 0x00, // mov ecx, 8 Mi
        0xff, 0xc9, // dec ecx
        0x75, 0xfc, // jnz to dec
        0x66, 0xba, low, high, // mov dx, PORT
        0xb0, ANSWER, // mov al, ANSWER
        0xee,   // out dx, al
    ]);
    code
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
