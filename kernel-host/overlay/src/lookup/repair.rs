//! Homes compare what they keep; whoever is no home any more hands over.
//!
//! Does:      per bucket one sum goes to each partner: the first node of each site compares with
//!            those of the other sites and with its second; only buckets that differ are listed,
//!            and only what is lacking is sent. A node that is no home offers what it keeps, and
//!            drops it when most homes lack nothing of it.
//! Does not:  wait for a quiet moment: what changed is compared within seconds, all else each
//!            `SCRUB_MS`.
//! Bounds:    `BUCKETS` of book-keeping; `DUE_MAX` buckets a step; entries by `mending`;
//!            `REFUSED_MAX` versions that are not asked for again (beyond, the oldest is).
//! Trusts:    partners to say truly what they lack: a lie costs bytes, or a copy.
//! Start at:  `Lookup::mend`.

use super::rank::{Homes, Peer, Role, nodes_in};
use super::{Desk, Lookup};
use protocol::NodeId;
use protocol::peer::admission::Few;
use protocol::peer::lookup::{
    Agreed, BUCKETS, BucketSum, ENTRIES_MAX, Entry, LookupMessage, SUMS_MAX, Taken,
};
use protocol::peer::recon::Mark;
use protocol::peer::{Channel, Contact, Message};
use std::collections::{BTreeMap, BTreeSet};

/// What changed is compared after this; longer if partners don't answer, up to the second.
const SOON_MS: u64 = 1_000;
const LATER_MS: u64 = 60_000;
/// Everything is compared this often.
const SCRUB_MS: u64 = 300_000;
/// A bucket that has moved is kept so long at least, for those who have not noticed.
const HANDOVER_MS: u64 = 60_000;
/// How often homes are computed anew, and of how many buckets at a time.
const PLAN_MS: u64 = 5_000;
const PLAN_MAX: usize = 1024;
/// Buckets that are compared in one step, and the time between steps.
const DUE_MAX: usize = 32;
const STEP_MS: u64 = 250;
/// An empty bucket that nobody asked for is forgotten.
const IDLE_MS: u64 = 600_000;
const REFUSED_MAX: usize = 256;
const REFUSED_MS: u64 = 600_000;
/// Bytes of an entry on its way, beside its value.
const ENTRY_BYTES: u64 = 180;

/// A bucket that we keep, or were asked for.
#[derive(Debug)]
pub(super) struct Bucket {
    homes: Homes,
    pub role: Role,
    /// The other of our site's two nodes, if we are the first.
    fellow: Option<Peer>,
    since_ms: u64,
    /// We are a home, and have compared with all others since we became one.
    pub is_sure: bool,
    /// Partners that keep what we keep, since something last changed.
    settled: Vec<NodeId>,
    tries: u8,
    due_ms: u64,
    pub used_ms: u64,
}

impl Bucket {
    fn of(desk: &Desk<'_, '_>, bucket: u16) -> Self {
        let homes = Homes::of(desk.atlas, bucket);
        let role = homes.role(desk.cx.me);
        let now_ms = desk.cx.now_ms();
        Self {
            fellow: fellow(desk, bucket),
            homes,
            role,
            since_ms: now_ms,
            is_sure: false,
            settled: Vec::new(),
            tries: 0,
            due_ms: now_ms,
            used_ms: now_ms,
        }
    }

    pub fn fellow(&self) -> Option<NodeId> {
        self.fellow.map(|peer| peer.node)
    }

    /// Whether a partner is still the one that it was, in the same boot.
    fn is_same(&self, before: &(Homes, Option<Peer>), node: NodeId) -> bool {
        let peers = |homes: &Homes, fellow: Option<Peer>| {
            let nodes = homes.iter().flat_map(|home| home.nodes).flatten();
            nodes.chain(fellow).find(|peer| peer.node == node)
        };
        peers(&self.homes, self.fellow) == peers(&before.0, before.1)
    }

    /// With whom we compare.
    fn partners(&self, me: NodeId) -> Vec<NodeId> {
        let firsts = self.homes.firsts().map(|(_, node)| node);
        let mut partners: Vec<NodeId> = match self.role {
            Role::First | Role::Stranger => firsts.chain(self.fellow()).collect(),
            Role::Second => {
                let homes = self.homes.iter();
                homes.filter_map(|home| home.first_of(me)).collect()
            }
        };
        partners.retain(|node| *node != me);
        partners.sort_unstable();
        partners.dedup();
        partners
    }

    fn lacks(&self, me: NodeId) -> Vec<NodeId> {
        let mut partners = self.partners(me);
        partners.retain(|node| !self.settled.contains(node));
        partners
    }

    /// Whether most homes keep what we keep.
    fn is_handed_over(&self) -> bool {
        let firsts = self.homes.firsts();
        let have = firsts.filter(|(_, node)| self.settled.contains(node));
        have.count() >= self.homes.majority()
    }
}

