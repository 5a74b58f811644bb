//! What this node's requests see and want of the cluster, out of the overlay and the membership.
//!
//! Does:      nodes, sites and records as requests need them; facts of the cloud into the overlay,
//!            again until it takes them; streams to other nodes; words at the site's door; news of
//!            the overlay to the cloud and to those who follow events.
//! Does not:  decide: the overlay knows who is alive, the membership who may come in.
//! Bounds:    `WAITING_MAX` facts that the overlay does not take yet: one for each thing, the
//!            newest. One more is refused and counted.
//! Trusts:    the overlay, which verified what it keeps.
//! Start at:  `Circle`, then `follow`.

use super::{News, streams};
use crate::service::cluster::{Opening, Peers, no_cluster, untold};
use crate::service::streams::Stream;
use crate::service::{Node, count};
use cloud::{NodeSight, Publication, SiteSight};
use identity::certificate::Certificate;
use identity::membership::Membership;
use identity::publication::Word;
use identity::ring::SharedKeys;
use netio::executor::race;
use overlay::{Draft, Event, Input, Keyring, NodeState, Refused, Verdict};
use protocol::peer::admission::ApprovalCode;
use protocol::peer::{Realm, Record, RecordKind};
use protocol::{Code, Moment, Name, NodeId, PendingNode, Problem, SiteId, Standing, limits};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

/// Facts that wait: each VM at its most, images and capacity of this node.
const WAITING_MAX: usize = limits::VMS_MAX + 2;
/// Between two looks at what no event tells, and two attempts to publish what waits.
const LOOK_MS: u64 = 1_000;
/// A node that was let in so lately may not be listed by its site yet.
const NEW_S: u64 = 60;

/// See the module.
#[derive(Debug)]
pub(crate) struct Circle {
    node: Weak<Node>,
    /// What the overlay would not take yet, by what it is about.
    waiting: RefCell<BTreeMap<(RecordKind, [u8; 16]), Draft>>,
}

/// What a certificate tells of a node.
#[derive(Debug)]
struct Papers {
    admitted_s: u64,
    name: String,
    replaces: Option<NodeId>,
    site: Option<SiteId>,
}

impl Circle {
    fn new(node: &Rc<Node>) -> Rc<Self> {
        Rc::new(Self {
            node: Rc::downgrade(node),
            waiting: RefCell::default(),
        })
    }

    fn keys(&self) -> Option<SharedKeys> {
        let node = self.node.upgrade()?;
        let hub = node.transport.as_ref()?.hub.borrow();
        Some(hub.gate())
    }

    /// All certificates that are kept here, by node.
    fn papers(&self) -> BTreeMap<NodeId, Papers> {
        let (Some(node), Some(keys)) = (self.node.upgrade(), self.keys()) else {
            return BTreeMap::new();
        };
        let records = node.overlay(|overlay, _| {
            let kept = overlay.records(Realm::Cluster, RecordKind::CERTIFICATE);
            kept.filter(|record| !record.ended).collect::<Vec<_>>()
        });
        let certificates = records.into_iter().flatten();
        certificates
            .filter_map(|record| Certificate::decode(&record.body))
            .map(|certificate| {
                let (node, fields) = (certificate.node(), certificate.fields());
                let holds = |old: &NodeId| keys.borrow().successor(*old) == Some(node);
                let papers = Papers {
                    admitted_s: fields.admitted_s,
                    name: fields.name.to_string(),
                    replaces: fields.replaces.filter(holds),
                    site: keys.site_of(node),
                };
                (node, papers)
            })
            .collect()
    }

    fn ask<R>(
        &self,
        ask: impl FnOnce(&mut Membership, Moment, &dyn identity::desk::Sight) -> R,
    ) -> Result<R, Box<Problem>> {
        let node = self.node.upgrade();
        let answer = node.and_then(|node| node.ask_membership(ask));
        answer.ok_or_else(|| Box::new(no_cluster()))
    }

