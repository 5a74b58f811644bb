//! The two clocks: time since the kernel started, and the time of day.
//!
//! Does:      reads both; lifts a time of day that cannot be true to a known floor.
//! Does not:  synchronise with anybody.
//! Bounds:    none needed.
//! Trusts:    the kernel's monotonic clock; the time of day only above the floor.
//! Start at:  `uptime_ms`.

use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

/// Milliseconds since the kernel started: the clock of the kernel log and of every timeline.
#[must_use]
pub fn uptime_ms() -> u64 {
    milliseconds(clock_gettime(ClockId::Monotonic))
}

/// Milliseconds since 1970; 0 if the clock stands before that.
#[must_use]
pub fn wall_ms() -> u64 {
    milliseconds(clock_gettime(ClockId::Realtime))
}

/// A clock correction that took place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raised {
    pub from_s: u64,
    pub to_s: u64,
}

/// Sets the time of day to `floor_s` if it stands before it; the past is never right.
///
/// # Errors
/// When the kernel refuses, which needs a missing privilege.
pub fn raise_to_floor(floor_s: u64) -> std::io::Result<Option<Raised>> {
    let from_s = wall_ms() / 1000;
    if from_s >= floor_s {
        return Ok(None);
    }
    let tv_sec = i64::try_from(floor_s).map_err(std::io::Error::other)?;
    clock_settime(ClockId::Realtime, Timespec { tv_sec, tv_nsec: 0 })?;
    Ok(Some(Raised {
        from_s,
        to_s: floor_s,
    }))
}

fn milliseconds(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds
        .saturating_mul(1000)
        .saturating_add(nanoseconds / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_before_1970_reads_as_zero() {
        assert_eq!(
            milliseconds(Timespec {
                tv_sec: -5,
                tv_nsec: 0
            }),
            0
        );
        assert_eq!(
            milliseconds(Timespec {
                tv_sec: 2,
                tv_nsec: 5_000_000
            }),
            2005
        );
    }

    #[test]
    fn a_clock_above_the_floor_is_left_alone() {
        assert_eq!(raise_to_floor(1).expect("no call is made"), None);
    }
}
