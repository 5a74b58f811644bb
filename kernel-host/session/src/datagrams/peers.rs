//! Peers with whom a session stands.
//!
//! Does:      up to three sessions a peer: the one in use, the one before it, and one that the
//!            other side has not confirmed; messages out and in; roaming.
//! Does not:  begin or answer handshakes.
//! Bounds:    `Limits::sessions_max`, `Limits::strangers_max`.
//! Trusts:    what a session has opened; an `unknown` hint only to open anew beside the session.
//! Start at:  `Entry`, then `Datagrams::install`, `Datagrams::hear_data`.

use super::timers::Timer;
use super::window::Window;
use super::{Datagrams, Output, Place, Reason};
use crate::gate::{Peer, Refusal};
use crate::handshake::{Channel, FIRST_BYTES};
use crate::packet::{Packet, text};
use protocol::Moment;
use protocol::peer::SessionKey;
use std::net::SocketAddr;

/// How long the session before is heard, after it was replaced or heard last.
pub(super) const PREVIOUS_MS: u64 = 10_000;
/// A session refuses to work at this age, in case its renewal never succeeded.
pub(super) const AGE_MAX_MS: u64 = 300_000;
/// And after so many texts one way: far below half of the window's 32 bits.
const NUMBERS_MAX: u64 = 1 << 31;
/// Two handshakes, one begun by each side, within this time were meant as one.
const TWIN_MS: u64 = 5_000;
/// Between two handshakes with a peer for the same hint.
const HINT_MS: u64 = 2_000;
/// A peer silent for so long may have moved to the other address that is known for it.
const MOVED_MS: u64 = 3_000;
/// Between two confirmations of one session.
const CONFIRM_MS: u64 = 100;

/// One pair of keys with a peer.
#[derive(Debug)]
pub(super) struct Session {
    channel: Channel,
    pub(super) ours: u32,
    theirs: u32,
    pub(super) initiator: bool,
    /// The initiator's ephemeral key: of twins, the smaller is used.
    mark: [u8; FIRST_BYTES],
    pub(super) born_ms: u64,
    pub(super) next_number: u64,
    window: Window,
    /// Our last handshake message, while nothing shows that it has arrived.
    pub(super) proof: Option<Proof>,
}

/// A handshake's last message, repeated until the other side says something.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) packet: Vec<u8>,
    pub(super) tries: u8,
    pub(super) next_ms: u64,
}

/// A peer.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) peer: Peer,
    pub(super) address: SocketAddr,
    pub(super) current: Session,
    /// Still heard, until this time.
    pub(super) previous: Option<(Session, u64)>,
    /// Ours, not yet confirmed by them.
    pub(super) next: Option<Session>,
    pub(super) heard_ms: u64,
    pub(super) used_ms: u64,
    /// Since when we have heard messages and said nothing.
    pub(super) owes_since_ms: Option<u64>,
    /// Since when we have sent messages and heard nothing.
    pub(super) unanswered_since_ms: Option<u64>,
    /// When a handshake beside the session was begun last.
    pub(super) reopened_ms: u64,
    confirmed_ms: u64,
    pub(super) wake_ms: u64,
}

/// What a sealed text came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Current,
    Previous,
    Next,
}

impl Proof {
    pub(super) fn new(now: Moment, packet: Vec<u8>) -> Self {
        Self {
            packet,
            tries: 1,
            next_ms: now.uptime_ms + super::timers::PROOF_PAUSE_MS,
        }
    }
}

impl Session {
    pub(super) fn new(
        now: Moment,
        channel: Channel,
        (ours, theirs): (u32, u32),
        mark: [u8; FIRST_BYTES],
    ) -> Self {
        Self {
            channel,
            ours,
            theirs,
            initiator: false,
            mark,
            born_ms: now.uptime_ms,
            next_number: 0,
            window: Window::new(),
            proof: None,
        }
    }

    fn is_worn_out(&self, now_ms: u64) -> bool {
        now_ms > self.born_ms + AGE_MAX_MS || self.next_number >= NUMBERS_MAX
    }

    /// The packet for a text of this kind.
    fn seal(&mut self, kind: u8, bytes: &[u8]) -> Option<Vec<u8>> {
        let low = u32::try_from(self.next_number & 0xffff_ffff).ok()?;
        let mut packet = Packet::data_header(self.theirs, low);
        let mut text = Vec::with_capacity(1 + bytes.len());
        text.push(kind);
        text.extend_from_slice(bytes);
        self.channel
            .seal(self.next_number, &text, &mut packet)
            .ok()?;
        self.next_number += 1;
        Some(packet)
    }
}

