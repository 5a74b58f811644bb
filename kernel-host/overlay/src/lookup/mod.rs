//! The cluster's table: small signed values by key, kept at homes that everybody can compute.
//!
//! Does:      puts an entry at the homes of its key and repeats it while its author lives; finds
//!            what is under a key at the nearest homes, in two hops at most; keeps what it is a
//!            home of; compares with the other homes, and hands over what has a home elsewhere.
//! Does not:  decide between authors: a key has one value of each, and the reader knows whom to
//!            believe. Names that must be unique are registers. Nothing is written to a disk:
//!            authors repeat what they have put.
//! Bounds:    `shelf::ENTRIES_MAX`, `own::OWN_MAX`, `asks::ASKS_MAX`, `BUCKETS` of book-keeping,
//!            `TAKES_PER_S` entries judged and `REPAIR_BYTES_PER_S` sent to mend others.
//! Trusts:    an entry for what its author signed; a home not to hide entries.
//! Start at:  `Lookup::put`, `Lookup::find`, then `rank::Homes`.

mod asks;
mod own;
mod pace;
pub mod rank;
mod repair;
mod shelf;

use crate::clock::Clock;
use crate::context::{Context, Verdict};
use asks::{ASKS_MAX, Asks, REPEATS_MAX};
use own::Own;
use pace::Pace;
use protocol::NodeId;
use protocol::peer::admission::Few;
use protocol::peer::lookup::{
    Entry, HOPS_MAX, Key, LIVES_S_MAX, LIVES_S_MIN, LookupMessage, Route, Taken, Value,
};
use protocol::peer::recon::Mark;
use protocol::peer::{Channel, Contact, Message};
use rank::{Atlas, Homes, Role};
use repair::Bucket;
use shelf::{Placed, Shelf, has_faded};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Entries that are judged in a second, which takes a signature each: beyond, senders are told to
/// come again (`busy`).
const TAKES_PER_S: u64 = 500;
const TAKES_BURST: u64 = 1000;
/// Bytes of entries that are sent in a second to mend what others lack.
const REPAIR_BYTES_PER_S: u64 = 16 << 10;
const REPAIR_BURST_BYTES: u64 = 64 << 10;
const SWEEP_MS: u64 = 10_000;

/// How many homes must say what is under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Most of them: what most have taken is found.
    Most,
    /// The first that has anything: quick, and perhaps not the newest.
    Nearest,
}

/// What one author says under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub author: NodeId,
    pub value: Vec<u8>,
    pub age_ms: u64,
}

/// How a question to the table ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// So many homes of so many have taken it. Fewer than most: it is tried again.
    Taken { homes: u8, of: u8 },
    /// So many homes of so many were sure of what they said.
    Found {
        values: Vec<Found>,
        homes: u8,
        of: u8,
    },
    /// Nobody answered. What was put is tried again.
    Unsure,
    /// Nothing was done: too much is under way, or the value or its life is out of range.
    Refused,
}

/// What went on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages sent to ask or put, and those that came and were passed on.
    pub questions: u64,
    pub forwarded: u64,
    pub asks_refused: u64,
    pub own_refused: u64,
    /// Entries of others: kept, and refused for each reason.
    pub kept: u64,
    pub forged: u64,
    pub bad: u64,
    pub unknown_authors: u64,
    pub full: u64,
    pub busy: u64,
    /// Sent to us though it has its home elsewhere.
    pub misplaced: u64,
    pub repaired: u64,
    /// Not sent, because too much was sent to mend others.
    pub deferred: u64,
    pub handed_over: u64,
}

/// What one step works with.
#[derive(Debug)]
pub struct Desk<'a, 'c> {
    pub cx: &'a mut Context<'c>,
    pub clock: &'a mut Clock,
    pub atlas: &'a dyn Atlas,
    /// Our boots: entries of a later one are newer.
    pub boots: u64,
}

