//! Who is there in a site: SWIM with Lifeguard's three additions, whole-list comparison and a
//! search for the gone that never ends.
//!
//! Does:      probes one member each half second, in rounds, directly, through helpers and by
//!            stream; suspects the silent, tells them, and calls them dead when they do not
//!            refute; spreads what it finds out along with its probes.
//! Does not:  know other sites (`directory`), addresses of strangers or what a member runs.
//! Bounds:    `table::MEMBERS_MAX` members, `gone::GONE_MAX` gone ones, and what `timing` says.
//!            A datagram holds `RUMOURS_MAX` facts, a message on a stream `STATE_FACTS_MAX`.
//! Trusts:    that `from` is who it says (sessions prove it); that members report what they saw:
//!            a false accusation costs the accused an answer, not its place.
//! Start at:  `Swim::handle_message`, then `facts`. Sources: Das and others, "SWIM", 2002;
//!            Dadgar and others, "Lifeguard", 2017.

mod exchange;
mod facts;
mod gone;
mod probes;
mod rumours;
mod suspicion;
mod table;
mod timing;

pub use gone::{GONE_MAX, Gone};
pub use table::{Health, MEMBERS_MAX, Member};

use crate::context::Context;
use crate::rules::Rules;
use exchange::{Allowance, Seed};
use gone::Ring;
use netcore::dice::Dice;
use probes::{Probe, Relay};
use protocol::NodeId;
use protocol::peer::admission::Few;
use protocol::peer::swim::{Claim, Fact, Own, RUMOURS_MAX, Rumours as Carried, SwimMessage};
use protocol::peer::{Channel, Contact, Life, Message};
use rumours::Rumours;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use table::Table;

/// What happened, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub probes: u64,
    /// Not begun, because too many were under way.
    pub probe_overruns: u64,
    pub relay_overruns: u64,
    /// Not answered directly, but through a helper.
    pub reached_by_helpers: u64,
    pub suspicions: u64,
    pub deaths: u64,
    /// Accusations of ourselves that we answered with a new life.
    pub refutations: u64,
    /// Another machine with our key was noticed.
    pub clones: u64,
    /// We stood still, and did not trust our own deadlines.
    pub standstills: u64,
    pub exchanges: u64,
    /// Requests for all we know that came too fast.
    pub answers_refused: u64,
    /// Members that there was no room for.
    pub members_refused: u64,
    /// Nodes that are said to live, and did not answer.
    pub claims_refuted: u64,
    /// Messages from, or about, nodes of other sites.
    pub strangers: u64,
}

/// The failure detector of one node for its site.
#[derive(Debug)]
pub struct Swim {
    me: Contact,
    life: Life,
    instance: u32,
    rules: Rules,
    table: Table,
    gone: Ring,
    rumours: Rumours,
    /// By deadline.
    suspects: BTreeSet<(u64, NodeId)>,
    probes: Vec<Probe>,
    relays: Vec<Relay>,
    seeds: BTreeMap<NodeId, Seed>,
    allowance: Allowance,
    seq: u32,
    /// How many times slower than it should be this node takes itself to be.
    slowness: u8,
    /// Nobody at all was heard during a probe.
    is_deaf: bool,
    has_left: bool,
    heard_ms: u64,
    changed_ms: u64,
    differs_since_ms: Option<u64>,
    clone_heard_ms: Option<u64>,
    clone_known: bool,
    /// Whom we have corrected lately, and until when that is enough.
    corrected: Vec<(NodeId, u64)>,
    next_bid_ms: u64,
    next_probe_ms: u64,
    next_gossip_ms: u64,
    next_gone_ms: u64,
    next_exchange_ms: u64,
    next_exchange_allowed_ms: u64,
    /// The earliest of all deadlines.
    due_ms: u64,
    pub counters: Counters,
}

impl Swim {
    /// A node that knows nobody yet. `life` is higher than in any earlier boot, if that is known.
    pub fn new(me: Contact, life: Life, rules: Rules, dice: &mut Dice) -> Self {
        let mut rumours = Rumours::default();
        rumours.add(me.node);
        Self {
            me,
            life,
            instance: dice.next_u32().max(1),
            rules,
            table: Table::default(),
            gone: Ring::default(),
            rumours,
            suspects: BTreeSet::new(),
            probes: Vec::new(),
            relays: Vec::new(),
            seeds: BTreeMap::new(),
            allowance: Allowance::default(),
            seq: dice.next_u32(),
            slowness: 0,
            is_deaf: false,
            has_left: false,
            heard_ms: 0,
            changed_ms: 0,
            differs_since_ms: None,
            clone_heard_ms: None,
            clone_known: false,
            corrected: Vec::new(),
            next_bid_ms: 0,
            next_probe_ms: u64::MAX,
            next_gossip_ms: u64::MAX,
            next_gone_ms: u64::MAX,
            next_exchange_ms: u64::MAX,
            next_exchange_allowed_ms: 0,
            due_ms: u64::MAX,
            counters: Counters::default(),
        }
    }

