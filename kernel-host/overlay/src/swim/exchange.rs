//! Whole lists, by stream: when a node joins, when two lists differ for long, and now and then.
//!
//! Does:      tells all who are there, in messages that each stand for itself, so that a lost or
//!            late one harms nothing; tells those who believe in the dead that they are dead; asks
//!            those who are said to live whether they do, and takes silence for an answer.
//! Does not:  tell of the dead otherwise: they would live on in lists for ever.
//! Bounds:    `SEEDS_MAX` contacts to join by; exchanges and answers have a rate.
//! Trusts:    members.
//! Start at:  `Swim::join`.

use super::Swim;
use super::gone::Gone;
use super::timing;
use crate::context::{Context, Event};
use protocol::NodeId;
use protocol::peer::admission::Few;
use protocol::peer::swim::{Fact, RUMOURS_MAX, STATE_FACTS_MAX, SwimMessage};
use protocol::peer::{Channel, Contact, Life, Message};

/// Somebody to join by.
#[derive(Debug, Clone)]
pub(super) struct Seed {
    contact: Contact,
    next_ms: u64,
    wait_ms: u64,
    tries: u8,
    /// A word says that it lives in this life; and from when on silence makes that void.
    claim: Option<Life>,
    void_ms: Option<u64>,
}

/// A budget for answers: facts.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    facts: u64,
    since_ms: u64,
}

impl Allowance {
    fn take(&mut self, now: u64, facts: usize) -> bool {
        let most = 2 * timing::ANSWER_FACTS_PER_S;
        let passed = now.saturating_sub(self.since_ms).min(2000);
        let refill = passed * timing::ANSWER_FACTS_PER_S / 1000;
        self.facts = (self.facts + refill).min(most);
        self.since_ms = now;
        // The longest list goes when the budget is full.
        let price = (facts as u64).min(most);
        if self.facts < price {
            return false;
        }
        self.facts -= price;
        true
    }
}

impl Swim {
    /// A node of our site was found: become one list with it.
    pub fn join(&mut self, cx: &mut Context<'_>, contact: Contact) {
        self.ask_for(cx, contact, None);
    }

    /// Somebody wrote as a node of our site that lives, in a life that we know nothing of: what it
    /// wrote counts elsewhere until we say that it is dead. If it does not answer now, it is.
    pub fn doubt(&mut self, cx: &mut Context<'_>, contact: Contact, life: Life) {
        let gone = self.gone.find(contact.node);
        if gone.is_none_or(|gone| gone.life < life) {
            self.ask_for(cx, contact, Some(life));
        }
    }

    fn ask_for(&mut self, cx: &mut Context<'_>, contact: Contact, claim: Option<Life>) {
        let is_known = self.table.find(contact.node).is_some();
        if contact.node == self.me.node || contact.site != cx.site || is_known || self.has_left {
            return;
        }
        let now = cx.now_ms();
        if let Some(seed) = self.seeds.get_mut(&contact.node) {
            seed.contact = contact;
            seed.claim = seed.claim.max(claim);
            if claim.is_none() {
                seed.tries = 0;
            } else if seed.void_ms.is_none() {
                (seed.next_ms, seed.wait_ms, seed.tries) = (now, timing::SEED_MS, 0);
                seed.void_ms = Some(now + timing::CLAIM_MS);
            }
        } else if self.seeds.len() < timing::SEEDS_MAX {
            let seed = Seed {
                contact,
                next_ms: now,
                wait_ms: timing::SEED_MS,
                tries: 0,
                claim,
                void_ms: claim.map(|_| now + timing::CLAIM_MS),
            };
            self.seeds.insert(contact.node, seed);
        }
        self.settle();
    }

    /// What was claimed of a node's life is void: it did not answer.
    fn refute(&mut self, cx: &mut Context<'_>, contact: Contact, life: Life) {
        let now = cx.now_ms();
        let node = contact.node;
        if self.gone.find(node).is_some_and(|gone| gone.life >= life) {
            return;
        }
        self.gone.insert(Gone {
            contact,
            life,
            has_left: false,
            since_ms: now,
        });
        if self.next_gone_ms == u64::MAX {
            self.next_gone_ms = now + cx.dice.around(timing::GONE_MS);
        }
        self.counters.claims_refuted += 1;
        cx.out.events.push_back(Event::Dead { node, life });
    }

