//! Neighbours: a few near ones in our site, a few far ones in others, and old ones tried for ever.
//!
//! Does:      keeps the links that the plan wants: greets the far ends, tries the next node of a
//!            site when one is silent, and never gives a site up, which is what heals splits;
//!            takes guests; tries contacts that discovery or the disk named until they answer.
//! Does not:  watch near neighbours (`swim` does), carry records (`tree`), or know addresses.
//! Bounds:    `plan::NEAR_MAX` near links, `FAR_MAX` far ones, `GUESTS_MAX` guests (more are
//!            refused, `guests_refused`), `STRANGERS_MAX` contacts (those tried most go).
//! Trusts:    the plan's inputs; a neighbour only to be one.
//! Start at:  `Links::set_plan`, `Links::handle_timeout`.

pub mod plan;

use crate::context::Context;
use protocol::peer::spread::SpreadMessage;
use protocol::peer::{Channel, Coordinate, Message};
use protocol::{NodeId, SiteId};
use std::collections::BTreeMap;

/// Far links that one node holds; a site of one node may hold many.
const FAR_MAX: usize = 48;
const GUESTS_MAX: usize = 16;
pub const STRANGERS_MAX: usize = 30;
/// A working link is asked this often.
const KEEP_MS: u64 = 15_000;
/// A greeting without answer is repeated after this.
const AGAIN_MS: u64 = 1_000;
/// Greetings without answer until the next node of the site is tried.
const MISSES_MAX: u8 = 3;
/// A site that does not answer is tried this often, for ever: it may be back any second.
const RETRY_MS: u64 = 3_000;
/// A guest that was silent for so long has another neighbour now.
const GUEST_MS: u64 = 4 * KEEP_MS;
/// Contacts are tried fast at first, then this often.
const STRANGER_MS: u64 = 30_000;
/// Answers that took longer are not believed to be answers to the last greeting.
const RTT_US_MAX: u64 = 10_000_000;

/// A link that we hold to another site.
#[derive(Debug, Clone)]
struct Far {
    node: Option<NodeId>,
    /// Which of the site's nodes is next.
    turn: u64,
    number: u32,
    sent_ms: u64,
    misses: u8,
    is_up: bool,
    next_ms: u64,
    rtt_us: u64,
}

#[derive(Debug, Clone, Copy)]
struct Guest {
    heard_ms: u64,
}

#[derive(Debug, Clone, Copy)]
struct Stranger {
    tries: u32,
    next_ms: u64,
}

/// What went on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub greetings: u64,
    pub came_up: u64,
    pub went_down: u64,
    pub guests_refused: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Links {
    near: Vec<NodeId>,
    far: BTreeMap<SiteId, Far>,
    guests: BTreeMap<NodeId, Guest>,
    strangers: BTreeMap<NodeId, Stranger>,
    numbers: u32,
    /// Links that came up since the last look: records must be compared.
    fresh: Vec<NodeId>,
    changed: bool,
    next_ms: Option<u64>,
    counters: Counters,
}

impl Links {
    pub const fn new() -> Self {
        Self {
            near: Vec::new(),
            far: BTreeMap::new(),
            guests: BTreeMap::new(),
            strangers: BTreeMap::new(),
            numbers: 0,
            fresh: Vec::new(),
            changed: true,
            next_ms: None,
            counters: Counters {
                greetings: 0,
                came_up: 0,
                went_down: 0,
                guests_refused: 0,
            },
        }
    }

    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What the plan says now: near neighbours, and the sites that we hold links to.
    pub fn set_plan(&mut self, cx: &mut Context<'_>, near: Vec<NodeId>, far: &[SiteId]) {
        if near != self.near {
            self.near = near;
            self.changed = true;
        }
        let wanted = &far[..far.len().min(FAR_MAX)];
        let gone: Vec<SiteId> = self
            .far
            .keys()
            .filter(|at| !wanted.contains(at))
            .copied()
            .collect();
        for site in gone {
            if let Some(node) = self
                .far
                .remove(&site)
                .filter(|far| far.is_up)
                .and_then(|far| far.node)
            {
                self.changed = true;
                say(cx, node, SpreadMessage::Bye);
            }
        }
        for site in wanted {
            if !self.far.contains_key(site) {
                let next_ms = cx.now_ms() + cx.dice.below(AGAIN_MS / 2);
                let turn = cx.dice.next_u64();
                self.far.insert(*site, Far::new(turn, next_ms));
                self.wake(next_ms);
            }
        }
    }

