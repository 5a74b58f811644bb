//! The kernel inside a bzImage, unpacked by us and entered at its 64-bit entry.
//!
//! Does:      zstd payloads (Debian, Ubuntu, Fedora). It saves the guest its slowest second: the
//!            unpacking runs here with large pages and the host's caches, not under nested paging.
//! Does not:  other compressors (the kernel unpacks itself then), or randomise where the kernel
//!            lies: that is the unpacker's work, so a guest started this way has no KASLR.
//! Bounds:    `UNPACKED_MAX_BYTES`; `SEGMENTS_MAX`; all of it must lie below the guest's
//!            memory end. The compressed payload is held in memory while it is unpacked.
//! Trusts:    nothing in the file; what doesn't fit the pattern is left to the kernel itself.
//! Start at:  `unpack`, `Plan::new`.

use std::fs::File;
use std::os::unix::fs::FileExt;

use virtio::Memory;
use zstd_safe::{DCtx, InBuffer, OutBuffer};

use crate::boot::BootError;
use crate::boot::bzimage::Header;
use crate::layout::HIGH_RAM;
use crate::memory;

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The build appends the unpacked size.
const TRAILER_BYTES: usize = 4;
/// Debian's kernels unpack to 58 MB.
const UNPACKED_MAX_BYTES: usize = 256 << 20;
/// Enough for the ELF header and all program headers.
const PEEK_BYTES: usize = 4096;
const SEGMENTS_MAX: usize = 16;
const ELF_HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: usize = 56;
const LOAD: u32 = 1;

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unpacked {
    /// Ready to be entered at this address.
    Entry(u64),
    /// Not our pattern; the reason is for the operator.
    LeftPacked(&'static str),
}

/// One part of the kernel: from the unpacked file to its place in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    offset: usize,
    at: u64,
    file_len: usize,
    memory_len: usize,
}

/// Where to unpack, and what to move then.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// Guest address of the unpacked file. Chosen so that the first segment needs no move.
    base: u64,
    entry: u64,
    segments: Vec<Segment>,
}

/// Unpacks the kernel into guest memory. No vCPU has run yet.
pub(super) fn unpack(
    header: &Header,
    kernel: &File,
    memory: &Memory,
    memory_end: u64,
) -> Result<Unpacked, BootError> {
    let read = |source| BootError::Read {
        what: "kernel",
        source,
    };
    let Some((offset, len)) = header.payload() else {
        return Ok(Unpacked::LeftPacked("it tells of no payload"));
    };
    let mut payload = vec![0; len];
    kernel.read_exact_at(&mut payload, offset).map_err(read)?;
    Ok(unpack_payload(&payload, memory, memory_end).unwrap_or_else(Unpacked::LeftPacked))
}

fn unpack_payload(
    payload: &[u8],
    memory: &Memory,
    memory_end: u64,
) -> Result<Unpacked, &'static str> {
    if !payload.starts_with(&ZSTD_MAGIC) {
        return Err("it is not compressed by zstd");
    }
    let (packed, trailer) = payload
        .split_last_chunk::<TRAILER_BYTES>()
        .ok_or("its payload is cut short")?;
    let len = u32::from_le_bytes(*trailer) as usize;
    if len > UNPACKED_MAX_BYTES {
        return Err("it unpacks to more than any kernel has");
    }
    let mut head = [0; PEEK_BYTES];
    peek(packed, &mut head)?;
    let plan = Plan::new(&head, len, memory_end)?;
    // SAFETY: no vCPU has run, and nothing else accesses guest memory until we return.
    let image = unsafe { memory::exclusive(memory, plan.base, len) };
    let image = image.ok_or("it doesn't fit into the VM's memory")?;
    match zstd_safe::decompress(image, packed) {
        Ok(unpacked) if unpacked == len => {}
        _ => return Err("its payload is damaged"),
    }
    plan.place(image)?;
    Ok(Unpacked::Entry(plan.entry))
}

/// The first bytes of the unpacked kernel.
fn peek(packed: &[u8], head: &mut [u8]) -> Result<(), &'static str> {
    let mut context = DCtx::try_create().ok_or("there is no memory to unpack it")?;
    let mut input = InBuffer::around(packed);
    let mut output = OutBuffer::around(head);
    while output.pos() < PEEK_BYTES {
        let before = (input.pos, output.pos());
        let left = context
            .decompress_stream(&mut output, &mut input)
            .map_err(|_| "its payload is damaged")?;
        if left == 0 || (input.pos, output.pos()) == before {
            return Err("its payload is cut short");
        }
    }
    Ok(())
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The loadable segments of an ELF head.
fn segments(head: &[u8]) -> Option<(u64, Vec<Segment>)> {
    if !head.starts_with(b"\x7fELF\x02\x01") || u16_at(head, 18)? != 62 {
        return None; // not a 64-bit little-endian ELF for this processor
    }
    let entry = u64_at(head, 24)?;
    let count = usize::from(u16_at(head, 56)?);
    let plain = u64_at(head, 32)? == ELF_HEADER_BYTES as u64
        && usize::from(u16_at(head, 54)?) == PROGRAM_HEADER_BYTES
        && count <= SEGMENTS_MAX;
    if !plain {
        return None;
    }
    let mut found = Vec::new();
    for number in 0..count {
        let at = ELF_HEADER_BYTES + number * PROGRAM_HEADER_BYTES;
        if u32_at(head, at)? == LOAD {
            found.push(Segment {
                offset: usize::try_from(u64_at(head, at + 8)?).ok()?,
                at: u64_at(head, at + 24)?,
                file_len: usize::try_from(u64_at(head, at + 32)?).ok()?,
                memory_len: usize::try_from(u64_at(head, at + 40)?).ok()?,
            });
        }
    }
    Some((entry, found))
}

