//! A block request: parsed once, or refused.

use crate::blk::SECTOR_BYTES;
use crate::device::Memory;
use crate::ring::Chain;

/// Type, reserved, sector.
pub(super) const HEADER_BYTES: usize = 16;

/// What the guest wants. Every number was checked against the disk and the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// Fill the writable part, without its last byte, from byte `at` of the disk.
    Read { at: u64, len: u32 },
    /// Store the readable part, without the header, at byte `at` of the disk.
    Write { at: u64, len: u32 },
    /// Make earlier writes durable.
    Flush,
    /// Say the disk's name.
    Id { len: usize },
}

/// To hold one is the proof that it can be acted upon.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) op: Op,
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadRequest {
    /// No room for a status: the chain can only be given back.
    NoStatus,
    /// A type that this device doesn't offer.
    Unsupported,
    /// Outside of the disk, no multiple of a sector, a write to a read-only disk.
    Refused,
}

/// Reads guest memory once, touches no disk.
pub(super) fn parse(
    chain: &Chain,
    memory: &Memory,
    sectors: u64,
    read_only: bool,
) -> Result<Request, BadRequest> {
    if chain.fault().is_some() || chain.writable_len() == 0 {
        return Err(BadRequest::NoStatus);
    }
    let mut header = [0; HEADER_BYTES];
    if chain.copy_out(memory, 0, &mut header) != HEADER_BYTES {
        return Err(BadRequest::Refused);
    }
    let [t0, t1, t2, t3, _, _, _, _, sector @ ..] = header;
    let kind = u32::from_le_bytes([t0, t1, t2, t3]);
    let sector = u64::from_le_bytes(sector);
    let data_out = chain.readable_len() - HEADER_BYTES as u64;
    let data_in = chain.writable_len() - 1;
    let op = match kind {
        0 => {
            let (at, len) = range(sector, data_in, sectors)?;
            Op::Read { at, len }
        }
        1 if read_only => return Err(BadRequest::Refused),
        1 => {
            let (at, len) = range(sector, data_out, sectors)?;
            Op::Write { at, len }
        }
        4 => Op::Flush,
        8 => Op::Id {
            len: usize::try_from(data_in).map_err(|_| BadRequest::Refused)?,
        },
        _ => return Err(BadRequest::Unsupported),
    };
    Ok(Request { op })
}

fn range(sector: u64, len: u64, sectors: u64) -> Result<(u64, u32), BadRequest> {
    let count = len / SECTOR_BYTES;
    let end = sector.checked_add(count).ok_or(BadRequest::Refused)?;
    if !len.is_multiple_of(SECTOR_BYTES) || end > sectors {
        return Err(BadRequest::Refused);
    }
    let len = u32::try_from(len).map_err(|_| BadRequest::Refused)?;
    Ok((sector * SECTOR_BYTES, len))
}

#[cfg(test)]
mod tests {
    use super::{BadRequest, range};

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn a_range_lies_on_whole_sectors_inside_the_disk() {
        let bad = Err(BadRequest::Refused);
        //             sector    len  sectors
        assert_eq!(range(0,      512,  1), Ok((0, 512)));
        assert_eq!(range(1,      512,  1), bad); // one behind the end
        assert_eq!(range(0,     1024,  1), bad); // across the end
        assert_eq!(range(0,      511,  1), bad); // part of a sector
        assert_eq!(range(1,        0,  1), Ok((512, 0)));
        assert_eq!(range(u64::MAX, 512, 9), bad); // wraps around
    }
}
