//! Founds a site's first council, or one after a council that is gone for good.
//!
//! Does:      asks all nodes of the site whether they know a council; founds one when none does.
//! Does not:  found where a council is merely out of reach: it may still decide things.
//! Bounds:    a mark for each node of the site.
//! Trusts:    nodes of the site for what they know.
//! Start at:  `Founder::is_time`.

use super::people::People;
use protocol::NodeId;
use std::collections::BTreeMap;

/// The least time between a start and a founding: neighbours must be able to show up.
const WAIT_MS: u64 = 5000;
/// A node that is there but tells nothing is passed over after this.
const SILENT_MS: u64 = 15_000;
/// How much longer the second-lowest node waits than the lowest, and so on.
const RANK_MS: u64 = 10_000;
/// Nodes asked at once.
const ASKED_MAX: usize = 8;

/// What the nodes of a site have said about councils.
#[derive(Debug, Default)]
pub struct Founder {
    since_ms: Option<u64>,
    asked: BTreeMap<NodeId, u64>,
    none: BTreeMap<NodeId, u64>,
}

impl Founder {
    /// A council is there, or was found.
    pub fn rest(&mut self) {
        *self = Self::default();
    }

    /// A node knows of no council but the one that we named.
    pub fn heard_none(&mut self, now_ms: u64, node: NodeId) {
        if self.since_ms.is_some() {
            self.none.insert(node, now_ms);
        }
    }

    /// Whom to ask now.
    pub fn ask(&mut self, now_ms: u64, people: &People) -> Vec<NodeId> {
        self.since_ms.get_or_insert(now_ms);
        let open = people.there().filter(|node| !self.none.contains_key(node));
        let nodes: Vec<NodeId> = open.take(ASKED_MAX).collect();
        for node in &nodes {
            self.asked.entry(*node).or_insert(now_ms);
        }
        nodes
    }

    /// Whether we are to found a council now.
    pub fn is_time(&self, now_ms: u64, me: NodeId, people: &People) -> bool {
        let Some(since_ms) = self.since_ms else {
            return false;
        };
        let rank = people.there().take_while(|node| *node < me).count() as u64;
        let is_settled = |node: NodeId| {
            let asked = self.asked.get(&node);
            let is_silent = asked.is_some_and(|asked| now_ms >= asked + SILENT_MS);
            self.none.contains_key(&node) || is_silent
        };
        now_ms >= since_ms + WAIT_MS + rank * RANK_MS && people.there().all(is_settled)
    }
}
