//! Links and the tree in the composition: who is whose neighbour, and what passes between them.
//!
//! Does:      gives the plan its inputs when they change; lets records in by the store's judgement
//!            and passes them on only then; remembers contacts on the disk.
//! Does not:  choose neighbours (`links`) or ways (`tree`).
//! Bounds:    `STRANGERS_MAX` contacts are kept.
//! Trusts:    nobody.
//! Start at:  `Overlay::receive_spread`, `Overlay::replan`.

use super::upkeep::LINKS_ENOUGH;
use super::{NodeState, Overlay};
use crate::context::Save;
use crate::links::{STRANGERS_MAX, plan};
use crate::store::{Entry, Outcome};
use crate::tree::Parcel;
use protocol::peer::spread::SpreadMessage;
use protocol::peer::{Contact, Realm, Record};
use protocol::{Moment, NodeId, SiteId};
use std::rc::Rc;

/// A change of members or sites becomes a plan after this.
const PLAN_MS: u64 = 300;
/// Sites that have not said a word are asked again after this.
const SILENT_MS: u64 = 3_000;
/// Where the disk keeps contacts: each under the prefix and a number.
const CONTACT_KEY: &str = "contact/";

impl Overlay {
    pub(super) fn receive_spread(&mut self, now: Moment, from: Contact, message: SpreadMessage) {
        match message {
            SpreadMessage::Payload { hops, record } => {
                self.tree.count_payload();
                self.receive_payload(now, from, hops, record.bytes());
            }
            SpreadMessage::Names(names) => {
                let mut cx = self.core.context(now);
                let holds = |mark| self.store.holds(mark);
                self.tree
                    .handle_names(&mut cx, from.node, names.as_slice(), holds);
            }
            SpreadMessage::Graft(names) => {
                let mut cx = self.core.context(now);
                self.tree.handle_graft(&mut cx, from.node, names.as_slice());
            }
            SpreadMessage::Prune => self.tree.handle_prune(from.node),
            greeting => {
                let mut cx = self.core.context(now);
                self.links
                    .handle_message(&mut cx, from.node, from.site, &greeting);
            }
        }
    }

    fn receive_payload(&mut self, now: Moment, from: Contact, hops: u8, bytes: &[u8]) {
        let Some(record) = Record::decode(bytes) else {
            self.counters.malformed += 1;
            return;
        };
        let parcel = parcel(&record, bytes.into(), hops, Some(from.node));
        match self.take(now, from, &record, Rc::clone(&parcel.bytes)) {
            Outcome::Fresh => {
                self.tree.favour(from.node);
                self.pass_on(now, parcel);
            }
            Outcome::Known | Outcome::Older => {
                let mut cx = self.core.context(now);
                self.tree
                    .duplicate(&mut cx, from.node, parcel.mark, parcel.realm);
            }
            Outcome::Refused(_) | Outcome::Doubtful | Outcome::Waiting => {}
        }
    }

    /// A record that is in the store goes on to everybody who keeps its realm.
    pub(super) fn pass_on(&mut self, now: Moment, parcel: Parcel) {
        self.settle_links(now);
        let mut cx = self.core.context(now);
        self.tree.spread(&mut cx, parcel);
    }

    /// A record of ours.
    pub(super) fn pass_on_own(&mut self, now: Moment, record: &Record) {
        let bytes: Rc<[u8]> = record.encode().into();
        self.pass_on(now, parcel(record, bytes, 0, None));
        if self.links.neighbours().take(LINKS_ENOUGH).count() < LINKS_ENOUGH {
            self.recon.ripple(now.uptime_ms);
        }
    }

    /// A record came beside the tree. Of another site's realm: the others of our site get it from
    /// here. Otherwise neighbours hear its name, and ask if they lack it.
    pub(super) fn pass_on_copy(
        &mut self,
        now: Moment,
        from: Contact,
        record: &Record,
        bytes: &Rc<[u8]>,
    ) {
        let is_of_site = matches!(record.key.realm, Realm::Site(_));
        let parcel = parcel(record, Rc::clone(bytes), 0, Some(from.node));
        if is_of_site && from.site != self.core.me.site {
            self.pass_on(now, parcel);
        } else {
            let mut cx = self.core.context(now);
            self.tree.announce(&mut cx, parcel);
        }
    }

    /// The plan follows the site's members and the list of sites.
    pub(super) fn replan(&mut self, now: Moment) {
        self.plan_ms = None;
        let me = self.core.me;
        let there = self.members.iter().filter(|(_, one)| one.state.is_there());
        let mut members: Vec<NodeId> = there.map(|(node, _)| *node).collect();
        members.push(me.node);
        members.sort_unstable();
        let sites: Vec<SiteId> = self.directory.sites().collect();
        let near = plan::near(me.node, me.site, &members);
        let far = plan::far(me.node, me.site, &members, &sites);
        let mut cx = self.core.context(now);
        self.links.set_plan(&mut cx, near, &far);
        self.ask_silent_sites(now);
    }

