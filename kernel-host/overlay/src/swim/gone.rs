//! Nodes that were members: kept so that old news can't bring them back, and looked for, slowly and
//! for ever, so that a site that was split finds together.
//!
//! Does:      remembers the life in which a node went; picks one to look for, often a recent one.
//! Does not:  tell others about them: what is gone is not gossip.
//! Bounds:    `GONE_MAX`; beyond it the one that went first is forgotten and counted.
//! Trusts:    its caller.
//! Start at:  `Ring`.

use netcore::dice::Dice;
use protocol::NodeId;
use protocol::peer::{Contact, Life};
use std::collections::BTreeMap;
use std::ops::Bound;

/// Nodes remembered after they went: those without a disk come back under another id at each
/// boot, so this is some boots of a large site.
pub const GONE_MAX: usize = 1024;

/// A node that was a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone {
    pub contact: Contact,
    pub life: Life,
    /// It said goodbye; otherwise it was silent.
    pub has_left: bool,
    pub since_ms: u64,
}

#[derive(Debug, Default)]
pub(super) struct Ring {
    nodes: BTreeMap<NodeId, (u64, Gone)>,
    /// Ids in the order in which they went.
    order: BTreeMap<u64, NodeId>,
    serial: u64,
    pub forgotten: u64,
}

impl Ring {
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Gone> {
        self.nodes.values().map(|(_, gone)| gone)
    }

    pub fn find(&self, node: NodeId) -> Option<&Gone> {
        self.nodes.get(&node).map(|(_, gone)| gone)
    }

    pub fn insert(&mut self, gone: Gone) {
        self.remove(gone.contact.node);
        if self.nodes.len() >= GONE_MAX
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.nodes.remove(&oldest);
            self.forgotten += 1;
        }
        self.serial += 1;
        self.order.insert(self.serial, gone.contact.node);
        self.nodes.insert(gone.contact.node, (self.serial, gone));
    }

    pub fn remove(&mut self, node: NodeId) -> Option<Gone> {
        let (serial, gone) = self.nodes.remove(&node)?;
        self.order.remove(&serial);
        Some(gone)
    }

    /// One to look for: as often one of the `newest` as any. Those that said goodbye come back by
    /// themselves.
    pub fn pick(&self, dice: &mut Dice, newest: usize) -> Option<NodeId> {
        let node = if dice.below(2) == 0 {
            let count = newest.clamp(1, 128).min(self.order.len());
            let back = usize::try_from(dice.below(count as u64)).unwrap_or(0);
            *self.order.values().rev().nth(back)?
        } else {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&dice.next_u64().to_be_bytes());
            let from = NodeId::from_bytes(bytes);
            let later = self.nodes.range((Bound::Included(from), Bound::Unbounded));
            *later.chain(self.nodes.iter()).next()?.0
        };
        self.find(node).filter(|gone| !gone.has_left)?;
        Some(node)
    }

    pub fn memory_bytes(&self) -> usize {
        self.nodes.len() * 3 / 2 * (size_of::<(NodeId, u64, Gone)>() + size_of::<(u64, NodeId)>())
    }

    pub fn check(&self) {
        assert!(self.nodes.len() <= GONE_MAX);
        assert_eq!(self.nodes.len(), self.order.len());
        for (serial, node) in &self.order {
            assert_eq!(self.nodes.get(node).map(|(at, _)| at), Some(serial));
        }
    }
}