impl Entry {
    pub(super) fn sessions(&self) -> usize {
        1 + usize::from(self.previous.is_some()) + usize::from(self.next.is_some())
    }

    fn slot(&mut self, index: u32) -> Option<(Slot, &mut Session)> {
        let current = Some((Slot::Current, &mut self.current));
        let previous = self.previous.as_mut().map(|(s, _)| (Slot::Previous, s));
        let next = self.next.as_mut().map(|session| (Slot::Next, session));
        [current, previous, next]
            .into_iter()
            .flatten()
            .find(|(_, session)| session.ours == index)
    }
}

impl Datagrams {
    /// A handshake has come to a session.
    pub(super) fn install(
        &mut self,
        now: Moment,
        key: SessionKey,
        (peer, address): (Peer, SocketAddr),
        session: Session,
    ) {
        self.counters.established += 1;
        let known = self.peers.get(&key).map(|entry| entry.peer);
        if known.is_some() {
            self.add_session(now, key, session);
        } else {
            self.make_room(peer);
            self.add_peer(now, key, (peer, address), session);
        }
        self.name(key, peer);
        self.move_to(key, address);
        self.replaces_silent(address, key);
        if let Some(entry) = self.peers.get_mut(&key) {
            entry.peer = peer;
            entry.heard_ms = now.uptime_ms;
            entry.unanswered_since_ms = None;
        }
        self.outputs.push_back(match known == Some(peer) {
            true => Output::Anew { peer },
            false => Output::Established { peer, address },
        });
        self.schedule(now, key);
    }

    fn add_peer(
        &mut self,
        now: Moment,
        key: SessionKey,
        (peer, address): (Peer, SocketAddr),
        session: Session,
    ) {
        let entry = Entry {
            peer,
            address,
            current: session,
            previous: None,
            next: None,
            heard_ms: now.uptime_ms,
            used_ms: now.uptime_ms,
            owes_since_ms: None,
            unanswered_since_ms: None,
            reopened_ms: 0,
            confirmed_ms: 0,
            wake_ms: u64::MAX,
        };
        self.timers.insert((u64::MAX, Timer::Peer(key)));
        self.by_address.insert(address, key);
        self.peers.insert(key, entry);
    }

    /// A further session with a known peer.
    fn add_session(&mut self, now: Moment, key: SessionKey, session: Session) {
        let Some(entry) = self.peers.get_mut(&key) else {
            return;
        };
        self.counters.rekeyed += 1;
        let until = now.uptime_ms + PREVIOUS_MS;
        let current = &entry.current;
        let twins = current.initiator != session.initiator
            && now.uptime_ms < current.born_ms + TWIN_MS
            && current.proof.is_none();
        let gone = if twins && current.mark < session.mark {
            entry.previous.replace((session, until)).map(|(s, _)| s)
        } else if session.initiator {
            entry.next.replace(session)
        } else {
            let before = std::mem::replace(&mut entry.current, session);
            entry.previous.replace((before, until)).map(|(s, _)| s)
        };
        if let Some(session) = gone {
            self.places.remove(&session.ours);
        }
    }

    /// Makes `node` mean this key. A node that shows a new key has none but that.
    fn name(&mut self, key: SessionKey, peer: Peer) {
        let before = self.peers.get(&key).and_then(|entry| entry.peer.node());
        if let Some(node) = before.filter(|node| Some(*node) != peer.node()) {
            self.by_node.remove(&node);
        }
        if let Some(node) = peer.node()
            && let Some(other) = self.by_node.insert(node, key)
            && other != key
        {
            self.remove_peer(other);
        }
    }

    /// The peer that was at this address and no longer answers has been replaced by another.
    fn replaces_silent(&mut self, address: SocketAddr, key: SessionKey) {
        let others = self.peers.iter().filter(|(other, entry)| {
            **other != key && entry.address == address && entry.unanswered_since_ms.is_some()
        });
        let others: Vec<SessionKey> = others.map(|(other, _)| *other).collect();
        for other in others {
            self.lose(other);
        }
    }