    /// What waits is tried again; what the overlay will never take is dropped.
    fn publish_waiting(&self, node: &Rc<Node>) {
        let waiting: Vec<_> = self.waiting.borrow().keys().copied().collect();
        for key in waiting {
            let Some(draft) = self.waiting.borrow().get(&key).cloned() else {
                continue;
            };
            let told = node.tell_overlay(Input::Publish(draft));
            if let Err(refused) = told {
                if may_be_taken_later(refused) {
                    continue;
                }
                count(&node.counters.facts_refused);
            }
            self.waiting.borrow_mut().remove(&key);
        }
    }
}

/// `None`: this node is no member now, and may be one again.
const fn may_be_taken_later(refused: Option<Refused>) -> bool {
    matches!(
        refused,
        None | Some(Refused::Catching | Refused::Clock | Refused::Full)
    )
}

const fn standing(state: NodeState) -> Standing {
    match state {
        NodeState::Alive => Standing::Alive,
        NodeState::Suspect => Standing::Suspect,
        NodeState::Dead => Standing::Dead,
        NodeState::Left => Standing::Left,
        NodeState::Unreachable => Standing::Unreachable,
    }
}

impl Peers for Circle {
    fn nodes(&self) -> Vec<NodeSight> {
        let (Some(node), Some(keys)) = (self.node.upgrade(), self.keys()) else {
            return Vec::new();
        };
        let mut papers = self.papers();
        let own_name = node.standing.borrow().name().to_owned();
        let sights = node.overlay(|overlay, now| {
            let sight = |view: overlay::NodeView| {
                let id = view.contact.node;
                let papers = papers.remove(&id);
                let own = (id == overlay.me().node).then(|| own_name.clone());
                NodeSight {
                    id,
                    replaces: papers.as_ref().and_then(|papers| papers.replaces),
                    name: papers.map(|papers| papers.name).or(own),
                    site: view.contact.site,
                    standing: standing(view.state),
                    age_ms: view.as_of.map(|at| now.wall.ms_since(at)),
                    address: Some(view.contact.address),
                    boots: view.life.boots(),
                    removed: keys.is_revoked(id),
                }
            };
            overlay.nodes(now).into_iter().map(sight).collect()
        });
        let mut sights: Vec<NodeSight> = sights.unwrap_or_default();
        sights.extend(self.long_gone(papers, &keys));
        sights
    }

    fn sites(&self) -> Vec<SiteSight> {
        let Some(node) = self.node.upgrade() else {
            return Vec::new();
        };
        let sights = node.overlay(|overlay, now| {
            let own = overlay.me().site;
            let sight = |view: overlay::SiteView| SiteSight {
                id: view.site,
                name: view.name.unwrap_or_else(|| name_of(view.site)),
                reachable: view.is_reachable || view.site == own,
                round_trip_us: view.round_trip_us,
                age_ms: view.as_of.map(|at| now.wall.ms_since(at)),
                kept: view.site == own || overlay.backup_sites(view.site).any(|site| site == own),
            };
            overlay.sites(now).into_iter().map(sight).collect()
        });
        sights.unwrap_or_default()
    }

    fn records(&self, kinds: &[RecordKind]) -> Vec<Record> {
        let Some(node) = self.node.upgrade() else {
            return Vec::new();
        };
        let records = node.overlay(|overlay, now| {
            let sites = overlay.sites(now);
            let realms = sites.iter().map(|site| Realm::Site(site.site));
            let realms = realms.chain([Realm::Cluster]);
            let pairs = realms.flat_map(|realm| kinds.iter().map(move |kind| (realm, *kind)));
            pairs
                .flat_map(|(realm, kind)| overlay.records(realm, kind))
                .collect()
        });
        records.unwrap_or_default()
    }

    fn publish(&self, realm: Option<SiteId>, fact: Publication) -> Result<(), Box<Problem>> {
        let node = self.node.upgrade().ok_or_else(|| Box::new(no_cluster()))?;
        let own = node.transport.as_ref().map(|peers| peers.site());
        let Some(site) = realm.or(own) else {
            return Err(Box::new(no_cluster()));
        };
        let key = (fact.kind, fact.subject);
        let draft = Draft {
            realm: Realm::Site(site),
            kind: fact.kind,
            subject: fact.subject,
            epoch: fact.epoch,
            ended: fact.ended,
            body: fact.body,
        };
        // What is newer takes the place of what waits.
        self.waiting.borrow_mut().remove(&key);
        match node.tell_overlay(Input::Publish(draft.clone())) {
            Ok(()) => Ok(()),
            Err(refused) if may_be_taken_later(refused) => {
                let mut waiting = self.waiting.borrow_mut();
                if waiting.len() >= WAITING_MAX {
                    return Err(untold(Refused::Full));
                }
                waiting.insert(key, draft);
                Ok(())
            }
            Err(refused) => Err(untold(refused.unwrap_or(Refused::Authority))),
        }
    }

