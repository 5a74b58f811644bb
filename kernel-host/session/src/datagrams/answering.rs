//! The side that answers a handshake.
//!
//! Does:      answers openings, the same one with the same answer; asks for cookies when there are
//!            many; a proof that holds makes a session.
//! Does not:  keep anything, or compute with keys, for openings beyond the rate.
//! Bounds:    `Limits::answers_max`, `Limits::answers_per_ip_max`, `REPEATS_MAX`, `ANSWER_MS`.
//! Trusts:    nobody: an opening's sender address may be forged until its proof comes.
//! Start at:  `Datagrams::hear_open`, `Datagrams::hear_proof`.

use super::peers::Session;
use super::timers::Timer;
use super::{Datagrams, Output, PROLOGUE, Place, Reason};
use crate::gate::{Gate, PAYLOAD_BYTES_MAX, Refusal};
use crate::handshake::{BadHandshake, Channel, FIRST_BYTES, Handshake};
use crate::packet::{COOKIE_BYTES, Packet, text};
use protocol::Moment;
use std::net::SocketAddr;

/// How long an answer waits for its proof.
const ANSWER_MS: u64 = 15_000;
/// Texts that are kept until the proof which they have overtaken comes, for one answer. One more
/// is dropped (`early_dropped`).
const EARLY_MAX: usize = 2;
/// How often one opening is answered, and a refusal repeated.
const REPEATS_MAX: u8 = 8;

/// A handshake that somebody else began.
#[derive(Debug)]
pub(super) struct Answer {
    from: SocketAddr,
    theirs: u32,
    mark: [u8; FIRST_BYTES],
    state: State,
    packet: Vec<u8>,
    repeats: u8,
    early: Vec<(u32, Vec<u8>)>,
    pub(super) wake_ms: u64,
}

#[derive(Debug)]
enum State {
    Waiting(Box<Handshake>),
    /// The proof held, but our gate said no; `packet` tells why.
    Refused,
}

impl Datagrams {
    /// Somebody wants a session.
    pub(super) fn hear_open(
        &mut self,
        now: Moment,
        gate: &dyn Gate,
        (from, theirs): (SocketAddr, u32),
        (cookie, noise): (&[u8; COOKIE_BYTES], &[u8; FIRST_BYTES]),
    ) {
        let known = self.answer_at.get(&(from, theirs)).copied();
        if known.is_some_and(|index| self.repeat_answer(index, noise)) {
            return;
        }
        if !self.may_answer(now, (from, theirs), cookie) || !self.yields_to(now, from, noise) {
            return;
        }
        if let Some(index) = known {
            self.forget_answer(index); // one of the two openings was forged or damaged
        }
        let mark = *noise;
        if self.answers.len() >= self.limits.answers_max {
            self.forget_oldest_answer();
        }
        let index = self.new_index(Place::Answer);
        let Ok((handshake, noise)) = self.second_message(gate, index, noise) else {
            self.counters.bad_seal += 1;
            self.places.remove(&index);
            return;
        };
        let packet = Packet::Answer {
            receiver: theirs,
            noise: &noise,
        };
        let packet = packet.encode();
        let answer = Answer {
            from,
            theirs,
            mark,
            state: State::Waiting(Box::new(handshake)),
            packet: packet.clone(),
            repeats: 0,
            early: Vec::new(),
            wake_ms: now.uptime_ms + ANSWER_MS,
        };
        self.timers.insert((answer.wake_ms, Timer::Answer(index)));
        self.answers.insert(index, answer);
        self.answer_at.insert((from, theirs), index);
        self.transmit(from, packet);
    }

