//! DHCP for IPv4 (RFC 2131, 2132, 3396, 6842), both sides, and PXE's use of it.
//!
//! Does:      `message` and `options` turn bytes into values and back; `client` gets and keeps a
//!            lease; `server` gives leases, or only boot files beside another server.
//! Does not:  send or receive; frames and sockets are the caller's.
//! Bounds:    a message is one datagram; each table's maximum stands beside it.
//! Trusts:    nobody: whoever is on the LAN can answer, so the rules for strangers are in `client`.
//! Start at:  `message::Message`, then `client::Client` or `server::Server`.

pub mod boot;
pub mod client;
pub mod lease;
pub mod message;
pub mod options;
pub mod pool;
pub mod server;

/// Where servers listen.
pub const SERVER_PORT: u16 = 67;
/// Where clients listen.
pub const CLIENT_PORT: u16 = 68;
/// Where a proxy answers PXE clients that were told to ask it.
pub const PXE_PORT: u16 = 4011;
