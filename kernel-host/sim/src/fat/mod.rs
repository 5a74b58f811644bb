//! Histories over whole nodes: host stack, sessions, overlay and database, in virtual time.
//!
//! Does:      performs a history's deeds on a `Town` of up to twelve houses; checks
//!            what users and operators rely on, and one view after the heal.
//! Does not:  pause or slow a node, copy its disk or give it another address (one executor runs
//!            them all), or swap records of VMs: those deeds are left out, and counted.
//! Bounds:    `HOUSES_MAX` houses; `ORDERS_MAX` orders at a time.
//! Trusts:    the town to be deterministic, which the tests check.
//! Start at:  `run`.

pub mod command;
mod views;

pub use crate::checks::Violation;
pub use node::service::town::HOUSES_MAX;

use crate::history::{Deed, History, Work};
use crate::world::network::{Fate, Network, Place, Rule};
use node::service::town::{Letter, LetterKind, Paths, Town};
use overlay::{Answer, Draft, Input};
use protocol::NodeId;
use protocol::peer::{Channel, Life, Realm, RecordKind};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::rc::Rc;

/// Orders without an answer.
const ORDERS_MAX: usize = 256;
/// How often nodes are looked at.
const LOOK_MS: u64 = 1_000;
/// From the goodbye of a node to the end of its power.
const GOODBYE_MS: u64 = 1_000;
/// A kind that no node knows.
const STRANGE: RecordKind = RecordKind(40_123);

/// How a run ended.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What must not be: the rule's name in `checks::INVARIANTS`, when, and what.
    pub violations: Vec<Violation>,
    /// From the heal to one view. `None`: never.
    pub one_view_ms: Option<u64>,
    pub trace: u64,
    pub done: u64,
    pub refused: u64,
    pub unsure: u64,
    /// Deeds that a town can't perform.
    pub left_out: u64,
}

/// The network of a history, asked for each frame.
struct Roads {
    network: Rc<RefCell<Network>>,
    places: Vec<Place>,
}

impl Paths for Roads {
    fn fate(&mut self, _now_ms: u64, letter: Letter) -> [Option<u64>; 2] {
        let (from, to) = (self.places[letter.from], self.places[letter.to]);
        let channel = match letter.kind {
            LetterKind::Stream => Some(Channel::Stream),
            LetterKind::Datagram => Some(Channel::Datagram),
            LetterKind::Other => None,
        };
        let mut network = self.network.borrow_mut();
        match network.frame(from, to, letter.bytes as u64, channel) {
            Fate::Lost => [None, None],
            Fate::Comes(us) => [Some(us), None],
            Fate::Twice(first, second) => [Some(first), Some(second)],
        }
    }
}

/// What a house's user has asked and not heard back of.
enum Order {
    /// The register is read, to be raised by one.
    Read {
        register: u32,
    },
    Write {
        register: u32,
        count: u64,
    },
}

/// The register of a number.
fn register_of(number: u32) -> [u8; 16] {
    let mut register = [0x77; 16];
    register[..4].copy_from_slice(&number.to_be_bytes());
    register
}

/// What a register's value counts. Each write raises it by one, so that the newest is the largest.
fn count_of(value: Option<&[u8]>) -> u64 {
    let count = value.and_then(|value| value.first_chunk::<8>());
    count.map_or(0, |count| u64::from_be_bytes(*count))
}

/// One run.
struct Run<'a> {
    history: &'a History,
    town: Town,
    network: Rc<RefCell<Network>>,
    places: Vec<Place>,
    outcome: Outcome,
    /// Whether a house shall have power when all is healed.
    lives: Vec<bool>,
    orders: BTreeMap<(usize, u64), Order>,
    next_ask: u64,
    /// The largest count that a register has acknowledged, by site and number.
    acknowledged: BTreeMap<(u16, u32), u64>,
    /// The largest life of a node that anybody has told of.
    seen_lives: BTreeMap<(usize, NodeId), Life>,
    start_ms: u64,
    is_healed: bool,
    /// When the records of all were last the same.
    equal_ms: u64,
}

/// What a run tells while it goes on.
#[derive(Debug)]
pub enum Telling<'a> {
    /// A virtual second has passed.
    Second { now_ms: u64, end_ms: u64 },
    /// After the heal, a second later: this keeps the houses from having one view.
    Differs { at_ms: u64, what: &'a str },
}

