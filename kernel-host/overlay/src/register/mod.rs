//! Compare-and-swap registers of a site, without a leader, and the leases that are kept in them.
//!
//! Does:      CASPaxos over the site's guardians: proposes, votes, hands over; keeps our lease and
//!            ends those of hosts that are gone.
//! Does not:  know addresses; keep anything that merges (`store`).
//! Bounds:    `GUESTS_MAX` other sites whose registers we guard; those of the parts.
//! Trusts:    nodes of a site for what its council is; disks to hold what was saved; clocks to
//!            run within one in a hundred of true time, also while the machine sleeps.
//! Start at:  `Registers::handle_message`.

mod op;
mod ops;
mod steps;
mod table;

use crate::context::{Context, Save};
use crate::guardians::{Choice, Founder, Hall, People, Presence};
use crate::lease::{self, Fences, Lease};
use crate::rules::Rules;
use ops::{Ops, Purpose};
use protocol::peer::register::{
    Council, Mark, Outcome, RegisterKey, RegisterMessage, Seat, Value, Wish,
};
use protocol::peer::{Channel, Message};
use protocol::{NodeId, SiteId};
use std::collections::{BTreeMap, VecDeque};
pub use steps::swap;
pub use table::Table;

/// Other sites whose registers we guard; beyond, we refuse to guard (`refused_guests`).
const GUESTS_MAX: usize = 16;
/// How often a guardian, or a node without a council, looks around.
const TICK_MS: u64 = 1000;
/// The same for others.
const IDLE_TICK_MS: u64 = 5000;
/// The same for one that has said goodbye.
const LEAVE_TICK_MS: u64 = 200;
/// How often two nodes compare which council they know.
const GREET_MS: u64 = 10_000;
/// How much longer the second guardian waits than the first before it changes the council.
const RANK_MS: u64 = 5000;

/// Where our disk says in which boot it was last written.
const KEPT_AT: &str = "register/kept";

/// Messages to ourselves are kept here: we may be a guardian.
#[derive(Debug, Default)]
pub struct Mail {
    to_self: VecDeque<RegisterMessage>,
}

impl Mail {
    pub fn post(&mut self, cx: &mut Context<'_>, to: NodeId, message: RegisterMessage) {
        if to == cx.me {
            self.to_self.push_back(message);
        } else {
            cx.send(to, Channel::Datagram, Message::Register(message));
        }
    }
}

/// What a wish on its way needs around it.
struct Floor<'a, 'b> {
    cx: &'a mut Context<'b>,
    mail: &'a mut Mail,
    council: Option<&'a Council>,
    mark: Mark,
    people: &'a People,
}

impl Floor<'_, '_> {
    fn post(&mut self, to: NodeId, message: RegisterMessage) {
        self.mail.post(self.cx, to, message);
    }
}

/// One node's registers.
#[derive(Debug)]
pub struct Registers {
    me: Seat,
    rules: Rules,
    started_ms: u64,
    kept_boots: Option<u32>,
    home: Hall,
    guests: BTreeMap<SiteId, Hall>,
    people: People,
    neighbour: Option<Seat>,
    /// Guardians that lost what they had promised, and since when.
    blank: Vec<(NodeId, u64)>,
    mail: Mail,
    ops: Ops,
    lease: Lease,
    fences: Fences,
    founder: Founder,
    proposed: Option<Council>,
    /// Since when we want another council.
    unhappy_ms: Option<u64>,
    was_seated: bool,
    is_leaving: bool,
    /// Another machine has our key: what we say could differ from what it says in our name.
    is_double: bool,
    /// What we promise is not kept: see `set_fenced`.
    is_fenced: bool,
    tick_ms: u64,
    greet_ms: u64,
    answers: VecDeque<(u64, Outcome)>,
    pub refused_guests: u64,
}

impl Registers {
    /// `boots` is this node's own number of boots; `saved`, what its disk held.
    pub fn new(
        cx: &mut Context<'_>,
        boots: u32,
        rules: Rules,
        saved: &[(String, Vec<u8>)],
    ) -> Self {
        let now_ms = cx.now_ms();
        let me = Seat { node: cx.me, boots };
        let kept = saved.iter().find(|(key, _)| key == KEPT_AT);
        let kept = kept.and_then(|(_, bytes)| Some(u32::from_le_bytes(bytes[..].try_into().ok()?)));
        let mut registers = Self {
            me,
            rules,
            started_ms: now_ms,
            kept_boots: kept,
            home: Hall::new(cx.site, me, kept, false),
            guests: BTreeMap::new(),
            people: People::default(),
            neighbour: None,
            blank: Vec::new(),
            mail: Mail::default(),
            ops: Ops::new(cx.dice, boots),
            lease: Lease::new(cx.me, rules, now_ms + cx.dice.below(TICK_MS)),
            fences: Fences::default(),
            founder: Founder::default(),
            proposed: None,
            unhappy_ms: None,
            was_seated: false,
            is_leaving: false,
            is_double: false,
            is_fenced: false,
            tick_ms: now_ms + cx.dice.below(TICK_MS),
            greet_ms: now_ms + cx.dice.below(GREET_MS),
            answers: VecDeque::new(),
            refused_guests: 0,
        };
        registers.restore(cx, saved);
        registers.save_boots(cx);
        registers
    }

