//! Where a node is in a space in which distance is round-trip time.
//!
//! Does not:  compute (`overlay::coordinates`).
//! Start at:  `Coordinate`.

use serde::{Deserialize, Serialize};

/// A place in microseconds of round-trip time, and how far it is from the space's own ground: the
/// node's line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coordinate {
    pub axes_us: [i32; 3],
    pub height_us: u32,
    /// How unsure the node is, in thousandths: 1000 at the start.
    pub error_milli: u16,
}
