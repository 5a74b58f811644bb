//! A few sites on a table: keys, doors and strangers, and letters between them in order.
#![allow(dead_code, clippy::unwrap_used)] // each test file uses a part

use identity::admitter::{AdmitEvent, AdmitOutput, Admitter};
use identity::desk::{Desk, Sight};
use identity::grant::{Grant, GrantFields, GrantRight};
use identity::joiner::{JoinOutput, JoinState, Joiner};
use identity::publication::{Publication, RightBody};
use identity::request::Applicant;
use identity::revocation::{Authority, Revocation, RevocationFields, Target};
use identity::ring::{Keys, News};
use identity::secret::{SecretKey, Seed};
use identity::succession::Succession;
use identity::token::Token;
use protocol::peer::admission::{AdmissionMessage, Few, MachineId};
use protocol::peer::capped::Capped;
use protocol::peer::{
    Channel, Message, PublicKey, Record, RecordKey, RecordKind, Signature, Stamp, Version,
};
use protocol::{Moment, Name, NodeId, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// 2026-01-01, in milliseconds.
pub const START_MS: u64 = 1_767_225_600_000;
pub const DAY_MS: u64 = 86_400_000;
pub const DAY_S: u64 = 86_400;

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A secret that only this number gives.
pub fn secret(number: u64) -> SecretKey {
    let mut bytes = [0x5a; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    SecretKey::from_seed(&Seed::new(bytes))
}

pub fn machine(number: u64) -> MachineId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    MachineId(bytes)
}

#[derive(Debug, Clone)]
pub struct TokenWish {
    pub site: &'static str,
    pub count: u32,
    pub founds: bool,
    pub expires_s: Option<u64>,
    pub succession: Option<Succession>,
    /// Which secret it has.
    pub number: u64,
}

impl TokenWish {
    pub fn founding(site: &'static str) -> Self {
        Self {
            site,
            count: 1000,
            founds: true,
            expires_s: None,
            succession: None,
            number: 900,
        }
    }

    pub fn by(&self, root: &SecretKey, made_s: u64) -> Token {
        let key = secret(self.number);
        let fields = GrantFields {
            key: key.public(),
            made_s,
            expires_s: self.expires_s,
            right: GrantRight::Token {
                site: name(self.site),
                count: self.count,
                founds: self.founds,
            },
        };
        Token::new(Grant::sign(fields, root), key, self.succession.clone()).unwrap()
    }
}

pub fn operator(site: Option<&str>, number: u64, root: &SecretKey) -> Grant {
    let fields = GrantFields {
        key: secret(number).public(),
        made_s: START_MS / 1000,
        expires_s: None,
        right: GrantRight::Operator {
            site: site.map(name),
        },
    };
    Grant::sign(fields, root)
}

pub fn revocation(
    target: Target,
    since_s: Option<u64>,
    made_s: u64,
    by: (Authority, &SecretKey),
) -> Revocation {
    let fields = RevocationFields {
        target,
        since_s,
        spares: Few::default(),
        made_s,
        reason: Capped::new(b"stolen".to_vec()).unwrap(),
    };
    Revocation::sign(fields, by.0, by.1)
}

/// A publication as the store hands it to `learn_record`.
pub fn record(publication: &Publication) -> Record {
    Record {
        key: RecordKey {
            realm: publication.realm,
            kind: publication.kind,
            subject: publication.subject,
        },
        author: NodeId::from_bytes([1; 16]),
        version: Version::default(),
        written: Stamp::default(),
        ended: false,
        body: publication.body.clone(),
        signature: Signature([0; 64]),
    }
}

#[derive(Debug)]
pub struct Node {
    pub keys: Keys,
    pub admitter: Admitter,
    pub joiner: Option<Joiner>,
    pub site: Name,
    pub machine: MachineId,
    pub is_on: bool,
    pub island: u32,
    pub records: BTreeMap<(RecordKind, [u8; 16]), Publication>,
    pub events: Vec<AdmitEvent>,
    pub news: Vec<News>,
    pub disk: Option<Vec<u8>>,
    pub number: u64,
    pub sent: u64,
}

#[derive(Debug)]
struct View {
    alive: BTreeSet<NodeId>,
    neighbours: Vec<NodeId>,
}

impl Sight for View {
    fn is_alive(&self, node: NodeId) -> bool {
        self.alive.contains(&node)
    }
    fn neighbours(&self) -> Vec<NodeId> {
        self.neighbours.clone()
    }
}

/// Nodes, letters and a clock.
#[derive(Debug)]
pub struct World {
    pub root: SecretKey,
    pub now: Moment,
    pub nodes: BTreeMap<NodeId, Node>,
    letters: VecDeque<(NodeId, NodeId, AdmissionMessage)>,
    pub longest: usize,
}

impl World {
    pub fn new() -> Self {
        Self {
            root: secret(0),
            now: Moment {
                uptime_ms: 1000,
                wall: Timestamp::from_unix_ms(START_MS),
            },
            nodes: BTreeMap::new(),
            letters: VecDeque::new(),
            longest: 0,
        }
    }

    pub fn now_s(&self) -> u64 {
        self.now.wall.unix_ms() / 1000
    }

    pub fn founding(&self, site: &'static str) -> Token {
        TokenWish::founding(site).by(&self.root, START_MS / 1000)
    }

    /// Switches a machine on for the first time.
    pub fn boot(&mut self, number: u64, site: &str, token: Option<Token>) -> NodeId {
        let roots = [self.root.public()];
        self.boot_with(number, number, site, token, &roots)
    }

    pub fn boot_with(
        &mut self,
        number: u64,
        on_machine: u64,
        site: &str,
        token: Option<Token>,
        roots: &[PublicKey],
    ) -> NodeId {
        let mut keys = Keys::new(secret(number), &name(site), roots);
        let node = keys.me();
        let applicant = Applicant {
            site: name(site),
            name: name(&format!("n{number}")),
            machine: machine(on_machine),
            token,
        };
        let charter = secret(1_000_000 + number).seed();
        let joiner = Joiner::new(self.now, &mut keys, applicant, number, charter);
        self.nodes.insert(
            node,
            Node {
                keys,
                admitter: Admitter::new(self.now, number),
                joiner: Some(joiner),
                site: name(site),
                machine: machine(on_machine),
                is_on: true,
                island: 0,
                records: BTreeMap::new(),
                events: Vec::new(),
                news: Vec::new(),
                disk: None,
                number,
                sent: 0,
            },
        );
        node
    }

    /// Cuts the power of a node with a disk, and switches it on again later with `reboot`.
    pub fn cut_power(&mut self, node: NodeId) {
        let node = self.nodes.get_mut(&node).unwrap();
        node.is_on = false;
        node.disk = node.keys.saved();
    }

    pub fn reboot(&mut self, node: NodeId, roots: &[PublicKey]) {
        let (now, id) = (self.now, node);
        let node = self.nodes.get_mut(&node).unwrap();
        node.is_on = true;
        node.keys = Keys::new(secret(node.number), &node.site, roots);
        node.admitter = Admitter::new(now, node.number);
        node.joiner = None;
        let records: Vec<Publication> = node.records.values().cloned().collect();
        let disk = node.disk.clone().unwrap();
        node.keys.restore(now, &disk).unwrap();
        for _ in 0..2 {
            for publication in &records {
                node.keys.learn_record(now, &record(publication));
            }
        }
        assert_eq!(node.keys.me(), id);
    }

    pub fn island(&mut self, nodes: &[NodeId], island: u32) {
        for node in nodes {
            self.nodes.get_mut(node).unwrap().island = island;
        }
    }

    fn reach(&self, from: NodeId, to: NodeId) -> bool {
        match (self.nodes.get(&from), self.nodes.get(&to)) {
            (Some(a), Some(b)) => a.is_on && b.is_on && a.island == b.island,
            _ => false,
        }
    }

    fn view(&self, of: NodeId) -> View {
        let alive: BTreeSet<NodeId> = self
            .nodes
            .keys()
            .copied()
            .filter(|node| self.reach(of, *node) && self.nodes[node].keys.own().is_some())
            .collect();
        let site = &self.nodes[&of].site;
        let neighbours = alive
            .iter()
            .copied()
            .filter(|node| *node != of && &self.nodes[node].site == site);
        let neighbours: Vec<NodeId> = neighbours.collect();
        View { alive, neighbours }
    }

    /// Runs `f` on one node and performs what it wants.
    pub fn with<R>(
        &mut self,
        id: NodeId,
        f: impl FnOnce(&mut Desk<'_>, &mut Admitter, &mut Option<Joiner>) -> R,
    ) -> R {
        let (view, now) = (self.view(id), self.now);
        let node = self.nodes.get_mut(&id).unwrap();
        let mut desk = Desk {
            now,
            keys: &mut node.keys,
            sight: &view,
        };
        let result = f(&mut desk, &mut node.admitter, &mut node.joiner);
        self.perform(id);
        result
    }

    fn perform(&mut self, id: NodeId) {
        let mut published = Vec::new();
        let node = self.nodes.get_mut(&id).unwrap();
        let mut letters = Vec::new();
        while let Some(output) = node.joiner.as_mut().and_then(Joiner::poll_output) {
            match output {
                JoinOutput::Send { to, message } => letters.push((to, *message)),
                JoinOutput::Publish(publication) => published.push(publication),
                JoinOutput::State(_) | JoinOutput::Joined => {}
            }
        }
        while let Some(output) = node.admitter.poll_output() {
            match output {
                AdmitOutput::Send { to, message } => letters.push((to, *message)),
                AdmitOutput::Publish(publication) => published.push(publication),
                AdmitOutput::Event(event) => node.events.push(event),
                AdmitOutput::Save => {}
            }
        }
        while let Some(news) = node.keys.poll_news() {
            if let News::Charter(_) = news {
                node.admitter.handle_charter(self.now);
            }
            node.news.push(news);
        }
        node.sent += letters.len() as u64;
        for (to, message) in letters {
            let bytes = Message::Admission(message.clone()).encode(Channel::Datagram);
            self.longest = self.longest.max(bytes.expect("fits a datagram").len());
            self.letters.push_back((id, to, message));
        }
        for publication in published {
            self.publish(id, &publication);
        }
    }

    /// Publishes to everybody in the author's island who is a member, and the author itself.
    pub fn publish(&mut self, author: NodeId, publication: &Publication) {
        let reached: Vec<NodeId> = self
            .nodes
            .keys()
            .copied()
            .filter(|to| self.reach(author, *to))
            .collect();
        for to in reached {
            self.deliver(to, publication);
        }
    }

    /// One record reaches one node.
    pub fn deliver(&mut self, to: NodeId, publication: &Publication) {
        let now = self.now;
        let node = self.nodes.get_mut(&to).unwrap();
        let record = record(publication);
        if publication.kind == RecordKind::GRANT_USE {
            node.admitter.handle_use(&record);
        } else {
            node.keys.learn_record(now, &record);
        }
        let key = (publication.kind, publication.subject);
        node.records.insert(key, publication.clone());
        self.perform(to);
    }

    /// All islands are one again, and everybody learns every record.
    pub fn heal(&mut self) {
        for node in self.nodes.values_mut() {
            node.island = 0;
        }
        let on: Vec<NodeId> = self.on();
        let mut all: BTreeMap<_, Publication> = BTreeMap::new();
        for node in &on {
            all.extend(self.nodes[node].records.clone());
        }
        // Revocations first, then rights, then certificates; twice, since rights lead to rights.
        let order = |kind: RecordKind| match kind {
            RecordKind::REVOCATION => 0,
            RecordKind::GRANT => 1,
            _ => 2,
        };
        let mut all: Vec<Publication> = all.into_values().collect();
        all.sort_by_key(|one| order(one.kind));
        for _ in 0..2 {
            for publication in &all {
                for node in &on {
                    self.deliver(*node, publication);
                }
            }
        }
    }

    pub fn on(&self) -> Vec<NodeId> {
        let on = self.nodes.iter().filter(|(_, node)| node.is_on);
        on.map(|(id, _)| *id).collect()
    }

    /// Delivers letters until none is under way.
    pub fn settle(&mut self) {
        for _ in 0..100_000 {
            let Some((from, to, message)) = self.letters.pop_front() else {
                return;
            };
            if !self.reach(from, to) {
                continue;
            }
            self.with(to, |desk, admitter, joiner| match joiner {
                Some(joiner) if desk.keys.own().is_none() => {
                    joiner.handle_message(desk, from, message);
                }
                _ => admitter.handle_message(desk, from, message),
            });
        }
        panic!("letters without end");
    }

    /// Everybody on shakes hands with everybody on in its island, as sessions would.
    pub fn meet(&mut self) {
        let on = self.on();
        for a in &on {
            for b in &on {
                if a != b && self.reach(*a, *b) {
                    self.shake(*a, *b);
                }
            }
        }
        self.settle();
    }

    /// `a` hears what `b` shows.
    pub fn shake(&mut self, a: NodeId, b: NodeId) {
        let theirs = &self.nodes[&b].keys;
        let (session, payload) = (theirs.session().public(), theirs.payload());
        let now = self.now;
        let peer = self
            .nodes
            .get_mut(&a)
            .unwrap()
            .keys
            .check_peer(now, &session, &payload);
        self.with(a, |desk, _, joiner| {
            let Some(joiner) = joiner.as_mut().filter(|_| desk.keys.own().is_none()) else {
                return;
            };
            match peer {
                Ok(peer) => joiner.handle_peer(desk, peer.node, peer.standing),
                Err(refusal) => joiner.handle_foreign(refusal),
            }
        });
    }

    /// Time passes in steps of `step_ms`; everybody meets, works and answers.
    pub fn run(&mut self, span_ms: u64, step_ms: u64) {
        let end_ms = self.now.uptime_ms + span_ms;
        while self.now.uptime_ms < end_ms {
            self.advance(step_ms);
            self.meet();
            self.work();
        }
    }

    pub fn work(&mut self) {
        for id in self.on() {
            self.with(id, |desk, admitter, joiner| match joiner {
                Some(joiner) if desk.keys.own().is_none() => joiner.handle_timeout(desk),
                _ => admitter.handle_timeout(desk),
            });
        }
        self.settle();
    }

    pub fn advance(&mut self, ms: u64) {
        self.now.uptime_ms += ms;
        self.now.wall = Timestamp::from_unix_ms(self.now.wall.unix_ms() + ms);
    }

    pub fn state(&self, node: NodeId) -> JoinState {
        let node = &self.nodes[&node];
        match &node.joiner {
            Some(joiner) => joiner.state().clone(),
            None => JoinState::Member,
        }
    }

    pub fn keys(&self, node: NodeId) -> &Keys {
        &self.nodes[&node].keys
    }

    /// Publishes what an operator made, at one node.
    pub fn revoke(&mut self, at: NodeId, revocation: &Revocation) {
        self.publish(at, &Publication::of_revocation(revocation));
    }

    pub fn tell_right(&mut self, at: NodeId, right: &RightBody) {
        self.publish(at, &Publication::of_right(right));
    }
}
