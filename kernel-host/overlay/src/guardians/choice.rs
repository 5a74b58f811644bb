//! Who should guard a site.
//!
//! Does:      keeps guardians that serve; replaces those that have long been away; grows and
//!            shrinks the council with the site. Changes slowly, so that a short outage moves
//!            nothing.
//! Does not:  carry a change out (`Hall`).
//! Bounds:    1, 3 or 5 guardians.
//! Trusts:    the site's own membership, and proofs that a node is gone for good.
//! Start at:  `Choice::next`.

use super::people::{People, Presence};
use protocol::NodeId;
use protocol::peer::admission::Few;
use protocol::peer::register::{Council, GUARDIANS_MAX, Seat};

/// A guardian that is dead for so long is replaced.
const DEAD_MS: u64 = 30_000;
/// The same for one that said goodbye, or lost what it had promised.
const USELESS_MS: u64 = 3000;
/// A node must have been there for so long before it is chosen.
const STEADY_MS: u64 = 3000;
/// From so many nodes on there are five guardians; below `FEW` again three.
const MANY: usize = 8;
const FEW: usize = 6;

/// What the choice depends on.
#[derive(Debug)]
pub struct Choice<'a> {
    pub now_ms: u64,
    /// When we began to look at our site.
    pub started_ms: u64,
    pub me: Seat,
    /// We are about to go: others must take over.
    pub is_leaving: bool,
    pub people: &'a People,
    /// Guardians that said they lost what they had promised, and since when.
    pub blank: &'a [(NodeId, u64)],
    /// A node of another site, for a site of two.
    pub neighbour: Option<Seat>,
}

impl Choice<'_> {
    fn is_fit(&self, node: NodeId, is_gone: &dyn Fn(NodeId) -> bool) -> bool {
        let is_past = |since_ms: u64, ms: u64| self.now_ms >= since_ms + ms;
        let blank = self.blank.iter().find(|(one, _)| *one == node);
        if is_gone(node) || blank.is_some_and(|(_, since)| is_past(*since, USELESS_MS)) {
            return false;
        }
        if node == self.me.node {
            return !self.is_leaving;
        }
        match self
            .people
            .find(node)
            .map(|one| (one.presence, one.since_ms))
        {
            Some((Presence::There, _)) => true,
            Some((Presence::Dead, since_ms)) => !is_past(since_ms, DEAD_MS),
            Some((Presence::Left, since_ms)) => !is_past(since_ms, USELESS_MS),
            // Of another site, which proposes another node once this one is gone.
            None => self.neighbour.is_none_or(|other| other.node == node),
        }
    }

    fn is_own(&self, node: NodeId) -> bool {
        node == self.me.node || self.people.find(node).is_some()
    }

    /// The seats of the next council. `None`: the present one stays.
    pub fn next(
        &self,
        council: &Council,
        is_gone: &dyn Fn(NodeId) -> bool,
    ) -> Option<Few<Seat, GUARDIANS_MAX>> {
        let seats = council.seats.as_slice();
        if seats.len() > 1 && !self.is_leaving && self.now_ms < self.started_ms + DEAD_MS {
            return None;
        }
        let there = usize::from(!self.is_leaving) + self.people.there().count();
        let wanted = match there {
            MANY.. => 5,
            FEW.. => seats.len().max(3),
            2.. => 3,
            1 if self.is_leaving => 1,
            _ => return None,
        };
        let fit = |seat: &&Seat| self.is_fit(seat.node, is_gone);
        let mut next: Vec<Seat> = seats
            .iter()
            .filter(fit)
            .filter(|seat| self.is_own(seat.node))
            .copied()
            .collect();
        next.extend(self.candidates(seats, is_gone));
        // A stranger only where there are not enough of our own.
        let strangers = seats
            .iter()
            .filter(fit)
            .filter(|seat| !self.is_own(seat.node));
        next.extend(strangers);
        next.extend(self.neighbour.filter(|_| there == 2));
        next.extend(seats.iter().filter(|seat| !self.is_fit(seat.node, is_gone)));
        let mut kept: Vec<Seat> = Vec::new();
        for seat in next {
            // Whoever goes must not be counted on, not even to fill a place.
            if self.is_leaving && seat.node == self.me.node {
                continue;
            }
            if kept.len() < wanted && kept.iter().all(|one| one.node != seat.node) {
                kept.push(seat);
            }
        }
        if kept.len().is_multiple_of(2) {
            kept.pop();
        }
        let is_same = kept.len() == seats.len()
            && kept.iter().all(|seat| seats.iter().any(|old| old == seat));
        (!is_same && !kept.is_empty()).then(|| Few::new(kept))
    }

    /// Steady nodes of our site that have no seat, and those whose seat must be given anew.
    fn candidates(
        &self,
        seats: &[Seat],
        is_gone: &dyn Fn(NodeId) -> bool,
    ) -> impl Iterator<Item = Seat> {
        let mut steady: Vec<Seat> = self
            .people
            .iter()
            .filter(|(_, one)| {
                one.presence == Presence::There && self.now_ms >= one.since_ms + STEADY_MS
            })
            .map(|(node, one)| Seat {
                node: *node,
                boots: one.boots,
            })
            .chain(Some(self.me).filter(|_| !self.is_leaving))
            .filter(|seat| !is_gone(seat.node))
            .collect();
        steady.retain(|seat| {
            let old = seats.iter().find(|old| old.node == seat.node);
            let is_blank = self.blank.iter().any(|(node, _)| *node == seat.node);
            old.is_none() || (is_blank && !self.is_fit(seat.node, is_gone) && old != Some(seat))
        });
        steady.sort_unstable_by_key(|seat| seat.node);
        steady.into_iter()
    }
}
