//! Network cores: what DHCP, TFTP and Ethernet frames mean, without I/O.
//!
//! Does:      state machines that are told bytes and time, and answer with bytes and deadlines.
//! Does not:  own a socket, a clock, a thread or dice.
//! Bounds:    every table has a named maximum beside its definition.
//! Trusts:    nobody: each byte from the network is a claim until it is parsed.
//! Start at:  `dhcp::client::Client`, `dhcp::server::Server`, `tftp::server::Server`.

#![forbid(unsafe_code)]

pub mod dhcp;
pub mod dice;
pub mod ethernet;
