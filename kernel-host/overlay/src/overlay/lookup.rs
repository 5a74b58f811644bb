//! The cluster's table inside the composition: what it must know of the cluster.
//!
//! Does:      shows sites, their nodes and distances to it; carries questions in and answers out.
//! Does not:  keep or judge entries (`lookup`).
//! Bounds:    those of `Lookup`; a site's nodes are read once a step.
//! Trusts:    membership, and the directory for other sites.
//! Start at:  `Chart`.

use super::{Answer, Input, NodeState, Overlay};
use crate::coordinates::guess_us;
use crate::lookup::rank::{Atlas, Peer};
use crate::lookup::{self, Desk, Lookup};
use protocol::peer::Contact;
use protocol::peer::lookup::{Key, LIVES_S_MAX, LookupMessage};
use protocol::{Moment, NodeId, SiteId};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// A round trip to a node of another site, as long as nobody knows better.
const FAR_US: u64 = 100_000;
const NEAR_US: u64 = 500;

/// What the overlay knows of the cluster, for one step.
#[derive(Debug)]
struct Chart<'a> {
    me: NodeId,
    boots: u32,
    site: SiteId,
    has_left: bool,
    parts: Parts<'a>,
    sites: RefCell<Option<Vec<(SiteId, u32)>>>,
    nodes: RefCell<BTreeMap<SiteId, Vec<Peer>>>,
    reachable: RefCell<BTreeMap<SiteId, bool>>,
}

#[derive(Debug)]
struct Parts<'a> {
    members: &'a BTreeMap<NodeId, super::site::Member>,
    directory: &'a crate::directory::Directory,
    store: &'a crate::store::Store,
    links: &'a crate::links::Links,
    place: protocol::peer::Coordinate,
    /// Ages of words are judged by a clock that the step itself may move.
    clock: crate::clock::Clock,
    now: Moment,
}

impl Chart<'_> {
    const fn view(&self) -> crate::directory::View<'_> {
        crate::directory::View {
            store: self.parts.store,
            clock: &self.parts.clock,
            now: self.parts.now,
        }
    }

    fn own_nodes(&self) -> Vec<Peer> {
        let there = self.parts.members.iter();
        let there = there.filter(|(_, member)| member.state.is_there());
        let peer = |node, boots| Peer { node, boots };
        let ourselves = (!self.has_left).then_some(peer(self.me, self.boots));
        let others = there.map(|(node, member)| peer(*node, member.life.boots()));
        others.chain(ourselves).collect()
    }

    fn far_nodes(&self, site: SiteId) -> Vec<Peer> {
        let nodes = self.parts.directory.nodes(&self.view(), site);
        let there = nodes.iter().filter(|one| one.state == NodeState::Alive);
        let peers = there.map(|one| Peer {
            node: one.contact.node,
            boots: one.life.boots(),
        });
        peers.collect()
    }
}

impl Atlas for Chart<'_> {
    fn sites(&self) -> Vec<(SiteId, u32)> {
        let mut sites = self.sites.borrow_mut();
        let sites = sites.get_or_insert_with(|| {
            let known = self.parts.directory.sizes();
            let own = u32::try_from(self.own_nodes().len()).unwrap_or(u32::MAX);
            known
                .map(|(site, nodes)| (site, if site == self.site { own } else { nodes }))
                .collect()
        });
        sites.clone()
    }

    fn is_reachable(&self, site: SiteId) -> bool {
        let known = self.reachable.borrow().get(&site).copied();
        known.unwrap_or_else(|| {
            let is_reachable = self.parts.directory.is_reachable(&self.view(), site);
            self.reachable.borrow_mut().insert(site, is_reachable);
            is_reachable
        })
    }

    fn nodes(&self, site: SiteId) -> Vec<Peer> {
        let known = self.nodes.borrow().get(&site).cloned();
        known.unwrap_or_else(|| {
            let nodes = if site == self.site {
                self.own_nodes()
            } else {
                self.far_nodes(site)
            };
            self.nodes.borrow_mut().insert(site, nodes.clone());
            nodes
        })
    }

    fn distance_us(&self, node: NodeId, site: SiteId) -> u64 {
        if site == self.site {
            return NEAR_US;
        }
        let place = |site| self.parts.directory.place(site);
        let guess = || guess_us(&self.parts.place, place(site)?);
        let measured = self.parts.links.rtt_us(node);
        measured.or_else(guess).unwrap_or(FAR_US)
    }
}

impl Overlay {
    pub const fn lookup(&self) -> &Lookup {
        &self.lookup
    }

    /// One step of the table, with all that it may look at.
    fn with_lookup<T>(
        &mut self,
        now: Moment,
        step: impl FnOnce(&mut Lookup, &mut Desk<'_, '_>) -> T,
    ) -> T {
        let chart = Chart {
            me: self.core.me.node,
            boots: self.life.boots(),
            site: self.core.me.site,
            has_left: self.has_left,
            parts: Parts {
                members: &self.members,
                directory: &self.directory,
                store: &self.store,
                links: &self.links,
                place: self.core.coordinates.place(),
                clock: self.clock.clone(),
                now,
            },
            sites: RefCell::default(),
            nodes: RefCell::default(),
            reachable: RefCell::default(),
        };
        let mut desk = Desk {
            cx: &mut self.core.context(now),
            clock: &mut self.clock,
            atlas: &chart,
            boots: u64::from(self.life.boots()),
        };
        step(&mut self.lookup, &mut desk)
    }

    pub(super) fn receive_lookup(&mut self, now: Moment, from: Contact, said: LookupMessage) {
        self.with_lookup(now, |lookup, desk| lookup.handle_message(desk, from, said));
    }

    /// A question to the table, or something to put there.
    pub(super) fn ask_table(&mut self, now: Moment, input: Input<'_>) {
        self.with_lookup(now, |lookup, desk| match input {
            Input::Put {
                ask,
                key,
                value,
                lives_s,
            } => lookup.put(desk, ask, Key(key), Some(value), lives_s),
            Input::Remove { ask, key } => lookup.put(desk, ask, Key(key), None, LIVES_S_MAX),
            Input::Find { ask, key, reach } => lookup.find(desk, ask, Key(key), reach),
            _ => {}
        });
    }

    pub(super) fn handle_lookup_timeout(&mut self, now: Moment) {
        let is_due = |at: u64| at <= now.uptime_ms;
        if self.lookup.next_timeout().is_some_and(is_due) {
            self.with_lookup(now, Lookup::handle_timeout);
        }
    }

    pub(super) fn fetch_table_answers(&mut self) {
        while let Some((ask, answer)) = self.lookup.poll_answer() {
            self.answer(ask, answer_of(answer));
        }
    }
}

fn answer_of(answer: lookup::Answer) -> Answer {
    match answer {
        lookup::Answer::Taken { homes, of } => Answer::Taken { homes, of },
        lookup::Answer::Found { values, homes, of } => Answer::Found { values, homes, of },
        lookup::Answer::Unsure => Answer::Unsure,
        lookup::Answer::Refused => Answer::Refused,
    }
}
