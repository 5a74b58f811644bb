//! A bell: tasks sleep on it, anyone on the same thread rings it.
//!
//! Does:      wakes every task that waits, and remembers how often it was rung, so that a ring
//!            between looking and sleeping is not missed.
//! Does not:  carry values; the woken look at the state themselves.
//! Bounds:    one entry per waiting task: a task that registers again replaces itself.
//! Trusts:    nothing.
//! Start at:  `Bell::after`.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// See the module.
#[derive(Debug, Default)]
pub struct Bell {
    rings: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl Bell {
    /// Wakes everybody.
    pub fn ring(&self) {
        self.rings.set(self.rings.get().wrapping_add(1));
        for waker in self.waiting.take() {
            waker.wake();
        }
    }

    /// How often it was rung.
    #[must_use]
    pub fn rings(&self) -> u64 {
        self.rings.get()
    }

    /// Wakes this task at the next ring.
    pub fn register(&self, waker: &Waker) {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|other| other.will_wake(waker)) {
            waiting.push(waker.clone());
        }
    }

    /// Waits for a ring that `seen` does not count; returns the new count.
    pub async fn after(&self, seen: u64) -> u64 {
        poll_fn(|cx| {
            if self.rings() == seen {
                self.register(cx.waker());
                return Poll::Pending;
            }
            Poll::Ready(self.rings())
        })
        .await
    }
}
