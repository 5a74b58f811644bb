//! Linux, as far as a node needs it: one small module per kernel facility.
//!
//! Does:      mounts, module loading, coldplug, network devices, watchdog, consoles, processes,
//!            control groups, power; each call answers with an error that names its object.
//! Does not:  decide anything. Order, retry and policy live in `node`.
//! Bounds:    every list read from the kernel has a named maximum (`*_MAX`).
//! Trusts:    the kernel's own files in /proc and /sys; nothing else.
//! Start at:  `mounts::mount_all`, then `loader::Loader`, which are PID 1's first two steps.

#![deny(unsafe_op_in_unsafe_fn)]

pub mod aliases;
pub mod buttons;
pub mod cgroups;
pub mod clock;
pub mod consoles;
pub mod cpu_time;
pub mod devices;
pub mod dmi;
pub mod kernel_log;
pub mod links;
pub mod loader;
pub mod memory_file;
pub mod modules;
pub mod mounts;
pub mod nics;
pub mod oem_strings;
pub mod partitions;
pub mod poller;
pub mod power;
pub mod processes;
pub mod sensors;
pub mod seqpacket;
pub mod signals;
pub mod sysctl;
pub mod uevents;
pub mod usage;
pub mod watchdog;

/// Reads a small kernel file (a sysfs attribute, a line of /proc) without its trailing newline.
///
/// # Errors
/// When the file is absent, unreadable or not UTF-8.
pub fn read_attribute(path: impl AsRef<std::path::Path>) -> std::io::Result<String> {
    let mut text = std::fs::read_to_string(path)?;
    text.truncate(text.trim_end().len());
    Ok(text)
}
