//! The kernel's file systems that a node uses.
//!
//! Does:      mounts the table below, in order; creates missing mount points.
//! Does not:  touch disks.
//! Bounds:    the table; both tmpfs have a size.
//! Trusts:    the kernel.
//! Start at:  `TABLE`.

use rustix::mount::{MountFlags, mount};
use std::ffi::CString;
use std::io;

/// One line of the table: what is mounted where.
#[derive(Debug, Clone, Copy)]
pub struct Mount {
    pub kind: &'static str,
    pub at: &'static str,
    pub data: &'static str,
    flags: MountFlags,
    /// A node without it still works; its absence is a warning.
    pub optional: bool,
}

const SAFE: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);

/// In the order of mounting.
#[rustfmt::skip] // keeps the columns
pub const TABLE: &[Mount] = &[
    Mount { kind: "proc",     at: "/proc",           data: "",                     flags: SAFE, optional: false },
    Mount { kind: "sysfs",    at: "/sys",            data: "",                     flags: SAFE, optional: false },
    Mount { kind: "devtmpfs", at: "/dev",            data: "mode=0755",            flags: MountFlags::NOSUID, optional: false },
    Mount { kind: "devpts",   at: "/dev/pts",        data: "mode=0600,ptmxmode=0000", flags: MountFlags::NOSUID.union(MountFlags::NOEXEC), optional: true },
    Mount { kind: "tmpfs",    at: "/run",            data: "mode=0755,size=16m",   flags: SAFE, optional: false },
    Mount { kind: "tmpfs",    at: "/tmp",            data: "mode=1777,size=16m",   flags: SAFE, optional: false },
    Mount { kind: "cgroup2",  at: "/sys/fs/cgroup",  data: "",                     flags: SAFE, optional: false },
    Mount { kind: "pstore",   at: "/sys/fs/pstore",  data: "",                     flags: SAFE, optional: true },
];

/// A file system that could not be mounted.
#[derive(Debug, thiserror::Error)]
#[error("mounting {kind} at {at}")]
pub struct MountError {
    pub kind: &'static str,
    pub at: &'static str,
    pub source: io::Error,
}

/// Mounts the whole table. Optional entries that fail are returned; another failure ends it.
///
/// # Errors
/// When a file system that no node can do without is refused.
pub fn mount_all() -> Result<Vec<MountError>, MountError> {
    let mut missing = Vec::new();
    for entry in TABLE {
        match mount_one(entry) {
            Ok(()) => {}
            Err(source) => {
                let error = MountError {
                    kind: entry.kind,
                    at: entry.at,
                    source,
                };
                if !entry.optional {
                    return Err(error);
                }
                missing.push(error);
            }
        }
    }
    Ok(missing)
}

/// Mounts one entry; one that is mounted already counts as done.
fn mount_one(entry: &Mount) -> io::Result<()> {
    match std::fs::create_dir(entry.at) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let data = CString::new(entry.data)?;
    match mount(
        entry.kind,
        entry.at,
        entry.kind,
        entry.flags,
        Some(data.as_c_str()),
    ) {
        Err(rustix::io::Errno::BUSY) | Ok(()) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