    fn restore(&mut self, cx: &Context<'_>, saved: &[(String, Vec<u8>)]) {
        let now_ms = cx.now_ms();
        for (key, bytes) in saved {
            if key.starts_with(crate::guardians::SAVED_AT)
                && let Some(hall) = crate::guardians::read_saved(bytes)
            {
                self.hall(hall.site()).restore(hall, now_ms);
            } else if key.starts_with(table::SAVED_AT)
                && let Some(slot) = table::read_saved(bytes)
            {
                self.hall(slot.site).table.restore(now_ms, slot);
            } else if key == lease::SAVED_AT {
                self.lease.restore(bytes);
            }
        }
    }

    fn hall(&mut self, site: SiteId) -> &mut Hall {
        if site == self.home.site() {
            return &mut self.home;
        }
        let (me, kept, is_fenced) = (self.me, self.kept_boots, self.is_fenced);
        self.guests
            .entry(site)
            .or_insert_with(|| Hall::new(site, me, kept, is_fenced))
    }

    /// A node of our site has been heard of, or is gone.
    pub fn note(&mut self, cx: &mut Context<'_>, node: NodeId, boots: u32, presence: Presence) {
        let now_ms = cx.now_ms();
        if node == cx.me || !self.people.note(now_ms, node, boots, presence) {
            return;
        }
        match presence {
            Presence::There => self.fences.drop(node),
            Presence::Dead | Presence::Left if self.home.is_seated() && !self.is_double => {
                let rank = self.rank(cx.me) as u64;
                self.fences.put(node, now_ms + rank * TICK_MS);
            }
            Presence::Dead | Presence::Left => {}
        }
    }

    /// A node of another site that may guard ours while it has but two nodes.
    pub const fn set_neighbour(&mut self, neighbour: Option<Seat>) {
        self.neighbour = neighbour;
    }

    /// Compares and swaps, or reads, a register of our site. The answer comes from `poll_answer`.
    /// Refused while another machine has our key: our ballots would not be ours alone.
    pub fn ask(&mut self, cx: &mut Context<'_>, ask: u64, register: [u8; 16], wish: Wish) {
        if self.is_double {
            self.answers.push_back((ask, Outcome::Refused));
            return;
        }
        let about = (RegisterKey::Named(register), wish);
        self.start(cx, Purpose::Ask(ask), about, ops::END_MS);
        self.settle(cx);
    }

    pub fn poll_answer(&mut self) -> Option<(u64, Outcome)> {
        self.answers.pop_front()
    }

    /// We say goodbye: the other guardians, or the rest of the site, take our seat over at once.
    /// What they don't take before we go waits for us to come back.
    pub fn leave(&mut self, cx: &mut Context<'_>) {
        self.lease.stop(cx);
        self.is_leaving = true;
        if self.home.is_seated() && !self.is_double {
            self.improve(cx);
            self.settle(cx);
        }
    }

    /// Whether our site needs nothing of ours any more, so that a node that said goodbye may go.
    pub fn may_go(&self) -> bool {
        self.is_double || !self.home.is_concerned()
    }

    /// Another machine runs with our key: until a later boot, or for good if that one goes on,
    /// we vote for nothing, want nothing and hand nothing over.
    pub fn keep_out(&mut self, cx: &mut Context<'_>) {
        self.is_double = true;
        self.lease.stop(cx);
        self.ops.abandon();
        self.fences = Fences::default();
        self.settle(cx);
        self.confess(cx);
    }

    /// Whether it does so.
    pub const fn keeps_out(&self) -> bool {
        self.is_double
    }

    /// Whether this node guards nothing for now, because its disk does not keep what it promises.
    /// A fenced guardian does not answer, and tells the others that they need another in its place;
    /// it may still ask, and hold a lease by others' votes. What it promised stays promised.
    pub fn set_fenced(&mut self, cx: &mut Context<'_>, is_fenced: bool) {
        self.is_fenced = is_fenced;
        self.home.set_fenced(is_fenced);
        for hall in self.guests.values_mut() {
            hall.set_fenced(is_fenced);
        }
        self.tick_ms = cx.now_ms();
        if is_fenced {
            // Our own votes count no more: others must give theirs anew.
            self.ops.council_changed(cx.now_ms());
        }
    }