/// Runs a history. `tell` hears how it goes.
///
/// # Errors
///
/// The process is out of descriptors, or the history has more than `HOUSES_MAX` hosts.
pub fn run(history: &History, tell: &mut dyn FnMut(Telling<'_>)) -> io::Result<Outcome> {
    let mut run = Run::new(history)?;
    let mut todo = run.calendar();
    let end_ms = history.safety_ms + history.heal_ms;
    let mut look_ms = LOOK_MS;
    while run.is_before(end_ms) {
        let next_ms = todo.first().map_or(u64::MAX, |(at_ms, ..)| *at_ms);
        run.town
            .run_until(run.start_ms + next_ms.min(look_ms).min(end_ms));
        while let Some(step) = todo.pop_first() {
            if run.is_before(step.0) {
                todo.insert(step);
                break;
            }
            run.perform(step, &mut todo)?;
        }
        run.hear();
        if !run.is_before(look_ms) {
            let now_ms = look_ms;
            tell(Telling::Second { now_ms, end_ms });
            run.look(look_ms, tell);
            look_ms += LOOK_MS;
        }
    }
    run.judge();
    Ok(run.outcome)
}

/// What is done at a time. Deeds are numbered as in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Boot(usize),
    Begin(usize),
    End(usize),
    Heal,
}

type Todo = BTreeSet<(u64, Step)>;

impl<'a> Run<'a> {
    fn new(history: &'a History) -> io::Result<Self> {
        let shape = &history.shape;
        let places: Vec<Place> = shape.places().collect();
        let network = Network::new(history.seed, shape.site_count(), shape.weather);
        let network = Rc::new(RefCell::new(network));
        let roads = Roads {
            network: network.clone(),
            places: places.clone(),
        };
        let sites: Vec<usize> = places.iter().map(|place| place.site.into()).collect();
        let town = Town::new(history.seed, &sites, Box::new(roads))?;
        let is_spare = |house: &Place| shape.spares.contains(&house.host);
        Ok(Self {
            lives: places.iter().map(|house| !is_spare(house)).collect(),
            start_ms: town.now_ms(),
            history,
            town,
            network,
            places,
            outcome: Outcome::default(),
            orders: BTreeMap::new(),
            next_ask: 0,
            acknowledged: BTreeMap::new(),
            seen_lives: BTreeMap::new(),
            is_healed: false,
            equal_ms: 0,
        })
    }

    fn calendar(&self) -> Todo {
        let houses = self
            .lives
            .iter()
            .zip(0_usize..)
            .filter(|(lives, _)| **lives);
        let spread_ms = self.history.shape.start_ms / (self.places.len() as u64 + 1);
        let boots = houses.map(|(_, house)| (spread_ms * house as u64, Step::Boot(house)));
        let acts = self.history.acts.iter().zip(0..);
        let acts = acts.map(|(act, index)| (act.at_ms, Step::Begin(index)));
        let heal = (self.history.safety_ms, Step::Heal);
        boots.chain(acts).chain([heal]).collect()
    }

    fn is_before(&self, at_ms: u64) -> bool {
        self.town.now_ms() < self.start_ms + at_ms
    }

    fn perform(&mut self, (at_ms, step): (u64, Step), todo: &mut Todo) -> io::Result<()> {
        match step {
            Step::Boot(house) => self.boot(house, true),
            Step::Begin(index) => {
                if let Some(ends_ms) = self.begin(index) {
                    todo.insert((at_ms + ends_ms, Step::End(index)));
                }
                Ok(())
            }
            Step::End(index) => self.end(index),
            Step::Heal => self.heal(),
        }
    }

    fn boot(&mut self, house: usize, keeps_disk: bool) -> io::Result<()> {
        if !keeps_disk && self.others_on(house) < 2 {
            // With it may have gone the only disk, or every second one, that held a register.
            let site = self.places[house].site;
            self.acknowledged.retain(|(other, _), _| *other != site);
        }
        self.lives[house] = true;
        self.orders.retain(|(other, _), _| *other != house);
        self.town.power_on(house, keeps_disk)
    }

    /// Begins a deed; returns how long it lasts, if it ends.
    fn begin(&mut self, index: usize) -> Option<u64> {
        let deed = &self.history.acts[index].deed;
        if self.is_healed && !matches!(deed, Deed::Work(_)) {
            return None;
        }
        match *deed {
            Deed::Crash { host, down_ms, .. } if self.is_on(host) => {
                self.town.power_cut(host as usize);
                Some(down_ms)
            }
            Deed::Disturb { for_ms, .. } => {
                self.disturb(index);
                Some(for_ms)
            }
            Deed::Stall { host, for_ms } if self.is_on(host) => {
                self.town.stall_disk(host as usize, for_ms);
                None
            }
            Deed::Clock { host, jump_ms, .. } if self.is_on(host) => {
                self.town.shift_clock(host as usize, jump_ms);
                None
            }
            Deed::Leave { host } if self.is_on(host) => {
                self.town.leave(host as usize);
                self.lives[host as usize] = false;
                Some(GOODBYE_MS)
            }
            Deed::Join { host } if (host as usize) < self.places.len() => Some(0),
            Deed::Work(ref work) => {
                self.work(index, work);
                None
            }
            _ => {
                self.outcome.left_out += 1;
                None
            }
        }
    }

    /// Others of the site that have power.
    fn others_on(&self, house: usize) -> usize {
        let site = self.places[house].site;
        let others = (0..self.places.len()).filter(|other| *other != house);
        let on = others.filter(|other| self.places[*other].site == site && self.town.is_on(*other));
        on.count()
    }

