//! Sessions over datagrams: one table for all peers.
//!
//! Does:      handshakes, begun by a message to whom no session stands, or by the other side;
//!            seals and opens messages; keeps sessions fresh; says who came, and who fell silent.
//! Does not:  repeat or order messages; keep a session alive that nobody uses.
//! Bounds:    `Limits`.
//! Trusts:    `Gate` to tell peers apart; nothing that is not sealed, except as a hint.
//! Start at:  `Datagrams::handle_datagram`, `Datagrams::send`.
//!
//! How a session comes about: open -> answer -> prove. The answer proves the responder, the proof
//! the initiator; the initiator repeats what was not answered. Both may open at once: the one
//! whose ephemeral key is smaller goes first, the other side yields. A session is renewed by a
//! handshake beside it; the old one is still heard for `PREVIOUS_MS`.
//!
//! After a restart, one side has a session that the other has forgotten. Its first message is
//! answered by `unknown`, which proves nothing and so breaks nothing: it makes the one side open
//! anew beside the session that it has. Where that hint is lost, silence does the same after
//! `UNANSWERED_MS`: whoever hears messages says something at least every `KEEPALIVE_MS`.

mod answering;
mod flood;
mod limits;
mod opening;
mod peers;
mod timers;
mod window;

pub use limits::{Counters, Limits};

use crate::crypto::{Rng, Secret};
use crate::gate::{Gate, Peer, Refusal};
use crate::packet::{BadPacket, Packet};
use answering::Answer;
use flood::{Bucket, Cookies};
use opening::Opening;
use peers::Entry;
use protocol::peer::{DATAGRAM_BYTES_MAX, SessionKey};
use protocol::{Moment, NodeId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use timers::Timer;

/// What every handshake begins with: another protocol's messages don't fit.
const PROLOGUE: &[u8] = b"luc datagram 1\0";

/// `unknown` hints per second; beyond, silence.
const UNKNOWN_PER_SECOND: u32 = 50;

/// Where a message is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination {
    /// Nobody else may read it. `None`: whoever is at the address.
    pub node: Option<NodeId>,
    pub address: SocketAddr,
}

/// What the caller has to do or to know, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    Transmit {
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    /// A message by this peer; its session proves it.
    Received {
        peer: Peer,
        from: SocketAddr,
        bytes: Vec<u8>,
    },
    /// A session stands, with somebody new or with somebody who has become a node.
    Established {
        peer: Peer,
        address: SocketAddr,
    },
    /// A further session with somebody known: a renewal, or the other side has restarted and what
    /// it knew of us is gone.
    Anew {
        peer: Peer,
    },
    /// No session came about. `by`: who refused us, if it has proved itself before.
    Refused {
        address: SocketAddr,
        by: Option<Peer>,
        reason: Reason,
    },
    /// The session is no more.
    Lost {
        peer: Peer,
        address: SocketAddr,
    },
}

/// Why no session came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("nobody answers")]
    NoAnswer,
    #[error("the other side is refused: {0}")]
    Ours(Refusal),
    #[error("the other side refuses us: {0}")]
    Theirs(Refusal),
    #[error("the address is our own")]
    Oneself,
}

/// Why a message did not leave. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    #[error("{bytes} bytes are more than a datagram carries")]
    TooLong { bytes: usize },
    #[error("too many handshakes are under way")]
    Busy,
}

/// Whom a receiver index names.
#[derive(Debug, Clone, Copy)]
enum Place {
    Opening,
    Answer,
    Session(SessionKey),
}

/// All sessions over datagrams of one node.
#[derive(Debug)]
pub struct Datagrams {
    secret: Secret,
    own_key: SessionKey,
    rng: Rng,
    limits: Limits,
    counters: Counters,
    peers: BTreeMap<SessionKey, Entry>,
    by_node: BTreeMap<NodeId, SessionKey>,
    /// Who was heard last from an address.
    by_address: BTreeMap<SocketAddr, SessionKey>,
    /// The numbers that we gave out for others to call us by.
    places: BTreeMap<u32, Place>,
    openings: BTreeMap<SocketAddr, Opening>,
    /// By our index.
    answers: BTreeMap<u32, Answer>,
    /// By where they came from and how they call themselves: repeated openings.
    answer_at: BTreeMap<(SocketAddr, u32), u32>,
    timers: BTreeSet<(u64, Timer)>,
    cookies: Cookies,
    answer_bucket: Bucket,
    cookied_bucket: Bucket,
    unknown_bucket: Bucket,
    outputs: VecDeque<Output>,
}

impl Datagrams {
    pub fn new(secret: Secret, mut rng: Rng, limits: Limits) -> Self {
        Self {
            own_key: secret.public(),
            secret,
            cookies: Cookies::new(&mut rng),
            rng,
            counters: Counters::default(),
            peers: BTreeMap::new(),
            by_node: BTreeMap::new(),
            by_address: BTreeMap::new(),
            places: BTreeMap::new(),
            openings: BTreeMap::new(),
            answers: BTreeMap::new(),
            answer_at: BTreeMap::new(),
            timers: BTreeSet::new(),
            answer_bucket: Bucket::new(limits.answers_per_second, limits.answers_burst),
            cookied_bucket: Bucket::new(limits.cookied_per_second, limits.cookied_per_second),
            unknown_bucket: Bucket::new(UNKNOWN_PER_SECOND, UNKNOWN_PER_SECOND),
            outputs: VecDeque::new(),
            limits,
        }
    }

