//! The records of one realm, and the marks by which two nodes compare them.
//!
//! Does:      keeps records by kind and subject, their marks in order, and sums of both.
//! Does not:  judge records.
//! Bounds:    none of its own: `Store` counts its bytes.
//! Trusts:    `Store` to hand in only what was verified.
//! Start at:  `Table`.

use super::authority::{self, CLASSES};
use super::order::Rank;
use protocol::NodeId;
use protocol::peer::recon::{Mark, Sum};
use protocol::peer::{Realm, Record, RecordKey, RecordKind, Stamp, Version};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Kind and subject: a key without its realm.
pub type Place = (RecordKind, [u8; 16]);

/// A record that was verified.
#[derive(Debug, Clone)]
pub struct Entry {
    /// As it travels; shared with whoever is sending it.
    bytes: Rc<[u8]>,
    pub author: NodeId,
    pub version: Version,
    pub written: Stamp,
    /// When it came to us: uptime.
    pub heard_ms: u64,
    body_bytes: u32,
    pub ended: bool,
}

/// Bytes that an entry takes beside those of its record: itself, its places in two trees.
pub const ENTRY_BYTES: usize = std::mem::size_of::<Entry>() + 2 * 48;
const SIGNATURE_BYTES: usize = 64;

impl Entry {
    pub fn new(record: &Record, bytes: Rc<[u8]>, heard_ms: u64) -> Self {
        Self {
            bytes,
            author: record.author,
            version: record.version,
            written: record.written,
            heard_ms,
            body_bytes: u32::try_from(record.body.len()).unwrap_or(0),
            ended: record.ended,
        }
    }

    pub const fn bytes(&self) -> &Rc<[u8]> {
        &self.bytes
    }

    pub fn record(&self) -> Option<Record> {
        Record::decode(&self.bytes)
    }

    pub fn body(&self) -> &[u8] {
        let end = self.bytes.len().saturating_sub(SIGNATURE_BYTES);
        let length = usize::try_from(self.body_bytes).unwrap_or(0);
        &self.bytes[end.saturating_sub(length)..end]
    }

    pub fn rank(&self) -> Rank<'_> {
        let from = self.bytes.len().saturating_sub(SIGNATURE_BYTES);
        Rank {
            version: self.version,
            author: self.author,
            ended: self.ended,
            signature: &self.bytes[from..],
        }
    }

    /// The mark of this record.
    pub fn mark(&self, key: &RecordKey) -> Mark {
        self.mark_at(&place_of(key))
    }

    fn mark_at(&self, place: &Place) -> Mark {
        let from = self.bytes.len().saturating_sub(SIGNATURE_BYTES);
        let mut mark = fold(u64::from(place.0.0), &place.1);
        mark = fold(mark ^ self.version.epoch, &self.version.seq.to_le_bytes());
        spread(fold(mark, &self.bytes[from..]))
    }
}

