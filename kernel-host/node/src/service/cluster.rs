//! The cluster, as requests need it: who is there, what they said, and a way to reach them.
//!
//! Does:      names what the node's peers offer; makes the atlas of the moment; answers about
//!            nodes, sites and events; hands what the cloud tells to the peers, and back.
//! Does not:  speak to other nodes: who implements `Peers` does.
//! Bounds:    `MACHINE_MS` between two looks at the machine's own load.
//! Trusts:    its peers for whom they reach; nobody else.
//! Start at:  `Peers`, then `Node::atlas`.

use super::Node;
use super::streams::Stream;
use api::{Call, Reply};
use cloud::{Atlas, Event, NodeSight, Publication, SiteSight, VmFact, bodies::VmBody};
use protocol::peer::{Record, RecordKind};
use protocol::{Code, NodeId, Page, PendingNode, Problem, Selector, SiteId, VmId, Wish, limits};
use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;

/// How often the machine's own load is looked at.
const MACHINE_MS: u64 = 5_000;

/// A stream to another node that carries HTTP, on its way.
pub(crate) type Opening = Pin<Box<dyn Future<Output = io::Result<Stream>>>>;

/// What the rest of the node's cluster side offers.
pub(crate) trait Peers: Debug {
    /// All nodes of all sites, this one among them.
    fn nodes(&self) -> Vec<NodeSight>;
    fn sites(&self) -> Vec<SiteSight>;
    /// The records of these kinds that are kept here, of all realms.
    fn records(&self, kinds: &[RecordKind]) -> Vec<Record>;
    /// Has a fact signed and spread; in the realm of the node's own site if none is named.
    fn publish(&self, realm: Option<SiteId>, fact: Publication) -> Result<(), Box<Problem>>;
    /// Opens a stream that the other node serves as a forwarded connection.
    fn open_http(&self, node: NodeId) -> Opening;
    /// Machines that wait for approval.
    fn pending(&self) -> Vec<PendingNode>;
    fn approve(&self, code: &str) -> Result<PendingNode, Box<Problem>>;
    /// A word of the cluster's owner; what it says, if it counts.
    fn tell_word(&self, word: &str) -> Result<String, Box<Problem>>;
    /// Takes a node's right away, for ever.
    fn remove(&self, node: NodeId) -> Result<(), Box<Problem>>;
}

impl Node {
    /// The node has others to speak to from now on.
    pub fn join(self: &Rc<Self>, peers: Rc<dyn Peers>) {
        let records = peers.records(&[RecordKind::VM]);
        self.peers.replace(Some(peers));
        self.cloud.borrow_mut().start_publishing(self.now());
        // From the disk: what ran here before the power went.
        for record in &records {
            self.learn(record);
        }
        self.perform();
    }

    /// A record came that is newer than what was here, and its author may say it.
    pub fn heard(self: &Rc<Self>, record: &Record) {
        if record.key.kind != RecordKind::VM {
            return;
        }
        let is_ours = record.author == self.facts.id.get();
        if let Ok(body) = VmBody::decode(&record.body)
            && !is_ours
        {
            let host = Some(body.host);
            self.saw("vm", host, body.name.as_str(), body.state.as_str());
        }
        self.learn(record);
        self.perform();
    }

    /// The node is no member any more; what it runs goes on.
    pub fn part(&self) {
        self.peers.replace(None);
    }

    fn learn(&self, record: &Record) {
        let fact = VmFact {
            vm: VmId::from_bytes(record.key.subject),
            epoch: record.version.epoch,
            is_ours: record.author == self.facts.id.get(),
            ended: record.ended,
            body: &record.body,
        };
        self.cloud.borrow_mut().learn(self.now(), fact);
    }

    /// Notes something for those who follow.
    pub fn saw(&self, kind: &'static str, node: Option<NodeId>, subject: &str, text: &str) {
        let at = self.now().wall;
        self.events.borrow_mut().add(at, kind, node, subject, text);
        self.events_bell.ring();
    }

    /// What the cloud wants told; alone there is nobody to tell.
    pub fn tell(&self, realm: Option<SiteId>, fact: Publication) -> Result<(), Box<Problem>> {
        let peers = self.peers.borrow().clone();
        match peers {
            Some(peers) => peers.publish(realm, fact),
            None => Err(Box::new(no_cluster())),
        }
    }

