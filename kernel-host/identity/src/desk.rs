//! What the two sides of joining are given while they work.
//!
//! Start at:  `Desk`.

use crate::ring::Keys;
use protocol::{Moment, NodeId};
use std::fmt;

/// Who is alive, as far as this node's overlay knows.
pub trait Sight: fmt::Debug {
    /// Whether this node, of any site, is not known to be dead or gone.
    fn is_alive(&self, node: NodeId) -> bool;
    /// Other nodes of our site that are alive.
    fn neighbours(&self) -> Vec<NodeId>;
}

/// Time, keys, and who is alive.
#[derive(Debug)]
pub struct Desk<'a> {
    pub now: Moment,
    pub keys: &'a mut Keys,
    pub sight: &'a dyn Sight,
}
