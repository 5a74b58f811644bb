//! A host: its clock, its disk, its line, and what runs on it.
//!
//! Does:      turns the world's time into the host's two clocks and back; keeps what a host is.
//! Does not:  move messages or time (`World`).
//! Bounds:    a session for each host that it has spoken with.
//! Trusts:    `World`.
//! Start at:  `Host`.

use super::network::Place;
use crate::machine::{Disk, Wish};
use netcore::dice::Dice;
use protocol::peer::{Contact, Life};
use protocol::{Moment, NodeId, SiteId, Timestamp};
use std::collections::{BTreeMap, VecDeque};

/// When the world begins: 2026-11-25T00:00:00Z.
const WALL_MS: u64 = 1_795_564_800_000;
/// What firmware and kernel take before a node's clock is first read.
const BOOTED_MS: u64 = 2000;

/// A host's two clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    pub booted_us: u64,
    /// What the uptime was when it was booted: long-running machines.
    pub uptime_before_ms: u64,
    /// Microseconds that it gains in a second.
    pub drift_ppm: i32,
    /// What the wall clock shows too much.
    pub wall_off_ms: i64,
}

impl Clock {
    pub fn uptime_ms(&self, now_us: u64) -> u64 {
        let passed = now_us.saturating_sub(self.booted_us);
        BOOTED_MS + self.uptime_before_ms + self.skewed(passed) / 1000
    }

    fn skewed(&self, us: u64) -> u64 {
        let gain = (us / 1_000_000).saturating_mul(u64::from(self.drift_ppm.unsigned_abs()))
            + us % 1_000_000 * u64::from(self.drift_ppm.unsigned_abs()) / 1_000_000;
        if self.drift_ppm < 0 {
            us.saturating_sub(gain)
        } else {
            us + gain
        }
    }

    /// The first time of the world at which the uptime is at least `uptime_ms`.
    pub fn world_us(&self, uptime_ms: u64) -> u64 {
        let us = uptime_ms
            .saturating_sub(BOOTED_MS + self.uptime_before_ms)
            .saturating_mul(1000);
        if self.drift_ppm == 0 {
            return self.booted_us.saturating_add(us);
        }
        let million = 1_000_000_i128;
        let passed = i128::from(us) * million / (million + i128::from(self.drift_ppm));
        let mut at = self
            .booted_us
            .saturating_add(u64::try_from(passed).unwrap_or(u64::MAX));
        while self.uptime_ms(at) < uptime_ms && at < u64::MAX - 1000 {
            at += 500;
        }
        at
    }

    pub fn moment(&self, now_us: u64) -> Moment {
        let wall = (WALL_MS + now_us / 1000).saturating_add_signed(self.wall_off_ms);
        Moment {
            uptime_ms: self.uptime_ms(now_us),
            wall: Timestamp::from_unix_ms(wall),
        }
    }
}

/// An encrypted session to another host, as far as it matters for what arrives.
#[derive(Debug, Clone, Copy)]
pub struct Session {
    /// The boot of the peer that it was made with.
    pub boot: u32,
    /// Since when the peer does not know it any more.
    pub stale_us: Option<u64>,
    /// When the last message of a stream arrives.
    pub stream_us: u64,
}

/// What a host has sent and received on the wire, overhead included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    pub messages_out: u64,
    pub bytes_out: u64,
    pub bytes_in: u64,
    pub steps: u64,
    /// Bytes out by message kind; the last is all others.
    pub by_kind: [u64; 8],
}

/// Microseconds of a host's processor that a step takes, when a fault makes it slow.
pub const STEP_US: u64 = 50;

/// What others need of a host for each message, kept together: a large world's hosts lie far apart
/// in memory.
#[derive(Debug, Clone, Copy)]
pub struct Glance {
    /// Until when it can't work; `u64::MAX`: it has no power.
    pub ready_us: u64,
    pub booted_us: u64,
    pub boot: u32,
    pub site: u16,
}

