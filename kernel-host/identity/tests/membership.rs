//! One node's whole way, driven as the appliance drives it.
#![allow(clippy::unwrap_used)]

mod world;

use identity::desk::Sight;
use identity::joiner::JoinState;
use identity::membership::{MemberOutput, Membership, MembershipConfig};
use identity::publication::Word;
use identity::request::Applicant;
use identity::revocation::{Authority, Target};
use identity::ring::{Standing, Verdict};
use identity::token::Token;
use protocol::peer::admission::AdmissionMessage;
use protocol::{Moment, NodeId, Timestamp};
use std::collections::VecDeque;
use std::net::SocketAddr;
use world::{DAY_MS, START_MS, TokenWish, machine, name, record, revocation, secret};

#[derive(Debug)]
struct Everybody(Vec<NodeId>);

impl Sight for Everybody {
    fn is_alive(&self, node: NodeId) -> bool {
        self.0.contains(&node)
    }
    fn neighbours(&self) -> Vec<NodeId> {
        self.0.clone()
    }
}

struct Node {
    id: NodeId,
    membership: Membership,
    saved: Option<Vec<u8>>,
    changes: Vec<bool>,
}

/// Nodes of one site that all reach each other.
struct Street {
    now: Moment,
    nodes: Vec<Node>,
    letters: VecDeque<(NodeId, NodeId, AdmissionMessage)>,
}

impl Street {
    fn new() -> Self {
        let wall = Timestamp::from_unix_ms(START_MS);
        Self {
            now: Moment { uptime_ms: 0, wall },
            nodes: Vec::new(),
            letters: VecDeque::new(),
        }
    }

    fn boot(&mut self, number: u64, token: Option<Token>, saved: Option<Vec<u8>>) -> usize {
        let applicant = Applicant {
            site: name("lyon"),
            name: name("a-node"),
            machine: machine(number),
            token,
        };
        let config = MembershipConfig {
            secret: secret(number),
            roots: vec![secret(0).public()],
            applicant,
            saved,
            seed: number,
            charter: secret(1000 + number).seed(),
        };
        let membership = Membership::new(self.now, config);
        let id = membership.keys().borrow().me();
        self.nodes.push(Node {
            id,
            membership,
            saved: None,
            changes: Vec::new(),
        });
        self.nodes.len() - 1
    }

    fn sight(&self, at: usize) -> Everybody {
        let members = self.nodes.iter().enumerate();
        let members = members.filter(|(other, node)| *other != at && node.membership.is_member());
        Everybody(members.map(|(_, node)| node.id).collect())
    }

    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now.uptime_ms += 1000;
            self.now.wall = Timestamp::from_unix_ms(self.now.wall.unix_ms() + 1000);
            for at in 0..self.nodes.len() {
                self.meet(at);
                let sight = self.sight(at);
                self.nodes[at].membership.handle_timeout(self.now, &sight);
                self.perform(at);
            }
        }
    }

    /// Handshakes with everybody else.
    fn meet(&mut self, at: usize) {
        let sight = self.sight(at);
        for other in (0..self.nodes.len()).filter(|other| *other != at) {
            let keys = self.nodes[other].membership.keys();
            let (session, payload) = (keys.borrow().session().public(), keys.borrow().payload());
            let ours = self.nodes[at].membership.keys();
            let peer = ours.borrow_mut().check_peer(self.now, &session, &payload);
            let node = &mut self.nodes[at].membership;
            match peer {
                Ok(peer) => node.handle_peer(self.now, &sight, peer.node, peer.standing),
                Err(refusal) => node.handle_foreign(self.now, &sight, refusal),
            }
            self.perform(at);
        }
    }

    fn perform(&mut self, at: usize) {
        let from = self.nodes[at].id;
        let mut records = Vec::new();
        while let Some(output) = self.nodes[at].membership.poll_output() {
            match output {
                MemberOutput::Send { to, message } => self.letters.push_back((from, to, *message)),
                MemberOutput::Save(saved) => self.nodes[at].saved = Some(saved),
                MemberOutput::Changed { is_member } => self.nodes[at].changes.push(is_member),
                MemberOutput::Publish(publication) => records.push(record(&publication)),
                MemberOutput::State(_) | MemberOutput::Event(_) | MemberOutput::News(_) => {}
            }
        }
        for record in records {
            for other in 0..self.nodes.len() {
                let sight = self.sight(other);
                let node = &mut self.nodes[other].membership;
                node.keys().borrow_mut().learn_record(self.now, &record);
                node.handle_record(self.now, &sight, &record);
            }
        }
        while let Some((from, to, message)) = self.letters.pop_front() {
            self.deliver(from, to, message);
        }
    }

    /// A stranger's letter comes with its session key alone, as sessions know strangers.
    fn deliver(&mut self, from: NodeId, to: NodeId, message: AdmissionMessage) {
        let find = |id| self.nodes.iter().position(|node| node.id == id);
        let (Some(sender), Some(at)) = (find(from), find(to)) else {
            return;
        };
        let address = SocketAddr::from(([192, 0, 2, 1], u16::try_from(sender).unwrap()));
        let sight = self.sight(at);
        let is_stranger = !self.nodes[sender].membership.is_member();
        let session = self.nodes[sender]
            .membership
            .keys()
            .borrow()
            .session()
            .public();
        let node = &mut self.nodes[at].membership;
        if is_stranger {
            let heard = node.handle_stranger(self.now, &sight, (session, address), message);
            assert!(heard.is_none_or(|heard| node.address_of(heard) == Some(address)));
        } else {
            node.handle_message(self.now, &sight, from, message);
        }
        self.perform(at);
    }
}

