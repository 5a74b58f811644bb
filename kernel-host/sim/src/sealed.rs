//! Any machine behind real sessions: Noise handshakes, sealed datagrams, sealed streams.
//!
//! Does:      what the appliance does between the overlay and its sockets, in the simulator's
//!            world: a session before each message, streams made on demand and given up.
//! Does not:  run smoltcp or a database: the world's network and disk stand in for both.
//! Bounds:    `LINES_MAX` streams; messages of a stream wait for its handshake only.
//! Trusts:    the gate, which knows the world's stand-in for certificates.
//! Start at:  `Sealed`.

use crate::ids::{mix, stamp};
use crate::machine::{Ask, Birth, Machine, Opinion, Wish};
use protocol::peer::register::Council;
use protocol::peer::{Channel, Contact, Realm, Record, RecordKey, SessionKey};
use protocol::{Moment, NodeId, SiteId};
use session::{
    Datagrams, Destination, Gate, Limits, Output, Peer, Purpose, Refusal, Rng, Secret, Stream,
    StreamEvent,
};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

/// Streams at one time; more are refused, which the other side hears as a broken stream.
const LINES_MAX: usize = 128;
/// A stream that nobody uses is given up.
const IDLE_MS: u64 = 60_000;
/// A handshake that takes longer is given up.
const HANDSHAKE_MS: u64 = session::stream::HANDSHAKE_MS;

/// Shows the node's id, its site and a stamp that ties both to the session's key.
#[derive(Debug)]
struct Door {
    me: NodeId,
    site: SiteId,
    key: SessionKey,
}

impl Gate for Door {
    fn payload(&self) -> Vec<u8> {
        let mut shown = [self.me.bytes(), self.site.bytes()].concat();
        let signed = [&shown, self.key.0.as_slice()].concat();
        shown.extend_from_slice(&stamp(self.me, &signed).0);
        shown
    }

    fn check(&self, _now: Moment, key: &SessionKey, payload: &[u8]) -> Result<Peer, Refusal> {
        let (shown, seal) = payload.split_at_checked(32).ok_or(Refusal::Malformed)?;
        let (node, site) = shown.split_at(16);
        let ids: Option<([u8; 16], [u8; 16])> = node.try_into().ok().zip(site.try_into().ok());
        let (node, site) = ids.ok_or(Refusal::Malformed)?;
        let node = NodeId::from_bytes(node);
        let signed = [shown, key.0.as_slice()].concat();
        if stamp(node, &signed).0 != *seal {
            return Err(Refusal::Malformed);
        }
        Ok(Peer::Node {
            node,
            site: SiteId::from_bytes(site),
        })
    }
}

/// A stream, and who made it.
#[derive(Debug)]
struct Line {
    stream: Stream,
    address: SocketAddr,
    /// `None`: the other side made it, and has not proved itself yet.
    peer: Option<Contact>,
    is_ours: bool,
    waiting: VecDeque<Vec<u8>>,
    used_ms: u64,
}

/// Who made a stream, and the maker's number for it.
type LineId = (SocketAddr, bool, u32);

/// A machine behind sessions.
#[derive(Debug)]
pub struct Sealed<M> {
    inner: M,
    door: Door,
    secret: [u8; 32],
    rng: Rng,
    datagrams: Datagrams,
    lines: BTreeMap<LineId, Line>,
    next_line: u32,
    /// Nodes that discovery has found and that have no session yet.
    found: BTreeMap<SocketAddr, NodeId>,
    wishes: VecDeque<Wish>,
}

impl<M: Machine> Sealed<M> {
    /// Sends what the inner machine wants, through sessions.
    fn after(&mut self, now: Moment) {
        while let Some(wish) = self.inner.poll() {
            match wish {
                Wish::Send {
                    to,
                    address,
                    channel: Channel::Datagram,
                    bytes,
                } => {
                    let to = Destination {
                        node: Some(to),
                        address,
                    };
                    // Too many handshakes at once: lost, as any datagram may be.
                    let _busy = self.datagrams.send(now, to, &bytes);
                }
                Wish::Send {
                    to, address, bytes, ..
                } => self.send_on_line(now, to, address, bytes),
                other => self.wishes.push_back(other),
            }
        }
        self.drain_datagrams(now);
    }

