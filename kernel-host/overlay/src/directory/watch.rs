//! The speaker of a site asks the sites that it keeps copies of whether they still answer.
//!
//! Does:      one datagram each `ASK_MS` per watched site; any node there answers; silence of all
//!            that were asked for `LOST_MS` makes the site lost.
//! Does not:  tell anyone: `SITE_LOAD` does.
//! Bounds:    `WATCHED_MAX` sites; more are not watched.
//! Trusts:    an answer as proof of life; a later word of the site as proof that only the path is
//!            at fault.
//! Start at:  `Watching::handle_timeout`.

use crate::context::Context;
use protocol::peer::directory::DirectoryMessage;
use protocol::peer::load::WATCHED_MAX;
use protocol::peer::{Channel, Message, Stamp};
use protocol::{NodeId, SiteId};
use std::collections::BTreeMap;

const ASK_MS: u64 = 1_000;
/// Several nodes were asked meanwhile.
const LOST_MS: u64 = 4_500;

/// A lost site is asked at each so manieth turn.
const LOST_EVERY: u32 = 3;

#[derive(Debug, Clone, Copy)]
struct Watched {
    answered_ms: u64,
    is_lost: bool,
    lost_at: Stamp,
    /// The site speaks, but does not answer us: believe its words.
    is_indirect: bool,
    number: u32,
}

/// Sites that we watch.
#[derive(Debug, Default)]
pub struct Watching {
    sites: BTreeMap<SiteId, Watched>,
    next_ms: u64,
    changed: bool,
}

impl Watching {
    /// Which sites to watch: those whose copies we keep, if we speak for our site.
    pub fn set(&mut self, now_ms: u64, sites: impl Iterator<Item = SiteId>) {
        let old = std::mem::take(&mut self.sites);
        self.sites = sites
            .take(WATCHED_MAX)
            .map(|site| {
                let fresh = Watched {
                    answered_ms: now_ms,
                    is_lost: false,
                    lost_at: Stamp::default(),
                    is_indirect: false,
                    number: 0,
                };
                (site, old.get(&site).copied().unwrap_or(fresh))
            })
            .collect();
    }

    pub fn is_watched(&self, site: SiteId) -> bool {
        self.sites.contains_key(&site)
    }

    pub fn is_lost(&self, site: SiteId) -> bool {
        self.sites.get(&site).is_some_and(|one| one.is_lost)
    }

    /// Sites that do not answer, sorted.
    pub fn lost(&self) -> impl Iterator<Item = SiteId> {
        self.sites
            .iter()
            .filter(|(_, one)| one.is_lost)
            .map(|(site, _)| *site)
    }

    /// Whether `lost` changed since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    pub fn next_timeout(&self) -> Option<u64> {
        (!self.sites.is_empty()).then_some(self.next_ms)
    }

    /// A node of the site answered, or asked something itself.
    pub fn heard(&mut self, now_ms: u64, site: SiteId) {
        if let Some(one) = self.sites.get_mut(&site) {
            one.answered_ms = now_ms;
            one.is_indirect = false;
            self.changed |= std::mem::replace(&mut one.is_lost, false);
        }
    }

    /// A word of the site's own came, by whatever path.
    pub fn heard_word(&mut self, site: SiteId, written: Stamp) {
        let lost = self
            .sites
            .get_mut(&site)
            .filter(|one| one.is_lost && written > one.lost_at);
        if let Some(one) = lost {
            one.is_indirect = true;
            one.is_lost = false;
            self.changed = true;
        }
    }

    /// `target` picks a node of a site for the n-th question.
    pub fn handle_timeout(
        &mut self,
        cx: &mut Context<'_>,
        wall: Stamp,
        target: impl Fn(SiteId, u32) -> Option<NodeId>,
    ) {
        let now_ms = cx.now_ms();
        if self.sites.is_empty() || now_ms < self.next_ms {
            return;
        }
        self.next_ms = now_ms + cx.dice.around(ASK_MS);
        for (site, one) in &mut self.sites {
            let is_silent = now_ms.saturating_sub(one.answered_ms) >= LOST_MS;
            if is_silent && !one.is_lost && !one.is_indirect {
                one.is_lost = true;
                one.lost_at = wall;
                self.changed = true;
            }
            one.number = one.number.wrapping_add(1);
            let number = one.number;
            if one.is_lost && !number.is_multiple_of(LOST_EVERY) {
                continue;
            }
            if let Some(to) = target(*site, number) {
                let ask = Message::Directory(DirectoryMessage::Ask { number, wall });
                cx.send(to, Channel::Datagram, ask);
            }
        }
    }
}