    pub(super) fn ask_seeds(&mut self, cx: &mut Context<'_>) {
        let now = cx.now_ms();
        let due: Vec<NodeId> = self
            .seeds
            .iter()
            .filter(|(_, seed)| seed.next_ms <= now)
            .map(|(node, _)| *node)
            .collect();
        for node in due {
            let Some(seed) = self.seeds.get_mut(&node) else {
                continue;
            };
            seed.tries += 1;
            seed.next_ms = now + cx.dice.around(seed.wait_ms);
            seed.wait_ms = (seed.wait_ms * 2).min(timing::SEED_MS_MAX);
            let is_last = seed.tries > timing::SEED_TRIES;
            let is_void = is_last || seed.void_ms.is_some_and(|at| at <= now);
            let contact = seed.contact;
            let void = seed.claim.take_if(|_| is_void);
            if let Some(life) = void {
                seed.void_ms = Some(now + timing::CLAIM_AGAIN_MS);
                self.refute(cx, contact, life);
            }
            if is_last {
                self.seeds.remove(&node);
                continue;
            }
            self.tell_all(cx, node, true);
        }
    }

    pub(super) fn postpone_seeds(&mut self, now: u64) {
        for seed in self.seeds.values_mut() {
            seed.next_ms = now.max(seed.next_ms);
        }
    }

    pub(super) fn next_seed_ms(&self) -> u64 {
        let due = self.seeds.values().map(|seed| seed.next_ms);
        due.min().unwrap_or(u64::MAX)
    }

    /// Where a node that we were to join by can be reached.
    pub(super) fn seed(&self, node: NodeId) -> Option<Contact> {
        self.seeds.get(&node).map(|seed| seed.contact)
    }

    /// Sends the whole list.
    fn tell_all(&mut self, cx: &mut Context<'_>, to: NodeId, is_asking: bool) {
        let mut is_asking = is_asking;
        let mut members = self.table.iter().filter(|member| member.contact.node != to);
        loop {
            let part = members.by_ref().take(STATE_FACTS_MAX);
            let facts: Few<Fact, STATE_FACTS_MAX> = Few::new(part.map(Self::fact_of));
            let is_last = facts.as_slice().len() < STATE_FACTS_MAX;
            let state = SwimMessage::State {
                own: self.own(),
                is_asking,
                facts,
            };
            cx.send(to, Channel::Stream, Message::Swim(state));
            is_asking = false;
            if is_last {
                break;
            }
        }
    }

    /// The whole list of another, or a part of it.
    pub(super) fn take_state(
        &mut self,
        cx: &mut Context<'_>,
        from: NodeId,
        is_asking: bool,
        facts: &[Fact],
    ) {
        let stale = self.learn(cx, from, facts);
        self.tell_what_is_known_of(cx, from, &stale);
        if !is_asking {
            return;
        }
        if self.allowance.take(cx.now_ms(), self.table.len() + 1) {
            self.tell_all(cx, from, false);
        } else {
            self.counters.answers_refused += 1;
        }
    }

    /// `to` believes in lives that are over.
    pub(super) fn tell_what_is_known_of(
        &mut self,
        cx: &mut Context<'_>,
        to: NodeId,
        nodes: &[NodeId],
    ) {
        for part in nodes.chunks(RUMOURS_MAX) {
            let facts = part.iter().filter_map(|node| self.fact(*node));
            let gossip = SwimMessage::Gossip {
                own: self.own(),
                rumours: Few::new(facts),
            };
            cx.send(to, Channel::Datagram, Message::Swim(gossip));
        }
    }

    /// Lists that differ for longer than news take are compared.
    pub(super) fn compare(&mut self, cx: &mut Context<'_>, with: NodeId, digest: u32) {
        let now = cx.now_ms();
        if digest == self.digest() {
            self.differs_since_ms = None;
            return;
        }
        let since = *self.differs_since_ms.get_or_insert(now);
        let is_settled = now >= self.changed_ms + timing::SETTLE_MS;
        let is_long = now >= since + 4 * timing::SETTLE_MS;
        if now >= since + timing::SETTLE_MS / 2 && (is_settled || is_long) {
            self.exchange(cx, with);
        }
    }

    pub(super) fn exchange(&mut self, cx: &mut Context<'_>, with: NodeId) {
        let now = cx.now_ms();
        if now < self.next_exchange_allowed_ms {
            return;
        }
        let members = self.table.len() as u64;
        let gap = timing::EXCHANGE_GAP_MS + timing::EXCHANGE_GAP_PER_MEMBER_MS * members;
        self.next_exchange_allowed_ms = now + gap;
        self.next_exchange_ms = now + cx.dice.around(timing::EXCHANGE_MS + 10 * gap);
        self.differs_since_ms = None;
        self.counters.exchanges += 1;
        self.tell_all(cx, with, true);
    }

    /// The time for a comparison has come, whatever the digests say.
    pub(super) fn exchange_with_any(&mut self, cx: &mut Context<'_>) {
        self.next_exchange_ms = cx.now_ms() + timing::EXCHANGE_MS;
        if let Some(with) = self.table.pick(cx.dice, 1, self.me.node).first() {
            self.exchange(cx, *with);
        }
    }
}