    /// A datagram has come. Whatever its bytes, the worst it does is cost its bounded share.
    pub fn handle_datagram(
        &mut self,
        now: Moment,
        gate: &dyn Gate,
        from: SocketAddr,
        bytes: &[u8],
    ) {
        match Packet::parse(bytes) {
            Ok(Packet::Open {
                padded,
                sender,
                cookie,
                noise,
            }) => {
                if self.may_speak(now, (from, sender), (padded, &cookie)) {
                    self.hear_open(now, gate, (from, sender), (&cookie, noise));
                }
            }
            Ok(Packet::Answer { receiver, noise }) => {
                self.hear_answer(now, gate, from, receiver, noise);
            }
            Ok(Packet::Prove { receiver, noise }) => {
                self.hear_proof(now, gate, from, receiver, noise);
            }
            Ok(Packet::Data {
                receiver,
                number,
                sealed,
            }) => self.hear_data(now, from, (receiver, number), sealed),
            Ok(Packet::Cookie { receiver, cookie }) => {
                self.hear_cookie(now, from, receiver, cookie);
            }
            Ok(Packet::Unknown { receiver }) => self.hear_unknown(now, from, receiver),
            Err(BadPacket::Fabric) => self.counters.fabric += 1,
            Err(BadPacket::Hello | BadPacket::Malformed) => self.counters.malformed += 1,
        }
    }

    /// Sends a message, at once where a session stands, else after a handshake, for which it waits
    /// a few seconds at most.
    ///
    /// # Errors
    ///
    /// When it is too long, or no further handshake may be begun now.
    pub fn send(&mut self, now: Moment, to: Destination, bytes: &[u8]) -> Result<(), NotSent> {
        if bytes.len() > DATAGRAM_BYTES_MAX {
            return Err(NotSent::TooLong { bytes: bytes.len() });
        }
        let key = match to.node {
            Some(node) => self.by_node.get(&node),
            None => self.by_address.get(&to.address),
        };
        match key.copied() {
            Some(key) if self.send_sealed(now, key, bytes) => {
                self.look_at_other_address(now, key, to.address);
                Ok(())
            }
            _ => self.wait_for_session(now, to, bytes),
        }
    }

    /// Begins a session with whoever is at `address`. Where one stands already, a sign of life is
    /// sent in it: if whoever is there has started anew, he answers that he does not know it.
    ///
    /// # Errors
    ///
    /// When no further handshake may be begun now.
    pub fn open(&mut self, now: Moment, address: SocketAddr) -> Result<(), NotSent> {
        match self.by_address.get(&address).copied() {
            Some(key) => {
                self.send_empty(now, key);
                Ok(())
            }
            None => self.begin(now, address),
        }
    }

    /// Begins a new handshake with every peer: our certificate has changed.
    pub fn renew(&mut self, now: Moment) {
        let addresses: Vec<SocketAddr> = self.peers.values().map(|entry| entry.address).collect();
        for address in addresses {
            let _busy = self.begin(now, address); // that peer sees it when the session is renewed
        }
    }

    /// Forgets the session with this node, whose right was taken away. It gets no sign.
    pub fn forget(&mut self, node: NodeId) {
        if let Some(key) = self.by_node.get(&node).copied() {
            self.remove_peer(key);
        }
    }

    /// Ends all sessions, with a word to each peer.
    pub fn close(&mut self, now: Moment) {
        let keys: Vec<SessionKey> = self.peers.keys().copied().collect();
        for key in keys {
            self.say_bye(now, key);
            self.remove_peer(key);
        }
    }

    /// What the caller has to do next. Call until `None` after everything else.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Peers with a session, and where each was heard last.
    pub fn peers(&self) -> impl Iterator<Item = (Peer, SocketAddr)> {
        self.peers.values().map(|entry| (entry.peer, entry.address))
    }

    /// Whether a session with this node stands, and where it was heard last.
    pub fn address_of(&self, node: NodeId) -> Option<SocketAddr> {
        let key = self.by_node.get(&node)?;
        self.peers.get(key).map(|entry| entry.address)
    }

    /// Panics when the tables contradict each other: for tests and simulations.
    pub fn check(&self) {
        assert!(self.peers.len() <= self.limits.sessions_max);
        assert!(self.openings.len() <= self.limits.openings_max);
        assert!(self.answers.len() <= self.limits.answers_max);
        assert_eq!(self.answers.len(), self.answer_at.len());
        let sessions: usize = self.peers.values().map(Entry::sessions).sum();
        let named = sessions + self.openings.len() + self.answers.len();
        assert_eq!(self.places.len(), named, "an index names nothing");
        let timers = self.peers.len() + self.openings.len() + self.answers.len();
        assert_eq!(self.timers.len(), timers, "a timer for nobody");
        for (node, key) in &self.by_node {
            let entry = self.peers.get(key);
            assert_eq!(entry.and_then(|entry| entry.peer.node()), Some(*node));
        }
        for (address, key) in &self.by_address {
            let entry = self.peers.get(key);
            assert_eq!(entry.map(|entry| entry.address), Some(*address));
        }
    }

    fn transmit(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        self.outputs.push_back(Output::Transmit { to, bytes });
    }

    /// A number that names nobody yet, for `place`.
    fn new_index(&mut self, place: Place) -> u32 {
        loop {
            let index = self.rng.next_u32();
            if let std::collections::btree_map::Entry::Vacant(free) = self.places.entry(index) {
                free.insert(place);
                return index;
            }
        }
    }
}
