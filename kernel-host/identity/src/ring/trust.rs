//! Roots, grants and charters that were proved.
//!
//! Does:      keeps what a root vouches for; learns a root from one that it already trusts.
//! Does not:  take anything away: `revoked` says what no longer counts.
//! Bounds:    `ROOTS_MAX`, `GRANTS_MAX`, `CHARTERS_MAX` a site, `ALL_CHARTERS_MAX`. What comes
//!            above is refused and counted: who is here first stays, so that nobody who can make
//!            charters pushes out those that nodes live by.
//! Trusts:    the roots that it was given.
//! Start at:  `Trust`.

use crate::charter::{Charter, CharterId};
use crate::grant::{Grant, GrantId};
use crate::succession::Succession;
use protocol::SiteId;
use protocol::peer::PublicKey;
use protocol::peer::admission::CHARTERS_MAX;
use std::collections::BTreeMap;

/// Roots that follow each other; four changes of root fit into the life of one image.
pub const ROOTS_MAX: usize = 5;
/// Founding tokens, lists and operators: four for each of 500 sites.
pub const GRANTS_MAX: usize = 2048;
/// Charters of all sites.
pub const ALL_CHARTERS_MAX: usize = 4096;

/// What a statement turned out to be worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Learned {
    New,
    Known,
    /// It leads to no root that we know; one may come.
    Unrooted,
    Bad,
    /// Good, but there is no room.
    Full,
}

#[derive(Debug, Default)]
pub(super) struct Trust {
    pub roots: Vec<PublicKey>,
    pub successions: Vec<Succession>,
    pub grants: BTreeMap<GrantId, Grant>,
    pub charters: BTreeMap<CharterId, Charter>,
    per_site: BTreeMap<SiteId, usize>,
    /// No time is earlier than the latest date that a root wrote: a clock that says so is wrong.
    pub floor_s: u64,
}

impl Trust {
    pub fn new(roots: &[PublicKey]) -> Self {
        let mut trust = Self::default();
        for root in roots.iter().take(ROOTS_MAX) {
            if !trust.roots.contains(root) {
                trust.roots.push(*root);
            }
        }
        trust
    }

    pub fn learn_succession(&mut self, succession: &Succession) -> Learned {
        let (old, new) = (succession.fields().old, succession.fields().new);
        if self.successions.contains(succession) {
            return Learned::Known;
        }
        if !self.roots.contains(&old) && !self.roots.contains(&new) {
            return Learned::Unrooted;
        }
        if !succession.is_signed() {
            return Learned::Bad;
        }
        let same = |known: &Succession| known.fields().old == old && known.fields().new == new;
        if self.successions.iter().any(same) {
            return Learned::Known;
        }
        let strangers = [old, new].map(|root| usize::from(!self.roots.contains(&root)));
        if self.roots.len() + strangers.iter().sum::<usize>() > ROOTS_MAX
            || self.successions.len() == ROOTS_MAX
        {
            return Learned::Full;
        }
        for root in [old, new] {
            if !self.roots.contains(&root) {
                self.roots.push(root);
            }
        }
        self.successions.push(succession.clone());
        self.floor_s = self.floor_s.max(succession.fields().made_s);
        Learned::New
    }

    /// Whether `new` follows `old`, directly or through others.
    pub fn follows(&self, new: &PublicKey, old: &PublicKey) -> bool {
        let mut reached = vec![*old];
        for _ in 0..self.successions.len() {
            for step in &self.successions {
                let (from, to) = (step.fields().old, step.fields().new);
                if reached.contains(&from) && !reached.contains(&to) {
                    reached.push(to);
                }
            }
        }
        new != old && reached.contains(new)
    }

    pub fn learn_grant(&mut self, grant: &Grant) -> Learned {
        let id = grant.id();
        if let Some(known) = self.grants.get_mut(&id) {
            return match known.absorb(grant, &self.roots) {
                true => Learned::New,
                false if grant.is_covered_by(known) => Learned::Known,
                false => Learned::Unrooted,
            };
        }
        let Some(proved) = grant.endorsed_by_any(&self.roots) else {
            return Learned::Unrooted;
        };
        if self.grants.len() >= GRANTS_MAX {
            return Learned::Full;
        }
        self.floor_s = self.floor_s.max(proved.fields().made_s);
        self.grants.insert(id, proved);
        Learned::New
    }

    /// A charter together with its founding grant.
    pub fn learn_charter(&mut self, grant: &Grant, charter: &Charter) -> Learned {
        match self.learn_grant(grant) {
            Learned::Unrooted if !self.grants.contains_key(&grant.id()) => {
                return Learned::Unrooted;
            }
            bad @ (Learned::Bad | Learned::Full) => return bad,
            _ => {}
        }
        let id = charter.id();
        if self.charters.contains_key(&id) {
            return Learned::Known;
        }
        let Some(site) = grant.site_id().filter(|_| charter.is_from(grant)) else {
            return Learned::Bad;
        };
        let in_site = self.per_site.entry(site).or_default();
        if *in_site >= CHARTERS_MAX || self.charters.len() >= ALL_CHARTERS_MAX {
            return Learned::Full;
        }
        *in_site += 1;
        self.charters.insert(id, charter.clone());
        Learned::New
    }

    /// A charter and its founding grant.
    pub fn charter(&self, id: CharterId) -> Option<(&Charter, &Grant)> {
        let charter = self.charters.get(&id)?;
        Some((charter, self.grants.get(&charter.fields().grant)?))
    }

    pub fn site_of(&self, id: CharterId) -> Option<SiteId> {
        self.charter(id)?.1.site_id()
    }
}