impl Glance {
    pub const fn is_up(&self) -> bool {
        self.ready_us != u64::MAX
    }
}

#[derive(Debug)]
pub struct Host<M> {
    pub machine: Option<M>,
    pub id: NodeId,
    pub site_id: SiteId,
    pub place: Place,
    /// The number of its address.
    pub address: u32,
    /// Which key it has: a host without disk has a new one at each boot.
    pub key: u16,
    /// Boots of this key.
    pub life_boots: u32,
    /// All boots of this host.
    pub boot: u32,
    pub has_disk: bool,
    pub disk: Disk,
    /// Wishes that wait for the disk.
    pub held: VecDeque<Wish>,
    pub stalled_until_us: u64,
    pub paused_until_us: u64,
    /// How many times slower than it should be.
    pub slow: u32,
    pub busy_until_us: u64,
    pub clock: Clock,
    /// When its next timer event comes; `u64::MAX`: none.
    pub timer_us: u64,
    pub line_free_us: u64,
    pub sessions: BTreeMap<u32, Session>,
    pub traffic: Traffic,
    /// Took part once: is expected to take part again.
    pub was_up: bool,
    pub has_left: bool,
    pub dice: Dice,
}

impl<M> Host<M> {
    pub fn new(place: Place, id: NodeId, site_id: SiteId, seed: u64) -> Self {
        Self {
            machine: None,
            id,
            site_id,
            place,
            address: place.host,
            key: 0,
            life_boots: 0,
            boot: 0,
            has_disk: true,
            disk: Disk::new(),
            held: VecDeque::new(),
            stalled_until_us: 0,
            paused_until_us: 0,
            slow: 1,
            busy_until_us: 0,
            clock: Clock::default(),
            timer_us: u64::MAX,
            line_free_us: 0,
            sessions: BTreeMap::new(),
            traffic: Traffic::default(),
            was_up: false,
            has_left: false,
            dice: Dice::new(seed),
        }
    }

    /// Whether its wall clock is so wrong that it may not stamp what others merge.
    pub const fn has_wrong_clock(&self) -> bool {
        self.clock.wall_off_ms.unsigned_abs() > 60_000
    }

    pub fn is_up(&self) -> bool {
        self.machine.is_some()
    }

    pub fn contact(&self) -> Contact {
        Contact {
            node: self.id,
            site: self.site_id,
            address: crate::ids::address_of(self.address),
        }
    }

    pub fn life(&self) -> Life {
        Life::new(self.life_boots, 0)
    }

    pub fn glance(&self) -> Glance {
        let ready_us = self.paused_until_us.max(self.busy_until_us);
        Glance {
            ready_us: if self.is_up() { ready_us } else { u64::MAX },
            booted_us: self.clock.booted_us,
            boot: self.boot,
            site: self.place.site,
        }
    }

    /// The power goes: all that was not on disk is gone.
    pub fn lose_power(&mut self) {
        self.machine = None;
        self.held.clear();
        self.sessions.clear();
        self.timer_us = u64::MAX;
        self.stalled_until_us = 0;
        self.paused_until_us = 0;
        self.busy_until_us = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_comes_when_the_skewed_clock_says_so() {
        for drift_ppm in [-10_000, -500, 0, 3, 10_000] {
            let clock = Clock {
                booted_us: 77_123,
                uptime_before_ms: 0,
                drift_ppm,
                wall_off_ms: 0,
            };
            for uptime_ms in [0, 2000, 2001, 9_999, 1_000_000, 90_000_000] {
                let at = clock.world_us(uptime_ms);
                assert!(clock.uptime_ms(at) >= uptime_ms, "{drift_ppm} {uptime_ms}");
                let before = clock.uptime_ms(at.saturating_sub(2500));
                assert!(
                    before < uptime_ms || uptime_ms <= BOOTED_MS,
                    "{drift_ppm} {uptime_ms}"
                );
            }
        }
    }
}