    fn second_message(
        &mut self,
        gate: &dyn Gate,
        index: u32,
        noise: &[u8],
    ) -> Result<(Handshake, Vec<u8>), BadHandshake> {
        let payload = gate.payload();
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(BadHandshake);
        }
        let mut handshake = Handshake::responder(&self.secret, &mut self.rng, PROLOGUE)?;
        handshake.read(noise)?;
        let mut answer = Vec::new();
        let payload = [&index.to_le_bytes()[..], &payload].concat();
        handshake.write(&payload, &mut answer)?;
        Ok((handshake, answer))
    }

    /// If this is the same opening again, our answer was lost, or is still on its way.
    fn repeat_answer(&mut self, index: u32, mark: &[u8; FIRST_BYTES]) -> bool {
        let Some(answer) = self.answers.get_mut(&index) else {
            return false;
        };
        let same = answer.mark == *mark;
        if same && answer.repeats < REPEATS_MAX {
            answer.repeats += 1;
            let (to, bytes) = (answer.from, answer.packet.clone());
            self.transmit(to, bytes);
        }
        same
    }

    /// A text that has overtaken the proof which it needs.
    pub(super) fn keep_early(&mut self, from: SocketAddr, index: u32, text: (u32, &[u8])) {
        let Some(answer) = self.answers.get_mut(&index) else {
            return;
        };
        if answer.from == from && answer.early.len() < EARLY_MAX {
            answer.early.push((text.0, text.1.to_vec()));
        } else {
            self.counters.early_dropped += 1;
        }
    }

    /// Whether an answer would be no longer than the opening, or goes to somebody who has shown
    /// that he receives at his address. If neither, a cookie is sent.
    pub(super) fn may_speak(
        &mut self,
        now: Moment,
        whom: (SocketAddr, u32),
        (padded, cookie): (bool, &[u8; COOKIE_BYTES]),
    ) -> bool {
        let may = padded || self.cookie_holds(now, whom, cookie);
        if !may {
            self.send_cookie(now, whom);
        }
        may
    }

    /// Whether this opening is worth our work: the rate allows it, or its cookie holds.
    fn may_answer(
        &mut self,
        now: Moment,
        (from, theirs): (SocketAddr, u32),
        cookie: &[u8; COOKIE_BYTES],
    ) -> bool {
        if self.cookie_holds(now, (from, theirs), cookie) {
            let same_ip = self.answers.values();
            let same_ip = same_ip.filter(|answer| answer.from.ip() == from.ip());
            let may = same_ip.count() < self.limits.answers_per_ip_max
                && self.cookied_bucket.take(now.uptime_ms);
            self.counters.flood_dropped += u64::from(!may);
            return may;
        }
        let may = self.answer_bucket.take(now.uptime_ms);
        if !may {
            self.send_cookie(now, (from, theirs));
        }
        may
    }

    fn cookie_holds(
        &mut self,
        now: Moment,
        whom: (SocketAddr, u32),
        cookie: &[u8; COOKIE_BYTES],
    ) -> bool {
        let rng = &mut self.rng;
        self.cookies.holds(now.uptime_ms, rng, whom, cookie)
    }

    fn send_cookie(&mut self, now: Moment, (to, theirs): (SocketAddr, u32)) {
        let rng = &mut self.rng;
        let packet = Packet::Cookie {
            receiver: theirs,
            cookie: self.cookies.make(now.uptime_ms, rng, to, theirs),
        };
        self.counters.cookies_sent += 1;
        self.transmit(to, packet.encode());
    }

    fn forget_oldest_answer(&mut self) {
        let oldest = self.answers.iter().min_by_key(|(_, a)| a.wake_ms);
        if let Some(index) = oldest.map(|(index, _)| *index) {
            self.forget_answer(index);
            self.counters.answers_evicted += 1;
        }
    }

    /// No proof came, or it was the time of a refusal.
    pub(super) fn forget_answer(&mut self, index: u32) {
        self.places.remove(&index);
        self.take_answer(index);
    }

    fn take_answer(&mut self, index: u32) -> Option<Answer> {
        let answer = self.answers.remove(&index)?;
        self.timers.remove(&(answer.wake_ms, Timer::Answer(index)));
        self.answer_at.remove(&(answer.from, answer.theirs));
        Some(answer)
    }

    /// The initiator proves itself.
    pub(super) fn hear_proof(
        &mut self,
        now: Moment,
        gate: &dyn Gate,
        from: SocketAddr,
        receiver: u32,
        noise: &[u8],
    ) {
        if let Some(Place::Session(key)) = self.places.get(&receiver).copied() {
            self.confirm_again(now, key, receiver);
            return;
        }
        let Some(answer) = self.answers.get_mut(&receiver) else {
            self.hint_unknown(now, from, receiver);
            return;
        };
        if answer.from != from {
            return;
        }
        let State::Waiting(handshake) = &mut answer.state else {
            let mark = answer.mark;
            self.repeat_answer(receiver, &mark); // the refusal
            return;
        };
        let Ok(payload) = handshake.read(noise) else {
            // `snow` can't read another third message after a bad one. The initiator repeats its
            // own, is told that it is not known, and opens anew.
            self.counters.bad_seal += 1;
            self.forget_answer(receiver);
            return;
        };
        self.judge(now, gate, receiver, &payload);
    }

    /// The proof holds; the gate decides.
    fn judge(&mut self, now: Moment, gate: &dyn Gate, index: u32, payload: &[u8]) {
        let Some(answer) = self.take_answer(index) else {
            return;
        };
        let State::Waiting(handshake) = answer.state else {
            return;
        };
        let key = handshake.their_key();
        let channel = handshake.finish();
        let (Ok(key), Ok(channel)) = (key, channel) else {
            self.places.remove(&index);
            return;
        };
        if key == self.own_key {
            self.places.remove(&index);
            return;
        }
        match gate.check(now, &key, payload) {
            Ok(peer) => {
                let indices = (index, answer.theirs);
                let session = Session::new(now, channel, indices, answer.mark);
                self.places.insert(index, Place::Session(key));
                self.install(now, key, (peer, answer.from), session);
                self.send_empty(now, key); // or else the other side repeats its proof
                self.adopt_waiting(now, answer.from, (key, peer));
                for (number, sealed) in answer.early {
                    self.hear_data(now, answer.from, (index, number), &sealed);
                }
            }
            Err(refusal) => {
                let whom = (answer.from, answer.theirs, answer.mark);
                self.refuse(now, index, whom, (&channel, refusal));
            }
        }
    }

    /// Tells the initiator why, and again when it repeats its proof.
    fn refuse(
        &mut self,
        now: Moment,
        index: u32,
        (from, theirs, mark): (SocketAddr, u32, [u8; FIRST_BYTES]),
        (channel, refusal): (&Channel, Refusal),
    ) {
        self.counters.refused += 1;
        let mut packet = Packet::data_header(theirs, 0);
        let words = [text::REFUSED, refusal.number()];
        if channel.seal(0, &words, &mut packet).is_err() {
            self.places.remove(&index);
            return;
        }
        let answer = Answer {
            from,
            theirs,
            mark,
            state: State::Refused,
            packet: packet.clone(),
            repeats: 0,
            early: Vec::new(),
            wake_ms: now.uptime_ms + ANSWER_MS,
        };
        self.timers.insert((answer.wake_ms, Timer::Answer(index)));
        self.answer_at.insert((from, theirs), index);
        self.answers.insert(index, answer);
        self.transmit(from, packet);
        self.outputs.push_back(Output::Refused {
            address: from,
            by: None,
            reason: Reason::Ours(refusal),
        });
    }
}
