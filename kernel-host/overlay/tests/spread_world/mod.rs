//! A cluster of links and trees alone: no store, no failure detector, everybody knows the sites.
//!
//! Does:      a seeded wire with distance and loss; virtual time in microseconds; nodes that are
//!            switched off and on; counts of copies, bytes by kind, delays and changes of view.
//! Does not:  replace the simulator: members and sites are given, sessions stand at once.
//! Bounds:    memory grows with nodes and messages in flight.
//! Trusts:    nothing that it counts.
//! Start at:  `World::new`, `World::run_ms`.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use netcore::dice::Dice;
use overlay::links::{Links, plan};
use overlay::tree::{Parcel, Tree};
use overlay::{Context, Keyring, Outbox, Verdict};
use protocol::peer::spread::SpreadMessage;
use protocol::peer::{Channel, Message, Realm, Record, Signature};
use protocol::{Moment, NodeId, SiteId, Timestamp};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::rc::Rc;

/// UDP, IP and the session around a message.
const OVERHEAD_BYTES: u64 = 60;
/// Targets that a directory names of one site.
const TARGETS_MAX: usize = 8;

#[derive(Debug)]
struct NoKeys;

impl Keyring for NoKeys {
    fn sign(&self, _: &[u8]) -> Signature {
        Signature([0; 64])
    }
    fn verify(&self, _: NodeId, _: &[u8], _: &Signature) -> Verdict {
        Verdict::Good
    }
    fn site_of(&self, _: NodeId) -> Option<SiteId> {
        None
    }
    fn learn(&mut self, _: Moment, _: &Record) -> Verdict {
        Verdict::Good
    }
}

pub struct Node {
    pub links: Links,
    pub tree: Tree,
    pub is_up: bool,
    dice: Dice,
    out: Outbox,
    wake_ms: u64,
    /// When each record came.
    pub has: BTreeMap<u64, u64>,
    pub view_changes: u64,
    neighbours: BTreeSet<NodeId>,
}

#[derive(Debug, Default, Clone, Copy)]
pub struct Bytes {
    pub greetings: u64,
    pub payloads: u64,
    pub names: u64,
    pub others: u64,
    pub datagrams: u64,
    /// Longer than their channel carries: never sent.
    pub too_long: u64,
}

enum What {
    Arrive {
        from: usize,
        to: usize,
        message: Message,
    },
    Wake(usize),
}

pub struct World {
    pub nodes: Vec<Node>,
    pub now_us: u64,
    pub bytes: Bytes,
    pub loss_ppm: u64,
    /// Sites of equal numbers reach each other.
    pub islands: Vec<u8>,
    per_site: usize,
    places: Vec<(u64, u64)>,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    whats: BTreeMap<u64, What>,
    numbers: u64,
    dice: Dice,
}

pub fn site_id(site: usize) -> SiteId {
    let mut bytes = [9; 16];
    bytes[..8].copy_from_slice(
        &(site as u64)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .to_be_bytes(),
    );
    SiteId::from_bytes(bytes)
}

impl World {
    pub fn new(seed: u64, sites: usize, per_site: usize, loss_ppm: u64) -> Self {
        let mut dice = Dice::new(seed);
        let places = (0..sites)
            .map(|_| (dice.below(34_000), dice.below(34_000)))
            .collect();
        let nodes = (0..sites * per_site)
            .map(|at| Node {
                links: Links::new(),
                tree: Tree::default(),
                is_up: true,
                dice: Dice::new(seed ^ (at as u64) << 20),
                out: Outbox::default(),
                wake_ms: u64::MAX,
                has: BTreeMap::new(),
                view_changes: 0,
                neighbours: BTreeSet::new(),
            })
            .collect();
        let mut world = Self {
            nodes,
            now_us: 1_000_000,
            bytes: Bytes::default(),
            loss_ppm,
            islands: vec![0; sites],
            per_site,
            places,
            queue: BinaryHeap::new(),
            whats: BTreeMap::new(),
            numbers: 0,
            dice,
        };
        world.plan();
        world
    }

    pub fn id(&self, at: usize) -> NodeId {
        let mut bytes = [3; 16];
        let mixed = (at as u64 + 1).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bytes[..8].copy_from_slice(&mixed.to_be_bytes());
        bytes[8..].copy_from_slice(&(at as u64).to_be_bytes());
        NodeId::from_bytes(bytes)
    }

    fn at(id: NodeId) -> usize {
        u64::from_be_bytes(id.bytes()[8..].try_into().unwrap()) as usize
    }

