//! The messages of links and the broadcast tree.
//!
//! Does:      greetings that measure and keep a link; records on their way down the tree; names of
//!            records for neighbours that get them from elsewhere.
//! Bounds:    `NAMES_MAX` names, one record, a message.
//! Start at:  `SpreadMessage`.
//! Source: Leitao, Pereira, Rodrigues, "Epidemic Broadcast Trees", 2007.

use super::admission::Few;
use super::capped::Capped;
use super::coordinate::Coordinate;
use super::recon::Mark;
use super::record::RECORD_BYTES_MAX;
use serde::{Deserialize, Serialize};

/// Names in one message: at ten bytes each, which most take, they fit a datagram.
pub const NAMES_MAX: usize = 112;

/// What two neighbours say to each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpreadMessage {
    /// Be my neighbour, or: are you still there?
    Hello { number: u32 },
    /// Yes, or: I have too many.
    Here {
        number: u32,
        is_accepted: bool,
        /// Where the sender is.
        place: Coordinate,
    },
    /// We are neighbours no more.
    Bye,
    /// An encoded record, and how many nodes have passed it on.
    Payload {
        hops: u8,
        record: Capped<RECORD_BYTES_MAX>,
    },
    /// I have these: who lacks one may ask.
    Names(Few<Mark, NAMES_MAX>),
    /// Send me these, and from now on all others too.
    Graft(Few<Mark, NAMES_MAX>),
    /// I get records sooner from elsewhere: only name yours.
    Prune,
}
