//! The side that begins a handshake.
//!
//! Does:      one opening per address, repeated with growing pauses, with a cookie when asked for
//!            one; messages wait on it; the answer makes a session.
//! Does not:  believe an answer before its seal holds.
//! Bounds:    `Limits::openings_max`, `Limits::waiting_max`, `TRIES`, `BAD_ANSWERS_MAX`.
//! Trusts:    nobody; a forged cookie or answer costs a packet or some work, `BAD_ANSWERS_MAX`
//!            times at most.
//! Start at:  `Datagrams::begin`, `Datagrams::hear_answer`.

use super::peers::{Proof, Session};
use super::timers::Timer;
use super::{Datagrams, Destination, NotSent, Output, PROLOGUE, Place, Reason};
use crate::gate::{Gate, Peer};
use crate::handshake::{BadHandshake, FIRST_BYTES, Handshake};
use crate::packet::{COOKIE_BYTES, INDEX_BYTES, OPEN_HEADER_BYTES, Packet, SHORT_OPEN_BYTES};
use protocol::peer::SessionKey;
use protocol::{Moment, NodeId};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// The first pause before an opening is repeated; each further one is half as long again.
const PAUSE_MS: u64 = 400;
const PAUSE_MAX_MS: u64 = 2_000;
/// How often an opening is sent: for about 20 s in all.
const TRIES: u8 = 12;
/// How often it is padded, and so answered without a cookie. Later there is probably nobody, and
/// a short one is enough to be given a cookie.
const PADDED_TRIES: u8 = 2;
/// How long an opening waits for the other side's, which goes first.
const YIELD_MS: u64 = 2_000;
/// Forged answers that are looked at, and cookies.
const BAD_ANSWERS_MAX: u8 = 16;
const COOKIES_MAX: u8 = 4;
/// How long a message waits for a session: later, nobody wants it any more.
const WAITING_MS: u64 = 5_000;

/// A handshake that we began.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) index: u32,
    handshake: Handshake,
    /// Our ephemeral key: the smaller of two goes first.
    pub(super) mark: [u8; FIRST_BYTES],
    packet: Vec<u8>,
    tries: u8,
    yielded: bool,
    bad_answers: u8,
    cookies: u8,
    waiting: VecDeque<Waiting>,
    pub(super) wake_ms: u64,
}

/// A message for which there is no session yet.
#[derive(Debug)]
struct Waiting {
    node: Option<NodeId>,
    bytes: Vec<u8>,
    until_ms: u64,
}

/// The other side's number, payload and key.
fn read_answer(
    handshake: &mut Handshake,
    noise: &[u8],
) -> Result<(u32, Vec<u8>, SessionKey), BadHandshake> {
    let mut payload = handshake.read(noise)?;
    let index = *payload.first_chunk().ok_or(BadHandshake)?;
    payload.drain(..INDEX_BYTES);
    Ok((u32::from_le_bytes(index), payload, handshake.their_key()?))
}

impl Datagrams {
    /// Queues a message behind a handshake with `to.address`.
    pub(super) fn wait_for_session(
        &mut self,
        now: Moment,
        to: Destination,
        bytes: &[u8],
    ) -> Result<(), NotSent> {
        self.begin(now, to.address)?;
        let waiting_max = self.limits.waiting_max;
        let Some(opening) = self.openings.get_mut(&to.address) else {
            return Err(NotSent::Busy);
        };
        if opening.waiting.len() >= waiting_max {
            opening.waiting.pop_front();
            self.counters.waiting_dropped += 1;
        }
        opening.waiting.push_back(Waiting {
            node: to.node,
            bytes: bytes.to_vec(),
            until_ms: now.uptime_ms + WAITING_MS,
        });
        Ok(())
    }

