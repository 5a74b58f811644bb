//! What happens when nothing happens.
//!
//! Does:      repeats openings and proofs; says something to who talks to us; opens anew with who
//!            has become silent; renews sessions that are in use and drops those that are not.
//! Does not:  look at peers whose time has not come: each has one place in one ordered set.
//! Bounds:    one timer for each peer, opening and answer.
//! Trusts:    its caller for the time, which never goes back.
//! Start at:  `Datagrams::handle_timeout`, `Entry::deadline`.

use super::peers::{AGE_MAX_MS, Entry, Session};
use super::{Datagrams, Limits};
use protocol::Moment;
use protocol::peer::SessionKey;
use std::net::SocketAddr;

/// Who has heard messages says something within this time.
const KEEPALIVE_MS: u64 = 2_500;
/// Who has said something and heard nothing for this long opens anew.
const UNANSWERED_MS: u64 = 6_000;
/// A session that nothing was heard in for this long is dropped.
const IDLE_MS: u64 = 180_000;
/// A session is renewed only while it is in use: a message within this time.
const IN_USE_MS: u64 = 60_000;
/// The first pause before a proof is repeated; each further one is twice as long.
pub(super) const PROOF_PAUSE_MS: u64 = 300;
const PROOF_TRIES: u8 = 6;
/// Between two attempts to renew a session.
const RENEWAL_PAUSE_MS: u64 = 15_000;

/// Whose time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Opening(SocketAddr),
    Answer(u32),
    Peer(SessionKey),
}

impl Entry {
    /// When something is due for this peer.
    fn deadline(&self, limits: &Limits) -> u64 {
        let proofs = [Some(&self.current), self.next.as_ref()];
        let proofs = proofs
            .into_iter()
            .flatten()
            .filter_map(|s| s.proof.as_ref());
        let others = [
            self.owes_since_ms.map(|since| since + KEEPALIVE_MS),
            self.reopen_ms(),
            self.renewal_ms(limits),
            self.previous.as_ref().map(|(_, until)| *until),
            Some(self.heard_ms + IDLE_MS),
            Some(self.current.born_ms + AGE_MAX_MS),
        ];
        proofs
            .map(|proof| proof.next_ms)
            .chain(others.into_iter().flatten())
            .min()
            .unwrap_or(u64::MAX)
    }

    /// When to open anew, because nothing is heard.
    fn reopen_ms(&self) -> Option<u64> {
        let since = self.unanswered_since_ms?;
        Some((since + UNANSWERED_MS).max(self.reopened_ms + UNANSWERED_MS))
    }

    /// When to renew the session, while it is in use.
    fn renewal_ms(&self, limits: &Limits) -> Option<u64> {
        let age = if self.current.initiator {
            limits.rekey_after_ms
        } else {
            limits.rekey_after_ms + limits.rekey_after_ms / 4
        };
        let due = if self.current.next_number >= limits.rekey_after_messages {
            0
        } else {
            self.current.born_ms + age
        };
        let due = due.max(self.reopened_ms + RENEWAL_PAUSE_MS);
        (self.next.is_none() && due <= self.used_ms + IN_USE_MS).then_some(due)
    }
}

impl Datagrams {
    /// Time passed. Early or repeated calls are harmless.
    pub fn handle_timeout(&mut self, now: Moment) {
        while let Some((wake_ms, timer)) = self.timers.first().copied() {
            if wake_ms > now.uptime_ms {
                break;
            }
            match timer {
                Timer::Opening(address) => self.repeat_opening(now, address),
                Timer::Answer(index) => self.forget_answer(index),
                Timer::Peer(key) => self.attend(now, key),
            }
        }
    }

    /// When `handle_timeout` is due, in milliseconds of uptime. `None`: nothing to wait for.
    pub fn next_timeout(&self) -> Option<u64> {
        let (wake_ms, _) = self.timers.first()?;
        Some(*wake_ms)
    }