    fn open_http(&self, to: NodeId) -> Opening {
        let node = self.node.upgrade();
        Box::pin(async move {
            let node = node.ok_or(std::io::ErrorKind::NotConnected)?;
            let stream = streams::open_http(&node, to).await?;
            let stream: Stream = Box::new(stream);
            Ok(stream)
        })
    }

    fn pending(&self) -> Vec<PendingNode> {
        let site = self.own_site_name();
        let all = self.ask(|membership, now, _| {
            let waiting = membership.pending();
            let shown = waiting.map(|one| shown(membership, one, now, site.clone()));
            shown.collect()
        });
        let mut all: Vec<PendingNode> = all.unwrap_or_default();
        all.sort_by_key(|one| std::cmp::Reverse(one.waiting_ms));
        all
    }

    fn approve(&self, code: &str) -> Result<PendingNode, Box<Problem>> {
        let code: ApprovalCode = code.parse().map_err(|error| {
            let detail = format!("{error}");
            let advice = "Type the three words that the machine's own screen shows";
            Box::new(Problem::new(Code::BadValue, detail, advice))
        })?;
        let site = self.own_site_name();
        let approved = self.ask(|membership, now, sight| {
            let found = membership.pending().find(|one| one.code == code);
            let found = found.map(|one| shown(membership, one, now, site.clone()));
            let approval = membership.approve(now, sight, code);
            approval.map(|_| found.unwrap_or_else(|| noted(code, site)))
        })?;
        approved.ok_or_else(|| Box::new(no_cluster()))
    }

    fn tell_word(&self, word: &str) -> Result<String, Box<Problem>> {
        let bad =
            |detail: String, advice: &str| Box::new(Problem::new(Code::BadValue, detail, advice));
        let word: Word = word.parse().map_err(|error| {
            let advice = "Copy it once more, whole, from where it was printed";
            bad(
                format!("This is no word of a cluster's owner: {error}"),
                advice,
            )
        })?;
        match self.ask(|membership, now, sight| membership.tell(now, sight, &word))? {
            Verdict::Good => Ok(word.what()),
            Verdict::UnknownAuthor => Err(bad(
                "No root key that this cluster knows stands behind this word".to_owned(),
                "Sign it with the cluster.key of this very cluster: luc cluster show cluster.key",
            )),
            Verdict::Bad | Verdict::Revoked => Err(bad(
                "This word is not signed by who it says, or that one may not say it".to_owned(),
                "Sign it with the cluster's own key, or with one whose right was not taken away",
            )),
        }
    }

    fn remove(&self, node: NodeId) -> Result<(), Box<Problem>> {
        let verdict = self.ask(|membership, now, sight| {
            let revocation = membership.revocation_of(now, node, "removed by an operator");
            revocation.map(|one| membership.tell(now, sight, &Word::Revocation(one)))
        })?;
        match verdict {
            Some(Verdict::Good) => Ok(()),
            _ => {
                let detail = "This node can't take that node's right: it is of another site, or \
                              this node holds no charter";
                let advice =
                    "Ask a node of its site, or sign it with the cluster's key: luc cluster revoke";
                Err(Box::new(Problem::new(Code::WrongState, detail, advice)))
            }
        }
    }
}

