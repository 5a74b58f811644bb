//! How much of something may pass: so much a second, and so much at once.

/// A rate and a burst, in the caller's unit (bytes, frames, answers).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub per_second: u64,
    pub burst: u64,
}

impl Rate {
    /// As much as there is.
    pub const FREE: Rate = Rate {
        per_second: u64::MAX,
        burst: u64::MAX,
    };
}

/// A token bucket: full at first. Time that runs back adds nothing.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    rate: Rate,
    /// Thousandths of a unit, so that slow rates lose nothing to rounding.
    milli: u128,
    filled_ms: u64,
}

impl Bucket {
    pub fn new(rate: Rate) -> Bucket {
        Bucket {
            rate,
            milli: u128::from(rate.burst) * 1000,
            filled_ms: 0,
        }
    }

    /// Takes `amount`, or nothing and says false.
    pub fn take(&mut self, now_ms: u64, amount: u64) -> bool {
        if self.rate == Rate::FREE {
            return true;
        }
        let passed = u128::from(now_ms.saturating_sub(self.filled_ms));
        self.filled_ms = self.filled_ms.max(now_ms);
        let full = u128::from(self.rate.burst) * 1000;
        let grown = passed * u128::from(self.rate.per_second);
        self.milli = self.milli.saturating_add(grown).min(full);
        let wanted = u128::from(amount) * 1000;
        if self.milli < wanted {
            return false;
        }
        self.milli -= wanted;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate() {
        let rate = Rate {
            per_second: 10,
            burst: 3,
        };
        let mut bucket = Bucket::new(rate);
        let given = |bucket: &mut Bucket, now_ms| (0..9).filter(|_| bucket.take(now_ms, 1)).count();
        assert_eq!(given(&mut bucket, 0), 3, "the burst");
        assert_eq!(given(&mut bucket, 99), 0);
        assert_eq!(given(&mut bucket, 100), 1, "the rate");
        assert_eq!(given(&mut bucket, 50), 0, "time does not run back");
        assert_eq!(given(&mut bucket, 60_000), 3, "never more than the burst");
        assert!(!bucket.take(u64::MAX, 4), "nor for one that is bigger");
    }
}