/// This node's part of the table.
#[derive(Debug)]
pub struct Lookup {
    shelf: Shelf,
    own: Own,
    asks: Asks,
    buckets: BTreeMap<u16, Bucket>,
    due: BTreeSet<(u64, u16)>,
    /// The next bucket whose homes are computed anew.
    cursor: u16,
    plan_ms: u64,
    step_ms: u64,
    /// Versions that we do not take, and until when we do not ask for them again.
    refused: BTreeMap<Mark, u64>,
    taking: Pace,
    mending: Pace,
    answers: VecDeque<(u64, Answer)>,
    sweep_ms: u64,
    counters: Counters,
}

impl Lookup {
    pub fn new(cx: &mut Context<'_>) -> Self {
        Self {
            shelf: Shelf::default(),
            own: Own::default(),
            asks: Asks {
                // Answers to an earlier boot's questions are not taken for ours.
                next: cx.dice.next_u64() >> 8,
                ..Asks::default()
            },
            buckets: BTreeMap::new(),
            due: BTreeSet::new(),
            cursor: 0,
            plan_ms: 0,
            step_ms: 0,
            refused: BTreeMap::new(),
            taking: Pace::new(TAKES_PER_S, TAKES_BURST),
            mending: Pace::new(REPAIR_BYTES_PER_S, REPAIR_BURST_BYTES),
            answers: VecDeque::new(),
            sweep_ms: cx.now_ms(),
            counters: Counters::default(),
        }
    }

    /// Puts what we say under a key, until `lives_s` have passed without us; `None` ends it.
    pub fn put(
        &mut self,
        desk: &mut Desk<'_, '_>,
        ask: u64,
        key: Key,
        value: Option<Vec<u8>>,
        lives_s: u32,
    ) {
        let value = match value.map(Value::new) {
            Some(None) => None,
            Some(Some(value)) => Some(Some(value)),
            None => Some(None),
        };
        let is_in_range = (LIVES_S_MIN..=LIVES_S_MAX).contains(&lives_s);
        let has_room = self.own.has_room(key) && self.has_room_for_ask();
        let Some(value) = value.filter(|_| is_in_range && has_room) else {
            self.counters.own_refused += 1;
            self.answers.push_back((ask, Answer::Refused));
            return;
        };
        let entry = self.own.write(desk, key, value, lives_s);
        self.ask_put(desk, Some(ask), entry);
    }

    pub fn find(&mut self, desk: &mut Desk<'_, '_>, ask: u64, key: Key, reach: Reach) {
        if self.has_room_for_ask() {
            self.ask_find(desk, ask, key, reach);
        } else {
            self.counters.asks_refused += 1;
            self.answers.push_back((ask, Answer::Refused));
        }
    }

    fn has_room_for_ask(&self) -> bool {
        self.asks.by_number.len() < ASKS_MAX
    }

    /// An answer that has come.
    pub fn poll_answer(&mut self) -> Option<(u64, Answer)> {
        self.answers.pop_front()
    }

    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Entries that this node keeps for the cluster.
    pub fn len(&self) -> usize {
        self.shelf.len()
    }

    pub fn is_empty(&self) -> bool {
        self.shelf.len() == 0
    }

    /// What this node itself keeps under a key, ended entries included.
    pub fn kept(&self, key: Key) -> impl Iterator<Item = &Entry> {
        self.shelf.values(key)
    }

    pub fn handle_message(
        &mut self,
        desk: &mut Desk<'_, '_>,
        from: Contact,
        message: LookupMessage,
    ) {
        let (node, site) = (from.node, from.site);
        match message {
            LookupMessage::Put {
                number,
                route,
                entry,
            } => self.receive_put(desk, number, route, *entry),
            LookupMessage::Find { number, route, key } => {
                self.receive_find(desk, number, route, key);
            }
            LookupMessage::Taken { number, taken } => {
                self.handle_taken(desk, site, number, taken);
            }
            LookupMessage::Found {
                number,
                is_sure,
                values,
            } => self.handle_found(desk, site, number, is_sure, values.as_slice()),
            LookupMessage::Sums(sums) => self.receive_sums(desk, from, sums.as_slice()),
            LookupMessage::Agree(agreed) => {
                for one in agreed.as_slice() {
                    if self.shelf.sum(one.bucket).marks == one.marks {
                        self.settle(desk, one.bucket, node, one.is_sure);
                    }
                }
            }
            LookupMessage::Offer {
                bucket,
                wants_back,
                marks,
            } => self.receive_offer(desk, from, bucket, wants_back, marks.as_slice()),
            LookupMessage::Want {
                bucket,
                offered,
                marks,
            } => self.receive_want(desk, node, (bucket, offered), marks.as_slice()),
            LookupMessage::Entries(entries) => {
                self.receive_entries(desk, from, entries.as_slice());
            }
        }
    }