    /// Puts all that a disk should hold among the savings.
    pub fn save_all(&self, cx: &mut Context<'_>) {
        for hall in std::iter::once(&self.home).chain(self.guests.values()) {
            if hall.council().is_some() {
                hall.save(cx);
            }
            hall.table.save_all(cx);
        }
        self.lease.save(cx);
        self.save_boots(cx);
    }

    /// The disk knows this boot.
    fn save_boots(&self, cx: &mut Context<'_>) {
        cx.out.saves.push_back(Save {
            key: KEPT_AT.to_owned(),
            value: Some(self.me.boots.to_le_bytes().to_vec()),
        });
    }

    /// About how many bytes the halls' registers take.
    pub fn memory_bytes(&self) -> usize {
        let halls = std::iter::once(&self.home).chain(self.guests.values());
        let tables = halls.map(|hall| std::mem::size_of::<Hall>() + hall.table.memory_bytes());
        tables.sum::<usize>() + self.people.iter().count() * 64
    }

    pub const fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Our site's council, as far as we know.
    pub const fn council(&self) -> Option<&Council> {
        self.home.council()
    }

    /// Whether we have what was decided until this council, of our site or another.
    pub fn holds(&self, council: &Council) -> bool {
        let hall = if council.site == self.home.site() {
            Some(&self.home)
        } else {
            self.guests.get(&council.site)
        };
        hall.is_some_and(|hall| hall.holds(council))
    }

    /// Whether we guard our own site now.
    pub fn is_guardian(&self) -> bool {
        self.home.is_seated()
    }

    pub fn handle_message(&mut self, cx: &mut Context<'_>, from: NodeId, message: RegisterMessage) {
        self.lease.expire(cx);
        self.receive(cx, from, message);
        self.settle(cx);
    }