    /// All others that count as there, in no order.
    pub fn members(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.table.iter()
    }

    pub fn member(&self, node: NodeId) -> Option<&Member> {
        self.table.find(node)
    }

    /// Those that were there, as far as they are remembered.
    pub fn gone(&self) -> impl Iterator<Item = &Gone> {
        self.gone.iter()
    }

    pub fn gone_one(&self, node: NodeId) -> Option<&Gone> {
        self.gone.find(node)
    }

    /// Where a node of the site can be reached, whether it is there or not.
    pub fn contact(&self, node: NodeId) -> Option<Contact> {
        let member = self.table.find(node).map(|member| member.contact);
        let gone = || self.gone.find(node).map(|gone| gone.contact);
        member.or_else(gone).or_else(|| self.seed(node))
    }

    pub const fn life(&self) -> Life {
        self.life
    }

    pub const fn has_left(&self) -> bool {
        self.has_left
    }

    /// Whether another machine is known to run with our key.
    pub fn is_doubled(&self, now_ms: u64) -> bool {
        self.is_cloned(now_ms)
    }

    fn digest(&self) -> u32 {
        self.table.digest() ^ table::digest_of(self.me.node, self.life)
    }

    /// Our own address is known, or another one.
    pub fn set_address(&mut self, cx: &mut Context<'_>, address: SocketAddr) {
        if self.me.address == address {
            return;
        }
        self.me.address = address;
        if !self.table.is_empty() {
            self.rise(cx, self.life);
            self.settle();
        }
    }

    /// Says goodbye. Nothing is done afterwards, but to repeat it to those who ask.
    pub fn leave(&mut self, cx: &mut Context<'_>) {
        if self.has_left {
            return;
        }
        self.has_left = true;
        for member in self.table.pick(cx.dice, timing::GOODBYES, self.me.node) {
            self.say_goodbye(cx, member);
        }
        self.probes.clear();
        self.relays.clear();
        self.seeds.clear();
        self.settle();
    }

    fn say_goodbye(&mut self, cx: &mut Context<'_>, to: NodeId) {
        let goodbye = Fact {
            node: self.me.node,
            life: self.life,
            claim: Claim::Left,
        };
        let gossip = SwimMessage::Gossip {
            own: self.own(),
            rumours: Few::new([goodbye]),
        };
        cx.send(to, Channel::Datagram, Message::Swim(gossip));
    }

    /// It is certain that this node will not come back: its machine has a new key.
    pub fn replaced(&mut self, cx: &mut Context<'_>, node: NodeId) {
        if let Some(member) = self.table.find(node) {
            let life = member.life;
            self.bury(cx, node, life, true);
            self.spread(cx, node);
            self.settle();
        }
    }

    /// Something came from `from`.
    pub fn handle_message(&mut self, cx: &mut Context<'_>, from: NodeId, message: SwimMessage) {
        if from == self.me.node {
            return;
        }
        self.notice_standstill(cx);
        self.heard_ms = cx.now_ms();
        if self.is_deaf {
            self.hear_again(cx);
        }
        if self.has_left {
            if matches!(message, SwimMessage::Ping { .. }) {
                self.say_goodbye(cx, from);
            }
            return;
        }
        self.take(cx, from, message);
        self.settle();
    }

