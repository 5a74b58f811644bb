//! Our own processes: starting, watching, reaping.
//!
//! Does:      starts this same program in another role, with a control socket as its stdin.
//! Does not:  start any other program; a node has none.
//! Bounds:    the caller's control groups.
//! Trusts:    /proc/self/exe.
//! Start at:  `start_role`.

use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, pidfd_open};
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};

/// A started process.
#[derive(Debug)]
pub struct Process {
    pub pid: u32,
    /// Readable when the process has ended.
    watch: OwnedFd,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}{}", signal_name(*signal)),
        }
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        libc::SIGABRT => " (aborted)",
        libc::SIGKILL => " (killed)",
        libc::SIGSEGV => " (segmentation fault)",
        libc::SIGSYS => " (forbidden system call)",
        libc::SIGTERM => " (terminated)",
        _ => "",
    }
}

/// Starts this program in another role. `socket` becomes its stdin, stdout is closed, stderr
/// goes to the kernel's console.
///
/// # Errors
/// When there is no memory, process or descriptor left.
pub fn start_role(role: &[&str], socket: OwnedFd) -> io::Result<Process> {
    let child = Command::new("/proc/self/exe")
        .args(role.iter().map(OsStr::new))
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(socket))
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()?;
    // Reaping goes by number, through `reap` or `Process::exit`: `child` itself is not needed.
    Process::watch(child.id())
}

impl Process {
    fn watch(pid: u32) -> io::Result<Process> {
        let watch = pidfd_open(pid_of(pid)?, PidfdFlags::empty())?;
        Ok(Process { pid, watch })
    }

    /// Ends the process at once.
    ///
    /// # Errors
    /// When it is gone already.
    pub fn kill(&self) -> io::Result<()> {
        Ok(rustix::process::pidfd_send_signal(
            &self.watch,
            Signal::KILL,
        )?)
    }

    /// How it ended; `None` while it runs. Reaps it.
    ///
    /// # Errors
    /// When somebody else has reaped it.
    pub fn exit(&self) -> io::Result<Option<Exit>> {
        let status = rustix::process::waitpid(Some(pid_of(self.pid)?), WaitOptions::NOHANG)?;
        Ok(status.and_then(|(_, status)| exit_of(status)))
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}

/// Reaps one ended child, whoever it was: PID 1 inherits the orphans of all others.
#[must_use]
pub fn reap() -> Option<(u32, Exit)> {
    let (pid, status) = rustix::process::wait(WaitOptions::NOHANG).ok().flatten()?;
    Some((
        u32::try_from(pid.as_raw_nonzero().get()).ok()?,
        exit_of(status)?,
    ))
}

fn exit_of(status: WaitStatus) -> Option<Exit> {
    status
        .exit_status()
        .map(Exit::Code)
        .or_else(|| status.terminating_signal().map(Exit::Signal))
}

fn pid_of(pid: u32) -> io::Result<Pid> {
    i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
}

/// How readily the kernel ends this process when memory runs out: -1000 never, 1000 first.
///
/// # Errors
/// When the caller may not lower it.
pub fn set_memory_pressure_score(score: i32) -> io::Result<()> {
    std::fs::write("/proc/self/oom_score_adj", score.to_string())
}