fn fellow(desk: &Desk<'_, '_>, bucket: u16) -> Option<Peer> {
    let [first, second] = nodes_in(desk.atlas, bucket, desk.cx.site);
    let is_first = first.is_some_and(|peer| peer.node == desk.cx.me);
    second.filter(|_| is_first)
}

impl Lookup {
    /// The book-keeping of a bucket; it begins unsure.
    pub(super) fn bucket(&mut self, desk: &mut Desk<'_, '_>, bucket: u16) -> &mut Bucket {
        if !self.buckets.contains_key(&bucket) {
            let mut new = Bucket::of(desk, bucket);
            new.is_sure = new.role != Role::Stranger && new.partners(desk.cx.me).is_empty();
            self.due.insert((new.due_ms, bucket));
            self.buckets.insert(bucket, new);
        }
        self.buckets
            .entry(bucket)
            .or_insert_with(|| Bucket::of(desk, bucket))
    }

    fn forget_bucket(&mut self, bucket: u16) {
        if let Some(old) = self.buckets.remove(&bucket) {
            self.due.remove(&(old.due_ms, bucket));
        }
    }

    fn put_off(&mut self, bucket: u16, due_ms: u64) {
        if let Some(state) = self.buckets.get_mut(&bucket) {
            self.due.remove(&(state.due_ms, bucket));
            state.due_ms = due_ms;
            self.due.insert((due_ms, bucket));
        }
    }

    /// Something in a bucket changed: all partners must be asked.
    pub(super) fn touched(&mut self, desk: &mut Desk<'_, '_>, bucket: u16) {
        let soon_ms = desk.cx.now_ms() + desk.cx.dice.around(SOON_MS);
        let state = self.bucket(desk, bucket);
        state.settled.clear();
        state.tries = 0;
        let due_ms = state.due_ms.min(soon_ms).max(soon_ms - SOON_MS);
        self.put_off(bucket, due_ms);
    }

    pub(super) fn next_mend(&self) -> Option<u64> {
        let due = self.due.first().map(|(at, _)| (*at).max(self.step_ms));
        let has_plans = !self.buckets.is_empty() || !self.own.is_empty();
        let plan = has_plans.then_some(self.plan_ms);
        [due, plan].into_iter().flatten().min()
    }

    /// Looks at the homes of some buckets again, and compares those that are due.
    pub(super) fn mend(&mut self, desk: &mut Desk<'_, '_>) {
        let now_ms = desk.cx.now_ms();
        let has_plans = !self.buckets.is_empty() || !self.own.is_empty();
        if self.plan_ms <= now_ms && has_plans {
            self.plan_ms = now_ms + desk.cx.dice.around(PLAN_MS);
            self.plan_some(desk);
            self.own.look_for_homes(desk);
        }
        if self.step_ms > now_ms {
            return;
        }
        let due = self.due.iter().take_while(|(at, _)| *at <= now_ms);
        let due: Vec<u16> = due.map(|(_, bucket)| *bucket).take(DUE_MAX).collect();
        if due.is_empty() {
            return;
        }
        self.step_ms = now_ms + STEP_MS;
        let mut sums: BTreeMap<NodeId, Vec<BucketSum>> = BTreeMap::new();
        for bucket in due {
            self.visit(desk, bucket, &mut sums);
        }
        for (to, sums) in sums {
            for some in sums.chunks(SUMS_MAX) {
                let message = LookupMessage::Sums(Few::new(some.iter().copied()));
                desk.cx
                    .send(to, Channel::Datagram, Message::Lookup(message));
            }
        }
    }

    fn plan_some(&mut self, desk: &mut Desk<'_, '_>) {
        let behind = self.buckets.range(self.cursor..).map(|(at, _)| *at);
        let before = self.buckets.range(..self.cursor).map(|(at, _)| *at);
        let some: Vec<u16> = behind.chain(before).take(PLAN_MAX).collect();
        self.cursor = some.last().map_or(0, |last| (last + 1) % BUCKETS);
        for bucket in some {
            self.plan(desk, bucket);
        }
    }

    /// The homes may have changed.
    fn plan(&mut self, desk: &mut Desk<'_, '_>, bucket: u16) {
        let (now_ms, me) = (desk.cx.now_ms(), desk.cx.me);
        let homes = Homes::of(desk.atlas, bucket);
        let fellow = fellow(desk, bucket);
        let soon_ms = now_ms + desk.cx.dice.around(SOON_MS);
        let Some(state) = self.buckets.get_mut(&bucket) else {
            return;
        };
        if state.homes == homes && state.fellow == fellow {
            return;
        }
        let was_home = state.role != Role::Stranger;
        state.role = homes.role(me);
        if state.homes != homes {
            state.since_ms = now_ms;
        }
        let before = (
            std::mem::replace(&mut state.homes, homes),
            std::mem::replace(&mut state.fellow, fellow),
        );
        let partners = state.partners(me);
        let mut settled = std::mem::take(&mut state.settled);
        settled.retain(|node| partners.contains(node) && state.is_same(&before, *node));
        state.settled = settled;
        let is_home = state.role != Role::Stranger;
        state.is_sure = is_home && (was_home && state.is_sure || partners.is_empty());
        state.tries = 0;
        self.put_off(bucket, soon_ms);
    }

