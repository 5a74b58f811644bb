//! Several measurements of one thing.
//!
//! Does:      median and spread; ratios of values that were measured side by side.
//! Does not:  average: one run that the host disturbed would move it.
//! Bounds:    as many values as runs.
//! Trusts:    its callers to measure the same thing each time.
//! Start at:  `Sample::of`.

use std::fmt;

use serde::Serialize;

/// A median and its spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// The middle value; of an even number of values, the mean of the two in the middle.
    pub median: f64,
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
    /// How many values.
    pub runs: usize,
}

impl Sample {
    /// `None` without values.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let upper = *sorted.get(sorted.len() / 2)?;
        let lower = *sorted.get((sorted.len() - 1) / 2)?;
        Some(Self {
            median: f64::midpoint(lower, upper),
            min: *sorted.first()?,
            max: *sorted.last()?,
            runs: sorted.len(),
        })
    }

    /// Ratios of pairs, value by value: what disturbs the host disturbs both of a pair.
    #[must_use]
    pub fn of_ratios(ours: &[f64], theirs: &[f64]) -> Option<Self> {
        let pairs = ours.iter().zip(theirs).filter(|(_, theirs)| **theirs > 0.0);
        Self::of(
            &pairs
                .map(|(ours, theirs)| ours / theirs)
                .collect::<Vec<_>>(),
        )
    }
}

/// `1234 (1200-1300)`.
impl fmt::Display for Sample {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            median, min, max, ..
        } = self;
        let digits = out.precision().unwrap_or(0);
        let text = format!("{median:.digits$} ({min:.digits$}-{max:.digits$})");
        out.pad_integral(true, "", &text)
    }
}

#[cfg(test)]
mod tests {
    use super::Sample;

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn the_middle_counts_and_the_ends_are_told() {
        let of = |values: &[f64]| Sample::of(values).map(|s| (s.median, s.min, s.max, s.runs));
        //             values                    median min  max  runs
        assert_eq!(of(&[]),                      None);
        assert_eq!(of(&[3.0]),                   Some((3.0, 3.0, 3.0, 1)));
        assert_eq!(of(&[9.0, 1.0, 2.0]),         Some((2.0, 1.0, 9.0, 3)));
        assert_eq!(of(&[4.0, 1.0, 9.0, 2.0]),    Some((3.0, 1.0, 9.0, 4)));
    }

    #[test]
    fn a_ratio_compares_neighbours() {
        // The host slowed down by half between the pairs; the ratio doesn't see it.
        let ratios = Sample::of_ratios(&[2.0, 4.0], &[1.0, 2.0]);
        assert_eq!(
            ratios.map(|s| (s.median, s.min, s.max)),
            Some((2.0, 2.0, 2.0))
        );
        assert_eq!(Sample::of_ratios(&[1.0], &[0.0]), None);
    }

    #[test]
    fn a_sample_is_printed_with_its_spread() {
        let sample = Sample::of(&[1.0, 2.5, 2.0]).expect("there are values");
        assert_eq!(format!("{sample:.1}"), "2.0 (1.0-2.5)");
    }
}