    fn take(&mut self, cx: &mut Context<'_>, from: NodeId, message: SwimMessage) {
        match message {
            SwimMessage::Ping {
                seq,
                own,
                digest,
                by_stream,
                rumours,
            } => {
                if self.hear_with(cx, from, &own, &rumours) {
                    let channel = if by_stream {
                        Channel::Stream
                    } else {
                        Channel::Datagram
                    };
                    self.answer(cx, from, seq, channel, &own);
                    self.compare(cx, from, digest);
                }
            }
            SwimMessage::Ack {
                seq,
                own,
                digest,
                rumours,
                place,
            } => {
                self.answered(cx, from, seq, &place);
                if self.hear_with(cx, from, &own, &rumours) {
                    self.compare(cx, from, digest);
                }
            }
            SwimMessage::PingFor {
                seq,
                target,
                rumours,
            } => {
                if self.table.find(from).is_some() {
                    self.learn_carried(cx, from, &rumours);
                    self.help(cx, from, seq, target);
                }
            }
            SwimMessage::AckFor {
                seq,
                reached,
                rumours,
            } => {
                if self.table.find(from).is_some() {
                    self.helped(seq, reached);
                    self.learn_carried(cx, from, &rumours);
                }
            }
            SwimMessage::Gossip { own, rumours } => {
                if self.hear_with(cx, from, &own, &rumours) {
                    self.correct(cx, from, &own);
                }
            }
            SwimMessage::State {
                own,
                is_asking,
                facts,
            } => {
                if self.hear(cx, from, &own) {
                    self.correct(cx, from, &own);
                    self.take_state(cx, from, is_asking, facts.as_slice());
                }
            }
        }
    }

    fn answer(
        &mut self,
        cx: &mut Context<'_>,
        to: NodeId,
        seq: u32,
        channel: Channel,
        heard: &Own,
    ) {
        let rumours = self.rumours_for(to, Some(heard));
        let ack = SwimMessage::Ack {
            seq,
            own: self.own(),
            digest: self.digest(),
            rumours,
            place: cx.coordinates.place(),
        };
        cx.send(to, channel, Message::Swim(ack));
    }

    /// Answers one who thinks otherwise of itself than we do; not again and again: two that both
    /// run twice would correct each other as fast as the wire carries.
    fn correct(&mut self, cx: &mut Context<'_>, from: NodeId, said: &Own) {
        let now = cx.now_ms();
        self.corrected.retain(|(_, until_ms)| now < *until_ms);
        if self.corrected.len() >= timing::CORRECTIONS_MAX
            || self.corrected.iter().any(|(node, _)| *node == from)
        {
            return;
        }
        if let Some(fact) = self.accusation(from, Some(said)) {
            self.corrected.push((from, now + timing::CORRECTION_MS));
            let gossip = SwimMessage::Gossip {
                own: self.own(),
                rumours: Few::new([fact]),
            };
            cx.send(from, Channel::Datagram, Message::Swim(gossip));
        }
    }

    fn hear_with(
        &mut self,
        cx: &mut Context<'_>,
        from: NodeId,
        own: &Own,
        rumours: &Carried,
    ) -> bool {
        let is_ours = self.hear(cx, from, own);
        if is_ours {
            self.learn_carried(cx, from, rumours);
        }
        is_ours
    }

    fn learn_carried(&mut self, cx: &mut Context<'_>, from: NodeId, rumours: &Carried) {
        let stale = self.learn(cx, from, rumours.as_slice());
        // Rumours meet newer ones everywhere; only belief in the gone is worth an answer.
        let gone = stale
            .into_iter()
            .filter(|node| self.gone.find(*node).is_some());
        let gone: Vec<NodeId> = gone.take(RUMOURS_MAX).collect();
        self.tell_what_is_known_of(cx, from, &gone);
    }

    /// A stream to `peer` could not be made, or broke. That is no proof of anything: probes decide.
    pub fn handle_unreachable(&mut self, _cx: &mut Context<'_>, _peer: NodeId, _channel: Channel) {}

    /// Time passed. Early or repeated calls are harmless.
    pub fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        let now = cx.now_ms();
        if now < self.due_ms {
            return;
        }
        self.notice_standstill(cx);
        if self.has_left {
            return;
        }
        self.end_probes(cx);
        self.end_relays(cx);
        self.judge(cx);
        self.ask_seeds(cx);
        if self.next_probe_ms <= now {
            self.begin_next_probe(cx);
        }
        if self.next_gossip_ms <= now {
            self.gossip(cx);
        }
        if self.next_gone_ms <= now {
            self.look_for_gone(cx);
        }
        if self.next_exchange_ms <= now {
            self.exchange_with_any(cx);
        }
        self.settle();
    }

    /// When `handle_timeout` is due, in milliseconds of uptime.
    pub fn next_timeout(&self) -> Option<u64> {
        (self.due_ms != u64::MAX).then_some(self.due_ms)
    }

    fn settle(&mut self) {
        if self.has_left {
            self.due_ms = u64::MAX;
            return;
        }
        let suspect = self.suspects.first().map_or(u64::MAX, |(due, _)| *due);
        self.due_ms = self
            .next_probe_end()
            .min(self.next_seed_ms())
            .min(suspect)
            .min(self.next_probe_ms)
            .min(self.next_gossip_ms)
            .min(self.next_gone_ms)
            .min(self.next_exchange_ms);
    }

