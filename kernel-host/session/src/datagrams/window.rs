//! Which numbered texts have come: each is taken once.
//!
//! Start at:  `Window`. Source: RFC 6479, with a ring of words.

/// How far a text may lag behind the newest and still be taken.
pub(super) const WINDOW: u64 = 2048;
/// One word more than the window, so that the word being entered is always free to be cleared.
const WORDS: usize = 33;

#[derive(Debug, Clone)]
pub(super) struct Window {
    /// The number after the newest.
    next: u64,
    words: [u64; WORDS],
}

impl Window {
    pub(super) const fn new() -> Self {
        Self {
            next: 0,
            words: [0; WORDS],
        }
    }

    /// The whole number whose lower half is `low`: the one nearest to what is expected.
    pub(super) fn whole(&self, low: u32) -> u64 {
        const SPAN: u64 = 1 << 32;
        let near = self.next & !(SPAN - 1) | u64::from(low);
        let (above, below) = (near.checked_add(SPAN), near.checked_sub(SPAN));
        let distance = |number: u64| number.abs_diff(self.next);
        [above, below]
            .into_iter()
            .flatten()
            .fold(near, |best, other| {
                if distance(other) < distance(best) {
                    other
                } else {
                    best
                }
            })
    }

    pub(super) fn is_newest(&self, number: u64) -> bool {
        number >= self.next
    }

    /// Whether this number may still come.
    pub(super) fn may_take(&self, number: u64) -> bool {
        if self.is_newest(number) {
            return true;
        }
        let (word, bit) = Self::place(number);
        number + WINDOW >= self.next && self.words[word] & bit == 0
    }

    /// Marks a number that `may_take` allowed and whose text was opened.
    pub(super) fn take(&mut self, number: u64) {
        if self.is_newest(number) {
            let (from, to) = (self.next.div_ceil(64), number / 64);
            let first = from.max((to + 1).saturating_sub(WORDS as u64));
            for entered in first..=to {
                let (word, _) = Self::place(entered * 64);
                self.words[word] = 0;
            }
            self.next = number.saturating_add(1);
        }
        let (word, bit) = Self::place(number);
        self.words[word] |= bit;
    }

    fn place(number: u64) -> (usize, u64) {
        let word = number / 64 % WORDS as u64;
        (usize::try_from(word).unwrap_or(0), 1 << (number % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_number_in_the_window_is_taken_once() {
        let mut dice = netcore::dice::Dice::new(7);
        let (mut window, mut taken, mut newest) = (Window::new(), BTreeSet::new(), 0_u64);
        for round in 0..200_000 {
            let step = if round % 5_000 == 0 { 9_000 } else { 40 };
            let number = (newest + dice.below(step)).saturating_sub(dice.below(2_200));
            let in_reach = number + WINDOW > newest;
            let wanted = !taken.contains(&number) && in_reach;
            assert_eq!(window.may_take(number), wanted, "{number} after {newest}");
            if wanted {
                window.take(number);
                taken.insert(number);
                newest = newest.max(number);
            }
        }
    }

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn a_number_is_told_by_its_lower_half() {
        //    newest            low           whole
        check(0,                0,            0);
        check(0,                5,            5);
        check(0xffff_fff0,      3,            0x1_0000_0003);
        check(0x1_0000_0003,    0xffff_fff0,  0xffff_fff0);
        check(0x5_0000_0000,    0xffff_ffff,  0x4_ffff_ffff);
        check(0x5_7fff_0000,    0x8000_0000,  0x5_8000_0000);

        fn check(newest: u64, low: u32, whole: u64) {
            let mut window = Window::new();
            window.take(newest);
            assert_eq!(window.whole(low), whole, "after {newest:#x}");
        }
    }
}
