//! A terminal in raw mode, and out of it again on every way out.
//!
//! Does:      restores the terminal when the value is dropped, on panic (also where panics abort),
//!            and lets signals end the session instead of the process.
//! Bounds:    one raw terminal per process.
//! Start at:  `Raw::enter`.

use rustix::{
    io,
    pipe::{PipeFlags, pipe_with},
    termios::{OptionalActions, Termios, tcgetattr, tcsetattr},
};
use std::{
    ffi::{c_int, c_void},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Mutex, Once, OnceLock},
};
use vmm_sys_util::signal::register_signal_handler;

/// What to put back, and where.
static SAVED: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);

/// Read and write end of the pipe that signals ring at.
static BELL: OnceLock<(OwnedFd, OwnedFd)> = OnceLock::new();

/// Holds the terminal raw as long as it lives.
#[derive(Debug)]
pub(super) struct Raw(());

impl Raw {
    pub fn enter(terminal: &OwnedFd) -> io::Result<Self> {
        let saved = tcgetattr(terminal)?;
        let mut raw = saved.clone();
        raw.make_raw();
        let copy = terminal.try_clone().map_err(|_| io::Errno::MFILE)?;
        if let Ok(mut slot) = SAVED.lock() {
            *slot = Some((copy, saved));
        }
        watch_ways_out();
        let entered = Self(()); // from here on, dropping it puts the terminal back
        tcsetattr(terminal, OptionalActions::Now, &raw)?;
        Ok(entered)
    }

    /// Readable when a signal asked this process to end.
    pub fn signals(&self) -> Option<BorrowedFd<'static>> {
        BELL.get().map(|(read, _)| read.as_fd())
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts the terminal back, once. Never blocks: a panic may have left the lock taken.
fn restore() {
    if let Ok(mut slot) = SAVED.try_lock()
        && let Some((terminal, saved)) = slot.take()
    {
        let _ = tcsetattr(&terminal, OptionalActions::Flush, &saved);
    }
}

/// Once per process: the panic hook and the signal handlers.
fn watch_ways_out() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            hook(panic);
        }));
        let Ok(pipe) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK) else {
            return;
        };
        if BELL.set(pipe).is_ok() {
            for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
                // A refusal leaves the default: the process ends and the terminal stays raw,
                // which `reset` cures; there is nothing better to do about it here.
                let _ = register_signal_handler(signal, ring);
            }
        }
    });
}

/// In a signal handler only calls that may be made there: one atomic load, one write(2).
extern "C" fn ring(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    if let Some((_, write)) = BELL.get() {
        let _ = io::write(write, b"!");
    }
}