    /// A node that may lead to others: tried until it answers.
    pub fn meet(&mut self, now_ms: u64, node: NodeId) {
        if self.strangers.len() == STRANGERS_MAX && !self.strangers.contains_key(&node) {
            let tried = self.strangers.iter().max_by_key(|(_, one)| one.tries);
            if let Some(most) = tried.map(|(node, _)| *node) {
                self.strangers.remove(&most);
            }
        }
        let stranger = Stranger {
            tries: 0,
            next_ms: now_ms,
        };
        self.strangers.insert(node, stranger);
        self.wake(now_ms);
    }

    /// Everybody that records are passed to; `true`: near.
    pub fn neighbours(&self) -> impl Iterator<Item = (NodeId, bool)> {
        let near = self.near.iter().map(|node| (*node, true));
        let far = self.far.values().filter(|far| far.is_up);
        let far = far.filter_map(|far| Some((far.node?, false)));
        let guests = self.guests.keys().map(|node| (*node, false));
        near.chain(far).chain(guests)
    }

    /// Whether neighbours changed since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Links that came up since the last call.
    pub fn take_fresh(&mut self) -> Vec<NodeId> {
        std::mem::take(&mut self.fresh)
    }

    /// The round trip to a far neighbour, if it was measured.
    pub fn rtt_us(&self, node: NodeId) -> Option<u64> {
        let far = self.far.values().find(|far| far.node == Some(node))?;
        (far.rtt_us > 0).then_some(far.rtt_us)
    }

    /// The round trip to our link's end in a site, if it was measured.
    pub fn site_rtt_us(&self, site: SiteId) -> Option<u64> {
        let far = self.far.get(&site)?;
        (far.is_up && far.rtt_us > 0).then_some(far.rtt_us)
    }

    /// Sites that we hold a link to, and whether it works.
    pub fn far(&self) -> impl Iterator<Item = (SiteId, bool)> {
        self.far.iter().map(|(site, far)| (*site, far.is_up))
    }

    pub fn next_timeout(&self) -> Option<u64> {
        self.next_ms
    }

    /// Greets whoever is due. `nodes_of` names nodes of a site that may answer.
    pub fn handle_timeout(
        &mut self,
        cx: &mut Context<'_>,
        mut nodes_of: impl FnMut(SiteId) -> Vec<NodeId>,
    ) {
        let now_ms = cx.now_ms();
        let sites: Vec<SiteId> = self
            .far
            .iter()
            .filter(|(_, far)| far.next_ms <= now_ms)
            .map(|(site, _)| *site)
            .collect();
        for site in sites {
            self.numbers = self.numbers.wrapping_add(1);
            let number = self.numbers;
            if let Some(far) = self.far.get_mut(&site) {
                let was_up = far.is_up;
                far.greet(cx, number, || nodes_of(site));
                self.counters.greetings += 1;
                if was_up && !far.is_up {
                    self.counters.went_down += 1;
                    self.changed = true;
                }
            }
        }
        let guests = self.guests.len();
        self.guests
            .retain(|_, guest| guest.heard_ms + GUEST_MS > now_ms);
        self.changed |= guests != self.guests.len();
        self.try_strangers(cx);
        self.plan_next();
    }

    fn try_strangers(&mut self, cx: &mut Context<'_>) {
        let now_ms = cx.now_ms();
        for (node, stranger) in &mut self.strangers {
            if stranger.next_ms <= now_ms {
                let wait_ms = AGAIN_MS << stranger.tries.min(5);
                stranger.tries = stranger.tries.saturating_add(1);
                stranger.next_ms = now_ms + cx.dice.around(wait_ms.min(STRANGER_MS));
                self.counters.greetings += 1;
                // The number of no link: whoever answers is compared with, and forgotten here.
                say(cx, *node, SpreadMessage::Hello { number: 0 });
            }
        }
    }

    /// A greeting or an answer from a peer of this site.
    pub fn handle_message(
        &mut self,
        cx: &mut Context<'_>,
        from: NodeId,
        site: SiteId,
        message: &SpreadMessage,
    ) {
        match *message {
            SpreadMessage::Hello { number } => {
                let is_accepted = number != 0 && self.take_guest(cx.now_ms(), from);
                say(
                    cx,
                    from,
                    SpreadMessage::Here {
                        number,
                        is_accepted,
                        place: cx.coordinates.place(),
                    },
                );
            }
            SpreadMessage::Here { number: 0, .. } => {
                let was_asked = self.strangers.remove(&from).is_some();
                self.fresh.extend(was_asked.then_some(from));
            }
            SpreadMessage::Here {
                number,
                is_accepted,
                place,
            } => {
                self.strangers.remove(&from);
                self.answered(cx, (from, site), number, is_accepted, &place);
            }
            SpreadMessage::Bye => {
                self.changed |= self.guests.remove(&from).is_some();
            }
            _ => {}
        }
        self.plan_next();
    }