    /// Everybody learns who is there in its own site, as a failure detector would tell.
    pub fn plan(&mut self) {
        let sites: Vec<SiteId> = (0..self.places.len()).map(site_id).collect();
        for site in 0..self.places.len() {
            let range = site * self.per_site..(site + 1) * self.per_site;
            let there = range.clone().filter(|at| self.nodes[*at].is_up);
            let mut members: Vec<NodeId> = there.map(|at| self.id(at)).collect();
            members.sort_unstable();
            for at in range.filter(|at| self.nodes[*at].is_up).collect::<Vec<_>>() {
                let me = self.id(at);
                let near = plan::near(me, sites[site], &members);
                let far = plan::far(me, sites[site], &members, &sites);
                self.step(at, |node, cx| node.links.set_plan(cx, near, &far));
            }
        }
    }

    /// A record is written at a node.
    pub fn publish(&mut self, at: usize, mark: u64, length: usize) {
        let now_us = self.now_us;
        let mut bytes = vec![0; length.max(8)];
        bytes[..8].copy_from_slice(&mark.to_be_bytes());
        let bytes: Rc<[u8]> = bytes.into();
        self.step(at, |node, cx| {
            node.has.insert(mark, now_us);
            let (realm, from) = (Realm::Cluster, None);
            node.tree.spread(
                cx,
                Parcel {
                    mark,
                    realm,
                    bytes,
                    hops: 0,
                    from,
                },
            );
        });
    }

    pub fn run_ms(&mut self, ms: u64) {
        let end_us = self.now_us + ms * 1000;
        while let Some(Reverse((at_us, number))) = self.queue.peek().copied() {
            if at_us > end_us {
                break;
            }
            self.queue.pop();
            self.now_us = at_us;
            match self.whats.remove(&number).unwrap() {
                What::Wake(at) => self.wake(at),
                What::Arrive { from, to, message } => self.arrive(from, to, message),
            }
        }
        self.now_us = end_us;
    }

    fn wake(&mut self, at: usize) {
        if self.nodes[at].wake_ms > self.now_us / 1000 {
            return;
        }
        self.nodes[at].wake_ms = u64::MAX;
        let per_site = self.per_site;
        let sites: BTreeMap<SiteId, usize> = match self.nodes[at].links.far().next() {
            Some(_) => {
                let far: BTreeSet<SiteId> = self.nodes[at].links.far().map(|(id, _)| id).collect();
                let all = (0..self.places.len()).map(|site| (site_id(site), site));
                all.filter(|(id, _)| far.contains(id)).collect()
            }
            None => BTreeMap::new(),
        };
        let id_of = |at: usize| self.id(at);
        let named: BTreeMap<SiteId, Vec<NodeId>> = sites
            .iter()
            .map(|(id, site)| {
                (
                    *id,
                    (site * per_site..(site + 1) * per_site)
                        .map(id_of)
                        .take(TARGETS_MAX)
                        .collect(),
                )
            })
            .collect();
        self.step(at, |node, cx| {
            let now_ms = cx.now_ms();
            if node.links.next_timeout().is_some_and(|due| due <= now_ms) {
                let name = |site| named.get(&site).cloned().unwrap_or_default();
                node.links.handle_timeout(cx, name);
            }
            if node.tree.next_timeout().is_some_and(|due| due <= now_ms) {
                node.tree.handle_timeout(cx);
            }
        });
    }

    fn arrive(&mut self, from: usize, to: usize, message: Message) {
        let Message::Spread(message) = message else {
            return;
        };
        if self.islands[from / self.per_site] != self.islands[to / self.per_site] {
            return;
        }
        let (from, site) = (self.id(from), site_id(from / self.per_site));
        let now_us = self.now_us;
        self.step(to, |node, cx| {
            node.links.heard(cx.now_ms(), from);
            match message {
                SpreadMessage::Payload { hops, record } => {
                    let bytes: Rc<[u8]> = record.bytes().into();
                    let mark = u64::from_be_bytes(bytes[..8].try_into().unwrap());
                    let realm = Realm::Cluster;
                    node.tree.count_payload();
                    if node.has.contains_key(&mark) {
                        node.tree.duplicate(cx, from, mark, realm);
                        return;
                    }
                    node.has.insert(mark, now_us);
                    node.tree.favour(from);
                    let from = Some(from);
                    node.tree.spread(
                        cx,
                        Parcel {
                            mark,
                            realm,
                            bytes,
                            hops,
                            from,
                        },
                    );
                }
                SpreadMessage::Names(names) => {
                    node.tree
                        .handle_names(cx, from, names.as_slice(), |_| false);
                }
                SpreadMessage::Graft(names) => node.tree.handle_graft(cx, from, names.as_slice()),
                SpreadMessage::Prune => node.tree.handle_prune(from),
                greeting => node.links.handle_message(cx, from, site, &greeting),
            }
        });
    }

