//! Our own site: its members as events tell them, and what its speaker says.
//!
//! Does:      keeps members and the lately dead; elects the speaker; writes its members and load.
//! Does not:  probe anybody (`swim`).
//! Bounds:    `GONE_MAX` dead; `MEMBERS_MAX` lines in a word.
//! Trusts:    the events of `swim`.
//! Start at:  `Overlay::member_alive`.

use super::journal::Happening;
use super::{Draft, NodeState, Overlay};
use crate::directory::View;
use crate::directory::speak::{Due, RENEW_MS};
use protocol::peer::admission::Few;
use protocol::peer::load::Usage;
use protocol::peer::members::{Health, MEMBERS_MAX};
use protocol::peer::{Contact, Life, MemberLine, NodeCard, Realm, RecordKey, RecordKind};
use protocol::peer::{SiteLoad, SiteMembers, Stamp};
use protocol::{Moment, NodeId, SiteId};

/// Dead nodes of our site that are still shown; beyond, those that died first go.
const GONE_MAX: usize = 16;
/// How long they are shown.
const GONE_MS: u64 = 600_000;

/// A node of our site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    pub contact: Contact,
    pub life: Life,
    pub state: NodeState,
    pub since_ms: u64,
}

impl Overlay {
    pub(super) fn member_alive(&mut self, now: Moment, contact: Contact, life: Life) {
        if contact.node == self.core.me.node {
            return;
        }
        let member = Member {
            contact,
            life,
            state: NodeState::Alive,
            since_ms: now.uptime_ms,
        };
        let before = self.members.insert(contact.node, member);
        let said = |one: Member| (one.contact, one.life, one.state == NodeState::Suspect);
        if before.is_none_or(|before| !before.state.is_there()) {
            let (node, site) = (contact.node, contact.site);
            self.journal.note(now, Happening::NodeAlive { node, site });
        }
        if before.is_none_or(|before| said(before) != said(member) || !before.state.is_there()) {
            self.directory.speech.changed(now.uptime_ms);
        }
        if before.is_none() {
            self.recon.meet(now.uptime_ms, contact.node);
        }
        self.replan_soon(now);
        self.elect(now);
    }

    pub(super) fn member_changed(&mut self, now: Moment, node: NodeId, life: Life, to: NodeState) {
        let contact = self.swim.contact(node);
        let known = self.members.get(&node).copied();
        // One that we only read of, and that does not answer, is listed as dead all the same.
        let unmet = contact.map(|contact| Member {
            contact,
            life,
            state: NodeState::Alive,
            since_ms: now.uptime_ms,
        });
        let Some(before) = known.or(unmet) else {
            return;
        };
        let was = before.state;
        let member = self.members.entry(node).or_insert(before);
        member.state = to;
        member.life = member.life.max(life);
        let is_later = member.life > before.life;
        member.since_ms = now.uptime_ms;
        let site = member.contact.site;
        match to {
            NodeState::Suspect => self.journal.note(now, Happening::NodeSuspect { node }),
            NodeState::Left => self.journal.note(now, Happening::NodeLeft { node, site }),
            _ => self.journal.note(now, Happening::NodeDead { node, site }),
        }
        if !to.is_there() && is_later {
            self.directory.speech.changed(now.uptime_ms);
        }
        if was.is_there() != to.is_there() {
            self.directory.speech.changed(now.uptime_ms);
            self.trim_gone(now);
            self.replan_soon(now);
            self.elect(now);
        }
    }

    /// The dead are shown for a while, a bounded number of them.
    pub(super) fn trim_gone(&mut self, now: Moment) {
        let mut gone: Vec<(u64, NodeId)> = self
            .members
            .iter()
            .filter(|(_, member)| !member.state.is_there())
            .map(|(node, member)| (member.since_ms, *node))
            .collect();
        gone.sort_unstable();
        let extra = gone.len().saturating_sub(GONE_MAX);
        for (at, (since_ms, node)) in gone.into_iter().enumerate() {
            let is_replaced = self.core.keyring.is_replaced(node);
            if at < extra || now.uptime_ms > since_ms + GONE_MS || is_replaced {
                self.members.remove(&node);
            }
        }
    }

    /// The lowest of the site speaks for it.
    pub(super) fn elect(&mut self, now: Moment) {
        let there = self
            .members
            .iter()
            .filter(|(_, member)| member.state.is_there());
        let lowest = there.map(|(node, _)| *node).min();
        let me = self.core.me.node;
        let lowest = lowest.map_or(me, |other| other.min(me));
        self.replan_soon(now);
        let was = self.directory.speech.is_speaker();
        self.directory.speech.elect(now.uptime_ms, me, lowest);
        if was != self.directory.speech.is_speaker() {
            self.watch(now);
        }
    }

    /// The speaker watches the sites that its own keeps copies of.
    pub(super) fn watch(&mut self, now: Moment) {
        let sites = match self.directory.speech.is_speaker() {
            true => self.directory.backed(),
            false => std::collections::BTreeSet::new(),
        };
        self.directory
            .watching
            .set(now.uptime_ms, sites.into_iter());
    }