    /// A bucket whose turn it is.
    fn visit(
        &mut self,
        desk: &mut Desk<'_, '_>,
        bucket: u16,
        sums: &mut BTreeMap<NodeId, Vec<BucketSum>>,
    ) {
        let (now_ms, me) = (desk.cx.now_ms(), desk.cx.me);
        self.plan(desk, bucket);
        let sum = self.shelf.sum(bucket);
        let Some(state) = self.buckets.get_mut(&bucket) else {
            return;
        };
        let is_empty = sum.count == 0;
        let is_stranger = state.role == Role::Stranger;
        if is_empty && (is_stranger || state.used_ms + IDLE_MS < now_ms) {
            self.forget_bucket(bucket);
            return;
        }
        if is_stranger && state.is_handed_over() && state.since_ms + HANDOVER_MS <= now_ms {
            self.counters.handed_over += u64::from(sum.count);
            self.shelf.clear_bucket(bucket);
            self.forget_bucket(bucket);
            return;
        }
        if state.lacks(me).is_empty() && !is_stranger {
            // All agreed once; it is time to ask again.
            state.settled.clear();
        }
        let asked = state.lacks(me);
        let wait_ms = (SOON_MS << (state.tries + 1).min(6)).min(LATER_MS);
        state.tries = state.tries.saturating_add(1);
        let rests = asked.is_empty() && !is_stranger;
        let wait_ms = if rests { SCRUB_MS } else { wait_ms };
        self.put_off(bucket, now_ms + desk.cx.dice.around(wait_ms));
        for partner in asked {
            if is_stranger {
                self.offer(desk, partner, bucket, false);
            } else {
                sums.entry(partner).or_default().push(BucketSum {
                    bucket,
                    count: sum.count,
                    marks: sum.marks,
                });
            }
        }
    }

    /// A partner keeps what we keep.
    pub(super) fn settle(
        &mut self,
        desk: &mut Desk<'_, '_>,
        bucket: u16,
        partner: NodeId,
        is_sure: bool,
    ) {
        let (now_ms, me) = (desk.cx.now_ms(), desk.cx.me);
        let scrub_ms = now_ms + desk.cx.dice.around(SCRUB_MS);
        let Some(state) = self.buckets.get_mut(&bucket) else {
            return;
        };
        let is_enough = is_sure || state.role != Role::Second || state.is_sure;
        if !is_enough || !state.lacks(me).contains(&partner) {
            return;
        }
        state.settled.push(partner);
        if state.lacks(me).is_empty() && state.role != Role::Stranger {
            state.is_sure = true;
            state.tries = 0;
            self.put_off(bucket, scrub_ms);
        }
    }

    /// Whether what `from` says of a bucket concerns us.
    fn is_ours(&mut self, desk: &mut Desk<'_, '_>, from: Contact, bucket: u16) -> bool {
        let known = self.buckets.get(&bucket).map(|state| state.role);
        let role = match known {
            Some(Role::Stranger) | None => Homes::of(desk.atlas, bucket).role(desk.cx.me),
            Some(role) => role,
        };
        // Our own site's first may be no home, and wants a second copy of what it keeps for one.
        let is_ours = role != Role::Stranger || from.site == desk.cx.site;
        self.counters.misplaced += u64::from(!is_ours);
        is_ours
    }

    pub(super) fn receive_sums(
        &mut self,
        desk: &mut Desk<'_, '_>,
        from: Contact,
        sums: &[BucketSum],
    ) {
        let mut agreed = Vec::new();
        for said in sums {
            let bucket = said.bucket;
            if !self.is_ours(desk, from, bucket) {
                continue;
            }
            let ours = self.shelf.sum(bucket);
            let is_sure = self.bucket(desk, bucket).is_sure;
            if (ours.count, ours.marks) == (said.count, said.marks) {
                agreed.push(Agreed {
                    bucket,
                    marks: ours.marks,
                    is_sure,
                });
                self.settle(desk, bucket, from.node, false);
            } else {
                self.offer(desk, from.node, bucket, true);
            }
        }
        if !agreed.is_empty() {
            let message = Message::Lookup(LookupMessage::Agree(Few::new(agreed)));
            desk.cx.send(from.node, Channel::Datagram, message);
        }
    }

