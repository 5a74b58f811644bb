//! What the tree remembers: names it has seen, records it may be asked for, records it lacks.
//!
//! Does:      three small tables with a maximum each.
//! Does not:  decide; `Tree` does.
//! Bounds:    `SEEN_MAX`, `KEPT_MAX` and `KEPT_BYTES_MAX`, `MISSING_MAX`; the oldest give way.
//! Trusts:    nobody: names come from anyone.
//! Start at:  `Seen`.

use super::Parcel;
use protocol::NodeId;
use protocol::peer::recon::Mark;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Names seen: at ten records a second, seven minutes.
const SEEN_MAX: usize = 4096;
/// Records kept for those who ask.
const KEPT_MAX: usize = 512;
const KEPT_BYTES_MAX: usize = 256 << 10;
/// Records that were named and have not come.
const MISSING_MAX: usize = 512;
/// Neighbours that are asked for one of them, in turn.
const SOURCES_MAX: usize = 4;

/// Names of records that have come.
#[derive(Debug, Default)]
pub struct Seen {
    marks: BTreeSet<Mark>,
    order: VecDeque<Mark>,
}

impl Seen {
    pub fn contains(&self, mark: Mark) -> bool {
        self.marks.contains(&mark)
    }

    pub fn insert(&mut self, mark: Mark) {
        if !self.marks.insert(mark) {
            return;
        }
        self.order.push_back(mark);
        if self.order.len() > SEEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.marks.remove(&oldest);
        }
    }

    pub fn memory_bytes(&self) -> usize {
        self.order.len() * 24
    }

    pub fn check(&self) {
        assert!(self.order.len() <= SEEN_MAX && self.order.len() == self.marks.len());
    }
}

/// The latest records, for those who ask.
#[derive(Debug, Default)]
pub struct Kept {
    parcels: VecDeque<Parcel>,
    bytes: usize,
}

impl Kept {
    pub fn insert(&mut self, parcel: Parcel) {
        self.bytes += parcel.bytes.len();
        self.parcels.push_back(parcel);
        while self.parcels.len() > KEPT_MAX || self.bytes > KEPT_BYTES_MAX {
            let Some(oldest) = self.parcels.pop_front() else {
                return;
            };
            self.bytes -= oldest.bytes.len();
        }
    }

    pub fn find(&self, mark: Mark) -> Option<Parcel> {
        let newest_first = self.parcels.iter().rev();
        newest_first
            .clone()
            .find(|parcel| parcel.mark == mark)
            .cloned()
    }

    /// The bytes are shared with the store: only our own part counts.
    pub fn memory_bytes(&self) -> usize {
        self.parcels.len() * std::mem::size_of::<Parcel>()
    }

    pub fn check(&self) {
        let bytes: usize = self.parcels.iter().map(|parcel| parcel.bytes.len()).sum();
        assert_eq!(bytes, self.bytes, "bytes of kept records");
        assert!(self.parcels.len() <= KEPT_MAX && self.bytes <= KEPT_BYTES_MAX);
    }
}

/// Questions for one of them, until reconciliation has to bring it.
const TRIES_MAX: u8 = 8;

#[derive(Debug)]
struct Lack {
    due_ms: u64,
    /// Who has it; the first is asked next.
    sources: VecDeque<NodeId>,
    tries: u8,
}

/// Records that others have.
#[derive(Debug, Default)]
pub struct Missing {
    lacks: BTreeMap<Mark, Lack>,
    /// The earliest is due then, or a little later.
    next_ms: Option<u64>,
}

impl Missing {
    pub fn named(&mut self, due_ms: u64, mark: Mark, from: NodeId) {
        if let Some(lack) = self.lacks.get_mut(&mark) {
            if lack.sources.len() < SOURCES_MAX && !lack.sources.contains(&from) {
                lack.sources.push_back(from);
            }
            return;
        }
        if self.lacks.len() == MISSING_MAX {
            let oldest = self.lacks.iter().min_by_key(|(_, lack)| lack.due_ms);
            if let Some(oldest) = oldest.map(|(mark, _)| *mark) {
                self.lacks.remove(&oldest);
            }
        }
        let sources = VecDeque::from([from]);
        self.lacks.insert(
            mark,
            Lack {
                due_ms,
                sources,
                tries: 0,
            },
        );
        self.next_ms = Some(self.next_ms.map_or(due_ms, |next| next.min(due_ms)));
    }

    pub fn remove(&mut self, mark: Mark) {
        if self.lacks.remove(&mark).is_some() && self.lacks.is_empty() {
            self.next_ms = None;
        }
    }

    pub const fn next_ms(&self) -> Option<u64> {
        self.next_ms
    }

    /// Whom to ask for what, now; each source once. Without any left, reconciliation brings it.
    pub fn due(&mut self, now_ms: u64, again_ms: u64) -> Vec<(Mark, NodeId)> {
        if self.next_ms.is_none_or(|at| at > now_ms) {
            return Vec::new();
        }
        let mut asked = Vec::new();
        self.lacks.retain(|mark, lack| {
            if lack.due_ms > now_ms {
                return true;
            }
            lack.due_ms = now_ms + again_ms;
            if lack.tries == TRIES_MAX {
                return false;
            }
            lack.tries += 1;
            lack.sources.rotate_left(1);
            asked.extend(lack.sources.back().map(|source| (*mark, *source)));
            true
        });
        self.next_ms = self.lacks.values().map(|lack| lack.due_ms).min();
        asked
    }

    pub fn check(&self) {
        assert!(self.lacks.len() <= MISSING_MAX, "missing records");
        let next = self.lacks.values().map(|lack| lack.due_ms).min();
        assert!(
            self.next_ms <= next || next.is_none(),
            "a lack is overslept"
        );
    }
}
