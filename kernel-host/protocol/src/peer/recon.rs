//! The messages of the reconciliation of record sets.
//!
//! Does:      sums over ranges of marks, lists of marks, and the records behind them. A mark stands
//!            for one version of one record; sets with equal sums are equal.
//! Does not:  keep a conversation: each message stands alone, so that a lost one costs one round.
//! Bounds:    `RANGES_MAX`, `MARKS_MAX`, `BUNDLE_BYTES_MAX`, `REALMS_MAX`.
//! Trusts:    nobody.
//! Start at:  `ReconMessage`.

use super::admission::Few;
use super::capped::Capped;
use super::{Realm, RecordKey, Stamp};
use serde::{Deserialize, Serialize};

/// Realms that two nodes may have in common: the cluster, and sites that both keep.
pub const REALMS_MAX: usize = 64;
/// Ranges in one message.
pub const RANGES_MAX: usize = 128;
/// Marks in one message, over all its ranges.
pub const MARKS_MAX: usize = 4096;
/// Bytes of records in one message, with a stream's limit in mind.
pub const BUNDLE_BYTES_MAX: usize = super::STREAM_MESSAGE_BYTES_MAX - 512;

/// One version of one record: a digest of its key, version and signature.
pub type Mark = u64;

/// What two nodes say to each other about the records that both should have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReconMessage {
    /// What I hold, in sums. `wall`: my clock.
    Open {
        wall: Stamp,
        sums: Few<RealmSum, REALMS_MAX>,
    },
    /// All sums were equal.
    Same { wall: Stamp },
    /// What I hold in some ranges: compare it with yours.
    Ranges {
        realm: Realm,
        ranges: Few<Range, RANGES_MAX>,
    },
    /// Send me these.
    Want {
        realm: Realm,
        class: u8,
        marks: Few<Mark, MARKS_MAX>,
    },
    /// Encoded records, one after the other, each behind its length (4 bytes, little-endian).
    Bundle(Capped<BUNDLE_BYTES_MAX>),
    /// Do you, of its home site, know this old record?
    Ask { key: RecordKey },
    /// No. (Yes is a `Bundle`.)
    Gone { key: RecordKey },
}

/// The number of records in a set and the wrapping sum of their marks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    pub count: u32,
    pub marks: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RealmSum {
    pub realm: Realm,
    pub sum: Sum,
}

/// The marks of a class whose upper `bits` bits are those of `start`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// Heal order: what must come first has the least.
    pub class: u8,
    pub start: Mark,
    pub bits: u8,
    pub held: Held,
}

/// What the sender holds in a range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Held {
    Sum(Sum),
    /// All that I hold: ask for what you lack, and tell me what I lack.
    Marks(Few<Mark, MARKS_MAX>),
    /// What you lack: ask for it.
    Lacking(Few<Mark, MARKS_MAX>),
}

impl Sum {
    pub const fn add(&mut self, mark: Mark) {
        self.count = self.count.saturating_add(1);
        self.marks = self.marks.wrapping_add(mark);
    }

    pub const fn take(&mut self, mark: Mark) {
        self.count = self.count.saturating_sub(1);
        self.marks = self.marks.wrapping_sub(mark);
    }

    pub const fn join(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.marks = self.marks.wrapping_add(other.marks);
    }
}

/// Encoded records, packed for travel.
#[derive(Debug, Default)]
pub struct Packer(Vec<u8>);

impl Packer {
    /// `false`: it does not fit any more; nothing was added.
    pub fn add(&mut self, record: &[u8]) -> bool {
        let Ok(length) = u32::try_from(record.len()) else {
            return false;
        };
        if self.0.len() + record.len() + 4 > BUNDLE_BYTES_MAX {
            return false;
        }
        self.0.extend_from_slice(&length.to_le_bytes());
        self.0.extend_from_slice(record);
        true
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The message, and an empty packer in its place.
    pub fn finish(&mut self) -> ReconMessage {
        let bytes = std::mem::take(&mut self.0);
        ReconMessage::Bundle(Capped::new(bytes).unwrap_or_default())
    }
}

/// The encoded records of a bundle; ends at the first that is cut short.
pub fn unpack(bundle: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bundle;
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (record, after) = after.split_at_checked(length)?;
        rest = after;
        Some(record)
    })
}
