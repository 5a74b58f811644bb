//! No byte between nodes travels in the clear: sessions over datagrams and over byte streams.
//!
//! Does:      the Noise handshake XX (both sides show a long-lived key and what their `Gate` gives
//!            them), sealed datagrams with a replay window, sealed streams; retransmission, rekeys,
//!            roaming, floods of strangers, quick recovery after one side has restarted.
//! Does not:  do I/O, know what a certificate says (`Gate`, implemented over `identity`) or what
//!            the messages mean (`overlay`); order or repeat datagrams; tunnel guests' frames.
//! Bounds:    `Limits`, and the constants beside each table; a full table's behaviour is written
//!            there and counted in `Counters`.
//! Trusts:    its caller for the time and for a seed nobody can guess; nobody on the wire.
//! Start at:  `Datagrams`, `Stream`; what is on the wire stands in `packet` and `stream::frame`.

#![forbid(unsafe_code)]

pub mod crypto;
pub mod datagrams;

pub mod fuzz;
pub mod gate;
mod handshake;
pub mod hello;
pub mod packet;
pub mod stream;

pub use crypto::{Rng, Secret};
pub use datagrams::{Counters, Datagrams, Destination, Limits, NotSent, Output, Reason};
pub use gate::{Gate, Peer, Refusal};
pub use hello::Hello;
pub use stream::{Broken, Purpose, Stream, StreamEvent};

/// The port of datagrams and of streams.
pub const PORT: u16 = 12_213;
