//! Registers and the table: I3, L4 and L5.
//!
//! Does:      each write has a value of its own and names the value that it follows: the truth is
//!            a chain, and every acknowledged value must stand on it.
//! Does not:  retry: a user would, a judge must not hide what was refused.
//! Bounds:    what a history orders.
//! Trusts:    nobody's answer.
//! Start at:  `Registers::finish`.

use super::Found;
use crate::history::Work;
use crate::ids::mix;
use crate::machine::{Ask, Machine, Reply};
use crate::world::{World, at};
use std::collections::{BTreeMap, BTreeSet};

/// An order must end within this when a majority is connected (L5).
const ANSWER_MS_MAX: u64 = 5000;
/// Asks of records are numbered 0; ours count from here.
const FIRST_ASK: u64 = 1;

type Value = Option<Vec<u8>>;

/// A site's register, by the indices of the history.
type Register = (u16, u32);

#[derive(Debug)]
enum Order {
    /// The first half of a swap.
    Look(Register),
    Swap(Register, Value, Vec<u8>),
    /// A read after the heal, for the final judgement.
    Final(Register),
    Put(u32, Vec<u8>),
    Find(u32),
    FinalFind(u32),
}

#[derive(Debug)]
struct Pending {
    order: Order,
    host: u32,
    at_ms: u64,
    /// It must end in time: asked when all was healed.
    must_end: bool,
}

#[derive(Debug, Default)]
struct Chain {
    /// Which value each written value follows.
    follows: BTreeMap<Vec<u8>, Value>,
    acknowledged: Vec<(Value, Vec<u8>)>,
    last_read: Option<Value>,
}

#[derive(Debug, Default)]
pub struct Registers {
    asks: u64,
    pending: BTreeMap<u64, Pending>,
    chains: BTreeMap<Register, Chain>,
    puts: BTreeMap<u32, Vec<Vec<u8>>>,
    /// Done, refused, unsure.
    pub ended: [u64; 3],
}

fn name_of(number: u32) -> [u8; 16] {
    let mut bytes = [0x5a; 16];
    bytes[..8].copy_from_slice(&mix(u64::from(number) + 77).to_be_bytes());
    bytes
}

impl Registers {
    pub fn work<M: Machine>(&mut self, world: &mut World<M>, work: &Work) {
        let order = match *work {
            Work::Swap { host, register } => {
                let Some(place) = world.hosts.get(at(host)) else {
                    return;
                };
                (host, Order::Look((crate::ids::site_of(place.id), register)))
            }
            Work::Put { host, key } => (host, Order::Put(key, self.fresh_value())),
            Work::Find { host, key } => (host, Order::Find(key)),
            _ => return,
        };
        self.give(world, order.0, order.1, false);
    }

    fn fresh_value(&self) -> Vec<u8> {
        mix(self.asks + 1000).to_be_bytes().to_vec()
    }

    fn give<M: Machine>(&mut self, world: &mut World<M>, host: u32, order: Order, must_end: bool) {
        let what = match &order {
            Order::Look((_, register)) | Order::Final((_, register)) => Ask::Read {
                register: name_of(*register),
            },
            Order::Swap((_, register), expect, value) => Ask::Swap {
                register: name_of(*register),
                expect: expect.clone(),
                value: value.clone(),
            },
            Order::Put(key, value) => Ask::Put {
                key: name_of(*key),
                value: value.clone(),
            },
            Order::Find(key) | Order::FinalFind(key) => Ask::Find { key: name_of(*key) },
        };
        let ask = FIRST_ASK + self.asks;
        self.asks += 1;
        if let Order::Swap(register, expect, value) = &order {
            let chain = self.chains.entry(*register).or_default();
            chain.follows.insert(value.clone(), expect.clone());
        }
        let at_ms = world.now_ms();
        let pending = Pending {
            order,
            host,
            at_ms,
            must_end,
        };
        self.pending.insert(ask, pending);
        if !world.ask(host, ask, &what) {
            self.pending.remove(&ask);
        }
    }

