//! Questions to the homes of a key, until enough have answered.
//!
//! Does:      asks the homes of a put all at once, those of a find nearest first; each home is a
//!            lane: its first node, its second, then sites that follow in rank, and our own, which
//!            keep it for the true homes; answers the user when most homes have answered.
//! Does not:  wait for ever: `END_MS`.
//! Bounds:    `ASKS_MAX` questions under way; more are refused (`asks_refused`), repeats wait.
//! Trusts:    an answer to be from a member that was asked, or from one that it passed the
//!            question to; entries only by their signature.
//! Start at:  `Lookup::ask`, `Lookup::go_on`.

use super::own::AGAIN_MS;
use super::rank::{Homes, SITES, nodes_in, ranking};
use super::shelf::has_faded;
use super::{Answer, Desk, Found, Lookup, Reach};
use crate::context::Verdict;
use protocol::peer::lookup::{Entry, HOPS_MAX, Key, LookupMessage, Route, Taken};
use protocol::peer::{Channel, Message};
use protocol::{NodeId, SiteId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub const ASKS_MAX: usize = 256;
/// Of these, repeats of our own entries may take.
pub const REPEATS_MAX: usize = 16;
/// A question ends after this, whatever was answered.
const END_MS: u64 = 4_000;
/// How long one node may take: twice its distance and this, within bounds.
const WORK_MS: u64 = 100;
const WAIT_MS: [u64; 2] = [200, 800];
/// How often one node is asked.
const TRIES: u8 = 2;
/// Sites after the homes that are asked when these don't answer.
const RESERVE: usize = 3;
/// Lanes of one question are numbered below this.
const LANES: u64 = 8;

#[derive(Debug, Clone, Copy)]
struct Stop {
    node: NodeId,
    site: SiteId,
    hops: u8,
}

#[derive(Debug, Clone, Copy)]
struct Out {
    stop: Stop,
    due_ms: u64,
    tries: u8,
}

/// One home, and who may stand in for it.
#[derive(Debug, Default)]
struct Lane {
    stops: VecDeque<Stop>,
    out: Option<Out>,
    is_over: bool,
}

#[derive(Debug)]
enum What {
    Put(Box<Entry>),
    Find {
        reach: Reach,
        values: BTreeMap<NodeId, Entry>,
    },
}

#[derive(Debug)]
pub(super) struct Ask {
    /// `None`: nobody waits for the answer.
    ask: Option<u64>,
    key: Key,
    what: What,
    lanes: Vec<Lane>,
    /// Lanes in use.
    open: usize,
    reserve: VecDeque<Stop>,
    /// Homes that must answer, and how many there are.
    needs: usize,
    of: usize,
    /// Sites that took it, or are sure of what they said.
    good: Vec<SiteId>,
    is_answered: bool,
    was_heard: bool,
    end_ms: u64,
}

/// Questions by number, and when each is to be looked at.
#[derive(Debug, Default)]
pub(super) struct Asks {
    pub by_number: BTreeMap<u64, Ask>,
    pub due: BTreeSet<(u64, u64)>,
    pub next: u64,
    pub repeats: usize,
}

impl Asks {
    pub fn memory_bytes(&self) -> usize {
        self.by_number.len() * 1500
    }

    /// Panics if it is not in order.
    pub fn check(&self) {
        assert!(self.by_number.len() <= ASKS_MAX, "questions under way");
        let repeats = self.by_number.values().filter(|one| one.ask.is_none());
        assert_eq!(repeats.count(), self.repeats, "repeats under way");
        assert_eq!(self.due.len(), self.by_number.len(), "each has one time");
    }
}

impl Ask {
    fn is_over(&self) -> bool {
        let open = &self.lanes[..self.open];
        open.iter().all(|lane| lane.is_over) && self.open == self.lanes.len()
    }

    /// When the first open question runs out.
    fn due_ms(&self) -> u64 {
        let out = self.lanes.iter().filter_map(|lane| lane.out);
        out.map(|out| out.due_ms)
            .min()
            .unwrap_or(self.end_ms)
            .min(self.end_ms)
    }

    /// How many may still answer well.
    fn hopes(&self) -> usize {
        let open = &self.lanes[..self.open];
        open.iter().filter(|lane| !lane.is_over).count()
    }

    fn live_values(&self, desk: &Desk<'_, '_>) -> Vec<&Entry> {
        let What::Find { values, .. } = &self.what else {
            return Vec::new();
        };
        let is_live = |one: &&Entry| !one.ended && !has_faded(desk.cx.now, desk.clock, one);
        values.values().filter(is_live).collect()
    }

    /// A find that needs no more than one value has it.
    fn is_content(&self, desk: &Desk<'_, '_>) -> bool {
        let is_near = matches!(
            self.what,
            What::Find {
                reach: Reach::Nearest,
                ..
            }
        );
        is_near && !self.live_values(desk).is_empty()
    }
}

impl Lookup {
    pub(super) fn ask_put(&mut self, desk: &mut Desk<'_, '_>, ask: Option<u64>, entry: Entry) {
        let key = entry.key;
        self.begin(desk, ask, key, What::Put(Box::new(entry)));
    }

    pub(super) fn ask_find(&mut self, desk: &mut Desk<'_, '_>, ask: u64, key: Key, reach: Reach) {
        let mut values = BTreeMap::new();
        if let Some(own) = self.own.find(key) {
            values.insert(desk.cx.me, own.clone());
        }
        self.begin(desk, Some(ask), key, What::Find { reach, values });
    }

    fn begin(&mut self, desk: &mut Desk<'_, '_>, ask: Option<u64>, key: Key, what: What) {
        let bucket = key.bucket();
        let ranked = ranking(desk.atlas, bucket);
        let homes = Homes::among(desk.atlas, bucket, &ranked);
        let mut lanes: Vec<(u64, Lane)> = Vec::new();
        for home in homes.iter() {
            let nodes = home.nodes.iter().flatten();
            let stops = nodes.map(|node| Stop {
                node: node.node,
                site: home.site,
                hops: 1,
            });
            let lane = Lane {
                stops: stops.collect(),
                ..Lane::default()
            };
            let first = lane.stops.front().map_or(desk.cx.me, |stop| stop.node);
            lanes.push((self.distance_us(desk, first, home.site), lane));
        }
        lanes.sort_by_key(|(distance, _)| *distance);
        let lanes: Vec<Lane> = lanes.into_iter().map(|(_, lane)| lane).collect();
        // As many homes as there should be, whether they can be reached or not.
        let of = ranked.len().clamp(1, SITES);
        let needs = match what {
            What::Find {
                reach: Reach::Nearest,
                ..
            } => 1,
            _ => of / 2 + 1,
        };
        let open = match what {
            What::Put(_) => lanes.len(),
            What::Find { .. } => needs.min(lanes.len()),
        };
        let reserve = reserve(desk, bucket, &ranked, &homes);
        self.asks.next = self.asks.next.wrapping_add(1);
        let number = self.asks.next;
        let end_ms = desk.cx.now_ms() + END_MS;
        self.asks.repeats += usize::from(ask.is_none());
        let new = Ask {
            ask,
            key,
            what,
            lanes,
            open,
            reserve,
            needs,
            of,
            good: Vec::new(),
            is_answered: ask.is_none(),
            was_heard: false,
            end_ms,
        };
        self.asks.by_number.insert(number, new);
        self.asks.due.insert((end_ms, number));
        self.go_on(desk, number);
    }

    fn distance_us(&self, desk: &Desk<'_, '_>, node: NodeId, site: SiteId) -> u64 {
        if node == desk.cx.me {
            return 0;
        }
        desk.atlas.distance_us(node, site)
    }

    /// Asks whoever is next in each lane, answers the user when it may, and ends what is over.
    pub(super) fn go_on(&mut self, desk: &mut Desk<'_, '_>, number: u64) {
        let Some(mut ask) = self.asks.by_number.remove(&number) else {
            return;
        };
        self.asks.due.retain(|(_, one)| *one != number);
        let is_late = ask.end_ms <= desk.cx.now_ms();
        while !is_late && self.advance(desk, number, &mut ask) {}
        let is_enough = ask.good.len() >= ask.needs || ask.is_content(desk);
        let is_find = matches!(ask.what, What::Find { .. });
        let is_over = is_late || ask.is_over() || is_find && is_enough;
        if !ask.is_answered && (is_over || is_enough) {
            ask.is_answered = true;
            let answer = answer_of(desk, &ask);
            self.answers.extend(ask.ask.map(|number| (number, answer)));
        }
        if is_over {
            self.end(desk, &ask);
            return;
        }
        self.asks.due.insert((ask.due_ms(), number));
        self.asks.by_number.insert(number, ask);
    }

    fn end(&mut self, desk: &mut Desk<'_, '_>, ask: &Ask) {
        self.asks.repeats -= usize::from(ask.ask.is_none());
        let is_put = matches!(ask.what, What::Put(_));
        if is_put && ask.good.len() < ask.needs {
            self.own.hurry(desk, ask.key, AGAIN_MS);
        }
    }

    /// One step for each lane. Says whether another may follow at once.
    fn advance(&mut self, desk: &mut Desk<'_, '_>, number: u64, ask: &mut Ask) -> bool {
        let now_ms = desk.cx.now_ms();
        let is_find = matches!(ask.what, What::Find { .. });
        for at in 0..ask.open {
            if ask.good.len() >= ask.needs && is_find {
                return false;
            }
            let lane = &mut ask.lanes[at];
            if let Some(out) = lane.out.as_mut().filter(|out| out.due_ms <= now_ms) {
                if out.tries < TRIES {
                    out.tries += 1;
                    let stop = out.stop;
                    out.due_ms = now_ms + self.wait_ms(desk, stop);
                    self.say(desk, number, at, stop, ask);
                } else {
                    lane.out = None;
                }
            }
            let lane = &mut ask.lanes[at];
            if lane.is_over || lane.out.is_some() {
                continue;
            }
            let spare = || ask.reserve.pop_front();
            let Some(stop) = lane.stops.pop_front().or_else(spare) else {
                lane.is_over = true;
                continue;
            };
            if stop.node == desk.cx.me {
                self.ask_ourselves(desk, at, stop, ask);
                continue;
            }
            ask.lanes[at].out = Some(Out {
                stop,
                due_ms: now_ms + self.wait_ms(desk, stop),
                tries: 1,
            });
            self.say(desk, number, at, stop, ask);
        }
        let is_stuck = |lane: &Lane| !lane.is_over && lane.out.is_none();
        let lacks = ask.good.len() + ask.hopes() < ask.needs;
        if lacks && ask.open < ask.lanes.len() {
            ask.open += 1;
            return true;
        }
        ask.lanes[..ask.open].iter().any(is_stuck)
    }

    fn wait_ms(&self, desk: &Desk<'_, '_>, stop: Stop) -> u64 {
        let distance_ms = self.distance_us(desk, stop.node, stop.site) / 1000;
        let [least, most] = WAIT_MS;
        (2 * distance_ms + WORK_MS).clamp(least, most)
    }

    fn say(&mut self, desk: &mut Desk<'_, '_>, number: u64, at: usize, stop: Stop, ask: &Ask) {
        let number = number.wrapping_mul(LANES).wrapping_add(at as u64);
        let route = Route {
            asker: desk.cx.me,
            hops: stop.hops,
        };
        let message = match &ask.what {
            What::Put(entry) => LookupMessage::Put {
                number,
                route,
                entry: entry.clone(),
            },
            What::Find { .. } => LookupMessage::Find {
                number,
                route,
                key: ask.key,
            },
        };
        self.counters.questions += 1;
        desk.cx
            .send(stop.node, Channel::Datagram, Message::Lookup(message));
    }

    /// We are a home, or stand in for one.
    fn ask_ourselves(&mut self, desk: &mut Desk<'_, '_>, at: usize, stop: Stop, ask: &mut Ask) {
        match &ask.what {
            What::Put(entry) => {
                let taken = self.keep(desk, (**entry).clone());
                put_answered(ask, at, stop.site, taken);
            }
            What::Find { .. } => {
                let (is_sure, values) = self.held(desk, ask.key);
                let good = is_sure.then_some(stop.site);
                self.find_answered(desk, ask, at, good, &values);
            }
        }
    }

    /// A home, or who stands in for it, has kept an entry or refused it.
    pub(super) fn handle_taken(
        &mut self,
        desk: &mut Desk<'_, '_>,
        site: SiteId,
        number: u64,
        taken: Taken,
    ) {
        let (number, at) = lane_of(number);
        let Some(ask) = self.asks.by_number.get_mut(&number) else {
            return;
        };
        if at < ask.open && matches!(ask.what, What::Put(_)) && ask.lanes[at].out.is_some() {
            put_answered(ask, at, site, taken);
            self.go_on(desk, number);
        }
    }

    pub(super) fn handle_found(
        &mut self,
        desk: &mut Desk<'_, '_>,
        site: SiteId,
        number: u64,
        is_sure: bool,
        values: &[Entry],
    ) {
        let (number, at) = lane_of(number);
        let Some(mut ask) = self.asks.by_number.remove(&number) else {
            return;
        };
        let is_find = matches!(ask.what, What::Find { .. });
        let is_asked = at < ask.open && ask.lanes[at].out.is_some() && is_find;
        if is_asked {
            self.find_answered(desk, &mut ask, at, is_sure.then_some(site), values);
        }
        self.asks.by_number.insert(number, ask);
        if is_asked {
            self.go_on(desk, number);
        }
    }

    fn find_answered(
        &mut self,
        desk: &mut Desk<'_, '_>,
        ask: &mut Ask,
        at: usize,
        good: Option<SiteId>,
        said: &[Entry],
    ) {
        ask.was_heard = true;
        ask.lanes[at].out = None;
        if let Some(site) = good {
            ask.lanes[at].is_over = true;
            if !ask.good.contains(&site) {
                ask.good.push(site);
            }
        }
        let key = ask.key;
        let What::Find { values, .. } = &mut ask.what else {
            return;
        };
        for entry in said.iter().filter(|entry| entry.key == key) {
            let known = values.get(&entry.author);
            if known.is_some_and(|known| !entry.is_newer_than(known)) {
                continue;
            }
            let bytes = entry.signed_part();
            let keyring = &desk.cx.keyring;
            if keyring.verify(entry.author, &bytes, &entry.signature) == Verdict::Good {
                values.insert(entry.author, entry.clone());
            } else {
                self.counters.forged += 1;
            }
        }
        // Found at an unsure one: others need not be troubled, the homes are asked.
        if !values.is_empty() && ask.lanes[at].stops.is_empty() {
            ask.lanes[at].is_over = true;
        }
    }
}

fn put_answered(ask: &mut Ask, at: usize, site: SiteId, taken: Taken) {
    ask.was_heard = true;
    ask.lanes[at].out = None;
    match taken {
        Taken::Kept | Taken::Older => {
            ask.lanes[at].is_over = true;
            if !ask.good.contains(&site) {
                ask.good.push(site);
            }
        }
        // Others would say the same.
        Taken::Bad => ask.lanes[at].is_over = true,
        Taken::Full | Taken::Unknown | Taken::Busy => {}
    }
}

fn lane_of(number: u64) -> (u64, usize) {
    let lane = usize::try_from(number % LANES).unwrap_or(0);
    (number / LANES, lane)
}

/// Whom to turn to when homes don't answer: our own site, then those that follow in rank. They
/// keep what they are given until a home takes it.
fn reserve(desk: &Desk<'_, '_>, bucket: u16, ranked: &[SiteId], homes: &Homes) -> VecDeque<Stop> {
    let is_home = |site: &SiteId| homes.iter().any(|home| home.site == *site);
    let own = desk.cx.site;
    let others = ranked.iter().copied().filter(|site| *site != own);
    let others = others.filter(|site| desk.atlas.is_reachable(*site));
    let sites = std::iter::once(own).chain(others);
    let stops = sites.filter(|site| !is_home(site)).filter_map(|site| {
        let node = nodes_in(desk.atlas, bucket, site)[0]?.node;
        Some(Stop {
            node,
            site,
            hops: HOPS_MAX,
        })
    });
    stops.take(RESERVE).collect()
}

fn answer_of(desk: &Desk<'_, '_>, ask: &Ask) -> Answer {
    let count = |count: usize| u8::try_from(count).unwrap_or(u8::MAX);
    let (homes, of) = (count(ask.good.len()), count(ask.of));
    match &ask.what {
        What::Put(_) if homes == 0 => Answer::Unsure,
        What::Put(_) => Answer::Taken { homes, of },
        What::Find { .. } if !ask.was_heard => Answer::Unsure,
        What::Find { .. } => {
            let values = ask.live_values(desk).into_iter().map(|entry| Found {
                author: entry.author,
                value: entry.value.bytes().to_vec(),
                age_ms: desk.clock.age_ms(desk.cx.now, entry.written),
            });
            Answer::Found {
                values: values.collect(),
                homes,
                of,
            }
        }
    }
}
