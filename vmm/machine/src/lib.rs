//! KVM machines: vCPUs, memory, boot, PCI, ACPI, jail.

#![deny(unsafe_op_in_unsafe_fn)]

pub mod control;
