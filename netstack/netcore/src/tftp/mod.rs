//! TFTP (RFC 1350, 2347, 2348, 2349, 7440), reading only.
//!
//! Does:      `packet` turns bytes into values and back; `server` serves files to firmwares.
//! Does not:  write: a request to write is refused.
//! Bounds:    one datagram a packet, and the server's own maxima.
//! Trusts:    nobody.
//! Start at:  `server::Server`.

pub mod packet;
pub mod server;

/// Where requests go.
pub const PORT: u16 = 69;
