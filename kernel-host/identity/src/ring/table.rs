//! The certificates of all nodes, as little of each as is asked for.
//!
//! Does:      finds a node's key, site and standing; knows who replaced whom.
//! Does not:  check signatures: what comes in was proved.
//! Bounds:    `CERTIFICATES_MAX`; at the maximum a replaced node makes room, then the one whose
//!            certificate ended first; never one that still holds: then the new one is refused.
//! Trusts:    `Keys`.
//! Start at:  `Table`.

use crate::certificate::Certificate;
use crate::charter::CharterId;
use crate::grant::GrantId;
use protocol::peer::admission::MachineId;
use protocol::peer::{PublicKey, SessionKey};
use protocol::{Digest, NodeId, SiteId};
use std::collections::BTreeMap;

/// Nodes known at once: twice the largest cluster, since every boot of a node without a disk is
/// another node.
pub const CERTIFICATES_MAX: usize = 10_000;

/// What is kept of a certificate.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub key: PublicKey,
    pub session: SessionKey,
    pub site: SiteId,
    pub machine: MachineId,
    pub admitted_s: u64,
    pub issued_s: u64,
    pub expires_s: u64,
    pub grant: Option<GrantId>,
    pub charter: CharterId,
    pub replaces: Option<NodeId>,
    pub admitter: NodeId,
    /// Of the whole certificate: the same bytes need no second check.
    pub digest: [u8; 16],
    /// Nothing that it signs counts.
    pub revoked: bool,
}

impl Entry {
    pub fn new(certificate: &Certificate, site: SiteId) -> Self {
        let fields = certificate.fields();
        Self {
            key: fields.node,
            session: fields.session,
            site,
            machine: fields.machine,
            admitted_s: fields.admitted_s,
            issued_s: fields.issued_s,
            expires_s: fields.expires_s,
            grant: fields.grant,
            charter: fields.charter,
            replaces: fields.replaces,
            admitter: crate::secret::node_id(&fields.admitter),
            digest: digest_of(certificate),
            revoked: false,
        }
    }
}

pub(super) fn digest_of(certificate: &Certificate) -> [u8; 16] {
    let digest = Digest::of(&certificate.encode()).bytes();
    let mut start = [0; 16];
    start.copy_from_slice(&digest[..16]);
    start
}

#[derive(Debug, Default)]
pub(super) struct Table {
    entries: BTreeMap<NodeId, Entry>,
    /// Who took whose place.
    successors: BTreeMap<NodeId, NodeId>,
    /// The nodes that a machine has been.
    machines: BTreeMap<(MachineId, NodeId), ()>,
}

