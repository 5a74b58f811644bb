//! A wire with what a LAN has: a DHCP and boot server, and our own client.
//!
//! Does:      puts the pieces on one wire with fixed addresses.
//! Does not:  start machines.
//! Bounds:    one network, 10.77.0.0/24.
//! Trusts:    its own pieces; machines on the wire are strangers.
//! Start at:  `Lan`.

mod bridge;
mod dnsmasq;
mod rogue;
mod station;

pub use bridge::Bridge;
pub use dnsmasq::Dnsmasq;
pub use rogue::{OFFERED, Rogue};
pub use station::Station;
