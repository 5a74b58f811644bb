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
use std::collections::{BTreeMap, VecDeque};

/// Names seen: at ten records a second, seven minutes.
const SEEN_MAX: usize = 4096;
/// Records kept for those who ask.
const KEPT_MAX: usize = 512;
const KEPT_BYTES_MAX: usize = 256 << 10;
/// Records that were named and have not come.
const MISSING_MAX: usize = 512;
/// Neighbours that are asked for one of them, in turn.
const SOURCES_MAX: usize = 4;

/// Names of records that have come. Each name that a neighbour tells is looked for here, many times
/// a second: a name's place is its own lower bits, so that mostly one look at memory is enough.
/// Whoever makes many records with the same lower bits makes looks longer, by `SEEN_MAX` at most.
#[derive(Debug, Default)]
pub struct Seen {
    /// Each name at its place or a little behind; half of all places at least are `NOTHING`.
    places: Vec<Mark>,
    order: VecDeque<Mark>,
}

const NOTHING: Mark = 0;
const PLACES_MIN: usize = 64;

/// No name is `NOTHING`.
fn named(mark: Mark) -> Mark {
    mark.max(1)
}

impl Seen {
    fn place_of(&self, mark: Mark) -> usize {
        let last = self.places.len() - 1;
        usize::try_from(mark).unwrap_or(0) & last
    }

    /// Where a name is, or where it would be put.
    fn find(&self, mark: Mark) -> usize {
        let last = self.places.len() - 1;
        let mut at = self.place_of(mark);
        while self.places[at] != mark && self.places[at] != NOTHING {
            at = (at + 1) & last;
        }
        at
    }

    pub fn contains(&self, mark: Mark) -> bool {
        let mark = named(mark);
        !self.places.is_empty() && self.places[self.find(mark)] == mark
    }

    pub fn insert(&mut self, mark: Mark) {
        let mark = named(mark);
        if self.order.len() * 2 >= self.places.len() {
            self.widen();
        }
        let at = self.find(mark);
        if self.places[at] == mark {
            return;
        }
        self.places[at] = mark;
        self.order.push_back(mark);
        if self.order.len() > SEEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.remove(oldest);
        }
    }

    fn widen(&mut self) {
        let wider = (self.places.len() * 2).max(PLACES_MIN);
        self.places = vec![NOTHING; wider];
        for mark in self.order.clone() {
            let at = self.find(mark);
            self.places[at] = mark;
        }
    }

    /// Takes a name out; those behind it that it kept from their place move up.
    fn remove(&mut self, mark: Mark) {
        let last = self.places.len() - 1;
        let mut hole = self.find(mark);
        let mut at = hole;
        self.places[hole] = NOTHING;
        loop {
            at = (at + 1) & last;
            let other = self.places[at];
            if other == NOTHING {
                return;
            }
            let strayed = at.wrapping_sub(self.place_of(other)) & last;
            if strayed >= at.wrapping_sub(hole) & last {
                self.places[hole] = other;
                self.places[at] = NOTHING;
                hole = at;
            }
        }
    }

    pub fn memory_bytes(&self) -> usize {
        (self.places.len() + self.order.capacity()) * std::mem::size_of::<Mark>()
    }

    pub fn check(&self) {
        assert!(self.order.len() <= SEEN_MAX);
        let full = self.places.iter().filter(|mark| **mark != NOTHING);
        assert_eq!(self.order.len(), full.count(), "names and places");
        assert!(self.order.iter().all(|mark| self.contains(*mark)));
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_latest_names_are_known_and_no_others() {
        let mut dice = netcore::dice::Dice::new(5);
        // Names that crowd on few places, names all over, and zero.
        for mask in [0xffff_0000_0000_003f, u64::MAX, 0xfff0_0000_0000_0000] {
            let (mut seen, mut told) = (Seen::default(), Vec::new());
            assert!(!seen.contains(0));
            for round in 0..2 * SEEN_MAX {
                let mark = if round == 9 {
                    0
                } else {
                    dice.next_u64() & mask
                };
                if !seen.contains(mark) {
                    told.push(mark);
                }
                seen.insert(mark);
            }
            seen.check();
            let kept = told.len().min(SEEN_MAX);
            let (old, latest) = told.split_at(told.len() - kept);
            let latest: BTreeSet<Mark> = latest.iter().copied().collect();
            assert!(latest.iter().all(|mark| seen.contains(*mark)), "{mask:x}");
            let gone = old.iter().filter(|mark| !latest.contains(mark));
            assert!(gone.copied().all(|mark| !seen.contains(mark)), "{mask:x}");
        }
    }
}