    /// Everything is healed: each site's registers and each key are asked for once more.
    pub fn serve_all<M: Machine>(&mut self, world: &mut World<M>) {
        let touched: Vec<Register> = self.chains.keys().copied().collect();
        let keys: Vec<u32> = self.puts.keys().copied().collect();
        let mut sites = BTreeSet::new();
        for host in 0..world.shape().hosts() {
            let place = &world.hosts[at(host)];
            let site = crate::ids::site_of(place.id);
            if !place.is_up() || !sites.insert(site) {
                continue;
            }
            self.give(world, host, Order::Look((site, 0)), true);
            for register in touched.iter().filter(|(of, _)| *of == site) {
                self.give(world, host, Order::Look(*register), true);
            }
            for key in &keys {
                self.give(world, host, Order::FinalFind(*key), true);
            }
        }
    }

    pub fn reply<M: Machine>(
        &mut self,
        world: &mut World<M>,
        host: u32,
        ask: u64,
        reply: Reply,
        found: &mut Found,
    ) {
        if ask < FIRST_ASK {
            return;
        }
        let Some(pending) = self.pending.remove(&ask) else {
            return;
        };
        let place = match reply {
            Reply::Done | Reply::Value(_) => 0,
            Reply::Conflict(_) | Reply::Refused => 1,
            Reply::Unsure => 2,
        };
        self.ended[place] += 1;
        let now_ms = world.now_ms();
        let is_late = now_ms > pending.at_ms + ANSWER_MS_MAX;
        let must_end = pending.must_end;
        if must_end && (is_late || matches!(reply, Reply::Refused | Reply::Unsure)) {
            let ms = now_ms - pending.at_ms;
            let what = format!(
                "{:?} on host {host}: {reply:?} after {ms} ms",
                pending.order
            );
            found.add("L5", now_ms, what);
        }
        match (pending.order, reply) {
            (Order::Look(register), Reply::Value(value)) => {
                let next = self.fresh_value();
                self.give(world, host, Order::Swap(register, value, next), must_end);
            }
            (Order::Swap(register, expect, value), Reply::Done) => {
                self.acknowledge(register, expect, value, now_ms, found);
                if must_end {
                    self.give(world, host, Order::Final(register), true);
                }
            }
            (Order::Final(register), Reply::Value(value)) => {
                self.chains.entry(register).or_default().last_read = Some(value);
            }
            (Order::Put(key, value), Reply::Done) => {
                self.puts.entry(key).or_default().push(value);
            }
            (Order::FinalFind(key), Reply::Value(value)) => {
                self.found_at_last(key, value, now_ms, found);
            }
            _ => {}
        }
    }

    fn acknowledge(
        &mut self,
        register: Register,
        expect: Value,
        value: Vec<u8>,
        now_ms: u64,
        found: &mut Found,
    ) {
        let chain = self.chains.entry(register).or_default();
        let twin = chain
            .acknowledged
            .iter()
            .find(|(before, _)| *before == expect);
        if let Some((_, other)) = twin {
            let what = format!("{register:?}: {other:x?} and {value:x?} both follow {expect:x?}");
            found.add("I3", now_ms, what);
        }
        chain.acknowledged.push((expect, value));
    }

    fn found_at_last(&self, key: u32, value: Value, now_ms: u64, found: &mut Found) {
        if value.is_none() && self.puts.contains_key(&key) {
            found.add("L4", now_ms, format!("key {key} was put and is not found"));
        }
    }

    pub fn look<M: Machine>(&mut self, world: &World<M>, found: &mut Found) {
        let now_ms = world.now_ms();
        for (ask, pending) in &mut self.pending {
            if pending.must_end && now_ms > pending.at_ms + ANSWER_MS_MAX {
                let (order, host) = (&pending.order, pending.host);
                let what = format!("ask {ask}, {order:?} on host {host}: no answer");
                found.add("L5", now_ms, what);
                pending.must_end = false;
            }
        }
    }

    pub fn power(&mut self, host: u32) {
        self.pending.retain(|_, pending| pending.host != host);
    }

    pub fn finish<M: Machine>(&mut self, world: &World<M>, found: &mut Found) {
        for (register, chain) in &self.chains {
            let Some(mut value) = chain.last_read.clone() else {
                continue;
            };
            let mut on_chain = BTreeSet::new();
            while let Some(bytes) = value {
                if !on_chain.insert(bytes.clone()) {
                    break;
                }
                value = chain.follows.get(&bytes).cloned().flatten();
            }
            for (_, acknowledged) in &chain.acknowledged {
                if !on_chain.contains(acknowledged) {
                    let what = format!("{register:?} has lost {acknowledged:x?}");
                    found.add("I3", world.now_ms(), what);
                }
            }
        }
    }
}
