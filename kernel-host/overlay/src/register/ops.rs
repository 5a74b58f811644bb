//! Wishes on their way: the proposer's side of a register.
//!
//! Does:      asks most guardians, has them accept, tries again behind dice, hands a wish to a
//!            guardian that may reach more of them; every wish ends in time.
//! Does not:  vote; know how guardians are chosen.
//! Bounds:    `OPS_MAX` wishes at once, beyond which they are refused; `END_MS` for each.
//! Trusts:    guardians for their votes.
//! Start at:  `Ops::start`, then `Ops::promised`.

use super::Floor;
use super::op::{Op, Phase, View};
use netcore::dice::Dice;
use protocol::NodeId;
use protocol::peer::register::{
    Accepted, Ballot, Mark, Outcome, RegisterKey, RegisterMessage, Tag, Wish, Written,
};
use std::collections::{BTreeMap, VecDeque};

/// Wishes at once, those of others included.
pub const OPS_MAX: usize = 256;
/// A wish ends within this.
pub const END_MS: u64 = 4500;
/// Who has not answered is asked again after this.
pub const RESEND_MS: u64 = 250;
/// Without most guardians for this long, somebody else is asked to try.
const REACH_MS: u64 = 800;
/// How long that one has.
const FORWARD_MS: u64 = 1600;
/// Without any council for this long a wish is refused.
const NO_COUNCIL_MS: u64 = 3000;

/// On whose behalf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Somebody asked us.
    Ask(u64),
    /// Our own lease.
    Lease,
    /// The lease of a host that is gone.
    Fence(NodeId),
    /// The next council.
    Council,
    /// Another node can't reach most guardians.
    For { node: NodeId, number: u64 },
}

/// A wish that ended.
#[derive(Debug)]
pub struct Ended {
    pub purpose: Purpose,
    pub outcome: Outcome,
}

/// What most guardians have promised us beforehand.
#[derive(Debug)]
struct Held {
    key: RegisterKey,
    mark: Mark,
    ballot: Ballot,
    written: Written,
    /// Those who answered first.
    quick: Vec<NodeId>,
}

/// All wishes on their way.
#[derive(Debug)]
pub struct Ops {
    ops: BTreeMap<u64, Op>,
    next_id: u64,
    counter: u32,
    boots: u32,
    held: Option<Held>,
    pub ended: VecDeque<Ended>,
    pub refused: u64,
}

impl Ops {
    pub fn new(dice: &mut Dice, boots: u32) -> Self {
        // Tags must differ from those of our earlier boots.
        Self {
            ops: BTreeMap::new(),
            next_id: dice.next_u64() >> 24,
            counter: 0,
            boots,
            held: None,
            ended: VecDeque::new(),
            refused: 0,
        }
    }

    pub fn next_timeout(&self) -> Option<u64> {
        self.ops.values().map(|op| op.wake_ms.min(op.end_ms)).min()
    }

    pub fn has(&self, purpose: Purpose) -> bool {
        self.ops.values().any(|op| op.purpose == purpose)
    }

    /// A wish of ours or of another node. It ends within `ms`, in `ended`.
    pub fn start(
        &mut self,
        floor: &mut Floor<'_, '_>,
        purpose: Purpose,
        (key, wish): (RegisterKey, Wish),
        (tag, ms): (Option<Tag>, u64),
    ) {
        let outcome = Outcome::Refused;
        if self.ops.len() >= OPS_MAX {
            self.refused += 1;
            self.ended.push_back(Ended { purpose, outcome });
            return;
        }
        let id = self.next_id;
        self.next_id += 1;
        let now_ms = floor.cx.now_ms();
        let by = floor.cx.me;
        let op = Op {
            attempt: 0,
            purpose,
            key,
            wish,
            tag: tag.unwrap_or(Tag { by, number: id }),
            started_ms: now_ms,
            end_ms: now_ms + ms.min(END_MS),
            phase: Phase::Resting,
            phase_ms: now_ms,
            wake_ms: now_ms,
            ballot: None,
            next: None,
            promises: Vec::new(),
            accepts: Vec::new(),
            late: Vec::new(),
            writing: None,
            base: None,
            is_risked: false,
            asked: Vec::new(),
        };
        self.ops.insert(id, op);
        self.attempt(floor, id);
    }

