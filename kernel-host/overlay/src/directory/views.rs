//! Reading the directory: states of nodes and sites, with their age.
//!
//! Does:      joins the words that count into lines; a node of a site that nobody reaches is
//!            unreachable, not dead.
//! Does not:  change anything, or know our own site's members (`Overlay` does).
//! Bounds:    reads the bodies in the store each time; `TARGETS_MAX` nodes to ask.
//! Trusts:    that bodies in the store were signed by their speakers.
//! Start at:  `Directory::line`.

use super::{Directory, View, Word, members_of};
use crate::overlay::{NodeState, NodeView, SiteView};
use protocol::peer::members::Health;
use protocol::peer::{Contact, Coordinate, MemberLine, SiteMembers, Stamp};
use protocol::{NodeId, SiteId, Timestamp};
use std::collections::BTreeMap;

/// Nodes of a site that are asked in turn.
const TARGETS_MAX: usize = 16;

fn state_of(health: Health) -> NodeState {
    match health {
        Health::Alive => NodeState::Alive,
        Health::Left => NodeState::Left,
        Health::Dead | Health::Other(_) => NodeState::Dead,
    }
}

/// The better of two lines about one node: the later life, or of one life the one that says alive.
fn better(a: MemberLine, b: MemberLine) -> MemberLine {
    let rank = |line: &MemberLine| (line.life, line.health == Health::Alive);
    if rank(&b) > rank(&a) { b } else { a }
}

impl Directory {
    /// Whether some node of the site can be expected to answer.
    pub fn is_reachable(&self, view: &View<'_>, site: SiteId) -> bool {
        if site == self.site {
            return true;
        }
        let words = self.words(view, site);
        let last = words.iter().map(|word| word.written).max();
        let is_fresh = words.iter().any(|word| word.is_fresh(view));
        is_fresh && !self.is_lost(view, site, last.unwrap_or_default())
    }

    /// Whether all its watchers that count say that the site does not answer, later than itself
    /// said anything.
    fn is_lost(&self, view: &View<'_>, site: SiteId, last: Stamp) -> bool {
        self.is_called_lost(view, site, last, None)
    }

    /// A watcher that is lost itself, as its other watchers say, has no say: sites that fail
    /// together don't vouch for each other.
    fn is_called_lost(
        &self,
        view: &View<'_>,
        site: SiteId,
        last: Stamp,
        accused: Option<SiteId>,
    ) -> bool {
        let mut said = false;
        let watchers = self.backup_sites(site);
        for watcher in watchers.filter(|watcher| Some(*watcher) != accused) {
            if watcher == self.site && self.watching.is_watched(site) {
                match self.watching.is_lost(site) {
                    true => said = true,
                    false => return false,
                }
                continue;
            }
            let words = self.words(view, watcher);
            let latest = words.iter().map(|word| word.written).max();
            let latest = latest.unwrap_or_default();
            if accused.is_none() && self.is_called_lost(view, watcher, latest, Some(site)) {
                continue;
            }
            for word in words.iter().filter(|word| word.is_fresh(view)) {
                if !word.lost.contains(&site) || word.lost_written <= last {
                    return false;
                }
                said = true;
            }
        }
        said
    }

    /// The best line about a node of another site, and when it was said.
    fn line(&self, view: &View<'_>, site: SiteId, node: NodeId) -> Option<(MemberLine, Stamp)> {
        let mut best: Option<(MemberLine, Stamp)> = None;
        for word in self.words(view, site) {
            let Some(entry) = members_of(view.store, word.speaker) else {
                continue;
            };
            let Some(line) = SiteMembers::lines(entry.body()).find(|line| line.node == node) else {
                continue;
            };
            best = Some(match best {
                Some((old, written)) => (better(old, line), written.max(word.written)),
                None => (line, word.written),
            });
        }
        best
    }

    /// A node of another site. `None`: never heard of, or gone so long that it is not listed.
    pub fn node(&self, view: &View<'_>, site: SiteId, node: NodeId) -> Option<NodeView> {
        let (line, written) = self.line(view, site, node)?;
        Some(shown(site, &line, written, self.is_reachable(view, site)))
    }

    /// What is said of each member of a site.
    pub fn health(&self, view: &View<'_>, site: SiteId) -> Vec<(NodeId, Health)> {
        let lines = self.lines(view, site).into_values();
        lines.map(|(line, _)| (line.node, line.health)).collect()
    }

    /// All nodes of another site.
    pub fn nodes(&self, view: &View<'_>, site: SiteId) -> Vec<NodeView> {
        let is_reachable = self.is_reachable(view, site);
        let lines = self.lines(view, site).into_values();
        lines
            .map(|(line, written)| shown(site, &line, written, is_reachable))
            .collect()
    }

