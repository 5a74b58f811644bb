//! A wire in memory: it loses, doubles, delays and changes datagrams as its seed says.

#![allow(dead_code, clippy::unwrap_used)]

use netcore::dice::Dice;
use protocol::peer::SessionKey;
use protocol::{Moment, NodeId, SiteId, Timestamp};
use session::{Datagrams, Destination, Gate, Limits, Output, Peer, Refusal, Rng, Secret};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Shows a node's number, and lets in whom the test wants.
#[derive(Debug, Clone, Default)]
pub struct TestGate {
    /// `None`: it has no certificate.
    pub number: Option<u8>,
    pub refuses: Vec<u8>,
}

impl Gate for TestGate {
    fn payload(&self) -> Vec<u8> {
        self.number
            .map_or_else(Vec::new, |number| vec![number; 700])
    }

    fn check(&self, _: Moment, key: &SessionKey, payload: &[u8]) -> Result<Peer, Refusal> {
        match payload {
            [] => Ok(Peer::Stranger(*key)),
            [number, ..] if self.refuses.contains(number) => Err(Refusal::Revoked),
            [number, ..] => Ok(node_peer(*number)),
        }
    }
}

pub fn node_id(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

pub fn node_peer(number: u8) -> Peer {
    let site = SiteId::from_bytes([1; 16]);
    let node = node_id(number);
    Peer::Node { node, site }
}

pub fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], session::PORT))
}

pub fn moment(uptime_ms: u64) -> Moment {
    Moment {
        uptime_ms,
        wall: Timestamp::from_unix_ms(1_700_000_000_000 + uptime_ms),
    }
}

/// What the wire does to a datagram; chances in thousandths.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    pub lost: u64,
    pub doubled: u64,
    pub latency_ms: u64,
    pub jitter_ms: u64,
}

#[derive(Debug)]
pub struct End {
    pub datagrams: Datagrams,
    pub gate: TestGate,
    pub address: SocketAddr,
    pub outputs: Vec<Output>,
}

impl End {
    /// The messages that have come, in their order.
    pub fn messages(&self) -> Vec<Vec<u8>> {
        let bytes = |output: &Output| match output {
            Output::Received { bytes, .. } => Some(bytes.clone()),
            _ => None,
        };
        self.outputs.iter().filter_map(bytes).collect()
    }

    pub fn has(&self, wanted: impl Fn(&Output) -> bool) -> bool {
        self.outputs.iter().any(wanted)
    }

    pub fn is_established_with(&self, number: u8) -> bool {
        self.has(|o| matches!(o, Output::Established { peer, .. } if *peer == node_peer(number)))
    }

