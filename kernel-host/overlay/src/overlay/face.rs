//! What `Overlay` is told, and what it wants.
//!
//! Does:      names every input, output, answer and refusal, and the shapes that readers get.
//! Does not:  do anything.
//! Bounds:    an input is as large as its caller makes it; `Overlay` refuses what is too large.
//! Trusts:    sessions for the contact of a message.
//! Start at:  `Input`, `Output`.

use crate::context::{Event, Save};
use crate::lookup::{Found, Reach};
use crate::rules::Rules;
use crate::store;
use core::net::SocketAddr;
use protocol::peer::{Channel, Contact, Life, Realm, RecordKey, RecordKind};
use protocol::{Name, NodeId, SiteId, Timestamp};

/// What a node is when it starts.
#[derive(Debug)]
pub struct Config {
    pub me: Contact,
    pub site_name: Name,
    pub life: Life,
    pub seed: u64,
    /// What `Save` wrote before, for nodes with a disk.
    pub saved: Vec<(String, Vec<u8>)>,
    pub limits: store::Limits,
    /// `Rules::ALL`, but in tests of the tests.
    pub rules: Rules,
}

/// A record to be written in our name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    pub realm: Realm,
    pub kind: RecordKind,
    pub subject: [u8; 16],
    /// Of owned objects; zero for others.
    pub epoch: u64,
    /// It is a tombstone.
    pub ended: bool,
    pub body: Vec<u8>,
}

/// Something that happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// A message; `from` is proved by the session, its address is the packet's source.
    Message {
        from: Contact,
        channel: Channel,
        bytes: &'a [u8],
    },
    /// A stream to a peer could not be made or broke, or no session came about.
    Unreachable {
        peer: NodeId,
        channel: Channel,
    },
    /// Discovery found a node: a seed, a neighbour on the wire, a line on the disk.
    Contact(Contact),
    /// Our own underlay address, when it changes.
    Address(SocketAddr),
    Publish(Draft),
    /// The consumer of a kind could not read this record. After two strikes it gets it no more.
    Rejected(RecordKey),
    /// Compare and swap a register of our site: `expect` is what it must hold now.
    Swap {
        ask: u64,
        register: [u8; 16],
        expect: Option<Vec<u8>>,
        value: Vec<u8>,
    },
    /// Reads a register of our site from a majority of its guardians.
    Read {
        ask: u64,
        register: [u8; 16],
    },
    /// Puts a value into the cluster's table, in our name. It stays until this node has been gone
    /// for `lives_s`; after a restart it must be put again.
    Put {
        ask: u64,
        key: [u8; 32],
        value: Vec<u8>,
        lives_s: u32,
    },
    /// Takes back what we have put under a key.
    Remove {
        ask: u64,
        key: [u8; 32],
    },
    /// Finds all values under a key of the cluster's table.
    Find {
        ask: u64,
        key: [u8; 32],
        reach: Reach,
    },
    /// Whether this node guards no registers now: its disk does not keep what it promises.
    Fence(bool),
    /// Says goodbye to the site.
    Leave,
}

/// Something to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    Send {
        to: NodeId,
        address: SocketAddr,
        channel: Channel,
        bytes: Vec<u8>,
    },
    /// Must be on the disk before anything later that rests on a promise: messages of registers,
    /// answers, word of leases. Nodes without a disk skip it.
    Save(Save),
    Event(Event),
    /// The end of an `Input` that carried an `ask`.
    Answer {
        ask: u64,
        answer: Answer,
    },
}

/// How a question ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Done,
    /// What the register holds.
    Value(Option<Vec<u8>>),
    /// The register held another value.
    Conflict(Option<Vec<u8>>),
    /// So many of a key's homes have taken what was put. Fewer than most: it is tried again.
    Taken {
        homes: u8,
        of: u8,
    },
    /// What is under a key, of each author one; so many of its homes were sure.
    Found {
        values: Vec<Found>,
        homes: u8,
        of: u8,
    },
    /// It may or may not have happened.
    Unsure,
    /// It did not happen.
    Refused,
}

/// Why an input was refused. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the message could not be read: {0}")]
    Message(protocol::peer::BadMessage),
    #[error("a message from our own key came from elsewhere")]
    FromSelf,
    #[error("this node may not write such a record, or it is too large")]
    Authority,
    #[error("a newer epoch of this object exists, or it was ended")]
    Fenced,
    #[error("this node's clock differs from those of its peers")]
    Clock,
    #[error("the store is full")]
    Full,
    #[error("this node waits until its peers have told it what it missed")]
    Catching,
}

impl Refused {
    /// The operator's next step.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Message(_) => "Bring both nodes to the same version if this goes on",
            Self::FromSelf => "Two machines run from one disk image: wipe the state of one",
            Self::Authority => "Ask the node that owns the object",
            Self::Fenced => "Read the object again: another node owns it now",
            Self::Clock => "Set the clock, or let the node reach a time server",
            Self::Full => "Delete what is not needed; look at `luc events`",
            Self::Catching => "Wait until the node has reached another node of its site",
        }
    }
}

/// Whether a node is there, as far as one knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeState {
    Alive,
    /// It does not answer; it may still refute. Known inside a site only.
    Suspect,
    Dead,
    Left,
    /// Its whole site does not answer: nobody knows.
    Unreachable,
}

impl NodeState {
    /// Whether the node counts as there.
    pub const fn is_there(self) -> bool {
        matches!(self, Self::Alive | Self::Suspect)
    }
}

/// A node, as this node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeView {
    pub contact: Contact,
    pub life: Life,
    pub state: NodeState,
    /// When its site last said so. `None`: first-hand.
    pub as_of: Option<Timestamp>,
}

/// A site, as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteView {
    pub site: SiteId,
    pub name: Option<Name>,
    /// Who speaks for it. In a site that is split there may be several.
    pub speakers: Vec<NodeId>,
    pub alive: u32,
    pub usage: Option<protocol::peer::load::Usage>,
    pub is_reachable: bool,
    /// When it last said so. `None`: our own.
    pub as_of: Option<Timestamp>,
    /// To it and back: measured on our link, else guessed from coordinates. `None`: our own, or
    /// nobody knows yet, or it does not answer.
    pub round_trip_us: Option<u64>,
}
