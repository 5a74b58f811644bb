//! The disk behind a budget: every byte that a parser sees comes through here.
//!
//! Does:      reads at once what lies close together; cuts ranges at their ends; counts.
//! Does not:  open anything: the caller's `ReadAt` does, and may refuse for lack of time.
//! Bounds:    `Limits`; one window of `WINDOW_BYTES`.
//! Trusts:    `ReadAt` to fill what it says it filled.
//! Start at:  `Disk::read`.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

/// Read at once when a parser asks for little: configuration and metadata lie close together.
const WINDOW_BYTES: u64 = 64 << 10;
/// Windows start at multiples of this.
const ALIGN_BYTES: u64 = 4096;

/// A disk, or whatever looks like one. The implementation may refuse for lack of time.
pub trait ReadAt {
    /// Size in bytes.
    fn size(&self) -> u64;
    /// Fills `into` from the byte `at`; the range is inside `size`.
    fn read_at(&self, at: u64, into: &mut [u8]) -> std::io::Result<()>;
}

/// What a search may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes read from the disk until kernel and initrd are found.
    pub search_bytes: u64,
    /// Reads until then.
    pub search_reads: u64,
    /// Bytes of kernel and initrd together.
    pub load_bytes: u64,
}

impl Default for Limits {
    /// Ten times what the largest image looked at so far needed.
    fn default() -> Limits {
        Limits {
            search_bytes: 256 << 20,
            search_reads: 20_000,
            load_bytes: 2 << 30,
        }
    }
}

/// Why bytes did not come.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The structures on the disk lead out of it.
    #[error("the disk ends before what was to be read at byte {at}")]
    Outside {
        /// Where on the disk.
        at: u64,
    },
    /// The budget is used up: a search in circles, or an absurd image.
    #[error("the search took more reads or bytes than it is allowed")]
    Budget,
    /// The disk failed, or time is up.
    #[error("reading the disk at byte {at}: {why}")]
    Disk {
        /// Where.
        at: u64,
        /// In the disk's words.
        why: String,
    },
    /// A file system's structures make no sense.
    #[error("damaged file system: {0}")]
    Damaged(String),
}

struct Shared {
    source: Box<dyn ReadAt>,
    bytes_left: Cell<u64>,
    reads_left: Cell<u64>,
    window: RefCell<Window>,
}

#[derive(Default)]
struct Window {
    at: u64,
    bytes: Vec<u8>,
}

/// A range of the disk. Cheap to copy; all copies share one budget.
#[derive(Clone)]
pub(crate) struct Disk {
    shared: Rc<Shared>,
    start: u64,
    len: u64,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Disk({}..+{})", self.start, self.len)
    }
}

