//! A host's lease: the right to run what may run only once.
//!
//! Does:      renews our own in the site's registers, and knows by itself when it has ended; ends
//!            the lease of a host that is gone, once that host must know it too.
//! Does not:  look at a wall clock; stop or start machines (`cloud`).
//! Bounds:    `FENCES_MAX` hosts that are gone; beyond, no more are taken on.
//! Trusts:    that clocks of two nodes drift apart by at most one in a hundred each.
//! Start at:  `Lease::valid_until`, then `Fences`.

mod fences;

use crate::context::{Context, Event, Save};
use crate::rules::Rules;
pub use fences::Fences;
use protocol::NodeId;
use protocol::peer::register::{Outcome, RegisterKey, Value, Wish};
use serde::{Deserialize, Serialize};

/// How long a lease holds from the moment its renewal was sent.
pub const TTL_MS: u64 = 9000;
/// How often it is renewed.
pub const RENEW_MS: u64 = 3000;
/// How long a renewal may take.
pub const WISH_MS: u64 = 2500;
/// After a failure it is tried again so soon.
const RETRY_MS: u64 = 500;
/// Key of what we save.
pub const SAVED_AT: &str = "register/epoch";

/// For how long a lease must have been left alone before another may end it. The holder counts
/// from when it sent, a guardian from when that came, each by its own clock.
pub const fn quiet_ms(rules: Rules) -> u64 {
    if rules.lease_margin {
        TTL_MS * 101 / 100 + 500
    } else {
        TTL_MS / 2
    }
}

/// What the register of a lease holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Grows whenever the lease changes hands.
    pub epoch: u64,
    /// Whether its host holds it; else it was taken away.
    pub is_held: bool,
    /// Renewals in this epoch: no two values are equal.
    pub count: u64,
}

impl Terms {
    pub fn encode(&self) -> Value {
        let bytes = postcard::to_extend(self, Vec::new()).unwrap_or_default();
        Value::new(bytes).unwrap_or_default()
    }

    pub fn decode(value: &Value) -> Option<Self> {
        let (terms, _later) = postcard::take_from_bytes(value.bytes()).ok()?;
        Some(terms)
    }

    /// The epoch behind this one.
    pub const fn next_epoch(epoch: u64, rules: Rules) -> u64 {
        if rules.epoch_check || epoch == 0 {
            epoch.saturating_add(1)
        } else {
            epoch
        }
    }
}

/// Our own lease.
#[derive(Debug)]
pub struct Lease {
    host: NodeId,
    rules: Rules,
    /// The epoch that we hold or held last.
    epoch: u64,
    /// We took this epoch in this boot.
    is_ours: bool,
    /// What the register holds, as far as we know.
    known: Option<Value>,
    wanted: Option<Terms>,
    sent_ms: u64,
    until_ms: u64,
    is_told: bool,
    next_ms: Option<u64>,
    is_busy: bool,
}

impl Lease {
    pub const fn new(host: NodeId, rules: Rules, now_ms: u64) -> Self {
        Self {
            host,
            rules,
            epoch: 0,
            is_ours: false,
            known: None,
            wanted: None,
            sent_ms: 0,
            until_ms: 0,
            is_told: false,
            next_ms: Some(now_ms),
            is_busy: false,
        }
    }

    /// What the disk says of our last epoch.
    pub fn restore(&mut self, bytes: &[u8]) {
        if let Ok(bytes) = bytes.try_into() {
            self.epoch = u64::from_le_bytes(bytes);
        }
    }

    pub fn save(&self, cx: &mut Context<'_>) {
        if self.epoch > 0 {
            cx.out.saves.push_back(Save {
                key: SAVED_AT.to_owned(),
                value: Some(self.epoch.to_le_bytes().to_vec()),
            });
        }
    }

    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Until when, by our own uptime, the lease is ours. `None`: it is not, whatever we believed
    /// before we were paused.
    pub const fn valid_until(&self, now_ms: u64) -> Option<u64> {
        if now_ms < self.until_ms {
            Some(self.until_ms)
        } else {
            None
        }
    }

