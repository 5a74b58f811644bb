//! How long to wait before a process is started again.
//!
//! Does:      doubles the wait with each early end, forgets after a long life.
//! Does not:  give up: a node that can't be reached must go on trying.
//! Bounds:    `WAIT_MIN_MS..=WAIT_MAX_MS`.
//! Trusts:    the caller's clock.
//! Start at:  `Backoff::after_end`.

/// The first wait: short enough that a client's retry finds the node again.
const WAIT_MIN_MS: u64 = 200;
/// The longest: a person at the screen sees that something still happens.
const WAIT_MAX_MS: u64 = 10_000;
/// A process that lived this long was healthy.
const HEALTHY_MS: u64 = 60_000;

/// The memory of early ends.
#[derive(Debug, Clone, Copy, Default)]
pub struct Backoff {
    early_ends: u32,
}

impl Backoff {
    /// How long to wait after a life of `lived_ms`.
    pub fn after_end(&mut self, lived_ms: u64) -> u64 {
        if lived_ms >= HEALTHY_MS {
            self.early_ends = 0;
        }
        let doublings = self.early_ends.min(16);
        self.early_ends = self.early_ends.saturating_add(1);
        (WAIT_MIN_MS << doublings).min(WAIT_MAX_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_ends_double_the_wait_and_a_long_life_forgives() {
        let mut backoff = Backoff::default();
        let lives = [10, 10, 10, 10, 10, 10, 10, 10, 60_000, 10];
        let waits = lives.map(|lived_ms| backoff.after_end(lived_ms));
        assert_eq!(
            waits,
            [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 200, 400]
        );
    }
}