impl Disk {
    pub(crate) fn new(source: Box<dyn ReadAt>, limits: Limits) -> Disk {
        let len = source.size();
        Disk {
            shared: Rc::new(Shared {
                source,
                bytes_left: Cell::new(limits.search_bytes),
                reads_left: Cell::new(limits.search_reads),
                window: RefCell::default(),
            }),
            start: 0,
            len,
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The search is over: from here on, so many bytes may be read, in any number of reads.
    pub(crate) fn allow(&self, bytes: u64) {
        self.shared.bytes_left.set(bytes);
        self.shared.reads_left.set(u64::MAX);
    }

    /// A part of this range, cut at its end.
    pub(crate) fn slice(&self, start: u64, len: u64) -> Disk {
        let start = start.min(self.len);
        Disk {
            shared: Rc::clone(&self.shared),
            start: self.start + start,
            len: len.min(self.len - start),
        }
    }

    /// Fills `into` from the byte `at` of this range.
    pub(crate) fn read(&self, at: u64, into: &mut [u8]) -> Result<(), ReadError> {
        let end = at.checked_add(into.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            let at = self.start.saturating_add(at);
            return Err(ReadError::Outside { at });
        }
        self.shared.read(self.start + at, into)
    }

    /// A fixed number of bytes.
    pub(crate) fn array<const N: usize>(&self, at: u64) -> Result<[u8; N], ReadError> {
        let mut bytes = [0; N];
        self.read(at, &mut bytes)?;
        Ok(bytes)
    }
}

impl Shared {
    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), ReadError> {
        let len = into.len() as u64;
        if len >= WINDOW_BYTES {
            return self.fetch(at, into);
        }
        let mut window = self.window.borrow_mut();
        let inside = at >= window.at && at + len <= window.at + window.bytes.len() as u64;
        if !inside {
            let first = at - at % ALIGN_BYTES;
            let size = (self.source.size() - first).min(WINDOW_BYTES.max(at + len - first));
            window.at = first;
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            window.bytes.resize(size, 0);
            if let Err(error) = self.fetch(first, &mut window.bytes) {
                window.bytes.clear();
                return Err(error);
            }
        }
        let from = usize::try_from(at - window.at).unwrap_or(usize::MAX);
        into.copy_from_slice(&window.bytes[from..from + into.len()]);
        Ok(())
    }

    fn fetch(&self, at: u64, into: &mut [u8]) -> Result<(), ReadError> {
        let bytes = self.bytes_left.get().checked_sub(into.len() as u64);
        let reads = self.reads_left.get().checked_sub(1);
        let (Some(bytes), Some(reads)) = (bytes, reads) else {
            return Err(ReadError::Budget);
        };
        self.bytes_left.set(bytes);
        self.reads_left.set(reads);
        self.source
            .read_at(at, into)
            .map_err(|error| ReadError::Disk {
                at,
                why: error.to_string(),
            })
    }
}

/// Little-endian numbers out of bytes; zero where the bytes end, which no caller relies on.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let part = bytes.get(at..).and_then(<[u8]>::first_chunk);
    part.map_or(0, |part| u16::from_le_bytes(*part))
}

/// As `u16_at`.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let part = bytes.get(at..).and_then(<[u8]>::first_chunk);
    part.map_or(0, |part| u32::from_le_bytes(*part))
}

/// As `u16_at`.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let part = bytes.get(at..).and_then(<[u8]>::first_chunk);
    part.map_or(0, |part| u64::from_le_bytes(*part))
}

/// Bytes as a disk, for tests and fuzz targets.
#[derive(Clone, Debug)]
pub(crate) struct Bytes(pub(crate) Rc<[u8]>);

impl ReadAt for Bytes {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> std::io::Result<()> {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        into.copy_from_slice(&self.0[at..at + into.len()]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{Bytes, Disk, Limits, ReadError};

    fn disk(reads: u64) -> Disk {
        let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
        let limits = Limits {
            search_reads: reads,
            ..Limits::default()
        };
        Disk::new(Box::new(Bytes(bytes.into())), limits)
    }

    #[test]
    fn a_slice_reads_its_own_bytes_and_no_others() {
        let disk = disk(100).slice(256, 1000).slice(10, 2000);
        assert_eq!(disk.len(), 990);
        assert_eq!(disk.array::<3>(0), Ok([10, 11, 12]));
        assert!(disk.array::<2>(988).is_ok());
        assert_eq!(disk.array::<3>(988), Err(ReadError::Outside { at: 1254 }));
        assert_eq!(
            disk.array::<3>(u64::MAX).unwrap_err(),
            ReadError::Outside { at: u64::MAX }
        );
    }

    #[test]
    fn near_reads_cost_one_and_the_budget_ends() {
        let disk = disk(2);
        for at in 0..1000 {
            disk.array::<16>(at * 16).unwrap();
        }
        disk.array::<16>(200_000).unwrap();
        assert_eq!(disk.array::<1>(0), Err(ReadError::Budget));
        disk.allow(WINDOW);
        disk.array::<1>(0).unwrap();
        assert_eq!(disk.array::<1>(200_000), Err(ReadError::Budget));
    }

    const WINDOW: u64 = super::WINDOW_BYTES;
}
