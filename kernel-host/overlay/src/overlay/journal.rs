//! What happened lately, for people: the list behind `luc events`.
//!
//! Start at:  `Journal::note`.

use protocol::peer::Life;
use protocol::{Moment, NodeId, SiteId, Timestamp};
use std::collections::{BTreeSet, VecDeque};

/// Entries kept; beyond, the oldest go.
pub const ENTRIES_MAX: usize = 256;

/// One line of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Counts entries since the start: a reader asks for what came after one.
    pub number: u64,
    pub at: Timestamp,
    pub what: Happening,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    NodeAlive {
        node: NodeId,
        site: SiteId,
    },
    NodeSuspect {
        node: NodeId,
    },
    NodeDead {
        node: NodeId,
        site: SiteId,
    },
    NodeLeft {
        node: NodeId,
        site: SiteId,
    },
    /// A site that was not known here, and how many nodes of it are there.
    SiteFound {
        site: SiteId,
        alive: u32,
    },
    SiteLost {
        site: SiteId,
    },
    SiteBack {
        site: SiteId,
    },
    SiteRetired {
        site: SiteId,
    },
    /// This node was accused and answered.
    Reborn {
        life: Life,
    },
    /// Another machine runs with this node's key.
    Cloned,
    /// A record is kept back from its consumer, which failed on it twice.
    Poison {
        kind: u16,
        subject: [u8; 16],
    },
    /// An old object that its home site does not know was not taken in.
    Ghost {
        kind: u16,
        subject: [u8; 16],
    },
    /// This node's clock is wrong, or right again.
    Clock {
        is_off: bool,
    },
    /// This node's disk keeps nothing, so it guards no registers; or it does again.
    Fenced {
        is_fenced: bool,
    },
    /// This node was away longer than tombstones live, and starts from what its peers hold.
    StartedAnew,
}

#[derive(Debug, Default)]
pub struct Journal {
    entries: VecDeque<Entry>,
    next: u64,
    pub(super) clock_is_off: bool,
    /// As of the last look.
    pub(super) silent_sites: BTreeSet<SiteId>,
}

impl Journal {
    pub fn note(&mut self, now: Moment, what: Happening) {
        if self.entries.len() == ENTRIES_MAX {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry {
            number: self.next,
            at: now.wall,
            what,
        });
        self.next += 1;
    }

    /// Entries from this number on, oldest first.
    pub fn since(&self, number: u64) -> impl Iterator<Item = &Entry> {
        let skip = self.entries.partition_point(|entry| entry.number < number);
        self.entries.iter().skip(skip)
    }

    pub fn memory_bytes(&self) -> usize {
        self.entries.capacity() * std::mem::size_of::<Entry>()
    }
}
