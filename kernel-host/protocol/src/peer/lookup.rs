//! The table that is spread over the cluster: its entries, and the messages about them.
//!
//! Does:      an entry is a small value that one node wrote under a key, signed by it; words to
//!            put, find, compare and hand over entries.
//! Does not:  say who keeps an entry, sign or verify (`overlay::lookup`).
//! Bounds:    `VALUE_BYTES_MAX`, so that an entry fits a datagram; `VALUES_MAX` authors a key;
//!            `LIVES_S_MAX`; counts are capped before memory is taken.
//! Trusts:    nobody: a decoded entry is well-formed, not true.
//! Start at:  `Entry`, then `LookupMessage`.

use super::admission::Few;
use super::capped::Capped;
use super::recon::Mark;
use super::record::Version;
use super::{Signature, Stamp};
use crate::NodeId;
use serde::{Deserialize, Deserializer, Serialize, de::Error};

/// Bytes of a value: with key, author, signature and our headers it still fits a datagram.
pub const VALUE_BYTES_MAX: usize = 896;
/// Authors that one key has values of.
pub const VALUES_MAX: usize = 32;
/// Entries in one message: the longest still fit a stream's.
pub const ENTRIES_MAX: usize = 48;
/// Sums in one message: the longest still fit a datagram.
pub const SUMS_MAX: usize = 56;
/// Marks of one bucket in one message, which a stream carries.
pub const MARKS_MAX: usize = 4096;
/// Keys are spread over so many buckets; the keys of a bucket have the same homes.
pub const BUCKETS: u16 = 4096;
/// How long an entry may live without being repeated by its author, at least and at most.
pub const LIVES_S_MIN: u32 = 120;
pub const LIVES_S_MAX: u32 = 86_400;
/// Nodes that a question passes until it is answered, at most.
pub const HOPS_MAX: u8 = 2;

/// Before what is signed of an entry: no record starts so.
const SIGNED_AS: &[u8] = b"luc entry\0";
/// Bytes of a signature, which ends an encoded entry.
const SIGNATURE_BYTES: usize = 64;

/// Where an entry stands in the table: a digest of what it is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key(pub [u8; 32]);

pub type Value = Capped<VALUE_BYTES_MAX>;

/// What one node says under a key. Each author has one entry under a key; the newer one counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub key: Key,
    pub author: NodeId,
    /// Its author's boot, and which of its writes in that boot.
    pub version: Version,
    pub written: Stamp,
    /// So long after `written` it fades, unless its author has repeated it.
    #[serde(deserialize_with = "possible_life")]
    pub lives_s: u32,
    /// Its author has taken it back. Stays until the older versions have faded.
    pub ended: bool,
    pub value: Value,
    pub signature: Signature,
}

/// Who asked, and how many nodes the question has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The answer goes straight to it.
    pub asker: NodeId,
    /// At `HOPS_MAX` the node that it reaches must deal with it itself.
    #[serde(deserialize_with = "possible_hops")]
    pub hops: u8,
}

/// What became of a `Put`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Taken {
    /// It is kept, or was already.
    Kept,
    /// A newer one of the same author is kept.
    Older,
    /// No room, for this author or at all.
    Full,
    /// Its signature, time or life is not as it must be.
    Bad,
    /// Its author's certificate has not come yet.
    Unknown,
    /// Too much comes at once.
    Busy,
}

/// All entries of a bucket that somebody keeps, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketSum {
    #[serde(deserialize_with = "possible_bucket")]
    pub bucket: u16,
    pub count: u32,
    pub marks: Mark,
}

/// A bucket in which two nodes keep the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreed {
    #[serde(deserialize_with = "possible_bucket")]
    pub bucket: u16,
    /// The sum that it has.
    pub marks: Mark,
    /// The sender knows that it lacks nothing.
    pub is_sure: bool,
}

/// What two nodes say to each other about the table. `number` is repeated in the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LookupMessage {
    /// Keep this.
    Put {
        number: u64,
        route: Route,
        entry: Box<Entry>,
    },
    /// What is under this key?
    Find { number: u64, route: Route, key: Key },
    /// What became of it.
    Taken { number: u64, taken: Taken },
    /// This is. `is_sure`: the sender is a home of the key, and lacks nothing that others had.
    Found {
        number: u64,
        is_sure: bool,
        values: Few<Entry, VALUES_MAX>,
    },
    /// I keep so much in these buckets, which I think are yours too.
    Sums(Few<BucketSum, SUMS_MAX>),
    /// In these we agree.
    Agree(Few<Agreed, SUMS_MAX>),
    /// I keep these: say which you lack.
    Offer {
        #[serde(deserialize_with = "possible_bucket")]
        bucket: u16,
        /// And send me what I lack.
        wants_back: bool,
        marks: Few<Mark, MARKS_MAX>,
    },
    /// I lack these, perhaps none, of what you offered.
    Want {
        #[serde(deserialize_with = "possible_bucket")]
        bucket: u16,
        /// The sum of the offer's marks.
        offered: Mark,
        marks: Few<Mark, MARKS_MAX>,
    },
    /// Keep these, whoever wrote them.
    Entries(Few<Entry, ENTRIES_MAX>),
}

fn at_most<'de, D: Deserializer<'de>, T>(input: D, most: T) -> Result<T, D::Error>
where
    T: Deserialize<'de> + PartialOrd,
{
    let number = T::deserialize(input)?;
    if number > most {
        return Err(D::Error::custom("the number is too large"));
    }
    Ok(number)
}

fn possible_life<'de, D: Deserializer<'de>>(input: D) -> Result<u32, D::Error> {
    at_most(input, LIVES_S_MAX)
}

fn possible_hops<'de, D: Deserializer<'de>>(input: D) -> Result<u8, D::Error> {
    at_most(input, HOPS_MAX)
}

fn possible_bucket<'de, D: Deserializer<'de>>(input: D) -> Result<u16, D::Error> {
    at_most(input, BUCKETS - 1)
}

impl Key {
    /// The key's bucket: its first bits.
    pub fn bucket(&self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]]) / (u16::MAX / BUCKETS + 1)
    }
}

impl Entry {
    /// What its author signs: all but the signature, behind words that no record starts with.
    pub fn signed_part(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.value.bytes().len() + 256);
        bytes.extend_from_slice(SIGNED_AS);
        let mut bytes = postcard::to_extend(self, bytes).unwrap_or_default();
        bytes.truncate(bytes.len().saturating_sub(SIGNATURE_BYTES));
        bytes
    }

    /// Stands for this version of this entry in sums.
    pub fn mark(&self) -> Mark {
        let start = |bytes: &[u8]| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&bytes[..8]);
            u64::from_be_bytes(eight)
        };
        let parts = [
            start(&self.key.0[8..16]),
            start(&self.author.bytes()),
            self.version.epoch,
            self.version.seq,
            start(&self.signature.0),
        ];
        parts.into_iter().fold(0, |mark, part| {
            let mut z = (mark ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        })
    }

    /// Whether this one counts where both are known: the later write, and of two of one number,
    /// which only two machines with one key can make, the same one everywhere.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        (self.version, self.signature.0) > (other.version, other.signature.0)
    }
}
