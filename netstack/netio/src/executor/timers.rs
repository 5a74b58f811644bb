//! Timers: who wants to be woken when.
//!
//! Does:      keeps deadlines in order, wakes those that are due.
//! Does not:  read a clock; the executor passes the time in.
//! Bounds:    `TIMERS_MAX` pending deadlines.
//! Trusts:    its callers cancel what they set; a dropped `Sleep` does.
//! Start at:  `Timers::set`.

use std::collections::BTreeMap;
use std::task::Waker;

/// Pending deadlines. Eight for each task that may exist. At the limit a sleeper is woken at once
/// and asks again: it stays correct and costs energy, so it is counted (`timer_overruns`).
pub const TIMERS_MAX: usize = 8 * super::TASKS_MAX;

/// A pending deadline: when, and a number that tells equal times apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TimerKey {
    at_ms: u64,
    number: u64,
}

#[derive(Default)]
pub(super) struct Timers {
    pending: BTreeMap<TimerKey, Waker>,
    numbers: u64,
    pub overruns: u64,
}

impl Timers {
    /// `None`: the table is full and `waker` was woken at once.
    pub fn set(&mut self, at_ms: u64, waker: &Waker) -> Option<TimerKey> {
        if self.pending.len() >= TIMERS_MAX {
            self.overruns += 1;
            waker.wake_by_ref();
            return None;
        }
        self.numbers += 1;
        let key = TimerKey {
            at_ms,
            number: self.numbers,
        };
        self.pending.insert(key, waker.clone());
        Some(key)
    }

    /// The task behind a pending timer may have moved to another waker.
    pub fn renew(&mut self, key: TimerKey, waker: &Waker) {
        if let Some(held) = self.pending.get_mut(&key) {
            held.clone_from(waker);
        }
    }

    pub fn cancel(&mut self, key: TimerKey) {
        self.pending.remove(&key);
    }

    pub fn next_ms(&self) -> Option<u64> {
        self.pending.first_key_value().map(|(key, _)| key.at_ms)
    }

    pub fn wake_due(&mut self, now_ms: u64) {
        while let Some(entry) = self.pending.first_entry() {
            if entry.key().at_ms > now_ms {
                return;
            }
            entry.remove().wake();
        }
    }
}
