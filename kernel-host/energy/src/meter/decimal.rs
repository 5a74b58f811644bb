//! Decimal numbers of foreign texts, as millionths in integers: no float comes between.

/// Digits before the point: a terawatt. Longer numbers are no power, energy or share of anything.
const WHOLE_DIGITS_MAX: usize = 13;

/// `-12.5e1` in millionths, rounded towards zero; `None` for anything that is no plain number.
#[must_use]
pub fn millionths(text: &str) -> Option<i64> {
    let text = text.trim();
    let (text, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
        None => (text, 0),
    };
    if !(-12..=12).contains(&exponent) {
        return None;
    }
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let fits = (whole.len() + part.len() > 0) && whole.len() <= WHOLE_DIGITS_MAX;
    if !fits || !all_digits(whole) || !all_digits(part) {
        return None;
    }
    // The point moves 6 places to the right for millionths, and by the exponent.
    let mut value: i128 = 0;
    let places = 6 + exponent;
    for digit in whole.bytes().chain(part.bytes().take(24)) {
        value = value * 10 + i128::from(digit - b'0');
    }
    let taken = i32::try_from(part.len().min(24)).ok()?;
    let shift = places - taken;
    let factor = 10_i128.checked_pow(shift.unsigned_abs())?;
    value = match shift < 0 {
        true => value / factor,
        false => value.checked_mul(factor)?,
    };
    let value = i64::try_from(value).ok()?;
    Some(if negative { -value } else { value })
}

/// A number that can't be negative, in millionths.
#[must_use]
pub fn unsigned_millionths(text: &str) -> Option<u64> {
    u64::try_from(millionths(text)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn decimals_are_exact() {
        for (text, wanted) in [
            ("344",        Some(344_000_000)),
            ("344.5",      Some(344_500_000)),
            (" 0.0000019", Some(1)),
            ("-1.25",      Some(-1_250_000)),
            ("1.5e3",      Some(1_500_000_000)),
            ("15E-1",      Some(1_500_000)),
            (".5",         Some(500_000)),
            ("5.",         Some(5_000_000)),
            ("9223372036854", Some(9_223_372_036_854_000_000)),
            ("9999999999999", None), // more than an i64 of millionths
            ("",           None),
            (".",          None),
            ("-",          None),
            ("1e99",       None),
            ("NaN",        None),
            ("1,5",        None),
            ("0x10",       None),
            ("1 2",        None),
        ] {
            assert_eq!(millionths(text), wanted, "{text:?}");
        }
        assert_eq!(unsigned_millionths("-1"), None);
    }
}
