//! A disk of the guest: a raw file or block device behind a descriptor.
//!
//! Does:      reads and writes guest memory directly, without a copy of ours.
//! Does not:  know formats: the bytes of the file are the bytes of the disk.
//! Trusts:    the parent for the descriptor.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsRawFd;

use virtio::{Disk, DiskError};
use vm_memory::VolatileSlice;

/// The file.
#[derive(Debug)]
pub(crate) struct FileDisk {
    file: File,
    len: u64,
    read_only: bool,
}

/// Which way bytes go.
#[derive(Clone, Copy)]
enum Way {
    ToGuest,
    ToDisk,
}

impl FileDisk {
    /// Seeking to the end measures block devices too.
    pub(crate) fn new(mut file: File, read_only: bool) -> io::Result<FileDisk> {
        let len = file.seek(SeekFrom::End(0))?;
        Ok(FileDisk {
            file,
            len,
            read_only,
        })
    }

    fn transfer(&self, at: u64, slice: &VolatileSlice<'_>, way: Way) -> Result<(), DiskError> {
        let mut done = 0;
        while done < slice.len() {
            let part = slice.offset(done).map_err(|_| DiskError)?;
            let guard = part.ptr_guard_mut();
            let at = at.checked_add(done as u64).ok_or(DiskError)?;
            let at = libc::off_t::try_from(at).map_err(|_| DiskError)?;
            let fd = self.file.as_raw_fd();
            let moved = match way {
                // SAFETY: pread wants `len` writable bytes at the pointer for the call.
                // - The slice was checked to lie in the guest's mapping, which lives as long as
                //   the process; `guard` holds it meanwhile.
                // - Nothing else sees these bytes as Rust references.
                Way::ToGuest => unsafe { libc::pread(fd, guard.as_ptr().cast(), part.len(), at) },
                // SAFETY: pwrite wants `len` readable bytes at the pointer for the call; as above.
                Way::ToDisk => unsafe { libc::pwrite(fd, guard.as_ptr().cast(), part.len(), at) },
            };
            match usize::try_from(moved) {
                Ok(0) => return Err(DiskError), // the file shrank
                Ok(moved) => done += moved,
                Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(DiskError),
            }
        }
        Ok(())
    }
}

impl Disk for FileDisk {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn read(&mut self, at: u64, into: &VolatileSlice<'_>) -> Result<(), DiskError> {
        self.transfer(at, into, Way::ToGuest)
    }

    fn write(&mut self, at: u64, from: &VolatileSlice<'_>) -> Result<(), DiskError> {
        self.transfer(at, from, Way::ToDisk)
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        self.file.sync_data().map_err(|_| DiskError)
    }
}