const fn spread(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A digest of bytes that are random already, for the most part.
fn fold(start: u64, bytes: &[u8]) -> u64 {
    let mut sum = start ^ 0x51_7cc1;
    for word in bytes.as_chunks::<8>().0 {
        sum = (sum.rotate_left(23) ^ u64::from_le_bytes(*word)).wrapping_mul(0x2545_f491_4f6c_dd1d);
    }
    sum
}

/// All records of one realm.
#[derive(Debug, Default)]
pub struct Table {
    records: BTreeMap<Place, Entry>,
    marks: [BTreeMap<Mark, Place>; CLASSES],
    sums: [Sum; CLASSES],
    /// The same for each sixteenth of all marks: what a comparison asks first.
    parts: [[Sum; PARTS]; CLASSES],
    bytes: usize,
}

/// Parts of all marks whose sums are kept, by their upper bits.
const PARTS: usize = 16;
const PART_SHIFT: u32 = Mark::BITS - PARTS.trailing_zeros();

fn part_of(mark: Mark) -> usize {
    usize::try_from(mark >> PART_SHIFT).unwrap_or(0)
}

fn class_of(kind: RecordKind) -> usize {
    usize::from(authority::of(kind).class).min(CLASSES - 1)
}

impl Table {
    pub fn find(&self, place: &Place) -> Option<&Entry> {
        self.records.get(place)
    }

    pub fn insert(&mut self, place: Place, entry: Entry) {
        let (class, mark) = (class_of(place.0), entry.mark_at(&place));
        self.bytes += entry.bytes.len() + ENTRY_BYTES;
        if let Some(old) = self.records.insert(place, entry) {
            self.forget(&place, &old);
        }
        self.marks[class].insert(mark, place);
        self.sums[class].add(mark);
        self.parts[class][part_of(mark)].add(mark);
    }

    /// Takes a record out of marks and sums.
    fn forget(&mut self, place: &Place, entry: &Entry) {
        let (class, mark) = (class_of(place.0), entry.mark_at(place));
        self.marks[class].remove(&mark);
        self.sums[class].take(mark);
        self.parts[class][part_of(mark)].take(mark);
        self.bytes -= entry.bytes.len() + ENTRY_BYTES;
    }

    pub fn remove(&mut self, place: &Place) -> Option<Entry> {
        let entry = self.records.remove(place)?;
        self.forget(place, &entry);
        Some(entry)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Place, &Entry)> {
        self.records.iter()
    }

    /// The records of a kind, by subject.
    pub fn of_kind(&self, kind: RecordKind) -> impl Iterator<Item = (&Place, &Entry)> {
        self.records.range((kind, [0; 16])..=(kind, [0xff; 16]))
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Equal on two nodes exactly if they hold the same.
    pub fn sum(&self) -> Sum {
        let mut all = Sum::default();
        self.sums.iter().for_each(|sum| all.join(*sum));
        all
    }

    /// A number that is equal exactly if two tables hold the same records, tombstones left out:
    /// each node keeps those for a while after they came to it.
    pub fn living(&self) -> u64 {
        let living = self.records.iter().filter(|(_, entry)| !entry.ended);
        living.fold(0, |sum: u64, (place, entry)| {
            sum.wrapping_add(entry.mark_at(place))
        })
    }

    /// The sum of marks from `first` to `last`, both included.
    pub fn sum_of(&self, class: usize, first: Mark, last: Mark) -> Sum {
        if first == 0 && last == Mark::MAX {
            return self.sums.get(class).copied().unwrap_or_default();
        }
        if last - first == Mark::MAX >> PARTS.trailing_zeros() && part_of(first) == part_of(last) {
            let parts = self.parts.get(class);
            return parts.map_or_else(Sum::default, |parts| parts[part_of(first)]);
        }
        let mut sum = Sum::default();
        self.marks_of(class, first, last)
            .for_each(|mark| sum.add(mark));
        sum
    }

    pub fn marks_of(&self, class: usize, first: Mark, last: Mark) -> impl Iterator<Item = Mark> {
        let marks = self.marks.get(class).into_iter();
        marks.flat_map(move |marks| marks.range(first..=last).map(|(mark, _)| *mark))
    }

    pub fn holds(&self, class: usize, mark: Mark) -> bool {
        self.marks
            .get(class)
            .is_some_and(|marks| marks.contains_key(&mark))
    }

    pub fn behind(&self, class: usize, mark: Mark) -> Option<&Entry> {
        let place = self.marks.get(class)?.get(&mark)?;
        self.records.get(place)
    }

    /// Panics if the indices disagree with the records.
    pub fn check(&self, realm: Realm) {
        let marks: usize = self.marks.iter().map(BTreeMap::len).sum();
        assert_eq!(marks, self.records.len(), "{realm:?}: marks and records");
        assert_eq!(
            usize::try_from(self.sum().count).unwrap_or(0),
            marks,
            "{realm:?}: sums"
        );
        for (parts, sum) in self.parts.iter().zip(&self.sums) {
            let mut all = Sum::default();
            parts.iter().for_each(|part| all.join(*part));
            assert_eq!(all, *sum, "{realm:?}: sums of parts");
        }
        let bytes: usize = self
            .records
            .values()
            .map(|one| one.bytes.len() + ENTRY_BYTES)
            .sum();
        assert_eq!(bytes, self.bytes, "{realm:?}: bytes");
    }
}

/// A key in two parts.
pub const fn place_of(key: &RecordKey) -> Place {
    (key.kind, key.subject)
}
