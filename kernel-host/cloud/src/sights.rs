//! Nodes and sites, as the overlay's directory sees them.
//!
//! Does:      the shape in which the node hands the directory to `Atlas`.
//! Does not:  decide who is alive: the overlay did.
//! Start at:  `NodeSight`.

use core::net::SocketAddr;
use protocol::{Name, NodeId, SiteId, Standing};

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSight {
    pub id: NodeId,
    /// From its certificate; `None` until that has come.
    pub name: Option<String>,
    pub site: SiteId,
    pub standing: Standing,
    /// How long ago it was known to be as said. `None`: it is the asking node itself.
    pub age_ms: Option<u64>,
    pub address: Option<SocketAddr>,
    pub boots: u32,
    /// The identity that its machine had before, and lost with its memory.
    pub replaces: Option<NodeId>,
    /// Its right was taken away.
    pub removed: bool,
}

impl NodeSight {
    /// The node by itself, without a cluster.
    pub fn alone(id: NodeId, name: &str) -> Self {
        Self {
            id,
            name: Some(name.to_owned()),
            site: SiteId::from_bytes([0; 16]),
            standing: Standing::Alive,
            age_ms: None,
            address: None,
            boots: 0,
            replaces: None,
            removed: false,
        }
    }

    /// What people call it.
    pub fn shown(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.id.short())
    }
}

/// A site of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteSight {
    pub id: SiteId,
    pub name: Name,
    /// Some node of it answers.
    pub reachable: bool,
    /// A round trip to it, measured or guessed. `None`: the own site, or not known.
    pub round_trip_us: Option<u64>,
    /// Age of this knowledge. `None`: the asking node's own site.
    pub age_ms: Option<u64>,
    /// This node keeps the site's records.
    pub kept: bool,
}