#[test]
fn a_node_founds_others_join_and_a_reboot_needs_no_token() {
    let token = TokenWish::founding("lyon").by(&secret(0), START_MS / 1000);
    let mut street = Street::new();
    street.boot(1, Some(token.clone()), None);
    street.run(10);
    street.boot(2, Some(token), None);
    street.run(10);
    for node in &street.nodes {
        assert!(node.membership.is_member());
        assert_eq!(node.membership.state(), JoinState::Member);
        assert_eq!(node.changes, [true]);
        assert!(node.membership.keys().borrow().can_issue());
    }
    let saved = street.nodes[1].saved.clone();
    street.nodes.pop();
    street.now.uptime_ms += 90 * DAY_MS;
    street.now.wall = Timestamp::from_unix_ms(street.now.wall.unix_ms() + 90 * DAY_MS);
    street.boot(2, None, saved);
    assert!(
        street.nodes[1].membership.is_member(),
        "at once, from its disk"
    );
    street.run(70);
    let expires = street.nodes[0]
        .membership
        .keys()
        .borrow()
        .expires(street.nodes[1].id);
    assert!(expires.unwrap() > street.now.wall, "and renewed");
}

#[test]
fn a_node_that_is_revoked_becomes_a_stranger_that_is_told_so() {
    let token = TokenWish::founding("lyon").by(&secret(0), START_MS / 1000);
    let mut street = Street::new();
    for number in 1..=2 {
        street.boot(number, Some(token.clone()), None);
        street.run(10);
    }
    let root = secret(0);
    let by = (Authority::Root(root.public()), &root);
    let revoked = revocation(Target::Node(street.nodes[1].id), None, START_MS / 1000, by);
    let (now, sight) = (street.now, street.sight(0));
    let word: Word = Word::Revocation(revoked).to_string().parse().unwrap();
    let verdict = street.nodes[0].membership.tell(now, &sight, &word);
    assert_eq!(verdict, Verdict::Good);
    street.run(10);
    assert!(street.nodes[0].membership.is_member());
    assert_eq!(street.nodes[1].changes, [true, false]);
    let state = street.nodes[1].membership.state();
    assert!(state.reason().contains("revoked"), "{}", state.reason());
    assert!(state.advice().contains("token"), "{}", state.advice());
}

#[test]
fn a_node_believes_only_its_neighbours_that_its_certificate_fell() {
    let token = TokenWish::founding("lyon").by(&secret(0), START_MS / 1000);
    let mut street = Street::new();
    for number in 1..=2 {
        street.boot(number, Some(token.clone()), None);
        street.run(10);
    }
    let (now, neighbour) = (street.now, street.nodes[0].id);
    let node = &mut street.nodes[1].membership;
    node.handle_cut(now, NodeId::from_bytes([5; 16]));
    assert!(node.is_member());
    node.handle_cut(now, neighbour);
    assert!(!node.is_member());
    street.run(10);
    assert_eq!(
        street.nodes[1].changes,
        [true, false, true],
        "and it was let in again"
    );
}

#[test]
fn what_a_stranger_may_not_say_is_not_heard() {
    let token = TokenWish::founding("lyon").by(&secret(0), START_MS / 1000);
    let mut street = Street::new();
    street.boot(1, Some(token), None);
    street.run(10);
    let (now, sight) = (street.now, street.sight(0));
    let node = &mut street.nodes[0].membership;
    let session = secret(9).session().public();
    let address = SocketAddr::from(([192, 0, 2, 1], 9));
    let words = [
        AdmissionMessage::Waiting { ask: 1 },
        AdmissionMessage::CharterAsk {
            lacking: protocol::peer::admission::Few::new([[0; 16]]),
        },
    ];
    for word in words {
        assert_eq!(
            node.handle_stranger(now, &sight, (session, address), word),
            None
        );
        assert!(node.poll_output().is_none());
    }
    node.handle_peer(now, &sight, NodeId::from_bytes([7; 16]), Standing::Stranger);
    assert!(node.poll_output().is_none());
}