    fn is_on(&self, host: u32) -> bool {
        self.lives.get(host as usize) == Some(&true) && self.town.is_on(host as usize)
    }

    fn disturb(&mut self, index: usize) {
        let Deed::Disturb {
            from,
            to,
            both,
            effect,
            ..
        } = &self.history.acts[index].deed
        else {
            return;
        };
        let id = u32::try_from(index).unwrap_or(u32::MAX) * 2;
        let mut network = self.network.borrow_mut();
        for (id, from, to) in [(id, from, to), (id + 1, to, from)] {
            if id % 2 == 0 || *both {
                let rule = Rule {
                    from: from.clone(),
                    to: to.clone(),
                    effect: *effect,
                };
                network.add_rule(id, rule);
            }
        }
    }

    fn end(&mut self, index: usize) -> io::Result<()> {
        match self.history.acts[index].deed {
            Deed::Crash {
                host, keeps_disk, ..
            } if self.lives[host as usize] && !self.is_on(host) => {
                self.boot(host as usize, keeps_disk)
            }
            Deed::Join { host } if !self.is_on(host) => self.boot(host as usize, true),
            Deed::Leave { host } if !self.lives[host as usize] => {
                self.town.power_cut(host as usize);
                Ok(())
            }
            Deed::Disturb { .. } => {
                let id = u32::try_from(index).unwrap_or(u32::MAX) * 2;
                let mut network = self.network.borrow_mut();
                network.remove_rule(id);
                network.remove_rule(id + 1);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn heal(&mut self) -> io::Result<()> {
        self.is_healed = true;
        self.network.borrow_mut().calm_down();
        for house in 0..self.places.len() {
            if self.lives[house] && !self.town.is_on(house) {
                self.boot(house, true)?;
            }
        }
        Ok(())
    }

    fn work(&mut self, index: usize, work: &Work) {
        match *work {
            Work::Strange { host } | Work::Create { host, .. } if self.is_on(host) => {
                let mut subject = [0; 16];
                subject[..8].copy_from_slice(&(index as u64).to_be_bytes());
                let draft = Draft {
                    realm: Realm::Cluster,
                    kind: STRANGE,
                    subject,
                    epoch: 0,
                    ended: false,
                    body: vec![7; 100],
                };
                let is_taken = self.town.tell(host as usize, Input::Publish(draft));
                *(if is_taken {
                    &mut self.outcome.done
                } else {
                    &mut self.outcome.refused
                }) += 1;
            }
            Work::Swap { host, register } if self.is_on(host) => {
                self.order(host as usize, Order::Read { register });
            }
            _ => self.outcome.left_out += 1,
        }
    }

    fn order(&mut self, house: usize, order: Order) {
        if self.orders.len() >= ORDERS_MAX {
            self.outcome.refused += 1;
            return;
        }
        self.next_ask += 1;
        let ask = self.next_ask;
        let input = match &order {
            Order::Read { register } => Input::Read {
                ask,
                register: register_of(*register),
            },
            Order::Write { register, count } => Input::Swap {
                ask,
                register: register_of(*register),
                expect: (*count > 1).then(|| (count - 1).to_be_bytes().to_vec()),
                value: count.to_be_bytes().to_vec(),
            },
        };
        if self.town.tell(house, input) {
            self.orders.insert((house, ask), order);
        } else {
            self.outcome.refused += 1;
        }
    }

    /// Takes the answers of all houses.
    fn hear(&mut self) {
        for house in 0..self.places.len() {
            for (ask, answer) in self.town.answers(house) {
                let Some(order) = self.orders.remove(&(house, ask)) else {
                    continue;
                };
                self.answered(house, &order, answer);
            }
        }
    }

    fn answered(&mut self, house: usize, order: &Order, answer: Answer) {
        let site = self.places[house].site;
        match (order, answer) {
            (Order::Read { register }, Answer::Value(value)) => {
                let count = count_of(value.as_deref());
                self.compare((site, *register), count);
                if !self.is_healed {
                    let (register, count) = (*register, count + 1);
                    self.order(house, Order::Write { register, count });
                }
            }
            (Order::Write { register, count }, Answer::Done) => {
                self.outcome.done += 1;
                let known = self.acknowledged.entry((site, *register)).or_default();
                *known = (*known).max(*count);
            }
            (_, Answer::Unsure) => self.outcome.unsure += 1,
            _ => self.outcome.refused += 1,
        }
    }

    /// I3: what a read finds is not older than what was acknowledged.
    fn compare(&mut self, register: (u16, u32), count: u64) {
        let known = self.acknowledged.get(&register).copied().unwrap_or(0);
        if count < known {
            let (site, number) = register;
            self.broken(
                "I3",
                format!("register {number} of site {site} counts {count}, and counted {known}"),
            );
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} orders done, {} refused, {} unsure, {} deeds left out",
            self.done, self.refused, self.unsure, self.left_out
        )
    }
}
