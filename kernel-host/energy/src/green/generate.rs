//! Weather and load out of dice, for tests and simulations: the same seed, the same days.
//!
//! Does:      clear sky times a cloudiness that jumps between three states (Markov) and wavers
//!            within them; load with a daily shape and a memory (AR1).
//! Does not:  claim to be a climate: real series are for benches.
//! Bounds:    none held: it makes one slot at a time.
//! Trusts:    its seed.
//! Start at:  `Sky::next_power`, `Load::next_permille`.

use super::{SLOT_S, Utc, sun::Location};

/// Dice that start from a number (SplitMix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Evenly from 0 to below `end`; 0 when `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        let wide = u128::from(self.roll()) * u128::from(end);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// About normal with a standard deviation of 1,000: the sum of twelve even throws.
    pub fn normal_milli(&mut self) -> i64 {
        let sum: u64 = (0..12).map(|_| self.below(1_001)).sum();
        i64::try_from(sum).unwrap_or(0) - 6_000
    }
}

/// Chances in a thousand, each slot, to leave a state of the sky, and its mean clearness.
const STATES: [(u64, i64); 3] = [(25, 950), (70, 550), (30, 200)];

/// The sky over one place, and panels under it.
#[derive(Debug, Clone)]
pub struct Sky {
    place: Location,
    nameplate_uw: u64,
    dice: Dice,
    state: usize,
    clearness_permille: i64,
}

impl Sky {
    #[must_use]
    pub const fn new(seed: u64, place: Location, nameplate_uw: u64) -> Self {
        Self {
            place,
            nameplate_uw,
            dice: Dice::new(seed),
            state: 0,
            clearness_permille: 900,
        }
    }

    /// The mean power of the slot that ends here; call it slot after slot.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to 1300"
    )]
    pub fn next_power(&mut self, end: Utc) -> u64 {
        let (leaves, mean) = STATES[self.state];
        if self.dice.below(1000) < leaves {
            self.state = (self.state + 1 + usize::from(self.dice.below(2) == 1)) % STATES.len();
        }
        let noise = self.dice.normal_milli() * 80 / 1000;
        self.clearness_permille += (mean - self.clearness_permille) / 3 + noise;
        self.clearness_permille = self.clearness_permille.clamp(50, 1050);
        let clear = self.place.clear_sky(end.plus_s(-SLOT_S / 2));
        let permille = clear.round() as u64 * self.clearness_permille.unsigned_abs() / 1000;
        u64::try_from(u128::from(self.nameplate_uw) * u128::from(permille) / 1000).unwrap_or(0)
    }
}

/// A load with a daily shape: more by day, less by night, and a memory for what was.
#[derive(Debug, Clone)]
pub struct Load {
    dice: Dice,
    off_permille: i64,
}

impl Load {
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            dice: Dice::new(seed),
            off_permille: 0,
        }
    }

    /// How much of a host is used in the slot that ends here; call it slot after slot.
    pub fn next_permille(&mut self, end: Utc) -> u64 {
        let noise = self.dice.normal_milli() * 25 / 1000;
        self.off_permille = self.off_permille * 95 / 100 + noise;
        let hour = end.0.rem_euclid(86_400) / 3600;
        let shape = [350, 300, 300, 350, 500, 600, 650, 650, 600, 600, 550, 450];
        let base: i64 = shape[usize::try_from(hour / 2).unwrap_or(0)];
        u64::try_from((base + self.off_permille).clamp(0, 1000)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Dice, Load, Location, Sky, Utc};

    const PARIS: Location = Location {
        latitude_milli: 48_857,
        longitude_milli: 2_352,
    };

    #[test]
    fn days_repeat_with_the_seed_and_nights_are_dark() {
        let year = |seed| {
            let mut sky = Sky::new(seed, PARIS, 1_000_000_000);
            (1..=96 * 28)
                .map(|slot| sky.next_power(Utc::end_of(slot)))
                .collect::<Vec<u64>>()
        };
        let (one, two) = (year(1), year(2));
        assert_eq!(one, year(1));
        assert_ne!(one, two);
        assert!(
            one.chunks(96)
                .all(|day| day[..24].iter().all(|power| *power == 0))
        );
        let sun = one.iter().filter(|power| **power > 0).count();
        assert!(
            (28 * 28..28 * 40).contains(&sun),
            "{sun} slots of sun in 28 days of winter"
        );
    }

    #[test]
    fn a_load_is_lower_by_night_than_by_day() {
        let mut load = Load::new(3);
        let days: Vec<u64> = (1..=96 * 50)
            .map(|slot| load.next_permille(Utc::end_of(slot)))
            .collect();
        let mean = |from: usize| {
            let all = days
                .chunks(96)
                .map(|day| day[from..from + 16].iter().sum::<u64>());
            all.sum::<u64>() / (50 * 16)
        };
        assert!(mean(0) + 150 < mean(48), "{} {}", mean(0), mean(48));
    }

    #[test]
    fn the_dice_are_even_and_normal() {
        let mut dice = Dice::new(1);
        let mean = (0..10_000).map(|_| dice.below(100)).sum::<u64>() / 10_000;
        assert!((48..=51).contains(&mean), "{mean}");
        let square: i64 = (0..10_000).map(|_| dice.normal_milli().pow(2)).sum::<i64>() / 10_000;
        assert!((900_000..1_100_000).contains(&square), "{square}");
    }
}
