//! The zero page: what Linux wants to know before it can ask.

use linux_loader::loader::bootparam::{boot_e820_entry, boot_params, setup_header};
use virtio::Memory;
use vm_memory::{Bytes, GuestAddress};

use crate::boot::BootError;
use crate::layout::{CMDLINE, ECAM, ECAM_RESERVED_BYTES, HIGH_RAM, LOW_RAM_END, ZERO_PAGE};

const RAM: u32 = 1;
const RESERVED: u32 = 2;
/// "Undefined boot loader", as the protocol demands of those without a number.
const LOADER_UNDEFINED: u8 = 0xff;

/// What differs from VM to VM.
#[derive(Debug)]
pub(super) struct Zero {
    pub(super) header: setup_header,
    pub(super) initrd: Option<(u32, u32)>,
    pub(super) rsdp: u64,
}

/// Writes the zero page.
pub(super) fn write(memory: &Memory, zero: &Zero, memory_mib: u32) -> Result<(), BootError> {
    let mut params = boot_params {
        hdr: zero.header,
        ..Default::default()
    };
    params.hdr.type_of_loader = LOADER_UNDEFINED;
    params.hdr.cmd_line_ptr = u32::try_from(CMDLINE).unwrap_or(u32::MAX);
    params.acpi_rsdp_addr = zero.rsdp;
    if let Some((at, len)) = zero.initrd {
        params.hdr.ramdisk_image = at;
        params.hdr.ramdisk_size = len;
    }
    let map = memory_map(memory_mib);
    params.e820_entries = u8::try_from(map.len()).unwrap_or(u8::MAX);
    for (entry, (addr, size, kind)) in params.e820_table.iter_mut().zip(map) {
        *entry = boot_e820_entry {
            addr,
            size,
            r#type: kind,
        };
    }
    memory
        .write_obj(params, GuestAddress(ZERO_PAGE))
        .map_err(|source| BootError::Copy {
            what: "boot parameters",
            source,
        })
}

/// The memory map: low memory, the rest, and what only looks like memory.
fn memory_map(memory_mib: u32) -> Vec<(u64, u64, u32)> {
    let mut map = vec![
        (0, LOW_RAM_END, RAM),
        (LOW_RAM_END, HIGH_RAM - LOW_RAM_END, RESERVED),
    ];
    for (start, len) in crate::memory::ranges(memory_mib) {
        let skip = HIGH_RAM.saturating_sub(start);
        map.push((start + skip, len - skip, RAM));
    }
    map.push((ECAM, ECAM_RESERVED_BYTES, RESERVED));
    map
}
