//! Points in time, handed around as values.
//!
//! Does:      RFC 3339 in UTC with milliseconds; the pair of clocks that cores are given.
//! Does not:  read a clock.
//! Bounds:    years 1970 to 9999; a node whose clock was never set lives in 1970 and works.
//! Start at:  `Moment`.

use crate::text::serde_as_text;
use std::{fmt, str::FromStr};

/// What both clocks of the caller say now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Monotonic milliseconds since the machine started: deadlines and durations.
    pub uptime_ms: u64,
    /// The wall clock: only ever shown to people.
    pub wall: Timestamp,
}

/// A wall-clock time in milliseconds since 1970 UTC, never past the year 9999.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

/// 9999-12-31T23:59:59.999Z.
const MS_MAX: u64 = 253_402_300_799_999;
const DAY_MS: u64 = 86_400_000;

/// Why a text is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no time: wanted for example 2026-11-25T02:21:33.000Z")]
pub struct BadTimestamp {
    pub text: String,
}

impl Timestamp {
    /// Times past the year 9999 become its last millisecond.
    pub const fn from_unix_ms(ms: u64) -> Self {
        Self(if ms > MS_MAX { MS_MAX } else { ms })
    }

    pub const fn unix_ms(self) -> u64 {
        self.0
    }

    /// Milliseconds from `earlier` to this; zero if the clock went back.
    pub const fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Days since 1970-01-01 of a civil date (the era-based algorithm; all values positive here).
fn days_of(year: u64, month: u64, day: u64) -> u64 {
    let y = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (y / 400, y % 400);
    let shifted = (month + 9) % 12;
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The civil date of a day since 1970-01-01; the inverse of `days_of`.
fn date_of(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date_of(self.0 / DAY_MS);
        let ms = self.0 % DAY_MS;
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        )?;
        write!(f, ".{:03}Z", ms % 1000)
    }
}

/// The digits at `range`, as a number.
fn number(text: &[u8], range: std::ops::Range<usize>) -> Option<u64> {
    text.get(range)?.iter().try_fold(0, |sum, byte| {
        byte.is_ascii_digit()
            .then(|| sum * 10 + u64::from(byte - b'0'))
    })
}

fn parse_utc(text: &[u8]) -> Option<u64> {
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if !text.is_ascii() || marks.iter().any(|&(at, mark)| text.get(at) != Some(&mark)) {
        return None;
    }
    let (year, month, day) = (
        number(text, 0..4)?,
        number(text, 5..7)?,
        number(text, 8..10)?,
    );
    let (hour, minute) = (number(text, 11..13)?, number(text, 14..16)?);
    let second = number(text, 17..19)?;
    let in_range = year >= 1970
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !in_range || date_of(days_of(year, month, day)) != (year, month, day) {
        return None;
    }
    let ms = match &text[19..] {
        b"Z" => 0,
        [b'.', digits @ .., b'Z'] if (1..=9).contains(&digits.len()) => {
            let mut three = [b'0'; 3];
            three
                .iter_mut()
                .zip(digits)
                .for_each(|(to, from)| *to = *from);
            number(digits, 0..digits.len())?;
            number(&three, 0..3)?
        }
        _ => return None,
    };
    let days = days_of(year, month, day);
    Some(days * DAY_MS + ((hour * 60 + minute) * 60 + second) * 1000 + ms)
}

impl FromStr for Timestamp {
    type Err = BadTimestamp;

    fn from_str(text: &str) -> Result<Self, BadTimestamp> {
        parse_utc(text.as_bytes())
            .map(Self)
            .ok_or_else(|| BadTimestamp {
                text: crate::limits::shortened(text, 40),
            })
    }
}

serde_as_text!(Timestamp);
