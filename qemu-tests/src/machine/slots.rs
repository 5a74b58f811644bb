//! How many machines may boot at the same time.
//!
//! Does:      makes a machine wait until a slot is free.
//! Does not:  limit machines that have booted: an idle one costs little.
//! Bounds:    `BOOTING_MAX`.
//! Trusts:    the rig's own threads.
//! Start at:  `take`.

use std::sync::{Condvar, Mutex, PoisonError};

/// Emulated boots are pure computation: more than two on two processors only wait for each
/// other, and firmware has timeouts.
pub const BOOTING_MAX: usize = 2;

static BOOTING: Mutex<usize> = Mutex::new(0);
static CHANGED: Condvar = Condvar::new();

/// A machine that boots holds one.
#[derive(Debug)]
pub struct Slot(());

/// Waits for a slot.
pub fn take() -> Slot {
    let booting = BOOTING.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = CHANGED.wait_while(booting, |count| *count >= BOOTING_MAX);
    *waited.unwrap_or_else(PoisonError::into_inner) += 1;
    Slot(())
}

impl Drop for Slot {
    fn drop(&mut self) {
        *BOOTING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        CHANGED.notify_one();
    }
}
