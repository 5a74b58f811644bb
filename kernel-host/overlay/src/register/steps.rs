//! What each message, and each wish's end, means for a node's registers.
//!
//! Does:      votes for the halls that we sit in; brings those who know an older council up to
//!            date; ends what others asked of us.
//! Does not:  keep time (`Registers::handle_timeout`).
//! Bounds:    one round of messages to ourselves for each message from others.
//! Trusts:    what `Registers` trusts.
//! Start at:  `Registers::receive`.

use super::ops::{Ended, Purpose};
use super::table::Vote;
use super::{GUESTS_MAX, Mail, Registers};
use crate::context::Context;
use crate::guardians::Hall;
use crate::lease;
use protocol::peer::admission::Few;
use protocol::peer::register::{
    Council, Founding, Mark, Outcome, RegisterKey, RegisterMessage, Value, Wish,
};
use protocol::{NodeId, SiteId};

impl Registers {
    pub(super) fn receive(&mut self, cx: &mut Context<'_>, from: NodeId, message: RegisterMessage) {
        use RegisterMessage as M;
        let is_vote = matches!(
            message,
            M::Look { .. } | M::Prepare { .. } | M::Accept { .. } | M::Hand { .. }
        );
        if self.is_double && (is_vote || matches!(message, M::Forward { .. })) {
            return;
        }
        match message {
            M::Look { .. } | M::Prepare { .. } | M::Accept { .. } => self.vote(cx, from, message),
            M::Promise { number, accepted } => {
                let (ops, mut floor) = self.floor(cx);
                ops.promised(&mut floor, from, number, accepted);
            }
            M::Accepted { number } => {
                let (ops, floor) = self.floor(cx);
                ops.accepted(&floor, from, number);
            }
            M::Late { number, promised } => {
                let (ops, mut floor) = self.floor(cx);
                ops.late(&mut floor, from, number, promised);
            }
            M::Full { number } => self.ops.full(number),
            M::Forward { .. } => self.serve(cx, from, message),
            M::Outcome { number, outcome } => {
                let (ops, mut floor) = self.floor(cx);
                ops.forwarded(&mut floor, number, outcome);
            }
            M::Greet { mark } => self.greeted(cx, from, mark),
            M::Council(council) => self.learn(cx, from, *council),
            M::NoCouncil => self.founder.heard_none(cx.now_ms(), from),
            M::Blank { mark } => {
                let is_home = self.home.mark() == mark;
                if is_home && self.blank.iter().all(|(node, _)| *node != from) {
                    self.blank.push((from, cx.now_ms()));
                }
            }
            M::Hand { council, behind } => {
                let site = council.site;
                self.learn(cx, from, *council.clone());
                let hall = self.find_hall(site);
                if let Some(hall) = hall.filter(|hall| hall.mark() == council.mark()) {
                    hall.hand(cx, from, behind);
                }
            }
            M::Page {
                mark,
                behind,
                entries,
                is_last,
                is_seated,
            } => {
                let what = (entries.as_slice(), is_last, is_seated);
                if let (Some(hall), mail) = self.hall_with(mark) {
                    hall.page(cx, mail, from, behind, what);
                }
            }
            M::Seated { mark } => {
                if let (Some(hall), _) = self.hall_with(mark) {
                    hall.seated(cx, from);
                }
                self.guests.retain(|_, hall| hall.is_concerned());
            }
            M::Unseated { mark } => self.home.unseated(cx.now_ms(), from, mark),
        }
    }

    /// The hall whose council this is, and where its messages to ourselves go.
    fn hall_with(&mut self, mark: Mark) -> (Option<&mut Hall>, &mut Mail) {
        let home = (self.home.mark() == mark).then_some(&mut self.home);
        let mut guests = self.guests.values_mut();
        let hall = home.or_else(|| guests.find(|hall| hall.mark() == mark));
        (hall, &mut self.mail)
    }

    fn find_hall(&self, site: SiteId) -> Option<&Hall> {
        if site == self.home.site() {
            Some(&self.home)
        } else {
            self.guests.get(&site)
        }
    }

    /// The hall that a node of some site speaks of.
    fn hall_of(&self, cx: &Context<'_>, from: NodeId) -> Option<&Hall> {
        match cx.keyring.site_of(from) {
            Some(site) if site != self.home.site() => self.guests.get(&site),
            _ => Some(&self.home),
        }
    }

