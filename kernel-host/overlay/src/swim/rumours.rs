//! News that travel along with probes, each only so often.
//!
//! Does:      gives out what was sent least; what is said about a node is looked up when it is
//!            sent, so that news are never stale.
//! Does not:  know what is said.
//! Bounds:    `QUEUE_MAX` nodes; beyond it the news sent most often go, and are counted: comparing
//!            whole lists makes up for them.
//! Trusts:    its caller.
//! Start at:  `Rumours::take`.

use protocol::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// Nodes about whom there are news at one time.
const QUEUE_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Rumours {
    /// How often it was sent, when it came, about whom.
    order: BTreeSet<(u8, u64, NodeId)>,
    places: BTreeMap<NodeId, (u8, u64)>,
    serial: u64,
    pub dropped: u64,
}

impl Rumours {
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub fn has(&self, node: NodeId) -> bool {
        self.places.contains_key(&node)
    }

    /// There are news about this node.
    pub fn add(&mut self, node: NodeId) {
        self.forget(node);
        if self.order.len() >= QUEUE_MAX
            && let Some((_, _, most_sent)) = self.order.pop_last()
        {
            self.places.remove(&most_sent);
            self.dropped += 1;
        }
        self.serial += 1;
        self.put(0, self.serial, node);
    }

    pub fn forget(&mut self, node: NodeId) {
        if let Some((sent, serial)) = self.places.remove(&node) {
            self.order.remove(&(sent, serial, node));
        }
    }

    fn put(&mut self, sent: u8, serial: u64, node: NodeId) {
        self.places.insert(node, (sent, serial));
        self.order.insert((sent, serial, node));
    }

    /// Up to `count` nodes with the news sent least, which count as sent once more now; after
    /// `sends_max` times they are no news.
    pub fn take(&mut self, count: usize, sends_max: u8) -> Vec<NodeId> {
        if self.order.is_empty() {
            return Vec::new();
        }
        let mut taken = Vec::with_capacity(count.min(self.order.len()));
        let chosen: Vec<_> = self.order.iter().take(count).copied().collect();
        for (sent, serial, node) in chosen {
            self.forget(node);
            if sent + 1 < sends_max {
                self.put(sent + 1, serial, node);
            }
            taken.push(node);
        }
        taken
    }

    pub fn memory_bytes(&self) -> usize {
        self.order.len() * 3 / 2 * (size_of::<(u8, u64, NodeId)>() * 2)
    }

    pub fn check(&self) {
        assert!(self.order.len() <= QUEUE_MAX);
        assert_eq!(self.order.len(), self.places.len());
        for (sent, serial, node) in &self.order {
            assert_eq!(self.places.get(node), Some(&(*sent, *serial)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 16])
    }

    #[test]
    fn news_sent_least_go_first_and_end_after_their_number() {
        let mut rumours = Rumours::default();
        rumours.add(node(1));
        assert_eq!(rumours.take(1, 3), [node(1)]);
        rumours.add(node(2));
        assert_eq!(rumours.take(1, 3), [node(2)]);
        assert_eq!(rumours.take(9, 3), [node(1), node(2)]);
        assert_eq!(rumours.take(9, 3), [node(1), node(2)]);
        assert!(rumours.take(9, 3).is_empty());
        rumours.check();
    }

    #[test]
    fn too_much_news_drops_what_was_sent_most() {
        let mut rumours = Rumours::default();
        rumours.add(node(1));
        rumours.take(1, 9);
        for number in 0..=QUEUE_MAX {
            let mut bytes = [7; 16];
            bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
            rumours.add(NodeId::from_bytes(bytes));
        }
        assert!(!rumours.has(node(1)));
        assert_eq!(rumours.dropped, 2);
        rumours.check();
    }
}
