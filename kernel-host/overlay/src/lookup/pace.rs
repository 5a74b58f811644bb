//! So much a second, and so much at once.
//!
//! Start at:  `Pace::take`.

/// A bucket of tokens.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    per_s: u64,
    burst: u64,
    left: u64,
    filled_ms: u64,
}

impl Pace {
    pub const fn new(per_s: u64, burst: u64) -> Self {
        Self {
            per_s,
            burst,
            left: burst,
            filled_ms: 0,
        }
    }

    /// Whether so much may pass now; if so, it has.
    pub fn take(&mut self, now_ms: u64, much: u64) -> bool {
        let gained = now_ms
            .saturating_sub(self.filled_ms)
            .saturating_mul(self.per_s)
            / 1000;
        if gained > 0 {
            self.left = self.left.saturating_add(gained).min(self.burst);
            self.filled_ms = now_ms;
        }
        let may = self.left >= much;
        if may {
            self.left -= much;
        }
        may
    }
}
