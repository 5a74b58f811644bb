//! Overloads, solved by the nodes nearby: nobody sees the whole cluster.
//!
//! Does:      on an overload, or shortly before one, sends a group from near neighbour to near
//!            neighbour until its members can solve it (as DVMS does); each member holds room
//!            for it meanwhile. A group that ran out of neighbours is blocked; two blocked
//!            groups that meet become one.
//! Does not:  move VMs: it wishes for moves, and is told of their ends.
//! Bounds:    `BOOKINGS_MAX` groups at a node at once, `NEAR_MAX` neighbours; a group's own
//!            bounds stand in `partition`.
//! Trusts:    neighbours to keep what they hold; what is not heard of again expires.
//! Start at:  `Overloads::handle_load`, `Overloads::handle_message`.
//!
//! What differs from DVMS: a booked node does not turn others away. It holds for each group only
//! the room that the group may need, and has the rest for the next one; that is what ends the
//! waits of 15 s that DVMS shows when overloads overlap. And it acts from `start_permille` on.

mod partition;

pub use partition::{ASKED_MAX, MEMBERS_MAX, MERGED_MAX, Member, Move, Partition, PlanId, VmLoad};

use protocol::{NodeId, VmId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Groups that a node holds room for at once. At the limit it passes groups on unread.
pub const BOOKINGS_MAX: usize = 4;
/// Near neighbours that are asked.
pub const NEAR_MAX: usize = 48;
/// A group that nothing was heard of for so long is gone.
const HOLD_MS: u64 = 4_000;
/// A blocked group waits so long to meet another; then the overload starts anew.
const BLOCKED_MS: u64 = 1_000;
/// A move that did not end within this failed.
const MOVE_MS: u64 = 120_000;

/// When to act, and how full others may be filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A node acts above this part of its capacity.
    pub start_permille: u32,
    /// Targets are filled, and sources relieved, to this part.
    pub fill_permille: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            start_permille: 970,
            fill_permille: 960,
        }
    }
}

/// What nodes tell each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// A group asks to be joined.
    Grow(Partition),
    /// A group found nobody else: back to its initiator.
    Blocked(Partition),
    /// The group is solved: sources move, targets expect.
    Apply { ids: Vec<PlanId>, moves: Vec<Move> },
    /// The group is over: what was held for it is free.
    Release { ids: Vec<PlanId> },
}

/// What the caller must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    Send { to: NodeId, message: Message },
    Move { vm: VmId, to: NodeId },
}

#[derive(Debug, Clone)]
struct Booking {
    id: PlanId,
    room: u32,
    until_ms: u64,
}

#[derive(Debug, Clone, Copy)]
struct Transit {
    demand: u32,
    until_ms: u64,
}

#[derive(Debug, Clone)]
struct Attempt {
    id: PlanId,
    until_ms: u64,
    /// It came back: it waits here for another blocked one.
    blocked: Option<Partition>,
}

/// Counted behaviour at the bounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub started: u64,
    pub solved: u64,
    pub blocked: u64,
    pub merged: u64,
    /// Passed on unread, as `BOOKINGS_MAX` groups are booked already.
    pub passed_on: u64,
    pub expired: u64,
    /// Members of the solved groups, for the mean.
    pub members: u64,
}

/// One node's part in solving overloads.
#[derive(Debug)]
pub struct Overloads {
    me: NodeId,
    near: Vec<NodeId>,
    limits: Limits,
    capacity: u32,
    vms: Vec<VmLoad>,
    leaving: BTreeMap<VmId, Transit>,
    arriving: BTreeMap<VmId, Transit>,
    bookings: Vec<Booking>,
    attempt: Option<Attempt>,
    attempts: u32,
    outputs: VecDeque<Output>,
    pub counters: Counters,
}

