//! Network cores: tenants' networks, DHCP, TFTP and Ethernet frames, without I/O.
//!
//! Does:      state machines that are told bytes and time, and answer with bytes and deadlines.
//! Does not:  own a socket, a clock, a thread or dice.
//! Bounds:    every table has a named maximum beside its definition.
//! Trusts:    nobody: each byte from the network is a claim until it is parsed.
//! Start at:  `dhcp::client::Client`, `dhcp::server::Server`, `tftp::server::Server`,
//!            `switch::Switch`.

#![forbid(unsafe_code)]

pub mod dhcp;
pub mod dice;
pub mod ethernet;
pub mod offload;
pub mod packet;
pub mod switch;
pub mod tftp;

/// Fuzz targets: each takes hostile bytes and panics on a broken invariant.
pub mod fuzz {
    pub use crate::dhcp::client::fuzz_client;
    pub use crate::dhcp::message::fuzz_message;
    pub use crate::dhcp::server::fuzz_server;
    pub use crate::ethernet::fuzz_datagram;
    pub use crate::offload::fuzz_cut;
    pub use crate::packet::fuzz_packet;
    pub use crate::switch::dns::fuzz_names;
    pub use crate::switch::fuzz::fuzz_switch;
    pub use crate::switch::shim::fuzz_shim;
    pub use crate::tftp::server::fuzz_tftp;
}