    fn offer(&mut self, desk: &mut Desk<'_, '_>, to: NodeId, bucket: u16, wants_back: bool) {
        let marks: Vec<Mark> = self.shelf.in_bucket(bucket).map(|(mark, _)| mark).collect();
        if !self
            .mending
            .take(desk.cx.now_ms(), 32 + 10 * marks.len() as u64)
        {
            self.counters.deferred += 1;
            return;
        }
        let offer = LookupMessage::Offer {
            bucket,
            wants_back,
            marks: Few::new(marks),
        };
        desk.cx.send(to, Channel::Datagram, Message::Lookup(offer));
    }

    pub(super) fn receive_offer(
        &mut self,
        desk: &mut Desk<'_, '_>,
        from: Contact,
        bucket: u16,
        wants_back: bool,
        marks: &[Mark],
    ) {
        if !self.is_ours(desk, from, bucket) {
            return;
        }
        let theirs: BTreeSet<Mark> = marks.iter().copied().collect();
        let mine: BTreeSet<Mark> = self.shelf.in_bucket(bucket).map(|(mark, _)| mark).collect();
        let lacking = theirs.difference(&mine);
        let lacking: Vec<Mark> = lacking
            .filter(|mark| !self.refused.contains_key(mark))
            .copied()
            .collect();
        if wants_back {
            let extra: BTreeSet<Mark> = mine.difference(&theirs).copied().collect();
            self.give(desk, from.node, bucket, &extra);
        }
        if !lacking.is_empty() || !wants_back {
            let want = LookupMessage::Want {
                bucket,
                offered: marks.iter().fold(0, |sum, mark| sum.wrapping_add(*mark)),
                marks: Few::new(lacking),
            };
            desk.cx
                .send(from.node, Channel::Datagram, Message::Lookup(want));
        }
    }

    pub(super) fn receive_want(
        &mut self,
        desk: &mut Desk<'_, '_>,
        from: NodeId,
        (bucket, offered): (u16, Mark),
        marks: &[Mark],
    ) {
        if marks.is_empty() {
            // Something may have come since it was offered.
            if self.shelf.sum(bucket).marks == offered {
                self.settle(desk, bucket, from, false);
            }
            return;
        }
        let wanted: BTreeSet<Mark> = marks.iter().copied().collect();
        self.give(desk, from, bucket, &wanted);
    }

    /// Sends entries that somebody lacks, as far as the pace allows; the rest comes next time.
    fn give(&mut self, desk: &mut Desk<'_, '_>, to: NodeId, bucket: u16, marks: &BTreeSet<Mark>) {
        let now_ms = desk.cx.now_ms();
        let held = self.shelf.in_bucket(bucket);
        let mut given: Vec<Entry> = Vec::new();
        for (_, entry) in held.filter(|(mark, _)| marks.contains(mark)) {
            let bytes = entry.value.bytes().len() as u64 + ENTRY_BYTES;
            if !self.mending.take(now_ms, bytes) {
                self.counters.deferred += 1;
                break;
            }
            given.push(entry.clone());
        }
        self.counters.repaired += given.len() as u64;
        for some in given.chunks(ENTRIES_MAX) {
            let message = LookupMessage::Entries(Few::new(some.iter().cloned()));
            desk.cx
                .send(to, Channel::Datagram, Message::Lookup(message));
        }
    }

    pub(super) fn receive_entries(
        &mut self,
        desk: &mut Desk<'_, '_>,
        from: Contact,
        entries: &[Entry],
    ) {
        for entry in entries {
            if !self.is_ours(desk, from, entry.key.bucket()) {
                continue;
            }
            let taken = self.take(desk, entry);
            if let Err(Taken::Bad | Taken::Full | Taken::Older) = taken {
                self.refuse(desk.cx.now_ms(), entry.mark());
            }
        }
    }

    fn refuse(&mut self, now_ms: u64, mark: Mark) {
        if self.refused.len() >= REFUSED_MAX {
            let oldest = self.refused.iter().min_by_key(|(_, until)| **until);
            if let Some(oldest) = oldest.map(|(mark, _)| *mark) {
                self.refused.remove(&oldest);
            }
        }
        self.refused.insert(mark, now_ms + REFUSED_MS);
    }

    pub(super) fn check_buckets(&self) {
        assert!(self.buckets.len() <= usize::from(BUCKETS), "buckets");
        assert!(self.refused.len() <= REFUSED_MAX, "refused versions");
        let due = self.buckets.iter().map(|(at, one)| (one.due_ms, *at));
        assert_eq!(due.collect::<BTreeSet<_>>(), self.due, "buckets' times");
        for (bucket, state) in &self.buckets {
            assert!(
                !state.is_sure || state.role != Role::Stranger,
                "{bucket}: a stranger is never sure"
            );
        }
    }
}
