//! The DHCP client: gets an address, keeps it, and never gives up.
//!
//! Does:      DISCOVER to BOUND, renewal, rebinding, confirmation after a lost carrier, NAK,
//!            DECLINE; retries for ever, fast for the first 90 s.
//! Does not:  configure anything: it says `Bound` and `Lost`, the caller acts. No probing: the
//!            caller reports `Conflict` when it sees one.
//! Bounds:    one conversation at a time; one lease.
//! Trusts:    the first server that offers, as everybody must; replies of others are counted only.
//! Start at:  `Client::handle_input`, then `enum State`.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use super::lease::{Lease, is_host};
use super::message::{Direction, Kind, MESSAGE_LEN_MAX, Message};
use super::options::code;
use crate::dice::Dice;
use crate::ethernet::Mac;

/// While the clients of a rack all boot behind slow spanning trees, ask often.
const FAST_MS: u64 = 90_000;
/// The longest wait between questions in that time, and after it.
const FAST_RETRY_MS_MAX: u64 = 4_000;
const RETRY_MS_MAX: u64 = 64_000;
const RETRY_MS_MIN: u64 = 1_000;

/// Requests for one offer before we look for another.
const REQUESTS_MAX: u32 = 4;

/// Requests to confirm a lease after a lost carrier before we go on with it unconfirmed.
const CONFIRMS_MAX: u32 = 4;

/// Renewals wait half of the time that is left, but not less than this.
const RENEW_RETRY_MS_MIN: u64 = 2_000;

/// After a DECLINE (RFC 2131 3.1.5).
const DECLINED_MS: u64 = 10_000;

/// The longest wait after a row of NAKs.
const NAK_RETRY_MS_MAX: u64 = 16_000;

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

/// Who asks.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    pub mac: Mac,
    pub host_name: Option<String>,
    pub vendor_class: Option<String>,
    /// Differs from machine to machine, so that a rack does not ask in step.
    pub seed: u64,
}

#[derive(Debug)]
pub enum Input<'a> {
    /// A datagram for port 68, from this address.
    Datagram {
        from: Ipv4Addr,
        bytes: &'a [u8],
    },
    CarrierLost,
    CarrierBack,
    /// Somebody else answers for our address.
    Conflict,
}

/// Where a message goes; always from port 68 to port 67.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// From 0.0.0.0 to 255.255.255.255.
    Broadcast,
    /// From the lease's address to its server.
    Server(Ipv4Addr),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostReason {
    Expired,
    Refused,
    Conflict,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    Send {
        target: Target,
        bytes: Vec<u8>,
    },
    /// Configure this. Comes again when a renewal changed something.
    Bound(Lease),
    /// Stop using the address at once.
    Lost(LostReason),
}

/// What strangers sent, and how often we asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub sent: u64,
    /// Not a DHCP reply, or damaged.
    pub bad_messages: u64,
    /// For another station or another conversation, or late.
    pub foreign: u64,
    /// From a server that we did not choose, or out of turn.
    pub unexpected: u64,
    pub naks: u64,
}

/// How far a question got.
#[derive(Debug, Clone, Copy)]
struct Asking {
    transaction: u32,
    tries: u32,
    /// When the first one was sent; a lease counts from its request.
    sent_ms: u64,
    next_ms: u64,
}

#[derive(Debug, Clone)]
struct Offer {
    address: Ipv4Addr,
    server: Ipv4Addr,
    from: Ipv4Addr,
}

#[derive(Debug, Clone)]
enum State {
    /// Looking for any server. `tries` is zero before the first DISCOVER.
    Selecting(Asking),
    /// Asking the chosen server for what it offered.
    Requesting(Asking, Offer),
    /// Asking anybody whether the lease still holds on this wire; it stays in use meanwhile.
    Confirming(Asking, Lease),
    /// `Asking` once T1 has passed: to the server until T2, then to anybody.
    Bound(Lease, Option<Asking>),
}

