//! Starting the jailed child of one VM, for any parent.
//!
//! Does:      makes the control socket, starts this same program as `luc vmm serve`, sends `Start`.
//! Does not:  read events (`control::recv`), open files, or restart anything.
//! Trusts:    that the running program routes `vmm serve` to `child::serve`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, ExitStatus, Stdio};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::control::{self, Start};

/// A running child. Dropping it closes the control socket, which ends the VM; the process still
/// has to be waited for.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    control: OwnedFd,
}

impl Child {
    /// Starts a child for `start`; `fds` in the order that `Start` tells. Its standard output and
    /// error are the parent's; it writes there only when it can't reach its parent otherwise.
    pub fn spawn(start: Start, fds: &[BorrowedFd<'_>]) -> io::Result<Child> {
        let flags = SocketFlags::CLOEXEC;
        let (control, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let process = Command::new("/proc/self/exe")
            .args(["vmm", "serve"])
            .env_clear()
            .stdin(Stdio::from(theirs))
            .spawn()?;
        let mut child = Child { process, control };
        match control::send_start(child.control.as_fd(), start, fds) {
            Ok(()) => Ok(child),
            Err(error) => {
                let _ = child.process.kill();
                let _ = child.process.wait();
                Err(error)
            }
        }
    }

    /// The control socket: `control::send`, `control::recv`.
    pub fn control(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends the process the hard way.
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.kill()
    }

    /// Waits for the process's end.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.process.wait()
    }
}

/// A sentence for an end that the child didn't announce: which signal, and what it means here.
pub fn explain_end(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status.signal() {
        Some(libc::SIGSYS) => {
            "the VM's process made a forbidden system call and was killed (SIGSYS): either the \
             guest broke into it, or this is a bug; please report it"
                .to_owned()
        }
        Some(libc::SIGKILL) => {
            "the VM's process was killed (SIGKILL): by someone, or for lack of memory".to_owned()
        }
        Some(signal) => format!("the VM's process was killed by signal {signal}"),
        None => format!("the VM's process ended without a word ({status})"),
    }
}