impl Circle {
    /// Nodes that the overlay does not list any more: they belong to the cluster, or did, and
    /// records may name them as hosts.
    fn long_gone(&self, papers: BTreeMap<NodeId, Papers>, keys: &SharedKeys) -> Vec<NodeSight> {
        let reachable: BTreeMap<SiteId, bool> = self
            .sites()
            .into_iter()
            .map(|site| (site.id, site.reachable))
            .collect();
        let node = self.node.upgrade();
        let now_s = node.map_or(0, |node| node.now().wall.unix_ms() / 1000);
        let sight = |(id, papers): (NodeId, Papers)| {
            let replaced = keys.borrow().successor(id).is_some();
            let removed = keys.is_revoked(id);
            let is_new = now_s < papers.admitted_s.saturating_add(NEW_S);
            let site = papers.site?;
            (replaced || removed || !is_new).then(|| NodeSight {
                id,
                name: Some(papers.name),
                site,
                standing: match reachable.get(&site) {
                    Some(true) => Standing::Dead,
                    _ => Standing::Unreachable,
                },
                age_ms: None,
                address: None,
                boots: 0,
                replaces: papers.replaces,
                removed,
            })
        };
        papers.into_iter().filter_map(sight).collect()
    }

    fn own_site_name(&self) -> Option<Name> {
        let node = self.node.upgrade()?;
        node.overlay(|overlay, now| overlay.site(now, overlay.me().site)?.name)?
    }
}

fn shown(
    membership: &Membership,
    one: &identity::admitter::Pending,
    now: Moment,
    site: Option<Name>,
) -> PendingNode {
    let address = membership.address_of(one.node);
    PendingNode {
        code: one.code.to_string(),
        node: Some(one.node),
        site,
        address: address.map(|address| address.ip().to_string()),
        machine: Some(one.name.to_string()),
        waiting_ms: now.uptime_ms.saturating_sub(one.since_ms),
    }
}

/// Nobody with this code waits at this node; the site lets it in when it asks.
fn noted(code: ApprovalCode, site: Option<Name>) -> PendingNode {
    PendingNode {
        code: code.to_string(),
        node: None,
        site,
        address: None,
        machine: None,
        waiting_ms: 0,
    }
}

/// A site whose name has not come yet.
fn name_of(site: SiteId) -> Name {
    let bytes = site.bytes();
    Name::from(NodeId::from_bytes(bytes))
}

/// Hands on what happens among the peers, for as long as the node lives.
pub(crate) async fn follow(node: Rc<Node>) {
    let Some(peers) = node.transport.as_ref() else {
        return;
    };
    let circle = Circle::new(&node);
    let mut journal = 0;
    loop {
        let seen = peers.news_bell.rings();
        while let Some(news) = peers.poll_news() {
            match news {
                News::Membership(true) => {
                    journal = 0;
                    node.join(circle.clone());
                }
                News::Membership(false) => node.part(),
                News::Event(Event::Stored(record)) if is_newest(&node, &record) => {
                    node.heard(&record);
                }
                News::Event(_) | News::Answer { .. } => {}
            }
        }
        journal = note_journal(&node, &circle, journal);
        circle.publish_waiting(&node);
        let _ = race(peers.news_bell.after(seen), node.executor.sleep(LOOK_MS)).await;
    }
}

/// Whether the record is still what the overlay holds: what came between is newer.
fn is_newest(node: &Node, record: &Record) -> bool {
    let held = node.overlay(|overlay, _| overlay.record(&record.key));
    held.flatten()
        .is_none_or(|held| held.version == record.version && held.author == record.author)
}

/// Notes what the overlay's journal has from this number on; gives the next number.
fn note_journal(node: &Rc<Node>, circle: &Circle, from: u64) -> u64 {
    let entries = node.overlay(|overlay, _| overlay.journal(from).copied().collect::<Vec<_>>());
    let entries = entries.unwrap_or_default();
    let Some(last) = entries.last() else {
        return from;
    };
    let next = last.number + 1;
    let names = circle.papers();
    let name = |id: NodeId| {
        names
            .get(&id)
            .map_or_else(|| id.short(), |one| one.name.clone())
    };
    let sites = circle.sites();
    let site_name = |id: SiteId| {
        let known = sites.iter().find(|site| site.id == id);
        known.map_or_else(|| name_of(id).to_string(), |site| site.name.to_string())
    };
    for entry in entries {
        let line = super::words::of_journal(entry.what, node.facts.id.get(), &name, &site_name);
        node.saw(line.kind, line.node, &line.subject, &line.text);
    }
    next
}
