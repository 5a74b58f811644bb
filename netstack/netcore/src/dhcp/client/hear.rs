//! What the client hears, and whose word counts.
//!
//! Does:      matches replies to the conversation; offers, acknowledgements, refusals, carrier and
//!            conflicts move the state.
//! Does not:  wait or repeat; `ask` does.
//! Bounds:    one reply, one change of state.
//! Trusts:    the chosen server, within its own conversation; the table is in `handle_nak`.
//! Start at:  `Client::handle_datagram`.

use std::net::Ipv4Addr;

use super::super::lease::{Lease, is_host};
use super::super::message::{Direction, Kind, Message};
use super::super::options::code;
use super::ask::RETRY_MS_MIN;
use super::{Asking, Client, LostReason, Offer, Output, State, Target};

/// After a DECLINE (RFC 2131 3.1.5).
const DECLINED_MS: u64 = 10_000;

/// The longest wait after a row of NAKs.
const NAK_RETRY_MS_MAX: u64 = 16_000;

impl Client {
    pub(super) fn handle_datagram(&mut self, now_ms: u64, from: Ipv4Addr, bytes: &[u8]) {
        let Ok(message) = Message::parse(bytes) else {
            self.counters.bad_messages += 1;
            return;
        };
        let transaction = match &self.state {
            State::Selecting(asking)
            | State::Requesting(asking, _)
            | State::Confirming(asking, _)
            | State::Bound(_, Some(asking)) => Some(asking.transaction),
            State::Bound(_, None) => None,
        };
        let ours = message.direction() == Direction::Reply
            && message.mac == self.settings.mac
            && Some(message.transaction) == transaction;
        if !ours {
            self.counters.foreign += 1;
            return;
        }
        match message.kind {
            Kind::Offer => self.handle_offer(now_ms, from, &message),
            Kind::Ack => self.handle_ack(now_ms, from, &message),
            Kind::Nak => self.handle_nak(now_ms, from, &message),
            _ => self.counters.unexpected += 1,
        }
    }

    pub(super) fn handle_offer(&mut self, now_ms: u64, from: Ipv4Addr, message: &Message) {
        let server = server_of(message, from);
        match &self.state {
            State::Selecting(asking)
                if asking.tries > 0 && is_host(message.yours) && is_host(server) =>
            {
                // The conversation keeps its number; its tries and times start again.
                let asking = Asking {
                    tries: 0,
                    sent_ms: now_ms,
                    next_ms: now_ms,
                    ..*asking
                };
                let offer = Offer {
                    address: message.yours,
                    server,
                    from,
                };
                self.request(now_ms, asking, offer);
            }
            _ => self.counters.unexpected += 1,
        }
    }

    pub(super) fn handle_ack(&mut self, now_ms: u64, from: Ipv4Addr, message: &Message) {
        let server = server_of(message, from);
        let (expected, asking, old) = match &self.state {
            State::Requesting(asking, offer) => (server == offer.server, asking, None),
            State::Confirming(asking, lease) => (asking.tries > 0, asking, Some(lease)),
            State::Bound(lease, Some(asking)) => (true, asking, Some(lease)),
            State::Selecting(_) | State::Bound(_, None) => {
                self.counters.unexpected += 1;
                return;
            }
        };
        let lease = Lease::read(message, server, asking.sent_ms, old);
        let Some(lease) = lease.filter(|_| expected) else {
            self.counters.unexpected += 1;
            return;
        };
        let changed = old.is_none_or(|old| !old.configures_like(&lease));
        self.naks_in_row = 0;
        self.searching_since_ms = now_ms;
        if changed {
            self.outputs.push_back(Output::Bound(lease.clone()));
        }
        self.state = State::Bound(lease, None);
    }

    /// Only a server whose word counts in this state can refuse us.
    pub(super) fn handle_nak(&mut self, now_ms: u64, from: Ipv4Addr, message: &Message) {
        let server = server_of(message, from);
        let counts = match &self.state {
            // Nothing was asked of anybody.
            State::Selecting(_) | State::Bound(_, None) => false,
            State::Requesting(_, offer) => server == offer.server || server == offer.from,
            // Whoever rules this wire may say that we are on the wrong one, even without a name.
            State::Confirming(asking, _) => asking.tries > 0,
            State::Bound(lease, Some(_)) => {
                let rebinding = lease.schedule.is_some_and(|s| now_ms >= s.rebind_ms);
                rebinding || server == lease.server
            }
        };
        if !counts {
            self.counters.unexpected += 1;
            return;
        }
        self.counters.naks += 1;
        // At once after the first; a server that always refuses must not make a storm.
        let wait_ms = match self.naks_in_row {
            0 => 0,
            row => (RETRY_MS_MIN << row.min(16)).min(NAK_RETRY_MS_MAX),
        };
        self.naks_in_row += 1;
        self.lose(now_ms, LostReason::Refused, wait_ms);
    }

    pub(super) fn handle_carrier_back(&mut self, now_ms: u64) {
        self.carrier = true;
        if self.has_expired(now_ms) {
            self.lose(now_ms, LostReason::Expired, 0);
        } else if let Some(lease) = self.lease().cloned() {
            // Perhaps it is another wire. The lease stays in use: most flaps last milliseconds.
            self.searching_since_ms = now_ms;
            let asking = self.new_asking(now_ms);
            self.state = State::Confirming(asking, lease);
        } else {
            self.search(now_ms, 0);
            self.searching_since_ms = now_ms;
        }
    }

    pub(super) fn handle_conflict(&mut self, now_ms: u64) {
        let Some(lease) = self.lease().cloned() else {
            return;
        };
        let asking = self.new_asking(now_ms);
        let mut message = self.message(Kind::Decline, &asking, now_ms);
        message
            .options
            .set_address(code::REQUESTED_ADDRESS, lease.address);
        message.options.set_address(code::SERVER_ID, lease.server);
        message.options.remove(code::PARAMETER_LIST);
        self.send(Target::Broadcast, &message);
        self.lose(now_ms, LostReason::Conflict, DECLINED_MS);
    }

    /// Back to the start after `wait_ms`, and tells the caller if it was using an address.
    pub(super) fn lose(&mut self, now_ms: u64, reason: LostReason, wait_ms: u64) {
        if self.lease().is_some() {
            self.outputs.push_back(Output::Lost(reason));
            self.searching_since_ms = now_ms;
        }
        self.search(now_ms, wait_ms);
    }

    pub(super) fn search(&mut self, now_ms: u64, wait_ms: u64) {
        let asking = self.new_asking(now_ms);
        self.state = State::Selecting(Asking {
            next_ms: now_ms + wait_ms,
            ..asking
        });
    }
}

/// The server identifier; a server that forgets it is known by its address.
fn server_of(message: &Message, from: Ipv4Addr) -> Ipv4Addr {
    message.options.address(code::SERVER_ID).unwrap_or(from)
}
