//! One site's council on one node: which it is, whether we sit in it, and what we hold for it.
//!
//! Does:      takes in newer councils; takes our seat only when most guardians of the council
//!            before have handed over; never votes after having forgotten, nor while fenced.
//! Does not:  choose guardians (`choice`), or count votes (`register::ops`).
//! Bounds:    those of a `Table`.
//! Trusts:    nodes of the site for what council was decided.
//! Start at:  `Hall::adopt`.

use crate::context::{Context, Save};
use crate::register::{Mail, Table};
use protocol::peer::register::{
    Council, Entry, Founding, Mark, RegisterKey, RegisterMessage, Seat,
};
use protocol::peer::{Channel, Message};
use protocol::{NodeId, SiteId};
use serde::{Deserialize, Serialize};

/// Start of the keys of our savings.
pub const SAVED_AT: &str = "register/council/";
/// How often a handover is asked for again.
const HAND_MS: u64 = 400;
/// No message is on its way for longer.
const IN_FLIGHT_MS: u64 = 3000;

/// Which council a table is complete for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Term {
    founding: Founding,
    generation: u32,
}

/// A hall on the disk.
#[derive(Debug, Serialize, Deserialize)]
pub struct SavedHall {
    council: Council,
    term: Option<Term>,
}

/// How far one guardian has handed over.
#[derive(Debug, Clone, Copy)]
struct Source {
    node: NodeId,
    behind: Option<RegisterKey>,
    is_complete: bool,
    is_seated: bool,
}

/// One site's council, as one node knows it.
#[derive(Debug)]
pub struct Hall {
    site: SiteId,
    me: Seat,
    /// The last boot that our disk remembers, before this one.
    kept_boots: Option<u32>,
    council: Option<Council>,
    mark: Mark,
    pub table: Table,
    /// What our table is complete for. `None`: for nothing.
    term: Option<Term>,
    sources: Vec<Source>,
    hand_ms: Option<u64>,
    /// We sit in this council but have forgotten what we promised in it.
    is_blank: bool,
    /// Our disk keeps nothing now: we neither vote nor take a seat.
    is_fenced: bool,
    /// Guardians of this council that have taken their seats.
    seated: Vec<NodeId>,
    /// Guardians of this council that said they have not, since nobody can hand over any more.
    unseated: Vec<NodeId>,
    bereft_ms: Option<u64>,
}

const fn term(council: &Council) -> Term {
    Term {
        founding: council.founding,
        generation: council.generation,
    }
}

impl Hall {
    pub const fn new(site: SiteId, me: Seat, kept_boots: Option<u32>, is_fenced: bool) -> Self {
        Self {
            site,
            me,
            kept_boots,
            council: None,
            mark: Mark([0; 8]),
            table: Table::new(site),
            term: None,
            sources: Vec::new(),
            hand_ms: None,
            is_blank: false,
            is_fenced,
            seated: Vec::new(),
            unseated: Vec::new(),
            bereft_ms: None,
        }
    }

    pub const fn site(&self) -> SiteId {
        self.site
    }

    pub const fn council(&self) -> Option<&Council> {
        self.council.as_ref()
    }

    pub const fn mark(&self) -> Mark {
        self.mark
    }

    /// We sit in this council and can't serve in it.
    pub fn is_useless(&self) -> bool {
        let sits = |council: &Council| council.has(self.me.node);
        self.is_blank || self.is_fenced && self.council.as_ref().is_some_and(sits)
    }

    pub const fn set_fenced(&mut self, is_fenced: bool) {
        self.is_fenced = is_fenced;
    }

    /// Whether we vote.
    pub fn is_seated(&self) -> bool {
        let can_serve = !self.is_blank && !self.is_fenced;
        self.council.as_ref().is_some_and(|council| {
            council.has(self.me.node) && self.term == Some(term(council)) && can_serve
        })
    }

    /// Whether this node has anything to do with the site's registers.
    pub fn is_concerned(&self) -> bool {
        let sits = self
            .council
            .as_ref()
            .is_some_and(|council| council.has(self.me.node));
        sits || self.term.is_some()
    }

    pub const fn next_timeout(&self) -> Option<u64> {
        if self.is_fenced { None } else { self.hand_ms }
    }

