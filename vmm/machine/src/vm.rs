//! A machine: built once from a `Start` and its descriptors, then only run.
//!
//! Does:      creates VM, memory, interrupt controller, devices, vCPUs; loads the kernel.
//! Does not:  run (`io_loop`), jail (`jail`), talk to the parent (`child`).
//! Bounds:    those of `control::Start`, which `check` enforces.
//! Trusts:    the parent for descriptors; kernel and initrd for nothing.
//! Start at:  `Machine::build`.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use kvm_ioctls::{Cap, Kvm, VcpuFd, VmFd};
use virtio::pci::{Face, Function};
use virtio::{Block, Console, Entropy, EntropySource, Memory, Net};
use vmm_sys_util::eventfd::EventFd;

use crate::boot::{self, BootError};
use crate::bus::Bus;
use crate::console_stream::{ConsoleSink, Output};
use crate::control::{
    CMDLINE_MAX, DISKS_MAX, Entry, MEMORY_MAX_MIB, MEMORY_MIN_MIB, NICS_MAX, Start, VCPUS_MAX,
};
use crate::disk::FileDisk;
use crate::layout::{EVENT_GSI, KVM_IDENTITY_MAP, KVM_TSS, SERIAL_GSI};
use crate::legacy::{Power, SerialPort};
use crate::memory::{self, MemoryError};
use crate::slots::{Slots, window};
use crate::vcpu::cpuid;
use crate::vcpu::registers::{self, RegistersError};
use crate::wire::FdWire;
use crate::{acpi, slots};

/// The interface that all of KVM has spoken since Linux 2.6.22.
const KVM_API: i32 = 12;

