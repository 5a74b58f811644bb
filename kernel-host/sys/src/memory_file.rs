//! Files in memory that, once sealed, nobody can change any more.
//!
//! Does:      makes one, writes at an offset, seals it, hands out a read-only opening.
//! Does not:  verify the content; the caller hashes what it writes.
//! Bounds:    the length given at the start; a write beyond it is refused.
//! Trusts:    the kernel's seals.
//! Start at:  `MemoryFile::create`.

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

/// A file in memory that is still being written.
#[derive(Debug)]
pub struct MemoryFile {
    file: File,
    length: u64,
}

/// A file in memory that will never change.
#[derive(Debug)]
pub struct SealedFile {
    file: File,
    length: u64,
}

impl MemoryFile {
    /// An empty file of a fixed length. Pages are taken as they are written.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn create(name: &str, length: u64) -> io::Result<MemoryFile> {
        let file = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&file, length)?;
        Ok(MemoryFile {
            file: File::from(file),
            length,
        })
    }

    /// Writes all bytes at the offset.
    ///
    /// # Errors
    /// When they don't fit, or memory is out.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > self.length) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "write beyond the file's end",
            ));
        }
        self.file.write_all_at(bytes, offset)
    }

    /// Reads at the offset; short at the end.
    ///
    /// # Errors
    /// When the kernel fails to read its own memory.
    pub fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(bytes, offset)
    }

    /// The plain file, for a VM that writes to it.
    #[must_use]
    pub fn into_file(self) -> File {
        self.file
    }

    /// Makes the file unchangeable: no write, no other length, no way back.
    ///
    /// # Errors
    /// When a writable mapping exists, which we never make.
    pub fn seal(self) -> io::Result<SealedFile> {
        let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        fcntl_add_seals(&self.file, seals)?;
        Ok(SealedFile {
            file: self.file,
            length: self.length,
        })
    }
}

impl SealedFile {
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// An opening of its own: read-only, with its own position.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn open(&self) -> io::Result<File> {
        File::open(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Read;

    #[test]
    fn a_sealed_file_reads_back_and_takes_no_more_writes() {
        let file = MemoryFile::create("test", 6).unwrap();
        file.write_at(b"def", 3).unwrap();
        file.write_at(b"abc", 0).unwrap();
        assert!(file.write_at(b"x", 6).is_err(), "beyond the end");
        assert!(
            file.write_at(b"x", u64::MAX).is_err(),
            "an overflowing offset"
        );
        let sealed = file.seal().unwrap();
        let mut text = String::new();
        sealed.open().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "abcdef");
        assert!(sealed.file.write_at(b"x", 0).is_err(), "sealed");
        assert_eq!(sealed.length(), 6);
    }
}
