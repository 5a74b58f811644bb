//! The entries that this node keeps for the cluster.
//!
//! Does:      one entry a key and author, the newest; sums over buckets, kept up to date; fades.
//! Does not:  verify signatures, or decide whose home this is.
//! Bounds:    `ENTRIES_MAX` and `BYTES_MAX` in all, `AUTHOR_ENTRIES_MAX` of one author: beyond,
//!            new ones are refused. `VALUES_MAX` authors a key: beyond, those stay that a lot
//!            prefers, the same everywhere, and the others go (`crowded_out`).
//! Trusts:    its caller for entries: they were verified.
//! Start at:  `Shelf::place`.

use crate::clock::Clock;
use protocol::peer::lookup::{BUCKETS, Entry, Key, VALUES_MAX};
use protocol::peer::recon::{Mark, Sum};
use protocol::{Moment, NodeId};
use std::collections::BTreeMap;

pub const ENTRIES_MAX: usize = 4096;
/// Bytes of all values and what is kept beside them.
pub const BYTES_MAX: usize = 3 << 19;
/// Of one author: no node writes more in all (`own::OWN_MAX`), wherever its keys fall.
pub const AUTHOR_ENTRIES_MAX: usize = super::own::OWN_MAX;
/// Bytes of an entry beside its value, with its places in the indices.
const ENTRY_BYTES: usize = 320;

#[derive(Debug)]
struct Held {
    entry: Entry,
    mark: Mark,
    heard_ms: u64,
}

/// What `place` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    Fresh,
    Full,
}

/// Entries by key and author.
#[derive(Debug, Default)]
pub struct Shelf {
    entries: BTreeMap<(Key, NodeId), Held>,
    sums: BTreeMap<u16, Sum>,
    authors: BTreeMap<NodeId, usize>,
    bytes: usize,
    pub crowded_out: u64,
    pub faded: u64,
}

fn bytes_of(entry: &Entry) -> usize {
    entry.value.bytes().len() + ENTRY_BYTES
}

/// Who stays under a key that too many write to.
fn lot(key: &Key, author: NodeId) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in key.0.iter().chain(&author.bytes()) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^ (hash >> 29)
}

/// The keys of a bucket are those from the first to the second.
fn range(bucket: u16) -> ((Key, NodeId), (Key, NodeId)) {
    let first = bucket.saturating_mul(u16::MAX / BUCKETS + 1);
    let last = first + (u16::MAX / BUCKETS);
    let (mut low, mut high) = ([0; 32], [0xff; 32]);
    low[..2].copy_from_slice(&first.to_be_bytes());
    high[..2].copy_from_slice(&last.to_be_bytes());
    let least = (Key(low), NodeId::from_bytes([0; 16]));
    (least, (Key(high), NodeId::from_bytes([0xff; 16])))
}

impl Shelf {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn find(&self, key: Key, author: NodeId) -> Option<&Entry> {
        Some(&self.entries.get(&(key, author))?.entry)
    }

    /// What all authors say under a key, ended ones included.
    pub fn values(&self, key: Key) -> impl Iterator<Item = &Entry> {
        let (low, high) = (NodeId::from_bytes([0; 16]), NodeId::from_bytes([0xff; 16]));
        let of_key = self.entries.range((key, low)..=(key, high));
        of_key.map(|(_, held)| &held.entry)
    }

    pub fn in_bucket(&self, bucket: u16) -> impl Iterator<Item = (Mark, &Entry)> {
        let (low, high) = range(bucket);
        let held = self.entries.range(low..=high);
        held.map(|(_, held)| (held.mark, &held.entry))
    }

    pub fn sum(&self, bucket: u16) -> Sum {
        self.sums.get(&bucket).copied().unwrap_or_default()
    }

    pub fn authors(&self) -> impl Iterator<Item = NodeId> {
        self.authors.keys().copied()
    }

    /// Whether there is room for an entry that is newer than what we have.
    pub fn has_room(&self, entry: &Entry) -> bool {
        let old = self.find(entry.key, entry.author).map_or(0, bytes_of);
        if self.bytes - old + bytes_of(entry) > BYTES_MAX {
            return false;
        }
        if old > 0 {
            return true;
        }
        let written = self.authors.get(&entry.author).copied().unwrap_or(0);
        let is_crowded = self.values(entry.key).count() >= VALUES_MAX;
        let least = self.values(entry.key).map(|one| lot(&one.key, one.author));
        let would_stay = least.min() < Some(lot(&entry.key, entry.author));
        self.entries.len() < ENTRIES_MAX
            && written < AUTHOR_ENTRIES_MAX
            && (!is_crowded || would_stay)
    }

