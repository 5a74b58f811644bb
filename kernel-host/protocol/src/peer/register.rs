//! The messages of compare-and-swap registers, of their guardians, and of host leases.
//!
//! Does:      the words of a vote, of a council of guardians and of its change.
//! Does not:  decide anything (`overlay::register`).
//! Bounds:    all but `Page` fit a datagram; `GUARDIANS_MAX`, `VALUE_BYTES_MAX`,
//!            `PAGE_ENTRIES_MAX`.
//! Trusts:    nobody: a decoded message is well-formed, not true.
//! Start at:  `RegisterMessage`.

use super::admission::Few;
use super::capped::Capped;
use crate::{Hasher, NodeId, SiteId};
use serde::{Deserialize, Serialize};

/// Guardians of a site.
pub const GUARDIANS_MAX: usize = 5;
/// Bytes that a register holds.
pub const VALUE_BYTES_MAX: usize = 512;
/// Registers in one message of a handover; a stream carries it with room to spare.
pub const PAGE_ENTRIES_MAX: usize = 96;

pub type Value = Capped<VALUE_BYTES_MAX>;

/// Which register of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RegisterKey {
    /// Of the cloud's services: who owns a name.
    Named([u8; 16]),
    /// The lease of a host.
    Lease(NodeId),
    /// Which council follows this one. Never handed over.
    Council,
}

/// The order of attempts. Those of a later council are always later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ballot {
    pub generation: u32,
    pub counter: u32,
    pub node: NodeId,
    /// Two boots of one node never make the same ballot.
    pub boots: u32,
}

/// Names one write, whoever carries it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tag {
    pub by: NodeId,
    pub number: u64,
}

/// A value, the write that it came from, and the write that this one followed: whoever wanted to
/// follow the same one knows by it that it did not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    pub tag: Tag,
    pub follows: Option<Tag>,
    pub value: Value,
}

/// What a guardian has accepted, and for how long it has had it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    pub ballot: Ballot,
    pub written: Written,
    pub age_ms: u64,
}

/// One register in a handover.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub key: RegisterKey,
    pub accepted: Accepted,
}

/// A line of councils. Of two that meet in one site, the greater era goes on, then the older.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    /// Grows when a council that is proved to be gone for good is founded anew.
    pub era: u32,
    /// The founder's clock; only a preference, nothing's safety rests on it.
    pub born_ms: u64,
    pub lot: u64,
}

/// A guardian, and the boot in which it was chosen: in another one it must show what it saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    pub node: NodeId,
    pub boots: u32,
}

/// The guardians of a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Council {
    pub site: SiteId,
    pub founding: Founding,
    pub generation: u32,
    pub seats: Few<Seat, GUARDIANS_MAX>,
    /// The guardians of the generation before, of whom most hand over. Empty: it was founded.
    pub before: Few<NodeId, GUARDIANS_MAX>,
}

/// Names a council in few bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mark(pub [u8; 8]);

/// What is wanted of a register.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wish {
    Look,
    Swap { expect: Option<Value>, value: Value },
}

/// How a wish ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Done,
    /// What it holds, and how long some guardian has had that at least.
    Value {
        value: Option<Value>,
        age_ms: u64,
    },
    Conflict(Option<Value>),
    /// It may or may not have happened.
    Unsure,
    /// It did not happen.
    Refused,
}

/// What two nodes say to each other about registers. `number` is repeated in the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RegisterMessage {
    /// What have you accepted?
    Look {
        mark: Mark,
        key: RegisterKey,
        number: u64,
    },
    /// Promise to accept nothing below this ballot.
    Prepare {
        mark: Mark,
        key: RegisterKey,
        number: u64,
        ballot: Ballot,
    },
    /// The answer to both.
    Promise {
        number: u64,
        accepted: Option<Accepted>,
    },
    /// Accept this; and promise `next`, so that I may go on without asking.
    Accept {
        mark: Mark,
        key: RegisterKey,
        number: u64,
        ballot: Ballot,
        written: Written,
        next: Option<Ballot>,
    },
    Accepted {
        number: u64,
    },
    /// I have promised this later one.
    Late {
        number: u64,
        promised: Ballot,
    },
    /// No room for another register.
    Full {
        number: u64,
    },
    /// I can't reach most guardians: do it for me within `ms`.
    Forward {
        mark: Mark,
        number: u64,
        tag: Tag,
        key: RegisterKey,
        wish: Wish,
        ms: u32,
    },
    Outcome {
        number: u64,
        outcome: Outcome,
    },
    /// Which council is it now? Mine is this, if any.
    Greet {
        mark: Option<Mark>,
    },
    /// It is this.
    Council(Box<Council>),
    /// I know of none.
    NoCouncil,
    /// I have a seat in it, but not what I had promised in it: choose another.
    Blank {
        mark: Mark,
    },
    /// I have a seat in this council: hand over what you hold behind this key.
    Hand {
        council: Box<Council>,
        behind: Option<RegisterKey>,
    },
    /// It is this; `is_seated` if the sender has taken its own seat in the new council already.
    Page {
        mark: Mark,
        behind: Option<RegisterKey>,
        entries: Few<Entry, PAGE_ENTRIES_MAX>,
        is_last: bool,
        is_seated: bool,
    },
    /// I have taken my seat.
    Seated {
        mark: Mark,
    },
    /// I have a seat in this council too, but hold nothing for it yet.
    Unseated {
        mark: Mark,
    },
}

impl Founding {
    /// Whether councils of this line go on where both lines are known.
    pub fn wins_over(&self, other: &Self) -> bool {
        let rank = |one: &Self| (u32::MAX - one.era, one.born_ms, one.lot);
        rank(self) < rank(other)
    }
}

impl Council {
    pub fn mark(&self) -> Mark {
        let mut hasher = Hasher::new();
        hasher.update(b"luc council\0");
        hasher.update(&self.encode());
        let mut mark = [0; 8];
        mark.copy_from_slice(&hasher.finish().bytes()[..8]);
        Mark(mark)
    }

    pub fn has(&self, node: NodeId) -> bool {
        self.seats.as_slice().iter().any(|seat| seat.node == node)
    }

    /// How many are most of its guardians.
    pub fn majority(&self) -> usize {
        self.seats.as_slice().len() / 2 + 1
    }

    /// Whether this one is to be followed by somebody who follows `other`.
    pub fn follows(&self, other: &Self) -> bool {
        if self.founding == other.founding {
            self.generation > other.generation
        } else {
            self.founding.wins_over(&other.founding)
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, Vec::new()).unwrap_or_default()
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (council, _later) = postcard::take_from_bytes::<Self>(bytes).ok()?;
        council.is_sound().then_some(council)
    }

    /// Whether it has guardians, each but once.
    pub fn is_sound(&self) -> bool {
        let seats = self.seats.as_slice();
        let count = |node| seats.iter().filter(|seat| seat.node == node).count();
        !seats.is_empty() && seats.iter().all(|seat| count(seat.node) == 1)
    }
}