    fn receive_put(&mut self, desk: &mut Desk<'_, '_>, number: u64, route: Route, entry: Entry) {
        if route.asker == desk.cx.me {
            return;
        }
        let homes = Homes::of(desk.atlas, entry.key.bucket());
        let next = self.next_hop(desk, &homes, route);
        let message = match next {
            Some((_, route)) => LookupMessage::Put {
                number,
                route,
                entry: Box::new(entry),
            },
            None => {
                let taken = self.keep(desk, entry);
                LookupMessage::Taken { number, taken }
            }
        };
        let to = next.map_or(route.asker, |(node, _)| node);
        desk.cx
            .send(to, Channel::Datagram, Message::Lookup(message));
    }

    fn receive_find(&mut self, desk: &mut Desk<'_, '_>, number: u64, route: Route, key: Key) {
        if route.asker == desk.cx.me {
            return;
        }
        let homes = Homes::of(desk.atlas, key.bucket());
        let has_any = self.shelf.values(key).next().is_some();
        let next = self.next_hop(desk, &homes, route).filter(|_| !has_any);
        let message = match next {
            Some((_, route)) => LookupMessage::Find { number, route, key },
            None => {
                let (is_sure, values) = self.held(desk, key);
                LookupMessage::Found {
                    number,
                    is_sure,
                    values: Few::new(values),
                }
            }
        };
        let to = next.map_or(route.asker, |(node, _)| node);
        desk.cx
            .send(to, Channel::Datagram, Message::Lookup(message));
    }

    /// To whom a question goes that has its home elsewhere: the asker's view was older than ours,
    /// or is younger. `None`: we deal with it.
    fn next_hop(
        &mut self,
        desk: &Desk<'_, '_>,
        homes: &Homes,
        route: Route,
    ) -> Option<(NodeId, Route)> {
        let me = desk.cx.me;
        if route.hops >= HOPS_MAX || homes.has(me) {
            return None;
        }
        let others = homes.firsts().filter(|(_, node)| *node != route.asker);
        let nearest = others.min_by_key(|(site, node)| {
            let is_far = *site != desk.cx.site;
            (is_far, desk.atlas.distance_us(*node, *site), *node)
        });
        let (_, node) = nearest?;
        self.counters.forwarded += 1;
        let hops = route.hops + 1;
        Some((node, Route { hops, ..route }))
    }

    /// Keeps an entry that somebody put, and gives it to our fellow in the site.
    fn keep(&mut self, desk: &mut Desk<'_, '_>, entry: Entry) -> Taken {
        let bucket = entry.key.bucket();
        match self.take(desk, &entry) {
            Ok(is_fresh) => {
                let fellow = self.bucket(desk, bucket).fellow().filter(|_| is_fresh);
                if let Some(fellow) = fellow {
                    let entries = LookupMessage::Entries(Few::new([entry]));
                    desk.cx
                        .send(fellow, Channel::Datagram, Message::Lookup(entries));
                }
                Taken::Kept
            }
            Err(taken) => taken,
        }
    }

