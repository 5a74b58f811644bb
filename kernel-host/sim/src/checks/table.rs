//! The cluster's table: L4, and I4 for its entries.
//!
//! Does:      remembers what each author has put under each key, in order; what is found must have
//!            been put by whom it names; after the heal the latest that was acknowledged, or a
//!            later one, must be found of every author that still runs, and nothing that it has
//!            taken back.
//! Does not:  demand anything of authors that have restarted since: they must put it again. Two
//!            machines with one key write over each other: their entries are not judged.
//! Bounds:    what a history orders.
//! Trusts:    nobody's answer.
//! Start at:  `Table::reply`.

use super::Found;
use crate::history::Work;
use crate::ids::mix;
use crate::machine::{Ask, Machine, Reply};
use crate::world::{World, at};
use protocol::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// An answer must come within this.
const ANSWER_MS_MAX: u64 = 5000;
/// Our asks are numbered from here, far from those of registers.
const FIRST_ASK: u64 = 1 << 40;

#[derive(Debug, Clone, Copy)]
enum Order {
    /// Which of its author's writes under the key.
    Put {
        key: u32,
        write: usize,
    },
    Find {
        key: u32,
    },
}

#[derive(Debug)]
struct Pending {
    order: Order,
    host: u32,
    author: NodeId,
    at_ms: u64,
    /// Asked after the heal: it must end in time, and say what it should.
    is_final: bool,
}

#[derive(Debug, Clone)]
struct Write {
    /// `None`: it took back what it had put.
    value: Option<Vec<u8>>,
    is_acknowledged: bool,
}

/// What one author has said under one key.
#[derive(Debug)]
struct Said {
    host: u32,
    writes: Vec<Write>,
    /// It has restarted since, or another machine has its key.
    is_over: bool,
}

#[derive(Debug, Default)]
pub struct Table {
    asks: u64,
    pending: BTreeMap<u64, Pending>,
    said: BTreeMap<(u32, NodeId), Said>,
    /// Keys that two machines have.
    doubles: BTreeSet<NodeId>,
}

fn name_of(key: u32) -> [u8; 16] {
    let mut bytes = [0x7a; 16];
    bytes[..8].copy_from_slice(&mix(u64::from(key) + 99).to_be_bytes());
    bytes
}

impl Table {
    /// `true`: the order was for the table.
    pub fn work<M: Machine>(&mut self, world: &mut World<M>, work: &Work) -> bool {
        match *work {
            Work::Put { host, key } => {
                let value = mix(self.asks + 5000).to_be_bytes().to_vec();
                self.put(world, host, key, Some(value));
            }
            Work::Remove { host, key } => self.put(world, host, key, None),
            Work::Find { host, key } => self.find(world, host, key, false),
            _ => return false,
        }
        true
    }

    fn put<M: Machine>(
        &mut self,
        world: &mut World<M>,
        host: u32,
        key: u32,
        value: Option<Vec<u8>>,
    ) {
        let Some(place) = world.hosts.get(at(host)).filter(|one| one.is_up()) else {
            return;
        };
        let author = place.id;
        let said = self.said.entry((key, author)).or_insert(Said {
            host,
            writes: Vec::new(),
            is_over: false,
        });
        if said.host != host {
            self.doubles.insert(author);
        }
        said.is_over = false;
        let write = said.writes.len();
        said.writes.push(Write {
            value: value.clone(),
            is_acknowledged: false,
        });
        let name = name_of(key);
        let what = match value {
            Some(value) => Ask::Put { key: name, value },
            None => Ask::Remove { key: name },
        };
        self.give(
            world,
            (host, author),
            Order::Put { key, write },
            &what,
            false,
        );
    }

    fn find<M: Machine>(&mut self, world: &mut World<M>, host: u32, key: u32, is_final: bool) {
        let Some(place) = world.hosts.get(at(host)) else {
            return;
        };
        let (author, what) = (place.id, Ask::Find { key: name_of(key) });
        self.give(world, (host, author), Order::Find { key }, &what, is_final);
    }

    fn give<M: Machine>(
        &mut self,
        world: &mut World<M>,
        (host, author): (u32, NodeId),
        order: Order,
        what: &Ask,
        is_final: bool,
    ) {
        let ask = FIRST_ASK + self.asks;
        self.asks += 1;
        let pending = Pending {
            order,
            host,
            author,
            at_ms: world.now_ms(),
            is_final,
        };
        self.pending.insert(ask, pending);
        if !world.ask(host, ask, what) {
            self.pending.remove(&ask);
        }
    }

