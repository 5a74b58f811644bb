//! The messages of the two-level hash table and requests for single records.
//!
//! Start at:  `LookupMessage`.

use serde::{Deserialize, Serialize};

/// What two nodes say to each other about the two-level hash table and requests for single records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LookupMessage {}