    /// One entry, by whatever way it came. `true`: it is new here.
    fn take(&mut self, desk: &mut Desk<'_, '_>, entry: &Entry) -> Result<bool, Taken> {
        let now = desk.cx.now;
        let is_possible = entry.lives_s >= LIVES_S_MIN
            && (!entry.ended || entry.value.bytes().is_empty())
            && !desk.clock.is_ahead(now, entry.written);
        if !is_possible || has_faded(now, desk.clock, entry) {
            self.counters.bad += 1;
            return Err(Taken::Bad);
        }
        let held = self.shelf.find(entry.key, entry.author);
        if let Some(held) = held.filter(|held| !entry.is_newer_than(held)) {
            return if held == entry {
                Ok(false)
            } else {
                Err(Taken::Older)
            };
        }
        if !self.shelf.has_room(entry) {
            self.counters.full += 1;
            return Err(Taken::Full);
        }
        let is_own = entry.author == desk.cx.me;
        if !is_own && !self.taking.take(now.uptime_ms, 1) {
            self.counters.busy += 1;
            return Err(Taken::Busy);
        }
        let bytes = entry.signed_part();
        let keyring = &desk.cx.keyring;
        let verdict = keyring.verify(entry.author, &bytes, &entry.signature);
        match verdict {
            Verdict::Good => {}
            Verdict::UnknownAuthor => {
                self.counters.unknown_authors += 1;
                return Err(Taken::Unknown);
            }
            Verdict::Bad | Verdict::Revoked => {
                self.counters.forged += 1;
                return Err(Taken::Bad);
            }
        }
        if self.shelf.place(now.uptime_ms, entry.clone()) == Placed::Full {
            self.counters.full += 1;
            return Err(Taken::Full);
        }
        self.counters.kept += 1;
        desk.clock.observe(entry.written);
        self.touched(desk, entry.key.bucket());
        Ok(true)
    }

    /// What we keep under a key, and whether that is all there is.
    fn held(&mut self, desk: &mut Desk<'_, '_>, key: Key) -> (bool, Vec<Entry>) {
        let now = desk.cx.now;
        let bucket = self.bucket(desk, key.bucket());
        bucket.used_ms = now.uptime_ms;
        let is_sure = bucket.is_sure && bucket.role != Role::Stranger;
        let values = self.shelf.values(key);
        let values = values.filter(|one| !has_faded(now, desk.clock, one));
        (is_sure, values.cloned().collect())
    }

    pub fn handle_timeout(&mut self, desk: &mut Desk<'_, '_>) {
        let now_ms = desk.cx.now_ms();
        while let Some((_, number)) = self.asks.due.first().filter(|(at, _)| *at <= now_ms) {
            let number = *number;
            self.go_on(desk, number);
        }
        while self.asks.repeats < REPEATS_MAX && self.has_room_for_ask() {
            let Some(at) = self.own.next_timeout().filter(|at| *at <= now_ms) else {
                break;
            };
            debug_assert!(at <= now_ms);
            if let Some(entry) = self.own.repeat(desk) {
                self.ask_put(desk, None, entry);
            }
        }
        if self.sweep_ms <= now_ms && !self.is_idle() {
            self.sweep(desk);
        }
        self.mend(desk);
    }

    fn is_idle(&self) -> bool {
        self.buckets.is_empty() && self.is_empty()
    }

    fn sweep(&mut self, desk: &mut Desk<'_, '_>) {
        let now_ms = desk.cx.now_ms();
        self.sweep_ms = now_ms + desk.cx.dice.around(SWEEP_MS);
        let keyring = &desk.cx.keyring;
        let is_gone = |author| keyring.is_revoked(author) || keyring.is_replaced(author);
        self.shelf.sweep(desk.cx.now, desk.clock, is_gone);
        self.refused.retain(|_, until| *until > now_ms);
    }

    /// When `handle_timeout` is due. A node that has nothing to do with the table sleeps.
    pub fn next_timeout(&self) -> Option<u64> {
        let asks = self.asks.due.first().map(|(at, _)| *at);
        let may_repeat = self.asks.repeats < REPEATS_MAX && self.has_room_for_ask();
        let repeats = self.own.next_timeout().filter(|_| may_repeat);
        let keeps = (!self.is_idle()).then_some(self.sweep_ms);
        let mends = self.next_mend();
        [asks, repeats, keeps, mends].into_iter().flatten().min()
    }

    pub fn memory_bytes(&self) -> usize {
        self.shelf.memory_bytes()
            + self.own.memory_bytes()
            + self.asks.memory_bytes()
            + self.buckets.len() * (size_of::<Bucket>() + 3 * size_of::<rank::Home>() + 120)
            + self.refused.len() * 40
    }

    /// Panics if its own state does not fit together.
    pub fn check(&self) {
        self.shelf.check();
        self.own.check();
        self.asks.check();
        self.check_buckets();
    }
}
