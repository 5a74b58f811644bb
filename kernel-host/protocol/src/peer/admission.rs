//! The messages of joining, renewal and approval.
//!
//! Start at:  `AdmissionMessage`.

use serde::{Deserialize, Serialize};

/// What two nodes say to each other about joining, renewal and approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdmissionMessage {}
