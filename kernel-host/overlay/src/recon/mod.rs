//! Two nodes compare what they hold, and each asks for what it lacks.
//!
//! Does:      sums per realm in a datagram; if they differ, sums of ranges, then marks, then
//!            records, on streams; what must heal first comes first. News ripple on to other links.
//! Does not:  judge records (`store`) or choose links; its caller names the neighbours.
//! Bounds:    no conversation is kept; `ASKED_MAX` marks on their way, `REFUSED_MAX` that were
//!            refused, `BUNDLES_MAX` bundles for one wish: the next round brings the rest.
//! Trusts:    no one: a wrong sum costs its sender's links some messages.
//! Start at:  `Recon::handle_message`.

mod compare;

use crate::clock::Clock;
use crate::context::Context;
use crate::store::Store;
use protocol::peer::recon::{Mark, Packer, RealmSum, ReconMessage};
use protocol::peer::{Channel, Message, Realm, RecordKey, Stamp};
use protocol::{NodeId, SiteId};
use std::collections::{BTreeMap, VecDeque};

/// A quiet node compares with a random neighbour this often.
const PERIOD_MS: u64 = 20_000;
/// News are passed on after so long, so that many go in one round.
const RIPPLE_MS: u64 = 150;
/// Ripples in a row are at most so far apart.
const RIPPLE_MS_MAX: u64 = 5_000;
/// One peer is not asked more often than this.
const GAP_MS: u64 = 400;
/// Marks asked for and not come yet. At the limit nothing more is asked for.
const ASKED_MAX: usize = 4096;
/// A mark that did not come may be asked for again, also elsewhere.
const ASKED_MS: u64 = 3_000;
/// Marks whose records were refused; the oldest are forgotten.
const REFUSED_MAX: usize = 256;
/// For so long they are not asked for again.
const REFUSED_MS: u64 = 60_000;
/// Answers to one wish.
const BUNDLES_MAX: usize = 4;
/// Peers whose last round is remembered.
const PEERS_MAX: usize = 64;

/// How rounds went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub opened: u64,
    pub same: u64,
    pub different: u64,
    pub wanted: u64,
    pub bundles: u64,
}

/// Reconciliation with neighbours.
#[derive(Debug)]
pub struct Recon {
    next_ms: u64,
    /// Neighbours to compare with as soon as may be.
    soon: VecDeque<NodeId>,
    /// When each was asked last.
    opened: BTreeMap<NodeId, u64>,
    asked: BTreeMap<Mark, u64>,
    refused: VecDeque<(Mark, u64)>,
    ripple_ms: Option<u64>,
    /// When the last ripple went, and how far it was to be from the one before.
    rippled_ms: u64,
    ripple_gap_ms: u64,
    counters: Counters,
    /// Our set and that of a peer were equal: local time.
    pub settled_ms: Option<u64>,
}

impl Recon {
    pub fn new(now_ms: u64) -> Self {
        Self {
            next_ms: now_ms + 1_000,
            soon: VecDeque::new(),
            opened: BTreeMap::new(),
            asked: BTreeMap::new(),
            refused: VecDeque::new(),
            ripple_ms: None,
            rippled_ms: 0,
            ripple_gap_ms: RIPPLE_MS,
            counters: Counters::default(),
            settled_ms: None,
        }
    }

    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// A link came up, or a cut healed: compare with this peer now.
    pub fn meet(&mut self, now_ms: u64, peer: NodeId) {
        if self.soon.len() < PEERS_MAX && !self.soon.contains(&peer) {
            self.soon.push_back(peer);
            self.next_ms = self.next_ms.min(now_ms);
        }
    }

    /// Records came by reconciliation: `from` may have more, and of a `crowd` others lack some too.
    pub fn learned(&mut self, now_ms: u64, from: NodeId, is_crowd: bool) {
        if is_crowd {
            self.meet_later(now_ms, from);
            self.ripple(now_ms);
        }
    }

