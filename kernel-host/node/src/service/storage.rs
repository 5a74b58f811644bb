//! Where blobs live: sealed files in memory.
//!
//! Does:      makes, fills, seals and drops them as the cloud asks.
//! Does not:  check content; the cloud hashed every byte before it asked to seal.
//! Bounds:    those of the cloud, which reserves memory before it asks for a file.
//! Trusts:    the cloud's order: create, append, seal, drop.
//! Start at:  `Storage::create`.

use protocol::Digest;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use sys::memory_file::{MemoryFile, SealedFile};

#[derive(Debug)]
enum Stored {
    Filling(MemoryFile),
    Sealed(SealedFile),
}

/// All blobs of the node.
#[derive(Debug, Default)]
pub(crate) struct Storage {
    blobs: BTreeMap<Digest, Stored>,
}

impl Storage {
    pub fn create(&mut self, digest: Digest, size: u64) -> io::Result<()> {
        let file = MemoryFile::create(&digest.short(), size)?;
        self.blobs.insert(digest, Stored::Filling(file));
        Ok(())
    }

    pub fn append(&mut self, digest: Digest, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match self.blobs.get(&digest) {
            Some(Stored::Filling(file)) => file.write_at(bytes, offset),
            _ => Err(io::Error::other("the blob is not being filled")),
        }
    }

    pub fn seal(&mut self, digest: Digest) -> io::Result<()> {
        match self.blobs.remove(&digest) {
            Some(Stored::Filling(file)) => {
                self.blobs.insert(digest, Stored::Sealed(file.seal()?));
                Ok(())
            }
            Some(sealed) => {
                self.blobs.insert(digest, sealed);
                Ok(())
            }
            None => Err(io::Error::other("the blob is not here")),
        }
    }

    pub fn drop_blob(&mut self, digest: Digest) {
        self.blobs.remove(&digest);
    }

    /// A read-only opening and the length.
    pub fn open(&self, digest: Digest) -> io::Result<(File, u64)> {
        match self.blobs.get(&digest) {
            Some(Stored::Sealed(file)) => Ok((file.open()?, file.length())),
            _ => Err(io::Error::other("the blob is not complete")),
        }
    }
}
