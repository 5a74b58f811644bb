//! A disk in memory that fails on command: for tests and simulations.
//!
//! Does:      loses what was not synced, tears a write at a sector, flips a bit, is full, is
//!            write-protected, stalls, or answers with errors; the same dice give the same faults.
//! Does not:  model time: a stall lasts until the test ends it.
//! Bounds:    its size, in memory.
//! Trusts:    its test.
//! Start at:  `FaultyDisk::power_cut`.

use crate::Disk;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

const SECTOR_BYTES: u64 = 512;

#[derive(Debug, Default)]
struct Inside {
    safe: Vec<u8>,
    /// What a power cut may lose, in the order of writing.
    pending: Vec<(u64, Vec<u8>)>,
    broken: bool,
    protected: bool,
    stalled: bool,
    /// Writes until it breaks down.
    writes_left: Option<u64>,
    syncs: u64,
}

/// A disk that several handles share: one survives the power cut of the other's owner.
#[derive(Debug, Clone, Default)]
pub struct FaultyDisk(Arc<(Mutex<Inside>, Condvar)>);

impl FaultyDisk {
    /// An empty disk of this many bytes.
    #[must_use]
    pub fn new(size: usize) -> Self {
        let disk = Self::default();
        disk.inside().safe = vec![0; size];
        disk
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For whoever asks the disk to do something: that waits while it stalls.
    fn answering(&self) -> MutexGuard<'_, Inside> {
        let inside = self.inside();
        let stalls = |inside: &mut Inside| inside.stalled;
        let answered = self.0.1.wait_while(inside, stalls);
        answered.unwrap_or_else(PoisonError::into_inner)
    }

    /// The power goes: of the writes since the last sync each is kept, lost or torn at a sector, as
    /// `dice` (a number below its argument) says. The disk then works on.
    pub fn power_cut(&self, mut dice: impl FnMut(u64) -> u64) {
        let mut inside = self.inside();
        let pending = std::mem::take(&mut inside.pending);
        for (offset, bytes) in pending {
            let sectors = (bytes.len() as u64).div_ceil(SECTOR_BYTES);
            let kept = match dice(3) {
                0 => 0,
                1 => bytes.len(),
                _ => usize::try_from(dice(sectors + 1) * SECTOR_BYTES).unwrap_or(0),
            };
            inside.put(offset, &bytes[..kept.min(bytes.len())]);
        }
        inside.broken = false;
        inside.writes_left = None;
    }

    /// Turns one bit, below the disk's knowledge.
    pub fn flip_bit(&self, bit: u64) {
        let mut inside = self.inside();
        let at = usize::try_from(bit / 8).unwrap_or(usize::MAX);
        if let Some(byte) = inside.safe.get_mut(at) {
            *byte ^= 1 << (bit % 8);
        }
    }

    /// From now on everything fails, until the next power cut.
    pub fn break_down(&self) {
        self.inside().broken = true;
    }

    /// Everything fails after so many more writes, until the next power cut.
    pub fn break_after(&self, writes: u64) {
        self.inside().writes_left = Some(writes);
    }

    /// Whether writes and syncs fail, and reads do not.
    pub fn protect(&self, protected: bool) {
        self.inside().protected = protected;
    }

    /// Whether nothing is answered: who asks waits.
    pub fn stall(&self, stalled: bool) {
        self.inside().stalled = stalled;
        self.0.1.notify_all();
    }

    /// Syncs so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.inside().syncs
    }
}

impl Inside {
    fn put(&mut self, offset: u64, bytes: &[u8]) {
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        if let Some(place) = self.safe.get_mut(at..at.saturating_add(bytes.len())) {
            place.copy_from_slice(bytes);
        }
    }

    fn check(&self, offset: u64, count: usize) -> io::Result<()> {
        let end = offset.saturating_add(count as u64);
        if self.broken {
            Err(io::Error::other("the disk has broken down"))
        } else if end > self.safe.len() as u64 {
            Err(io::ErrorKind::UnexpectedEof.into())
        } else {
            Ok(())
        }
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.protected {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        Ok(())
    }
}

impl Disk for FaultyDisk {
    fn size(&self) -> u64 {
        self.inside().safe.len() as u64
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let inside = self.answering();
        inside.check(offset, out.len())?;
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        out.copy_from_slice(&inside.safe[at..at + out.len()]);
        // What was written last is what is read.
        for (start, bytes) in &inside.pending {
            let from = (*start).max(offset);
            let to = (start + bytes.len() as u64).min(offset + out.len() as u64);
            let local = |at: u64, zero: u64| usize::try_from(at - zero).unwrap_or(usize::MAX);
            if from < to {
                let source = &bytes[local(from, *start)..local(to, *start)];
                out[local(from, offset)..local(to, offset)].copy_from_slice(source);
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut inside = self.answering();
        match inside.writes_left.as_mut().map(|left| left.checked_sub(1)) {
            Some(None) => inside.broken = true,
            Some(left) => inside.writes_left = left,
            None => {}
        }
        inside.check(offset, bytes.len())?;
        inside.check_writable()?;
        inside.pending.push((offset, bytes.to_vec()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut inside = self.answering();
        inside.check(0, 0)?;
        inside.check_writable()?;
        inside.syncs += 1;
        let pending = std::mem::take(&mut inside.pending);
        for (offset, bytes) in pending {
            inside.put(offset, &bytes);
        }
        Ok(())
    }
}
