//! Hubs on a wire in memory, with disks that the test may hold up.

use super::super::hub::{Hub, Wish};
use crate::service::PeersConfig;
use crate::service::peers::disk::DiskState;
use overlay::Answer;
use protocol::{Moment, NodeId, Timestamp};
use session::{Hello, Peer};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const START_MS: u64 = 1_767_225_600_000;

pub fn ip(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, number).into()
}

pub fn address(number: u8) -> SocketAddr {
    SocketAddr::new(ip(number), session::PORT)
}

enum Flying {
    Datagram(SocketAddr, Vec<u8>),
    Message(NodeId, Vec<u8>),
    Call(Hello),
}

/// Nodes that all reach each other; `links` says who hears whose calls.
pub struct Town {
    pub now_ms: u64,
    pub hubs: BTreeMap<u8, Hub>,
    pub links: BTreeMap<u8, u8>,
    flying: VecDeque<(u8, Flying)>,
    pub said: Vec<(u8, String)>,
    pub saved: BTreeMap<u8, Vec<(String, Vec<u8>)>>,
    /// Nodes whose disks keep nothing now, and what waits for those.
    pub stuck: BTreeSet<u8>,
    pub waiting: BTreeMap<u8, Vec<(u64, state::Change)>>,
    pub answers: Vec<(u8, u64, Answer)>,
    /// No datagram passes from one link to another.
    pub udp_is_blocked: bool,
}

impl Town {
    pub fn new() -> Self {
        Self {
            now_ms: 1_000,
            hubs: BTreeMap::new(),
            links: BTreeMap::new(),
            flying: VecDeque::new(),
            said: Vec::new(),
            saved: BTreeMap::new(),
            stuck: BTreeSet::new(),
            waiting: BTreeMap::new(),
            answers: Vec::new(),
            udp_is_blocked: false,
        }
    }

    pub fn now(&self) -> Moment {
        Moment {
            uptime_ms: self.now_ms,
            wall: Timestamp::from_unix_ms(START_MS + self.now_ms),
        }
    }

    pub fn boot(&mut self, number: u8, link: u8, mut config: PeersConfig) {
        config.disk = Some("vda1".to_owned());
        let hub = Hub::new(self.now(), config);
        self.hubs.insert(number, hub);
        self.links.insert(number, link);
        let now = self.now();
        self.hub(number).handle_address(now, Some(ip(number)));
        self.collect(number);
    }

    pub fn hub(&mut self, number: u8) -> &mut Hub {
        self.hubs.get_mut(&number).unwrap()
    }

    pub fn collect(&mut self, number: u8) {
        let hub = self.hubs.get_mut(&number).unwrap();
        while let Some(wish) = hub.poll_wish() {
            let flying = match wish {
                Wish::Datagram { to, bytes } => Flying::Datagram(to, bytes),
                Wish::Message { to, bytes, .. } => Flying::Message(to, bytes),
                Wish::Call(hello) => Flying::Call(hello),
                Wish::Save {
                    number: count,
                    key,
                    value,
                } => {
                    let waiting = self.waiting.entry(number).or_default();
                    waiting.push((count, (key, value)));
                    continue;
                }
                Wish::Answer { ask, answer } => {
                    self.answers.push((number, ask, answer));
                    continue;
                }
                Wish::Say { text, .. } => {
                    self.said.push((number, text));
                    continue;
                }
                _ => continue,
            };
            self.flying.push_back((number, flying));
        }
    }

    /// The disk keeps what waits for it, and says so.
    pub fn write(&mut self, number: u8) {
        let waiting = self.waiting.remove(&number).unwrap_or_default();
        let Some((last, ..)) = waiting.last() else {
            return;
        };
        let (last, now) = (*last, self.now());
        let saved = self.saved.entry(number).or_default();
        for (_, (key, value)) in waiting {
            saved.retain(|(other, _)| *other != key);
            saved.extend(value.map(|value| (key, value)));
        }
        self.hub(number).handle_disk(now, last, DiskState::Works);
        self.collect(number);
    }

    pub fn deliver(&mut self) {
        let now = self.now();
        while let Some((from, flying)) = self.flying.pop_front() {
            let source = address(from);
            match flying {
                Flying::Datagram(to, bytes) => {
                    let target = self.hubs.keys().copied().find(|one| address(*one) == to);
                    let passes = |target: &u8| {
                        !self.udp_is_blocked || self.links[target] == self.links[&from]
                    };
                    if let Some(target) = target.filter(passes) {
                        self.hub(target).handle_datagram(now, source, &bytes);
                        self.collect(target);
                    }
                }
                Flying::Message(to, bytes) => {
                    let target = self.hubs.iter().find(|(_, hub)| hub.me() == to);
                    let Some(target) = target.map(|(number, _)| *number) else {
                        continue;
                    };
                    let (node, site) = (self.hubs[&from].me(), self.hubs[&from].site());
                    let peer = Peer::Node { node, site };
                    let source = SocketAddr::new(source.ip(), 40_000); // a port of the moment
                    self.hub(target).handle_message(now, peer, source, &bytes);
                    self.collect(target);
                }
                Flying::Call(hello) => {
                    let near = self.links.iter().filter(|(one, link)| {
                        **one != from && **link == self.links[&from] && self.hubs.contains_key(one)
                    });
                    let near: Vec<u8> = near.map(|(one, _)| *one).collect();
                    for target in near {
                        let bytes = hello.encode();
                        self.hub(target).handle_datagram(now, source, &bytes);
                        self.collect(target);
                    }
                }
            }
        }
    }

    pub fn run_s(&mut self, seconds: u64) {
        for _ in 0..seconds * 20 {
            self.now_ms += 50;
            self.deliver();
            let now = self.now();
            let numbers: Vec<u8> = self.hubs.keys().copied().collect();
            for number in numbers {
                if self.hub(number).next_timeout() <= self.now_ms {
                    self.hub(number).handle_timeout(now);
                    self.collect(number);
                }
                if !self.stuck.contains(&number) {
                    self.write(number);
                }
            }
            self.deliver();
        }
    }

    pub fn is_member(&self, number: u8) -> bool {
        let hub = &self.hubs[&number];
        hub.membership().is_member() && hub.overlay().is_some()
    }

    pub fn has_said(&self, number: u8, words: &str) -> bool {
        let mut said = self.said.iter();
        said.any(|(who, text)| *who == number && text.contains(words))
    }
}
