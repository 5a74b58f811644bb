//! The promises, one file each.
//!
//! Does:      lists them.
//! Does not:  contain any.
//! Bounds:    `ALL`.
//! Trusts:    nothing.
//! Start at:  `ALL`, then any file: each reads like a story.

mod bad_commands;
mod bad_requests;
mod checks;
mod churn;
mod clock_1970;
mod cluster;
mod cluster_cut;
mod cluster_join;
mod cluster_power;
mod console;
mod console_flood;
mod dhcp_late;
mod dhcp_nak;
mod direct_kernel;
mod disk;
mod distant;
mod guest_alone;
mod guest_endings;
mod panic;
mod power;
mod pxe_bios;
mod pxe_dnsmasq;
mod pxe_uefi;
mod two_nics;
mod usb;
mod vmm_killed;

use crate::scenario::Scenario;

/// Every promise; what everything else stands on comes first.
pub const ALL: &[Scenario] = &[
    guest_alone::SCENARIO,
    direct_kernel::SCENARIO,
    pxe_bios::SCENARIO,
    pxe_uefi::SCENARIO,
    usb::SCENARIO,
    pxe_dnsmasq::SCENARIO,
    two_nics::SCENARIO,
    dhcp_late::SCENARIO,
    dhcp_nak::SCENARIO,
    clock_1970::SCENARIO,
    distant::SCENARIO,
    cluster_join::SCENARIO,
    cluster::SCENARIO,
    cluster_power::SCENARIO,
    cluster_cut::SCENARIO,
    power::SCENARIO,
    panic::SCENARIO,
    console::SCENARIO,
    disk::SCENARIO,
    guest_endings::SCENARIO,
    console_flood::SCENARIO,
    vmm_killed::SCENARIO,
    churn::SCENARIO,
    bad_requests::SCENARIO,
    bad_commands::SCENARIO,
];
