//! What the client sends, and when it sends it again.
//!
//! Does:      writes each message of the conversation and sets the time of its repeat.
//! Does not:  read replies; `hear` does.
//! Bounds:    the constants below; messages lie at least `RETRY_MS_MIN` less a quarter apart.
//! Trusts:    the state that `hear` left.
//! Start at:  `Client::discover`, then `Client::asked`.

use super::super::lease::Lease;
use super::super::message::{Kind, MESSAGE_LEN_MAX, Message};
use super::super::options::code;
use super::{Asking, Client, Offer, Output, State, Target};

/// While the clients of a rack all boot behind slow spanning trees, ask often.
const FAST_MS: u64 = 90_000;
/// The longest wait between questions in that time, and after it.
const FAST_RETRY_MS_MAX: u64 = 4_000;
const RETRY_MS_MAX: u64 = 64_000;
pub(super) const RETRY_MS_MIN: u64 = 1_000;

/// Requests for one offer before we look for another.
const REQUESTS_MAX: u32 = 4;

/// Requests to confirm a lease after a lost carrier before we go on with it unconfirmed.
const CONFIRMS_MAX: u32 = 4;

/// Renewals wait half of the time that is left, but not less than this.
const RENEW_RETRY_MS_MIN: u64 = 2_000;

/// What we want to be told.
const PARAMETERS: [u8; 11] = [
    code::MASK,
    code::ROUTER,
    code::DNS,
    code::HOST_NAME,
    code::DOMAIN,
    code::MTU,
    code::NTP,
    code::VENDOR_SPECIFIC,
    code::LEASE_TIME,
    code::RENEWAL_TIME,
    code::REBINDING_TIME,
];

impl Client {
    pub(super) fn discover(&mut self, now_ms: u64, asking: Asking) {
        let message = self.message(Kind::Discover, &asking, now_ms);
        self.send(Target::Broadcast, &message);
        self.state = State::Selecting(self.asked(now_ms, asking));
    }

    pub(super) fn request(&mut self, now_ms: u64, asking: Asking, offer: Offer) {
        if asking.tries >= REQUESTS_MAX {
            self.search(now_ms, 0);
            return;
        }
        let mut message = self.message(Kind::Request, &asking, now_ms);
        message
            .options
            .set_address(code::REQUESTED_ADDRESS, offer.address);
        message.options.set_address(code::SERVER_ID, offer.server);
        self.send(Target::Broadcast, &message);
        self.state = State::Requesting(self.asked(now_ms, asking), offer);
    }

    pub(super) fn confirm(&mut self, now_ms: u64, asking: Asking, lease: Lease) {
        if asking.tries >= CONFIRMS_MAX {
            // Nobody says no: RFC 2131 lets us go on until the lease ends. Its times still hold.
            self.state = State::Bound(lease, None);
            return;
        }
        let mut message = self.message(Kind::Request, &asking, now_ms);
        message
            .options
            .set_address(code::REQUESTED_ADDRESS, lease.address);
        self.send(Target::Broadcast, &message);
        self.state = State::Confirming(self.asked(now_ms, asking), lease);
    }

    pub(super) fn renew(&mut self, now_ms: u64, asking: Option<Asking>, lease: Lease) {
        let Some(schedule) = lease.schedule else {
            return;
        };
        let rebinding = now_ms >= schedule.rebind_ms;
        // Each renewal is a question of its own: the lease counts from the one that is answered.
        let tries = asking.map_or(0, |asking| asking.tries);
        let mut asking = Asking {
            tries,
            ..self.new_asking(now_ms)
        };
        let mut message = self.message(Kind::Request, &asking, now_ms);
        message.client = lease.address;
        message.broadcast = false;
        let server = if rebinding {
            Target::Broadcast
        } else {
            Target::Server(lease.server)
        };
        self.send(server, &message);
        let phase_end_ms = if rebinding {
            schedule.expire_ms
        } else {
            schedule.rebind_ms
        };
        let wait_ms = (phase_end_ms.saturating_sub(now_ms) / 2).max(RENEW_RETRY_MS_MIN);
        asking.tries += 1;
        asking.next_ms = (now_ms + wait_ms).min(phase_end_ms.max(now_ms + 1));
        self.state = State::Bound(lease, Some(asking));
    }

    pub(super) fn message(&self, kind: Kind, asking: &Asking, now_ms: u64) -> Message {
        let mut message = Message::new(kind, asking.transaction, self.settings.mac);
        let seconds = now_ms.saturating_sub(self.searching_since_ms) / 1000;
        message.seconds = u16::try_from(seconds).unwrap_or(u16::MAX);
        // We take frames to the offered address too, but a relay or switch may not pass them.
        message.broadcast = true;
        let [a, b, c, d, e, f] = self.settings.mac.0;
        message.options.set(code::CLIENT_ID, [1, a, b, c, d, e, f]);
        message.options.set(code::PARAMETER_LIST, PARAMETERS);
        let length = u16::try_from(MESSAGE_LEN_MAX).unwrap_or(u16::MAX);
        message
            .options
            .set(code::MESSAGE_LEN_MAX, length.to_be_bytes());
        if let Some(name) = &self.settings.host_name {
            message.options.set(code::HOST_NAME, name.as_bytes());
        }
        if let Some(class) = &self.settings.vendor_class {
            message.options.set(code::VENDOR_CLASS, class.as_bytes());
        }
        message
    }

    pub(super) fn send(&mut self, target: Target, message: &Message) {
        self.counters.sent += 1;
        self.outputs.push_back(Output::Send {
            target,
            bytes: message.emit(),
        });
    }

    pub(super) fn new_asking(&mut self, now_ms: u64) -> Asking {
        Asking {
            transaction: self.dice.next_u32(),
            tries: 0,
            sent_ms: now_ms,
            next_ms: now_ms,
        }
    }

    /// The same question, one try later.
    pub(super) fn asked(&mut self, now_ms: u64, asking: Asking) -> Asking {
        let fast = now_ms.saturating_sub(self.searching_since_ms) < FAST_MS;
        let longest_ms = if fast {
            FAST_RETRY_MS_MAX
        } else {
            RETRY_MS_MAX
        };
        let doubled_ms = RETRY_MS_MIN << asking.tries.min(16);
        let wait_ms = self.dice.around(doubled_ms.min(longest_ms));
        let sent_ms = if asking.tries == 0 {
            now_ms
        } else {
            asking.sent_ms
        };
        Asking {
            tries: asking.tries + 1,
            sent_ms,
            next_ms: now_ms + wait_ms,
            ..asking
        }
    }
}
