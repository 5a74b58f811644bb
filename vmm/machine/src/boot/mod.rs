//! Boot: kernel, initrd and boot parameters into guest memory.
//!
//! Does:      reads a bzImage and an initrd from descriptors; picks how the kernel is entered.
//! Does not:  set registers (`vcpu::registers`) or write ACPI tables (`acpi`).
//! Bounds:    `KERNEL_MAX_BYTES`; the initrd must fit into the VM's memory below 4 GiB.
//! Trusts:    neither kernel nor initrd: both come from users. This code runs inside the jail.
//! Start at:  `load`.

pub(crate) mod bzimage;
mod params;
mod reset_vector;
pub(crate) mod vmlinux;

use std::fs::File;

use virtio::Memory;
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

use crate::control::Entry;
use crate::layout::{CMDLINE, HIGH_RAM, RAM_BELOW_4G_MAX};
use bzimage::Header;
use vmlinux::Unpacked;

/// A kernel image larger than this is refused; Debian's largest is 14 MB.
const KERNEL_MAX_BYTES: u64 = 256 << 20;
const PAGE_BYTES: u64 = 4096;

/// Why the guest can't boot. Nothing ran yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootError {
    #[error("The kernel is no bzImage: {why} (give the file that the distribution calls vmlinuz)")]
    NotABzImage { why: &'static str },
    #[error("The kernel needs {need_mib} MiB up to its end, the VM has {have_mib} MiB of memory")]
    KernelTooLarge { need_mib: u64, have_mib: u64 },
    #[error("The initrd of {initrd_mib} MiB does not fit beside the kernel into {have_mib} MiB")]
    InitrdTooLarge { initrd_mib: u64, have_mib: u64 },
    #[error("Reading the {what}")]
    Read {
        what: &'static str,
        source: std::io::Error,
    },
    #[error("The {what} does not fit into guest memory")]
    Outside { what: &'static str },
    #[error("Copying the {what} into guest memory")]
    Copy {
        what: &'static str,
        source: GuestMemoryError,
    },
}

/// A kernel in memory, ready to be entered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loaded {
    /// Where the boot CPU starts.
    pub(crate) entry: u64,
    /// How.
    pub(crate) how: Entry,
    /// Why the kernel has to unpack itself, if so.
    pub(crate) left_packed: Option<&'static str>,
}

/// What to boot.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub(crate) kernel: &'a File,
    pub(crate) initrd: Option<&'a File>,
    pub(crate) cmdline: &'a str,
    pub(crate) memory_mib: u32,
    /// Guest-physical address of the ACPI root pointer.
    pub(crate) rsdp: u64,
}

/// Puts everything into place.
pub(crate) fn load(memory: &Memory, source: &Source<'_>) -> Result<Loaded, BootError> {
    let header = bzimage::read_header(source.kernel)?;
    let low_end = (u64::from(source.memory_mib) << 20).min(RAM_BELOW_4G_MAX);
    let kernel_end = header.runs_until();
    if kernel_end > low_end {
        return Err(BootError::KernelTooLarge {
            need_mib: kernel_end.div_ceil(1 << 20),
            have_mib: u64::from(source.memory_mib),
        });
    }
    let loaded = load_kernel(&header, source.kernel, memory, low_end)?;
    let initrd = match source.initrd {
        Some(file) => Some(copy_initrd(file, memory, &header, kernel_end, low_end)?),
        None => None,
    };
    let copy = |source| BootError::Copy {
        what: "command line",
        source,
    };
    memory
        .write_slice(source.cmdline.as_bytes(), GuestAddress(CMDLINE))
        .map_err(copy)?;
    let end = GuestAddress(CMDLINE + source.cmdline.len() as u64);
    memory.write_obj(0u8, end).map_err(copy)?;
    reset_vector::write(memory).map_err(|source| BootError::Copy {
        what: "reset vector",
        source,
    })?;
    let zero_page = params::Zero {
        header: header.raw,
        initrd,
        rsdp: source.rsdp,
    };
    params::write(memory, &zero_page, source.memory_mib)?;
    Ok(loaded)
}

fn load_kernel(
    header: &Header,
    kernel: &File,
    memory: &Memory,
    low_end: u64,
) -> Result<Loaded, BootError> {
    match vmlinux::unpack(header, kernel, memory, low_end)? {
        Unpacked::Entry(entry) => Ok(Loaded {
            entry,
            how: Entry::Vmlinux,
            left_packed: None,
        }),
        Unpacked::LeftPacked(why) => {
            bzimage::copy_kernel(header, kernel, memory)?;
            let entry = HIGH_RAM + bzimage::ENTRY_64;
            Ok(Loaded {
                entry,
                how: Entry::BzImage,
                left_packed: Some(why),
            })
        }
    }
}

/// Puts the initrd as high as the kernel allows. Returns address and size.
fn copy_initrd(
    file: &File,
    memory: &Memory,
    header: &Header,
    kernel_end: u64,
    low_end: u64,
) -> Result<(u32, u32), BootError> {
    let read = |source| BootError::Read {
        what: "initrd",
        source,
    };
    let len = file.metadata().map_err(read)?.len();
    let top = low_end.min(u64::from(header.raw.initrd_addr_max).saturating_add(1));
    let at = top
        .checked_sub(len)
        .map(|at| at & !(PAGE_BYTES - 1))
        .filter(|at| *at >= kernel_end)
        .ok_or(BootError::InitrdTooLarge {
            initrd_mib: len.div_ceil(1 << 20),
            have_mib: low_end >> 20,
        })?;
    bzimage::copy_range(file, 0, len, memory, at, "initrd")?;
    // Both lie below 4 GiB: `low_end` does.
    Ok((
        u32::try_from(at).unwrap_or(u32::MAX),
        u32::try_from(len).unwrap_or(u32::MAX),
    ))
}
