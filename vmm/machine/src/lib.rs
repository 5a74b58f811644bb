//! KVM machines: vCPUs, memory, boot, PCI, ACPI, jail.
//!
//! Does:      builds and runs one virtual machine in a jailed process of its own.
//! Does not:  know nodes, networks or images; the caller passes descriptors.
//! Bounds:    see `control`: vCPUs, memory, disks, packets.
//! Trusts:    the kernel's KVM and the parent process; the guest for nothing.
//! Start at:  `control` for what a parent says, `child::serve` for what the child does.

#![deny(unsafe_op_in_unsafe_fn)]

mod acpi;
mod boot;
mod bus;
pub mod child;
mod console_stream;
pub mod control;
mod disk;
pub mod fuzz;
mod io_loop;
mod jail;
mod layout;
mod legacy;
mod memory;
mod probe;
mod slots;
pub mod spawn;
pub mod standalone;
mod vcpu;
mod vm;
mod wire;

pub use probe::{KvmProblem, probe};
pub use wire::ABILITIES_BYTES;
