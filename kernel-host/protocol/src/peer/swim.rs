//! The messages of the failure detector of a site.
//!
//! Start at:  `SwimMessage`.

use serde::{Deserialize, Serialize};

/// What two nodes say to each other about the failure detector of a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SwimMessage {}