    fn vote(&mut self, cx: &mut Context<'_>, from: NodeId, message: RegisterMessage) {
        use RegisterMessage as M;
        let (M::Look { mark, number, .. }
        | M::Prepare { mark, number, .. }
        | M::Accept { mark, number, .. }) = message
        else {
            return;
        };
        let home = (self.home.mark() == mark).then_some(&mut self.home);
        let mut guests = self.guests.values_mut();
        let Some(hall) = home.or_else(|| guests.find(|hall| hall.mark() == mark)) else {
            self.put_right(cx, from);
            return;
        };
        if !hall.is_seated() {
            return;
        }
        let vote = match message {
            M::Look { key, .. } => Vote::Promised(hall.table.look(cx.now_ms(), &key)),
            M::Prepare { key, ballot, .. } => hall.table.prepare(cx, key, ballot),
            M::Accept {
                key,
                ballot,
                written,
                next,
                ..
            } => hall.table.accept(cx, key, ballot, written, next),
            _ => return,
        };
        let answer = match vote {
            Vote::Promised(accepted) => M::Promise { number, accepted },
            Vote::Accepted => M::Accepted { number },
            Vote::Late(promised) => M::Late { number, promised },
            Vote::Full => M::Full { number },
        };
        self.mail.post(cx, from, answer);
    }

    /// Somebody speaks of a council that is not the one we know.
    fn put_right(&mut self, cx: &mut Context<'_>, from: NodeId) {
        let known = self.hall_of(cx, from).and_then(Hall::council).cloned();
        let message = match known {
            Some(council) => RegisterMessage::Council(Box::new(council)),
            None => RegisterMessage::Greet { mark: None },
        };
        self.mail.post(cx, from, message);
    }

    fn greeted(&mut self, cx: &mut Context<'_>, from: NodeId, mark: Option<Mark>) {
        let is_stranger = cx.keyring.site_of(from) != Some(self.home.site());
        if let Some(council) = self
            .council()
            .filter(|council| is_stranger && council.has(from))
        {
            // It may not have heard that it guards our site.
            let message = RegisterMessage::Council(Box::new(council.clone()));
            self.mail.post(cx, from, message);
        }
        let hall = self.hall_of(cx, from);
        let known = hall.and_then(|hall| hall.council().map(|council| (hall.mark(), council)));
        let message = match known {
            Some((ours, council)) if mark != Some(ours) => {
                RegisterMessage::Council(Box::new(council.clone()))
            }
            _ => RegisterMessage::NoCouncil,
        };
        self.mail.post(cx, from, message);
    }

    /// Somebody says what a site's council is.
    pub(super) fn learn(&mut self, cx: &mut Context<'_>, from: NodeId, council: Council) {
        let site = council.site;
        let is_home = site == self.home.site();
        let known = self.find_hall(site).and_then(Hall::council);
        if let Some(known) = known.filter(|known| known.follows(&council)) {
            let message = RegisterMessage::Council(Box::new(known.clone()));
            self.mail.post(cx, from, message);
            return;
        }
        let may_say = cx.keyring.site_of(from) == Some(site)
            || from == cx.me
            || known.is_some_and(|known| known.has(from));
        let concerns_us = is_home || council.has(cx.me) || known.is_some();
        if !may_say || !concerns_us {
            return;
        }
        if !is_home && known.is_none() && self.guests.len() >= GUESTS_MAX {
            self.refused_guests += 1;
            return;
        }
        let (me, kept, is_fenced) = (self.me, self.kept_boots, self.is_fenced);
        let hall = match is_home {
            true => &mut self.home,
            false => self
                .guests
                .entry(site)
                .or_insert_with(|| Hall::new(site, me, kept, is_fenced)),
        };
        if hall.adopt(cx, &mut self.mail, council) && is_home {
            self.blank.clear();
            self.unhappy_ms = None;
            self.tick_ms = self.tick_ms.min(cx.now_ms() + super::TICK_MS);
            self.ops.council_changed(cx.now_ms());
        }
    }