    /// The best line about each member of a site, and when it was said.
    fn lines(&self, view: &View<'_>, site: SiteId) -> BTreeMap<NodeId, (MemberLine, Stamp)> {
        let mut lines: BTreeMap<NodeId, (MemberLine, Stamp)> = BTreeMap::new();
        for word in self.words(view, site) {
            let Some(entry) = members_of(view.store, word.speaker) else {
                continue;
            };
            for line in SiteMembers::lines(entry.body()) {
                let best = lines.entry(line.node).or_insert((line, word.written));
                *best = (better(best.0, line), best.1.max(word.written));
            }
        }
        lines
    }

    /// Nodes of another site that may answer, the speakers first.
    pub fn targets(&self, view: &View<'_>, site: SiteId) -> Vec<NodeId> {
        let mut targets: Vec<NodeId> = Vec::new();
        for word in self.words(view, site) {
            let alive = members_of(view.store, word.speaker)
                .into_iter()
                .flat_map(|entry| {
                    SiteMembers::lines(entry.body()).filter(|line| line.health == Health::Alive)
                });
            targets.push(word.speaker);
            targets.extend(
                alive
                    .map(|line| line.node)
                    .filter(|node| *node != word.speaker),
            );
        }
        targets.truncate(TARGETS_MAX);
        targets
    }

    /// Where a site is, by its latest word.
    pub fn place(&self, site: SiteId) -> Option<&Coordinate> {
        let words = self.sites.get(&site)?.words.iter();
        let words = words.filter(|word| !word.ended);
        let last = words.max_by_key(|word| (word.written, word.speaker));
        last.map(|word| &word.place)
    }

    /// The first of `targets`.
    pub fn first_target(&self, view: &View<'_>, site: SiteId) -> Option<NodeId> {
        self.words(view, site).first().map(|word| word.speaker)
    }

    /// All sites that are not retired, and how many nodes each last said are there.
    pub fn sizes(&self) -> impl Iterator<Item = (SiteId, u32)> {
        let known = self.sites.iter().filter(|(_, site)| !site.is_retired);
        known.map(|(id, site)| {
            let words = site.words.iter().filter(|word| !word.ended);
            let last = words.max_by_key(|word| (word.written, word.speaker));
            (*id, last.map_or(0, |word| word.alive))
        })
    }

    /// A site, but for what our own membership knows better of our own.
    pub fn site(&self, view: &View<'_>, site: SiteId) -> Option<SiteView> {
        let known = self.sites.get(&site).filter(|known| !known.is_retired)?;
        let words = self.words(view, site);
        let name = known.words.iter().find_map(|word| self.name(view, word));
        let best = words.iter().max_by_key(|word| (word.written, word.speaker));
        Some(SiteView {
            site,
            name,
            speakers: words.iter().map(|word| word.speaker).collect(),
            alive: words.iter().map(|word| word.alive).max().unwrap_or(0),
            usage: best.map(|word| word.usage),
            is_reachable: self.is_reachable(view, site),
            as_of: best.map(|word| word.written.wall()),
            round_trip_us: None,
        })
    }

    fn name(&self, view: &View<'_>, word: &Word) -> Option<protocol::Name> {
        let entry = members_of(view.store, word.speaker)?;
        SiteMembers::decode(entry.body()).map(|said| said.site_name)
    }

    /// The life in which another speaker of our site holds us for dead.
    pub fn accusation(&self, store: &crate::store::Store) -> Option<protocol::peer::Life> {
        let words = self
            .sites
            .get(&self.site)
            .into_iter()
            .flat_map(|site| &site.words);
        let others = words.filter(|word| !word.ended && word.speaker != self.me);
        let lines = others.filter_map(|word| super::line_about(store, word.speaker, self.me));
        let deaths = lines.filter(|line| line.health == Health::Dead);
        deaths.map(|line| line.life).max()
    }

    /// Everything written before this has reached the site; `None`: it has not said so.
    pub fn acknowledged(&self, view: &View<'_>, site: SiteId) -> Option<Stamp> {
        self.words(view, site)
            .iter()
            .map(|word| word.acknowledged)
            .min()
    }

    /// The oldest of the latest words of all sites: what was written before it by a speaker has
    /// reached us.
    pub fn heard_from_all(&self) -> Option<Stamp> {
        let sites = self
            .sites
            .iter()
            .filter(|(id, site)| !site.is_retired && **id != self.site);
        let latest = sites.map(|(_, site)| {
            site.words
                .iter()
                .map(|word| word.written.max(word.lost_written))
                .max()
        });
        latest.map(Option::unwrap_or_default).min()
    }

    pub fn memory_bytes(&self) -> usize {
        let words = |site: &super::Site| site.words.capacity() * std::mem::size_of::<Word>();
        self.sites
            .values()
            .map(|site| words(site) + std::mem::size_of::<super::Site>() + 32)
            .sum()
    }
}

fn shown(site: SiteId, line: &MemberLine, written: Stamp, is_reachable: bool) -> NodeView {
    let state = match state_of(line.health) {
        NodeState::Alive if !is_reachable => NodeState::Unreachable,
        state => state,
    };
    let as_of: Option<Timestamp> = Some(written.wall());
    NodeView {
        contact: Contact {
            node: line.node,
            site,
            address: line.address,
        },
        life: line.life,
        state,
        as_of,
    }
}
