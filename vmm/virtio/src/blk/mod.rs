//! Block device: a disk for the guest.
//!
//! Does:      read, write, flush, get id; read-only disks refuse writes.
//! Does not:  cache, guess formats, discard or write zeroes (not offered to the guest).
//! Bounds:    one queue of `QUEUE_SIZE`; data goes straight between the disk and guest memory,
//!            so nothing here grows with a request.
//! Trusts:    the `Disk` for data, the guest for nothing.
//! Start at:  `Block::serve`.

mod request;

use vm_memory::VolatileSlice;

use crate::device::{Device, Kind, Memory, Turn, read_fields};
use crate::ring::{BadRing, Chain, Done, Ring, parts};
use request::{BadRequest, Op, Request};

/// The unit of the standard, whatever the disk's own is.
pub const SECTOR_BYTES: u64 = 512;
/// Requests in flight at most.
const QUEUE_SIZE: u16 = 128;
/// Buffers in one request, apart from its header and status. 64 fit half of the ring.
const SEGMENTS_MAX: u32 = 64;
/// Bytes of the answer to "get id".
const ID_BYTES: usize = 20;

const FEATURE_SEG_MAX: u64 = 1 << 2;
const FEATURE_READ_ONLY: u64 = 1 << 5;
const FEATURE_BLOCK_SIZE: u64 = 1 << 6;
const FEATURE_FLUSH: u64 = 1 << 9;

const STATUS_OK: u8 = 0;
const STATUS_IO_ERROR: u8 = 1;
const STATUS_UNSUPPORTED: u8 = 2;

/// Where the data lives. Offsets are in bytes and inside `len` when they arrive here.
pub trait Disk: Send {
    /// Size in bytes; what is behind the last whole sector is not visible.
    fn len(&self) -> u64;
    /// True without any sector.
    fn is_empty(&self) -> bool {
        self.len() < SECTOR_BYTES
    }
    /// Whether the guest may only read.
    fn read_only(&self) -> bool;
    /// Fills `into` from the disk.
    fn read(&mut self, at: u64, into: &VolatileSlice<'_>) -> Result<(), DiskError>;
    /// Writes `from` to the disk.
    fn write(&mut self, at: u64, from: &VolatileSlice<'_>) -> Result<(), DiskError>;
    /// Makes all earlier writes durable.
    fn flush(&mut self) -> Result<(), DiskError>;
}

/// The disk failed. The guest learns "I/O error" and nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskError;

/// What acting on a request came to.
struct Outcome {
    status: u8,
    /// Bytes written to the guest's data buffers.
    written: u32,
}

/// A virtio block device over some disk.
#[derive(Debug)]
pub struct Block<D> {
    disk: D,
    id: [u8; ID_BYTES],
    config: [u8; 24],
}

impl<D: Disk> Block<D> {
    /// `id` is what the guest sees as the serial number; it is cut at 20 bytes.
    pub fn new(disk: D, id: &str) -> Block<D> {
        let mut bytes = [0; ID_BYTES];
        for (to, from) in bytes.iter_mut().zip(id.bytes()) {
            *to = from;
        }
        let mut config = [0; 24];
        config[0..8].copy_from_slice(&(disk.len() / SECTOR_BYTES).to_le_bytes());
        config[12..16].copy_from_slice(&SEGMENTS_MAX.to_le_bytes());
        config[20..24].copy_from_slice(&512u32.to_le_bytes());
        Block {
            disk,
            id: bytes,
            config,
        }
    }

    fn sectors(&self) -> u64 {
        self.disk.len() / SECTOR_BYTES
    }

    /// The only side effects. Fails because of the disk, never because of the guest.
    fn act(&mut self, request: &Request, chain: &Chain, memory: &Memory) -> Outcome {
        let done = match request.op {
            Op::Read { at, len } => self.read(at, len, chain, memory),
            Op::Write { at, len } => self.write(at, len, chain, memory),
            Op::Flush => self.disk.flush().map(|()| 0),
            Op::Id { len } => {
                let id = &self.id[..len.min(ID_BYTES)];
                u32::try_from(chain.copy_in(memory, 0, id)).map_err(|_| DiskError)
            }
        };
        match done {
            Ok(written) => Outcome {
                status: STATUS_OK,
                written,
            },
            Err(DiskError) => Outcome {
                status: STATUS_IO_ERROR,
                written: 0,
            },
        }
    }

    fn read(
        &mut self,
        at: u64,
        len: u32,
        chain: &Chain,
        memory: &Memory,
    ) -> Result<u32, DiskError> {
        let mut at = at;
        for span in parts(chain.writable(), 0, len as usize) {
            for slice in span.slices(memory) {
                self.disk.read(at, &slice)?;
                at += slice.len() as u64;
            }
        }
        Ok(len)
    }

    fn write(
        &mut self,
        at: u64,
        len: u32,
        chain: &Chain,
        memory: &Memory,
    ) -> Result<u32, DiskError> {
        let mut at = at;
        for span in parts(chain.readable(), request::HEADER_BYTES, len as usize) {
            for slice in span.slices(memory) {
                self.disk.write(at, &slice)?;
                at += slice.len() as u64;
            }
        }
        Ok(0)
    }

    /// One chain from the ring to its status byte.
    fn run(&mut self, chain: &Chain, memory: &Memory) -> Done {
        let outcome = match request::parse(chain, memory, self.sectors(), self.disk.read_only()) {
            Ok(request) => self.act(&request, chain, memory),
            Err(BadRequest::NoStatus) => return Done::Refused,
            Err(BadRequest::Unsupported) => Outcome {
                status: STATUS_UNSUPPORTED,
                written: 0,
            },
            Err(BadRequest::Refused) => Outcome {
                status: STATUS_IO_ERROR,
                written: 0,
            },
        };
        let at = usize::try_from(chain.writable_len() - 1).unwrap_or(usize::MAX);
        match chain.copy_in(memory, at, &[outcome.status]) {
            1 => Done::Served(outcome.written + 1),
            _ => Done::Refused,
        }
    }
}

impl<D: Disk> Device for Block<D> {
    fn kind(&self) -> Kind {
        Kind::Block
    }

    fn features(&self) -> u64 {
        let base = FEATURE_SEG_MAX | FEATURE_BLOCK_SIZE | FEATURE_FLUSH;
        if self.disk.read_only() {
            base | FEATURE_READ_ONLY
        } else {
            base
        }
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &[QUEUE_SIZE]
    }

    fn read_config(&self, offset: usize, data: &mut [u8]) {
        read_fields(&self.config, offset, data);
    }

    fn serve(&mut self, _queue: u16, ring: &mut Ring, memory: &Memory) -> Result<Turn, BadRing> {
        ring.take_turn(memory, |chain| self.run(chain, memory))
    }

    fn reset(&mut self) {}
}