    /// Sets a peer's timer to its deadline.
    pub(super) fn schedule(&mut self, now: Moment, key: SessionKey) {
        if let Some(entry) = self.peers.get_mut(&key) {
            let wake_ms = entry.deadline(&self.limits).max(now.uptime_ms + 1);
            if wake_ms != entry.wake_ms {
                self.timers.remove(&(entry.wake_ms, Timer::Peer(key)));
                entry.wake_ms = wake_ms;
                self.timers.insert((wake_ms, Timer::Peer(key)));
            }
        }
    }

    /// Does what is due for a peer.
    fn attend(&mut self, now: Moment, key: SessionKey) {
        let now_ms = now.uptime_ms;
        let Some(entry) = self.peers.get_mut(&key) else {
            return;
        };
        let worn_out = now_ms >= entry.current.born_ms + AGE_MAX_MS;
        if worn_out || now_ms >= entry.heard_ms + IDLE_MS {
            self.lose(key);
            return;
        }
        if let Some((session, _)) = entry.previous.take_if(|(_, until)| now_ms >= *until) {
            self.places.remove(&session.ours);
        }
        if !self.repeat_proofs(now, key) {
            self.lose(key);
            return;
        }
        self.keep_alive(now, key);
        self.schedule(now, key);
    }

    fn keep_alive(&mut self, now: Moment, key: SessionKey) {
        let now_ms = now.uptime_ms;
        let Some(entry) = self.peers.get_mut(&key) else {
            return;
        };
        let due = |at: Option<u64>| at.is_some_and(|at| now_ms >= at);
        let says = due(entry.owes_since_ms.map(|since| since + KEEPALIVE_MS));
        let reopens = due(entry.reopen_ms()) || due(entry.renewal_ms(&self.limits));
        if reopens {
            entry.reopened_ms = now_ms;
            let address = entry.address;
            let _busy = self.begin(now, address); // tried again after the same pause
        }
        if says {
            self.send_empty(now, key);
        }
        if let Some(entry) = self.peers.get_mut(&key).filter(|_| says) {
            entry.owes_since_ms = None; // also where the session was too worn out to say it
        }
    }

    /// Repeats what is due. `false`: the other side never took the only session's proof.
    fn repeat_proofs(&mut self, now: Moment, key: SessionKey) -> bool {
        let Some(entry) = self.peers.get_mut(&key) else {
            return true;
        };
        let address = entry.address;
        let mut repeated = Vec::new();
        if !repeat(&mut entry.current, now.uptime_ms, &mut repeated) {
            return false;
        }
        let keeps = |next: &mut Session| repeat(next, now.uptime_ms, &mut repeated);
        let gone = match entry.next.as_mut().map(keeps) {
            Some(false) => entry.next.take(),
            _ => None,
        };
        if let Some(session) = gone {
            self.places.remove(&session.ours);
        }
        for packet in repeated {
            self.transmit(address, packet);
        }
        true
    }

    /// A handshake with whoever is at `address` failed: a peer there that is silent is lost.
    pub(super) fn lose_silent_peer(&mut self, now: Moment, address: SocketAddr) {
        let Some(key) = self.by_address.get(&address).copied() else {
            return;
        };
        let silent = self.peers.get(&key).and_then(|e| e.unanswered_since_ms);
        if silent.is_some_and(|since| now.uptime_ms >= since + UNANSWERED_MS) {
            self.lose(key);
        }
    }
}

/// Adds the session's proof to `out` if it is due. `false`: it was tried often enough.
fn repeat(session: &mut Session, now_ms: u64, out: &mut Vec<Vec<u8>>) -> bool {
    let Some(proof) = session.proof.as_mut().filter(|p| now_ms >= p.next_ms) else {
        return true;
    };
    if proof.tries >= PROOF_TRIES {
        return false;
    }
    proof.next_ms = now_ms + (PROOF_PAUSE_MS << proof.tries);
    proof.tries += 1;
    out.push(proof.packet.clone());
    true
}
