//! Nodes with nothing but registers, on a bad wire, with clocks that drift.
#![allow(clippy::unwrap_used, dead_code)]

use netcore::dice::Dice;
use overlay::guardians::Presence;
use overlay::register::Registers;
use overlay::{Context, Event, Keyring, Outbox, Rules, Verdict};
use protocol::peer::register::{Founding, Outcome, Seat, Value, Wish};
use protocol::peer::{Channel, Message, Record, Signature};
use protocol::{Moment, NodeId, SiteId, Timestamp};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

const START_MS: u64 = 1_800_000_000_000;
/// Membership notices a death after this.
const NOTICE_MS: u64 = 4000;

pub const fn site(number: u8) -> SiteId {
    SiteId::from_bytes([number; 16])
}

#[derive(Debug)]
struct Sites {
    gone: BTreeSet<NodeId>,
}

impl Keyring for Sites {
    fn sign(&self, _bytes: &[u8]) -> Signature {
        Signature([0; 64])
    }
    fn verify(&self, _author: NodeId, _bytes: &[u8], _signature: &Signature) -> Verdict {
        Verdict::Good
    }
    fn site_of(&self, node: NodeId) -> Option<SiteId> {
        Some(site(node.bytes()[15]))
    }
    fn is_replaced(&self, node: NodeId) -> bool {
        self.gone.contains(&node)
    }
    fn learn(&mut self, _now: Moment, _record: &Record) -> Verdict {
        Verdict::Good
    }
}

#[derive(Debug)]
pub struct Host {
    pub id: NodeId,
    pub site: u8,
    pub boots: u32,
    pub machine: Option<Registers>,
    pub disk: BTreeMap<String, Vec<u8>>,
    pub drift_ppm: i64,
    keys: Sites,
    dice: Dice,
    paused_until_us: u64,
    booted_us: u64,
    down_since_us: u64,
    wake_us: u64,
    /// Epoch and true end of what it believes of its lease.
    pub belief: Option<(u64, u64)>,
    pub bytes_out: u64,
    /// Bytes with what UDP, IP and the session add.
    pub wire_out: u64,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happens {
    Arrives(usize, NodeId, Channel, Vec<u8>),
    Wakes(usize),
}

/// What was asked, when, and how it ended.
#[derive(Debug, Clone)]
pub struct Asked {
    pub register: u8,
    pub host: usize,
    pub at_us: u64,
    pub wish: Wish,
    pub end: Option<(u64, Outcome)>,
    /// In which line of councils it ended.
    pub founding: Option<Founding>,
}

#[derive(Debug)]
pub struct Guards {
    pub now_us: u64,
    pub hosts: Vec<Host>,
    pub blocked: BTreeSet<(usize, usize)>,
    pub loss_percent: u64,
    pub delay_us: u64,
    pub rules: Rules,
    pub asked: Vec<Asked>,
    pub violations: Vec<String>,
    pub taken: u64,
    pub dice: Dice,
    queue: BinaryHeap<Reverse<(u64, u64, Happens)>>,
    count: u64,
    members_us: u64,
    named: u8,
}

impl Host {
    fn uptime_ms(&self, now_us: u64) -> u64 {
        let passed = i128::from(now_us - self.booted_us);
        let skewed = passed * (1_000_000 + i128::from(self.drift_ppm)) / 1_000_000;
        1000 + u64::try_from(skewed).unwrap() / 1000
    }

    fn true_us(&self, uptime_ms: u64) -> u64 {
        let skewed = i128::from(uptime_ms.saturating_sub(1000)) * 1000;
        let passed = skewed * 1_000_000 / (1_000_000 + i128::from(self.drift_ppm));
        self.booted_us + u64::try_from(passed).unwrap()
    }
}

impl Guards {
    pub fn new(seed: u64) -> Self {
        Self {
            now_us: 0,
            hosts: Vec::new(),
            blocked: BTreeSet::new(),
            loss_percent: 0,
            delay_us: 3000,
            rules: Rules::ALL,
            asked: Vec::new(),
            violations: Vec::new(),
            taken: 0,
            dice: Dice::new(seed),
            queue: BinaryHeap::new(),
            count: 0,
            members_us: 0,
            named: 0,
        }
    }

    pub const fn now_ms(&self) -> u64 {
        self.now_us / 1000
    }

