//! The messages of compare-and-swap registers and host leases.
//!
//! Start at:  `RegisterMessage`.

use serde::{Deserialize, Serialize};

/// What two nodes say to each other about compare-and-swap registers and host leases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RegisterMessage {}