    fn drain_datagrams(&mut self, now: Moment) {
        let mut is_heard = false;
        while let Some(output) = self.datagrams.poll_output() {
            match output {
                Output::Transmit { to, bytes } => self.wishes.push_back(Wish::Send {
                    to: self.door.me,
                    address: to,
                    channel: Channel::Datagram,
                    bytes,
                }),
                Output::Received { peer, from, bytes } => {
                    if let Peer::Node { node, site } = peer {
                        let from = Contact {
                            node,
                            site,
                            address: from,
                        };
                        self.inner.receive(now, from, Channel::Datagram, &bytes);
                        is_heard = true;
                    }
                }
                Output::Established { peer, address } => {
                    if let (Some(_), Peer::Node { node, site }) =
                        (self.found.remove(&address), peer)
                    {
                        let contact = Contact {
                            node,
                            site,
                            address,
                        };
                        self.inner.contact(now, contact);
                        is_heard = true;
                    }
                }
                Output::Refused { address, .. } => {
                    self.found.remove(&address);
                }
                Output::Anew { .. } | Output::Lost { .. } => {}
            }
        }
        if is_heard {
            self.after(now);
        }
    }

    fn send_on_line(&mut self, now: Moment, to: NodeId, address: SocketAddr, bytes: Vec<u8>) {
        let is_to = |line: &Line| line.is_ours && line.peer.is_some_and(|peer| peer.node == to);
        let known = self
            .lines
            .iter()
            .find(|(_, line)| is_to(line))
            .map(|(id, _)| *id);
        let id = match known {
            Some(id) => id,
            None => {
                let secret = Secret::new(self.secret);
                let stream = Stream::connect(&secret, &mut self.rng, Purpose::Overlay);
                let (Ok(stream), true) = (stream, self.lines.len() < LINES_MAX) else {
                    self.inner.unreachable(now, to, Channel::Stream);
                    return;
                };
                self.next_line += 1;
                let id = (address, true, self.next_line);
                let peer = Some(Contact {
                    node: to,
                    site: self.door.site,
                    address,
                });
                let line = Line {
                    stream,
                    address,
                    peer,
                    is_ours: true,
                    waiting: VecDeque::new(),
                    used_ms: now.uptime_ms,
                };
                self.lines.insert(id, line);
                id
            }
        };
        if let Some(line) = self.lines.get_mut(&id) {
            line.waiting.push_back(bytes);
            line.used_ms = now.uptime_ms;
        }
        self.write_line(id);
    }

    /// Hands sealed bytes of a stream to the world.
    fn write_line(&mut self, id: LineId) {
        let Some(line) = self.lines.get_mut(&id) else {
            return;
        };
        while line.stream.is_open()
            && let Some(message) = line.waiting.pop_front()
        {
            if line.stream.send_message(&message).is_err() {
                line.waiting.push_front(message);
                break;
            }
            flush(id, line, &mut self.wishes);
        }
        flush(id, line, &mut self.wishes);
    }

