//! The executor's clock: the kernel's, or one that passes only when nobody has anything to do.

use rustix::time::{ClockId, clock_gettime};
use std::cell::Cell;

/// Milliseconds of the kernel's monotonic clock: the clock of its log, which starts at boot.
pub fn monotonic_ms() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let millis = u64::try_from(now.tv_nsec / 1_000_000).unwrap_or(0);
    seconds * 1000 + millis
}

/// Where an executor has its time from.
pub(super) enum Clock {
    Monotonic,
    /// Stands still while tasks run.
    Virtual(Cell<u64>),
}

impl Clock {
    pub const fn starting_at(start_ms: u64) -> Clock {
        Clock::Virtual(Cell::new(start_ms))
    }

    pub fn now_ms(&self) -> u64 {
        match self {
            Clock::Monotonic => monotonic_ms(),
            Clock::Virtual(now_ms) => now_ms.get(),
        }
    }

    /// How long to wait in the kernel when all tasks wait. `None`: until something happens.
    pub fn patience_ms(&self, next_ms: Option<u64>) -> Option<u64> {
        match self {
            Clock::Monotonic => next_ms.map(|at_ms| at_ms.saturating_sub(monotonic_ms())),
            // Descriptors first; without a deadline only they, or another thread, can go on.
            Clock::Virtual(_) => next_ms.map(|_| 0),
        }
    }

    /// Everybody waits, and the kernel had nothing to say.
    pub fn all_wait(&self, next_ms: Option<u64>) {
        if let (Clock::Virtual(now_ms), Some(at_ms)) = (self, next_ms) {
            now_ms.set(now_ms.get().max(at_ms));
        }
    }
}
