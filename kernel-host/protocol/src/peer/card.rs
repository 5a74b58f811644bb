//! The body of `NODE_CARD`: what a node says of itself to its site.
//!
//! Start at:  `NodeCard`.

use super::load::Usage;
use crate::Name;
use serde::{Deserialize, Serialize};

/// A node's card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCard {
    pub name: Name,
    /// What it has and uses.
    pub usage: Usage,
    /// It takes no new machines.
    pub is_draining: bool,
}

impl NodeCard {
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, Vec::with_capacity(96)).unwrap_or_default()
    }

    /// Fields of later versions, which stand behind ours, are ignored.
    pub fn decode(body: &[u8]) -> Option<Self> {
        let (card, _later) = postcard::take_from_bytes(body).ok()?;
        Some(card)
    }
}