    /// Bytes of a stream have come.
    fn read_line(&mut self, now: Moment, from: SocketAddr, chunk: &[u8]) {
        let Some((&[by_sender, a, b, c, d], bytes)) = chunk.split_first_chunk::<5>() else {
            return;
        };
        let is_ours = by_sender == 0;
        let id = (from, is_ours, u32::from_be_bytes([a, b, c, d]));
        if !self.lines.contains_key(&id) {
            let secret = Secret::new(self.secret);
            let Ok(stream) = Stream::accept(&secret, &mut self.rng) else {
                return;
            };
            if is_ours || self.lines.len() >= LINES_MAX {
                return; // a stream that we have forgotten
            }
            let line = Line {
                stream,
                address: from,
                peer: None,
                is_ours: false,
                waiting: VecDeque::new(),
                used_ms: now.uptime_ms,
            };
            self.lines.insert(id, line);
        }
        let mut came = Vec::new();
        let mut is_broken = false;
        if let Some(line) = self.lines.get_mut(&id) {
            line.used_ms = now.uptime_ms;
            is_broken = take(line, now, &self.door, bytes, &mut came).is_none();
        }
        self.write_line(id);
        if is_broken && let Some(line) = self.lines.remove(&id) {
            self.lost(now, &line);
        }
        for (contact, message) in came {
            self.inner.receive(now, contact, Channel::Stream, &message);
        }
        self.after(now);
    }

    /// What a stream's owner is told when it is no more.
    fn lost(&mut self, now: Moment, line: &Line) {
        if let Some(peer) = line
            .peer
            .filter(|_| line.is_ours && !line.waiting.is_empty())
        {
            self.inner.unreachable(now, peer.node, Channel::Stream);
        }
    }

    fn give_up_lines(&mut self, now: Moment) {
        let is_late = |line: &Line| {
            let patience = if line.stream.is_open() {
                IDLE_MS
            } else {
                HANDSHAKE_MS
            };
            now.uptime_ms >= line.used_ms + patience
        };
        let late: Vec<LineId> = self
            .lines
            .iter()
            .filter(|(_, line)| is_late(line))
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            if let Some(line) = self.lines.remove(&id) {
                self.lost(now, &line);
            }
        }
    }
}

/// Feeds a stream; `None`: it is broken.
fn take(
    line: &mut Line,
    now: Moment,
    door: &Door,
    bytes: &[u8],
    came: &mut Vec<(Contact, Vec<u8>)>,
) -> Option<()> {
    line.stream.handle_bytes(now, door, bytes).ok()?;
    while let Some(event) = line.stream.poll_event() {
        match event {
            StreamEvent::Established {
                peer: Peer::Node { node, site },
                ..
            } => {
                let contact = Contact {
                    node,
                    site,
                    address: line.address,
                };
                // Somebody else lives at the address now.
                if line.is_ours && line.peer.is_some_and(|peer| peer.node != node) {
                    return None;
                }
                line.peer = Some(contact);
            }
            StreamEvent::Established { .. } | StreamEvent::Ended => return None,
        }
    }
    let peer = line.peer;
    while let Some(message) = line.stream.poll_message().ok()? {
        came.extend(peer.map(|peer| (peer, message)));
    }
    Some(())
}

/// Whole chunks for the world, which keeps their order. The first byte says whether the stream was
/// made by the chunk's receiver.
fn flush(id: LineId, line: &mut Line, wishes: &mut VecDeque<Wish>) {
    let (address, is_ours, number) = id;
    while !line.stream.wanted().is_empty() {
        let wanted = line.stream.wanted();
        let part = &wanted[..wanted.len().min(60_000)];
        let mut bytes = vec![u8::from(is_ours)];
        bytes.extend_from_slice(&number.to_be_bytes());
        bytes.extend_from_slice(part);
        let written = part.len();
        line.stream.wrote(written);
        wishes.push_back(Wish::Send {
            to: line
                .peer
                .map_or(NodeId::from_bytes([0; 16]), |peer| peer.node),
            address,
            channel: Channel::Stream,
            bytes,
        });
    }
}

impl<M: Machine> Machine for Sealed<M> {
    const TELLS_ALL: bool = M::TELLS_ALL;
    const HAS_SESSIONS: bool = true;