impl Plan {
    /// Checks that the segments can be put into place by moving each one down, in order.
    fn new(head: &[u8], len: usize, memory_end: u64) -> Result<Plan, &'static str> {
        let odd = "its ELF header is not that of a kernel";
        let (entry, segments) = segments(head).ok_or(odd)?;
        let first = segments.first().ok_or(odd)?;
        let base = first.at.checked_sub(first.offset as u64).ok_or(odd)?;
        let image_end = base.checked_add(len as u64).ok_or(odd)?;
        if base < HIGH_RAM || image_end > memory_end {
            return Err("it doesn't fit into the VM's memory");
        }
        let (mut file_end, mut place_end) = (0, base);
        for segment in &segments {
            let source_end = segment.offset.checked_add(segment.file_len).ok_or(odd)?;
            let end = segment
                .at
                .checked_add(segment.memory_len as u64)
                .ok_or(odd)?;
            if source_end > len || end > image_end {
                return Err(odd);
            }
            let in_order = segment.offset >= file_end && segment.at >= place_end;
            let downwards = segment.at <= base + segment.offset as u64
                && segment.file_len <= segment.memory_len;
            (file_end, place_end) = (source_end, end);
            if !in_order || !downwards {
                return Err(odd);
            }
        }
        if entry < first.at || entry >= first.at + first.file_len as u64 {
            return Err(odd);
        }
        Ok(Plan {
            base,
            entry,
            segments,
        })
    }

    /// Moves the segments of the unpacked image to their places, in the same bytes.
    fn place(&self, image: &mut [u8]) -> Result<(), &'static str> {
        for segment in &self.segments {
            let to = usize::try_from(segment.at - self.base).map_err(|_| "it is too large")?;
            image.copy_within(segment.offset..segment.offset + segment.file_len, to);
        }
        // Zeroing comes last: a segment's zeros may lie where a later one was unpacked.
        for segment in &self.segments {
            let to = usize::try_from(segment.at - self.base).map_err(|_| "it is too large")?;
            image[to + segment.file_len..to + segment.memory_len].fill(0);
        }
        Ok(())
    }
}

/// Head of an ELF file as a hostile kernel may carry it.
pub(crate) fn fuzz_head(data: &[u8]) {
    const LEN: usize = 1 << 16;
    if let Ok(mut plan) = Plan::new(data, LEN, HIGH_RAM + (8 << 20)) {
        assert!(plan.base >= HIGH_RAM);
        plan.segments.truncate(SEGMENTS_MAX);
        plan.place(&mut vec![1; LEN])
            .expect("a checked plan can be carried out");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{HIGH_RAM, Plan};

    /// An ELF head with these segments: offset, address, bytes in file, bytes in memory.
    fn head(entry: u64, segments: &[(u64, u64, u64, u64)]) -> Vec<u8> {
        let mut head = vec![0; 64];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        head[18] = 62;
        head[24..32].copy_from_slice(&entry.to_le_bytes());
        head[32] = 64;
        head[54] = 56;
        head[56] = u8::try_from(segments.len()).unwrap();
        for (offset, at, file_len, memory_len) in segments {
            head.extend([1, 0, 0, 0, 5, 0, 0, 0]);
            for value in [*offset, 0, *at, *file_len, *memory_len, 0] {
                head.extend(value.to_le_bytes());
            }
        }
        head
    }

    #[test]
    fn segments_move_down_to_their_places() {
        let start = HIGH_RAM + 0x100;
        let segments = [
            (0x100, start, 0x80, 0x80),
            (0x300, start + 0x90, 0x40, 0x60),
        ];
        let plan = Plan::new(&head(start, &segments), 0x1000, HIGH_RAM + 0x10000).unwrap();
        assert_eq!((plan.base, plan.entry), (HIGH_RAM, start));
        let mut image: Vec<u8> = (0..0x1000u32)
            .map(|at| at.to_le_bytes()[0] >> 4 | at.to_le_bytes()[1] << 4)
            .collect();
        plan.place(&mut image).unwrap();
        assert_eq!(image[0x100], 0x10);
        assert_eq!(image[0x190], 0x30);
        assert_eq!(image[0x1d0..0x1f0], [0; 0x20]);
    }

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn what_does_not_fit_the_pattern_is_left_packed() {
        let start = HIGH_RAM + 0x100;
        let end = HIGH_RAM + 0x10000;
        let plan = |entry, segments: &[_]| Plan::new(&head(entry, segments), 0x1000, end).is_ok();
        //          entry      offset  address       in file  in memory
        assert!( plan(start, &[(0x100, start,         0x80,    0x80)]));
        assert!(!plan(0,     &[(0x100, start,         0x80,    0x80)])); // entry outside
        assert!(!plan(start, &[])); // nothing to load
        assert!(!plan(start, &[(0x100, 0x80,          0x80,    0x80)])); // below 1 MiB
        assert!(!plan(start, &[(0x100, u64::MAX,      0x80,    0x80)])); // wraps
        assert!(!plan(start, &[(0x100, start,         0x1000,  0x1000)])); // past the file
        assert!(!plan(start, &[(0x100, start,         0x80,    0x40)])); // shrinks
        assert!(!plan(start, &[(0x100, start,         0x80,    0x80), (0x200, start + 0x900, 8, 8)])); // upwards
        assert!(!plan(start, &[(0x100, start,         0x80,    0x80), (0x200, start + 0x40, 8, 8)])); // overlaps
    }
}
