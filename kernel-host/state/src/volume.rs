//! A raw disk that has a length, as a file has.
//!
//! Does:      keeps the length in two headers that are written in turn, so that a power cut leaves
//!            one of them whole; gives redb what is behind them.
//! Does not:  keep the content safe; redb's own checksums and transactions do.
//! Bounds:    the disk's size less `CONTENT_AT`.
//! Trusts:    nobody: a disk that begins with foreign bytes is refused.
//! Start at:  `Volume::open`.
//!
//! A header, little-endian: 8 bytes magic, u32 format, u32 zero, u64 generation, u64 length of the
//! content, CRC-32 of all that. One stands at 0, one at `STRIDE_BYTES`; the larger generation
//! counts.

use crate::Disk;
use redb::StorageBackend;
use std::io;
use std::sync::{Mutex, PoisonError};

const MAGIC: [u8; 8] = *b"LUCSTATE";
const FORMAT: u32 = 1;
const HEADER_BYTES: usize = 36;
/// Far enough apart that no sector, and no torn write of a few, holds both.
const STRIDE_BYTES: usize = 32 << 10;
/// What stands before the content.
const FRONT_BYTES: usize = 2 * STRIDE_BYTES;
const CONTENT_AT: u64 = FRONT_BYTES as u64;
/// Zeros are written in pieces of this size.
const PIECE_BYTES: usize = 64 << 10;

/// Why a disk is no volume of ours.
#[derive(Debug, thiserror::Error)]
pub enum BadVolume {
    #[error("the partition has {size} bytes, fewer than {CONTENT_AT}")]
    Small { size: u64 },
    #[error("the partition holds something that is not ours")]
    Foreign,
    #[error("the partition is of format {format}; this image knows format {FORMAT}")]
    Newer { format: u32 },
    #[error("the partition can't be read")]
    Read(#[source] io::Error),
    #[error("the partition can't be written")]
    Write(#[source] io::Error),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    generation: u64,
    length: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Volume<D> {
    disk: D,
    header: Mutex<Header>,
}

impl<D: Disk> Volume<D> {
    /// Opens a volume, or makes one of a disk that begins with nothing but zeros.
    ///
    /// # Errors
    /// See [`BadVolume`]. Only `Write` may have changed something, and then only an empty disk.
    pub fn open(disk: D) -> Result<Self, BadVolume> {
        let size = disk.size();
        if size <= CONTENT_AT {
            return Err(BadVolume::Small { size });
        }
        let mut front = vec![0; FRONT_BYTES];
        disk.read(0, &mut front).map_err(BadVolume::Read)?;
        let most = size - CONTENT_AT;
        if let Some(header) = newest(&front, most)? {
            let header = Mutex::new(header);
            return Ok(Self { disk, header });
        }
        if front.iter().any(|byte| *byte != 0) {
            return Err(BadVolume::Foreign);
        }
        let header = Header {
            generation: 1,
            length: 0,
        };
        disk.write(place(header.generation), &header.bytes())
            .and_then(|()| disk.sync())
            .map_err(BadVolume::Write)?;
        let header = Mutex::new(header);
        Ok(Self { disk, header })
    }

    fn header(&self) -> Header {
        *self.header.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn zero(&self, from: u64, to: u64) -> io::Result<()> {
        let zeros = vec![0; PIECE_BYTES];
        let mut at = from;
        while at < to {
            let count = (to - at).min(PIECE_BYTES as u64);
            let piece = usize::try_from(count).unwrap_or(PIECE_BYTES);
            self.disk.write(CONTENT_AT + at, &zeros[..piece])?;
            at += count;
        }
        Ok(())
    }

    fn inside(&self, offset: u64, count: usize) -> io::Result<u64> {
        let end = offset.checked_add(count as u64);
        if end.is_some_and(|end| end <= self.header().length) {
            Ok(CONTENT_AT + offset)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

impl<D: Disk> StorageBackend for Volume<D> {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.header().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let at = self.inside(offset, out.len())?;
        self.disk.read(at, out)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), io::Error> {
        let at = self.inside(offset, bytes.len())?;
        self.disk.write(at, bytes)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.disk.sync()
    }

    /// New bytes are zero, as in a file: they are written, since a raw disk holds old ones.
    fn set_len(&self, length: u64) -> Result<(), io::Error> {
        let old = self.header();
        if length > self.disk.size() - CONTENT_AT {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if length == old.length {
            return Ok(());
        }
        self.zero(old.length, length)?;
        // Neither may the length be safe before the zeros, nor the next change before this one.
        self.disk.sync()?;
        let new = Header {
            generation: old.generation + 1,
            length,
        };
        self.disk.write(place(new.generation), &new.bytes())?;
        self.disk.sync()?;
        *self.header.lock().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }
}

/// Where the header of a generation stands.
const fn place(generation: u64) -> u64 {
    generation % 2 * STRIDE_BYTES as u64
}

impl Header {
    fn bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.generation.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.length.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..32]);
        bytes[32..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// `Ok(None)`: no whole header.
    fn parse(bytes: &[u8]) -> Result<Option<Self>, BadVolume> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let sum = u32::from_le_bytes([bytes[32], bytes[33], bytes[34], bytes[35]]);
        if bytes[..8] != MAGIC || crc32fast::hash(&bytes[..32]) != sum {
            return Ok(None);
        }
        let format = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        if format != FORMAT {
            return Err(BadVolume::Newer { format });
        }
        let number = |at: usize| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(eight)
        };
        Ok(Some(Self {
            generation: number(16),
            length: number(24),
        }))
    }
}

/// The newest whole header in the front of a disk whose content may have `most` bytes.
fn newest(front: &[u8], most: u64) -> Result<Option<Header>, BadVolume> {
    let mut best: Option<Header> = None;
    for at in [0, STRIDE_BYTES] {
        let header = Header::parse(front.get(at..).unwrap_or_default())?;
        let fits = |header: &Header| header.length <= most && header.generation < u64::MAX;
        let header = header.filter(fits);
        best = [best, header]
            .into_iter()
            .flatten()
            .max_by_key(|it| it.generation);
    }
    Ok(best)
}

/// Fuzz entry: any front of a disk gives a length that fits, or a reason.
pub fn fuzz_header(data: &[u8]) {
    let most = 1 << 30;
    if let Ok(Some(header)) = newest(data, most) {
        assert!(header.length <= most);
        let again = Header::parse(&header.bytes());
        assert!(matches!(again, Ok(Some(same)) if same == header));
    }
}