    pub fn next_timeout(&self) -> Option<u64> {
        let renewal = self.next_ms.filter(|_| !self.is_busy);
        let end = self.is_told.then_some(self.until_ms);
        renewal.into_iter().chain(end).min()
    }

    /// To be called before anything else is done: tells when the lease has run out.
    pub fn expire(&mut self, cx: &mut Context<'_>) {
        if self.is_told && cx.now_ms() >= self.until_ms {
            self.lose(cx);
        }
    }

    fn lose(&mut self, cx: &mut Context<'_>) {
        self.until_ms = 0;
        if std::mem::take(&mut self.is_told) {
            let epoch = self.epoch;
            cx.out.events.push_back(Event::LeaseLost { epoch });
        }
    }

    /// We say goodbye: the lease is not ours any more.
    pub fn stop(&mut self, cx: &mut Context<'_>) {
        self.next_ms = None;
        self.lose(cx);
    }

    /// What to ask of the register now, if it is time.
    pub fn due(&mut self, now_ms: u64) -> Option<(RegisterKey, Wish)> {
        if self.is_busy || self.next_ms.is_none_or(|at| at > now_ms) {
            return None;
        }
        self.is_busy = true;
        let key = RegisterKey::Lease(self.host);
        let Some(wanted) = self.wanted else {
            return Some((key, Wish::Look));
        };
        self.sent_ms = now_ms;
        let (expect, value) = (self.known.clone(), wanted.encode());
        Some((key, Wish::Swap { expect, value }))
    }

    /// What we write over what we found.
    fn follow(&mut self, found: Option<&Value>, era: u32) {
        let terms = found.and_then(Terms::decode);
        let goes_on =
            self.is_ours && terms.is_some_and(|terms| terms.is_held && terms.epoch == self.epoch);
        self.known = found.cloned();
        self.wanted = Some(match terms.filter(|_| goes_on) {
            Some(terms) => Terms {
                count: terms.count + 1,
                ..terms
            },
            None => Terms {
                epoch: Terms::next_epoch(
                    terms
                        .map_or(0, |terms| terms.epoch)
                        .max(self.epoch)
                        .max(u64::from(era) << 32),
                    self.rules,
                ),
                is_held: true,
                count: 0,
            },
        });
    }

    /// How our wish ended.
    pub fn ended(&mut self, cx: &mut Context<'_>, outcome: &Outcome, era: u32) {
        self.is_busy = false;
        let now_ms = cx.now_ms();
        let retry = |cx: &mut Context<'_>| Some(now_ms + cx.dice.around(RETRY_MS));
        if self.next_ms.is_none() {
            return;
        }
        match outcome {
            Outcome::Value { value, .. } => {
                self.follow(value.as_ref(), era);
                self.next_ms = Some(now_ms);
            }
            Outcome::Conflict(value) => {
                let terms = value.as_ref().and_then(Terms::decode);
                if terms.is_none_or(|terms| terms.epoch != self.epoch || !terms.is_held) {
                    self.lose(cx);
                }
                self.follow(value.as_ref(), era);
                self.next_ms = Some(now_ms);
            }
            Outcome::Done => self.renewed(cx),
            Outcome::Unsure => {
                self.wanted = None;
                self.next_ms = retry(cx);
            }
            Outcome::Refused => self.next_ms = retry(cx),
        }
    }

    fn renewed(&mut self, cx: &mut Context<'_>) {
        let Some(terms) = self.wanted else {
            return;
        };
        if terms.epoch != self.epoch || !self.is_ours {
            self.lose(cx);
            self.epoch = terms.epoch;
            self.is_ours = true;
            self.save(cx);
        }
        self.known = Some(terms.encode());
        self.wanted = Some(Terms {
            count: terms.count + 1,
            ..terms
        });
        self.next_ms = Some(self.sent_ms + RENEW_MS);
        self.until_ms = self.sent_ms + TTL_MS;
        if cx.now_ms() < self.until_ms {
            self.is_told = true;
            let (epoch, until_ms) = (self.epoch, self.until_ms);
            cx.out
                .events
                .push_back(Event::LeaseHeld { epoch, until_ms });
        }
    }
}
