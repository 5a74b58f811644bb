//! A site of detectors and nothing else: seeded delays, losses, cuts and pauses.
//!
//! Does:      carries encoded messages between `Swim`s in virtual time; notes who thought what of
//!            whom, when; counts bytes.
//! Does not:  simulate sites, disks or other parts of the overlay (`sim` does).
//! Bounds:    one site.
//! Trusts:    nothing: each message is encoded, so one that is too long fails the test.
//! Start at:  `Site::run`.
#![allow(dead_code, clippy::unwrap_used)]

use netcore::dice::Dice;
use overlay::swim::Swim;
use overlay::{Context, Event, Keyring, Outbox, Rules, Verdict};
use protocol::peer::{Channel, Contact, Life, Message, Record, Signature};
use protocol::{Moment, NodeId, SiteId, Timestamp};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::SocketAddr;

/// IPv4, UDP or TCP, a session's header and tag.
const OVERHEAD_BYTES: u64 = 60;
const STREAM_RETRY_US: u64 = 300_000;
pub const SITE: SiteId = SiteId::from_bytes([7; 16]);

#[derive(Debug)]
pub struct Anyone;

impl Keyring for Anyone {
    fn sign(&self, _: &[u8]) -> Signature {
        Signature([0; 64])
    }
    fn verify(&self, _: NodeId, _: &[u8], _: &Signature) -> Verdict {
        Verdict::Good
    }
    fn site_of(&self, _: NodeId) -> Option<SiteId> {
        Some(SITE)
    }
    fn learn(&mut self, _: Moment, _: &Record) -> Verdict {
        Verdict::Bad
    }
}

pub struct Node {
    pub swim: Swim,
    pub id: NodeId,
    pub address: SocketAddr,
    dice: Dice,
    boot: u64,
    timer_us: u64,
    paused_until_us: u64,
    /// Where each peer last spoke from: a session roams.
    routes: BTreeMap<NodeId, SocketAddr>,
    pub bytes_out: u64,
    pub messages_out: u64,
}

enum What {
    Timer(usize, u64),
    Arrive {
        from: (usize, NodeId, SocketAddr),
        to: (usize, NodeId),
        channel: Channel,
        bytes: Vec<u8>,
    },
}

/// When, observer, and what it found out.
pub type Noted = (u64, usize, Event);

pub struct Site {
    pub now_us: u64,
    pub nodes: Vec<Option<Node>>,
    pub dice: Dice,
    pub loss_percent: u64,
    pub delay_us: u64,
    pub rules: Rules,
    /// What does not get from one to another.
    pub cuts: BTreeSet<(usize, usize, Channel)>,
    pub noted: Vec<Noted>,
    pub uptime_before_ms: u64,
    queue: BinaryHeap<Reverse<(u64, u64, usize)>>,
    events: Vec<Option<What>>,
    free: Vec<usize>,
    serial: u64,
    boots: u64,
    pub steps: u64,
}

pub fn id(number: usize) -> NodeId {
    let number = number as u64 + 1;
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    NodeId::from_bytes(bytes)
}

pub fn address(number: usize) -> SocketAddr {
    let [.., a, b, c] = (number as u64).to_be_bytes();
    SocketAddr::from(([10, a, b, c], 12_213))
}

impl Site {
    pub fn new(seed: u64, loss_percent: u64) -> Self {
        Self {
            now_us: 0,
            nodes: Vec::new(),
            dice: Dice::new(seed),
            loss_percent,
            delay_us: 200,
            rules: Rules::ALL,
            cuts: BTreeSet::new(),
            noted: Vec::new(),
            uptime_before_ms: 0,
            queue: BinaryHeap::new(),
            events: Vec::new(),
            free: Vec::new(),
            serial: 0,
            boots: 0,
            steps: 0,
        }
    }

    /// A site of `count` nodes that know each other.
    pub fn grown(seed: u64, loss_percent: u64, count: usize) -> Self {
        let mut site = Self::new(seed, loss_percent);
        for number in 0..count {
            site.boot(number, id(number), Life::new(1, 0));
            site.run_ms(20);
            site.meet(number, 0);
        }
        site.run_ms(15_000);
        site.assert_one_view();
        site.noted.clear();
        site
    }

