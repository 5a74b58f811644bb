//! A disk as the store needs it: bytes at places, and a sync.
//!
//! Start at:  `Disk`.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A raw disk of a fixed size.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Its size in bytes.
    fn size(&self) -> u64;

    /// Fills `out` from `offset` on.
    ///
    /// # Errors
    /// When the disk does, or the range leaves it.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes `bytes` at `offset`; they are safe after the next `sync`.
    ///
    /// # Errors
    /// When the disk does, or the range leaves it.
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Returns when everything written before is safe.
    ///
    /// # Errors
    /// When the disk does: then nothing is known about what was written since the last one.
    fn sync(&self) -> io::Result<()>;
}

impl<D: Disk + ?Sized> Disk for std::sync::Arc<D> {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        (**self).read(offset, out)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        (**self).write(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        (**self).sync()
    }
}

/// A partition or a file of a fixed size.
#[derive(Debug)]
pub struct FileDisk {
    file: File,
    size: u64,
}

impl FileDisk {
    /// `size` in bytes: block devices tell theirs in other ways than files.
    #[must_use]
    pub fn new(file: File, size: u64) -> Self {
        Self { file, size }
    }
}

impl Disk for FileDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