    /// Keeps an entry that is newer than what we have.
    pub fn place(&mut self, now_ms: u64, entry: Entry) -> Placed {
        if !self.has_room(&entry) {
            return Placed::Full;
        }
        let (key, author) = (entry.key, entry.author);
        self.remove(key, author);
        let mark = entry.mark();
        self.bytes += bytes_of(&entry);
        self.sums.entry(key.bucket()).or_default().add(mark);
        *self.authors.entry(author).or_default() += 1;
        let held = Held {
            entry,
            mark,
            heard_ms: now_ms,
        };
        self.entries.insert((key, author), held);
        if self.values(key).count() > VALUES_MAX {
            let lots = self
                .values(key)
                .map(|one| (lot(&one.key, one.author), one.author));
            if let Some((_, least)) = lots.min() {
                self.crowded_out += 1;
                self.remove(key, least);
            }
        }
        Placed::Fresh
    }

    pub fn remove(&mut self, key: Key, author: NodeId) {
        let Some(held) = self.entries.remove(&(key, author)) else {
            return;
        };
        self.bytes -= bytes_of(&held.entry);
        if let Some(sum) = self.sums.get_mut(&key.bucket()) {
            sum.take(held.mark);
            if sum.count == 0 {
                self.sums.remove(&key.bucket());
            }
        }
        if let Some(count) = self.authors.get_mut(&author) {
            *count -= 1;
            if *count == 0 {
                self.authors.remove(&author);
            }
        }
    }

    pub fn clear_bucket(&mut self, bucket: u16) {
        let keys = self.in_bucket(bucket).map(|(_, one)| (one.key, one.author));
        let gone: Vec<(Key, NodeId)> = keys.collect();
        for (key, author) in gone {
            self.remove(key, author);
        }
    }

    /// Drops what its authors no longer repeat, and all of those that `is_gone`. Of an entry that
    /// came without a right clock the time that it was held counts.
    pub fn sweep(&mut self, now: Moment, clock: &Clock, is_gone: impl Fn(NodeId) -> bool) {
        let authors: Vec<NodeId> = self.authors().filter(|author| is_gone(*author)).collect();
        let is_over = |held: &Held| {
            let held_ms = now.uptime_ms.saturating_sub(held.heard_ms);
            has_faded(now, clock, &held.entry) || held_ms > lives_ms(&held.entry)
        };
        let over = self
            .entries
            .iter()
            .filter(|((_, author), held)| is_over(held) || authors.binary_search(author).is_ok());
        let over: Vec<(Key, NodeId)> = over.map(|(place, _)| *place).collect();
        for (key, author) in over {
            self.faded += 1;
            self.remove(key, author);
        }
    }

    pub fn memory_bytes(&self) -> usize {
        self.bytes + self.sums.len() * 48 + self.authors.len() * 48
    }

    /// Panics if an index does not fit the entries.
    pub fn check(&self) {
        assert!(self.entries.len() <= ENTRIES_MAX && self.bytes <= BYTES_MAX);
        let bytes: usize = self
            .entries
            .values()
            .map(|held| bytes_of(&held.entry))
            .sum();
        assert_eq!(bytes, self.bytes, "the table's bytes");
        let mut sums: BTreeMap<u16, Sum> = BTreeMap::new();
        let mut authors: BTreeMap<NodeId, usize> = BTreeMap::new();
        for ((key, author), held) in &self.entries {
            assert_eq!((*key, *author), (held.entry.key, held.entry.author));
            assert_eq!(held.mark, held.entry.mark());
            sums.entry(key.bucket()).or_default().add(held.mark);
            *authors.entry(*author).or_default() += 1;
            assert!(authors[author] <= AUTHOR_ENTRIES_MAX, "of one author");
        }
        assert_eq!(sums, self.sums, "the table's sums");
        assert_eq!(authors, self.authors, "the table's authors");
    }
}

pub fn lives_ms(entry: &Entry) -> u64 {
    u64::from(entry.lives_s) * 1000
}