impl Overloads {
    /// `near`: other nodes, the nearest first.
    #[must_use]
    pub fn new(me: NodeId, near: &[NodeId], limits: Limits) -> Self {
        let others = near.iter().filter(|node| **node != me);
        Self {
            me,
            near: others.take(NEAR_MAX).copied().collect(),
            limits,
            capacity: 0,
            vms: Vec::new(),
            leaving: BTreeMap::new(),
            arriving: BTreeMap::new(),
            bookings: Vec::new(),
            attempt: None,
            attempts: 0,
            outputs: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// What this node's VMs use now.
    pub fn handle_load(&mut self, now_ms: u64, capacity: u32, vms: &[VmLoad]) {
        self.capacity = capacity;
        self.vms = vms.to_vec();
        self.arriving
            .retain(|vm, _| !vms.iter().any(|one| one.vm == *vm));
        self.leaving
            .retain(|vm, _| vms.iter().any(|one| one.vm == *vm));
        self.expire(now_ms);
        self.start_if_needed(now_ms);
    }

    /// A move from or to this node ended, well or not.
    pub fn handle_moved(&mut self, vm: VmId) {
        self.leaving.remove(&vm);
        self.arriving.remove(&vm);
    }

    pub fn handle_message(&mut self, now_ms: u64, message: Message) {
        self.expire(now_ms);
        match message {
            Message::Grow(partition) => self.join(now_ms, partition),
            Message::Blocked(partition) => self.block(now_ms, partition),
            Message::Apply { ids, moves } => self.apply(now_ms, &ids, &moves),
            Message::Release { ids } => self.release(&ids),
        }
    }

    pub fn handle_timeout(&mut self, now_ms: u64) {
        self.expire(now_ms);
        self.start_if_needed(now_ms);
    }

    /// When something held here expires.
    #[must_use]
    pub fn next_timeout(&self) -> Option<u64> {
        let bookings = self.bookings.iter().map(|booking| booking.until_ms);
        let transits = self.leaving.values().chain(self.arriving.values());
        let attempt = self.attempt.iter().map(|attempt| attempt.until_ms);
        let transits = transits.map(|transit| transit.until_ms);
        bookings.chain(transits).chain(attempt).min()
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn of_capacity(&self, permille: u32) -> u32 {
        let part = u64::from(self.capacity) * u64::from(permille) / 1000;
        u32::try_from(part).unwrap_or(u32::MAX)
    }

    /// What will run here once every move has ended.
    fn expected(&self) -> u32 {
        let stays = |vm: &&VmLoad| !self.leaving.contains_key(&vm.vm);
        let staying = self.vms.iter().filter(stays).map(|vm| vm.demand);
        let arriving = self.arriving.values().map(|transit| transit.demand);
        staying.chain(arriving).fold(0, u32::saturating_add)
    }

    fn excess(&self) -> u32 {
        let expected = self.expected();
        match expected > self.of_capacity(self.limits.start_permille) {
            true => expected.saturating_sub(self.of_capacity(self.limits.fill_permille)),
            false => 0,
        }
    }

    fn room(&self) -> u32 {
        let held = self.bookings.iter().map(|booking| booking.room);
        let used = held.fold(self.expected(), u32::saturating_add);
        self.of_capacity(self.limits.fill_permille)
            .saturating_sub(used)
    }

    fn start_if_needed(&mut self, now_ms: u64) {
        if self.attempt.is_some() || self.excess() == 0 {
            return;
        }
        self.attempts += 1;
        self.counters.started += 1;
        let id = PlanId {
            initiator: self.me,
            attempt: self.attempts,
        };
        let until_ms = now_ms + HOLD_MS;
        self.attempt = Some(Attempt {
            id,
            until_ms,
            blocked: None,
        });
        let partition = Partition {
            ids: vec![id],
            members: vec![self.as_member(0)],
            asked: vec![self.me],
        };
        self.forward(now_ms, partition);
    }

    fn as_member(&self, room: u32) -> Member {
        let excess = self.excess();
        let may_leave = |vm: &&VmLoad| excess > 0 && !self.leaving.contains_key(&vm.vm);
        Member {
            node: self.me,
            room,
            excess,
            vms: self.vms.iter().filter(may_leave).copied().collect(),
        }
    }

    /// A group came: joins it, solves it or sends it on.
    fn join(&mut self, now_ms: u64, mut partition: Partition) {
        let Some(id) = partition.ids.first().copied() else {
            return;
        };
        if partition.members.len() > MEMBERS_MAX || partition.asked.len() > ASKED_MAX {
            return; // no node of ours builds one
        }
        if !partition.asked.contains(&self.me) {
            partition.asked.push(self.me);
        }
        self.merge_own(&mut partition);
        let is_member = partition
            .members
            .iter()
            .any(|member| member.node == self.me);
        let room = self.room().min(partition.need());
        let is_busy = self.attempt.is_some() || self.excess() > 0;
        if self.bookings.len() >= BOOKINGS_MAX {
            self.counters.passed_on += 1;
        } else if !is_member && !is_busy && room > 0 {
            let until_ms = now_ms + HOLD_MS;
            self.bookings.push(Booking { id, room, until_ms });
            partition.members.push(self.as_member(room));
        }
        match partition.solve() {
            Some(moves) => self.solved(now_ms, &partition, &moves),
            None => self.forward(now_ms, partition),
        }
    }

    /// The rule for merging: a group that meets a blocked one at its initiator takes it in.
    fn merge_own(&mut self, partition: &mut Partition) {
        let own = self.attempt.as_mut();
        let may = partition.ids.len() < MERGED_MAX;
        if let Some(blocked) = own.and_then(|attempt| attempt.blocked.take_if(|_| may)) {
            self.counters.merged += 1;
            partition.merge(blocked);
        }
    }

    fn solved(&mut self, now_ms: u64, partition: &Partition, moves: &[Move]) {
        self.counters.solved += 1;
        self.counters.members += u64::try_from(partition.members.len()).unwrap_or(0);
        let ids = &partition.ids;
        for member in &partition.members {
            let theirs = |step: &&Move| step.from == member.node || step.to == member.node;
            let moves: Vec<Move> = moves.iter().filter(theirs).copied().collect();
            let ids = ids.clone();
            let message = match moves.is_empty() {
                true => Message::Release { ids },
                false => Message::Apply { ids, moves },
            };
            self.tell(now_ms, member.node, message);
        }
    }

    fn tell(&mut self, now_ms: u64, to: NodeId, message: Message) {
        match message {
            Message::Apply { ids, moves } if to == self.me => self.apply(now_ms, &ids, &moves),
            Message::Release { ids } if to == self.me => self.release(&ids),
            Message::Blocked(partition) if to == self.me => self.block(now_ms, partition),
            message => self.outputs.push_back(Output::Send { to, message }),
        }
    }

    /// To the nearest node that was not asked yet, or back to the initiator.
    fn forward(&mut self, now_ms: u64, partition: Partition) {
        let next = self
            .near
            .iter()
            .find(|node| !partition.asked.contains(node));
        match next.copied().filter(|_| !partition.is_full()) {
            Some(to) => self.tell(now_ms, to, Message::Grow(partition)),
            None => {
                let initiator = partition.ids.first().map(|id| id.initiator);
                if let Some(to) = initiator {
                    self.tell(now_ms, to, Message::Blocked(partition));
                }
            }
        }
    }

    fn block(&mut self, now_ms: u64, partition: Partition) {
        self.counters.blocked += 1;
        let is_own = |attempt: &&mut Attempt| partition.ids.first() == Some(&attempt.id);
        if let Some(attempt) = self.attempt.as_mut().filter(is_own) {
            attempt.until_ms = now_ms + BLOCKED_MS;
            attempt.blocked = Some(partition);
        } else {
            self.dissolve(now_ms, &partition);
        }
    }

    fn dissolve(&mut self, now_ms: u64, partition: &Partition) {
        for member in &partition.members {
            let ids = partition.ids.clone();
            self.tell(now_ms, member.node, Message::Release { ids });
        }
    }

    /// Own part of a plan. A VM that is gone or leaves already is left out.
    fn apply(&mut self, now_ms: u64, ids: &[PlanId], moves: &[Move]) {
        self.release(ids);
        let until_ms = now_ms + MOVE_MS;
        for step in moves {
            let transit = Transit {
                demand: step.demand,
                until_ms,
            };
            let is_here = self.vms.iter().any(|vm| vm.vm == step.vm);
            if step.from == self.me && is_here && !self.leaving.contains_key(&step.vm) {
                self.leaving.insert(step.vm, transit);
                let (vm, to) = (step.vm, step.to);
                self.outputs.push_back(Output::Move { vm, to });
            } else if step.to == self.me && !is_here {
                self.arriving.insert(step.vm, transit);
            }
        }
    }

    fn release(&mut self, ids: &[PlanId]) {
        self.bookings.retain(|booking| !ids.contains(&booking.id));
        if self
            .attempt
            .as_ref()
            .is_some_and(|own| ids.contains(&own.id))
        {
            self.attempt = None;
        }
    }

    fn expire(&mut self, now_ms: u64) {
        let before = self.bookings.len() + self.leaving.len() + self.arriving.len();
        self.bookings.retain(|booking| booking.until_ms > now_ms);
        self.leaving.retain(|_, transit| transit.until_ms > now_ms);
        self.arriving.retain(|_, transit| transit.until_ms > now_ms);
        let after = self.bookings.len() + self.leaving.len() + self.arriving.len();
        self.counters.expired += u64::try_from(before - after).unwrap_or(0);
        if let Some(attempt) = self.attempt.take_if(|attempt| attempt.until_ms <= now_ms)
            && let Some(blocked) = attempt.blocked
        {
            self.dissolve(now_ms, &blocked); // it came back and met nobody
        }
    }
}
