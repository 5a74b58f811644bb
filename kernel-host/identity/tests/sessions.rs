//! Joining over real sessions: handshakes, sealed datagrams, strangers and members.
#![allow(clippy::unwrap_used)]

mod world;

use identity::desk::Sight;
use identity::gate::heard;
use identity::joiner::JoinState;
use identity::membership::{MemberOutput, Membership, MembershipConfig};
use identity::request::Applicant;
use identity::ring::Standing;
use identity::token::Token;
use protocol::peer::admission::Refusal;
use protocol::peer::{Channel, Message, PublicKey};
use protocol::{Moment, NodeId, Timestamp};
use session::{Datagrams, Destination, Limits, Output, Peer, Reason, Rng, Secret};
use std::collections::VecDeque;
use std::net::SocketAddr;
use world::{START_MS, TokenWish, machine, name, record, secret};

#[derive(Debug)]
struct Nobody;

impl Sight for Nobody {
    fn is_alive(&self, _node: NodeId) -> bool {
        false
    }
    fn neighbours(&self) -> Vec<NodeId> {
        Vec::new()
    }
}

struct Node {
    membership: Membership,
    datagrams: Datagrams,
    address: SocketAddr,
    told: Vec<Reason>,
}

struct Wire {
    now: Moment,
    nodes: Vec<Node>,
    datagrams: VecDeque<(SocketAddr, SocketAddr, Vec<u8>)>,
    captured: Vec<Vec<u8>>,
}

impl Wire {
    fn new() -> Self {
        let wall = Timestamp::from_unix_ms(START_MS);
        Self {
            now: Moment { uptime_ms: 0, wall },
            nodes: Vec::new(),
            datagrams: VecDeque::new(),
            captured: Vec::new(),
        }
    }

    fn boot(&mut self, number: u64, token: Option<Token>, root: PublicKey) -> usize {
        let applicant = Applicant {
            site: name("lyon"),
            name: name("a-node"),
            machine: machine(number),
            token,
        };
        let config = MembershipConfig {
            secret: secret(number),
            roots: vec![root],
            applicant,
            saved: None,
            seed: number,
            charter: secret(1000 + number).seed(),
        };
        let membership = Membership::new(self.now, config);
        let session = *membership.keys().borrow().session().reveal();
        let rng = Rng::from_seed(*secret(7000 + number).seed().reveal());
        let port = u16::try_from(10_000 + number).unwrap();
        self.nodes.push(Node {
            membership,
            datagrams: Datagrams::new(Secret::new(session), rng, Limits::default()),
            address: SocketAddr::from(([192, 0, 2, 1], port)),
            told: Vec::new(),
        });
        self.nodes.len() - 1
    }

    fn run(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            self.now.uptime_ms += 100;
            self.now.wall = Timestamp::from_unix_ms(self.now.wall.unix_ms() + 100);
            let addresses: Vec<SocketAddr> = self.nodes.iter().map(|node| node.address).collect();
            for at in 0..self.nodes.len() {
                let now = self.now;
                let node = &mut self.nodes[at];
                for address in addresses.iter().filter(|address| **address != node.address) {
                    let _full = node.datagrams.open(now, *address);
                }
                node.datagrams.handle_timeout(now);
                node.membership.handle_timeout(now, &Nobody);
                self.perform(at);
            }
            while let Some((from, to, bytes)) = self.datagrams.pop_front() {
                let Some(at) = self.nodes.iter().position(|node| node.address == to) else {
                    continue;
                };
                let gate = self.nodes[at].membership.keys();
                self.nodes[at]
                    .datagrams
                    .handle_datagram(self.now, &gate, from, &bytes);
                self.perform(at);
            }
        }
    }

    fn perform(&mut self, at: usize) {
        let now = self.now;
        loop {
            let node = &mut self.nodes[at];
            let mut is_idle = true;
            while let Some(output) = node.membership.poll_output() {
                is_idle = false;
                node.obey(now, output);
            }
            while let Some(output) = node.datagrams.poll_output() {
                is_idle = false;
                if let Output::Transmit { to, bytes } = output {
                    self.captured.push(bytes.clone());
                    self.datagrams.push_back((node.address, to, bytes));
                } else {
                    node.hear(now, output);
                }
            }
            if is_idle {
                return;
            }
        }
    }
}

