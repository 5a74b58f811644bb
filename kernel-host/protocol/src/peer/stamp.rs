//! A hybrid logical clock's stamp: wall time that also respects cause and effect.
//!
//! Does:      orders writes of mergeable records; shows people how old a fact is.
//! Does not:  decide leases, lives or epochs: those never use wall clocks.
//! Start at:  `Stamp`. Source: Kulkarni and others, "Logical Physical Clocks", 2014.

use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// Milliseconds since 1970 in the upper 48 bits, a counter in the lower 16.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Stamp(u64);

impl Stamp {
    pub const fn from_wall(wall: Timestamp) -> Self {
        Self(wall.unix_ms() << 16)
    }

    pub const fn bits(self) -> u64 {
        self.0
    }

    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub const fn wall(self) -> Timestamp {
        Timestamp::from_unix_ms(self.0 >> 16)
    }

    /// The stamp of a write at `wall` by someone whose latest stamp seen or given is `self`.
    #[must_use]
    pub const fn next(self, wall: Timestamp) -> Self {
        let now = wall.unix_ms() << 16;
        if now > self.0 {
            Self(now)
        } else {
            Self(self.0.saturating_add(1))
        }
    }
}
