//! The other nodes of our site, as far as guardians need to know them.
//!
//! Start at:  `People`.

use protocol::NodeId;
use std::collections::BTreeMap;

/// What is known of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    There,
    /// It does not answer.
    Dead,
    /// It said goodbye.
    Left,
}

/// A node of our site.
#[derive(Debug, Clone, Copy)]
pub struct Person {
    pub boots: u32,
    pub presence: Presence,
    /// Since when.
    pub since_ms: u64,
}

/// Nodes; beyond, whoever has been away longest is forgotten.
const PEOPLE_MAX: usize = 1024;

/// The other nodes of our site.
#[derive(Debug, Default)]
pub struct People {
    nodes: BTreeMap<NodeId, Person>,
}

impl People {
    /// Says how a node is. `true`: that is a change.
    pub fn note(&mut self, now_ms: u64, node: NodeId, boots: u32, presence: Presence) -> bool {
        if let Some(person) = self.nodes.get_mut(&node) {
            person.boots = person.boots.max(boots);
            let is_change = person.presence != presence;
            if is_change {
                (person.presence, person.since_ms) = (presence, now_ms);
            }
            return is_change;
        }
        if self.nodes.len() >= PEOPLE_MAX {
            let away = self
                .nodes
                .iter()
                .filter(|(_, one)| one.presence != Presence::There);
            let longest = away
                .min_by_key(|(_, one)| one.since_ms)
                .map(|(node, _)| *node);
            let Some(longest) = longest else {
                return false;
            };
            self.nodes.remove(&longest);
        }
        let person = Person {
            boots,
            presence,
            since_ms: now_ms,
        };
        self.nodes.insert(node, person);
        true
    }

    pub fn find(&self, node: NodeId) -> Option<&Person> {
        self.nodes.get(&node)
    }

    /// Those who are there, in order.
    pub fn there(&self) -> impl Iterator<Item = NodeId> {
        let there = self
            .nodes
            .iter()
            .filter(|(_, one)| one.presence == Presence::There);
        there.map(|(node, _)| *node)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&NodeId, &Person)> {
        self.nodes.iter()
    }
}
