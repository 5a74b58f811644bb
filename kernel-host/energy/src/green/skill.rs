//! How wrong forecasts were, kept for each horizon while they come true.
//!
//! Does:      mean absolute errors of several ways to foretell, side by side; how far truth lay
//!            from the chosen one, as a histogram that forgets slowly.
//! Does not:  foretell.
//! Bounds:    `HORIZONS` x `WAYS` sums, and `BINS` counts a horizon.
//! Trusts:    its caller to settle only what was filed before its time.
//! Start at:  `Skill::settle`, `Skill::best`.

/// Horizons that are tracked, in slots: 1, 2, 3, 4, 6, 12 and 24 hours.
pub const HORIZONS: [usize; 7] = [4, 8, 12, 16, 24, 48, 96];

/// Ways to foretell that compete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// What is usual, pulled towards what is now the less the farther away.
    Anchored,
    /// The share of the envelope that shines now goes on.
    Smart,
    /// What is now goes on.
    Persistence,
    /// As yesterday.
    DayBefore,
}

pub const WAYS: [Way; 4] = [Way::Anchored, Way::Smart, Way::Persistence, Way::DayBefore];

const BINS: usize = 40;
/// Width of a bin, in permille of the scale: from -1000 to 1000.
const BIN_PERMILLE: i64 = 50;
/// At this many the histogram is halved: about a month of daylight.
const COUNTED_MAX: u32 = 1_500;
/// Fewer than these say nothing: about two days.
pub const EVIDENCE_MIN: u32 = 96;
/// Sums forget 1 part in this many with each forecast that comes true.
const FORGET: u64 = 1_024;
/// Another way must be better by 3 % before it is taken: luck changes nothing.
const BETTER_PERMILLE: u64 = 970;

/// What is known about one horizon.
#[derive(Debug, Clone, Copy)]
struct Record {
    settled: u32,
    /// Decayed sums of absolute errors, in thousandths of the unit.
    errors: [u64; WAYS.len()],
    truth: u64,
    bins: [u32; BINS],
    counted: u32,
}

const EMPTY: Record = Record {
    settled: 0,
    errors: [0; WAYS.len()],
    truth: 0,
    bins: [0; BINS],
    counted: 0,
};

/// The records of all horizons.
#[derive(Debug, Clone)]
pub struct Skill {
    records: [Record; HORIZONS.len()],
}

impl Default for Skill {
    fn default() -> Self {
        Self {
            records: [EMPTY; HORIZONS.len()],
        }
    }
}

/// Which record a horizon belongs to.
#[must_use]
pub fn class(horizon: usize) -> usize {
    let at = HORIZONS.iter().position(|limit| horizon <= *limit);
    at.unwrap_or(HORIZONS.len() - 1)
}

impl Skill {
    /// A forecast came true. `scale` is what 1000 permille were.
    pub fn settle(&mut self, class: usize, said: [u64; WAYS.len()], truth: u64, scale: u64) {
        let chosen = said[self.best(class) as usize];
        let record = &mut self.records[class];
        record.settled = record.settled.saturating_add(1);
        let forgotten = |sum: u64| sum - sum / FORGET;
        for (sum, said) in record.errors.iter_mut().zip(said) {
            *sum = forgotten(*sum).saturating_add(said.abs_diff(truth));
        }
        record.truth = forgotten(record.truth).saturating_add(truth);
        if scale == 0 {
            return;
        }
        let off = (i128::from(truth) - i128::from(chosen)) * 1000 / i128::from(scale);
        let off = i64::try_from(off.clamp(-1000, 999)).unwrap_or(0);
        let bin = usize::try_from((off + 1000) / BIN_PERMILLE).unwrap_or(0);
        record.bins[bin.min(BINS - 1)] += 1;
        record.counted += 1;
        if record.counted >= COUNTED_MAX {
            record.bins.iter_mut().for_each(|count| *count /= 2);
            record.counted = record.bins.iter().sum();
        }
    }

    /// The way to believe: our own, until another has been better for days.
    #[must_use]
    pub fn best(&self, class: usize) -> Way {
        let record = &self.records[class];
        let own = record.errors[0];
        let other = (1..WAYS.len()).min_by_key(|way| record.errors[*way]);
        match other {
            Some(way)
                if record.settled >= EVIDENCE_MIN
                    && record.errors[way] < own / 1000 * BETTER_PERMILLE =>
            {
                WAYS[way]
            }
            _ => Way::Anchored,
        }
    }

    /// Mean absolute error of a way in permille of the mean truth; `None` without evidence.
    #[must_use]
    pub fn error_permille(&self, class: usize, way: Way) -> Option<u64> {
        let record = &self.records[class];
        if record.settled < EVIDENCE_MIN {
            return None;
        }
        (u128::from(record.errors[way as usize]) * 1000)
            .checked_div(record.truth.into())
            .and_then(|permille| u64::try_from(permille).ok())
    }

    /// How far truth lay from the forecast in this share of all cases, in permille of the scale.
    /// `None` without evidence.
    #[must_use]
    pub fn off_permille(&self, class: usize, quantile_permille: u32) -> Option<i64> {
        let record = &self.records[class];
        if record.counted < EVIDENCE_MIN {
            return None;
        }
        let wanted = u64::from(record.counted) * u64::from(quantile_permille);
        let mut below = 0u64;
        for (low, count) in (-1000i64..).step_by(50).zip(record.bins) {
            let here = u64::from(count) * 1000;
            if below + here >= wanted && count > 0 {
                let part = (wanted - below) * BIN_PERMILLE.unsigned_abs() / here;
                return Some(low + i64::try_from(part).unwrap_or(0));
            }
            below += here;
        }
        Some(1000)
    }
}

#[cfg(test)]
mod tests {
    use super::{EVIDENCE_MIN, Skill, WAYS, Way, class};

    #[test]
    fn our_own_way_is_left_when_another_is_better_for_days() {
        let mut skill = Skill::default();
        for _ in 0..EVIDENCE_MIN - 1 {
            skill.settle(0, [150, 100, 200, 200], 100, 1000);
        }
        assert_eq!(
            (skill.best(0), skill.error_permille(0, Way::Smart)),
            (Way::Anchored, None)
        );
        skill.settle(0, [150, 100, 200, 200], 100, 1000);
        assert_eq!(skill.best(0), Way::Smart);
        assert_eq!(skill.best(1), Way::Anchored);
        let errors = WAYS.map(|way| skill.error_permille(0, way));
        assert_eq!(errors[1], Some(0));
        assert!(
            errors[0].is_some_and(|error| (480..=520).contains(&error)),
            "{errors:?}"
        );
    }

    #[test]
    fn quantiles_are_where_the_truth_was() {
        let mut skill = Skill::default();
        for off in 0..1000u64 {
            skill.settle(2, [500; 4], off, 1000); // evenly from -500 to 499
        }
        for (quantile, wanted) in [(100, -400), (300, -200), (500, 0), (900, 400)] {
            let off = skill.off_permille(2, quantile).expect("there is evidence");
            assert!((off - wanted).abs() <= 5, "{quantile}: {off}");
        }
        assert_eq!(skill.off_permille(1, 500), None);
    }

    #[test]
    fn each_horizon_has_one_class() {
        assert_eq!([0, 4, 5, 16, 17, 96, 500].map(class), [0, 0, 1, 3, 4, 6, 6]);
    }
}
