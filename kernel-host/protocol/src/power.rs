//! Energy and power, exact, in integers.
//!
//! Does:      microjoules and microwatts as types of their own, so that one is never taken for the
//!            other; the step between them over a time in nanoseconds.
//! Does not:  know where a value came from or how wrong it may be (`energy` does).
//! Bounds:    `u64` each: 5.1 TWh and 18 TW; sums saturate, they do not wrap.
//! Start at:  `Microjoules`.

use serde::{Deserialize, Serialize};
use std::iter::Sum;

/// An amount of energy in microjoules.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Microjoules(pub u64);

/// A power in microwatts.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Microwatts(pub u64);

const NS_PER_S: u128 = 1_000_000_000;

impl Microjoules {
    pub const ZERO: Self = Self(0);

    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The mean power of this energy over `duration_ns`; `None` over no time.
    #[must_use]
    pub fn over(self, duration_ns: u64) -> Option<Microwatts> {
        let microwatts = (u128::from(self.0) * NS_PER_S).checked_div(duration_ns.into())?;
        Some(Microwatts(u64::try_from(microwatts).unwrap_or(u64::MAX)))
    }
}

impl Microwatts {
    pub const ZERO: Self = Self(0);

    pub const fn from_watts(watts: u32) -> Self {
        Self(watts as u64 * 1_000_000)
    }

    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The energy of this power held for `duration_ns`, rounded down.
    #[must_use]
    pub fn during(self, duration_ns: u64) -> Microjoules {
        let microjoules = u128::from(self.0) * u128::from(duration_ns) / NS_PER_S;
        Microjoules(u64::try_from(microjoules).unwrap_or(u64::MAX))
    }
}

impl Sum for Microjoules {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::ZERO, Self::saturating_add)
    }
}

impl Sum for Microwatts {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::ZERO, Self::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::{Microjoules, Microwatts};

    #[test]
    fn power_and_energy_meet_over_time() {
        let hour_ns = 3_600 * 1_000_000_000;
        let energy = Microwatts::from_watts(100).during(hour_ns);
        assert_eq!(energy, Microjoules(360_000_000_000));
        assert_eq!(energy.over(hour_ns), Some(Microwatts::from_watts(100)));
        assert_eq!(energy.over(0), None);
    }

    #[test]
    fn sums_stop_at_the_largest_value() {
        let most = [Microjoules(u64::MAX), Microjoules(1)];
        assert_eq!(most.into_iter().sum::<Microjoules>(), Microjoules(u64::MAX));
        assert_eq!(Microwatts(u64::MAX).during(u64::MAX), Microjoules(u64::MAX));
    }
}
