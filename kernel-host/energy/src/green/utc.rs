//! Points in time as feeds write them: a date, a time and always an offset.
//!
//! Does:      reads `2026-03-29T01:15:00+01:00` and its common spellings into seconds of UTC.
//! Does not:  know time zones by name. A stamp without an offset is refused: twice a year it
//!            means two moments, or none.
//! Bounds:    years 1970 to 2199; offsets to 18 hours.
//! Trusts:    nobody: the texts come from feeds.
//! Start at:  `Utc::from_str`.

use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Seconds since 1970 in UTC. In series it is the *end* of an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Utc(pub i64);

/// Why a text is no moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadStamp {
    #[error("the time has no offset: write it with Z or for example +01:00")]
    Naive,
    #[error("this is no date and time: write for example 2026-03-29T01:15:00Z")]
    Malformed,
}

const DAY_S: i64 = 86_400;
const OFFSET_MAX_S: i64 = 18 * 3600;

impl Utc {
    /// The slot that ends at or after this moment, counted from 1970.
    #[must_use]
    pub const fn slot(self) -> i64 {
        (self.0 - 1).div_euclid(super::SLOT_S) + 1
    }

    /// The moment at which a slot ends.
    #[must_use]
    pub const fn end_of(slot: i64) -> Self {
        Self(slot * super::SLOT_S)
    }

    #[must_use]
    pub const fn plus_s(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// Day of the year from 0, and seconds into the day.
    #[must_use]
    pub fn day_and_second(self) -> (i64, i64) {
        let days = self.0.div_euclid(DAY_S);
        let mut year = 1970 + days.div_euclid(366);
        while days_before(year + 1, 1, 1) <= days {
            year += 1;
        }
        (days - days_before(year, 1, 1), self.0.rem_euclid(DAY_S))
    }
}

impl FromStr for Utc {
    type Err = BadStamp;

    fn from_str(text: &str) -> Result<Self, BadStamp> {
        let text = text.trim();
        let (date, rest) = text.split_at_checked(10).ok_or(BadStamp::Malformed)?;
        let rest = rest
            .strip_prefix(['T', 't', ' '])
            .ok_or(BadStamp::Malformed)?;
        let at = rest.find(['Z', 'z', '+', '-']).ok_or(BadStamp::Naive)?;
        let (time, zone) = rest.split_at(at);
        let seconds = days_of(date)? * DAY_S + second_of_day(time.trim_end())?;
        Ok(Self(seconds - offset_s(zone)?))
    }
}

fn number(text: &str, digits: usize) -> Result<i64, BadStamp> {
    if text.len() != digits || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadStamp::Malformed);
    }
    text.parse().map_err(|_| BadStamp::Malformed)
}

fn days_of(date: &str) -> Result<i64, BadStamp> {
    let mut parts = date.split('-');
    let mut part = |digits| number(parts.next().ok_or(BadStamp::Malformed)?, digits);
    let (year, month, day) = (part(4)?, part(2)?, part(2)?);
    let fits = (1970..2200).contains(&year) && (1..=12).contains(&month);
    if parts.next().is_some() || !fits || !(1..=days_in(year, month)).contains(&day) {
        return Err(BadStamp::Malformed);
    }
    Ok(days_before(year, month, day))
}

/// `01:15`, `01:15:00` or `01:15:00.000`. 24:00 and hours like `1A:00` are refused.
fn second_of_day(time: &str) -> Result<i64, BadStamp> {
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = time.split(':');
    let hour = number(parts.next().unwrap_or(""), 2)?;
    let minute = number(parts.next().unwrap_or(""), 2)?;
    let second = parts.next().map_or(Ok(0), |text| number(text, 2))?;
    let is_fraction = (1..=9).contains(&fraction.len());
    number(fraction, fraction.len())?;
    if parts.next().is_some() || !is_fraction || hour > 23 || minute > 59 || second > 59 {
        return Err(BadStamp::Malformed);
    }
    Ok(hour * 3600 + minute * 60 + second)
}

