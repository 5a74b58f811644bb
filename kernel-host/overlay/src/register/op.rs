//! One wish on its way: how far it is, and what is sent for it.
//!
//! Does:      keeps the answers of an attempt; says what most of them add up to; asks those who
//!            have not answered.
//! Does not:  decide what follows (`ops`).
//! Bounds:    answers of a council's guardians.
//! Trusts:    guardians for their votes.
//! Start at:  `Op`.

use super::Floor;
use super::ops::{Purpose, RESEND_MS};
use protocol::NodeId;
use protocol::peer::register::{
    Accepted, Ballot, Outcome, RegisterKey, RegisterMessage, Tag, Wish, Written,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// No council, or backing off.
    Resting,
    Looking,
    Preparing,
    /// Most have to accept; then the wish ends so, if it does.
    Accepting(Option<Outcome>),
    Forwarded,
}

#[derive(Debug)]
pub struct Op {
    pub attempt: u8,
    pub purpose: Purpose,
    pub key: RegisterKey,
    pub wish: Wish,
    pub tag: Tag,
    pub started_ms: u64,
    pub end_ms: u64,
    pub phase: Phase,
    pub phase_ms: u64,
    pub wake_ms: u64,
    pub ballot: Option<Ballot>,
    pub next: Option<Ballot>,
    pub promises: Vec<(NodeId, Option<Accepted>)>,
    pub accepts: Vec<NodeId>,
    pub late: Vec<NodeId>,
    pub writing: Option<Written>,
    /// What stood there when our value was first sent out.
    pub base: Option<Tag>,
    /// Our value was sent out: it may come true.
    pub is_risked: bool,
    /// Who was asked to try for us.
    pub asked: Vec<NodeId>,
}

/// What most guardians hold.
pub struct View {
    pub written: Option<Written>,
    pub age_ms: u64,
    /// All of them hold it.
    pub is_settled: bool,
}

impl View {
    pub fn outcome(&self) -> Outcome {
        Outcome::Value {
            value: self.written.as_ref().map(|written| written.value.clone()),
            age_ms: self.age_ms,
        }
    }
}

impl Op {
    pub const fn number(&self, id: u64) -> u64 {
        id << 8 | self.attempt as u64
    }

    pub fn begin(&mut self, now_ms: u64) {
        self.attempt = self.attempt.wrapping_add(1);
        self.phase_ms = now_ms;
        self.wake_ms = now_ms + RESEND_MS;
        self.promises.clear();
        self.accepts.clear();
        self.late.clear();
        (self.writing, self.next) = (None, None);
    }

    pub fn rest(&mut self, now_ms: u64, ms: u64) {
        self.phase = Phase::Resting;
        self.attempt = self.attempt.wrapping_add(1);
        self.phase_ms = now_ms;
        self.wake_ms = now_ms + ms;
    }

    pub fn write_own(&mut self) {
        if let Wish::Swap { value, .. } = &self.wish {
            self.writing = Some(Written {
                tag: self.tag,
                follows: self.base,
                value: value.clone(),
            });
            self.is_risked = true;
            self.phase = Phase::Accepting(None);
        }
    }

    pub fn view(&self) -> View {
        let seen = self.promises.iter().map(|(_, accepted)| accepted.as_ref());
        let newest = seen.clone().flatten().max_by_key(|one| one.ballot);
        let is_it = |one: Option<&Accepted>| {
            one.map(|one| one.written.tag) == newest.map(|newest| newest.written.tag)
        };
        let same = seen.clone().filter(|one| is_it(*one)).flatten();
        View {
            written: newest.map(|one| one.written.clone()),
            age_ms: same.map(|one| one.age_ms).max().unwrap_or(0),
            is_settled: seen
                .map(|one| one.map(|one| one.ballot))
                .all(|ballot| ballot == newest.map(|newest| newest.ballot)),
        }
    }

    /// To all guardians that have not answered, or only to those of them in `only`.
    pub fn send(&self, floor: &mut Floor<'_, '_>, id: u64, only: Option<&[NodeId]>) {
        let Some(council) = floor.council else {
            return;
        };
        let (mark, key, number) = (floor.mark, self.key, self.number(id));
        let message = match (&self.phase, self.ballot, &self.writing) {
            (Phase::Looking, ..) => RegisterMessage::Look { mark, key, number },
            (Phase::Preparing, Some(ballot), _) => RegisterMessage::Prepare {
                mark,
                key,
                number,
                ballot,
            },
            (Phase::Accepting(_), Some(ballot), Some(written)) => RegisterMessage::Accept {
                mark,
                key,
                number,
                ballot,
                written: written.clone(),
                next: self.next,
            },
            _ => return,
        };
        let is_accepting = matches!(self.phase, Phase::Accepting(_));
        for seat in council.seats.as_slice() {
            let has_answered = match is_accepting {
                true => self.accepts.contains(&seat.node),
                false => self.promises.iter().any(|(node, _)| *node == seat.node),
            };
            let is_wanted = only.is_none_or(|only| only.contains(&seat.node));
            if !has_answered && is_wanted && !self.late.contains(&seat.node) {
                floor.post(seat.node, message.clone());
            }
        }
    }
}
