//! The promises, one file each.
//!
//! Does:      lists them.
//! Does not:  contain any.
//! Bounds:    `ALL`.
//! Trusts:    nothing.
//! Start at:  `ALL`, then any file: each reads like a story.

mod guest_alone;

use crate::scenario::Scenario;

/// Every promise, quick ones first.
pub const ALL: &[Scenario] = &[guest_alone::SCENARIO];
