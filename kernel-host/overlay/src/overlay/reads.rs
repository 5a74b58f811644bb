//! What readers may ask of the overlay. Every fact that is not first-hand has an age.
//!
//! Does:      joins our own membership with the far view; finds addresses and records; counts.
//! Does not:  change anything.
//! Bounds:    lists are as long as the cluster.
//! Trusts:    the parts.
//! Start at:  `Overlay::nodes`.

use super::journal::Entry;
use super::site::Member;
use super::{Counters, NodeState, NodeView, Overlay, SiteView};
use crate::coordinates::guess_us;
use crate::directory::View;
use core::net::SocketAddr;
use protocol::peer::{Contact, Life, Realm, Record, RecordKey, RecordKind};
use protocol::{Moment, NodeId, SiteId};

impl Overlay {
    pub const fn me(&self) -> Contact {
        self.core.me
    }

    pub const fn life(&self) -> Life {
        self.life
    }

    pub(super) const fn view(&self, now: Moment) -> View<'_> {
        View {
            store: &self.store,
            clock: &self.clock,
            now,
        }
    }

    /// The other nodes of our site, first-hand.
    pub fn members(&self) -> impl Iterator<Item = NodeView> {
        self.members.values().map(first_hand)
    }

    fn myself(&self) -> NodeView {
        NodeView {
            contact: self.core.me,
            life: self.life,
            state: if self.has_left {
                NodeState::Left
            } else {
                NodeState::Alive
            },
            as_of: None,
        }
    }

    /// One node, wherever it is. `None`: never heard of, or gone so long that nobody lists it.
    pub fn node(&self, now: Moment, node: NodeId) -> Option<NodeView> {
        if node == self.core.me.node {
            return Some(self.myself());
        }
        if let Some(member) = self.members.get(&node) {
            return Some(first_hand(member));
        }
        let view = self.view(now);
        let found = match self.core.keyring.site_of(node) {
            Some(site) if site == self.core.me.site => None,
            Some(site) => self.directory.node(&view, site, node),
            None => self
                .directory
                .sites()
                .filter(|site| *site != self.core.me.site)
                .find_map(|site| self.directory.node(&view, site, node)),
        };
        found.filter(|_| !self.core.keyring.is_replaced(node))
    }

    /// How a node stands, for those who hold the keys themselves just now: the keyring is asked
    /// neither where the node is nor whether it was replaced.
    pub fn standing(&self, now: Moment, node: NodeId) -> Option<NodeState> {
        if let Some(member) = self.members.get(&node) {
            return Some(first_hand(member).state);
        }
        let view = self.view(now);
        let far = self.directory.sites();
        let far = far.filter(|site| *site != self.core.me.site);
        let mut found = far.filter_map(|site| self.directory.node(&view, site, node));
        found.next().map(|view| view.state)
    }

    /// All nodes of all sites, ourselves included.
    pub fn nodes(&self, now: Moment) -> Vec<NodeView> {
        let view = self.view(now);
        let mut nodes: Vec<NodeView> = self.members().collect();
        nodes.push(self.myself());
        for site in self
            .directory
            .sites()
            .filter(|site| *site != self.core.me.site)
        {
            nodes.extend(self.directory.nodes(&view, site));
        }
        nodes.retain(|node| !self.core.keyring.is_replaced(node.contact.node));
        nodes.sort_unstable_by_key(|node| (node.contact.site, node.contact.node));
        nodes
    }

    /// All sites that are not retired.
    pub fn sites(&self, now: Moment) -> Vec<SiteView> {
        let ids: Vec<SiteId> = self.directory.sites().collect();
        ids.into_iter()
            .filter_map(|site| self.site(now, site))
            .collect()
    }

    /// Only their ids.
    pub fn site_ids(&self) -> impl Iterator<Item = SiteId> {
        self.directory.sites()
    }

    pub fn site(&self, now: Moment, site: SiteId) -> Option<SiteView> {
        let mut view = self.directory.site(&self.view(now), site)?;
        if site == self.core.me.site {
            let there = self
                .members
                .values()
                .filter(|member| member.state.is_there())
                .count();
            view.alive = u32::try_from(there + 1).unwrap_or(u32::MAX);
            view.name = Some(self.site_name.clone());
            view.usage = Some(self.usage());
            view.as_of = None;
        } else if view.is_reachable {
            let (own, place) = (self.core.coordinates.place(), self.directory.place(site));
            let guess = || guess_us(&own, place?);
            view.round_trip_us = self.links.site_rtt_us(site).or_else(guess);
        }
        Some(view)
    }

    pub fn contact(&self, now: Moment, node: NodeId) -> Option<Contact> {
        self.node(now, node).map(|view| view.contact)
    }

    /// Where messages for a node go: where it was last heard from, else where others say it is.
    pub fn address_of(&self, now: Moment, node: NodeId) -> Option<SocketAddr> {
        let heard = self.book.address(node);
        let told = || {
            self.contacts
                .iter()
                .find(|one| one.node == node)
                .map(|one| one.address)
        };
        heard
            .or_else(|| self.members.get(&node).map(|member| member.contact.address))
            .or_else(|| self.swim.contact(node).map(|contact| contact.address))
            .or_else(told)
            .or_else(|| self.contact(now, node).map(|contact| contact.address))
    }

    pub fn backup_sites(&self, site: SiteId) -> impl Iterator<Item = SiteId> {
        self.directory.backup_sites(site)
    }

    /// Whether we speak for our site.
    pub const fn is_speaker(&self) -> bool {
        self.directory.speech.is_speaker()
    }

    pub fn record(&self, key: &RecordKey) -> Option<Record> {
        self.store.find(key)?.record()
    }

    /// The records of a kind, tombstones included.
    pub fn records(&self, realm: Realm, kind: RecordKind) -> impl Iterator<Item = Record> {
        self.store
            .of_kind(realm, kind)
            .filter_map(|(_, entry)| entry.record())
    }

    /// Equal on two nodes exactly if they hold the same records of a realm.
    pub fn records_digest(&self, realm: Realm) -> u64 {
        self.store.table(realm).map_or(0, |table| table.sum().marks)
    }

    /// Equal on two nodes exactly if they hold the same living records of a realm.
    pub fn living_digest(&self, realm: Realm) -> u64 {
        let table = self.store.table(realm);
        table.map_or(0, crate::store::Table::living)
    }

    /// What happened lately, from this number on.
    pub fn journal(&self, since: u64) -> impl Iterator<Item = &Entry> {
        self.journal.since(since)
    }

    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    pub const fn store_counters(&self) -> &crate::store::Counters {
        self.store.counters()
    }

    pub const fn recon_counters(&self) -> &crate::recon::Counters {
        self.recon.counters()
    }

    pub const fn tree_counters(&self) -> &crate::tree::Counters {
        self.tree.counters()
    }

    pub const fn link_counters(&self) -> &crate::links::Counters {
        self.links.counters()
    }

    pub const fn swim_counters(&self) -> &crate::swim::Counters {
        &self.swim.counters
    }

    /// Those to whom records are passed; `true`: of our site.
    pub fn neighbours(&self) -> impl Iterator<Item = (NodeId, bool)> {
        self.links.neighbours()
    }

    /// An estimate of all that this overlay holds.
    pub fn memory_bytes(&self) -> usize {
        std::mem::size_of::<Self>()
            + self.store.bytes()
            + self.directory.memory_bytes()
            + self.recon.memory_bytes()
            + self.swim.memory_bytes()
            + self.links.memory_bytes()
            + self.tree.memory_bytes()
            + self.book.memory_bytes()
            + self.doubts.memory_bytes()
            + self.journal.memory_bytes()
            + self.lookup.memory_bytes()
            + self.registers.memory_bytes()
            + self.members.len() * (std::mem::size_of::<Member>() + 24)
            + self.strikes.len() * 80
            + self.renewals.len() * 64
    }

    /// Panics if its own state does not fit together.
    pub fn check(&self) {
        self.store.check();
        self.swim.check();
        self.links.check();
        self.tree.check();
        self.lookup.check();
        assert!(
            !self.members.contains_key(&self.core.me.node),
            "we are no other"
        );
    }
}

fn first_hand(member: &Member) -> NodeView {
    NodeView {
        contact: member.contact,
        life: member.life,
        state: member.state,
        as_of: None,
    }
}