    /// A council that was decided. `true`: it is news.
    pub fn adopt(&mut self, cx: &mut Context<'_>, mail: &mut Mail, council: Council) -> bool {
        if council.site != self.site || !council.is_sound() {
            return false;
        }
        if self
            .council
            .as_ref()
            .is_some_and(|old| !council.follows(old))
        {
            return false;
        }
        let is_founder = council.before.as_slice().is_empty() && council.has(self.me.node);
        let serves = self.term.is_some_and(|held| {
            held.founding == council.founding && held.generation + 1 == council.generation
        });
        if !serves {
            self.table.clear(cx);
            self.term = is_founder.then_some(term(&council));
        }
        self.table.forget_council(cx);
        self.mark = council.mark();
        let before = council.before.as_slice();
        self.sources = before
            .iter()
            .copied()
            .chain(council.seats.as_slice().iter().map(|seat| seat.node))
            .filter(|node| *node != self.me.node)
            .map(|node| Source {
                node,
                behind: None,
                is_complete: false,
                is_seated: false,
            })
            .collect();
        self.sources.sort_unstable_by_key(|source| source.node);
        self.sources.dedup_by_key(|source| source.node);
        self.seated.clear();
        self.unseated.clear();
        self.bereft_ms = None;
        let seat = council
            .seats
            .as_slice()
            .iter()
            .find(|seat| seat.node == self.me.node);
        self.is_blank = seat.is_some_and(|seat| self.has_forgotten(seat));
        let must_take = seat.is_some() && !is_founder && !self.is_blank;
        self.hand_ms = must_take.then(|| cx.now_ms());
        self.council = Some(council);
        self.save(cx);
        self.try_seat(cx, mail);
        true
    }

    /// A seat that was given in another boot is taken only with what was saved then: a disk that
    /// does not know that boot may have lost our votes. One that knows it and holds none never had
    /// any.
    fn has_forgotten(&self, seat: &Seat) -> bool {
        let is_kept = self.kept_boots.is_some_and(|kept| kept >= seat.boots);
        self.term.is_none() && seat.boots != self.me.boots && !is_kept
    }

    pub fn save(&self, cx: &mut Context<'_>) {
        let saved = self.council.clone().map(|council| SavedHall {
            council,
            term: self.term,
        });
        let value = saved.and_then(|saved| postcard::to_extend(&saved, Vec::new()).ok());
        cx.out.saves.push_back(Save {
            key: format!("{SAVED_AT}{}", self.site),
            value,
        });
    }

    pub fn restore(&mut self, saved: SavedHall, now_ms: u64) {
        let council = saved.council;
        self.mark = council.mark();
        self.term = saved.term;
        let seat = council
            .seats
            .as_slice()
            .iter()
            .find(|seat| seat.node == self.me.node);
        let has_now = self.term == Some(term(&council));
        let before = council.before.as_slice();
        if let Some(seat) = seat.filter(|_| !has_now) {
            self.is_blank = self.has_forgotten(seat);
            self.hand_ms = (!self.is_blank).then_some(now_ms);
            let nodes = before.iter().copied();
            let nodes = nodes.chain(council.seats.as_slice().iter().map(|seat| seat.node));
            self.sources = nodes
                .filter(|node| *node != self.me.node)
                .map(|node| Source {
                    node,
                    behind: None,
                    is_complete: false,
                    is_seated: false,
                })
                .collect();
        }
        self.council = Some(council);
    }

    pub fn handle_timeout(&mut self, cx: &mut Context<'_>, mail: &mut Mail) {
        if self.is_fenced || self.hand_ms.is_none_or(|at| at > cx.now_ms()) {
            return;
        }
        self.hand_ms = Some(cx.now_ms() + HAND_MS);
        let Some(council) = &self.council else {
            return;
        };
        for source in self.sources.iter().filter(|source| !source.is_complete) {
            let message = RegisterMessage::Hand {
                council: Box::new(council.clone()),
                behind: source.behind,
            };
            mail.post(cx, source.node, message);
        }
    }

    /// Whether nobody is left who could hand over to us: most guardians before this council are
    /// gone for good, and nobody with a seat in it had taken it by then.
    pub fn is_stranded(&mut self, now_ms: u64, is_gone: impl Fn(NodeId) -> bool) -> bool {
        let waiting = self.council.as_ref().filter(|_| self.hand_ms.is_some());
        let bereft = waiting.filter(|council| {
            let before = council.before.as_slice();
            let living = before.iter().filter(|node| !is_gone(**node)).count();
            living <= before.len() / 2
        });
        let Some(council) = bereft else {
            self.bereft_ms = None;
            self.unseated.clear();
            return false;
        };
        self.bereft_ms.get_or_insert(now_ms);
        let mut seats = council.seats.as_slice().iter().map(|seat| seat.node);
        seats.all(|node| node == self.me.node || is_gone(node) || self.unseated.contains(&node))
    }

    /// A guardian says that it holds nothing for this council. What was on its way when the last
    /// one who could have handed over went may be out of date.
    pub fn unseated(&mut self, now_ms: u64, node: NodeId, mark: Mark) {
        let is_late = self.bereft_ms.is_some_and(|at| now_ms >= at + IN_FLIGHT_MS);
        if is_late && mark == self.mark && !self.unseated.contains(&node) {
            self.unseated.push(node);
        }
    }