/// Why there is no machine.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error("KVM speaks interface version {version}, not 12 (is this /dev/kvm?)")]
    KvmVersion { version: i32 },
    #[error("KVM lacks {what} (the host's kernel is too old)")]
    KvmLacks { what: &'static str },
    #[error("{what}")]
    Kvm {
        what: &'static str,
        source: kvm_ioctls::Error,
    },
    #[error("{what}")]
    Io {
        what: &'static str,
        source: io::Error,
    },
    #[error("Disk {number}")]
    Disk { number: usize, source: io::Error },
    #[error("Writing the {what} into guest memory")]
    Write {
        what: &'static str,
        source: vm_memory::GuestMemoryError,
    },
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error(transparent)]
    Registers(#[from] RegistersError),
    #[error(transparent)]
    Boot(#[from] BootError),
}

/// The descriptors of a `Start`, by name.
#[derive(Debug)]
pub(crate) struct Descriptors {
    pub(crate) kvm: OwnedFd,
    pub(crate) console: OwnedFd,
    pub(crate) kernel: File,
    pub(crate) initrd: Option<File>,
    pub(crate) disks: Vec<File>,
    pub(crate) nics: Vec<OwnedFd>,
}

impl Descriptors {
    /// Their numbers, with that of the control socket.
    pub(crate) fn numbers(&self, control: BorrowedFd<'_>) -> Vec<RawFd> {
        let fixed = [
            control.as_raw_fd(),
            self.kvm.as_raw_fd(),
            self.console.as_raw_fd(),
        ];
        let files = std::iter::once(&self.kernel)
            .chain(&self.initrd)
            .chain(&self.disks);
        fixed
            .into_iter()
            .chain(files.map(AsRawFd::as_raw_fd))
            .chain(self.nics.iter().map(AsRawFd::as_raw_fd))
            .collect()
    }
}

/// Checks a `Start` and names its descriptors. The error says which field is wrong.
pub(crate) fn check(start: &Start, fds: Vec<OwnedFd>) -> Result<Descriptors, String> {
    check_limits(start)?;
    let wanted = 3 + usize::from(start.initrd) + start.disks.len() + start.nics.len();
    if fds.len() != wanted {
        return Err(format!(
            "{} descriptors came, {wanted} are needed",
            fds.len()
        ));
    }
    let mut fds = fds.into_iter();
    let mut next = || {
        fds.next()
            .ok_or_else(|| "a descriptor is missing".to_owned())
    };
    Ok(Descriptors {
        kvm: next()?,
        console: next()?,
        kernel: File::from(next()?),
        initrd: if start.initrd {
            Some(File::from(next()?))
        } else {
            None
        },
        disks: (0..start.disks.len())
            .map(|_| next().map(File::from))
            .collect::<Result<_, _>>()?,
        nics: (0..start.nics.len())
            .map(|_| next())
            .collect::<Result<_, _>>()?,
    })
}

fn check_limits(start: &Start) -> Result<(), String> {
    let memory = u64::from(MEMORY_MIN_MIB)..=u64::from(MEMORY_MAX_MIB);
    for (what, value, limits) in [
        ("vcpus", u64::from(start.vcpus), 1..=u64::from(VCPUS_MAX)),
        ("memory_mib", u64::from(start.memory_mib), memory),
        (
            "the command line's length",
            start.cmdline.len() as u64,
            0..=CMDLINE_MAX as u64,
        ),
        (
            "the number of disks",
            start.disks.len() as u64,
            0..=DISKS_MAX as u64,
        ),
        (
            "the number of network cards",
            start.nics.len() as u64,
            0..=NICS_MAX as u64,
        ),
    ] {
        if !limits.contains(&value) {
            let (min, max) = (limits.start(), limits.end());
            return Err(format!("{what} is {value}; it must be {min} to {max}"));
        }
    }
    if start.cmdline.contains('\0') {
        return Err("the command line contains a NUL".to_owned());
    }
    Ok(())
}

/// Random bytes from the host's kernel.
struct HostEntropy;

impl EntropySource for HostEntropy {
    fn fill(&mut self, buffer: &mut [u8]) -> bool {
        let len = buffer.len();
        rustix::rand::getrandom(buffer, rustix::rand::GetRandomFlags::empty())
            .is_ok_and(|filled| filled == len)
    }
}

/// A machine that is ready to run.
pub(crate) struct Machine {
    pub(crate) board: Board,
    pub(crate) memory: Memory,
    pub(crate) vcpus: Vec<VcpuFd>,
    pub(crate) entry: Entry,
    /// Why the kernel has to unpack itself, if so.
    pub(crate) left_packed: Option<&'static str>,
}

/// All devices, and what wakes the I/O thread.
pub(crate) struct Board {
    pub(crate) bus: Arc<Bus>,
    pub(crate) slots: Arc<Slots>,
    pub(crate) console: Arc<Mutex<Function<Console<ConsoleSink>>>>,
    pub(crate) console_used: Arc<AtomicBool>,
    pub(crate) output: Arc<Output>,
    /// The other ends of network cards, each with its slot.
    pub(crate) wires: Vec<(usize, Arc<OwnedFd>)>,
    /// Readable when the power switch or the bus has news.
    pub(crate) wake: EventFd,
    /// Readable when the guest has read all 8250 input.
    pub(crate) serial_drained: EventFd,
}

impl Machine {
    /// Builds it. The guest's kernel is loaded and the boot CPU stands at its entry.
    pub(crate) fn build(
        start: &Start,
        kvm: OwnedFd,
        kernel: &File,
        initrd: Option<&File>,
        disks: Vec<File>,
        nics: Vec<OwnedFd>,
    ) -> Result<Machine, BuildError> {
        let kvm = open_kvm(kvm)?;
        let vm = Arc::new(create_vm(&kvm)?);
        let memory = memory::create(start.memory_mib)?;
        memory::register(&vm, &memory)?;
        let board = Board::build(&vm, &memory, start, disks, nics)?;
        let rsdp = acpi::write(&memory, start.vcpus).map_err(|source| BuildError::Write {
            what: "ACPI tables",
            source,
        })?;
        let source = boot::Source {
            kernel,
            initrd,
            cmdline: &start.cmdline,
            memory_mib: start.memory_mib,
            rsdp,
        };
        let loaded = boot::load(&memory, &source)?;
        let vcpus = create_vcpus(&kvm, &vm, start.vcpus)?;
        if let Some(first) = vcpus.first() {
            registers::enter_linux(first, &memory, loaded.entry)?;
        }
        let (entry, left_packed) = (loaded.how, loaded.left_packed);
        Ok(Machine {
            board,
            memory,
            vcpus,
            entry,
            left_packed,
        })
    }
}

impl Board {
    fn build(
        vm: &Arc<VmFd>,
        memory: &Memory,
        start: &Start,
        disks: Vec<File>,
        nics: Vec<OwnedFd>,
    ) -> Result<Board, BuildError> {
        let io = |what| move |source| BuildError::Io { what, source };
        let output = Arc::new(Output::new().map_err(io("Creating the console's timer"))?);
        let console_used = Arc::new(AtomicBool::new(false));
        let sink = ConsoleSink {
            output: Arc::clone(&output),
            used: Arc::clone(&console_used),
        };
        let console = Function::new(Console::new(sink), window(slots::CONSOLE_SLOT));
        let console = Arc::new(Mutex::new(console));
        let entropy = Function::new(Entropy::new(HostEntropy), window(1));
        let mut faces: Vec<Arc<Mutex<dyn Face>>> =
            vec![console.clone(), Arc::new(Mutex::new(entropy))];
        for (number, (file, spec)) in disks.into_iter().zip(&start.disks).enumerate() {
            let disk = FileDisk::new(file, spec.read_only)
                .map_err(|source| BuildError::Disk { number, source })?;
            let block = Block::new(disk, &format!("disk{number}"));
            faces.push(Arc::new(Mutex::new(Function::new(
                block,
                window(2 + number),
            ))));
        }
        let wires = add_nics(&mut faces, start, nics).map_err(io("Preparing a network card"))?;
        let slots = Slots::new(Arc::clone(vm), memory.clone(), faces);
        let slots = Arc::new(slots.map_err(io("Creating doorbells"))?);

        let wake = event().map_err(io("Creating an event"))?;
        let serial_drained = event().map_err(io("Creating an event"))?;
        let clone = |fd: &EventFd| fd.try_clone().map_err(io("Copying an event"));
        let power = Arc::new(Power::new(clone(&wake)?, interrupt(vm, EVENT_GSI)?));
        let serial = SerialPort::new(
            interrupt(vm, SERIAL_GSI)?,
            clone(&serial_drained)?,
            Arc::clone(&output),
            Arc::clone(&console_used),
        )
        .map_err(io("Copying an event"))?;
        let bus = Arc::new(Bus::new(serial, power, Arc::clone(&slots)));
        Ok(Board {
            bus,
            slots,
            console,
            console_used,
            output,
            wires,
            wake,
            serial_drained,
        })
    }
}

/// Network cards take the slots after the disks.
fn add_nics(
    faces: &mut Vec<Arc<Mutex<dyn Face>>>,
    start: &Start,
    nics: Vec<OwnedFd>,
) -> io::Result<Vec<(usize, Arc<OwnedFd>)>> {
    let mut wires = Vec::new();
    for (fd, spec) in nics.into_iter().zip(&start.nics) {
        rustix::io::ioctl_fionbio(&fd, true)?;
        let fd = Arc::new(fd);
        let slot = faces.len();
        let net = Net::new(FdWire::new(Arc::clone(&fd), spec.kind), spec.mac, spec.mtu);
        faces.push(Arc::new(Mutex::new(Function::new(net, window(slot)))));
        wires.push((slot, fd));
    }
    Ok(wires)
}

fn event() -> io::Result<EventFd> {
    EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)
}

