//! A life number: which of two statements about one node is newer.
//!
//! Does:      counts boots in its upper half and refutations in its lower; never falls.
//! Does not:  depend on any clock.
//! Start at:  `Life`.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Boots (upper 32 bits) and, within a boot, how often the node has refuted a false suspicion
/// (lower 32 bits). Of two statements the one with the larger life holds.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Life(u64);

impl Life {
    pub const fn new(boots: u32, refutations: u32) -> Self {
        Self((boots as u64) << 32 | refutations as u64)
    }

    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub const fn bits(self) -> u64 {
        self.0
    }

    pub const fn boots(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The first life of the next boot; the last boot number is kept for ever.
    #[must_use]
    pub const fn next_boot(self) -> Self {
        Self::new(self.boots().saturating_add(1), 0)
    }

    /// The least life of this node that answers a statement about `accused`.
    #[must_use]
    pub const fn after(self, accused: Self) -> Self {
        let larger = if accused.0 > self.0 {
            accused.0
        } else {
            self.0
        };
        Self(larger.saturating_add(1))
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.boots(), self.0 & 0xffff_ffff)
    }
}
