//! The bzImage format: a header of promises, and a kernel that unpacks itself.

use std::fs::File;
use std::os::unix::fs::FileExt;

use linux_loader::loader::bootparam::setup_header;
use virtio::Memory;
use vm_memory::ByteValued;

use crate::boot::{BootError, KERNEL_MAX_BYTES};
use crate::layout::HIGH_RAM;
use crate::memory;

/// Offset of the header in the file.
const HEADER_OFFSET: u64 = 0x1f1;
const MAGIC: u32 = 0x5372_6448; // "HdrS"
/// The first protocol with a 64-bit entry flag.
const PROTOCOL_MIN: u16 = 0x20c;
const LOADED_HIGH: u8 = 1;
const HAS_ENTRY_64: u16 = 1;
const SECTOR_BYTES: u64 = 512;
/// 64-bit entry, behind the 32-bit one.
pub(super) const ENTRY_64: u64 = 0x200;

/// A header that was checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) raw: setup_header,
    /// Offset of the protected-mode part in the file.
    start: u64,
    /// Its length.
    len: u64,
}

impl Header {
    /// Where the memory ends that the kernel uses before it reads the memory map.
    pub(super) fn runs_until(&self) -> u64 {
        let lowest = { self.raw.pref_address }.max(HIGH_RAM);
        let aligned = lowest.next_multiple_of(u64::from(self.raw.kernel_alignment).max(1));
        aligned
            .saturating_add(u64::from(self.raw.init_size))
            .max(HIGH_RAM + self.len)
    }
}

impl Header {
    /// Offset in the file and length of the compressed kernel, if the header tells sense.
    pub(super) fn payload(&self) -> Option<(u64, usize)> {
        let (offset, len) = (self.raw.payload_offset, self.raw.payload_length);
        let end = u64::from(offset) + u64::from(len);
        (len > 0 && end <= self.len).then_some((self.start + u64::from(offset), len as usize))
    }
}

/// Reads and checks the header.
pub(super) fn read_header(kernel: &File) -> Result<Header, BootError> {
    let read = |source| BootError::Read {
        what: "kernel",
        source,
    };
    let size = kernel.metadata().map_err(read)?.len();
    let mut raw = setup_header::default();
    match kernel.read_exact_at(raw.as_mut_slice(), HEADER_OFFSET) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            return Err(BootError::NotABzImage {
                why: "it is too short",
            });
        }
        other => other.map_err(read)?,
    }
    check(&raw, size)
}

fn check(raw: &setup_header, size: u64) -> Result<Header, BootError> {
    let not = |why| Err(BootError::NotABzImage { why });
    if raw.header != MAGIC {
        return not("it has no boot header");
    }
    if raw.version < PROTOCOL_MIN || raw.loadflags & LOADED_HIGH == 0 {
        return not("it is older than Linux 3.8");
    }
    if raw.xloadflags & HAS_ENTRY_64 == 0 {
        return not("it is a 32-bit kernel");
    }
    if size > KERNEL_MAX_BYTES {
        return not("it is larger than any kernel");
    }
    if !raw.kernel_alignment.is_power_of_two() || { raw.pref_address } >= 1 << 32 {
        return not("its header asks for impossible addresses");
    }
    let sectors = match raw.setup_sects {
        0 => 4, // so since Linux 0.01
        some => u64::from(some),
    };
    let start = (sectors + 1) * SECTOR_BYTES;
    match size.checked_sub(start) {
        Some(len) if len > ENTRY_64 => Ok(Header {
            raw: *raw,
            start,
            len,
        }),
        _ => not("it is shorter than its header says"),
    }
}

/// Copies the self-unpacking kernel to where it is entered.
pub(super) fn copy_kernel(
    header: &Header,
    kernel: &File,
    memory: &Memory,
) -> Result<(), BootError> {
    copy_range(kernel, header.start, header.len, memory, HIGH_RAM, "kernel")
}

/// Copies part of a file into guest memory, at an offset of ours: the file's own cursor may be
/// shared with other VMs that boot from the same descriptor.
pub(super) fn copy_range(
    file: &File,
    offset: u64,
    len: u64,
    memory: &Memory,
    at: u64,
    what: &'static str,
) -> Result<(), BootError> {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    // SAFETY: no vCPU has run, and nothing else accesses guest memory until we return.
    let place = unsafe { memory::exclusive(memory, at, len) };
    let place = place.ok_or(BootError::Outside { what })?;
    file.read_exact_at(place, offset)
        .map_err(|source| BootError::Read { what, source })
}

/// A header as a hostile kernel may carry it, in front of a file of 1 MiB.
pub(crate) fn fuzz_header(data: &[u8]) {
    const FILE_BYTES: u64 = 1 << 20;
    let mut raw = setup_header::default();
    let len = data.len().min(raw.as_slice().len());
    raw.as_mut_slice()[..len].copy_from_slice(&data[..len]);
    if let Ok(header) = check(&raw, FILE_BYTES) {
        assert!(header.start + header.len == FILE_BYTES);
        assert!(header.runs_until() >= HIGH_RAM + header.len);
        if let Some((offset, len)) = header.payload() {
            assert!(offset + len as u64 <= FILE_BYTES);
        }
    }
}
