//! The messages with which speakers watch other sites.
//!
//! Start at:  `DirectoryMessage`.

use super::Stamp;
use serde::{Deserialize, Serialize};

/// Whether a site still answers. Any of its nodes may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DirectoryMessage {
    Ask { number: u32, wall: Stamp },
    Here { number: u32, wall: Stamp },
}
