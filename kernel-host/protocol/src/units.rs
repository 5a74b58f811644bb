//! Amounts of bytes, exact.
//!
//! Does:      reads and prints `128MiB`; prints the largest unit that divides exactly, so that the
//!            text and the number are the same fact.
//! Does not:  guess what `128M` means: it is refused with the two spellings that are clear.
//! Bounds:    a `u64` of bytes; more is refused, not wrapped.
//! Trusts:    nobody: texts come from people and from the wire.
//! Start at:  `ByteCount`.

use std::{fmt, str::FromStr};

/// Why a text is no amount of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadByteCount {
    #[error("`{text}` has no number: write for example 128MiB")]
    NoNumber { text: String },
    #[error("`{unit}` is no unit: write B, KiB, MiB, GiB, TiB, or kB, MB, GB, TB")]
    Unit { unit: String },
    #[error("`{unit}` has two meanings: write {unit}iB (of 1024) or {unit}B (of 1000)")]
    Unclear { unit: String },
    #[error("`{text}` is more than 16 EiB")]
    TooMuch { text: String },
}

/// An amount of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteCount(u64);

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// Largest first.
const BINARY: [(&str, u64); 4] = [("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)];
const DECIMAL: [(&str, u64); 4] = [
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

impl ByteCount {
    pub const ZERO: Self = Self(0);

    pub const fn bytes(count: u64) -> Self {
        Self(count)
    }

    pub const fn kib(count: u64) -> Self {
        Self(count * KIB)
    }

    pub const fn mib(count: u64) -> Self {
        Self(count * MIB)
    }

    pub const fn gib(count: u64) -> Self {
        Self(count * GIB)
    }

    pub const fn get(self) -> u64 {
        self.0
    }

    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(left) => Some(Self(left)),
            None => None,
        }
    }

    /// For tables: at most one decimal, rounded down, so that free space is never overstated.
    pub fn human(self) -> String {
        for (unit, size) in BINARY {
            if self.0 >= size {
                let tenths = self.0 / (size / 10).max(1);
                let tenths = tenths.min((self.0 / size) * 10 + 9);
                return if self.0.is_multiple_of(size) || tenths >= 1000 {
                    format!("{} {unit}", self.0 / size)
                } else {
                    format!("{}.{} {unit}", tenths / 10, tenths % 10)
                };
            }
        }
        format!("{} B", self.0)
    }
}

impl std::iter::Sum for ByteCount {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::ZERO, Self::saturating_add)
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = BINARY
            .iter()
            .find(|(_, size)| self.0 != 0 && self.0.is_multiple_of(*size));
        match exact {
            Some((unit, size)) => f.pad(&format!("{}{unit}", self.0 / size)),
            None => f.pad(&format!("{}B", self.0)),
        }
    }
}

impl FromStr for ByteCount {
    type Err = BadByteCount;

    fn from_str(text: &str) -> Result<Self, BadByteCount> {
        let told = || crate::limits::shortened(text, 40);
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err(BadByteCount::NoNumber { text: told() });
        }
        let size = unit_size(unit.trim_start_matches(' '))?;
        number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(size))
            .map(Self)
            .ok_or_else(|| BadByteCount::TooMuch { text: told() })
    }
}

fn unit_size(unit: &str) -> Result<u64, BadByteCount> {
    if unit.is_empty() || unit == "B" {
        return Ok(1);
    }
    if let Some((_, size)) = BINARY
        .iter()
        .chain(&DECIMAL)
        .find(|(name, _)| *name == unit)
    {
        return Ok(*size);
    }
    let unit = crate::limits::shortened(unit, 16);
    if matches!(unit.as_str(), "K" | "M" | "G" | "T" | "k" | "m" | "g" | "t") {
        return Err(BadByteCount::Unclear {
            unit: unit.to_ascii_uppercase(),
        });
    }
    Err(BadByteCount::Unit { unit })
}

impl serde::Serialize for ByteCount {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        if out.is_human_readable() {
            out.collect_str(self)
        } else {
            out.serialize_u64(self.0)
        }
    }
}

impl<'de> serde::Deserialize<'de> for ByteCount {
    /// JSON may also hold a plain number of bytes.
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Amount;
        impl serde::de::Visitor<'_> for Amount {
            type Value = ByteCount;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an amount of bytes such as \"128MiB\"")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ByteCount, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_u64<E: serde::de::Error>(self, count: u64) -> Result<ByteCount, E> {
                Ok(ByteCount(count))
            }
        }
        if input.is_human_readable() {
            input.deserialize_any(Amount)
        } else {
            input.deserialize_u64(Amount)
        }
    }
}
