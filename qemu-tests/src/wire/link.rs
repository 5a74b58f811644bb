//! One direction of a cable: delay, loss, rate and cut.
//!
//! Does:      says for each frame when it comes out at the other end, or that it does not.
//! Does not:  hold frames, read a clock or roll global dice: time and seed are given.
//! Bounds:    a few numbers; a frame queues behind at most `BACKLOG_MAX_US` of others.
//! Trusts:    the scenario that sets it.
//! Start at:  `Lane::arrival`.

/// A frame that would wait longer than this for its turn is dropped, as a full queue does.
/// 2 s at 1 Mbit/s are 250 kB, a home router's buffer.
const BACKLOG_MAX_US: u64 = 2_000_000;
const MILLION: u64 = 1_000_000;

/// How one direction behaves. The default is a perfect cable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// From end to end.
    pub delay_ms: u64,
    /// Frames lost in a million.
    pub loss_ppm: u32,
    /// Bits a second; 0 is as fast as it goes.
    pub rate_bps: u64,
    /// Nothing passes.
    pub cut: bool,
}

/// A direction with its state.
#[derive(Debug)]
pub struct Lane {
    link: Link,
    dice: Dice,
    /// When the last frame has left the sender.
    free_at_us: u64,
}

/// Why a frame did not come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// The direction is cut.
    Cut,
    /// The dice said so.
    Lost,
    /// Too many frames wait already.
    Full,
}

impl Lane {
    /// A perfect direction; `seed` decides later losses.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            link: Link::default(),
            dice: Dice::new(seed),
            free_at_us: 0,
        }
    }

    /// Changes the behaviour for frames that enter from now on.
    pub fn set(&mut self, link: Link) {
        self.link = link;
    }

    /// When a frame of `size` bytes that enters at `now_us` comes out.
    pub fn arrival(&mut self, now_us: u64, size: usize) -> Result<u64, Dropped> {
        if self.link.cut {
            return Err(Dropped::Cut);
        }
        if self.link.loss_ppm > 0 && self.dice.below(MILLION) < u64::from(self.link.loss_ppm) {
            return Err(Dropped::Lost);
        }
        let start = self.free_at_us.max(now_us);
        if start - now_us > BACKLOG_MAX_US {
            return Err(Dropped::Full);
        }
        let bits = size as u64 * 8;
        let sending_us = (bits * MILLION)
            .checked_div(self.link.rate_bps)
            .unwrap_or(0);
        self.free_at_us = start + sending_us;
        Ok(self.free_at_us + self.link.delay_ms * 1000)
    }
}

/// `SplitMix64`: small, and the same on every machine.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from 0 to `limit - 1`; the bias at a million is below 1e-13.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

#[cfg(test)]
mod tests {
    use super::{Dropped, Lane, Link};

    fn lane(link: Link) -> Lane {
        let mut lane = Lane::new(7);
        lane.set(link);
        lane
    }

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn a_frame_comes_out_after_its_turn_its_size_and_the_delay() {
        let slow = Link { delay_ms: 10, rate_bps: 1_000_000, ..Link::default() };
        let mut lane = lane(slow);
        //                       now us   bytes     out us
        assert_eq!(lane.arrival(      0,    125), Ok( 11_000)); // 1 ms to send, 10 ms to travel
        assert_eq!(lane.arrival(      0,    125), Ok( 12_000)); // waits for the first
        assert_eq!(lane.arrival(100_000,    125), Ok(111_000)); // the queue has drained
        assert_eq!(lane.arrival(100_000, 500_000), Ok(4_111_000));
        assert_eq!(lane.arrival(100_000,      1), Err(Dropped::Full));
    }

    #[test]
    fn a_perfect_cable_adds_nothing_and_a_cut_one_takes_all() {
        assert_eq!(lane(Link::default()).arrival(5, 1500), Ok(5));
        let cut = Link {
            cut: true,
            ..Link::default()
        };
        assert_eq!(lane(cut).arrival(5, 1500), Err(Dropped::Cut));
    }

    #[test]
    fn losses_follow_the_seed_and_come_near_their_share() {
        let lossy = Link {
            loss_ppm: 100_000,
            ..Link::default()
        };
        let run = || {
            let mut lane = lane(lossy);
            (0..10_000)
                .map(|at| lane.arrival(at, 60).is_err())
                .collect::<Vec<_>>()
        };
        let lost = run().iter().filter(|lost| **lost).count();
        assert!((900..1100).contains(&lost), "{lost} of 10000 at one in ten");
        assert_eq!(run(), run());
    }
}
