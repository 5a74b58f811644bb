//! The broadcast tree: every record reaches every node, mostly once, by the fastest way.
//!
//! Does:      passes records to eager neighbours at once and names them to all a little
//!            later; who misses one asks; who gets one twice says so, and the slower way turns
//!            lazy. What comes first becomes the tree, so it follows the round-trip times.
//! Does not:  verify: a record is passed on only after the store took it; choose neighbours
//!            (`links`); keep records (a short memory serves those who ask).
//! Bounds:    `SEEN_MAX` names, `KEPT_MAX` records of `KEPT_BYTES_MAX` bytes, `MISSING_MAX` missed
//!            ones; the oldest give way. What the tree loses, reconciliation brings.
//! Trusts:    a neighbour to name what it has; a false name costs one question.
//! Start at:  `Tree::spread`. Source: Leitao, Pereira, Rodrigues, "Epidemic Broadcast Trees", 2007.

mod memory;

use crate::context::Context;
use memory::{Kept, Missing, Seen};
use protocol::NodeId;
use protocol::peer::admission::Few;
use protocol::peer::capped::Capped;
use protocol::peer::recon::Mark;
use protocol::peer::spread::{NAMES_MAX, SpreadMessage};
use protocol::peer::{Channel, DATAGRAM_BYTES_MAX, Message, Realm};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Names wait so long for others to travel with. At 17 records a second, 50 ms would cost a quarter
/// more bytes and bring what was lost 0.1 s sooner.
const NAMES_MS: u64 = 200;
/// A record that was named and did not come is asked for after this: the eager way is mostly a
/// little faster or a little slower than the names.
const MISSED_MS: u64 = 100;
/// And again, elsewhere, after this.
const MISSED_AGAIN_MS: u64 = 300;
/// New neighbours are eager while there are fewer eager ones than this.
const EAGER_MIN: usize = 2;
/// Bytes of a payload message beside its record, at most.
const PAYLOAD_HEAD_BYTES: usize = 16;

/// What went through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records that came, all copies.
    pub payloads: u64,
    /// Records for all that were passed on to us and were new, and those that were not.
    pub fresh: u64,
    pub duplicates: u64,
    pub sent: u64,
    pub named: u64,
    pub grafts: u64,
    pub prunes: u64,
    pub missed: u64,
    /// Nodes that the latest record had passed.
    pub hops_last: u64,
}

#[derive(Debug, Clone, Copy)]
struct Branch {
    is_near: bool,
    is_eager: bool,
}

/// A name that neighbours will be told.
#[derive(Debug)]
struct Name {
    mark: Mark,
    /// Our site's records are named to near neighbours only.
    is_near: bool,
    /// They sent it to us or named it themselves.
    known_to: Vec<NodeId>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Tree {
    branches: BTreeMap<NodeId, Branch>,
    seen: Seen,
    kept: Kept,
    missing: Missing,
    /// Names that have not been told yet.
    names: Vec<Name>,
    names_ms: Option<u64>,
    counters: Counters,
}

/// A record on its way.
#[derive(Debug, Clone)]
pub struct Parcel {
    pub mark: Mark,
    pub realm: Realm,
    pub bytes: Rc<[u8]>,
    /// Who has passed it on.
    pub hops: u8,
    pub from: Option<NodeId>,
}

impl Tree {
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Takes over the neighbours as they are now.
    pub fn set_neighbours(&mut self, neighbours: impl Iterator<Item = (NodeId, bool)>) {
        let before = std::mem::take(&mut self.branches);
        for (node, is_near) in neighbours {
            let is_eager = before.get(&node).map(|branch| branch.is_eager);
            let few = self.eager_count() < EAGER_MIN;
            let branch = Branch {
                is_near,
                is_eager: is_eager.unwrap_or(few),
            };
            self.branches.entry(node).or_insert(branch);
        }
    }

    fn eager_count(&self) -> usize {
        self.branches
            .values()
            .filter(|branch| branch.is_eager)
            .count()
    }

    /// Passes on a record that the store has just taken, or that is ours.
    pub fn spread(&mut self, cx: &mut Context<'_>, parcel: Parcel) {
        self.counters.hops_last = u64::from(parcel.hops);
        // Inside a site all near links carry it: records there are few and small.
        let is_of_site = matches!(parcel.realm, Realm::Site(_));
        self.counters.fresh += u64::from(!is_of_site && parcel.from.is_some());
        let carries = |branch: &Branch| match is_of_site {
            true => branch.is_near,
            false => branch.is_eager,
        };
        let targets: Vec<NodeId> = self
            .branches
            .iter()
            .filter(|(node, branch)| carries(branch) && parcel.from != Some(**node))
            .map(|(node, _)| *node)
            .collect();
        for node in targets {
            self.send(cx, node, &parcel);
        }
        self.announce(cx, parcel);
    }

    /// Names a record to neighbours without sending it: it came beside the tree, and most of them
    /// have it.
    pub fn announce(&mut self, cx: &mut Context<'_>, parcel: Parcel) {
        self.seen.insert(parcel.mark);
        self.missing.remove(parcel.mark);
        if self.names.len() == NAMES_MAX {
            self.tell_names(cx);
        }
        self.names.push(Name {
            mark: parcel.mark,
            is_near: matches!(parcel.realm, Realm::Site(_)),
            known_to: parcel.from.into_iter().collect(),
        });
        self.names_ms.get_or_insert(cx.now_ms() + NAMES_MS);
        self.kept.insert(parcel);
    }