    pub fn lost(&self, number: u8) -> bool {
        self.has(|o| matches!(o, Output::Lost { peer, .. } if *peer == node_peer(number)))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flying {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

pub type Meddler = Box<dyn FnMut(usize, &mut Flying) -> bool>;

pub struct World {
    pub now_ms: u64,
    pub ends: BTreeMap<u8, End>,
    pub faults: Faults,
    /// Every datagram that was sent, also those that were lost.
    pub captured: Vec<Flying>,
    /// Changes or stops a datagram by its place in `captured`.
    pub meddle: Meddler,
    flying: BTreeMap<(u64, u64), Flying>,
    dice: Dice,
    count: u64,
    seed: u64,
}

impl World {
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self {
            now_ms: 1_000,
            ends: BTreeMap::new(),
            faults,
            captured: Vec::new(),
            meddle: Box::new(|_, _| true),
            flying: BTreeMap::new(),
            dice: Dice::new(seed),
            count: 0,
            seed,
        }
    }

    /// Nodes 1 to `count`, each at its own address.
    pub fn with_nodes(seed: u64, faults: Faults, count: u8) -> Self {
        let mut world = Self::new(seed, faults);
        for number in 1..=count {
            world.add(number, Limits::default());
        }
        world
    }

    pub fn add(&mut self, number: u8, limits: Limits) {
        self.add_with_key(number, number, limits);
    }

    /// A node at the address of `number`, with the key and certificate of `identity`. One that was
    /// there is gone, and knows nothing.
    pub fn add_with_key(&mut self, number: u8, identity: u8, limits: Limits) {
        self.count += 1;
        let mut seed = [number; 32];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        seed[8..16].copy_from_slice(&self.count.to_le_bytes());
        let end = End {
            datagrams: Datagrams::new(Secret::new([identity; 32]), Rng::from_seed(seed), limits),
            gate: TestGate {
                number: Some(identity),
                refuses: Vec::new(),
            },
            address: address(number),
            outputs: Vec::new(),
        };
        self.ends.insert(number, end);
    }

    pub fn end(&mut self, number: u8) -> &mut End {
        self.ends.get_mut(&number).unwrap()
    }

    pub fn send(&mut self, from: u8, to: u8, bytes: &[u8]) {
        let destination = Destination {
            node: Some(node_id(to)),
            address: address(to),
        };
        self.send_to(from, destination, bytes);
    }

    pub fn send_to(&mut self, from: u8, to: Destination, bytes: &[u8]) {
        let now = moment(self.now_ms);
        self.end(from).datagrams.send(now, to, bytes).unwrap();
        self.collect(from);
    }

    /// Puts a datagram on the wire as if `from` had sent it.
    pub fn inject(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.count += 1;
        let bytes = bytes.to_vec();
        self.flying
            .insert((self.now_ms, self.count), Flying { from, to, bytes });
    }

    pub fn run_ms(&mut self, span_ms: u64) {
        let end_ms = self.now_ms + span_ms;
        while let Some(next_ms) = self.next_ms().filter(|next| *next <= end_ms) {
            self.now_ms = self.now_ms.max(next_ms);
            self.step();
        }
        self.now_ms = end_ms;
    }

    fn next_ms(&self) -> Option<u64> {
        let timers = self
            .ends
            .values()
            .filter_map(|e| e.datagrams.next_timeout());
        let arrival = self.flying.keys().next().map(|(at, _)| *at);
        timers.chain(arrival).min()
    }

    fn step(&mut self) {
        let now = moment(self.now_ms);
        while let Some(entry) = self.flying.first_entry() {
            if entry.key().0 > self.now_ms {
                break;
            }
            let datagram = entry.remove();
            let end = self.ends.iter_mut().find(|(_, e)| e.address == datagram.to);
            if let Some((number, end)) = end {
                let (gate, number) = (end.gate.clone(), *number);
                end.datagrams
                    .handle_datagram(now, &gate, datagram.from, &datagram.bytes);
                self.collect(number);
            }
        }
        let numbers: Vec<u8> = self.ends.keys().copied().collect();
        for number in numbers {
            self.end(number).datagrams.handle_timeout(now);
            self.collect(number);
        }
    }

    /// Takes what an end wants done.
    pub fn collect(&mut self, number: u8) {
        let end = self.ends.get_mut(&number).unwrap();
        let from = end.address;
        let mut sent = Vec::new();
        while let Some(output) = end.datagrams.poll_output() {
            match output {
                Output::Transmit { to, bytes } => sent.push(Flying { from, to, bytes }),
                other => end.outputs.push(other),
            }
        }
        end.datagrams.check();
        for datagram in sent {
            self.fly(datagram);
        }
    }

    fn fly(&mut self, mut datagram: Flying) {
        let place = self.captured.len();
        self.captured.push(datagram.clone());
        let stays = (self.meddle)(place, &mut datagram);
        if !stays || self.dice.below(1000) < self.faults.lost {
            return;
        }
        let copies = 1 + u64::from(self.dice.below(1000) < self.faults.doubled);
        for _ in 0..copies {
            self.count += 1;
            let delay = self.faults.latency_ms + self.dice.below(self.faults.jitter_ms + 1);
            self.flying
                .insert((self.now_ms + delay, self.count), datagram.clone());
        }
    }
}
