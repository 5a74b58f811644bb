//! What can live on a host of the world.
//!
//! Does:      one small face for the overlay, for one part of it alone, and for others' programs
//!            that serve as yardstick.
//! Does not:  know the world: it is told, and it answers.
//! Bounds:    none of its own.
//! Trusts:    each machine to be deterministic.
//! Start at:  `Machine`.

use overlay::Save;
use protocol::peer::register::Council;
use protocol::peer::{Channel, Contact, Life, Record, RecordKey};
use protocol::{Moment, Name, NodeId};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

/// What a host's disk holds: what was saved, by key.
pub type Disk = BTreeMap<String, Vec<u8>>;

/// What a machine is when it starts.
#[derive(Debug)]
pub struct Birth<'a> {
    pub me: Contact,
    pub site_name: Name,
    pub life: Life,
    pub seed: u64,
    pub disk: &'a Disk,
    /// Keys that this machine had before: its certificate says so.
    pub replaces: Vec<NodeId>,
    pub keyring: crate::ids::Stamps,
    /// `Rules::ALL`, but in tests of the tests.
    pub rules: overlay::Rules,
    /// How many nodes there will be, for those that must know.
    pub nodes: u32,
}

/// What one node thinks of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Opinion {
    Unknown,
    Alive,
    Suspect,
    Dead,
    Left,
    /// Its whole site does not answer: nobody knows.
    Unreachable,
}

impl Opinion {
    /// Whether the other counts as there.
    pub const fn is_there(self) -> bool {
        matches!(self, Self::Alive | Self::Suspect)
    }
}

/// What a person or a service asks of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// A record of this node's own; a tombstone if `ended`.
    Publish {
        key: RecordKey,
        epoch: u64,
        ended: bool,
        body: Vec<u8>,
    },
    /// Compare and swap a register of the site: `expect` is the value it must hold now.
    Swap {
        register: [u8; 16],
        expect: Option<Vec<u8>>,
        value: Vec<u8>,
    },
    /// Reads a register with a majority.
    Read { register: [u8; 16] },
    /// Puts a value into the cluster's table.
    Put { key: [u8; 16], value: Vec<u8> },
    /// Takes back what this node has put there.
    Remove { key: [u8; 16] },
    /// Finds a value in the cluster's table.
    Find { key: [u8; 16] },
    /// Says goodbye.
    Leave,
}

/// How an `Ask` ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Done,
    /// The value of a register, now.
    Value(Option<Vec<u8>>),
    /// What is under a key of the table, by author.
    Found(Vec<(NodeId, Vec<u8>)>),
    /// The register held another value.
    Conflict(Option<Vec<u8>>),
    /// It may or may not have happened.
    Unsure,
    /// It did not happen.
    Refused,
}

/// What a machine has found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// It changed its mind about a node.
    Opinion {
        of: NodeId,
        opinion: Opinion,
    },
    /// Another node runs with its key.
    Cloned,
    /// Its own life number rose.
    Reborn(Life),
    /// It took in a record that is newer than what it had.
    Stored(Box<Record>),
    /// It forgot a record for good.
    Forgotten(RecordKey),
    /// Its lease is its own until its clock shows this.
    LeaseHeld {
        epoch: u64,
        until_ms: u64,
    },
    /// Its lease has ended.
    LeaseLost {
        epoch: u64,
    },
    /// It has ended another host's lease.
    LeaseTaken {
        host: NodeId,
        epoch: u64,
    },
    Reply {
        ask: u64,
        reply: Reply,
    },
}

/// What a machine wants done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    Send {
        to: NodeId,
        address: SocketAddr,
        channel: Channel,
        bytes: Vec<u8>,
    },
    /// Must be on disk before later messages leave.
    Save(Save),
    Note(Note),
}

/// A program without I/O that runs on a host.
pub trait Machine: Sized + fmt::Debug {
    /// Whether each change of opinion is told as a `Note`; otherwise far ones are asked for.
    const TELLS_ALL: bool;
    /// Whether it makes its own sessions: the world then carries sealed bytes to an address, and
    /// makes no sessions of its own.
    const HAS_SESSIONS: bool = false;

    fn start(now: Moment, birth: Birth<'_>) -> Self;
    /// A message, from a node that its session proved.
    fn receive(&mut self, now: Moment, from: Contact, channel: Channel, bytes: &[u8]);
    /// A stream to `peer` could not be made, or broke.
    fn unreachable(&mut self, now: Moment, peer: NodeId, channel: Channel);
    /// Discovery has found a node.
    fn contact(&mut self, now: Moment, contact: Contact);
    fn ask(&mut self, now: Moment, ask: u64, what: &Ask);
    fn timeout(&mut self, now: Moment);
    /// When `timeout` is due, in milliseconds since its start.
    fn next_timeout(&self) -> Option<u64>;
    fn poll(&mut self) -> Option<Wish>;

    /// Who guards the registers of its site, as far as it knows.
    fn council(&self) -> Option<&Council> {
        None
    }
    /// Whether it votes for the registers of its site now.
    fn guards(&self) -> bool {
        false
    }
    /// Whether it has what was decided until this council.
    fn holds(&self, _council: &Council) -> bool {
        false
    }
    /// Whether it keeps out of registers because another machine has its key.
    fn is_fenced(&self) -> bool {
        false
    }
    /// Whether a node that said goodbye has handed over what others need.
    fn may_go(&self) -> bool {
        true
    }
    /// The epoch of its host's lease, while that is its own.
    fn lease(&self, _now: Moment) -> Option<u64> {
        None
    }

    /// What it thinks of another node.
    fn opinion(&self, of: NodeId) -> Opinion;
    /// Whether it knows nobody, or nobody of another site.
    fn is_lonely(&self) -> bool {
        self.others_there() == 0
    }
    /// Others that it thinks are there.
    fn others_there(&self) -> usize;
    fn record(&self, key: &RecordKey) -> Option<Record>;
    /// A number that is equal on two nodes exactly if they hold the same records of a realm. How
    /// long a tombstone is kept depends on when it came, so those are left out; that nothing comes
    /// back is judged apart (I6).
    fn records_digest(&self, realm: protocol::peer::Realm) -> u64;
    fn memory_bytes(&self) -> usize;
    /// Records for all that neighbours passed on so far: all copies, and those that were new.
    fn payloads(&self) -> (u64, u64);
    /// Panics if its own state is broken.
    fn check(&self);
}