    fn step(&mut self, at: usize, what: impl FnOnce(&mut Node, &mut Context<'_>)) {
        if !self.nodes[at].is_up {
            return;
        }
        let (me, now_ms) = (self.id(at), self.now_us / 1000);
        let node = &mut self.nodes[at];
        let (mut out, mut dice) = (std::mem::take(&mut node.out), node.dice.clone());
        let now = Moment {
            uptime_ms: now_ms,
            wall: Timestamp::from_unix_ms(now_ms),
        };
        let mut cx = Context {
            now,
            me,
            site: site_id(at / self.per_site),
            dice: &mut dice,
            coordinates: &mut overlay::coordinates::Coordinates::new(),
            keyring: &mut NoKeys,
            out: &mut out,
        };
        what(node, &mut cx);
        if node.links.take_changed() {
            let now: BTreeSet<NodeId> = node.links.neighbours().map(|(node, _)| node).collect();
            node.view_changes += now.symmetric_difference(&node.neighbours).count() as u64;
            node.neighbours = now;
            node.tree.set_neighbours(node.links.neighbours());
        }
        node.links.take_fresh();
        node.dice = dice;
        let next = [node.links.next_timeout(), node.tree.next_timeout()]
            .into_iter()
            .flatten()
            .min();
        if let Some(next) = next
            .map(|next| next.max(now_ms + 1))
            .filter(|next| *next < node.wake_ms)
        {
            node.wake_ms = next;
            self.push(next * 1000, What::Wake(at));
        }
        let sends: VecDeque<_> = std::mem::take(&mut out.sends);
        for send in sends {
            self.send(at, Self::at(send.to), send.channel, send.message);
        }
        self.nodes[at].out = out;
    }

    fn push(&mut self, at_us: u64, what: What) {
        self.numbers += 1;
        self.queue.push(Reverse((at_us, self.numbers)));
        self.whats.insert(self.numbers, what);
    }

    fn send(&mut self, from: usize, to: usize, channel: Channel, message: Message) {
        let Some(encoded) = message.encode(channel) else {
            self.bytes.too_long += 1;
            return;
        };
        let bytes = encoded.len() as u64 + OVERHEAD_BYTES;
        self.bytes.datagrams += 1;
        let Message::Spread(spread) = &message else {
            return;
        };
        *match spread {
            SpreadMessage::Payload { .. } => &mut self.bytes.payloads,
            SpreadMessage::Names(_) => &mut self.bytes.names,
            SpreadMessage::Hello { .. } | SpreadMessage::Here { .. } => &mut self.bytes.greetings,
            _ => &mut self.bytes.others,
        } += bytes;
        if channel == Channel::Datagram && self.dice.below(1_000_000) < self.loss_ppm {
            return;
        }
        let (a, b) = (
            self.places[from / self.per_site],
            self.places[to / self.per_site],
        );
        let line = (a.0.abs_diff(b.0).pow(2) + a.1.abs_diff(b.1).pow(2)).isqrt();
        let near = from / self.per_site == to / self.per_site;
        let way_us = if near { 200 } else { 2000 + line };
        let trips = if channel == Channel::Stream { 3 } else { 1 };
        let at_us = self.now_us + way_us * trips + self.dice.below(way_us / 8 + 20);
        self.push(at_us, What::Arrive { from, to, message });
    }

    /// The largest part of those that are up, of so many.
    pub fn largest_part(&self) -> (usize, usize) {
        let up = |at: usize| self.nodes[at].is_up;
        let mut ends: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for at in (0..self.nodes.len()).filter(|at| up(*at)) {
            ends.entry(at).or_default();
            for (id, _) in self.nodes[at].links.neighbours() {
                let to = Self::at(id);
                let reach = self.islands[at / self.per_site] == self.islands[to / self.per_site];
                if up(to) && reach {
                    ends.entry(at).or_default().insert(to);
                    ends.entry(to).or_default().insert(at);
                }
            }
        }
        let mut left: BTreeSet<usize> = ends.keys().copied().collect();
        let (all, mut largest) = (left.len(), 0);
        while let Some(start) = left.pop_first() {
            let (mut size, mut edge) = (1, vec![start]);
            while let Some(at) = edge.pop() {
                for next in &ends[&at] {
                    if left.remove(next) {
                        size += 1;
                        edge.push(*next);
                    }
                }
            }
            largest = largest.max(size);
        }
        (largest, all)
    }
}