    /// Starts a node at a place; what ran there is gone.
    pub fn boot(&mut self, at: usize, id: NodeId, life: Life) {
        while self.nodes.len() <= at {
            self.nodes.push(None);
        }
        let me = Contact {
            node: id,
            site: SITE,
            address: address(at),
        };
        self.boots += 1;
        let mut dice = Dice::new(self.dice.next_u64());
        self.nodes[at] = Some(Node {
            swim: Swim::new(me, life, self.rules, &mut dice),
            id,
            address: me.address,
            dice,
            boot: self.boots,
            timer_us: u64::MAX,
            paused_until_us: 0,
            routes: BTreeMap::new(),
            bytes_out: 0,
            messages_out: 0,
        });
    }

    pub fn crash(&mut self, at: usize) -> NodeId {
        self.nodes[at].take().unwrap().id
    }

    pub fn pause_ms(&mut self, at: usize, ms: u64) {
        self.nodes[at].as_mut().unwrap().paused_until_us = self.now_us + ms * 1000;
    }

    pub fn node(&self, at: usize) -> &Node {
        self.nodes[at].as_ref().unwrap()
    }

    pub fn running(&self) -> impl Iterator<Item = (usize, &Node)> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter_map(|(at, node)| Some((at, node.as_ref()?)))
    }

    pub fn cut(&mut self, from: usize, to: usize, channels: &[Channel]) {
        for channel in channels {
            self.cuts.insert((from, to, *channel));
        }
    }

    /// Two groups hear nothing of each other.
    pub fn split(&mut self, half: &[usize], other: &[usize]) {
        for (a, b) in half
            .iter()
            .flat_map(|a| other.iter().map(move |b| (*a, *b)))
        {
            self.cut(a, b, &[Channel::Datagram, Channel::Stream]);
            self.cut(b, a, &[Channel::Datagram, Channel::Stream]);
        }
    }

    /// Discovery: `at` finds `other`.
    pub fn meet(&mut self, at: usize, other: usize) {
        let Some(node) = &self.nodes[other] else {
            return;
        };
        let contact = Contact {
            node: node.id,
            site: SITE,
            address: node.address,
        };
        self.step(at, |swim, cx| swim.join(cx, contact));
    }

    pub fn leave(&mut self, at: usize) {
        self.step(at, Swim::leave);
    }

    pub fn now_ms(&self) -> u64 {
        self.now_us / 1000
    }

    fn push(&mut self, at_us: u64, what: What) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[slot] = Some(what);
        self.serial += 1;
        self.queue.push(Reverse((at_us, self.serial, slot)));
    }

    /// Lets one node do something, and carries what it says.
    pub fn step(&mut self, at: usize, act: impl FnOnce(&mut Swim, &mut Context<'_>)) {
        let Some(node) = &mut self.nodes[at] else {
            return;
        };
        self.steps += 1;
        let mut out = Outbox::default();
        let mut cx = Context {
            now: Moment {
                uptime_ms: self.uptime_before_ms + self.now_us / 1000,
                wall: Timestamp::from_unix_ms(0),
            },
            me: node.id,
            site: SITE,
            dice: &mut node.dice,
            coordinates: &mut overlay::coordinates::Coordinates::new(),
            keyring: &mut Anyone,
            out: &mut out,
        };
        act(&mut node.swim, &mut cx);
        let now_ms = self.now_us / 1000;
        self.noted
            .extend(out.events.into_iter().map(|event| (now_ms, at, event)));
        for send in out.sends {
            self.carry(at, send.to, send.channel, &send.message);
        }
        let node = self.nodes[at].as_mut().unwrap();
        let due_ms = node.swim.next_timeout().unwrap_or(u64::MAX / 2000);
        let due_us = (due_ms.saturating_sub(self.uptime_before_ms) * 1000).max(self.now_us + 1);
        if node.timer_us > due_us {
            node.timer_us = due_us;
            let boot = node.boot;
            self.push(due_us, What::Timer(at, boot));
        }
    }

    fn carry(&mut self, from: usize, to: NodeId, channel: Channel, message: &Message) {
        let bytes = message.encode(channel).expect("a message fits its channel");
        let node = self.nodes[from].as_mut().unwrap();
        node.bytes_out += bytes.len() as u64 + OVERHEAD_BYTES;
        node.messages_out += 1;
        let known = || node.swim.contact(to).map(|contact| contact.address);
        let Some(address) = node.routes.get(&to).copied().or_else(known) else {
            return;
        };
        let source = (from, node.id, node.address);
        let SocketAddr::V4(v4) = address else { return };
        let [_, a, b, c] = v4.ip().octets();
        let place = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let mut delay = self.delay_us + self.dice.below(self.delay_us + 1);
        match channel {
            Channel::Datagram => {
                if self.dice.below(100) < self.loss_percent {
                    return;
                }
            }
            Channel::Stream => {
                while self.dice.below(100) < 2 * self.loss_percent {
                    delay += STREAM_RETRY_US;
                }
                if self.cuts.contains(&(place, from, channel)) {
                    return;
                }
            }
        }
        let what = What::Arrive {
            from: source,
            to: (place, to),
            channel,
            bytes,
        };
        self.push(self.now_us + delay, what);
    }

    pub fn run_ms(&mut self, ms: u64) {
        let until = self.now_us + ms * 1000;
        while let Some(Reverse((at_us, _, slot))) = self.queue.peek().copied() {
            if at_us > until {
                break;
            }
            self.queue.pop();
            self.now_us = at_us;
            let what = self.events[slot].take().unwrap();
            self.free.push(slot);
            self.happen(what);
        }
        self.now_us = until;
    }

    fn happen(&mut self, what: What) {
        let now_us = self.now_us;
        match what {
            What::Timer(at, boot) => {
                let Some(node) = self.nodes[at].as_mut().filter(|node| node.boot == boot) else {
                    return;
                };
                if node.timer_us > now_us {
                    return;
                }
                if node.paused_until_us > now_us {
                    node.timer_us = node.paused_until_us;
                    self.push(
                        self.nodes[at].as_ref().unwrap().timer_us,
                        What::Timer(at, boot),
                    );
                    return;
                }
                node.timer_us = u64::MAX;
                self.step(at, Swim::handle_timeout);
            }
            What::Arrive {
                from,
                to,
                channel,
                bytes,
            } => {
                if self.cuts.contains(&(from.0, to.0, channel)) {
                    return;
                }
                let Some(Some(node)) = self.nodes.get_mut(to.0) else {
                    return;
                };
                if node.id != to.1 {
                    return;
                }
                if node.paused_until_us > now_us {
                    let again = node.paused_until_us;
                    let what = What::Arrive {
                        from,
                        to,
                        channel,
                        bytes,
                    };
                    self.push(again, what);
                    return;
                }
                node.routes.insert(from.1, from.2);
                let Ok(Message::Swim(message)) = Message::decode(channel, &bytes) else {
                    panic!("an encoded message decodes");
                };
                self.step(to.0, |swim, cx| swim.handle_message(cx, from.1, message));
            }
        }
    }

    /// Who is missing in whose list, and who haunts it.
    pub fn wrong(&self) -> Vec<(usize, NodeId)> {
        let alive: BTreeSet<NodeId> = self.running().map(|(_, node)| node.id).collect();
        let mut wrong = Vec::new();
        for (at, node) in self.running() {
            node.swim.check();
            let known: BTreeSet<NodeId> = node.swim.members().map(|one| one.contact.node).collect();
            let others = alive.iter().filter(|other| **other != node.id);
            wrong.extend(
                others
                    .filter(|other| !known.contains(other))
                    .map(|id| (at, *id)),
            );
            wrong.extend(
                known
                    .iter()
                    .filter(|one| !alive.contains(one))
                    .map(|id| (at, *id)),
            );
        }
        wrong
    }

    pub fn assert_one_view(&self) {
        let wrong = self.wrong();
        assert!(wrong.is_empty(), "at {} ms wrong: {wrong:?}", self.now_ms());
    }

    /// Runs until all lists are right; how long it took.
    pub fn until_one_view(&mut self, limit_ms: u64) -> u64 {
        let began = self.now_ms();
        while !self.wrong().is_empty() {
            assert!(
                self.now_ms() < began + limit_ms,
                "wrong: {:?}",
                self.wrong()
            );
            self.run_ms(100);
        }
        self.now_ms() - began
    }

    /// Running nodes that were called dead.
    pub fn false_deaths(&self) -> usize {
        let running: BTreeSet<NodeId> = self.running().map(|(_, node)| node.id).collect();
        let dead = self.noted.iter().filter_map(|(_, _, event)| match event {
            Event::Dead { node, .. } => Some(node),
            _ => None,
        });
        dead.filter(|node| running.contains(node)).count()
    }

    pub fn suspected(&self) -> BTreeSet<NodeId> {
        let suspects = self.noted.iter().filter_map(|(_, _, event)| match event {
            Event::Suspect { node, .. } => Some(*node),
            _ => None,
        });
        suspects.collect()
    }

    /// When each observer called `victim` dead, in ms after `since_ms`.
    pub fn death_times(&self, victim: NodeId, since_ms: u64) -> Vec<u64> {
        let times = self.noted.iter().filter_map(|(at, _, event)| match event {
            Event::Dead { node, .. } if *node == victim => Some(at - since_ms),
            _ => None,
        });
        times.collect()
    }
}
