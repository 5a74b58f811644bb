//! Registers: I3 and L5.
//!
//! Does:      each write has a value of its own and names the value that it follows: the truth is
//!            a chain, and every acknowledged value must stand on it.
//! Does not:  retry: a user would, a judge must not hide what was refused.
//! Bounds:    what a history orders.
//! Trusts:    nobody's answer.
//! Start at:  `Registers::finish`.

use super::Found;
use super::calendar::Calendar;
use super::councils::{self, Councils};
use crate::history::Work;
use crate::ids::mix;
use crate::machine::{Ask, Machine, Reply};
use crate::world::{World, at};
use protocol::peer::register::Founding;
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
}

#[derive(Debug)]
struct Pending {
    order: Order,
    host: u32,
    at_ms: u64,
    /// It must end in time: asked when all was healed.
    must_end: bool,
}

/// A write that a user was told of.
#[derive(Debug)]
struct Acknowledged {
    follows: Value,
    value: Vec<u8>,
    /// The line of councils that decided it.
    founding: Option<Founding>,
    at_ms: u64,
}

#[derive(Debug, Default)]
struct Chain {
    /// Which value each written value follows.
    follows: BTreeMap<Vec<u8>, Value>,
    acknowledged: Vec<Acknowledged>,
    /// The value at the end, and of which founding.
    last_read: Option<(Value, Option<Founding>)>,
}

#[derive(Debug)]
pub struct Registers {
    pub councils: Councils,
    asks: u64,
    pending: BTreeMap<u64, Pending>,
    chains: BTreeMap<Register, Chain>,
    /// Done, refused, unsure.
    pub ended: [u64; 3],
}

fn name_of(number: u32) -> [u8; 16] {
    let mut bytes = [0x5a; 16];
    bytes[..8].copy_from_slice(&mix(u64::from(number) + 77).to_be_bytes());
    bytes
}

impl Registers {
    pub fn new(calendar: Calendar) -> Self {
        Self {
            councils: Councils::new(calendar),
            asks: 0,
            pending: BTreeMap::new(),
            chains: BTreeMap::new(),
            ended: [0; 3],
        }
    }

