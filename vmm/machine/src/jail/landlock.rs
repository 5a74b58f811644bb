//! Landlock: no file, no TCP port, no signal to others, whatever the rest of the jail is.
//!
//! Does:      denies everything that the running kernel's Landlock can deny. Descriptors that are
//!            open already stay usable.
//! Does not:  replace the namespaces; it is what stands when they were refused.
//! Trusts:    the kernel.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// What to deny, in the kernel's layout; later kernels know more fields.
#[repr(C)]
struct Ruleset {
    files: u64,
    network: u64,
    scopes: u64,
}

/// Ask for the version instead of a ruleset.
const VERSION: libc::c_ulong = 1;
/// File rights that exist from a version on, as the number of bits.
const FILE_RIGHTS: [(i64, u32); 4] = [(1, 13), (2, 14), (3, 15), (5, 16)];
/// Bind and connect of TCP, from version 4.
const NETWORK_RIGHTS: u64 = 0b11;
/// Abstract unix sockets and signals, from version 6.
const SCOPES: u64 = 0b11;

/// Denies all. `false`: the kernel has no Landlock.
pub(super) fn deny_all() -> io::Result<bool> {
    // SAFETY: landlock_create_ruleset(2) asked for its version wants a null attribute of size 0.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<Ruleset>(),
            0,
            VERSION,
        )
    };
    if version < 1 {
        return Ok(false); // ENOSYS, or EOPNOTSUPP when it's off
    }
    let (ruleset, size) = ruleset(version);
    // SAFETY: landlock_create_ruleset(2) wants a live attribute and its size.
    // - `ruleset` lives across the call and has at least `size` bytes.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const ruleset,
            size,
            0,
        )
    };
    let fd = i32::try_from(fd)
        .ok()
        .filter(|fd| *fd >= 0)
        .ok_or_else(io::Error::last_os_error)?;
    // SAFETY: `from_raw_fd` wants an open descriptor that nobody else owns.
    // - The kernel has just made it for us.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: landlock_restrict_self(2) wants a ruleset's descriptor and no flags.
    let ret = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, fd.as_raw_fd(), 0) };
    if ret == 0 {
        Ok(true)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// All that a version can deny, and the size of the attribute that it knows.
fn ruleset(version: i64) -> (Ruleset, usize) {
    let known = FILE_RIGHTS.iter().rev().find(|(from, _)| version >= *from);
    let files = known.map_or(0, |(_, bits)| (1 << bits) - 1);
    let network = if version >= 4 { NETWORK_RIGHTS } else { 0 };
    let scopes = if version >= 6 { SCOPES } else { 0 };
    let size = match version {
        ..4 => 8,
        4..6 => 16,
        _ => 24,
    };
    (
        Ruleset {
            files,
            network,
            scopes,
        },
        size,
    )
}

#[cfg(test)]
mod tests {
    use super::ruleset;

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn each_version_denies_all_it_knows() {
        //            version   files    network  scopes  bytes
        for (version, files, network, scopes, bytes) in [
            (1,         0x1fff,  0,       0,      8),
            (3,         0x7fff,  0,       0,      8),
            (4,         0x7fff,  3,       0,      16),
            (5,         0xffff,  3,       0,      16),
            (6,         0xffff,  3,       3,      24),
            (7,         0xffff,  3,       3,      24),
        ] {
            let (found, size) = ruleset(version);
            assert_eq!((found.files, found.network, found.scopes, size), (files, network, scopes, bytes));
        }
    }
}
