//! Where a node can be reached.
//!
//! Start at:  `Contact`.

use crate::{NodeId, SiteId};
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};

/// A node, its site, and the underlay address (UDP and TCP, one port) it was last reached at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Contact {
    pub node: NodeId,
    pub site: SiteId,
    pub address: SocketAddr,
}