    /// Room for one more peer: strangers go first, then whoever was heard of longest ago.
    fn make_room(&mut self, newcomer: Peer) {
        let is_stranger = |entry: &Entry| entry.peer.node().is_none();
        let strangers = self.peers.values().filter(|e| is_stranger(e)).count();
        let full = self.peers.len() >= self.limits.sessions_max;
        let crowded = newcomer.node().is_none() && strangers >= self.limits.strangers_max;
        if !full && !crowded {
            return;
        }
        let oldest = self.peers.iter().min_by_key(|(_, entry)| {
            let stays = strangers > 0 && !is_stranger(entry);
            (stays, entry.heard_ms)
        });
        if let Some(key) = oldest.map(|(key, _)| *key) {
            self.counters.sessions_evicted += 1;
            self.lose(key);
        }
    }

    /// Ends the sessions with a peer, and says so.
    pub(super) fn lose(&mut self, key: SessionKey) {
        if let Some(entry) = self.remove_peer(key) {
            self.outputs.push_back(Output::Lost {
                peer: entry.peer,
                address: entry.address,
            });
        }
    }

    pub(super) fn remove_peer(&mut self, key: SessionKey) -> Option<Entry> {
        let entry = self.peers.remove(&key)?;
        let others = [entry.previous.as_ref().map(|(s, _)| s), entry.next.as_ref()];
        for session in others.into_iter().flatten().chain([&entry.current]) {
            self.places.remove(&session.ours);
        }
        self.timers.remove(&(entry.wake_ms, Timer::Peer(key)));
        if let Some(node) = entry.peer.node()
            && self.by_node.get(&node) == Some(&key)
        {
            self.by_node.remove(&node);
        }
        if self.by_address.get(&entry.address) == Some(&key) {
            self.by_address.remove(&entry.address);
        }
        Some(entry)
    }

    fn move_to(&mut self, key: SessionKey, address: SocketAddr) {
        let Some(entry) = self.peers.get_mut(&key) else {
            return;
        };
        if entry.address != address {
            if self.by_address.get(&entry.address) == Some(&key) {
                self.by_address.remove(&entry.address);
            }
            entry.address = address;
            self.counters.roamed += 1;
        }
        self.by_address.insert(address, key);
    }

    /// Sends a message in the peer's session. `false`: it has none that works.
    pub(super) fn send_sealed(&mut self, now: Moment, key: SessionKey, bytes: &[u8]) -> bool {
        let sent = self.send_text(now, key, (text::MESSAGE, bytes));
        if let Some(entry) = self.peers.get_mut(&key).filter(|_| sent) {
            self.counters.sent += 1;
            entry.used_ms = now.uptime_ms;
            if entry.unanswered_since_ms.is_none() {
                entry.unanswered_since_ms = Some(now.uptime_ms);
            }
            self.schedule(now, key);
        }
        sent
    }

    pub(super) fn send_empty(&mut self, now: Moment, key: SessionKey) {
        self.send_text(now, key, (text::EMPTY, &[]));
    }

    pub(super) fn say_bye(&mut self, now: Moment, key: SessionKey) {
        self.send_text(now, key, (text::BYE, &[]));
    }

    fn send_text(&mut self, now: Moment, key: SessionKey, (kind, bytes): (u8, &[u8])) -> bool {
        let Some(entry) = self.peers.get_mut(&key) else {
            return false;
        };
        if entry.current.is_worn_out(now.uptime_ms) {
            return false;
        }
        let Some(packet) = entry.current.seal(kind, bytes) else {
            return false;
        };
        entry.owes_since_ms = None;
        let to = entry.address;
        self.transmit(to, packet);
        true
    }

    /// A message went to where the peer was heard last; its sender knows another address. Where
    /// the peer is silent, that address is tried too.
    pub(super) fn look_at_other_address(
        &mut self,
        now: Moment,
        key: SessionKey,
        address: SocketAddr,
    ) {
        let silent = self.peers.get(&key).is_some_and(|entry| {
            entry.address != address
                && entry.unanswered_since_ms.is_some()
                && now.uptime_ms > entry.heard_ms + MOVED_MS
        });
        if silent {
            // When too many handshakes are under way, the next message asks again.
            let _busy = self.begin(now, address);
        }
    }