    fn send(&mut self, cx: &mut Context<'_>, to: NodeId, parcel: &Parcel) {
        let Some(record) = Capped::new(parcel.bytes.to_vec()) else {
            return;
        };
        let is_small = parcel.bytes.len() + PAYLOAD_HEAD_BYTES <= DATAGRAM_BYTES_MAX;
        let channel = if is_small {
            Channel::Datagram
        } else {
            Channel::Stream
        };
        let hops = parcel.hops.saturating_add(1);
        self.counters.sent += 1;
        let message = SpreadMessage::Payload { hops, record };
        cx.send(to, channel, Message::Spread(message));
    }

    /// A copy came of something that we have. The way it took is the slower one, unless the
    /// record belongs to a site, where all ways are used.
    pub fn duplicate(&mut self, cx: &mut Context<'_>, from: NodeId, mark: Mark, realm: Realm) {
        self.seen.insert(mark);
        self.missing.remove(mark);
        self.has(from, mark);
        if matches!(realm, Realm::Site(_)) {
            return;
        }
        self.counters.duplicates += 1;
        if let Some(branch) = self.branches.get_mut(&from) {
            branch.is_eager = false;
        }
        self.counters.prunes += 1;
        cx.send(
            from,
            Channel::Datagram,
            Message::Spread(SpreadMessage::Prune),
        );
    }

    /// A copy arrived; what it means is not known yet.
    pub fn count_payload(&mut self) {
        self.counters.payloads += 1;
    }

    /// The way by which something new came is a good one.
    pub fn favour(&mut self, from: NodeId) {
        if let Some(branch) = self.branches.get_mut(&from) {
            branch.is_eager = true;
        }
    }

    /// `holds`: whether a record came by some other way.
    pub fn handle_names(
        &mut self,
        cx: &mut Context<'_>,
        from: NodeId,
        names: &[Mark],
        holds: impl Fn(Mark) -> bool,
    ) {
        for mark in names {
            self.has(from, *mark);
            if !self.seen.contains(*mark) && !holds(*mark) {
                self.missing.named(cx.now_ms() + MISSED_MS, *mark, from);
            }
        }
    }

    pub fn handle_graft(&mut self, cx: &mut Context<'_>, from: NodeId, names: &[Mark]) {
        if let Some(branch) = self.branches.get_mut(&from) {
            branch.is_eager = true;
        }
        for mark in names {
            if let Some(parcel) = self.kept.find(*mark) {
                self.send(cx, from, &parcel);
            }
        }
    }

    pub fn handle_prune(&mut self, from: NodeId) {
        if let Some(branch) = self.branches.get_mut(&from) {
            branch.is_eager = false;
        }
    }

    pub fn next_timeout(&self) -> Option<u64> {
        [self.names_ms, self.missing.next_ms()]
            .into_iter()
            .flatten()
            .min()
    }

    pub fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        let now_ms = cx.now_ms();
        if self.names_ms.is_some_and(|at| at <= now_ms) {
            self.tell_names(cx);
        }
        let mut wanted: BTreeMap<NodeId, Vec<Mark>> = BTreeMap::new();
        for (mark, node) in self.missing.due(now_ms, MISSED_AGAIN_MS) {
            wanted.entry(node).or_default().push(mark);
        }
        for (node, marks) in wanted {
            self.counters.grafts += 1;
            self.counters.missed += marks.len() as u64;
            self.favour(node);
            let message = SpreadMessage::Graft(Few::new(marks));
            cx.send(node, Channel::Datagram, Message::Spread(message));
        }
    }

    /// A neighbour has this one: it need not be told.
    fn has(&mut self, node: NodeId, mark: Mark) {
        if let Some(name) = self.names.iter_mut().find(|name| name.mark == mark)
            && !name.known_to.contains(&node)
        {
            name.known_to.push(node);
        }
    }

    /// Names go to all who are not known to have the record: with fewer, some node that missed it
    /// hears of it from nobody. Who was sent it may have lost it.
    fn tell_names(&mut self, cx: &mut Context<'_>) {
        self.names_ms = None;
        let names = std::mem::take(&mut self.names);
        for (node, branch) in &self.branches {
            let is_for =
                |name: &&Name| (branch.is_near || !name.is_near) && !name.known_to.contains(node);
            let marks = names.iter().filter(is_for).map(|name| name.mark);
            let few: Few<Mark, NAMES_MAX> = Few::new(marks);
            if few.as_slice().is_empty() {
                continue;
            }
            self.counters.named += few.as_slice().len() as u64;
            let message = Message::Spread(SpreadMessage::Names(few));
            cx.send(*node, Channel::Datagram, message);
        }
    }

    pub fn memory_bytes(&self) -> usize {
        self.branches.len() * 48 + self.seen.memory_bytes() + self.kept.memory_bytes() + 512
    }

    /// Panics if a maximum is broken.
    pub fn check(&self) {
        self.seen.check();
        self.kept.check();
        self.missing.check();
        assert!(self.names.len() <= NAMES_MAX, "names");
    }
}