    /// All is healed: every node is asked for every key.
    pub fn serve_all<M: Machine>(&mut self, world: &mut World<M>) {
        let keys: BTreeSet<u32> = self.said.keys().map(|(key, _)| *key).collect();
        for host in 0..world.shape().hosts() {
            if world.hosts[at(host)].is_up() {
                for key in &keys {
                    self.find(world, host, *key, true);
                }
            }
        }
    }

    /// `true`: the answer was to one of ours.
    pub fn reply<M: Machine>(
        &mut self,
        world: &World<M>,
        ask: u64,
        reply: &Reply,
        revoked: &BTreeSet<NodeId>,
        found: &mut Found,
    ) -> bool {
        if ask < FIRST_ASK {
            return false;
        }
        let Some(pending) = self.pending.remove(&ask) else {
            return true;
        };
        let now_ms = world.now_ms();
        match (pending.order, reply) {
            (Order::Put { key, write }, Reply::Done) => {
                let said = self.said.get_mut(&(key, pending.author));
                if let Some(write) = said.and_then(|said| said.writes.get_mut(write)) {
                    write.is_acknowledged = true;
                }
            }
            (Order::Find { key }, Reply::Found(values)) => {
                self.judge_values(now_ms, key, pending.host, values, found);
                if pending.is_final {
                    self.judge_final(now_ms, key, pending.host, values, revoked, found);
                }
            }
            (Order::Find { key }, _) if pending.is_final => {
                let what = format!("key {key} asked of host {}: {reply:?}", pending.host);
                found.add("L4", now_ms, what);
            }
            _ => {}
        }
        true
    }

    /// Whatever is found was written by whom it names.
    fn judge_values(
        &self,
        now_ms: u64,
        key: u32,
        host: u32,
        values: &[(NodeId, Vec<u8>)],
        found: &mut Found,
    ) {
        for (author, value) in values {
            let said = self.said.get(&(key, *author));
            let mut writes = said.into_iter().flat_map(|said| &said.writes);
            if !writes.any(|write| write.value.as_ref() == Some(value)) {
                let who = author.short();
                let what = format!("key {key} at host {host}: {who} never put {value:x?}");
                found.add("I4", now_ms, what);
            }
        }
    }

    fn judge_final(
        &self,
        now_ms: u64,
        key: u32,
        host: u32,
        values: &[(NodeId, Vec<u8>)],
        revoked: &BTreeSet<NodeId>,
        found: &mut Found,
    ) {
        let of_key = self.said.iter().filter(|((of, _), _)| *of == key);
        for ((_, author), said) in of_key {
            let is_judged =
                !said.is_over && !self.doubles.contains(author) && !revoked.contains(author);
            let last = said.writes.iter().rposition(|write| write.is_acknowledged);
            let Some(last) = last.filter(|_| is_judged) else {
                continue;
            };
            let got = values.iter().find(|(by, _)| by == author);
            let got = got.map(|(_, value)| value);
            let mut allowed = said.writes[last..].iter();
            if !allowed.any(|write| write.value.as_ref() == got) {
                let writes = said.writes.len();
                let was = said
                    .writes
                    .iter()
                    .rposition(|write| write.value.as_ref() == got);
                let what = format!(
                    "key {key} at host {host}: of {} write {was:?} of {writes} was found, \
                     {last} was acknowledged",
                    author.short()
                );
                found.add("L4", now_ms, what);
            }
        }
    }

    /// Questions of the last round that nobody answered.
    pub fn look<M: Machine>(&mut self, world: &World<M>, found: &mut Found) {
        let now_ms = world.now_ms();
        for pending in self.pending.values_mut() {
            if pending.is_final && now_ms > pending.at_ms + ANSWER_MS_MAX {
                pending.is_final = false;
                let what = format!("{:?} of host {}: no answer", pending.order, pending.host);
                found.add("L4", now_ms, what);
            }
        }
    }

    /// What a host has put is forgotten when its power goes.
    pub fn power(&mut self, host: u32) {
        self.pending.retain(|_, pending| pending.host != host);
        for said in self.said.values_mut().filter(|said| said.host == host) {
            said.is_over = true;
            for write in &mut said.writes {
                write.is_acknowledged = false;
            }
        }
    }

    /// Two machines run with one key.
    pub fn cloned(&mut self, node: NodeId) {
        self.doubles.insert(node);
    }
}
