//! The DHCP client: gets an address, keeps it, and never gives up.
//!
//! Does:      DISCOVER to BOUND, renewal, rebinding, confirmation after a lost carrier, NAK,
//!            DECLINE; retries for ever, fast for the first 90 s.
//! Does not:  configure anything: it says `Bound` and `Lost`, the caller acts. No probing: the
//!            caller reports `Conflict` when it sees one.
//! Bounds:    one conversation at a time; one lease.
//! Trusts:    the first server that offers, as everybody must; replies of others are counted only.
//! Start at:  `Client::handle_input`, then `enum State`.

mod ask;
mod fuzz;
mod hear;

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use super::lease::Lease;
use crate::dice::Dice;
use crate::ethernet::Mac;

pub use fuzz::fuzz_client;

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
}
