//! The last bytes of a console, each with its place in all that was ever written.
//!
//! Does:      appends, forgets the oldest, reads from any place that is still there.
//! Does not:  know readers or guests.
//! Bounds:    the capacity given at the start, allocated as it fills.
//! Trusts:    nothing: any bytes may come.
//! Start at:  `Ring::push`.

use std::collections::VecDeque;

/// See the module.
#[derive(Debug)]
pub struct Ring {
    bytes: VecDeque<u8>,
    capacity: usize,
    end: u64,
}

impl Ring {
    #[must_use]
    pub fn new(capacity: usize) -> Ring {
        Ring {
            bytes: VecDeque::new(),
            capacity,
            end: 0,
        }
    }

    /// The place of the oldest byte that is still there.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.end - self.bytes.len() as u64
    }

    /// The place behind the newest byte: how many were ever written.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Appends; the oldest bytes make room.
    pub fn push(&mut self, bytes: &[u8]) {
        self.end += bytes.len() as u64;
        let kept = &bytes[bytes.len().saturating_sub(self.capacity)..];
        let too_many = (self.bytes.len() + kept.len()).saturating_sub(self.capacity);
        self.bytes.drain(..too_many);
        self.bytes.extend(kept);
    }

    /// At most `max` bytes from a place on; from the oldest if the place is forgotten already.
    /// Returns where they begin.
    #[must_use]
    pub fn read(&self, from: u64, max: usize) -> (u64, Vec<u8>) {
        let from = from.clamp(self.start(), self.end);
        let skip = usize::try_from(from - self.start()).unwrap_or(self.bytes.len());
        (
            from,
            self.bytes.iter().skip(skip).take(max).copied().collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is pushed in whatever pieces, the ring is the tail of all of it.
        #[test]
        fn a_ring_is_the_tail_of_everything_pushed(
            capacity in 1_usize..64,
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..20),
            from in 0_u64..2000,
            max in 0_usize..100,
        ) {
            let mut ring = Ring::new(capacity);
            let mut all = Vec::new();
            for piece in &pieces {
                ring.push(piece);
                all.extend_from_slice(piece);
            }
            let tail = &all[all.len().saturating_sub(capacity)..];
            prop_assert_eq!(ring.end(), all.len() as u64);
            prop_assert_eq!(ring.start(), (all.len() - tail.len()) as u64);
            let (at, bytes) = ring.read(from, max);
            let at = usize::try_from(at).unwrap();
            prop_assert!(at as u64 >= ring.start() && at <= all.len());
            prop_assert!(at as u64 == from || from < ring.start() || from > ring.end());
            prop_assert_eq!(&bytes[..], &all[at..all.len().min(at + max)]);
        }
    }
}
