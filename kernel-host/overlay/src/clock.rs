//! The node's idea of the time of day, held against what its peers say, and the stamps it gives.
//!
//! Does:      a hybrid logical clock; the median of the offsets of peers heard lately; refuses
//!            stamps from the future.
//! Does not:  serve leases, lives or epochs, which never look at a wall clock.
//! Bounds:    `PEERS_MAX` offsets; beyond, the oldest makes room.
//! Trusts:    no single peer: one wrong clock does not move the median.
//! Start at:  `Clock::stamp`.

use protocol::peer::Stamp;
use protocol::{Moment, NodeId, Timestamp};
use std::collections::VecDeque;

/// A stamp further ahead is refused, and a clock further off is not believed.
pub const AHEAD_MS_MAX: u64 = 60_000;
/// Peers whose clocks are remembered.
const PEERS_MAX: usize = 31;
/// 2024-01-01: no node of this software ran before; such a clock was never set.
const NEVER_SET_MS: u64 = 1_704_067_200_000;

/// A hybrid logical clock that knows whether it is right.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    last: Stamp,
    /// Who, and its clock minus ours in milliseconds.
    offsets: VecDeque<(NodeId, i64)>,
    median_ms: i64,
}

impl Clock {
    /// A peer said what its clock shows.
    pub fn hear(&mut self, now: Moment, peer: NodeId, wall: Stamp) {
        let theirs = i64::try_from(wall.wall().unix_ms()).unwrap_or(i64::MAX);
        let ours = i64::try_from(now.wall.unix_ms()).unwrap_or(i64::MAX);
        if let Some(at) = self.offsets.iter().position(|(other, _)| *other == peer) {
            self.offsets.remove(at);
        } else if self.offsets.len() == PEERS_MAX {
            self.offsets.pop_front();
        }
        self.offsets.push_back((peer, theirs.saturating_sub(ours)));
        let mut sorted: Vec<i64> = self.offsets.iter().map(|(_, offset)| *offset).collect();
        sorted.push(0);
        sorted.sort_unstable();
        let middle = sorted.len() / 2;
        // Between two middles ours is closer, unless it was never set.
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[middle]);
        let was_set = now.wall.unix_ms() >= NEVER_SET_MS;
        let nearer = low.unsigned_abs() <= high.unsigned_abs();
        self.median_ms = if was_set && nearer { low } else { high };
    }

    /// Our clock differs so much from those of our peers that it must be wrong.
    pub const fn is_off(&self) -> bool {
        self.median_ms.unsigned_abs() > AHEAD_MS_MAX
    }

    /// The time of day, as most say it is.
    pub fn wall(&self, now: Moment) -> Timestamp {
        if !self.is_off() {
            return now.wall;
        }
        let ours = i64::try_from(now.wall.unix_ms()).unwrap_or(i64::MAX);
        let right = ours.saturating_add(self.median_ms).max(0);
        Timestamp::from_unix_ms(u64::try_from(right).unwrap_or(0))
    }

    /// Whether nobody has told us the time yet, and our own clock was never set.
    fn is_blind(&self, now: Moment) -> bool {
        self.wall(now).unix_ms() < NEVER_SET_MS
    }

    /// Whether a stamp lies too far in the future to be true.
    pub fn is_ahead(&self, now: Moment, stamp: Stamp) -> bool {
        let limit = self.wall(now).unix_ms().saturating_add(AHEAD_MS_MAX);
        !self.is_blind(now) && stamp.wall().unix_ms() > limit
    }

    /// How long ago a stamp was given; zero if that can't be known.
    pub fn age_ms(&self, now: Moment, stamp: Stamp) -> u64 {
        if self.is_blind(now) {
            return 0;
        }
        self.wall(now).ms_since(stamp.wall())
    }

    /// Stamps that we accept move ours on.
    pub fn observe(&mut self, stamp: Stamp) {
        self.last = self.last.max(stamp);
    }

    /// A stamp for something that we write now.
    pub fn stamp(&mut self, now: Moment) -> Stamp {
        self.last = self.last.next(self.wall(now));
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_800_000_000_000;

    fn at(unix_ms: u64) -> Moment {
        Moment {
            uptime_ms: 5000,
            wall: Timestamp::from_unix_ms(unix_ms),
        }
    }

    fn clock(ours_ms: u64, peers_ms: &[u64]) -> Clock {
        let mut clock = Clock::default();
        for (peer, ms) in (0u8..).zip(peers_ms) {
            let wall = Stamp::from_wall(Timestamp::from_unix_ms(*ms));
            clock.hear(at(ours_ms), NodeId::from_bytes([peer; 16]), wall);
        }
        clock
    }

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn a_clock_believes_most_of_its_peers() {
        const YEARS: u64 = 315_360_000_000;
        //    ours               peers                                      off    shows
        check(NOW_MS,            &[],                                       false, NOW_MS);
        check(NOW_MS,            &[NOW_MS + 3, NOW_MS + 9],                 false, NOW_MS);
        check(NOW_MS,            &[NOW_MS + YEARS],                         false, NOW_MS);
        check(NOW_MS,            &[NOW_MS + YEARS, NOW_MS, NOW_MS],         false, NOW_MS);
        check(NOW_MS + YEARS,    &[NOW_MS, NOW_MS],                         true,  NOW_MS);
        check(NOW_MS - 3_600_000, &[NOW_MS, NOW_MS],                        true,  NOW_MS);
        check(1_000,             &[NOW_MS],                                 true,  NOW_MS);
    }

    fn check(ours_ms: u64, peers_ms: &[u64], is_off: bool, shows_ms: u64) {
        let clock = clock(ours_ms, peers_ms);
        assert_eq!(clock.is_off(), is_off, "{ours_ms} {peers_ms:?}");
        assert_eq!(
            clock.wall(at(ours_ms)).unix_ms(),
            shows_ms,
            "{ours_ms} {peers_ms:?}"
        );
    }

    #[test]
    fn a_stamp_from_the_future_is_refused_unless_our_clock_was_never_set() {
        let ahead = Stamp::from_wall(Timestamp::from_unix_ms(NOW_MS + 61_000));
        let near = Stamp::from_wall(Timestamp::from_unix_ms(NOW_MS + 59_000));
        assert!(Clock::default().is_ahead(at(NOW_MS), ahead));
        assert!(!Clock::default().is_ahead(at(NOW_MS), near));
        assert!(!Clock::default().is_ahead(at(0), ahead));
    }

    #[test]
    fn stamps_never_go_back() {
        let mut clock = Clock::default();
        let first = clock.stamp(at(NOW_MS));
        let second = clock.stamp(at(NOW_MS - 3_600_000));
        assert!(second > first);
        clock.observe(Stamp::from_wall(Timestamp::from_unix_ms(NOW_MS + 50_000)));
        assert!(clock.stamp(at(NOW_MS)).wall().unix_ms() >= NOW_MS + 50_000);
    }
}
