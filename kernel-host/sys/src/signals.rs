//! Signals as readable events.
//!
//! Does:      blocks the signals that PID 1 acts on and reads them from a descriptor.
//! Does not:  run handlers; no code of ours runs in signal context.
//! Bounds:    the kernel merges equal pending signals.
//! Trusts:    the kernel.
//! Start at:  `Signals::block`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

/// The signals a supervisor acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// A child ended: reap.
    Child,
    /// Stop the VMs and switch off.
    Terminate,
    /// Ctrl-alt-del: reboot.
    Interrupt,
    /// Power failure, from a UPS daemon or a test.
    Power,
}

const ALL: [(i32, Signal); 4] = [
    (libc::SIGCHLD, Signal::Child),
    (libc::SIGTERM, Signal::Terminate),
    (libc::SIGINT, Signal::Interrupt),
    (libc::SIGPWR, Signal::Power),
];

/// The descriptor that tells of them.
#[derive(Debug)]
pub struct Signals {
    descriptor: OwnedFd,
}

impl Signals {
    /// Blocks the signals in this thread and those it starts; call before the first thread.
    ///
    /// # Errors
    /// When the kernel has no descriptor left.
    pub fn block() -> io::Result<Signals> {
        let set = signal_set();
        // SAFETY: pthread_sigmask(3) wants a valid set, and accepts null for the old one.
        // - `set`: initialised by `signal_set`, outlives the call.
        let ret =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        if ret != 0 {
            return Err(io::Error::from_raw_os_error(ret));
        }
        // SAFETY: signalfd(2) wants -1 for a new descriptor and a valid set.
        // - `set`: as above.
        let raw =
            unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: from_raw_fd wants an open descriptor that nobody else owns.
        // - signalfd(2) has just made it and we are the only holder.
        let descriptor = unsafe { OwnedFd::from_raw_fd(raw) };
        Ok(Signals { descriptor })
    }

    /// The next signal, if one waits.
    #[must_use]
    pub fn next(&self) -> Option<Signal> {
        let mut record = [0_u8; size_of::<libc::signalfd_siginfo>()];
        let read = rustix::io::read(&self.descriptor, &mut record).ok()?;
        // `ssi_signo` is the first field.
        let number = u32::from_ne_bytes(record.get(..read)?.first_chunk().copied()?);
        ALL.iter()
            .find(|(signal, _)| u32::try_from(*signal) == Ok(number))
            .map(|(_, name)| *name)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn signal_set() -> libc::sigset_t {
    // SAFETY: zeroed() wants a type for which all zero bytes are a value.
    // - `sigset_t` is an array of integers.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    for (signal, _) in ALL {
        // SAFETY: sigaddset(3) wants an initialised set and a signal that exists.
        // - `set`: all zero is the empty set on Linux; `signal`: from the table above.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    set
}