/// Takes a descriptor of `/dev/kvm`.
pub(crate) fn open_kvm(fd: OwnedFd) -> Result<Kvm, BuildError> {
    // SAFETY: `from_raw_fd` wants an open descriptor that nobody else owns.
    // - `into_raw_fd` has just given up its ownership.
    let kvm = unsafe { Kvm::from_raw_fd(fd.into_raw_fd()) };
    let version = kvm.get_api_version();
    if version != KVM_API {
        return Err(BuildError::KvmVersion { version });
    }
    let needed = [
        (Cap::Irqfd, "irqfd"),
        (Cap::Ioeventfd, "ioeventfd"),
        (Cap::SignalMsi, "MSI injection"),
        (Cap::ImmediateExit, "immediate exit"),
    ];
    match needed
        .into_iter()
        .find(|(cap, _)| !kvm.check_extension(*cap))
    {
        Some((_, what)) => Err(BuildError::KvmLacks { what }),
        None => Ok(kvm),
    }
}

/// A virtual machine with interrupt controllers, without memory and vCPUs.
pub(crate) fn create_vm(kvm: &Kvm) -> Result<VmFd, BuildError> {
    let at = |what| move |source| BuildError::Kvm { what, source };
    let vm = kvm.create_vm().map_err(at("Creating a virtual machine"))?;
    vm.set_identity_map_address(KVM_IDENTITY_MAP)
        .map_err(at("Placing the identity map"))?;
    let tss = usize::try_from(KVM_TSS).expect("addresses have 64 bits here");
    vm.set_tss_address(tss)
        .map_err(at("Placing the task state"))?;
    vm.create_irq_chip()
        .map_err(at("Creating the interrupt controllers"))?;
    Ok(vm)
}