    /// The whole cluster as it is known now.
    pub fn atlas(&self) -> Atlas {
        let wall = self.now().wall;
        let peers = self.peers.borrow().clone();
        let cloud = self.cloud.borrow();
        match peers {
            None => Atlas::alone(wall, &cloud, self.standing.borrow().name()),
            Some(peers) => {
                let kinds = [RecordKind::VM, RecordKind::IMAGES, RecordKind::CAPACITY];
                let records = peers.records(&kinds);
                Atlas::new(wall, &cloud, peers.nodes(), peers.sites(), records)
            }
        }
    }
}

/// The answer to a call about the cluster itself. `None`: it is about something else.
pub(super) async fn answer(
    node: &Node,
    call: &Call,
    wish: &Wish,
) -> Option<Result<Reply, Box<Problem>>> {
    Some(match call {
        Call::ListNodes(page) => {
            let nodes = node.atlas().nodes(wish, page);
            nodes.map(|page| Reply::listed(&page)).map_err(boxed)
        }
        Call::ShowNodeEntry(selector) => {
            let atlas = node.atlas();
            let found = atlas.find_node(selector).map_err(boxed);
            found.map(|node| Reply::listed(&atlas.entry(node)))
        }
        Call::ListSites => Ok(Reply::listed(&node.atlas().sites())),
        Call::ListPending => with_peers(node, |peers| {
            Ok(Reply::listed(&Page {
                items: peers.pending(),
                next: None,
                notes: Vec::new(),
            }))
        }),
        Call::ApproveNode(approve) => with_peers(node, |peers| {
            peers
                .approve(&approve.code)
                .map(|node| Reply::accepted(&node))
        }),
        Call::TellWord(word) => with_peers(node, |peers| {
            let what = peers.tell_word(&word.word)?;
            node.saw("cluster", None, "owner", &what);
            Ok(Reply::accepted(&protocol::OwnerWordTaken { what }))
        }),
        Call::RemoveNode(selector) => remove(node, selector),
        Call::ListEvents { after, wait_ms } => Ok(events(node, *after, *wait_ms).await),
        _ => return None,
    })
}

fn remove(node: &Node, selector: &Selector) -> Result<Reply, Box<Problem>> {
    with_peers(node, |peers| {
        let atlas = node.atlas();
        let found = atlas.find_node(selector).map_err(boxed)?;
        if found.id == node.facts.id.get() {
            let detail = "A node can't remove itself: nobody would hear of it";
            let advice = "Ask another node, or switch this one off: luc node poweroff";
            return Err(Box::new(Problem::new(Code::WrongState, detail, advice)));
        }
        peers.remove(found.id)?;
        Ok(Reply::accepted(&node.atlas().entry(found)))
    })
}

/// Waits for the first event behind `after`, but not for ever.
async fn events(node: &Node, after: u64, wait_ms: u64) -> Reply {
    let until_ms = node.executor.now_ms() + wait_ms.min(limits::EVENTS_WAIT_MS_MAX);
    loop {
        let seen = node.events_bell.rings();
        let page = node.events.borrow().after(after);
        let left_ms = until_ms.saturating_sub(node.executor.now_ms());
        if !page.items.is_empty() || left_ms == 0 {
            return Reply::listed(&page);
        }
        let _ = node
            .executor
            .timeout(left_ms, node.events_bell.after(seen))
            .await;
    }
}

fn with_peers<T>(
    node: &Node,
    ask: impl FnOnce(&dyn Peers) -> Result<T, Box<Problem>>,
) -> Result<T, Box<Problem>> {
    let peers = node.peers.borrow().clone();
    let peers = peers.ok_or_else(|| Box::new(no_cluster()))?;
    ask(&*peers)
}

pub(super) fn no_cluster() -> Problem {
    Problem::new(
        Code::NoCluster,
        "This node belongs to no cluster",
        "Make one (luc cluster init), and boot the node with its public key and a token",
    )
}

/// Why the overlay does not take a fact.
pub(super) fn untold(refused: overlay::Refused) -> Box<Problem> {
    let detail = format!("The cluster can't be told: {refused}");
    Box::new(Problem::new(Code::WrongState, detail, refused.advice()))
}

pub(super) fn boxed(refusal: cloud::Refusal) -> Box<Problem> {
    Box::new(refusal.into())
}

/// Keeps the cloud's idea of the machine fresh.
pub(crate) async fn watch_machine(node: Rc<Node>) {
    loop {
        let cpus = node.facts.cpus;
        let load_permille = sys::usage::load_permille(cpus);
        let kvm = node.kvm.status().usable;
        node.event(Event::Machine {
            cpus,
            load_permille,
            kvm,
        });
        node.executor.sleep(MACHINE_MS).await;
    }
}