impl Table {
    pub fn find(&self, node: NodeId) -> Option<&Entry> {
        self.entries.get(&node)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&NodeId, &mut Entry)> {
        self.entries.iter_mut()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes an entry in; says whether there was room.
    pub fn insert(&mut self, node: NodeId, entry: Entry, now_s: u64) -> bool {
        if !self.entries.contains_key(&node)
            && self.entries.len() >= CERTIFICATES_MAX
            && !self.make_room(now_s)
        {
            return false;
        }
        if let Some(old) = self.entries.get(&node) {
            self.machines.remove(&(old.machine, node));
            if let Some(old) = old.replaces {
                self.successors.remove(&old);
            }
        }
        self.machines.insert((entry.machine, node), ());
        if let Some(old) = entry.replaces.filter(|old| *old != node) {
            self.successors.insert(old, node);
        }
        self.entries.insert(node, entry);
        true
    }

    /// Drops the entry that is missed least.
    fn make_room(&mut self, now_s: u64) -> bool {
        let replaced = self
            .entries
            .keys()
            .find(|node| self.successor(**node).is_some());
        let oldest = || {
            let ended = self
                .entries
                .iter()
                .filter(|(_, entry)| entry.expires_s < now_s);
            ended
                .min_by_key(|(_, entry)| entry.expires_s)
                .map(|(node, _)| node)
        };
        let Some(node) = replaced.or_else(oldest).copied() else {
            return false;
        };
        if let Some(entry) = self.entries.remove(&node) {
            self.machines.remove(&(entry.machine, node));
            if let Some(old) = entry.replaces {
                self.successors.remove(&old);
            }
        }
        true
    }

    /// The node that took this one's place: of the same machine, which has another key now.
    pub fn successor(&self, old: NodeId) -> Option<NodeId> {
        let new = *self.successors.get(&old)?;
        let same = |old: &Entry, new: &Entry| old.machine == new.machine && !new.revoked;
        let holds = match (self.entries.get(&old), self.entries.get(&new)) {
            (Some(old), Some(new)) => same(old, new),
            (None, Some(new)) => !new.revoked,
            _ => false,
        };
        holds.then_some(new)
    }

    /// The nodes that this machine is or was.
    pub fn nodes_of(&self, machine: MachineId) -> impl Iterator<Item = NodeId> {
        let first = (machine, NodeId::from_bytes([0; 16]));
        let last = (machine, NodeId::from_bytes([0xff; 16]));
        self.machines
            .range(first..=last)
            .map(|((_, node), ())| *node)
    }

    /// About how many bytes it takes.
    pub fn memory_bytes(&self) -> usize {
        // Nodes of a B-tree are two thirds full.
        let entry = (size_of::<Entry>() + size_of::<NodeId>()) * 3 / 2;
        self.entries.len() * (entry + 48) + self.successors.len() * 48
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: u64 = 1000;

    fn id(number: usize) -> NodeId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
        NodeId::from_bytes(bytes)
    }

    fn entry(machine: usize, expires_s: u64, replaces: Option<NodeId>) -> Entry {
        Entry {
            key: PublicKey([0; 32]),
            session: SessionKey([0; 32]),
            site: SiteId::from_bytes([0; 16]),
            machine: MachineId(id(machine).bytes()),
            admitted_s: 0,
            issued_s: 0,
            expires_s,
            grant: None,
            charter: CharterId([0; 16]),
            replaces,
            admitter: id(0),
            digest: [0; 16],
            revoked: false,
        }
    }

    #[test]
    fn a_full_table_drops_the_replaced_then_the_ended_and_never_one_that_holds() {
        let mut table = Table::default();
        for number in 0..CERTIFICATES_MAX - 1 {
            let expires_s = if number < 2 {
                10 + number as u64
            } else {
                NOW_S
            };
            assert!(table.insert(id(number), entry(number, expires_s, None), NOW_S));
        }
        // Machine 7 boots without a disk: its new node replaces the old one.
        let fresh = |number| id(CERTIFICATES_MAX + number);
        assert!(table.insert(fresh(0), entry(7, NOW_S, Some(id(7))), NOW_S));
        assert_eq!(table.successor(id(7)), Some(fresh(0)));
        assert!(table.insert(fresh(1), entry(90_001, NOW_S, None), NOW_S));
        assert!(table.find(id(7)).is_none(), "the replaced one made room");
        for (number, gone) in [(2, 0), (3, 1)] {
            assert!(table.insert(fresh(number), entry(90_000 + number, NOW_S, None), NOW_S));
            assert!(
                table.find(id(gone)).is_none(),
                "then the one that ended first"
            );
        }
        assert!(
            !table.insert(fresh(4), entry(90_004, NOW_S, None), NOW_S),
            "then none"
        );
        assert!(
            table.insert(id(8), entry(8, NOW_S + 9, None), NOW_S),
            "renewal needs no room"
        );
        assert_eq!(table.len(), CERTIFICATES_MAX);
        assert_eq!(table.machines.len(), CERTIFICATES_MAX);
        let bytes = table.memory_bytes();
        assert!(bytes < 5 << 20, "{bytes} bytes");
    }

    #[test]
    fn only_the_same_machine_replaces_a_node() {
        let mut table = Table::default();
        table.insert(id(1), entry(1, NOW_S, None), NOW_S);
        table.insert(id(2), entry(2, NOW_S, Some(id(1))), NOW_S);
        assert_eq!(table.successor(id(1)), None, "another machine");
        table.insert(id(3), entry(1, NOW_S, Some(id(1))), NOW_S);
        assert_eq!(table.successor(id(1)), Some(id(3)));
        let nodes: Vec<NodeId> = table.nodes_of(MachineId(id(1).bytes())).collect();
        assert_eq!(nodes, [id(1), id(3)]);
    }
}