    fn start(now: Moment, birth: Birth<'_>) -> Self {
        let (me, seed) = (birth.me, birth.seed);
        let mut secret = [0; 32];
        for (at, word) in secret.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            *word = mix(seed ^ at as u64 ^ 0xfa7).to_be_bytes();
        }
        let mut rng_seed = secret;
        rng_seed.reverse();
        let key = Secret::new(secret).public();
        let mut rng = Rng::from_seed(rng_seed);
        let datagrams = Datagrams::new(Secret::new(secret), rng.fork(), Limits::default());
        let mut sealed = Self {
            inner: M::start(now, birth),
            door: Door {
                me: me.node,
                site: me.site,
                key,
            },
            secret,
            next_line: rng.next_u32(),
            rng,
            datagrams,
            lines: BTreeMap::new(),
            found: BTreeMap::new(),
            wishes: VecDeque::new(),
        };
        sealed.after(now);
        sealed
    }

    fn receive(&mut self, now: Moment, from: Contact, channel: Channel, bytes: &[u8]) {
        match channel {
            Channel::Datagram => {
                self.datagrams
                    .handle_datagram(now, &self.door, from.address, bytes);
                self.drain_datagrams(now);
            }
            Channel::Stream => self.read_line(now, from.address, bytes),
        }
    }

    fn unreachable(&mut self, now: Moment, peer: NodeId, channel: Channel) {
        let is_to = |line: &Line| line.peer.is_some_and(|other| other.node == peer);
        self.lines.retain(|_, line| !is_to(line));
        self.inner.unreachable(now, peer, channel);
        self.after(now);
    }

    fn contact(&mut self, now: Moment, contact: Contact) {
        if self.datagrams.address_of(contact.node) == Some(contact.address) {
            self.inner.contact(now, contact);
        } else if self.datagrams.open(now, contact.address).is_ok() {
            self.found.insert(contact.address, contact.node);
        }
        self.after(now);
    }

    fn ask(&mut self, now: Moment, ask: u64, what: &Ask) {
        self.inner.ask(now, ask, what);
        self.after(now);
    }

    fn timeout(&mut self, now: Moment) {
        self.datagrams.handle_timeout(now);
        if self
            .inner
            .next_timeout()
            .is_some_and(|due| due <= now.uptime_ms)
        {
            self.inner.timeout(now);
        }
        self.give_up_lines(now);
        self.after(now);
    }

    fn next_timeout(&self) -> Option<u64> {
        let lines = self.lines.values().map(|line| {
            line.used_ms
                + if line.stream.is_open() {
                    IDLE_MS
                } else {
                    HANDSHAKE_MS
                }
        });
        let others = [self.inner.next_timeout(), self.datagrams.next_timeout()];
        lines.chain(others.into_iter().flatten()).min()
    }

    fn poll(&mut self) -> Option<Wish> {
        self.wishes.pop_front()
    }

    fn council(&self) -> Option<&Council> {
        self.inner.council()
    }

    fn guards(&self) -> bool {
        self.inner.guards()
    }

    fn holds(&self, council: &Council) -> bool {
        self.inner.holds(council)
    }

    fn is_fenced(&self) -> bool {
        self.inner.is_fenced()
    }

    fn may_go(&self) -> bool {
        self.inner.may_go()
    }

    fn lease(&self, now: Moment) -> Option<u64> {
        self.inner.lease(now)
    }

    fn opinion(&self, of: NodeId) -> Opinion {
        self.inner.opinion(of)
    }

    fn is_lonely(&self) -> bool {
        self.inner.is_lonely()
    }

    fn others_there(&self) -> usize {
        self.inner.others_there()
    }

    fn record(&self, key: &RecordKey) -> Option<Record> {
        self.inner.record(key)
    }

    fn records_digest(&self, realm: Realm) -> u64 {
        self.inner.records_digest(realm)
    }

    fn memory_bytes(&self) -> usize {
        self.inner.memory_bytes()
    }

    fn payloads(&self) -> (u64, u64) {
        self.inner.payloads()
    }

    fn check(&self) {
        self.datagrams.check();
        self.inner.check();
    }
}