    /// We have something new and too few links to send it by. While much is on its way, sets always
    /// differ: ripples that follow each other are further and further apart.
    pub fn ripple(&mut self, now_ms: u64) {
        if self.ripple_ms.is_some() {
            return;
        }
        let is_calm = now_ms >= self.rippled_ms + 2 * self.ripple_gap_ms;
        self.ripple_gap_ms = match is_calm {
            true => RIPPLE_MS,
            false => (2 * self.ripple_gap_ms).min(RIPPLE_MS_MAX),
        };
        let soonest_ms = self.rippled_ms + self.ripple_gap_ms;
        self.ripple_ms = Some(soonest_ms.max(now_ms + RIPPLE_MS));
    }

    fn meet_later(&mut self, now_ms: u64, peer: NodeId) {
        if self.soon.len() < PEERS_MAX && !self.soon.contains(&peer) {
            self.soon.push_back(peer);
            self.next_ms = self.next_ms.min(now_ms + RIPPLE_MS);
        }
    }

    /// This record was refused: do not ask for it again soon.
    pub fn refuse(&mut self, now_ms: u64, mark: Mark) {
        if self.refused.len() == REFUSED_MAX {
            self.refused.pop_front();
        }
        self.refused.push_back((mark, now_ms + REFUSED_MS));
    }

    /// What was refused may be asked for again.
    pub fn pardon(&mut self) {
        self.refused.clear();
    }

    fn is_refused(&self, now_ms: u64, mark: Mark) -> bool {
        self.refused
            .iter()
            .any(|(known, until)| *known == mark && *until > now_ms)
    }

    pub fn next_timeout(&self) -> u64 {
        self.ripple_ms
            .map_or(self.next_ms, |at| at.min(self.next_ms))
    }

    /// `neighbours`: peers that we have links to.
    pub fn handle_timeout(
        &mut self,
        cx: &mut Context<'_>,
        store: &Store,
        clock: &Clock,
        neighbours: &[NodeId],
    ) {
        let now_ms = cx.now_ms();
        if self.ripple_ms.is_some_and(|at| at <= now_ms) {
            self.ripple_ms = None;
            self.rippled_ms = now_ms;
            neighbours.iter().for_each(|peer| self.meet(now_ms, *peer));
        }
        if now_ms < self.next_ms {
            return;
        }
        self.asked.retain(|_, until| *until > now_ms);
        if self.soon.is_empty() && !neighbours.is_empty() {
            let at = cx.dice.below(neighbours.len() as u64);
            let at = usize::try_from(at).unwrap_or(0);
            self.soon.extend(neighbours.get(at).copied());
        }
        self.next_ms = now_ms + cx.dice.around(PERIOD_MS);
        for peer in std::mem::take(&mut self.soon) {
            let due_ms = self.opened.get(&peer).map_or(0, |at| at + GAP_MS);
            if due_ms > now_ms {
                self.soon.push_back(peer);
                self.next_ms = self.next_ms.min(due_ms);
            } else {
                self.open(cx, store, clock, peer);
            }
        }
    }

    fn open(&mut self, cx: &mut Context<'_>, store: &Store, clock: &Clock, peer: NodeId) {
        if self.opened.len() >= PEERS_MAX && !self.opened.contains_key(&peer) {
            let oldest = self.opened.iter().min_by_key(|(_, at)| **at);
            if let Some(oldest) = oldest.map(|(peer, _)| *peer) {
                self.opened.remove(&oldest);
            }
        }
        self.opened.insert(peer, cx.now_ms());
        self.counters.opened += 1;
        let sums = protocol::peer::admission::Few::new(sums(store));
        let wall = Stamp::from_wall(clock.wall(cx.now));
        send(
            cx,
            peer,
            Channel::Datagram,
            ReconMessage::Open { wall, sums },
        );
    }