    /// A sealed text.
    pub(super) fn hear_data(
        &mut self,
        now: Moment,
        from: SocketAddr,
        (receiver, low): (u32, u32),
        sealed: &[u8],
    ) {
        let key = match self.places.get(&receiver) {
            Some(Place::Session(key)) => *key,
            Some(Place::Opening) => return,
            Some(Place::Answer) => {
                self.keep_early(from, receiver, (low, sealed));
                return;
            }
            None => {
                self.hint_unknown(now, from, receiver);
                return;
            }
        };
        let Some(entry) = self.peers.get_mut(&key) else {
            return;
        };
        let Some((slot, session)) = entry.slot(receiver) else {
            return;
        };
        let number = session.window.whole(low);
        if !session.window.may_take(number) {
            self.counters.replayed += 1;
            return;
        }
        let Ok(text) = session.channel.open(number, sealed) else {
            self.counters.bad_seal += 1;
            return;
        };
        let newest = session.window.is_newest(number);
        session.window.take(number);
        self.opened(now, key, slot);
        if newest && slot != Slot::Previous {
            self.move_to(key, from);
        }
        self.hear_text(now, key, from, &text);
    }

    /// A text of this peer was opened: it is alive, and has what its session needs.
    fn opened(&mut self, now: Moment, key: SessionKey, slot: Slot) {
        let Some(entry) = self.peers.get_mut(&key) else {
            return;
        };
        entry.heard_ms = now.uptime_ms;
        entry.unanswered_since_ms = None;
        let until = now.uptime_ms + PREVIOUS_MS;
        let mut gone = None;
        match slot {
            Slot::Current => entry.current.proof = None,
            Slot::Previous => {
                if let Some((_, end)) = &mut entry.previous {
                    *end = until;
                }
            }
            Slot::Next => {
                if let Some(mut next) = entry.next.take() {
                    next.proof = None;
                    let before = std::mem::replace(&mut entry.current, next);
                    gone = entry.previous.replace((before, until));
                }
            }
        }
        if let Some((session, _)) = gone {
            self.places.remove(&session.ours);
        }
    }

    fn hear_text(&mut self, now: Moment, key: SessionKey, from: SocketAddr, text: &[u8]) {
        let Some(entry) = self.peers.get_mut(&key) else {
            return;
        };
        match text {
            [text::MESSAGE, message @ ..] => {
                self.counters.received += 1;
                entry.used_ms = now.uptime_ms;
                if entry.owes_since_ms.is_none() {
                    entry.owes_since_ms = Some(now.uptime_ms);
                }
                let (peer, bytes) = (entry.peer, message.to_vec());
                self.outputs
                    .push_back(Output::Received { peer, from, bytes });
            }
            [text::REFUSED, number, ..] => {
                self.counters.refused_by_peer += 1;
                let refused = Output::Refused {
                    address: entry.address,
                    by: Some(entry.peer),
                    reason: Reason::Theirs(Refusal::from_number(*number)),
                };
                self.lose(key);
                self.outputs.push_back(refused);
                return;
            }
            [text::BYE, ..] => {
                self.lose(key);
                return;
            }
            _ => {} // a sign of life, or a kind of a later version
        }
        self.schedule(now, key);
    }

    /// Tells whoever is there that we have no session by this number.
    pub(super) fn hint_unknown(&mut self, now: Moment, from: SocketAddr, receiver: u32) {
        self.counters.unknown += 1;
        if self.unknown_bucket.take(now.uptime_ms) {
            self.counters.unknown_sent += 1;
            self.transmit(from, Packet::Unknown { receiver }.encode());
        }
    }

    /// A peer does not know the session that we used. Perhaps it has started anew.
    pub(super) fn hear_unknown(&mut self, now: Moment, from: SocketAddr, receiver: u32) {
        let Some(key) = self.by_address.get(&from).copied() else {
            return;
        };
        let Some(entry) = self.peers.get_mut(&key) else {
            return;
        };
        let sessions = [Some(&entry.current), entry.next.as_ref()];
        let ours = sessions.into_iter().flatten().any(|s| s.theirs == receiver);
        if ours && now.uptime_ms >= entry.reopened_ms + HINT_MS {
            entry.reopened_ms = now.uptime_ms;
            let _busy = self.begin(now, from);
        }
    }

    /// A proof that was taken has come again: our sign of life was lost.
    pub(super) fn confirm_again(&mut self, now: Moment, key: SessionKey, index: u32) {
        let Some(entry) = self.peers.get_mut(&key) else {
            return;
        };
        if entry.current.ours == index && now.uptime_ms >= entry.confirmed_ms + CONFIRM_MS {
            entry.confirmed_ms = now.uptime_ms;
            self.send_empty(now, key);
        }
    }
}
