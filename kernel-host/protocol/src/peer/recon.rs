//! The messages of the reconciliation of record sets.
//!
//! Start at:  `ReconMessage`.

use serde::{Deserialize, Serialize};

/// What two nodes say to each other about the reconciliation of record sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReconMessage {}
