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

/// Our clock's reading may move by so much against our uptime before the votes are counted anew.
const STEADY_MS: u64 = 1000;
const YEAR_MS: u64 = 365 * 86_400_000;

/// A hybrid logical clock that knows whether it is right.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    last: Stamp,
    /// Who, and its clock minus our uptime in milliseconds: our own clock may jump, that does not.
    offsets: VecDeque<(NodeId, i64)>,
    /// The same of our own clock, when it last agreed with most.
    before: Option<i64>,
    /// Stamps were given that nobody takes: see `Clock::fall_back`.
    has_fallen: bool,
    /// The last count of votes: our own clock's offset then, and the one that most have.
    counted: Option<(i64, i64)>,
}

/// Our clock minus our uptime.
fn own_offset(now: Moment) -> i64 {
    let wall = i64::try_from(now.wall.unix_ms()).unwrap_or(i64::MAX);
    wall.saturating_sub(i64::try_from(now.uptime_ms).unwrap_or(i64::MAX))
}

impl Clock {
    /// A peer said what its clock shows.
    pub fn hear(&mut self, now: Moment, peer: NodeId, wall: Stamp) {
        let theirs = i64::try_from(wall.wall().unix_ms()).unwrap_or(i64::MAX);
        let uptime = i64::try_from(now.uptime_ms).unwrap_or(i64::MAX);
        if let Some(at) = self.offsets.iter().position(|(other, _)| *other == peer) {
            self.offsets.remove(at);
        } else if self.offsets.len() == PEERS_MAX {
            self.offsets.pop_front();
        }
        self.offsets
            .push_back((peer, theirs.saturating_sub(uptime)));
        let ours = own_offset(now);
        let most = self.count(now, ours);
        self.counted = Some((ours, most));
        let agree = self.offsets.iter();
        let agree = agree.filter(|(_, offset)| offset.abs_diff(ours) <= AHEAD_MS_MAX);
        if agree.count() * 2 > self.offsets.len() {
            self.before = Some(ours);
        }
    }

    /// The middle of what peers say, what our clock says, and what it said when it was right.
    fn count(&self, now: Moment, ours: i64) -> i64 {
        let mut votes: Vec<i64> = self.offsets.iter().map(|(_, offset)| *offset).collect();
        votes.push(ours);
        votes.extend(self.before.filter(|_| !self.offsets.is_empty()));
        votes.sort_unstable();
        let (low, high) = (votes[(votes.len() - 1) / 2], votes[votes.len() / 2]);
        if self.before.is_some() {
            // Most were with us once: between two middles ours is the closer.
            let is_lower = low.abs_diff(ours) <= high.abs_diff(ours);
            return if is_lower { low } else { high };
        }
        // Nobody has confirmed ours since the start. Clocks that lose their battery fall back: of
        // two the later is right, unless it is so late that it must have run away.
        let uptime = i64::try_from(now.uptime_ms).unwrap_or(i64::MAX);
        let was_set = low.saturating_add(uptime) >= i64::try_from(NEVER_SET_MS).unwrap_or(i64::MAX);
        if was_set && high.abs_diff(low) > YEAR_MS {
            low
        } else {
            high
        }
    }

    /// Which offset most clocks have.
    fn offset(&self, now: Moment) -> i64 {
        let ours = own_offset(now);
        match self.counted {
            Some((then, most)) if then.abs_diff(ours) <= STEADY_MS => {
                most.saturating_add(ours.saturating_sub(then))
            }
            _ => self.count(now, ours),
        }
    }

    /// Our clock differs so much from those of our peers that it must be wrong.
    pub fn is_off(&self, now: Moment) -> bool {
        self.offset(now).abs_diff(own_offset(now)) > AHEAD_MS_MAX
    }

    /// The time of day, as most say it is.
    pub fn wall(&self, now: Moment) -> Timestamp {
        let offset = self.offset(now);
        if offset.abs_diff(own_offset(now)) <= AHEAD_MS_MAX {
            return now.wall;
        }
        let uptime = i64::try_from(now.uptime_ms).unwrap_or(i64::MAX);
        let right = uptime.saturating_add(offset).max(0);
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

    /// Stamps that we gave before anybody told us how wrong our clock is are refused by all: those
    /// that follow need not be later. `true`: that happened since the last call.
    pub fn fall_back(&mut self, now: Moment) -> bool {
        let most = Stamp::from_wall(Timestamp::from_unix_ms(
            self.wall(now).unix_ms().saturating_add(AHEAD_MS_MAX),
        ));
        let is_told = !self.offsets.is_empty() && !self.is_blind(now);
        if is_told && self.last > most {
            self.last = Stamp::from_wall(self.wall(now));
            self.has_fallen = true;
        }
        std::mem::take(&mut self.has_fallen)
    }

    /// A stamp for something that we write now.
    pub fn stamp(&mut self, now: Moment) -> Stamp {
        self.has_fallen = self.fall_back(now);
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
        check(NOW_MS - 3_600_000, &[NOW_MS],                                true,  NOW_MS);
    }

    fn check(ours_ms: u64, peers_ms: &[u64], is_off: bool, shows_ms: u64) {
        let clock = clock(ours_ms, peers_ms);
        assert_eq!(clock.is_off(at(ours_ms)), is_off, "{ours_ms} {peers_ms:?}");
        assert_eq!(
            clock.wall(at(ours_ms)).unix_ms(),
            shows_ms,
            "{ours_ms} {peers_ms:?}"
        );
    }

    #[test]
    fn a_clock_that_jumps_is_outvoted_by_what_it_said_before() {
        const YEARS: u64 = 315_360_000_000;
        let one_peer = clock(NOW_MS, &[NOW_MS]);
        for jump_ms in [NOW_MS + YEARS, NOW_MS - 3_600_000, 0] {
            assert!(one_peer.is_off(at(jump_ms)));
            assert_eq!(one_peer.wall(at(jump_ms)).unix_ms(), NOW_MS);
        }
        assert!(!one_peer.is_off(at(NOW_MS + 900)));
        // Alone, there is nothing to hold it against.
        assert!(!Clock::default().is_off(at(NOW_MS + YEARS)));
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
    fn stamps_of_a_clock_that_nobody_believes_are_given_anew() {
        let years = 315_360_000_000;
        let mut clock = Clock::default();
        let wrong = clock.stamp(at(NOW_MS + years));
        assert!(!clock.fall_back(at(NOW_MS + years)), "nobody says so yet");
        for peer in [1, 2] {
            let wall = Stamp::from_wall(Timestamp::from_unix_ms(NOW_MS));
            clock.hear(at(NOW_MS + years), NodeId::from_bytes([peer; 16]), wall);
        }
        let right = clock.stamp(at(NOW_MS + years));
        assert!(right < wrong && right.wall().unix_ms() < NOW_MS + AHEAD_MS_MAX);
        assert!(clock.fall_back(at(NOW_MS + years)), "told once");
        assert!(!clock.fall_back(at(NOW_MS + years)));
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
