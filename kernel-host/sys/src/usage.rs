//! What processes and the machine use.
//!
//! Does:      reads resident memory and open descriptors of a process, and the machine's memory.
//! Does not:  keep a history.
//! Bounds:    none needed: each call reads one small file or counts one folder.
//! Trusts:    /proc.
//! Start at:  `process`.

use std::io;

/// What one process uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessUsage {
    /// Resident pages, the program file's own included.
    pub resident_bytes: u64,
    /// Resident pages that are not backed by a file: what the process alone costs.
    pub private_bytes: u64,
    pub descriptors: u32,
}

/// The machine's memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryUsage {
    pub total_bytes: u64,
    pub available_bytes: u64,
}

/// Reads the usage of a process (`self` or a number).
///
/// # Errors
/// When the process is gone.
pub fn process(pid: &str) -> io::Result<ProcessUsage> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count();
    Ok(ProcessUsage {
        resident_bytes: kilobytes(&status, "VmRSS:"),
        private_bytes: kilobytes(&status, "RssAnon:"),
        descriptors: u32::try_from(descriptors).unwrap_or(u32::MAX),
    })
}

/// Reads the machine's memory.
///
/// # Errors
/// When /proc is not mounted.
pub fn memory() -> io::Result<MemoryUsage> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    Ok(MemoryUsage {
        total_bytes: kilobytes(&text, "MemTotal:"),
        available_bytes: kilobytes(&text, "MemAvailable:"),
    })
}

/// The processors that are on line.
#[must_use]
pub fn processors() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1))
}

/// The line `Name:   123 kB`, in bytes; 0 where there is none.
fn kilobytes(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .map_or(0, |kilobytes| kilobytes.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn this_test_uses_memory_and_descriptors() {
        let own = process("self").unwrap();
        assert!(own.resident_bytes > 0 && own.descriptors >= 3, "{own:?}");
        let machine = memory().unwrap();
        assert!(machine.total_bytes > machine.available_bytes, "{machine:?}");
    }

    #[test]
    fn a_line_without_a_number_is_zero() {
        assert_eq!(kilobytes("VmRSS:\t  1234 kB\n", "VmRSS:"), 1234 * 1024);
        assert_eq!(kilobytes("VmRSS:\t  lots kB\n", "VmRSS:"), 0);
        assert_eq!(kilobytes("", "VmRSS:"), 0);
    }
}