    pub fn work<M: Machine>(&mut self, world: &mut World<M>, work: &Work) {
        let (host, order) = match *work {
            Work::Swap { host, register } | Work::Race { host, register } => {
                let Some(place) = world.hosts.get(at(host)) else {
                    return;
                };
                let site = crate::ids::site_of(place.id);
                if matches!(work, Work::Race { .. }) {
                    let other = rival(world, host, site);
                    self.give(world, other, Order::Look((site, register)), false);
                }
                (host, Order::Look((site, register)))
            }
            _ => return,
        };
        self.give(world, host, order, false);
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

    /// Everything is healed: each site's registers are asked for once more.
    pub fn serve_all<M: Machine>(&mut self, world: &mut World<M>) {
        let touched: Vec<Register> = self.chains.keys().copied().collect();
        let mut sites = BTreeSet::new();
        for host in 0..world.shape().hosts() {
            let place = &world.hosts[at(host)];
            let site = crate::ids::site_of(place.id);
            // A node that keeps out of registers answers nobody: users ask another.
            let serves = place.machine.as_ref().is_some_and(|one| !one.is_fenced());
            if !serves || !sites.insert(site) {
                continue;
            }
            let of_site = touched.iter().filter(|(of, _)| *of == site).copied();
            let registers: BTreeSet<Register> = of_site.chain([(site, 0)]).collect();
            for register in registers {
                self.give(world, host, Order::Look(register), true);
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
            Reply::Done | Reply::Value(_) | Reply::Found(_) => 0,
            Reply::Conflict(_) | Reply::Refused => 1,
            Reply::Unsure => 2,
        };
        self.ended[place] += 1;
        let now_ms = world.now_ms();
        let is_late = now_ms > pending.at_ms + ANSWER_MS_MAX;
        let must_end = pending.must_end;
        let is_bad = is_late || matches!(reply, Reply::Refused | Reply::Unsure);
        if must_end && is_bad && Councils::can_answer(world, host) {
            let ms = now_ms - pending.at_ms;
            let (order, council) = (&pending.order, councils::told(world, host));
            let what = format!("{order:?} on host {host}: {reply:?} after {ms} ms; {council}");
            found.add("L5", now_ms, what);
        }
        let founding = founding_of(world, host);
        match (pending.order, reply) {
            (Order::Look(register), Reply::Value(value)) => {
                let next = self.fresh_value();
                self.give(world, host, Order::Swap(register, value, next), must_end);
            }
            (Order::Swap(register, expect, value), Reply::Done) => {
                let done = Acknowledged {
                    follows: expect,
                    value,
                    founding,
                    at_ms: now_ms,
                };
                self.acknowledge(register, done, found);
                if must_end {
                    self.give(world, host, Order::Final(register), true);
                }
            }
            (Order::Final(register), Reply::Value(value)) => {
                self.chains.entry(register).or_default().last_read = Some((value, founding));
            }
            _ => {}
        }
    }

    fn acknowledge(&mut self, register: Register, done: Acknowledged, found: &mut Found) {
        let chain = self.chains.entry(register).or_default();
        let mut twins = chain
            .acknowledged
            .iter()
            .filter(|other| other.follows == done.follows && other.founding == done.founding);
        let is_double = |one: &Acknowledged| self.councils.was_double(register.0, one.at_ms);
        let twin = twins.find(|other| !is_double(other) && !is_double(&done));
        if let Some(other) = twin {
            let (before, one, two) = (&done.follows, &other.value, &done.value);
            let what = format!("{register:?}: {one:x?} and {two:x?} both follow {before:x?}");
            found.add("I3", done.at_ms, what);
        }
        chain.acknowledged.push(done);
    }

    pub fn look<M: Machine>(&mut self, world: &World<M>, found: &mut Found) {
        let now_ms = world.now_ms();
        self.councils.look(world);
        for (ask, pending) in &mut self.pending {
            let is_late = pending.must_end && now_ms > pending.at_ms + ANSWER_MS_MAX;
            if is_late && Councils::can_answer(world, pending.host) {
                let (order, host) = (&pending.order, pending.host);
                let what = format!("ask {ask}, {order:?} on host {host}: no answer");
                found.add("L5", now_ms, what);
                pending.must_end = false;
            }
        }
    }

    pub fn power<M: Machine>(&mut self, world: &World<M>, host: u32, on: bool) {
        self.pending.retain(|_, pending| pending.host != host);
        self.councils.power(world, host, on);
    }

    /// Every acknowledged write is an ancestor of what is read at the end.
    pub fn finish<M: Machine>(&mut self, world: &World<M>, found: &mut Found) {
        for (register, chain) in &self.chains {
            let Some((mut value, founding)) = chain.last_read.clone() else {
                continue;
            };
            let mut on_chain = BTreeSet::new();
            while let Some(bytes) = value {
                if !on_chain.insert(bytes.clone()) {
                    break;
                }
                value = chain.follows.get(&bytes).cloned().flatten();
            }
            for done in &chain.acknowledged {
                let is_excused = self.councils.was_double(register.0, done.at_ms)
                    || (done.founding != founding
                        && self.councils.may_have_lost(register.0, done.founding));
                if !is_excused && !on_chain.contains(&done.value) {
                    let (value, at_ms) = (&done.value, done.at_ms);
                    let what = format!("{register:?} has lost {value:x?} of {at_ms} ms");
                    found.add("I3", world.now_ms(), what);
                }
            }
        }
    }
}

/// Another host of a site that runs, or the same one.
fn rival<M: Machine>(world: &World<M>, host: u32, site: u16) -> u32 {
    let others = world.hosts.iter().filter(|other| {
        other.is_up() && other.place.host != host && crate::ids::site_of(other.id) == site
    });
    let mut others = others.map(|other| other.place.host);
    others.next().unwrap_or(host)
}

fn founding_of<M: Machine>(world: &World<M>, host: u32) -> Option<Founding> {
    let council = world.machine(host).and_then(M::council);
    council.map(|council| council.founding)
}
