//! A few overlays on a wire without loss, in one thread: enough to see them agree.
#![allow(clippy::unwrap_used, dead_code)]

use netcore::dice::Dice;
use overlay::{
    Answer, Config, Event, Input, Keyring, NodeState, Output, Overlay, Rules, Verdict, store,
};
use protocol::peer::{Channel, Contact, Life, Realm, Record, RecordKind, Signature, site};
use protocol::{Moment, Name, NodeId, SiteId, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

pub const START_MS: u64 = 1_800_000_000_000;

pub fn site_id(site: u8) -> SiteId {
    site::id_of(&site_name(site))
}

fn site_name(site: u8) -> Name {
    format!("site-{site}").parse().unwrap()
}

/// Node ids that tell site and number.
pub fn node_id(site: u8, number: u8) -> NodeId {
    let mut bytes = [7; 16];
    (bytes[0], bytes[1]) = (number, site);
    NodeId::from_bytes(bytes)
}

fn stamp(author: NodeId, bytes: &[u8]) -> Signature {
    let mut hasher = protocol::Hasher::new();
    hasher.update(&author.bytes());
    hasher.update(bytes);
    let digest = hasher.finish().bytes();
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&digest);
    Signature(signature)
}

/// Knows whoever is in its list; all when it has none.
#[derive(Debug)]
pub struct Stamps {
    pub me: NodeId,
    pub known: Option<BTreeSet<NodeId>>,
    pub revoked: BTreeSet<NodeId>,
}

impl Keyring for Stamps {
    fn sign(&self, bytes: &[u8]) -> Signature {
        stamp(self.me, bytes)
    }

    fn verify(&self, author: NodeId, bytes: &[u8], signature: &Signature) -> Verdict {
        if self.revoked.contains(&author) {
            Verdict::Revoked
        } else if self
            .known
            .as_ref()
            .is_some_and(|known| !known.contains(&author))
        {
            Verdict::UnknownAuthor
        } else if stamp(author, bytes) == *signature {
            Verdict::Good
        } else {
            Verdict::Bad
        }
    }

    fn site_of(&self, node: NodeId) -> Option<SiteId> {
        Some(site_id(node.bytes()[1]))
    }

    fn learn(&mut self, _now: Moment, record: &Record) -> Verdict {
        let subject = NodeId::from_bytes(record.key.subject);
        match record.key.kind {
            RecordKind::REVOCATION => {
                self.revoked.insert(subject);
            }
            RecordKind::CERTIFICATE => {
                if let Some(known) = &mut self.known {
                    known.insert(subject);
                }
            }
            _ => {}
        }
        Verdict::Good
    }
}

#[derive(Debug)]
pub struct Node {
    pub overlay: Overlay,
    pub disk: BTreeMap<String, Vec<u8>>,
    pub stored: Vec<Record>,
    pub answers: BTreeMap<u64, Answer>,
    pub bytes_out: u64,
}

#[derive(Debug)]
pub struct World {
    pub now_ms: u64,
    pub nodes: BTreeMap<NodeId, Node>,
    pub limits: store::Limits,
    pub rules: Rules,
    /// Pairs that can't reach each other.
    pub cut: BTreeSet<(SiteId, SiteId)>,
    pub cut_pairs: BTreeSet<(NodeId, NodeId)>,
    pub loss_percent: u64,
    /// What was said, as the fuzz target reads it.
    pub tap: Option<Vec<Vec<u8>>>,
    dice: Dice,
    wire: VecDeque<(u64, NodeId, Contact, Channel, Vec<u8>)>,
}

pub fn contact(site: u8, number: u8) -> Contact {
    Contact {
        node: node_id(site, number),
        site: site_id(site),
        address: SocketAddr::from(([10, 0, site, number], 12213)),
    }
}

impl World {
    pub fn new() -> Self {
        Self {
            now_ms: 1000,
            nodes: BTreeMap::new(),
            limits: store::Limits::USUAL,
            rules: Rules::ALL,
            cut: BTreeSet::new(),
            cut_pairs: BTreeSet::new(),
            loss_percent: 0,
            tap: None,
            dice: Dice::new(5),
            wire: VecDeque::new(),
        }
    }

    pub fn now(&self) -> Moment {
        Moment {
            uptime_ms: self.now_ms,
            wall: Timestamp::from_unix_ms(START_MS + self.now_ms),
        }
    }

    pub fn start(&mut self, site: u8, number: u8, boots: u32, disk: BTreeMap<String, Vec<u8>>) {
        let me = contact(site, number);
        let config = Config {
            me,
            site_name: site_name(site),
            life: Life::new(boots, 0),
            seed: self.dice.next_u64(),
            saved: disk.clone().into_iter().collect(),
            limits: self.limits,
            rules: self.rules,
        };
        let keyring = Box::new(Stamps {
            me: me.node,
            known: None,
            revoked: BTreeSet::new(),
        });
        let overlay = Overlay::new(self.now(), config, keyring);
        let node = Node {
            overlay,
            disk,
            stored: Vec::new(),
            answers: BTreeMap::new(),
            bytes_out: 0,
        };
        self.nodes.insert(me.node, node);
        self.perform(me.node);
    }