    pub fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        let now_ms = cx.now_ms();
        self.lease.expire(cx);
        self.home.handle_timeout(cx, &mut self.mail);
        for hall in self.guests.values_mut() {
            hall.handle_timeout(cx, &mut self.mail);
        }
        if self.ops.next_timeout().is_some_and(|at| at <= now_ms) {
            let (ops, mut floor) = self.floor(cx);
            ops.handle_timeout(&mut floor);
        }
        if self.tick_ms <= now_ms {
            self.tick(cx);
        }
        self.settle(cx);
    }

    pub fn next_timeout(&self) -> Option<u64> {
        let guests = self.guests.values().filter_map(Hall::next_timeout);
        [
            Some(self.tick_ms),
            self.ops.next_timeout(),
            self.home.next_timeout(),
            self.lease.next_timeout(),
            self.fences.next_timeout(),
        ]
        .into_iter()
        .flatten()
        .chain(guests)
        .min()
    }

    fn floor<'a, 'b>(&'a mut self, cx: &'a mut Context<'b>) -> (&'a mut Ops, Floor<'a, 'b>) {
        let floor = Floor {
            cx,
            mail: &mut self.mail,
            council: self.home.council(),
            mark: self.home.mark(),
            people: &self.people,
        };
        (&mut self.ops, floor)
    }

    fn start(
        &mut self,
        cx: &mut Context<'_>,
        purpose: Purpose,
        about: (RegisterKey, Wish),
        ms: u64,
    ) {
        let (ops, mut floor) = self.floor(cx);
        ops.start(&mut floor, purpose, about, (None, ms));
    }

    /// Our place among the guardians that are there.
    fn rank(&self, node: NodeId) -> usize {
        let seats = self
            .council()
            .map_or(&[][..], |council| council.seats.as_slice());
        let is_there = |one: NodeId| {
            let person = self.people.find(one);
            person.is_some_and(|person| person.presence == Presence::There)
        };
        let before = seats.iter().take_while(|seat| seat.node != node);
        before.filter(|seat| is_there(seat.node)).count()
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        let now_ms = cx.now_ms();
        if self.is_double {
            self.tick_ms = now_ms + cx.dice.around(TICK_MS);
            self.confess(cx);
            return;
        }
        let is_seated = self.home.is_seated();
        let is_lost = self.is_lost(cx) && !self.is_leaving;
        let is_busy = is_seated || is_lost || self.home.is_useless() || self.is_leaving;
        let period = if is_busy { TICK_MS } else { IDLE_TICK_MS };
        let period = if self.is_leaving {
            LEAVE_TICK_MS
        } else {
            period
        };
        self.tick_ms = now_ms + cx.dice.around(period);
        if is_lost && !self.is_fenced {
            self.seek(cx);
        } else {
            self.founder.rest();
            self.greet(cx);
        }
        if is_seated && !self.was_seated {
            self.fence_all(now_ms);
        }
        self.was_seated = is_seated;
        if is_seated {
            self.improve(cx);
        }
        self.confess(cx);
    }

    /// Whoever is gone when we become a guardian may still have a lease.
    fn fence_all(&mut self, now_ms: u64) {
        let gone = self
            .people
            .iter()
            .filter(|(_, one)| one.presence != Presence::There);
        for (node, _) in gone {
            self.fences.put(*node, now_ms + RANK_MS);
        }
    }

    /// No council is known, or most of its guardians are proved to be gone for good, or were so
    /// before they had handed over.
    fn is_lost(&mut self, cx: &Context<'_>) -> bool {
        let is_stranded = self.home.is_stranded(cx.now_ms(), |node| is_gone(cx, node));
        is_stranded
            || self.council().is_none_or(|council| {
                let seats = council.seats.as_slice().iter();
                let living = seats.filter(|seat| !is_gone(cx, seat.node)).count();
                living < council.majority()
            })
    }

    fn seek(&mut self, cx: &mut Context<'_>) {
        let mark = self.council().map(|_| self.home.mark());
        for node in self.founder.ask(cx.now_ms(), &self.people) {
            self.mail.post(cx, node, RegisterMessage::Greet { mark });
        }
        if self.founder.is_time(cx.now_ms(), cx.me, &self.people) {
            self.found(cx);
        }
    }

    /// Compares councils with a random node.
    fn greet(&mut self, cx: &mut Context<'_>) {
        let there = self.people.there().count() as u64;
        if self.greet_ms > cx.now_ms() || there == 0 {
            return;
        }
        self.greet_ms = cx.now_ms() + cx.dice.around(GREET_MS);
        let at = usize::try_from(cx.dice.below(there)).unwrap_or(0);
        let mark = self.council().map(|_| self.home.mark());
        if let Some(node) = self.people.there().nth(at) {
            self.mail.post(cx, node, RegisterMessage::Greet { mark });
        }
    }

    /// Tells the other guardians that we can't serve with them.
    fn confess(&mut self, cx: &mut Context<'_>) {
        for hall in std::iter::once(&self.home).chain(self.guests.values()) {
            let is_ours =
                |council: &&Council| hall.is_useless() || self.is_double && council.has(cx.me);
            let Some(council) = hall.council().filter(is_ours) else {
                continue;
            };
            for seat in council.seats.as_slice() {
                if seat.node != cx.me {
                    let mark = hall.mark();
                    self.mail
                        .post(cx, seat.node, RegisterMessage::Blank { mark });
                }
            }
        }
    }

    /// Proposes the council that we want, if the present one is not it.
    fn improve(&mut self, cx: &mut Context<'_>) {
        let now_ms = cx.now_ms();
        let Some(council) = self.home.council() else {
            return;
        };
        let choice = Choice {
            now_ms,
            started_ms: self.started_ms,
            me: self.me,
            is_leaving: self.is_leaving,
            people: &self.people,
            blank: &self.blank,
            neighbour: self.neighbour,
        };
        let Some(seats) = choice.next(council, &|node| is_gone(cx, node)) else {
            self.unhappy_ms = None;
            return;
        };
        let since_ms = *self.unhappy_ms.get_or_insert(now_ms);
        let wait_ms = match self.is_leaving {
            true => 0,
            false => self.rank(cx.me) as u64 * RANK_MS,
        };
        if now_ms < since_ms + wait_ms || self.ops.has(Purpose::Council) {
            return;
        }
        let next = Council {
            generation: council.generation + 1,
            before: protocol::peer::admission::Few::new(
                council.seats.as_slice().iter().map(|seat| seat.node),
            ),
            seats,
            ..council.clone()
        };
        let Some(value) = Value::new(next.encode()) else {
            return;
        };
        self.proposed = Some(next);
        let wish = Wish::Swap {
            expect: None,
            value,
        };
        self.start(
            cx,
            Purpose::Council,
            (RegisterKey::Council, wish),
            ops::END_MS,
        );
    }
}

/// Whether a node is proved to be gone for good: it can't have voted in secret.
fn is_gone(cx: &Context<'_>, node: NodeId) -> bool {
    cx.keyring.is_replaced(node) || cx.keyring.is_revoked(node)
}