    /// Begins a handshake with whoever is at `address`, unless one is under way.
    pub(super) fn begin(&mut self, now: Moment, address: SocketAddr) -> Result<(), NotSent> {
        if self.openings.contains_key(&address) {
            return Ok(());
        }
        if self.openings.len() >= self.limits.openings_max {
            self.counters.openings_full += 1;
            return Err(NotSent::Busy);
        }
        let Ok((handshake, noise)) = self.first_message() else {
            return Err(NotSent::Busy); // can't happen: our own key and pattern always fit
        };
        let index = self.new_index(Place::Opening);
        let packet = Packet::Open {
            padded: true,
            sender: index,
            cookie: [0; COOKIE_BYTES],
            noise: &noise,
        };
        let opening = Opening {
            index,
            handshake,
            mark: noise,
            packet: packet.encode(),
            tries: 0,
            yielded: false,
            bad_answers: 0,
            cookies: 0,
            waiting: VecDeque::new(),
            wake_ms: now.uptime_ms,
        };
        self.timers
            .insert((opening.wake_ms, Timer::Opening(address)));
        self.openings.insert(address, opening);
        self.counters.begun += 1;
        self.repeat_opening(now, address);
        Ok(())
    }

    fn first_message(&mut self) -> Result<(Handshake, [u8; FIRST_BYTES]), BadHandshake> {
        let mut handshake = Handshake::initiator(&self.secret, &mut self.rng, PROLOGUE)?;
        let mut noise = Vec::with_capacity(FIRST_BYTES);
        handshake.write(&[], &mut noise)?;
        Ok((handshake, noise.try_into().map_err(|_| BadHandshake)?))
    }

    /// Sends the opening again, or gives it up. Its timer has fired.
    pub(super) fn repeat_opening(&mut self, now: Moment, address: SocketAddr) {
        let Some(opening) = self.openings.get_mut(&address) else {
            return;
        };
        if opening.tries >= TRIES {
            self.counters.unanswered += 1;
            self.drop_opening(address);
            self.lose_silent_peer(now, address);
            let reason = Reason::NoAnswer;
            self.outputs.push_back(Output::Refused {
                address,
                by: None,
                reason,
            });
            return;
        }
        let pause = (0..opening.tries).fold(PAUSE_MS, |pause, _| pause + pause / 2);
        let pause = self.rng.around(pause.min(PAUSE_MAX_MS));
        if opening.tries >= PADDED_TRIES {
            opening.packet.truncate(SHORT_OPEN_BYTES);
        }
        opening.tries += 1;
        let bytes = opening.packet.clone();
        self.set_opening_timer(address, now.uptime_ms + pause);
        self.transmit(address, bytes);
    }

    fn set_opening_timer(&mut self, address: SocketAddr, wake_ms: u64) {
        if let Some(opening) = self.openings.get_mut(&address) {
            self.timers
                .remove(&(opening.wake_ms, Timer::Opening(address)));
            opening.wake_ms = wake_ms;
            self.timers.insert((wake_ms, Timer::Opening(address)));
        }
    }

    /// Both sides have opened. Says whether theirs goes first; ours then waits a while, once.
    pub(super) fn yields_to(
        &mut self,
        now: Moment,
        address: SocketAddr,
        theirs: &[u8; FIRST_BYTES],
    ) -> bool {
        let Some(opening) = self.openings.get_mut(&address) else {
            return true;
        };
        if opening.mark < *theirs {
            return false;
        }
        if !opening.yielded {
            opening.yielded = true;
            self.counters.yielded += 1;
            self.set_opening_timer(address, now.uptime_ms + YIELD_MS);
        }
        true
    }

    /// The other side has much to do, and wants to see that we receive at our address.
    pub(super) fn hear_cookie(
        &mut self,
        now: Moment,
        from: SocketAddr,
        receiver: u32,
        cookie: [u8; COOKIE_BYTES],
    ) {
        let Some(opening) = self.openings.get_mut(&from) else {
            return;
        };
        if opening.index != receiver || opening.cookies >= COOKIES_MAX {
            return;
        }
        opening.cookies += 1;
        let place = OPEN_HEADER_BYTES - COOKIE_BYTES..OPEN_HEADER_BYTES;
        opening.packet.truncate(SHORT_OPEN_BYTES);
        opening.packet[place].copy_from_slice(&cookie);
        let bytes = opening.packet.clone();
        let pause = self.rng.around(PAUSE_MS);
        self.set_opening_timer(from, now.uptime_ms + pause);
        self.transmit(from, bytes);
    }