impl Node {
    fn obey(&mut self, now: Moment, output: MemberOutput) {
        match output {
            MemberOutput::Send { to, message } => {
                let bytes = Message::Admission(*message)
                    .encode(Channel::Datagram)
                    .unwrap();
                let address = self.membership.address_of(to);
                let address = address.or_else(|| self.datagrams.address_of(to)).unwrap();
                let node = self.datagrams.address_of(to).map(|_| to);
                self.datagrams
                    .send(now, Destination { node, address }, &bytes)
                    .unwrap();
            }
            MemberOutput::Changed { .. } => self.datagrams.renew(now),
            MemberOutput::Publish(publication) => {
                let keys = self.membership.keys();
                keys.borrow_mut().learn_record(now, &record(&publication));
            }
            _ => {}
        }
    }

    fn hear(&mut self, now: Moment, output: Output) {
        match output {
            Output::Received { peer, from, bytes } => {
                let Ok(Message::Admission(message)) = Message::decode(Channel::Datagram, &bytes)
                else {
                    panic!("nothing else was sent");
                };
                match peer {
                    Peer::Node { node, .. } => {
                        self.membership.handle_message(now, &Nobody, node, message);
                    }
                    Peer::Stranger(key) => {
                        self.membership
                            .handle_stranger(now, &Nobody, (key, from), message);
                    }
                }
            }
            Output::Established {
                peer: Peer::Node { node, site },
                ..
            } => {
                let standing = Standing::Certified(site);
                self.membership.handle_peer(now, &Nobody, node, standing);
            }
            Output::Refused { reason, .. } => {
                self.told.push(reason);
                if let Reason::Ours(refusal) = reason {
                    self.membership.handle_foreign(now, &Nobody, heard(refusal));
                }
            }
            _ => {}
        }
    }
}

#[test]
fn a_stranger_joins_over_sealed_datagrams_and_is_a_peer_at_once() {
    let root = secret(0);
    let token = TokenWish::founding("lyon").by(&root, START_MS / 1000);
    let mut wire = Wire::new();
    wire.boot(1, Some(token.clone()), root.public());
    wire.run(10_000);
    assert!(wire.nodes[0].membership.is_member());
    let second = wire.boot(2, Some(token.clone()), root.public());
    wire.run(5_000);
    assert_eq!(wire.nodes[second].membership.state(), JoinState::Member);
    for (at, other) in [(0, 1), (1, 0)] {
        let other = wire.nodes[other].membership.keys().borrow().me();
        let peers: Vec<Peer> = wire.nodes[at]
            .datagrams
            .peers()
            .map(|(peer, _)| peer)
            .collect();
        assert!(
            peers.iter().any(|peer| peer.node() == Some(other)),
            "{peers:?}"
        );
    }
    // Neither names nor keys travel in the clear.
    let keys = wire.nodes[second].membership.keys();
    let seen: [&[u8]; 3] = [b"a-node", b"lyon", &keys.borrow().secret().public().0];
    for datagram in &wire.captured {
        for plain in seen {
            assert!(!datagram.windows(plain.len()).any(|window| window == plain));
        }
    }
}

#[test]
fn a_machine_of_another_cluster_gets_no_session_and_both_know_why() {
    let (root, other) = (secret(0), secret(66));
    let mut wire = Wire::new();
    let token = TokenWish::founding("lyon").by(&root, START_MS / 1000);
    wire.boot(1, Some(token), root.public());
    wire.run(10_000);
    let stranger = wire.boot(2, None, other.public());
    wire.run(5_000);
    let state = wire.nodes[stranger].membership.state();
    assert_eq!(state, JoinState::Refused(Refusal::UnknownRoot));
    let reason = Reason::Ours(session::Refusal::OtherCluster);
    assert!(
        wire.nodes[stranger].told.contains(&reason),
        "{:?}",
        wire.nodes[stranger].told
    );
}

#[test]
fn a_copied_certificate_is_of_no_use_without_its_key() {
    use session::Gate;
    let root = secret(0);
    let token = TokenWish::founding("lyon").by(&root, START_MS / 1000);
    let mut wire = Wire::new();
    wire.boot(1, Some(token), root.public());
    wire.run(10_000);
    let keys = wire.nodes[0].membership.keys();
    let thief = secret(9).session().public();
    let refused = keys.check(wire.now, &thief, &keys.payload());
    assert_eq!(refused, Err(session::Refusal::OtherKey));
    assert_eq!(
        keys.check(wire.now, &thief, b""),
        Err(session::Refusal::Malformed)
    );
}
