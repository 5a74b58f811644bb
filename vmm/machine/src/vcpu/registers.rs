//! The state in which the boot CPU enters a 64-bit Linux kernel.

use kvm_bindings::{kvm_fpu, kvm_regs, kvm_segment};
use kvm_ioctls::VcpuFd;
use virtio::Memory;
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

use crate::layout::{GDT, PAGE_TABLES, ZERO_PAGE};

const CR0_PROTECTED: u64 = 1;
const CR0_EXTENSION: u64 = 1 << 4;
const CR0_PAGING: u64 = 1 << 31;
const CR4_PHYSICAL_EXTENSION: u64 = 1 << 5;
const EFER_LONG_MODE: u64 = 1 << 8 | 1 << 10;

/// Code and data segments as the Linux boot protocol demands them: selectors 0x10 and 0x18.
const DESCRIPTORS: [u64; 4] = [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];
const PAGE_PRESENT_WRITABLE: u64 = 3;
const PAGE_LARGE: u64 = 1 << 7;

/// Why the boot CPU isn't ready.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistersError {
    #[error("Writing the boot CPU's tables into guest memory")]
    Tables { source: GuestMemoryError },
    #[error("Setting the boot CPU's registers")]
    Set { source: kvm_ioctls::Error },
}

/// Puts the CPU at `entry` in long mode, with the first GiB mapped to itself.
pub(crate) fn enter_linux(
    vcpu: &VcpuFd,
    memory: &Memory,
    entry: u64,
) -> Result<(), RegistersError> {
    write_tables(memory).map_err(|source| RegistersError::Tables { source })?;
    set_registers(vcpu, entry).map_err(|source| RegistersError::Set { source })
}

fn write_tables(memory: &Memory) -> Result<(), GuestMemoryError> {
    for (at, descriptor) in (GDT..).step_by(8).zip(DESCRIPTORS) {
        memory.write_obj(descriptor, GuestAddress(at))?;
    }
    let pointers = PAGE_TABLES + 0x1000;
    let directory = PAGE_TABLES + 0x2000;
    memory.write_obj(pointers | PAGE_PRESENT_WRITABLE, GuestAddress(PAGE_TABLES))?;
    memory.write_obj(directory | PAGE_PRESENT_WRITABLE, GuestAddress(pointers))?;
    for page in 0..512u64 {
        let entry = page << 21 | PAGE_PRESENT_WRITABLE | PAGE_LARGE;
        memory.write_obj(entry, GuestAddress(directory + page * 8))?;
    }
    Ok(())
}

fn set_registers(vcpu: &VcpuFd, entry: u64) -> Result<(), kvm_ioctls::Error> {
    vcpu.set_regs(&kvm_regs {
        rip: entry,
        rsi: ZERO_PAGE,
        rflags: 2,
        ..Default::default()
    })?;
    vcpu.set_fpu(&kvm_fpu {
        fcw: 0x37f,
        mxcsr: 0x1f80,
        ..Default::default()
    })?;
    let mut special = vcpu.get_sregs()?;
    let data = kvm_segment {
        selector: 0x18,
        type_: 3,
        present: 1,
        s: 1,
        db: 1,
        g: 1,
        limit: u32::MAX,
        ..Default::default()
    };
    special.cs = kvm_segment {
        selector: 0x10,
        type_: 11,
        l: 1,
        db: 0,
        ..data
    };
    special.ds = data;
    special.es = data;
    special.fs = data;
    special.gs = data;
    special.ss = data;
    special.gdt.base = GDT;
    special.gdt.limit = 8 * 4 - 1;
    special.cr0 = CR0_PROTECTED | CR0_EXTENSION | CR0_PAGING;
    special.cr3 = PAGE_TABLES;
    special.cr4 = CR4_PHYSICAL_EXTENSION;
    special.efer = EFER_LONG_MODE;
    vcpu.set_sregs(&special)
}