    /// The guardians have changed: everything under way is tried anew.
    pub fn council_changed(&mut self, now_ms: u64) {
        for op in self.ops.values_mut() {
            if op.phase != Phase::Forwarded {
                op.rest(now_ms, 0);
            }
        }
    }

    /// Nothing that is under way may go on: what was sent out may still come true.
    pub fn abandon(&mut self) {
        self.held = None;
        for op in std::mem::take(&mut self.ops).into_values() {
            let is_out = op.is_risked || op.phase == Phase::Forwarded;
            let outcome = match is_out && matches!(op.wish, Wish::Swap { .. }) {
                true => Outcome::Unsure,
                false => Outcome::Refused,
            };
            let purpose = op.purpose;
            self.ended.push_back(Ended { purpose, outcome });
        }
    }

    pub fn handle_timeout(&mut self, floor: &mut Floor<'_, '_>) {
        let now_ms = floor.cx.now_ms();
        let is_due = |op: &Op| op.wake_ms <= now_ms || op.end_ms <= now_ms;
        let due: Vec<u64> = self
            .ops
            .iter()
            .filter(|(_, op)| is_due(op))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.wake(floor, id);
        }
    }

    fn wake(&mut self, floor: &mut Floor<'_, '_>, id: u64) {
        let now_ms = floor.cx.now_ms();
        let Some(op) = self.ops.get_mut(&id) else {
            return;
        };
        let is_swap = matches!(op.wish, Wish::Swap { .. });
        let is_unclear = op.is_risked || (op.phase == Phase::Forwarded && is_swap);
        if now_ms >= op.end_ms {
            let unclear = if is_unclear {
                Outcome::Unsure
            } else {
                Outcome::Refused
            };
            self.end(id, unclear);
            return;
        }
        let is_slow = now_ms >= op.phase_ms + REACH_MS;
        match op.phase {
            Phase::Resting => self.attempt(floor, id),
            Phase::Forwarded if is_swap => op.wake_ms = op.end_ms,
            Phase::Forwarded => self.reach(floor, id),
            // Our value is out: only those who have it or may get it can tell.
            Phase::Accepting(_) if op.is_risked && is_slow && !op.late.is_empty() => {
                self.back_off(floor, id);
            }
            _ if is_slow && !op.late.is_empty() => self.back_off(floor, id),
            _ if is_slow && !op.is_risked => self.reach(floor, id),
            _ => {
                op.wake_ms = now_ms + RESEND_MS;
                op.send(floor, id, None);
            }
        }
    }

    fn end(&mut self, id: u64, outcome: Outcome) {
        if let Some(op) = self.ops.remove(&id) {
            let purpose = op.purpose;
            self.ended.push_back(Ended { purpose, outcome });
        }
    }

    fn ballot(&mut self, floor: &Floor<'_, '_>, generation: u32) -> Ballot {
        self.counter = self.counter.saturating_add(1);
        Ballot {
            generation,
            counter: self.counter,
            node: floor.cx.me,
            boots: self.boots,
        }
    }

    fn attempt(&mut self, floor: &mut Floor<'_, '_>, id: u64) {
        let now_ms = floor.cx.now_ms();
        let council = floor.council.map(|council| council.generation);
        let Some((generation, op)) = council.zip(self.ops.get_mut(&id)) else {
            self.wait_for_council(id, now_ms);
            return;
        };
        op.begin(now_ms);
        let is_look = op.wish == Wish::Look && op.attempt == 1;
        if is_look {
            op.phase = Phase::Looking;
            op.send(floor, id, None);
            return;
        }
        if let Some(held) = self.take_held(floor, id) {
            self.go_on(floor, id, held);
            return;
        }
        let ballot = self.ballot(floor, generation);
        if let Some(op) = self.ops.get_mut(&id) {
            op.ballot = Some(ballot);
            op.phase = Phase::Preparing;
            op.send(floor, id, None);
        }
    }

    fn wait_for_council(&mut self, id: u64, now_ms: u64) {
        let Some(op) = self.ops.get_mut(&id) else {
            return;
        };
        op.wake_ms = now_ms + RESEND_MS;
        if now_ms >= op.started_ms + NO_COUNCIL_MS {
            let outcome = if op.is_risked {
                Outcome::Unsure
            } else {
                Outcome::Refused
            };
            self.end(id, outcome);
        }
    }

    /// What was promised beforehand, if it serves this wish.
    fn take_held(&mut self, floor: &Floor<'_, '_>, id: u64) -> Option<Held> {
        let op = self.ops.get(&id)?;
        let held = self.held.as_ref()?;
        let Wish::Swap { expect, .. } = &op.wish else {
            return None;
        };
        let is_it = held.key == op.key
            && held.mark == floor.mark
            && !op.is_risked
            && expect.as_ref() == Some(&held.written.value);
        if held.key == op.key {
            self.held.take().filter(|_| is_it)
        } else {
            None
        }
    }

    fn go_on(&mut self, floor: &mut Floor<'_, '_>, id: u64, held: Held) {
        let next = self.ballot(floor, held.ballot.generation);
        let Some(op) = self.ops.get_mut(&id) else {
            return;
        };
        op.ballot = Some(held.ballot);
        op.next = Some(next);
        op.base = Some(held.written.tag);
        op.write_own();
        op.send(floor, id, Some(&held.quick));
    }

    fn back_off(&mut self, floor: &mut Floor<'_, '_>, id: u64) {
        let now_ms = floor.cx.now_ms();
        if let Some(op) = self.ops.get_mut(&id) {
            let ms = floor.cx.dice.around(15 << op.attempt.min(6)) / 2;
            op.rest(now_ms, 5 + floor.cx.dice.below(ms));
        }
    }

    /// We can't reach most guardians: perhaps one of those whom we reach can.
    fn reach(&mut self, floor: &mut Floor<'_, '_>, id: u64) {
        let now_ms = floor.cx.now_ms();
        let Some(op) = self.ops.get_mut(&id) else {
            return;
        };
        if matches!(op.purpose, Purpose::For { .. }) {
            // Whoever asked us must hear in time that nothing has happened.
            let outcome = if op.is_risked {
                Outcome::Unsure
            } else {
                Outcome::Refused
            };
            self.end(id, outcome);
            return;
        }
        let me = floor.cx.me;
        let heard = op.promises.iter().map(|(node, _)| *node);
        let heard = heard.chain(op.late.iter().copied());
        let mut able: Vec<NodeId> = heard
            .filter(|node| *node != me && !op.asked.contains(node))
            .collect();
        able.sort_unstable();
        able.dedup();
        if able.is_empty() {
            able = floor.people.there().collect();
            able.retain(|node| !op.asked.contains(node));
        }
        if able.is_empty() || op.is_risked {
            op.asked.clear();
            self.back_off(floor, id);
            return;
        }
        let pick = usize::try_from(floor.cx.dice.below(able.len() as u64)).unwrap_or(0);
        let to = able[pick];
        op.asked.push(to);
        op.attempt = op.attempt.wrapping_add(1);
        op.phase = Phase::Forwarded;
        op.phase_ms = now_ms;
        op.wake_ms = now_ms + FORWARD_MS;
        let left_ms = op.end_ms.saturating_sub(now_ms + RESEND_MS);
        let ms = left_ms.min(FORWARD_MS - RESEND_MS);
        let message = RegisterMessage::Forward {
            mark: floor.mark,
            number: op.number(id),
            tag: op.tag,
            key: op.key,
            wish: op.wish.clone(),
            ms: u32::try_from(ms).unwrap_or(0),
        };
        floor.post(to, message);
    }

    /// The one that we asked tells how it ended.
    pub fn forwarded(&mut self, floor: &mut Floor<'_, '_>, number: u64, outcome: Outcome) {
        let (id, attempt) = (number >> 8, number.to_le_bytes()[0]);
        let Some(op) = self.ops.get_mut(&id) else {
            return;
        };
        if op.phase != Phase::Forwarded || op.attempt != attempt {
            return;
        }
        if outcome == Outcome::Refused {
            op.rest(floor.cx.now_ms(), 0);
            op.promises.clear();
            self.reach(floor, id);
        } else {
            self.end(id, outcome);
        }
    }

    fn at(&mut self, number: u64) -> Option<(u64, &mut Op)> {
        let (id, attempt) = (number >> 8, number.to_le_bytes()[0]);
        let op = self.ops.get_mut(&id)?;
        (op.attempt == attempt).then_some((id, op))
    }

    pub fn promised(
        &mut self,
        floor: &mut Floor<'_, '_>,
        from: NodeId,
        number: u64,
        accepted: Option<Accepted>,
    ) {
        let Some(council) = floor.council.filter(|council| council.has(from)) else {
            return;
        };
        let majority = council.majority();
        let Some((id, op)) = self.at(number) else {
            return;
        };
        let is_open = matches!(op.phase, Phase::Looking | Phase::Preparing);
        if !is_open || op.promises.iter().any(|(node, _)| *node == from) {
            return;
        }
        op.promises.push((from, accepted));
        if op.promises.len() < majority {
            return;
        }
        let view = op.view();
        if op.phase == Phase::Preparing {
            self.decide(floor, id, view);
        } else if view.is_settled {
            self.end(id, view.outcome());
        } else {
            self.attempt(floor, id);
        }
    }

    /// Most have promised: what we do depends on what they hold.
    fn decide(&mut self, floor: &mut Floor<'_, '_>, id: u64, view: View) {
        let Some(op) = self.ops.get_mut(&id) else {
            return;
        };
        let tag = view.written.as_ref().map(|written| written.tag);
        let before = view.written.as_ref().and_then(|written| written.follows);
        let value = view.written.as_ref().map(|written| &written.value);
        let then = match &op.wish {
            Wish::Look => Some(view.outcome()),
            Wish::Swap { .. } if tag == Some(op.tag) => Some(Outcome::Done),
            Wish::Swap { .. } if op.is_risked && tag != op.base && before != op.base => {
                Some(Outcome::Unsure)
            }
            // Another write has taken the place that ours wanted.
            Wish::Swap { .. } if op.is_risked && tag != op.base => {
                Some(Outcome::Conflict(value.cloned()))
            }
            Wish::Swap { expect, .. } if expect.as_ref() == value => None,
            Wish::Swap { .. } => Some(Outcome::Conflict(value.cloned())),
        };
        match then {
            None => {
                op.base = tag;
                op.write_own();
                let generation = op.ballot.map_or(0, |ballot| ballot.generation);
                if op.purpose == Purpose::Lease {
                    let next = self.ballot(floor, generation);
                    if let Some(op) = self.ops.get_mut(&id) {
                        op.next = Some(next);
                    }
                }
            }
            Some(then) if view.is_settled => {
                self.end(id, then);
                return;
            }
            // What only some have must stand before anybody is told of it.
            Some(then) => {
                op.writing = view.written;
                op.phase = Phase::Accepting(Some(then));
            }
        }
        if let Some(op) = self.ops.get_mut(&id) {
            op.phase_ms = floor.cx.now_ms();
            op.wake_ms = op.phase_ms + RESEND_MS;
            op.late.clear();
            op.send(floor, id, None);
        }
    }

    pub fn accepted(&mut self, floor: &Floor<'_, '_>, from: NodeId, number: u64) {
        let Some(council) = floor.council.filter(|council| council.has(from)) else {
            return;
        };
        let (majority, mark) = (council.majority(), floor.mark);
        let Some((id, op)) = self.at(number) else {
            return;
        };
        let Phase::Accepting(then) = op.phase.clone() else {
            return;
        };
        if op.accepts.contains(&from) {
            return;
        }
        op.accepts.push(from);
        if op.accepts.len() < majority {
            return;
        }
        let held = op
            .next
            .zip(op.writing.clone())
            .map(|(ballot, written)| Held {
                key: op.key,
                mark,
                ballot,
                written,
                quick: op.accepts.clone(),
            });
        if held.is_some() && then.is_none() {
            self.held = held;
        }
        self.end(id, then.unwrap_or(Outcome::Done));
    }

    pub fn late(&mut self, floor: &mut Floor<'_, '_>, from: NodeId, number: u64, than: Ballot) {
        self.counter = self.counter.max(than.counter);
        let Some(council) = floor.council.filter(|council| council.has(from)) else {
            return;
        };
        let spare = council.seats.as_slice().len() - council.majority();
        let Some((id, op)) = self.at(number) else {
            return;
        };
        if !matches!(op.phase, Phase::Preparing | Phase::Accepting(_)) || op.late.contains(&from) {
            return;
        }
        op.late.push(from);
        if op.late.len() > spare {
            self.back_off(floor, id);
        }
    }

    /// A guardian has no room for another register.
    pub fn full(&mut self, number: u64) {
        if let Some((id, op)) = self.at(number)
            && op.phase == Phase::Preparing
        {
            let outcome = if op.is_risked {
                Outcome::Unsure
            } else {
                Outcome::Refused
            };
            self.end(id, outcome);
        }
    }
}
