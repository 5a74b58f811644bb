//! The rig: machines in QEMU, on wires in user space, that keep the promises of LUC OS.
//!
//! Does:      runs every scenario, the demonstration and the benchmarks, unprivileged.
//! Does not:  contain anything that ships.
//! Bounds:    two scenarios at a time; each has a time limit; machines and ports are counted.
//! Trusts:    QEMU and Debian's firmware; nothing that runs inside them.
//! Start at:  `scenarios`, which read like stories; then `machine` and `wire`.

#![forbid(unsafe_code)]

pub mod bench;
pub mod checks;
pub mod cluster;
pub mod command;
pub mod demo;
pub mod folders;
pub mod lan;
pub mod luc;
pub mod machine;
pub mod node;
pub mod packages;
pub mod probe;
pub mod progress;
pub mod scenario;
pub mod scenarios;
pub mod stages;
pub mod story;
pub mod supplies;
pub mod wire;