#[derive(Debug)]
pub struct Client {
    settings: ClientSettings,
    dice: Dice,
    state: State,
    /// When the search began; `secs` in messages and the fast phase count from here.
    searching_since_ms: u64,
    naks_in_row: u32,
    carrier: bool,
    outputs: VecDeque<Output>,
    counters: Counters,
}

impl Client {
    /// Starts at once: the first DISCOVER is due now.
    pub fn new(settings: ClientSettings, now_ms: u64) -> Client {
        let mut dice = Dice::new(settings.seed);
        let asking = Asking {
            transaction: dice.next_u32(),
            tries: 0,
            sent_ms: now_ms,
            next_ms: now_ms,
        };
        Client {
            settings,
            dice,
            state: State::Selecting(asking),
            searching_since_ms: now_ms,
            naks_in_row: 0,
            carrier: true,
            outputs: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    pub fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Confirming(_, lease) | State::Bound(lease, _) => Some(lease),
            State::Selecting(_) | State::Requesting(..) => None,
        }
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    pub fn handle_input(&mut self, now_ms: u64, input: Input<'_>) {
        match input {
            Input::Datagram { from, bytes } => self.handle_datagram(now_ms, from, bytes),
            Input::CarrierLost => self.carrier = false,
            Input::CarrierBack => self.handle_carrier_back(now_ms),
            Input::Conflict => self.handle_conflict(now_ms),
        }
    }

    /// Call until `None` after each input and timeout.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// `None`: only an input can wake us (a lease for ever, or no carrier).
    pub fn next_timeout(&self) -> Option<u64> {
        match &self.state {
            State::Selecting(asking) | State::Requesting(asking, _) => {
                self.carrier.then_some(asking.next_ms)
            }
            State::Confirming(asking, lease) => {
                let expire_ms = lease.schedule.map(|schedule| schedule.expire_ms);
                let next_ms = self.carrier.then_some(asking.next_ms);
                [next_ms, expire_ms].into_iter().flatten().min()
            }
            State::Bound(lease, asking) => {
                let schedule = lease.schedule?;
                let next_ms = asking.map_or(schedule.renew_ms, |asking| asking.next_ms);
                let next_ms = self.carrier.then_some(next_ms);
                Some(next_ms.map_or(schedule.expire_ms, |ms| ms.min(schedule.expire_ms)))
            }
        }
    }

    /// Time passed. Early or repeated calls are harmless.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        if self.next_timeout().is_none_or(|at_ms| now_ms < at_ms) {
            return;
        }
        if self.has_expired(now_ms) {
            self.lose(now_ms, LostReason::Expired, 0);
            return;
        }
        match self.state.clone() {
            State::Selecting(asking) => self.discover(now_ms, asking),
            State::Requesting(asking, offer) => self.request(now_ms, asking, offer),
            State::Confirming(asking, lease) => self.confirm(now_ms, asking, lease),
            State::Bound(lease, asking) => self.renew(now_ms, asking, lease),
        }
    }

    fn has_expired(&self, now_ms: u64) -> bool {
        let schedule = self.lease().and_then(|lease| lease.schedule);
        schedule.is_some_and(|schedule| now_ms >= schedule.expire_ms)
    }

    // What we send.

    fn discover(&mut self, now_ms: u64, asking: Asking) {
        let message = self.message(Kind::Discover, &asking, now_ms);
        self.send(Target::Broadcast, &message);
        self.state = State::Selecting(self.asked(now_ms, asking));
    }

    fn request(&mut self, now_ms: u64, asking: Asking, offer: Offer) {
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

    fn confirm(&mut self, now_ms: u64, asking: Asking, lease: Lease) {
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

    fn renew(&mut self, now_ms: u64, asking: Option<Asking>, lease: Lease) {
        let Some(schedule) = lease.schedule else {
            return;
        };
        let rebinding = now_ms >= schedule.rebind_ms;
        let mut asking = asking.unwrap_or_else(|| self.new_asking(now_ms));
        // Each renewal is asked anew, so a lease counts from the question that was answered.
        asking.sent_ms = now_ms;
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

    fn message(&self, kind: Kind, asking: &Asking, now_ms: u64) -> Message {
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

    fn send(&mut self, target: Target, message: &Message) {
        self.counters.sent += 1;
        self.outputs.push_back(Output::Send {
            target,
            bytes: message.emit(),
        });
    }

    fn new_asking(&mut self, now_ms: u64) -> Asking {
        Asking {
            transaction: self.dice.next_u32(),
            tries: 0,
            sent_ms: now_ms,
            next_ms: now_ms,
        }
    }

    /// The same question, one try later.
    fn asked(&mut self, now_ms: u64, asking: Asking) -> Asking {
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

    // What we hear.

    fn handle_datagram(&mut self, now_ms: u64, from: Ipv4Addr, bytes: &[u8]) {
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

    fn handle_offer(&mut self, now_ms: u64, from: Ipv4Addr, message: &Message) {
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

    fn handle_ack(&mut self, now_ms: u64, from: Ipv4Addr, message: &Message) {
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
    fn handle_nak(&mut self, now_ms: u64, from: Ipv4Addr, message: &Message) {
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

    fn handle_carrier_back(&mut self, now_ms: u64) {
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

    fn handle_conflict(&mut self, now_ms: u64) {
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
    fn lose(&mut self, now_ms: u64, reason: LostReason, wait_ms: u64) {
        if self.lease().is_some() {
            self.outputs.push_back(Output::Lost(reason));
            self.searching_since_ms = now_ms;
        }
        self.search(now_ms, wait_ms);
    }

    fn search(&mut self, now_ms: u64, wait_ms: u64) {
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

/// Fuzz target: any row of datagrams, times and carrier flaps leaves a client that still asks.
pub fn fuzz_client(data: &[u8]) {
    let settings = ClientSettings {
        mac: Mac([2, 0, 0, 0, 0, 1]),
        host_name: None,
        vendor_class: None,
        seed: 7,
    };
    let mut client = Client::new(settings, 0);
    let mut now_ms = 0;
    let mut rest = data;
    while let [step, length, tail @ ..] = rest {
        let (piece, tail) = tail.split_at(usize::from(*length).saturating_mul(2).min(tail.len()));
        rest = tail;
        now_ms += u64::from(*step) * 100;
        match step % 8 {
            0 => client.handle_input(now_ms, Input::CarrierLost),
            1 => client.handle_input(now_ms, Input::CarrierBack),
            2 => client.handle_input(now_ms, Input::Conflict),
            3 => feed_reply(&mut client, now_ms, piece),
            _ => client.handle_timeout(now_ms),
        }
        let mut sent = 0;
        while let Some(output) = client.poll_output() {
            sent += usize::from(matches!(output, Output::Send { .. }));
        }
        assert!(sent <= 1, "one input never sends twice");
        if client.carrier && client.lease().is_none() {
            assert!(
                client.next_timeout().is_some(),
                "without a lease it keeps asking"
            );
        }
    }
}

/// Makes a hostile reply fit the conversation, so that it gets past the first checks.
fn feed_reply(client: &mut Client, now_ms: u64, piece: &[u8]) {
    let mut bytes = piece.to_vec();
    if let (
        Some(field),
        State::Selecting(asking)
        | State::Requesting(asking, _)
        | State::Confirming(asking, _)
        | State::Bound(_, Some(asking)),
    ) = (bytes.get_mut(4..8), &client.state)
    {
        field.copy_from_slice(&asking.transaction.to_be_bytes());
    }
    let from = Ipv4Addr::new(10, 0, 0, 1);
    client.handle_input(
        now_ms,
        Input::Datagram {
            from,
            bytes: &bytes,
        },
    );
}