    /// Whether we have what was decided until this council, and may tell its guardians.
    pub fn holds(&self, council: &Council) -> bool {
        let can_serve = !self.is_blank && !self.is_fenced;
        let is_of = |held: Term| {
            let since = council.generation.checked_sub(held.generation);
            held.founding == council.founding && since.is_some_and(|since| since <= 1)
        };
        can_serve && self.term.is_some_and(is_of)
    }

    /// Somebody with a seat asks for what we hold. We have adopted its council before.
    pub fn hand(&self, cx: &mut Context<'_>, to: NodeId, behind: Option<RegisterKey>) {
        let Some(council) = &self.council else {
            return;
        };
        let is_seated = self.is_seated();
        let sat_before = self.term.is_some_and(|held| {
            held.founding == council.founding && held.generation + 1 == council.generation
        });
        if !council.has(to) {
            return;
        }
        if !is_seated && !sat_before {
            if council.has(self.me.node) {
                let message = RegisterMessage::Unseated { mark: self.mark };
                cx.send(to, Channel::Datagram, Message::Register(message));
            }
            return;
        }
        let (entries, is_last) = self.table.page(cx.now_ms(), behind);
        let message = RegisterMessage::Page {
            mark: self.mark,
            behind,
            entries,
            is_last,
            is_seated,
        };
        cx.send(to, Channel::Stream, Message::Register(message));
    }

    /// A part of what another guardian holds.
    pub fn page(
        &mut self,
        cx: &mut Context<'_>,
        mail: &mut Mail,
        from: NodeId,
        behind: Option<RegisterKey>,
        (entries, is_last, is_seated): (&[Entry], bool, bool),
    ) {
        if self.is_seated() || self.is_blank || self.is_fenced || self.hand_ms.is_none() {
            return;
        }
        let Some(source) = self.sources.iter_mut().find(|source| source.node == from) else {
            return;
        };
        if source.is_complete || source.behind != behind {
            return;
        }
        for entry in entries {
            self.table.merge(cx.now_ms(), entry.clone());
        }
        source.behind = entries.last().map(|entry| entry.key).or(behind);
        source.is_complete = is_last;
        // It counts as seated only if it was from the first page on.
        source.is_seated = is_seated && (source.is_seated || behind.is_none());
        if !is_last && let Some(council) = &self.council {
            let message = RegisterMessage::Hand {
                council: Box::new(council.clone()),
                behind: source.behind,
            };
            mail.post(cx, from, message);
        }
        self.try_seat(cx, mail);
    }

    /// Takes our seat if enough was handed over.
    fn try_seat(&mut self, cx: &mut Context<'_>, mail: &mut Mail) {
        let may_sit = self.hand_ms.is_some() && !self.is_fenced;
        let Some(council) = self.council.as_ref().filter(|_| may_sit) else {
            return;
        };
        let before = council.before.as_slice();
        let has_own = self.term.is_some() && before.contains(&self.me.node);
        let complete = self.sources.iter().filter(|source| source.is_complete);
        let handed = complete
            .clone()
            .filter(|source| before.contains(&source.node))
            .count();
        let is_enough = handed + usize::from(has_own) > before.len() / 2;
        if !is_enough && !complete.clone().any(|source| source.is_seated) {
            return;
        }
        self.term = Some(term(council));
        self.hand_ms = None;
        let told: Vec<NodeId> = self.sources.iter().map(|source| source.node).collect();
        for node in told {
            mail.post(cx, node, RegisterMessage::Seated { mark: self.mark });
        }
        self.table.save_all(cx);
        self.save(cx);
    }

    /// A guardian has taken its seat. Once most have, those who left may forget.
    pub fn seated(&mut self, cx: &mut Context<'_>, node: NodeId) {
        let Some(council) = self.council.as_ref().filter(|council| council.has(node)) else {
            return;
        };
        if !self.seated.contains(&node) {
            self.seated.push(node);
        }
        if self.seated.len() >= council.majority() && !council.has(self.me.node) {
            self.table.clear(cx);
            if self.term.take().is_some() {
                self.save(cx);
            }
        }
    }
}

/// A hall that was saved. `None`: the bytes are none.
pub fn read_saved(bytes: &[u8]) -> Option<SavedHall> {
    let saved: SavedHall = postcard::from_bytes(bytes).ok()?;
    saved.council.is_sound().then_some(saved)
}

impl SavedHall {
    pub const fn site(&self) -> SiteId {
        self.council.site
    }
}