    fn begin_next_probe(&mut self, cx: &mut Context<'_>) {
        let Some(target) = self.table.next_to_probe(cx.dice) else {
            self.next_probe_ms = u64::MAX;
            self.next_exchange_ms = u64::MAX;
            return;
        };
        let period = timing::PERIOD_MS * (1 + u64::from(self.slowness));
        self.next_probe_ms = cx.now_ms() + period - period / 8 + cx.dice.below(period / 4);
        self.probe(cx, target, false);
    }

    fn gossip(&mut self, cx: &mut Context<'_>) {
        for to in self
            .table
            .pick(cx.dice, timing::GOSSIP_FANOUT, self.me.node)
        {
            let rumours = self.rumours_for(to, None);
            if rumours.as_slice().is_empty() {
                continue;
            }
            let gossip = SwimMessage::Gossip {
                own: self.own(),
                rumours,
            };
            cx.send(to, Channel::Datagram, Message::Swim(gossip));
        }
        let has_more = !self.rumours.is_empty() && !self.table.is_empty();
        self.next_gossip_ms = if has_more {
            cx.now_ms() + timing::GOSSIP_MS
        } else {
            u64::MAX
        };
    }

    /// A node that went may be there again, or the way to it.
    fn look_for_gone(&mut self, cx: &mut Context<'_>) {
        if self.gone.is_empty() {
            self.next_gone_ms = u64::MAX;
            return;
        }
        self.next_gone_ms = cx.now_ms() + cx.dice.around(timing::GONE_MS);
        let newest = self.table.len().max(8);
        if let Some(node) = self.gone.pick(cx.dice, newest) {
            let seq = self.next_seq();
            let channel = if seq.is_multiple_of(4) {
                Channel::Stream
            } else {
                Channel::Datagram
            };
            self.ping(cx, node, seq, channel);
        }
    }

    /// After a standstill of ours, silence of others proves nothing: probes begin anew, and
    /// suspects get the lost time.
    fn notice_standstill(&mut self, cx: &mut Context<'_>) {
        let now = cx.now_ms();
        let late = now.saturating_sub(self.due_ms);
        if late < timing::STANDSTILL_MS {
            return;
        }
        self.counters.standstills += 1;
        self.slower();
        self.probes.clear();
        self.relays.clear();
        self.is_deaf = false;
        self.heard_ms = now;
        for (deadline, node) in std::mem::take(&mut self.suspects) {
            let deadline = deadline.saturating_add(late);
            self.suspects.insert((deadline, node));
            if let Some(suspicion) = self
                .table
                .find_mut(node)
                .and_then(|member| member.suspicion.as_mut())
            {
                suspicion.began_ms = suspicion.began_ms.saturating_add(late);
                suspicion.deadline_ms = deadline;
            }
        }
        if self.next_probe_ms <= now {
            self.next_probe_ms = now + cx.dice.below(timing::PERIOD_MS);
        }
        for timer in [
            &mut self.next_gossip_ms,
            &mut self.next_gone_ms,
            &mut self.next_exchange_ms,
        ] {
            *timer = now.max(*timer);
        }
        self.postpone_seeds(now);
        self.settle();
    }

    /// Bytes held, about.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.table.memory_bytes()
            + self.gone.memory_bytes()
            + self.rumours.memory_bytes()
            + self.suspects.len() * 2 * size_of::<(u64, NodeId)>()
            + self.probes.capacity() * size_of::<Probe>()
            + self.relays.capacity() * size_of::<Relay>()
    }

    /// Panics when the state is broken. For tests.
    pub fn check(&self) {
        self.table.check();
        self.gone.check();
        self.rumours.check();
        self.check_probes();
        assert!(self.seeds.len() <= timing::SEEDS_MAX);
        assert!(self.table.find(self.me.node).is_none());
        let suspects = self.table.iter().filter(|one| one.suspicion.is_some());
        assert_eq!(suspects.count(), self.suspects.len());
        for (deadline, node) in &self.suspects {
            let suspicion = self.suspicion(*node).map(|one| one.deadline_ms);
            assert_eq!(suspicion, Some(*deadline));
        }
        for member in self.table.iter() {
            assert!(self.gone.find(member.contact.node).is_none());
        }
    }

    /// Our site changed its mind about nobody: for tests that count changes.
    #[doc(hidden)]
    pub fn is_quiet(&self) -> bool {
        self.suspects.is_empty() && self.rumours.is_empty()
    }
}
