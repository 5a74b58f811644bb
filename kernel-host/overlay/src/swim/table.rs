//! The members of a site that count as there, in the order in which they are probed.
//!
//! Does:      finds a member by id; deals them out in rounds, each member once a round; picks some
//!            at random; keeps a digest of who is there in which life.
//! Does not:  decide who is there (`Swim`).
//! Bounds:    `MEMBERS_MAX`, refused and counted beyond; below 200 bytes each.
//! Trusts:    its caller.
//! Start at:  `Table`.

use super::suspicion::Suspicion;
use netcore::dice::Dice;
use protocol::NodeId;
use protocol::peer::{Contact, Life};
use std::collections::BTreeMap;

/// Members of a site: far more than a site should have, for comparison with flat clusters.
pub const MEMBERS_MAX: usize = 8192;

/// What we think of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    Alive,
    /// It did not answer somebody, and may still refute that.
    Suspect,
}

/// Another node of the site that counts as there.
#[derive(Debug, Clone)]
pub struct Member {
    pub contact: Contact,
    pub life: Life,
    /// Since when its health is what it is, in our uptime.
    pub since_ms: u64,
    /// When it last spoke to us itself.
    pub heard_ms: u64,
    /// Which run of the node; zero: not known.
    pub(super) instance: u32,
    pub(super) suspicion: Option<Box<Suspicion>>,
}

impl Member {
    pub const fn health(&self) -> Health {
        if self.suspicion.is_some() {
            Health::Suspect
        } else {
            Health::Alive
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Table {
    /// In the order of this round; those from `next` on are still to be probed.
    members: Vec<Member>,
    places: BTreeMap<NodeId, u32>,
    next: usize,
    digest: u32,
}

/// What one node in one life adds to a digest.
pub(super) fn digest_of(node: NodeId, life: Life) -> u32 {
    let bytes = node.bytes();
    let mut mixed = life.bits().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for half in [&bytes[..8], &bytes[8..]] {
        let half = half
            .iter()
            .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        mixed = (mixed ^ half).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed ^= mixed >> 33;
    }
    let [a, b, c, d, ..] = mixed.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

impl Table {
    pub fn len(&self) -> usize {
        self.members.len()
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub fn digest(&self) -> u32 {
        self.digest
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Member> {
        self.members.iter()
    }

    pub fn find(&self, node: NodeId) -> Option<&Member> {
        self.members.get(*self.places.get(&node)? as usize)
    }

    /// For changes that leave node and life as they are.
    pub fn find_mut(&mut self, node: NodeId) -> Option<&mut Member> {
        self.members.get_mut(*self.places.get(&node)? as usize)
    }

    pub fn set_life(&mut self, node: NodeId, life: Life) {
        if let Some(place) = self.places.get(&node) {
            let member = &mut self.members[*place as usize];
            self.digest ^= digest_of(node, member.life) ^ digest_of(node, life);
            member.life = life;
        }
    }

    /// Adds a member that is not there yet, at a random place among those to be probed this round.
    pub fn insert(&mut self, dice: &mut Dice, member: Member) -> bool {
        if self.members.len() >= MEMBERS_MAX {
            return false;
        }
        self.digest ^= digest_of(member.contact.node, member.life);
        let last = self.members.len();
        self.places.insert(member.contact.node, place(last));
        self.members.push(member);
        let to_probe = last - self.next.min(last) + 1;
        self.swap(last, last + 1 - to_probe + below(dice, to_probe));
        true
    }

    pub fn remove(&mut self, node: NodeId) -> Option<Member> {
        let at = *self.places.get(&node)? as usize;
        if at < self.next {
            // Its place goes to the last that was probed, and that one's place to the very last.
            self.next -= 1;
            self.swap(at, self.next);
        }
        let at = *self.places.get(&node)? as usize;
        self.swap(at, self.members.len() - 1);
        self.places.remove(&node);
        let member = self.members.pop()?;
        self.digest ^= digest_of(node, member.life);
        Some(member)
    }

    /// The next member to probe; when all were, a new round begins in another order.
    pub fn next_to_probe(&mut self, dice: &mut Dice) -> Option<NodeId> {
        if self.next >= self.members.len() {
            self.next = 0;
            for at in (1..self.members.len()).rev() {
                self.swap(at, below(dice, at + 1));
            }
        }
        let node = self.members.get(self.next)?.contact.node;
        self.next += 1;
        Some(node)
    }

    /// Up to `count` different members that are not suspect, without `but`.
    pub fn pick(&self, dice: &mut Dice, count: usize, but: NodeId) -> Vec<NodeId> {
        let mut picked = Vec::with_capacity(count);
        let all = self.members.len();
        if all == 0 {
            return picked;
        }
        // A walk from a random start with a random stride meets each member at most once when
        // there are few; among many, a repetition is rare and is skipped.
        let few = all <= 4 * count;
        let mut at = below(dice, all);
        for _ in 0..all.min(8 * count) {
            let member = &self.members[at];
            let node = member.contact.node;
            if node != but && member.suspicion.is_none() && !picked.contains(&node) {
                picked.push(node);
                if picked.len() == count {
                    break;
                }
            }
            at = if few {
                (at + 1) % all
            } else {
                below(dice, all)
            };
        }
        picked
    }

    fn swap(&mut self, a: usize, b: usize) {
        if a != b {
            self.members.swap(a, b);
            for at in [a, b] {
                self.places.insert(self.members[at].contact.node, place(at));
            }
        }
    }

    pub fn memory_bytes(&self) -> usize {
        let suspects = self
            .members
            .iter()
            .filter(|member| member.suspicion.is_some());
        self.members.capacity() * size_of::<Member>()
            + self.places.len() * 2 * (size_of::<NodeId>() + 4)
            + suspects.count() * size_of::<Suspicion>()
    }

    pub fn check(&self) {
        assert_eq!(self.members.len(), self.places.len());
        assert!(self.members.len() <= MEMBERS_MAX && self.next <= self.members.len());
        let mut digest = 0;
        for (at, member) in self.members.iter().enumerate() {
            let node = member.contact.node;
            assert_eq!(self.places.get(&node), Some(&place(at)), "{node}");
            digest ^= digest_of(node, member.life);
        }
        assert_eq!(digest, self.digest);
    }
}

fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn below(dice: &mut Dice, limit: usize) -> usize {
    usize::try_from(dice.below(limit as u64)).unwrap_or(0)
}
