//! The end of a run: power off, reboot.
//!
//! Does:      syncs the disks and tells the kernel.
//! Does not:  stop processes or VMs first; PID 1 does.
//! Bounds:    none needed.
//! Trusts:    the kernel; the calls don't come back.
//! Start at:  `end`.

use rustix::system::{RebootCommand, reboot};
use std::io;

/// What to do with the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    PowerOff,
    Reboot,
}

/// Makes ctrl-alt-del a SIGINT to PID 1 instead of a reset.
///
/// # Errors
/// When the caller may not.
pub fn catch_ctrl_alt_del() -> io::Result<()> {
    Ok(reboot(RebootCommand::CadOff)?)
}

/// Writes everything to disk and ends the run. Returns only if the kernel refused.
#[must_use]
pub fn end(how: End) -> io::Error {
    rustix::fs::sync();
    let command = match how {
        End::PowerOff => RebootCommand::PowerOff,
        End::Reboot => RebootCommand::Restart,
    };
    match reboot(command) {
        Ok(()) => io::Error::other("the kernel went on running"),
        Err(errno) => errno.into(),
    }
}