/// An eventfd that raises an edge on an input of the I/O APIC.
fn interrupt(vm: &VmFd, gsi: u32) -> Result<EventFd, BuildError> {
    let fd = event().map_err(|source| BuildError::Io {
        what: "Creating an event",
        source,
    })?;
    vm.register_irqfd(&fd, gsi)
        .map_err(|source| BuildError::Kvm {
            what: "Wiring an interrupt",
            source,
        })?;
    Ok(fd)
}

fn create_vcpus(kvm: &Kvm, vm: &VmFd, count: u8) -> Result<Vec<VcpuFd>, BuildError> {
    let at = |what| move |source| BuildError::Kvm { what, source };
    let mut base = cpuid::supported(kvm).map_err(at("Reading the CPU's features"))?;
    (0..count)
        .map(|id| {
            let vcpu = vm
                .create_vcpu(u64::from(id))
                .map_err(at("Creating a vCPU"))?;
            if id == 0
                && let Ok(khz) = vcpu.get_tsc_khz()
            {
                cpuid::state_tsc_frequency(&mut base, khz);
            }
            let own = cpuid::for_vcpu(&base, id, count);
            vcpu.set_cpuid2(&own)
                .map_err(at("Setting a vCPU's features"))?;
            Ok(vcpu)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs::File;

    use super::check;
    use crate::control::{DiskSpec, Jail, NicKind, NicSpec, Start};

    fn start() -> Start {
        Start {
            name: "vm".to_owned(),
            vcpus: 1,
            memory_mib: 128,
            cmdline: "console=ttyS0".to_owned(),
            initrd: false,
            disks: Vec::new(),
            nics: Vec::new(),
            uid: 1,
            jail: Jail::Full,
        }
    }

    fn refusal(change: impl FnOnce(&mut Start), fds: usize) -> String {
        let mut start = start();
        change(&mut start);
        let fds = (0..fds)
            .map(|_| File::open("/dev/null").unwrap().into())
            .collect();
        check(&start, fds).err().unwrap_or_default()
    }

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn each_field_out_of_its_limits_is_named() {
        let disks = |count| vec![DiskSpec { read_only: true }; count];
        assert_eq!(refusal(|_| {}, 3), "");
        assert_eq!(refusal(|start| start.vcpus = 0, 3), "vcpus is 0; it must be 1 to 8");
        assert_eq!(refusal(|start| start.vcpus = 9, 3), "vcpus is 9; it must be 1 to 8");
        assert_eq!(refusal(|start| start.vcpus = 8, 3), "");
        assert_eq!(refusal(|start| start.memory_mib = 47, 3), "memory_mib is 47; it must be 48 to 262144");
        assert_eq!(refusal(|start| start.memory_mib = 262_145, 3), "memory_mib is 262145; it must be 48 to 262144");
        assert_eq!(refusal(|start| start.cmdline = "x".repeat(2047), 3), "");
        assert_eq!(refusal(|start| start.cmdline = "x".repeat(2048), 3), "the command line's length is 2048; it must be 0 to 2047");
        assert_eq!(refusal(|start| start.cmdline = "a\0b".to_owned(), 3), "the command line contains a NUL");
        assert_eq!(refusal(|start| start.disks = disks(8), 11), "");
        assert_eq!(refusal(|start| start.disks = disks(9), 12), "the number of disks is 9; it must be 0 to 8");
        let nics = |count| vec![NicSpec { kind: NicKind::Tap, mac: [2; 6], mtu: 1500 }; count];
        assert_eq!(refusal(|start| start.nics = nics(4), 7), "");
        assert_eq!(refusal(|start| start.nics = nics(5), 8), "the number of network cards is 5; it must be 0 to 4");
        assert_eq!(refusal(|start| start.nics = nics(1), 3), "3 descriptors came, 4 are needed");
        assert_eq!(refusal(|start| start.initrd = true, 3), "3 descriptors came, 4 are needed");
        assert_eq!(refusal(|_| {}, 4), "4 descriptors came, 3 are needed");
    }
}