    pub(super) fn handle_directory_timeout(&mut self, now: Moment) {
        let now_ms = now.uptime_ms;
        if self
            .directory
            .watching
            .next_timeout()
            .is_some_and(|at| at <= now_ms)
        {
            self.ask_watched(now);
        }
        if self.directory.watching.take_changed() {
            self.directory.speech.load_changed(now_ms);
        }
        if self
            .directory
            .speech
            .next_timeout()
            .is_none_or(|at| at > now_ms)
        {
            return;
        }
        let around_ms = self.core.dice.around(RENEW_MS * 4 / 5);
        match self.directory.speech.due(now_ms, around_ms) {
            Some(Due::Members) => self.say_members(now),
            Some(Due::Load) => self.say_load(now),
            Some(Due::Resign) => self.resign(now),
            None => {}
        }
    }

    fn ask_watched(&mut self, now: Moment) {
        let wall = Stamp::from_wall(self.clock.wall(now));
        let watched: Vec<SiteId> = self.directory.backed().into_iter().collect();
        let mut targets = std::collections::BTreeMap::new();
        for site in watched {
            let view = View {
                store: &self.store,
                clock: &self.clock,
                now,
            };
            targets.insert(site, self.directory.targets(&view, site));
        }
        let mut cx = self.core.context(now);
        self.directory
            .watching
            .handle_timeout(&mut cx, wall, |site, number| {
                let nodes: &Vec<NodeId> = targets.get(&site)?;
                let count = u32::try_from(nodes.len()).ok().filter(|count| *count > 0)?;
                nodes.get(usize::try_from(number % count).ok()?).copied()
            });
    }

    fn own_key(&self, kind: RecordKind) -> RecordKey {
        RecordKey {
            realm: Realm::Cluster,
            kind,
            subject: self.core.me.node.bytes(),
        }
    }

    pub(super) fn say_members(&mut self, now: Moment) {
        self.trim_gone(now);
        if let Some(accused) = self.directory.accusation(&self.store) {
            self.answer_accusation(now, accused);
        }
        let me = self.core.me;
        let mut lines: Vec<MemberLine> = self
            .members
            .values()
            .map(|member| MemberLine {
                node: member.contact.node,
                address: member.contact.address,
                life: member.life,
                health: match member.state {
                    NodeState::Alive | NodeState::Suspect => Health::Alive,
                    NodeState::Left => Health::Left,
                    NodeState::Dead | NodeState::Unreachable => Health::Dead,
                },
            })
            .collect();
        lines.push(MemberLine {
            node: me.node,
            address: me.address,
            life: self.life,
            health: if self.has_left {
                Health::Left
            } else {
                Health::Alive
            },
        });
        lines.sort_unstable_by_key(|line| line.node);
        lines.truncate(MEMBERS_MAX);
        let said = SiteMembers {
            site: me.site,
            life: self.life,
            members: Few::new(lines),
            site_name: self.site_name.clone(),
        };
        self.say(now, RecordKind::SITE_MEMBERS, false, said.encode());
    }

    fn say_load(&mut self, now: Moment) {
        let me = self.core.me;
        let members = self.store.find(&self.own_key(RecordKind::SITE_MEMBERS));
        let members = members.map(|entry| entry.version).unwrap_or_default();
        let usage = self.usage();
        self.directory.speech.said = usage;
        let alive = self
            .members
            .values()
            .filter(|member| member.state.is_there())
            .count();
        let load = SiteLoad {
            site: me.site,
            members,
            nodes_alive: u32::try_from(alive + 1).unwrap_or(u32::MAX),
            usage,
            lost: Few::new(self.directory.watching.lost()),
            acknowledged: self.acknowledged,
            place: self.core.coordinates.place(),
        };
        self.say(now, RecordKind::SITE_LOAD, false, load.encode());
    }

    /// Withdraws our word: another speaks.
    fn resign(&mut self, now: Moment) {
        for kind in [RecordKind::SITE_MEMBERS, RecordKind::SITE_LOAD] {
            if self
                .store
                .find(&self.own_key(kind))
                .is_some_and(|entry| !entry.ended)
            {
                self.say(now, kind, true, Vec::new());
            }
        }
    }

    fn say(&mut self, now: Moment, kind: RecordKind, ended: bool, body: Vec<u8>) {
        let draft = Draft {
            realm: Realm::Cluster,
            kind,
            subject: self.core.me.node.bytes(),
            epoch: 0,
            ended,
            body,
        };
        // Refused only when the store is full: then the old word stands until the next renewal.
        let _ = self.publish(now, draft);
    }

    /// What the site's nodes that are there say they have and use.
    pub(super) fn usage(&self) -> Usage {
        let cards = self
            .store
            .of_kind(Realm::Site(self.core.me.site), RecordKind::NODE_CARD);
        let there = cards.filter(|(_, entry)| {
            let member = self.members.get(&entry.author);
            entry.author == self.core.me.node || member.is_some_and(|one| one.state.is_there())
        });
        there
            .filter_map(|(_, entry)| NodeCard::decode(entry.body()))
            .fold(Usage::default(), |sum, card| sum.plus(&card.usage))
    }
}