    /// Changes come in crowds: one plan for all.
    pub(super) fn replan_soon(&mut self, now: Moment) {
        self.plan_ms.get_or_insert(now.uptime_ms + PLAN_MS);
    }

    /// Sites of which we know a node and no word yet: it may have one by now.
    fn ask_silent_sites(&mut self, now: Moment) {
        let contacts = self.contacts.iter();
        let silent = contacts.filter(|one| !self.directory.has_spoken(one.site));
        let silent: Vec<NodeId> = silent.map(|one| one.node).collect();
        for node in &silent {
            self.recon.meet(now.uptime_ms, *node);
        }
        if !silent.is_empty() {
            self.plan_ms.get_or_insert(now.uptime_ms + SILENT_MS);
        }
    }

    /// Tells the tree and the reconciliation what changed among the links.
    pub(super) fn settle_links(&mut self, now: Moment) {
        if self.plan_ms.is_some_and(|at| at <= now.uptime_ms) {
            self.replan(now);
        }
        if self.links.take_changed() {
            self.tree.set_neighbours(self.links.neighbours());
        }
        for node in self.links.take_fresh() {
            self.recon.meet(now.uptime_ms, node);
        }
    }

    pub(super) fn handle_spread_timeout(&mut self, now: Moment) {
        let is_due = |at: Option<u64>| at.is_some_and(|at| at <= now.uptime_ms);
        if is_due(self.links.next_timeout()) {
            let view = crate::directory::View {
                store: &self.store,
                clock: &self.clock,
                now,
            };
            let mut cx = self.core.context(now);
            let (directory, contacts) = (&self.directory, &self.contacts);
            self.links.handle_timeout(&mut cx, |site| {
                let known = contacts.iter().filter(|one| one.site == site);
                let mut nodes = directory.targets(&view, site);
                nodes.extend(known.map(|one| one.node));
                nodes
            });
        }
        if is_due(self.tree.next_timeout()) {
            let mut cx = self.core.context(now);
            self.tree.handle_timeout(&mut cx);
        }
    }

    /// Nodes in as many sites as may be, so that a start from the disk finds somebody.
    pub(super) fn save_contacts(&mut self, now: Moment) {
        let own = self.core.me.node.bytes();
        let mut sites: Vec<(u64, SiteId, NodeId)> = self
            .directory
            .sites()
            .filter_map(|site| {
                let first = self.first_known_in(now, site)?;
                Some((plan::weight(&own, &first.bytes()), site, first))
            })
            .collect();
        sites.sort_unstable();
        sites.truncate(STRANGERS_MAX);
        // The first nodes of as many sites as there is room for; with fewer sites, more of each.
        let lists: Vec<Vec<NodeId>> = match sites.len() == STRANGERS_MAX {
            true => sites.iter().map(|(_, _, first)| vec![*first]).collect(),
            false => sites
                .iter()
                .map(|(_, site, _)| self.known_in(now, *site))
                .collect(),
        };
        let longest = lists.iter().map(Vec::len).max().unwrap_or(0);
        let chosen = (0..longest).flat_map(|at| lists.iter().filter_map(move |list| list.get(at)));
        let contacts: Vec<Contact> = chosen
            .take(STRANGERS_MAX)
            .filter_map(|node| self.contact(now, *node))
            .collect();
        for (number, contact) in contacts.iter().enumerate() {
            if self.saved_contacts.get(number) != Some(contact) {
                let value = postcard::to_allocvec(contact).ok();
                self.core.outbox.saves.push_back(Save {
                    key: format!("{CONTACT_KEY}{number:02}"),
                    value,
                });
            }
        }
        if !contacts.is_empty() {
            self.saved_contacts = contacts;
        }
    }

    /// The first of `known_in`, without reading what its site says of the others.
    fn first_known_in(&self, now: Moment, site: SiteId) -> Option<NodeId> {
        match site == self.core.me.site {
            true => self.known_in(now, site).first().copied(),
            false => self.directory.first_target(&self.view(now), site),
        }
    }

    fn known_in(&self, now: Moment, site: SiteId) -> Vec<NodeId> {
        if site == self.core.me.site {
            let alive = |one: &super::site::Member| one.state == NodeState::Alive;
            let there = self.members.iter().filter(|(_, one)| alive(one));
            return there.map(|(node, _)| *node).collect();
        }
        self.directory.targets(&self.view(now), site)
    }

    /// A contact that the disk kept. `false`: the entry is of another kind.
    pub(super) fn restore_contact(&mut self, now: Moment, key: &str, value: &[u8]) -> bool {
        if !key.starts_with(CONTACT_KEY) {
            return false;
        }
        if let Ok(contact) = postcard::from_bytes::<Contact>(value) {
            self.meet(now, contact);
        }
        true
    }
}

fn parcel(record: &Record, bytes: Rc<[u8]>, hops: u8, from: Option<NodeId>) -> Parcel {
    Parcel {
        mark: Entry::new(record, Rc::clone(&bytes), 0).mark(&record.key),
        realm: record.key.realm,
        bytes,
        hops,
        from,
    }
}