    /// Switches a node off; its disk is what is left.
    pub fn stop(&mut self, site: u8, number: u8) -> BTreeMap<String, Vec<u8>> {
        self.nodes.remove(&node_id(site, number)).unwrap().disk
    }

    /// Takes a node out of the world.
    pub fn take(&mut self, site: u8, number: u8) -> Node {
        self.nodes.remove(&node_id(site, number)).unwrap()
    }

    pub fn node(&mut self, site: u8, number: u8) -> &mut Node {
        self.nodes.get_mut(&node_id(site, number)).unwrap()
    }

    pub fn input(&mut self, node: NodeId, input: Input<'_>) -> Result<(), overlay::Refused> {
        let now = self.now();
        let result = self
            .nodes
            .get_mut(&node)
            .unwrap()
            .overlay
            .handle_input(now, input);
        self.perform(node);
        result
    }

    pub fn introduce(&mut self, a: Contact, b: Contact) {
        self.input(a.node, Input::Contact(b)).unwrap();
        self.input(b.node, Input::Contact(a)).unwrap();
    }

    pub fn cut_nodes(&mut self, left: &[(u8, u8)], right: &[(u8, u8)]) {
        for a in left.iter().map(|one| node_id(one.0, one.1)) {
            for b in right.iter().map(|one| node_id(one.0, one.1)) {
                self.cut_pairs.extend([(a, b), (b, a)]);
            }
        }
    }

    fn perform(&mut self, id: NodeId) {
        let now_ms = self.now_ms;
        let node = self.nodes.get_mut(&id).unwrap();
        let from = node.overlay.me();
        while let Some(output) = node.overlay.poll_output() {
            match output {
                Output::Send {
                    to, channel, bytes, ..
                } => {
                    assert!(bytes.len() <= channel.bytes_max());
                    node.bytes_out += bytes.len() as u64;
                    if let Some(tap) = self.tap.as_mut().filter(|_| bytes.len() < 3000) {
                        let by_stream = if channel == Channel::Stream { 0x80 } else { 0 };
                        let number = (from.node.bytes()[0] + 1) | by_stream;
                        let length = u16::try_from(bytes.len()).unwrap().to_le_bytes();
                        tap.push([&[number, length[0], length[1]], bytes.as_slice()].concat());
                    }
                    let is_lost =
                        channel == Channel::Datagram && self.dice.below(100) < self.loss_percent;
                    if !is_lost {
                        self.wire.push_back((now_ms + 20, to, from, channel, bytes));
                    }
                }
                Output::Save(save) => match save.value {
                    Some(value) => drop(node.disk.insert(save.key, value)),
                    None => drop(node.disk.remove(&save.key)),
                },
                Output::Event(Event::Stored(record)) => node.stored.push(*record),
                Output::Answer { ask, answer } => drop(node.answers.insert(ask, answer)),
                Output::Event(_) => {}
            }
        }
    }

    pub fn run(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        loop {
            let due = self
                .nodes
                .values()
                .filter_map(|node| node.overlay.next_timeout());
            let arrival = self.wire.front().map(|(at, ..)| *at);
            let next = due.chain(arrival).min().unwrap_or(end_ms).max(self.now_ms);
            if next > end_ms {
                break;
            }
            self.now_ms = next;
            self.step();
        }
        self.now_ms = end_ms;
    }

    fn step(&mut self) {
        while self.wire.front().is_some_and(|(at, ..)| *at <= self.now_ms) {
            let (_, to, from, channel, bytes) = self.wire.pop_front().unwrap();
            let site = self.nodes.get(&to).map(|node| node.overlay.me().site);
            let is_cut = site.is_none_or(|site| {
                self.cut.contains(&(from.site, site)) || self.cut.contains(&(site, from.site))
            });
            if !is_cut && !self.cut_pairs.contains(&(from.node, to)) {
                let message = Input::Message {
                    from,
                    channel,
                    bytes: &bytes,
                };
                self.input(to, message).unwrap();
            }
        }
        let now = self.now();
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in ids {
            let node = self.nodes.get_mut(&id).unwrap();
            if node
                .overlay
                .next_timeout()
                .is_some_and(|at| at <= now.uptime_ms)
            {
                node.overlay.handle_timeout(now);
                self.perform(id);
            }
        }
    }

    pub fn check(&self) {
        self.nodes.values().for_each(|node| node.overlay.check());
    }

    pub fn state(&self, observer: (u8, u8), of: (u8, u8)) -> Option<NodeState> {
        let node = &self.nodes[&node_id(observer.0, observer.1)];
        node.overlay
            .node(self.now(), node_id(of.0, of.1))
            .map(|view| view.state)
    }

    pub fn digests(&self, realm: Realm) -> BTreeSet<u64> {
        self.nodes
            .values()
            .map(|node| node.overlay.records_digest(realm))
            .collect()
    }
}