    /// The first council of our site, or one after a council that is gone: we alone.
    pub(super) fn found(&mut self, cx: &mut Context<'_>) {
        /// 2024-01-01: a clock that shows less was never set.
        const NEVER_SET_MS: u64 = 1_704_067_200_000;
        let era = self
            .council()
            .map_or(0, |old| old.founding.era.saturating_add(1));
        let wall_ms = cx.now.wall.unix_ms();
        let founding = Founding {
            era,
            born_ms: if wall_ms < NEVER_SET_MS {
                u64::MAX
            } else {
                wall_ms
            },
            lot: cx.dice.next_u64(),
        };
        let council = Council {
            site: cx.site,
            founding,
            generation: 1,
            seats: Few::new([self.me]),
            before: Few::default(),
        };
        self.founder.rest();
        let me = cx.me;
        self.learn(cx, me, council);
        self.spread(cx);
    }

    /// Tells the whole site of a new council.
    fn spread(&mut self, cx: &mut Context<'_>) {
        let Some(council) = self.council().cloned() else {
            return;
        };
        let mut nodes: Vec<NodeId> = self.people.there().collect();
        nodes.extend(council.seats.as_slice().iter().map(|seat| seat.node));
        nodes.extend(council.before.as_slice());
        nodes.sort_unstable();
        nodes.dedup();
        for node in nodes {
            if node != cx.me {
                let message = RegisterMessage::Council(Box::new(council.clone()));
                self.mail.post(cx, node, message);
            }
        }
    }

    /// Another node of the site can't reach most guardians.
    fn serve(&mut self, cx: &mut Context<'_>, from: NodeId, message: RegisterMessage) {
        let RegisterMessage::Forward {
            mark,
            number,
            tag,
            key,
            wish,
            ms,
        } = message
        else {
            return;
        };
        let purpose = Purpose::For { node: from, number };
        let is_own_site = cx.keyring.site_of(from) == Some(cx.site);
        if key == RegisterKey::Council || !is_own_site || self.ops.has(purpose) {
            return;
        }
        if mark != self.home.mark() {
            // Another council's answer would be about other registers.
            self.put_right(cx, from);
            let outcome = Outcome::Refused;
            self.mail
                .post(cx, from, RegisterMessage::Outcome { number, outcome });
            return;
        }
        let (ops, mut floor) = self.floor(cx);
        ops.start(&mut floor, purpose, (key, wish), (Some(tag), u64::from(ms)));
    }

    /// Carries on until nothing is left that we do by ourselves.
    pub(super) fn settle(&mut self, cx: &mut Context<'_>) {
        loop {
            if let Some(message) = self.mail.to_self.pop_front() {
                let me = cx.me;
                self.receive(cx, me, message);
            } else if let Some(ended) = self.ops.ended.pop_front() {
                self.end(cx, ended);
            } else if let Some(about) = self.lease.due(cx.now_ms()) {
                self.start(cx, Purpose::Lease, about, lease::WISH_MS);
            } else if self.is_double {
                break;
            } else if let Some((host, key, wish)) = self.fences.due(cx.now_ms()) {
                self.start(cx, Purpose::Fence(host), (key, wish), super::ops::END_MS);
            } else {
                break;
            }
        }
    }

    fn end(&mut self, cx: &mut Context<'_>, ended: Ended) {
        let era = self.council().map_or(0, |council| council.founding.era);
        match ended.purpose {
            Purpose::Ask(ask) => self.answers.push_back((ask, ended.outcome)),
            Purpose::Lease => self.lease.ended(cx, &ended.outcome, era),
            Purpose::Fence(host) => self.fences.ended(cx, host, &ended.outcome, self.rules),
            Purpose::Council => self.council_decided(cx, &ended.outcome),
            Purpose::For { node, number } => {
                let outcome = ended.outcome;
                self.mail
                    .post(cx, node, RegisterMessage::Outcome { number, outcome });
            }
        }
    }

    fn council_decided(&mut self, cx: &mut Context<'_>, outcome: &Outcome) {
        let proposed = self.proposed.take();
        let decided = match outcome {
            Outcome::Done => proposed,
            Outcome::Conflict(Some(value)) => Council::decode(value.bytes()),
            _ => None,
        };
        if let Some(council) = decided {
            let me = cx.me;
            self.learn(cx, me, council);
            self.spread(cx);
        }
    }
}

/// A question about a register, as its asker puts it. `None`: a value is too long.
pub fn swap(expect: Option<Vec<u8>>, value: Vec<u8>) -> Option<Wish> {
    let expect = match expect {
        Some(bytes) => Some(Value::new(bytes)?),
        None => None,
    };
    let value = Value::new(value)?;
    Some(Wish::Swap { expect, value })
}