fn offset_s(zone: &str) -> Result<i64, BadStamp> {
    if matches!(zone, "Z" | "z") {
        return Ok(0);
    }
    let (sign, text) = match zone.as_bytes().first() {
        Some(b'+') => (1, &zone[1..]),
        Some(b'-') => (-1, &zone[1..]),
        _ => return Err(BadStamp::Malformed),
    };
    let (hours, minutes) = match text.split_once(':') {
        Some((hours, minutes)) => (number(hours, 2)?, number(minutes, 2)?),
        None if text.len() == 2 => (number(text, 2)?, 0),
        None => {
            let all = number(text, 4)?;
            (all / 100, all % 100)
        }
    };
    let offset = hours * 3600 + minutes * 60;
    if minutes > 59 || offset > OFFSET_MAX_S {
        return Err(BadStamp::Malformed);
    }
    Ok(sign * offset)
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + is_leap(year) as i64,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let past = year - 1;
    let to_year = past * 365 + past / 4 - past / 100 + past / 400 - 719_162;
    let to_month: i64 = (1..month).map(|month| days_in(year, month)).sum();
    to_year + to_month + day - 1
}

#[cfg(test)]
mod tests {
    use super::{BadStamp, Utc};

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn stamps_with_an_offset_are_one_moment_and_others_are_refused() {
        let check = |text: &str, wanted| assert_eq!(text.parse::<Utc>(), wanted, "{text}");
        check("1970-01-01T00:00:00Z",          Ok(Utc(0)));
        check("2026-03-29T01:15:00+01:00",     Ok(Utc(1_774_743_300)));
        check("2026-03-29 00:15:00.000Z",      Ok(Utc(1_774_743_300)));
        check("2016-07-01 00:15:00-07:00",     Ok(Utc(1_467_357_300)));
        check("2026-03-29T01:15+0100",         Ok(Utc(1_774_743_300)));
        check("2026-03-29T01:15+01",           Ok(Utc(1_774_743_300)));
        check("2000-02-29T00:00:00Z",          Ok(Utc(951_782_400)));
        check("2026-03-29T01:15:00",           Err(BadStamp::Naive));
        check("2026-03-29 01:15",              Err(BadStamp::Naive));
        check("2026-02-29T00:00:00Z",          Err(BadStamp::Malformed));
        check("2026-10-25T1A:00Z",             Err(BadStamp::Malformed));
        check("2026-10-25T24:00:00Z",          Err(BadStamp::Malformed));
        check("2026-10-25T02:00:00+19:00",     Err(BadStamp::Malformed));
        check("2026-10-25",                    Err(BadStamp::Malformed));
        check("é026-10-25T02:00:00Z",          Err(BadStamp::Malformed));
        check("",                              Err(BadStamp::Malformed));
    }

    /// The hour that a clock shows twice is two hours, and the one it skips is none.
    #[test]
    fn days_of_23_and_25_hours_have_as_many_slots() {
        let at = |text: &str| text.parse::<Utc>().expect("the test writes dates").slot();
        let spring = at("2026-03-30T00:00:00+02:00") - at("2026-03-29T00:00:00+01:00");
        let autumn = at("2026-10-26T00:00:00+01:00") - at("2026-10-25T00:00:00+02:00");
        assert_eq!((spring, autumn), (23 * 4, 25 * 4));
        assert_eq!(
            at("2026-10-25T02:30:00+01:00") - at("2026-10-25T02:30:00+02:00"),
            4
        );
    }

    #[test]
    fn a_moment_knows_its_day_of_the_year() {
        let day = |text: &str| text.parse::<Utc>().map(Utc::day_and_second);
        assert_eq!(day("2024-12-31T23:59:59Z"), Ok((365, 86_399)));
        assert_eq!(day("2025-01-01T00:00:00Z"), Ok((0, 0)));
        assert_eq!(day("2199-12-31T00:00:00Z"), Ok((364, 0)));
    }
}