/// Whether its author should have repeated it by now.
pub fn has_faded(now: Moment, clock: &Clock, entry: &Entry) -> bool {
    clock.age_ms(now, entry.written) > lives_ms(entry)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use protocol::peer::lookup::{VALUE_BYTES_MAX, Value};
    use protocol::peer::{Signature, Stamp, Version};

    fn entry(key: u32, author: u16, seq: u64, bytes: usize) -> Entry {
        let (mut name, mut id) = ([0; 32], [1; 16]);
        name[..4].copy_from_slice(&(key << 8).to_be_bytes());
        id[..2].copy_from_slice(&author.to_be_bytes());
        Entry {
            key: Key(name),
            author: NodeId::from_bytes(id),
            version: Version { epoch: 1, seq },
            written: Stamp::default(),
            lives_s: 600,
            ended: false,
            value: Value::new(vec![7; bytes]).unwrap(),
            signature: Signature([9; 64]),
        }
    }

    fn filled(entries: impl Iterator<Item = Entry>) -> (Shelf, usize) {
        let mut shelf = Shelf::default();
        let refused = entries.filter(|one| shelf.place(0, one.clone()) == Placed::Full);
        let refused = refused.count();
        shelf.check();
        (shelf, refused)
    }

    #[test]
    fn every_maximum_holds_and_what_is_there_may_be_renewed() {
        let many =
            |count: u32| (0..count).map(|at| entry(at, u16::try_from(at / 500).unwrap(), 1, 0));
        let long =
            (0..2000).map(|at| entry(at, u16::try_from(at / 500).unwrap(), 1, VALUE_BYTES_MAX));
        let one_author = (0..1100).map(|at| entry(at, 1, 1, 0));
        let (mut shelf, refused) = filled(many(3000));
        assert_eq!((shelf.len(), refused), (3000, 0));
        assert_eq!(shelf.place(0, entry(3, 0, 2, 0)), Placed::Fresh);
        assert_eq!(shelf.len(), 3000);
        let (shelf, refused) = filled(long);
        assert_eq!(shelf.len() + refused, 2000);
        assert!(refused > 0 && shelf.memory_bytes() < BYTES_MAX * 12 / 10);
        let (shelf, refused) = filled(one_author);
        assert_eq!(
            (shelf.len(), refused),
            (AUTHOR_ENTRIES_MAX, 1100 - AUTHOR_ENTRIES_MAX)
        );
    }

    /// Homes that hear of too many authors in any order end with the same ones.
    #[test]
    fn under_a_crowded_key_the_same_authors_stay_everywhere() {
        let authors = |start: u16| (0..100).map(move |at| entry(5, (start + at * 37) % 100, 1, 4));
        let (one, _) = filled(authors(0));
        let (two, _) = filled(authors(61));
        assert_eq!(one.len(), VALUES_MAX);
        assert!(one.crowded_out > 0);
        let key = entry(5, 0, 1, 0).key;
        assert_eq!(one.sum(key.bucket()), two.sum(key.bucket()));
        assert!(one.authors().eq(two.authors()));
    }

    #[test]
    fn a_bucket_holds_exactly_the_keys_that_say_so() {
        let entries =
            (0..4000).map(|at| entry(at * 4099, 1 + u16::try_from(at % 7).unwrap(), 1, 0));
        let (shelf, refused) = filled(entries);
        assert_eq!(refused, 0);
        let mut seen = 0;
        for bucket in 0..BUCKETS {
            let mut sum = Sum::default();
            for (mark, one) in shelf.in_bucket(bucket) {
                assert_eq!(one.key.bucket(), bucket);
                sum.add(mark);
                seen += 1;
            }
            assert_eq!(sum, shelf.sum(bucket), "{bucket}");
        }
        assert_eq!(seen, shelf.len());
    }

    #[test]
    fn what_is_not_repeated_goes_and_so_does_what_a_revoked_author_wrote() {
        let (mut shelf, _) =
            filled((0..10).map(|at| entry(at, u16::try_from(at % 2).unwrap(), 1, 0)));
        let at = |uptime_ms| Moment {
            uptime_ms,
            wall: protocol::Timestamp::from_unix_ms(1000),
        };
        // The clock was never set, so that only the time counts for which entries were held.
        let clock = Clock::default();
        let gone = entry(1, 1, 1, 0).author;
        shelf.sweep(at(1000), &clock, |author| author == gone);
        assert_eq!(shelf.len(), 5);
        shelf.sweep(at(600_000), &clock, |_| false);
        assert_eq!(shelf.len(), 5);
        shelf.sweep(at(600_001), &clock, |_| false);
        assert_eq!((shelf.len(), shelf.memory_bytes()), (0, 0));
        shelf.check();
    }
}
