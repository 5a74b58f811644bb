//! A quantity over time in quarter-hours of UTC, the last 15 days of it.
//!
//! Does:      spreads intervals of any length over the slots they cover, as a weighted mean.
//! Does not:  know what the numbers mean.
//! Bounds:    `SLOTS_MAX` slots, the oldest go first; intervals to `SPAN_S_MAX`.
//! Trusts:    `feed`, which refused impossible values.
//! Start at:  `Series::add`.

use super::{DAY_SLOTS, SLOT_S, Utc};
use std::collections::VecDeque;

/// Fourteen days before today, and today.
pub const SLOTS_MAX: usize = 15 * DAY_SLOTS;

/// The longest interval a row may stand for: 3 hours.
pub const SPAN_S_MAX: i64 = 3 * 3600;

/// A slot counts as known when half of it is.
const KNOWN_FROM_S: u64 = 450;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Cell {
    covered_s: u64,
    weighted: u64,
}

impl Cell {
    fn mean(self) -> Option<u64> {
        let known = self.covered_s >= KNOWN_FROM_S;
        known.then(|| (self.weighted + self.covered_s / 2) / self.covered_s)
    }
}

/// The last 15 days of one quantity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Series {
    /// The slot of `cells[0]`.
    first: i64,
    cells: VecDeque<Cell>,
    /// Up to here it is known, and nothing older is taken.
    until: Option<Utc>,
}

/// Why an interval was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAdded {
    /// It does not end after what is known already.
    Repeated,
    /// It is empty, or longer than `SPAN_S_MAX`.
    Span,
}

impl Series {
    /// The mean `value` of the interval that ends at `end` and began `span_s` before, or at the
    /// end of the interval before it, whichever is later.
    pub fn add(&mut self, end: Utc, span_s: i64, value: u64) -> Result<(), NotAdded> {
        if !(1..=SPAN_S_MAX).contains(&span_s) {
            return Err(NotAdded::Span);
        }
        let earliest = end.plus_s(-span_s);
        let from = self.until.map_or(earliest, |until| until.max(earliest));
        if from >= end {
            return Err(NotAdded::Repeated);
        }
        self.until = Some(end);
        let mut at = from.0;
        while at < end.0 {
            let slot = Utc(at + 1).slot();
            let stop = (slot * SLOT_S).min(end.0);
            let seconds = (stop - at).unsigned_abs();
            let cell = self.cell(slot);
            cell.covered_s += seconds;
            cell.weighted = cell.weighted.saturating_add(value.saturating_mul(seconds));
            at = stop;
        }
        Ok(())
    }

    fn cell(&mut self, slot: i64) -> &mut Cell {
        let behind = self.first + i64::try_from(self.cells.len()).unwrap_or(i64::MAX);
        let missing = usize::try_from(slot - behind + 1).unwrap_or(0);
        if self.cells.is_empty() || missing >= SLOTS_MAX {
            self.cells.clear();
            self.cells.push_back(Cell::default());
            self.first = slot;
        } else {
            self.cells
                .extend(std::iter::repeat_n(Cell::default(), missing));
        }
        let excess = self.cells.len().saturating_sub(SLOTS_MAX);
        self.cells.drain(..excess);
        self.first += i64::try_from(excess).unwrap_or(0);
        let at = usize::try_from(slot - self.first).unwrap_or(0);
        &mut self.cells[at]
    }

    /// The mean of a slot, if it is known and not forgotten.
    #[must_use]
    pub fn at(&self, slot: i64) -> Option<u64> {
        let at = usize::try_from(slot.checked_sub(self.first)?).ok()?;
        self.cells.get(at)?.mean()
    }

    /// The newest slot that is known.
    #[must_use]
    pub fn last(&self) -> Option<i64> {
        let back = self
            .cells
            .iter()
            .rev()
            .position(|cell| cell.mean().is_some())?;
        let at = i64::try_from(self.cells.len() - 1 - back).ok()?;
        Some(self.first + at)
    }

    /// Up to when something is known.
    #[must_use]
    pub const fn until(&self) -> Option<Utc> {
        self.until
    }

    /// Every known slot, the oldest first.
    pub fn known(&self) -> impl Iterator<Item = (i64, u64)> {
        let cells = (self.first..).zip(&self.cells);
        cells.filter_map(|(slot, cell)| Some((slot, cell.mean()?)))
    }

    /// Takes a slot back, as what stood there turned out to be false.
    pub fn forget(&mut self, slot: i64) {
        let at = usize::try_from(slot - self.first).ok();
        if let Some(cell) = at.and_then(|at| self.cells.get_mut(at)) {
            *cell = Cell::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{NotAdded, SLOTS_MAX, Series, Utc};

    #[test]
    fn rows_of_any_length_fill_the_slots_they_cover() {
        let mut series = Series::default();
        assert_eq!(series.add(Utc(3600), 3600, 8), Ok(())); // an hour is four slots
        assert_eq!(
            (1..=5).map(|slot| series.at(slot)).collect::<Vec<_>>(),
            [Some(8), Some(8), Some(8), Some(8), None]
        );
        for (end, value) in [(3900, 3), (4200, 6), (4500, 9)] {
            assert_eq!(series.add(Utc(end), 300, value), Ok(())); // three rows are one slot
        }
        assert_eq!(series.at(5), Some(6));
        assert_eq!(series.add(Utc(4900), 400, 5), Ok(()));
        assert_eq!(series.at(6), None); // less than half of it is known
        assert_eq!(series.last(), Some(5));
    }

    #[test]
    fn what_overlaps_is_cut_and_what_repeats_is_refused() {
        let mut series = Series::default();
        assert_eq!(series.add(Utc(1800), 1800, 4), Ok(()));
        assert_eq!(series.add(Utc(2700), 1800, 10), Ok(())); // only its second half is new
        assert_eq!((series.at(2), series.at(3)), (Some(4), Some(10)));
        assert_eq!(series.add(Utc(2700), 900, 1), Err(NotAdded::Repeated));
        assert_eq!(series.add(Utc(9000), 0, 1), Err(NotAdded::Span));
        assert_eq!(series.add(Utc(99_000), 90_000, 1), Err(NotAdded::Span));
    }

    #[test]
    fn it_never_holds_more_than_its_bound() {
        let mut series = Series::default();
        let most = i64::try_from(SLOTS_MAX).expect("it is small");
        for slot in 1..=most + 10 {
            assert_eq!(series.add(Utc::end_of(slot), 900, 1), Ok(()));
        }
        assert_eq!(series.known().count(), SLOTS_MAX);
        assert_eq!((series.at(10), series.at(11)), (None, Some(1)));
        assert_eq!(series.add(Utc::end_of(9 * most), 900, 7), Ok(()));
        assert_eq!(series.known().collect::<Vec<_>>(), [(9 * most, 7)]);
    }
}