    /// The answer to an opening: it proves the other side.
    pub(super) fn hear_answer(
        &mut self,
        now: Moment,
        gate: &dyn Gate,
        from: SocketAddr,
        receiver: u32,
        noise: &[u8],
    ) {
        let Some(opening) = self.openings.get_mut(&from) else {
            return;
        };
        if opening.index != receiver || opening.bad_answers >= BAD_ANSWERS_MAX {
            return;
        }
        let Ok((theirs, payload, key)) = read_answer(&mut opening.handshake, noise) else {
            opening.bad_answers += 1;
            self.counters.bad_seal += 1;
            return;
        };
        let verdict = if key == self.own_key {
            Err(Reason::Oneself)
        } else {
            gate.check(now, &key, &payload).map_err(Reason::Ours)
        };
        let peer = match verdict {
            Ok(peer) => peer,
            Err(reason) => {
                self.counters.refused += 1;
                self.drop_opening(from);
                self.lose_silent_peer(now, from);
                self.outputs.push_back(Output::Refused {
                    address: from,
                    by: None,
                    reason,
                });
                return;
            }
        };
        self.prove(now, &gate.payload(), from, (theirs, key, peer));
    }

    /// Answers the answer; the session stands from here on.
    fn prove(
        &mut self,
        now: Moment,
        payload: &[u8],
        address: SocketAddr,
        (theirs, key, peer): (u32, SessionKey, Peer),
    ) {
        let Some(mut opening) = self.take_opening(address) else {
            return;
        };
        let mut noise = Vec::new();
        let written = opening.handshake.write(payload, &mut noise);
        let Ok(channel) = written.and_then(|()| opening.handshake.finish()) else {
            self.places.remove(&opening.index);
            self.counters.bad_seal += 1;
            return;
        };
        let packet = Packet::Prove {
            receiver: theirs,
            noise: &noise,
        };
        let packet = packet.encode();
        self.transmit(address, packet.clone());
        let mut session = Session::new(now, channel, (opening.index, theirs), opening.mark);
        session.initiator = true;
        session.proof = Some(Proof::new(now, packet));
        self.places.insert(opening.index, Place::Session(key));
        self.install(now, key, (peer, address), session);
        self.send_waiting(now, key, peer, opening.waiting);
    }

    /// Messages that waited for a session with whoever is at an address.
    fn send_waiting(
        &mut self,
        now: Moment,
        key: SessionKey,
        peer: Peer,
        waiting: VecDeque<Waiting>,
    ) {
        for message in waiting {
            if message.until_ms < now.uptime_ms {
                self.counters.waiting_dropped += 1;
            } else if message.node.is_some() && message.node != peer.node() {
                self.counters.wrong_node += 1;
            } else {
                self.send_sealed(now, key, &message.bytes);
            }
        }
    }

    /// The other side's handshake came to a session first: ours is not needed, its messages go.
    pub(super) fn adopt_waiting(
        &mut self,
        now: Moment,
        address: SocketAddr,
        (key, peer): (SessionKey, Peer),
    ) {
        if let Some(opening) = self.take_opening(address) {
            self.places.remove(&opening.index);
            self.send_waiting(now, key, peer, opening.waiting);
        }
    }

    fn drop_opening(&mut self, address: SocketAddr) {
        if let Some(opening) = self.take_opening(address) {
            self.places.remove(&opening.index);
            self.counters.waiting_dropped += opening.waiting.len() as u64;
        }
    }

    fn take_opening(&mut self, address: SocketAddr) -> Option<Opening> {
        let opening = self.openings.remove(&address)?;
        self.timers
            .remove(&(opening.wake_ms, Timer::Opening(address)));
        Some(opening)
    }
}
