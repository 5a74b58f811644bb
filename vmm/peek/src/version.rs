//! Order of versions: digits by their number, the rest by its letters, `~` before anything.

use std::cmp::Ordering;

/// Compares as package tools do: `6.9` < `6.10`, `6.1~rc1` < `6.1`, `5.10-8` < `5.10-12`.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        let (x, y) = (a.first().copied(), b.first().copied());
        let order = match (x, y) {
            (None, None) => return Ordering::Equal,
            (Some(b'0'..=b'9'), Some(b'0'..=b'9')) => {
                let ((m, rest_a), (n, rest_b)) = (number(a), number(b));
                (a, b) = (rest_a, rest_b);
                m.len().cmp(&n.len()).then_with(|| m.cmp(n))
            }
            _ => {
                (a, b) = (a.get(1..).unwrap_or(&[]), b.get(1..).unwrap_or(&[]));
                rank(x).cmp(&rank(y))
            }
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Digits without leading zeros, and what follows.
fn number(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit());
    let (digits, rest) = text.split_at(end.unwrap_or(text.len()));
    let zeros = digits.iter().position(|byte| *byte != b'0');
    (&digits[zeros.unwrap_or(digits.len())..], rest)
}

fn rank(byte: Option<u8>) -> u16 {
    match byte {
        Some(b'~') => 0,
        None => 1,
        Some(byte) => 2 + u16::from(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::compare;
    use std::cmp::Ordering::{Equal, Greater, Less};

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn versions_have_an_order() {
        let cases = [
            ("6.9",                  "6.10",                   Less),
            ("6.1~rc1",              "6.1",                    Less),
            ("6.1.0-9-amd64",        "6.1.0-13-amd64",         Less),
            ("6.1.0-13-amd64",       "6.1.0-13-cloud-amd64",   Less),
            ("6.01",                 "6.1",                    Equal),
            ("",                     "",                       Equal),
            ("5.14.0-70.el9",        "5.14.0-7.el9",           Greater),
            ("99999999999999999999", "100000000000000000000",  Less),
        ];
        for (a, b, order) in cases {
            assert_eq!(compare(a, b), order, "{a} {b}");
            assert_eq!(compare(b, a), order.reverse(), "{b} {a}");
        }
    }
}
