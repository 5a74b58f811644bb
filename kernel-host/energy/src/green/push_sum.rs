//! Sums over all nodes without a centre: push-sum (Kempe et al.) with exact integers.
//!
//! Does:      splits what a node holds in two halves and sends one away; all halves together are
//!            the sum, to the last unit; starts anew each epoch, so that nodes that came, went or
//!            lied are forgotten; says how old its answer is.
//! Does not:  choose partners or send. A cut-off island gets the mean of the island: who is
//!            missing is `overlay`'s to say.
//! Bounds:    `QUANTITIES` numbers; two epochs at a time.
//! Trusts:    peers for the numbers; not for the time: parts of other epochs are ignored.
//! Start at:  `PushSum::tick`.

use super::Utc;
use serde::{Deserialize, Serialize};

/// Numbers that are summed together.
pub const QUANTITIES: usize = 6;
/// An epoch: long enough for 1,000 nodes at a round a second.
pub const EPOCH_S: i64 = 30;
/// What each node brings into the weights.
const WEIGHT: u64 = 1 << 40;
/// More than any node may hold of one number: sums of 2^20 nodes fit.
pub const VALUE_MAX: u64 = 1 << 60;
const PART_BYTES_MAX: usize = 160;

/// What travels: a part of the sums and the same part of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    epoch: i64,
    weight: u64,
    sums: [u128; QUANTITIES],
}

/// Bytes that are no part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are no part of a sum")]
pub struct BadPart;

impl Part {
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).unwrap_or_default()
    }

    /// Reads what a stranger sent.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadPart> {
        if bytes.len() > PART_BYTES_MAX {
            return Err(BadPart);
        }
        let (part, rest) = postcard::take_from_bytes::<Self>(bytes).map_err(|_| BadPart)?;
        let weighted = u128::from(part.weight) * u128::from(VALUE_MAX);
        let fits = part.sums.iter().all(|sum| *sum <= weighted);
        (rest.is_empty() && fits).then_some(part).ok_or(BadPart)
    }

    fn halved(&mut self) -> Self {
        let away = Self {
            epoch: self.epoch,
            weight: self.weight / 2,
            sums: self.sums.map(|sum| sum / 2),
        };
        self.weight -= away.weight;
        for (kept, gone) in self.sums.iter_mut().zip(away.sums) {
            *kept -= gone;
        }
        away
    }

    fn means(&self) -> [u64; QUANTITIES] {
        let mean = |sum: u128| sum.checked_div(self.weight.into()).unwrap_or(0);
        self.sums
            .map(|sum| u64::try_from(mean(sum)).unwrap_or(u64::MAX))
    }
}

/// The mean over all nodes, and when it was true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Means {
    pub values: [u64; QUANTITIES],
    pub as_of: Utc,
}

/// One node's share in the sums.
#[derive(Debug, Clone)]
pub struct PushSum {
    held: Part,
    /// What the last full epoch came to.
    done: Option<Means>,
    /// Parts of another epoch, and parts that would have overflowed.
    pub ignored: u64,
}

impl PushSum {
    #[must_use]
    pub fn new(now: Utc, own: [u64; QUANTITIES]) -> Self {
        Self {
            held: brought(epoch_of(now), own),
            done: None,
            ignored: 0,
        }
    }

    /// A round is due: what to send to a random partner. `own`: this node's numbers now, which
    /// count from the next epoch on.
    pub fn tick(&mut self, now: Utc, own: [u64; QUANTITIES]) -> Part {
        self.enter(epoch_of(now), own);
        self.held.halved()
    }

    /// A partner's part came. A partner whose clock is ahead starts the next epoch for us.
    pub fn take(&mut self, part: Part, own: [u64; QUANTITIES]) {
        if part.epoch == self.held.epoch + 1 {
            self.enter(part.epoch, own);
        }
        let weight = self.held.weight.checked_add(part.weight);
        let sums = self.held.sums.iter().zip(part.sums);
        let sums: Option<Vec<u128>> = sums.map(|(held, sum)| held.checked_add(sum)).collect();
        match (weight, sums) {
            (Some(weight), Some(sums)) if part.epoch == self.held.epoch => {
                self.held.weight = weight;
                self.held.sums.copy_from_slice(&sums);
            }
            _ => self.ignored += 1,
        }
    }

    fn enter(&mut self, epoch: i64, own: [u64; QUANTITIES]) {
        if epoch <= self.held.epoch {
            return;
        }
        let as_of = Utc(self.held.epoch * EPOCH_S);
        let values = self.held.means();
        self.done = Some(Means { values, as_of });
        self.held = brought(epoch, own);
    }

    /// What the last full epoch came to; `None` in the first.
    #[must_use]
    pub const fn means(&self) -> Option<Means> {
        self.done
    }
}

fn epoch_of(now: Utc) -> i64 {
    now.0.div_euclid(EPOCH_S)
}

fn brought(epoch: i64, own: [u64; QUANTITIES]) -> Part {
    Part {
        epoch,
        weight: WEIGHT,
        sums: own.map(|value| u128::from(value.min(VALUE_MAX)) * u128::from(WEIGHT)),
    }
}

#[cfg(test)]
mod tests {
    use super::{EPOCH_S, PushSum, QUANTITIES, Utc, VALUE_MAX};
    use crate::green::generate::Dice;

    fn own(node: usize) -> [u64; QUANTITIES] {
        let mut values = [1; QUANTITIES];
        values[0] = node as u64 * 1_000_000;
        values[1] = if node == 7 { VALUE_MAX } else { 0 };
        values
    }

    /// One epoch of rounds in which some parts get lost; returns all answers.
    fn run(nodes: usize, loss_permille: u64) -> Vec<PushSum> {
        let mut dice = Dice::new(5);
        let mut all: Vec<_> = (0..nodes)
            .map(|node| PushSum::new(Utc(0), own(node)))
            .collect();
        for second in 1..EPOCH_S {
            for node in 0..nodes {
                let part = all[node].tick(Utc(second), own(node));
                let to = usize::try_from(dice.below(nodes as u64)).expect("it is small");
                if dice.below(1000) >= loss_permille {
                    all[to].take(part, own(to));
                }
            }
        }
        for (node, one) in all.iter_mut().enumerate() {
            let _ = one.tick(Utc(EPOCH_S), own(node));
        }
        all
    }

    #[test]
    fn a_thousand_nodes_know_the_mean_after_an_epoch() {
        let all = run(1_000, 0);
        for one in &all {
            let means = one.means().expect("an epoch is over");
            assert_eq!((means.as_of, means.values[2]), (Utc(0), 1));
            let off = means.values[0].abs_diff(499_500_000);
            assert!(off * 50 < 499_500_000, "{}", means.values[0]); // within 2 %
        }
    }

    #[test]
    fn lost_parts_take_their_weight_with_them() {
        let all = run(200, 100);
        let worst = all.iter().map(|one| {
            let means = one.means().expect("an epoch is over");
            means.values[0].abs_diff(99_500_000)
        });
        assert!(worst.max() < Some(99_500_000 / 3));
    }

    #[test]
    fn parts_of_other_epochs_are_ignored_and_a_fast_clock_is_followed() {
        let mut slow = PushSum::new(Utc(0), own(1));
        let mut fast = PushSum::new(Utc(EPOCH_S), own(3));
        let late = slow.tick(Utc(1), own(1));
        fast.take(late, own(3));
        assert_eq!(fast.ignored, 1);
        slow.take(fast.tick(Utc(EPOCH_S), own(3)), own(1));
        assert_eq!(slow.means().map(|means| means.values[0]), Some(1_000_000));
    }
}
