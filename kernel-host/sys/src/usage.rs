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

/// How busy the processors were in the last minute, in thousandths of all of them; 0 if Linux
/// does not say.
#[must_use]
pub fn load_permille(processors: u32) -> u32 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load_in(&text).unwrap_or(0) / processors.max(1)
}

/// `0.25 0.10 0.05 ...`: waiting and running tasks of the last minute, in thousandths.
fn load_in(text: &str) -> Option<u32> {
    let (whole, parts) = text.split_whitespace().next()?.split_once('.')?;
    let (whole, parts): (u32, u32) = (whole.parse().ok()?, parts.parse().ok()?);
    Some(
        whole
            .saturating_mul(1000)
            .saturating_add(parts.saturating_mul(10)),
    )
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
    fn loads_are_thousandths() {
        for (text, load) in [
            ("0.25 0.10 0.05 1/80 999\n", Some(250)),
            ("12.00 1 1", Some(12_000)),
            ("busy", None),
            ("", None),
        ] {
            assert_eq!(load_in(text), load, "{text:?}");
        }
    }

    #[test]
    fn a_line_without_a_number_is_zero() {
        assert_eq!(kilobytes("VmRSS:\t  1234 kB\n", "VmRSS:"), 1234 * 1024);
        assert_eq!(kilobytes("VmRSS:\t  lots kB\n", "VmRSS:"), 0);
        assert_eq!(kilobytes("", "VmRSS:"), 0);
    }
}