    /// Everything but bundles, which its caller judges record by record. `common`: whether the
    /// sender keeps a realm.
    pub fn handle_message(
        &mut self,
        cx: &mut Context<'_>,
        store: &Store,
        clock: &Clock,
        from: NodeId,
        common: &dyn Fn(Realm) -> bool,
        message: ReconMessage,
    ) {
        match message {
            ReconMessage::Open { sums, .. } => {
                let different = differing(store, common, sums.as_slice());
                if different.is_empty() {
                    self.settle(cx);
                    let wall = Stamp::from_wall(clock.wall(cx.now));
                    send(cx, from, Channel::Datagram, ReconMessage::Same { wall });
                } else {
                    self.counters.different += 1;
                    compare::describe(cx, store, from, &different);
                }
            }
            ReconMessage::Same { .. } => self.settle(cx),
            ReconMessage::Ranges { realm, ranges } => {
                if store.keeps(realm) && common(realm) {
                    self.compare(cx, store, from, realm, ranges.as_slice());
                }
            }
            ReconMessage::Want {
                realm,
                class,
                marks,
            } => {
                if common(realm) {
                    self.deliver(cx, store, from, realm, class, marks.as_slice());
                }
            }
            ReconMessage::Ask { key } => answer(cx, store, from, &key),
            ReconMessage::Bundle(_) | ReconMessage::Gone { .. } => {}
        }
    }

    fn settle(&mut self, cx: &Context<'_>) {
        self.counters.same += 1;
        self.settled_ms = Some(cx.now_ms());
    }

    /// Records for someone who lacks them.
    fn deliver(
        &mut self,
        cx: &mut Context<'_>,
        store: &Store,
        to: NodeId,
        realm: Realm,
        class: u8,
        marks: &[Mark],
    ) {
        let Some(table) = store.table(realm) else {
            return;
        };
        let mut packer = Packer::default();
        let mut bundles = 0;
        for entry in marks
            .iter()
            .filter_map(|mark| table.behind(usize::from(class), *mark))
        {
            if packer.add(entry.bytes()) {
                continue;
            }
            bundles += 1;
            send(cx, to, Channel::Stream, packer.finish());
            if bundles == BUNDLES_MAX {
                break;
            }
            packer.add(entry.bytes());
        }
        if !packer.is_empty() {
            bundles += 1;
            send(cx, to, Channel::Stream, packer.finish());
        }
        self.counters.bundles += bundles as u64;
    }

    pub fn memory_bytes(&self) -> usize {
        self.asked.len() * 32 + self.opened.len() * 40 + self.refused.len() * 16 + 256
    }
}

/// The realms that we hold something of, or keep for our own site.
fn sums(store: &Store) -> impl Iterator<Item = RealmSum> {
    store.realms().map(|(realm, table)| RealmSum {
        realm,
        sum: table.sum(),
    })
}

/// Realms that both keep and hold different sets of.
fn differing(store: &Store, common: &dyn Fn(Realm) -> bool, theirs: &[RealmSum]) -> Vec<Realm> {
    let their_sum = |realm| {
        let found = theirs.iter().find(|one| one.realm == realm);
        found.map(|one| one.sum).unwrap_or_default()
    };
    let mut realms: Vec<Realm> = theirs.iter().map(|one| one.realm).collect();
    realms.extend(store.realms().map(|(realm, _)| realm));
    realms.sort_unstable();
    realms.dedup();
    realms.retain(|realm| {
        let ours = store
            .table(*realm)
            .map(crate::store::Table::sum)
            .unwrap_or_default();
        store.keeps(*realm) && common(*realm) && ours != their_sum(*realm)
    });
    realms
}

/// Whether we, of the home site, know an object.
fn answer(cx: &mut Context<'_>, store: &Store, to: NodeId, key: &RecordKey) {
    let mut packer = Packer::default();
    let message = match store.find(key) {
        Some(entry) if packer.add(entry.bytes()) => packer.finish(),
        _ => ReconMessage::Gone { key: *key },
    };
    send(cx, to, Channel::Stream, message);
}

pub(crate) fn send(cx: &mut Context<'_>, to: NodeId, channel: Channel, message: ReconMessage) {
    cx.send(to, channel, Message::Recon(message));
}

/// The site whose nodes can vouch for a record.
pub fn home_of(key: &RecordKey, author_site: Option<SiteId>) -> Option<SiteId> {
    match key.realm {
        Realm::Site(site) => Some(site),
        Realm::Cluster => author_site,
    }
}
