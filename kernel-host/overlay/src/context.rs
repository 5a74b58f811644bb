//! What every part of the overlay is given, and where it puts what it wants.
//!
//! Does:      time, identity, dice and trust in one value; messages, events and savings in another.
//! Does not:  know addresses: parts speak to nodes, `Overlay` knows where they are.
//! Bounds:    an outbox is emptied by `Overlay` after each step; a part bounds what it puts there.
//! Trusts:    its caller for the time, which never goes back.
//! Start at:  `Context`.

use crate::coordinates::Coordinates;
use netcore::dice::Dice;
use protocol::peer::{Channel, Contact, Coordinate, Life, Message, Record, RecordKey, Signature};
use protocol::{Moment, NodeId, SiteId};
use std::collections::VecDeque;
use std::fmt;

/// Half the resolution of the clock that round trips are measured with.
const HALF_TICK_US: u64 = 500;

/// What a signature is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// By the author, whose certificate holds.
    Good,
    /// Not by the author.
    Bad,
    /// The author's certificate has not come yet.
    UnknownAuthor,
    /// The author's right was taken away.
    Revoked,
}

/// Keys and certificates. The appliance signs with Ed25519; simulations have a cheap stand-in.
pub trait Keyring: fmt::Debug {
    /// Signs bytes of ours.
    fn sign(&self, bytes: &[u8]) -> Signature;
    /// Checks `author`'s signature over `bytes`.
    fn verify(&self, author: NodeId, bytes: &[u8], signature: &Signature) -> Verdict;
    /// The site that `node`'s certificate names. `None`: no certificate known.
    fn site_of(&self, node: NodeId) -> Option<SiteId>;
    /// Whether `node`'s right was taken away.
    fn is_revoked(&self, node: NodeId) -> bool {
        self.verify(node, &[], &Signature([0; 64])) == Verdict::Revoked
    }
    /// Whether `node`'s machine has come back under a new key, so that this id is gone for good.
    fn is_replaced(&self, _node: NodeId) -> bool {
        false
    }
    /// Whether `node`'s machine has come back more than once since, so that nobody needs its
    /// certificate any more. That of its last identity but one still proves what it wrote of
    /// things that outlive it.
    fn is_long_replaced(&self, _node: NodeId) -> bool {
        false
    }
    /// Takes in a record that proves itself (certificate, grant, revocation) and says whether it
    /// does. Anything else is `Bad`.
    fn learn(&mut self, now: Moment, record: &Record) -> Verdict;
}

/// What a part may look at while it works, and its outbox.
#[derive(Debug)]
pub struct Context<'a> {
    pub now: Moment,
    pub me: NodeId,
    pub site: SiteId,
    pub dice: &'a mut Dice,
    /// Our place among the nodes: whoever measures a round trip tells it here.
    pub coordinates: &'a mut Coordinates,
    pub keyring: &'a mut dyn Keyring,
    pub out: &'a mut Outbox,
}

impl Context<'_> {
    /// Milliseconds of the monotonic clock: all deadlines are in these.
    pub const fn now_ms(&self) -> u64 {
        self.now.uptime_ms
    }

    /// A peer that says that it is at `place` answered after so long. Clocks tick in milliseconds:
    /// half a tick is what an answer within one took.
    pub fn measured(&mut self, peer: NodeId, place: &Coordinate, took_ms: u64) {
        let took_us = (took_ms * 1000).max(HALF_TICK_US);
        self.coordinates.observe(self.me, peer, place, took_us);
    }

    pub fn send(&mut self, to: NodeId, channel: Channel, message: Message) {
        self.out.sends.push_back(Send {
            to,
            channel,
            message,
        });
    }
}

/// A message on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Send {
    pub to: NodeId,
    pub channel: Channel,
    pub message: Message,
}

/// Something for the disk, if the node has one. Only what registers say later has to wait for it:
/// whatever else a power cut takes, peers give back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Save {
    /// A short path such as `contact/<node>` or `register/<key>`.
    pub key: String,
    /// `None`: forget it.
    pub value: Option<Vec<u8>>,
}

/// What a part has found out, for the other parts and for the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A node of our site is there, in this life.
    Alive { contact: Contact, life: Life },
    /// A node of our site does not answer; it may still refute.
    Suspect { node: NodeId, life: Life },
    /// A node of our site is gone.
    Dead { node: NodeId, life: Life },
    /// A node of our site said goodbye.
    Left { node: NodeId, life: Life },
    /// Our own life number rose: something accused us.
    Reborn { life: Life },
    /// Another node runs with our key. It or we must stop.
    Cloned { life: Life },
    /// A record came that is newer than what we had; it was verified.
    Stored(Box<Record>),
    /// A record was dropped for good after its tombstone was known everywhere.
    Forgotten(RecordKey),
    /// Our host's lease is ours in this epoch, until this uptime of ours.
    LeaseHeld { epoch: u64, until_ms: u64 },
    /// Our host's lease of this epoch has ended.
    LeaseLost { epoch: u64 },
    /// We have ended the lease of a host that is gone; its epoch is this one now.
    LeaseTaken { host: NodeId, epoch: u64 },
}

/// What parts want done, in order.
#[derive(Debug, Default)]
pub struct Outbox {
    pub sends: VecDeque<Send>,
    pub saves: VecDeque<Save>,
    pub events: VecDeque<Event>,
}
