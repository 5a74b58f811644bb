//! The messages of links and the broadcast tree.
//!
//! Start at:  `SpreadMessage`.

use serde::{Deserialize, Serialize};

/// What two nodes say to each other about links and the broadcast tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpreadMessage {}