    /// Anything at all came from a peer.
    pub fn heard(&mut self, now_ms: u64, from: NodeId) {
        if let Some(guest) = self.guests.get_mut(&from) {
            guest.heard_ms = now_ms;
        }
    }

    fn take_guest(&mut self, now_ms: u64, from: NodeId) -> bool {
        let is_known = self.near.contains(&from)
            || self
                .far
                .values()
                .any(|far| far.is_up && far.node == Some(from));
        if is_known {
            return true;
        }
        if self.guests.len() == GUESTS_MAX && !self.guests.contains_key(&from) {
            self.counters.guests_refused += 1;
            return false;
        }
        self.changed |= self
            .guests
            .insert(from, Guest { heard_ms: now_ms })
            .is_none();
        true
    }

    fn answered(
        &mut self,
        cx: &mut Context<'_>,
        (from, site): (NodeId, SiteId),
        number: u32,
        is_accepted: bool,
        place: &Coordinate,
    ) {
        let Some(far) = self.far.get_mut(&site).filter(|far| far.node == Some(from)) else {
            return;
        };
        if far.number != number {
            return;
        }
        let now_ms = cx.now_ms();
        cx.measured(from, place, now_ms - far.sent_ms);
        if !is_accepted {
            far.turn = far.turn.wrapping_add(1);
            far.misses = 0;
            self.changed |= std::mem::take(&mut far.is_up);
            far.node = None;
            far.next_ms = now_ms + cx.dice.around(AGAIN_MS);
            return;
        }
        far.misses = 0;
        far.rtt_us = ((now_ms - far.sent_ms) * 1000).clamp(1, RTT_US_MAX);
        far.next_ms = now_ms + cx.dice.around(KEEP_MS);
        if !std::mem::replace(&mut far.is_up, true) {
            self.counters.came_up += 1;
            self.changed = true;
            self.fresh.push(from);
            self.guests.remove(&from);
        }
    }

    fn wake(&mut self, at_ms: u64) {
        self.next_ms = Some(self.next_ms.map_or(at_ms, |next| next.min(at_ms)));
    }

    fn plan_next(&mut self) {
        let far = self.far.values().map(|far| far.next_ms);
        let strangers = self.strangers.values().map(|one| one.next_ms);
        let guests = self.guests.values().map(|guest| guest.heard_ms + GUEST_MS);
        self.next_ms = far.chain(strangers).chain(guests).min();
    }

    pub fn memory_bytes(&self) -> usize {
        self.far.len() * 96 + self.guests.len() * 48 + self.strangers.len() * 48 + 256
    }

    /// Panics if a maximum is broken.
    pub fn check(&self) {
        assert!(self.near.len() <= plan::NEAR_MAX, "near links");
        assert!(self.far.len() <= FAR_MAX, "far links");
        assert!(self.guests.len() <= GUESTS_MAX, "guests");
        assert!(self.strangers.len() <= STRANGERS_MAX, "strangers");
    }
}

impl Default for Links {
    fn default() -> Self {
        Self::new()
    }
}

impl Far {
    const fn new(turn: u64, next_ms: u64) -> Self {
        Self {
            node: None,
            turn,
            number: 0,
            sent_ms: 0,
            misses: 0,
            is_up: false,
            next_ms,
            rtt_us: 0,
        }
    }

    /// Says hello to the current end, or to the next node of the site after too much silence.
    fn greet(&mut self, cx: &mut Context<'_>, number: u32, nodes: impl FnOnce() -> Vec<NodeId>) {
        let now_ms = cx.now_ms();
        if self.misses >= MISSES_MAX {
            self.is_up = false;
            self.turn = self.turn.wrapping_add(1);
        }
        if self.misses >= MISSES_MAX || !self.is_up {
            let nodes = nodes();
            let count = nodes.len() as u64;
            let at = self.turn.checked_rem(count).unwrap_or(0);
            self.node = usize::try_from(at)
                .ok()
                .and_then(|at| nodes.get(at))
                .copied();
            self.turn = self.turn.wrapping_add(u64::from(!self.is_up));
            self.misses = 0;
        }
        let wait_ms = if self.is_up { AGAIN_MS } else { RETRY_MS };
        self.next_ms = now_ms + cx.dice.around(wait_ms);
        let Some(node) = self.node else {
            return;
        };
        self.misses += 1;
        (self.number, self.sent_ms) = (number.max(1), now_ms);
        say(
            cx,
            node,
            SpreadMessage::Hello {
                number: self.number,
            },
        );
    }
}

fn say(cx: &mut Context<'_>, to: NodeId, message: SpreadMessage) {
    cx.send(to, Channel::Datagram, Message::Spread(message));
}
