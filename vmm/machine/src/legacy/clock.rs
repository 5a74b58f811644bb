//! The CMOS clock: time and date for kernels without kvmclock, and 114 bytes of nothing.
//!
//! Does:      time of day in UTC, BCD, 24 hours; the index register.
//! Does not:  alarms, interrupts, storage, setting the time: writes are ignored.
//! Trusts:    the host's clock.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

const SECONDS_PER_DAY: u64 = 86_400;

/// The clock's one register.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    index: AtomicU8,
}

impl Clock {
    pub(crate) fn select(&self, value: u8) {
        self.index.store(value & 0x7f, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> u8 {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        register(self.index.load(Ordering::Relaxed), now)
    }
}

fn register(index: u8, now: u64) -> u8 {
    let (year, month, day) = date(now / SECONDS_PER_DAY);
    let second = now % SECONDS_PER_DAY;
    match index {
        0x00 => bcd(second % 60),
        0x02 => bcd(second / 60 % 60),
        0x04 => bcd(second / 3600),
        0x06 => bcd((now / SECONDS_PER_DAY + 4) % 7 + 1), // the epoch was a Thursday
        0x07 => bcd(day),
        0x08 => bcd(month),
        0x09 => bcd(year % 100),
        0x0a => 0x26, // running, no update in progress
        0x0b => 0x02, // 24 hours, BCD
        0x0d => 0x80, // the battery is fine
        0x32 => bcd(year / 100),
        _ => 0,
    }
}

fn bcd(value: u64) -> u8 {
    u8::try_from(value / 10 % 10 * 16 + value % 10).unwrap_or(0)
}

/// Year, month, day of a day since 1970. Counts in years that begin in March.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::{date, register};

    #[test]
    fn the_clock_tells_the_date_of_the_calendar() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(19_782), (2024, 2, 29));
        assert_eq!(date(19_783), (2024, 3, 1));
        assert_eq!(date(47_540), (2100, 2, 28));
        assert_eq!(date(47_541), (2100, 3, 1));
        let now = 1_709_251_199; // 2024-02-29 23:59:59
        let read = [0x00, 0x02, 0x04, 0x07, 0x08, 0x09, 0x32].map(|index| register(index, now));
        assert_eq!(read, [0x59, 0x59, 0x23, 0x29, 0x02, 0x24, 0x20]);
    }
}
