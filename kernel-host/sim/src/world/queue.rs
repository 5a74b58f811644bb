//! Events in order of time, then of the order in which they were added.
//!
//! A wheel of milliseconds for what comes soon, a heap for what comes late: adding and taking an
//! event touches one short row, whatever the number of nodes.
//!
//! Start at:  `Queue`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Milliseconds on the wheel. Most timers and all travel times end within 8 s.
const SLOTS: usize = 8192;
const SLOT_US: u64 = 1000;

/// Something that happens at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry<T> {
    at_us: u64,
    sequence: u64,
    what: T,
}

/// What will happen. Takes events of the past as events of now.
#[derive(Debug)]
pub struct Queue<T> {
    slots: Vec<Vec<Entry<T>>>,
    /// Events of the current slot, latest first.
    current: Vec<Entry<T>>,
    late: BinaryHeap<Reverse<Entry<T>>>,
    /// The slot that `current` holds.
    slot: u64,
    /// Events in `slots`.
    on_wheel: usize,
    sequence: u64,
}

impl<T: Copy + Ord> Queue<T> {
    pub fn new() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            current: Vec::new(),
            late: BinaryHeap::new(),
            slot: 0,
            on_wheel: 0,
            sequence: 0,
        }
    }

    pub fn push(&mut self, at_us: u64, what: T) {
        self.sequence += 1;
        let entry = Entry {
            at_us,
            sequence: self.sequence,
            what,
        };
        let slot = at_us / SLOT_US;
        if slot <= self.slot {
            let place = self.current.partition_point(|other| *other > entry);
            self.current.insert(place, entry);
        } else if slot < self.slot + SLOTS as u64 {
            self.slots[index(slot)].push(entry);
            self.on_wheel += 1;
        } else {
            self.late.push(Reverse(entry));
        }
    }

    /// The next event that is due by `until_us`.
    pub fn pop(&mut self, until_us: u64) -> Option<(u64, T)> {
        loop {
            if let Some(entry) = self.current.last() {
                if entry.at_us > until_us {
                    return None;
                }
                let entry = self.current.pop()?;
                return Some((entry.at_us, entry.what));
            }
            if !self.advance(until_us / SLOT_US) {
                return None;
            }
        }
    }

    /// Moves to the next slot that holds something, at most to `last`. `false`: nothing there.
    fn advance(&mut self, last: u64) -> bool {
        while self.slot < last {
            self.slot = if self.on_wheel == 0 {
                match self.late.peek() {
                    Some(Reverse(entry)) => (entry.at_us / SLOT_US).clamp(self.slot + 1, last),
                    None => last,
                }
            } else {
                self.slot + 1
            };
            std::mem::swap(&mut self.current, &mut self.slots[index(self.slot)]);
            self.on_wheel -= self.current.len();
            self.take_late();
            if !self.current.is_empty() {
                self.current.sort_unstable_by(|a, b| b.cmp(a));
                return true;
            }
        }
        false
    }

    fn take_late(&mut self) {
        while let Some(Reverse(entry)) = self.late.peek() {
            if entry.at_us / SLOT_US > self.slot {
                break;
            }
            self.current
                .extend(self.late.pop().map(|Reverse(entry)| entry));
        }
    }

    pub fn len(&self) -> usize {
        self.current.len() + self.on_wheel + self.late.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Copy + Ord> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[allow(clippy::cast_possible_truncation)] // below SLOTS
const fn index(slot: u64) -> usize {
    (slot % SLOTS as u64) as usize
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use netcore::dice::Dice;

    #[test]
    fn events_come_in_order_of_time_then_of_adding() {
        let (mut queue, mut dice, mut now) = (Queue::new(), Dice::new(3), 0);
        let mut expected = Vec::new();
        for number in 0..20_000_u32 {
            let at = now + dice.below([900, 60_000, 30_000_000][number as usize % 3]);
            queue.push(at, number);
            expected.push((at, number));
            if number % 4 == 0 {
                let first = *expected.iter().min().unwrap();
                expected.retain(|entry| *entry != first);
                assert_eq!(queue.pop(u64::MAX), Some(first));
                now = first.0;
            }
            if expected.len() > 400 {
                break;
            }
        }
        expected.sort_unstable();
        for entry in expected {
            assert_eq!(queue.pop(entry.0.saturating_sub(1)), None);
            assert_eq!(queue.pop(entry.0), Some(entry));
        }
        assert!(queue.is_empty());
    }
}