    pub fn add(&mut self, in_site: u8, count: usize) {
        for _ in 0..count {
            let id = self.fresh_id(in_site);
            let dice = Dice::new(self.dice.next_u64());
            self.hosts.push(Host {
                id,
                site: in_site,
                boots: 0,
                machine: None,
                disk: BTreeMap::new(),
                drift_ppm: 0,
                keys: Sites {
                    gone: BTreeSet::new(),
                },
                dice,
                paused_until_us: 0,
                booted_us: 0,
                down_since_us: 0,
                wake_us: u64::MAX,
                belief: None,
                bytes_out: 0,
                wire_out: 0,
            });
            self.boot(self.hosts.len() - 1);
        }
    }

    fn fresh_id(&mut self, in_site: u8) -> NodeId {
        self.named += 1;
        let mut bytes = [0; 16];
        bytes[0] = u8::try_from(self.dice.below(250)).unwrap();
        (bytes[1], bytes[15]) = (self.named, in_site);
        NodeId::from_bytes(bytes)
    }

    fn with<R>(&mut self, at: usize, act: impl FnOnce(&mut Registers, &mut Context<'_>) -> R) -> R {
        let host = &mut self.hosts[at];
        let mut out = Outbox::default();
        let mut machine = host.machine.take().unwrap();
        let uptime_ms = host.uptime_ms(self.now_us);
        let mut cx = Context {
            now: Moment {
                uptime_ms,
                wall: Timestamp::from_unix_ms(START_MS + self.now_us / 1000),
            },
            me: host.id,
            site: site(host.site),
            dice: &mut host.dice,
            coordinates: &mut overlay::coordinates::Coordinates::new(),
            keyring: &mut host.keys,
            out: &mut out,
        };
        let result = act(&mut machine, &mut cx);
        host.machine = Some(machine);
        self.perform(at, out);
        result
    }

    /// Its disk keeps nothing for now.
    pub fn fence(&mut self, at: usize, is_fenced: bool) {
        self.with(at, |machine, cx| machine.set_fenced(cx, is_fenced));
    }

    pub fn boot(&mut self, at: usize) {
        let (now_us, rules) = (self.now_us, self.rules);
        let host = &mut self.hosts[at];
        host.boots += 1;
        (host.booted_us, host.paused_until_us, host.belief) = (now_us, 0, None);
        let saved: Vec<(String, Vec<u8>)> = host.disk.clone().into_iter().collect();
        let mut out = Outbox::default();
        let mut cx = Context {
            now: Moment {
                uptime_ms: 1000,
                wall: Timestamp::from_unix_ms(START_MS + now_us / 1000),
            },
            me: host.id,
            site: site(host.site),
            dice: &mut host.dice,
            coordinates: &mut overlay::coordinates::Coordinates::new(),
            keyring: &mut host.keys,
            out: &mut out,
        };
        host.machine = Some(Registers::new(&mut cx, host.boots, rules, &saved));
        self.perform(at, out);
        self.members();
    }

    pub fn crash(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        (host.machine, host.belief, host.wake_us) = (None, None, u64::MAX);
        host.down_since_us = self.now_us;
        let is_open = |asked: &&mut Asked| asked.host == at && asked.end.is_none();
        for asked in self.asked.iter_mut().filter(is_open) {
            asked.end = Some((u64::MAX, Outcome::Unsure));
        }
    }

    /// The machine comes back as another node.
    pub fn lose_disk(&mut self, at: usize, is_known: bool) {
        let old = self.hosts[at].id;
        let id = self.fresh_id(self.hosts[at].site);
        let host = &mut self.hosts[at];
        (host.id, host.boots) = (id, 0);
        host.disk.clear();
        if is_known {
            for host in &mut self.hosts {
                host.keys.gone.insert(old);
            }
        }
    }

    pub fn pause(&mut self, at: usize, ms: u64) {
        self.hosts[at].paused_until_us = self.now_us + ms * 1000;
    }

    pub fn is_up(&self, at: usize) -> bool {
        self.hosts[at].machine.is_some()
    }

    fn is_paused(&self, at: usize) -> bool {
        self.hosts[at].paused_until_us > self.now_us
    }

    fn put(&mut self, at_us: u64, what: Happens) {
        self.count += 1;
        self.queue.push(Reverse((at_us, self.count, what)));
    }

    fn perform(&mut self, at: usize, mut out: Outbox) {
        for save in out.saves.drain(..) {
            let disk = &mut self.hosts[at].disk;
            match save.value {
                Some(value) => drop(disk.insert(save.key, value)),
                None => drop(disk.remove(&save.key)),
            }
        }
        for send in out.sends.drain(..) {
            self.send(at, &send);
        }
        for event in out.events.drain(..) {
            self.judge(at, &event);
        }
        let now_us = self.now_us;
        let host = &mut self.hosts[at];
        let Some(machine) = &mut host.machine else {
            return;
        };
        while let Some((ask, outcome)) = machine.poll_answer() {
            let asked = &mut self.asked[usize::try_from(ask).unwrap()];
            if asked.end.is_none() {
                asked.end = Some((now_us, outcome));
                asked.founding = machine.council().map(|council| council.founding);
            }
        }
        let due_ms = machine.next_timeout().unwrap();
        let due_us = (host.true_us(due_ms) + 500).max(now_us + 1);
        if due_us < host.wake_us || host.wake_us <= now_us {
            host.wake_us = due_us;
            self.put(due_us, Happens::Wakes(at));
        }
    }

    fn send(&mut self, at: usize, send: &overlay::Send) {
        let bytes = send.message.encode(send.channel).expect("it fits");
        self.hosts[at].bytes_out += bytes.len() as u64;
        // IPv4, UDP, and what a session adds.
        self.hosts[at].wire_out += bytes.len() as u64 + 28 + 32;
        let Some(to) = self.hosts.iter().position(|host| host.id == send.to) else {
            return;
        };
        let is_stream = send.channel == Channel::Stream;
        if self.blocked.contains(&(at, to))
            || (is_stream && self.blocked.contains(&(to, at)))
            || (!is_stream && self.dice.below(100) < self.loss_percent)
        {
            return;
        }
        let from = self.hosts[at].id;
        let copies = 1 + u64::from(self.dice.below(40) == 0 && self.loss_percent > 0);
        for _ in 0..copies {
            let at_us = self.now_us + self.delay_us + self.dice.below(self.delay_us);
            let arrives = Happens::Arrives(to, from, send.channel, bytes.clone());
            self.put(at_us, arrives);
        }
    }

    fn judge(&mut self, at: usize, event: &Event) {
        match event {
            Event::LeaseHeld { epoch, until_ms } => {
                let host = &mut self.hosts[at];
                host.belief = Some((*epoch, host.true_us(*until_ms)));
            }
            Event::LeaseLost { .. } => self.hosts[at].belief = None,
            Event::LeaseTaken { host, epoch } => {
                self.taken += 1;
                let now_us = self.now_us;
                let of = self.hosts.iter().find(|one| one.id == *host);
                let belief = of.and_then(|one| one.belief);
                if belief.is_some_and(|(held, until)| now_us < until && held <= *epoch) {
                    let what = format!("{host} was ended in {epoch}, believes {belief:?}");
                    self.violations.push(what);
                }
            }
            _ => {}
        }
    }

    /// What membership would say: who is connected in both directions by some path.
    pub fn members(&mut self) {
        let count = self.hosts.len();
        for at in 0..count {
            if !self.is_up(at) || self.is_paused(at) {
                continue;
            }
            let mut reached = BTreeSet::from([at]);
            let mut open = vec![at];
            while let Some(one) = open.pop() {
                for other in 0..count {
                    let is_cut = self.blocked.contains(&(one, other))
                        || self.blocked.contains(&(other, one));
                    if !is_cut && self.is_up(other) && reached.insert(other) {
                        open.push(other);
                    }
                }
            }
            for other in (0..count).filter(|other| *other != at) {
                self.tell(
                    at,
                    other,
                    reached.contains(&other) && !self.is_paused(other),
                );
            }
        }
    }

    fn tell(&mut self, at: usize, other: usize, is_there: bool) {
        let them = &self.hosts[other];
        if them.site != self.hosts[at].site || them.boots == 0 {
            return;
        }
        let (id, boots) = (them.id, them.boots);
        let is_new = !self.is_up(other) && self.now_us < them.down_since_us + NOTICE_MS * 1000;
        if is_there {
            self.with(at, |machine, cx| {
                machine.note(cx, id, boots, Presence::There)
            });
        } else if !is_new {
            self.with(at, |machine, cx| {
                machine.note(cx, id, boots, Presence::Dead)
            });
        }
    }

    pub fn run(&mut self, ms: u64) {
        let end_us = self.now_us + ms * 1000;
        loop {
            let next = self.queue.peek().map_or(u64::MAX, |Reverse((at, ..))| *at);
            let next = next.min(self.members_us);
            if next > end_us {
                break;
            }
            self.now_us = self.now_us.max(next);
            if self.members_us <= self.now_us {
                self.members_us = self.now_us + 1_000_000;
                self.members();
                continue;
            }
            let Some(Reverse((_, _, what))) = self.queue.pop() else {
                break;
            };
            self.happen(what);
        }
        self.now_us = end_us;
    }

    fn happen(&mut self, what: Happens) {
        let (Happens::Arrives(at, ..) | Happens::Wakes(at)) = what;
        if !self.is_up(at) {
            return;
        }
        if self.is_paused(at) {
            // What comes meanwhile waits in its queues.
            let at_us = self.hosts[at].paused_until_us + self.dice.below(2000);
            self.put(at_us, what);
            return;
        }
        match what {
            Happens::Arrives(_, from, channel, bytes) => {
                let Ok(Message::Register(message)) = Message::decode(channel, &bytes) else {
                    panic!("no message of registers");
                };
                self.with(at, |machine, cx| machine.handle_message(cx, from, message));
            }
            Happens::Wakes(_) => {
                if self.hosts[at].wake_us > self.now_us {
                    return;
                }
                self.hosts[at].wake_us = u64::MAX;
                self.with(at, |machine, cx| machine.handle_timeout(cx));
            }
        }
    }

    pub fn ask(&mut self, at: usize, register: u8, wish: Wish) -> usize {
        let ask = self.asked.len();
        self.asked.push(Asked {
            register,
            host: at,
            at_us: self.now_us,
            wish: wish.clone(),
            end: None,
            founding: None,
        });
        let name = [register; 16];
        self.with(at, |machine, cx| machine.ask(cx, ask as u64, name, wish));
        ask
    }

    /// Asks, and waits for at most five seconds.
    pub fn ask_now(&mut self, at: usize, register: u8, wish: Wish) -> (u64, Outcome) {
        let ask = self.ask(at, register, wish);
        let start = self.now_us;
        for _ in 0..500 {
            if self.asked[ask].end.is_some() {
                break;
            }
            self.run(10);
        }
        let (end, outcome) = self.asked[ask].end.clone().expect("it ends within 5 s");
        ((end - start) / 1000, outcome)
    }

    /// All know one council, and all its guardians vote.
    pub fn is_whole(&self) -> bool {
        let up = || self.hosts.iter().filter_map(|host| host.machine.as_ref());
        let council = up().next().and_then(Registers::council);
        let seats = council.map_or(0, |council| council.seats.as_slice().len());
        council.is_some()
            && up().all(|machine| machine.council() == council)
            && up().filter(|machine| machine.is_guardian()).count() == seats
    }

    pub fn uptime_ms(&self, at: usize) -> u64 {
        self.hosts[at].uptime_ms(self.now_us)
    }

    pub fn set_neighbour(&mut self, at: usize, other: usize) {
        let seat = Seat {
            node: self.hosts[other].id,
            boots: self.hosts[other].boots,
        };
        self.with(at, |machine, _| machine.set_neighbour(Some(seat)));
    }

    pub fn cut(&mut self, a: usize, b: usize) {
        self.blocked.insert((a, b));
        self.blocked.insert((b, a));
    }

    pub fn machine(&self, at: usize) -> &Registers {
        self.hosts[at].machine.as_ref().unwrap()
    }

    pub fn guardians(&self, at: usize) -> Vec<usize> {
        let council = self.machine(at).council().unwrap();
        let seats = council.seats.as_slice().iter();
        let place = |seat: &Seat| self.hosts.iter().position(|host| host.id == seat.node);
        seats.filter_map(place).collect()
    }
}

pub fn value(number: u64) -> Value {
    Value::new(number.to_be_bytes().to_vec()).unwrap()
}

pub fn swap(expect: Option<u64>, to: u64) -> Wish {
    Wish::Swap {
        expect: expect.map(value),
        value: value(to),
    }
}
