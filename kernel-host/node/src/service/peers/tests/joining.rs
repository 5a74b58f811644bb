//! Hubs on a wire in memory.

use super::super::hub::{Hub, IDENTITY_KEY, Wish};
use super::super::moment;
use super::{config, root, token};
use crate::service::PeersConfig;
use protocol::{Moment, NodeId, Timestamp};
use session::{Hello, Peer};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const START_MS: u64 = 1_767_225_600_000;

fn ip(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, number).into()
}

fn address(number: u8) -> SocketAddr {
    SocketAddr::new(ip(number), session::PORT)
}

enum Flying {
    Datagram(SocketAddr, Vec<u8>),
    Message(NodeId, Vec<u8>),
    Call(Hello),
}

/// Nodes that all reach each other; `links` says who hears whose calls.
struct Town {
    now_ms: u64,
    hubs: BTreeMap<u8, Hub>,
    links: BTreeMap<u8, u8>,
    flying: VecDeque<(u8, Flying)>,
    said: Vec<(u8, String)>,
    saved: BTreeMap<u8, Vec<(String, Vec<u8>)>>,
}

impl Town {
    fn new() -> Self {
        Self {
            now_ms: 1_000,
            hubs: BTreeMap::new(),
            links: BTreeMap::new(),
            flying: VecDeque::new(),
            said: Vec::new(),
            saved: BTreeMap::new(),
        }
    }

    fn now(&self) -> Moment {
        Moment {
            uptime_ms: self.now_ms,
            wall: Timestamp::from_unix_ms(START_MS + self.now_ms),
        }
    }

    fn boot(&mut self, number: u8, link: u8, config: PeersConfig) {
        let hub = Hub::new(self.now(), config);
        self.hubs.insert(number, hub);
        self.links.insert(number, link);
        let now = self.now();
        self.hub(number).handle_address(now, Some(ip(number)));
        self.collect(number);
    }

    fn hub(&mut self, number: u8) -> &mut Hub {
        self.hubs.get_mut(&number).unwrap()
    }

    fn collect(&mut self, number: u8) {
        let hub = self.hubs.get_mut(&number).unwrap();
        while let Some(wish) = hub.poll_wish() {
            let flying = match wish {
                Wish::Datagram { to, bytes } => Flying::Datagram(to, bytes),
                Wish::Message { to, bytes, .. } => Flying::Message(to, bytes),
                Wish::Call(hello) => Flying::Call(hello),
                Wish::Save { key, value } => {
                    let saved = self.saved.entry(number).or_default();
                    saved.retain(|(other, _)| *other != key);
                    saved.extend(value.map(|value| (key, value)));
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

    fn deliver(&mut self) {
        let now = self.now();
        while let Some((from, flying)) = self.flying.pop_front() {
            let source = address(from);
            match flying {
                Flying::Datagram(to, bytes) => {
                    let target = self.hubs.keys().copied().find(|one| address(*one) == to);
                    if let Some(target) = target {
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

    fn run_s(&mut self, seconds: u64) {
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
            }
            self.deliver();
        }
    }

    fn is_member(&self, number: u8) -> bool {
        let hub = &self.hubs[&number];
        hub.membership().is_member() && hub.overlay().is_some()
    }

    fn has_said(&self, number: u8, words: &str) -> bool {
        let mut said = self.said.iter();
        said.any(|(who, text)| *who == number && text.contains(words))
    }
}

/// Goal: the holder of a founding token founds its site; others of the site find it by its calls,
/// a node of another site by a seed; all become members.
#[test]
fn nodes_found_a_site_and_join_it() {
    let mut town = Town::new();
    town.boot(1, 1, config(1, "paris", Some(token(1, "paris", true)), &[]));
    town.run_s(10);
    assert!(town.is_member(1));
    assert!(town.has_said(1, "site paris as node-"));
    town.boot(
        2,
        1,
        config(2, "paris", Some(token(1, "paris", false)), &[]),
    );
    town.run_s(5);
    assert!(town.is_member(2), "{:?}", town.said);
    let lyon = config(3, "lyon", Some(token(1, "lyon", true)), &[address(1)]);
    town.boot(3, 2, lyon);
    town.run_s(15);
    assert!(town.is_member(3), "{:?}", town.said);
    assert!(town.has_said(1, "let in paris-2"));
}

#[test]
fn who_has_no_right_waits_for_approval_and_says_how() {
    let mut town = Town::new();
    town.boot(1, 1, config(1, "paris", Some(token(1, "paris", true)), &[]));
    town.run_s(8);
    town.boot(2, 1, config(2, "paris", None, &[]));
    town.run_s(8);
    assert!(!town.is_member(2));
    assert!(town.has_said(2, "luc node approve "), "{:?}", town.said);
    let now = town.now();
    let code = town.hub(1).membership().pending().next().unwrap().code;
    let approval = town.hub(1).ask_membership(now, |membership, sight| {
        membership.approve(now, sight, code)
    });
    assert!(approval.is_some());
    town.collect(1);
    town.run_s(8);
    assert!(town.is_member(2), "{:?}", town.said);
}

#[test]
fn a_node_of_another_cluster_gets_nothing_and_is_told_why() {
    let mut town = Town::new();
    town.boot(1, 1, config(1, "paris", Some(token(1, "paris", true)), &[]));
    town.run_s(8);
    let mut other = config(2, "paris", Some(token(2, "paris", false)), &[address(1)]);
    other.roots = vec![root(2).public()];
    town.boot(2, 1, other);
    town.run_s(8);
    assert!(!town.is_member(2));
    assert!(
        town.has_said(2, "root key that nobody here knows"),
        "{:?}",
        town.said
    );
    let counters = *town.hub(1).counters();
    assert!(counters.hellos > 0 && counters.hellos_ignored == counters.hellos);
}

#[test]
fn a_member_with_a_disk_is_one_again_without_asking() {
    let mut town = Town::new();
    town.boot(1, 1, config(1, "paris", Some(token(1, "paris", true)), &[]));
    town.run_s(8);
    let saved = town.saved[&1].clone();
    assert!(saved.iter().any(|(key, _)| key == IDENTITY_KEY));
    town.hubs.remove(&1);
    let mut again = config(1, "paris", None, &[]);
    again.saved = saved;
    town.boot(1, 1, again);
    assert!(town.is_member(1));
    assert!(moment().uptime_ms > 0);
}
