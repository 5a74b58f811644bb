//! A terminal in raw mode, and out of it again on every way out.
//!
//! Does:      restores the terminal when the value is dropped, on panic (also where panics abort),
//!            and lets signals end the session instead of the process.
//! Start at:  `Raw::enter`.

use rustix::{
    io,
    pipe::{PipeFlags, pipe_with},
    termios::{OptionalActions, Termios, tcgetattr, tcsetattr},
};
use std::{
    collections::BTreeMap,
    ffi::{c_int, c_void},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Mutex, Once, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};
use vmm_sys_util::signal::register_signal_handler;

/// One terminal to put back.
struct Saved {
    terminal: OwnedFd,
    modes: Termios,
}

/// Terminals that are raw now, by the number of their guard. A command has one; tests have more.
static SAVED: Mutex<BTreeMap<u64, Saved>> = Mutex::new(BTreeMap::new());

/// Read and write end of the pipe that signals ring at.
static BELL: OnceLock<(OwnedFd, OwnedFd)> = OnceLock::new();

/// Holds a terminal raw as long as it lives.
#[derive(Debug)]
pub(super) struct Raw(u64);

impl Raw {
    pub fn enter(terminal: &OwnedFd) -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let modes = tcgetattr(terminal)?;
        let mut raw = modes.clone();
        raw.make_raw();
        let terminal = terminal.try_clone().map_err(|_| io::Errno::MFILE)?;
        watch_ways_out();
        tcsetattr(&terminal, OptionalActions::Now, &raw)?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        if let Ok(mut saved) = SAVED.lock() {
            saved.insert(number, Saved { terminal, modes });
        }
        Ok(Self(number))
    }

    /// Readable when a signal asked this process to end.
    pub fn signals(&self) -> Option<BorrowedFd<'static>> {
        BELL.get().map(|(read, _)| read.as_fd())
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let saved = SAVED
            .lock()
            .ok()
            .and_then(|mut saved| saved.remove(&self.0));
        if let Some(saved) = saved {
            put_back(&saved);
        }
    }
}

fn put_back(saved: &Saved) {
    let _ = tcsetattr(&saved.terminal, OptionalActions::Flush, &saved.modes);
}

/// Before a panic aborts the process. Never blocks: the panic may have come with the lock taken.
fn put_all_back() {
    if let Ok(saved) = SAVED.try_lock() {
        saved.values().for_each(put_back);
    }
}

/// Once per process: the panic hook and the signal handlers.
fn watch_ways_out() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Where panics unwind, dropping the guard is enough, and spares the other threads.
        if cfg!(panic = "abort") {
            let hook = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                put_all_back();
                hook(panic);
            }));
        }
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
