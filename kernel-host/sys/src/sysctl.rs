//! Kernel settings under /proc/sys.
//!
//! Does:      writes one value; lists the values every node wants.
//! Does not:  read a configuration file; there is none.
//! Bounds:    the table.
//! Trusts:    the kernel.
//! Start at:  `TABLE`.

use std::io;

/// Setting, value, reason in the comment.
#[rustfmt::skip] // keeps the columns
pub const TABLE: &[(&str, &str)] = &[
    // The kernel's own IP never speaks: all IP is ours, in user space.
    ("net/ipv6/conf/all/disable_ipv6",     "1"),
    ("net/ipv6/conf/default/disable_ipv6", "1"),
    // An oops leaves a kernel that lies: reboot, keep the message.
    ("kernel/panic_on_oops",               "1"),
    // Without memory the kernel ends one process, never the node.
    ("vm/panic_on_oom",                    "0"),
    // Nothing on a node reads kernel addresses or other processes' memory.
    ("kernel/kptr_restrict",               "2"),
    ("kernel/dmesg_restrict",              "1"),
    ("kernel/unprivileged_bpf_disabled",   "1"),
    // Ctrl-alt-del is a signal to PID 1, not a reset.
    ("kernel/ctrl-alt-del",                "0"),
];

/// A setting that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("setting {name} to {value}")]
pub struct SettingError {
    pub name: String,
    pub value: String,
    pub source: io::Error,
}

/// Writes one setting, named as below /proc/sys.
///
/// # Errors
/// When the kernel has no such setting or refuses the value.
pub fn set(name: &str, value: &str) -> Result<(), SettingError> {
    std::fs::write(format!("/proc/sys/{name}"), value).map_err(|source| SettingError {
        name: name.to_owned(),
        value: value.to_owned(),
        source,
    })
}

/// Writes the whole table; returns what was refused.
#[must_use]
pub fn set_all() -> Vec<SettingError> {
    TABLE
        .iter()
        .filter_map(|(name, value)| set(name, value).err())
        .collect()
}

/// Seconds from a kernel panic to the reboot; 0 is never. Sets `seconds` where it is 0.
///
/// # Errors
/// When the kernel refuses.
pub fn reboot_after_panic(seconds: u32) -> Result<(), SettingError> {
    let current = crate::read_attribute("/proc/sys/kernel/panic").unwrap_or_default();
    if current == "0" || current.is_empty() {
        return set("kernel/panic", &seconds.to_string());
    }
    Ok(())
}
