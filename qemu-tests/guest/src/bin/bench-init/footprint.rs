//! The memory that a VM costs beyond its guest's own.
//!
//! Does:      runs a guest that idles after its token, and sums what its processes hold.
//! Does not:  count what the kernel holds for a VM: page tables are the same for everyone.
//! Bounds:    one look.
//! Trusts:    the kernel's `smaps`.
//! Start at:  `measure`.

use std::fs;
use std::time::Duration;

use guest::bench::FOOTPRINT;

use crate::procfs;
use crate::run::Program;

/// After the token the program ends what it does besides.
const SETTLE: Duration = Duration::from_secs(1);

/// Memory of processes, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    /// Present pages, each mapping counted.
    rss_kib: u64,
    /// Present pages, shared ones counted once over all who share them.
    pss_kib: u64,
    /// Present pages that are the guest's memory.
    guest_kib: u64,
}

/// Runs the program until its guest's token, and looks.
pub fn measure(program: &Program<'_>, guest_mib: u64) -> Result<String, String> {
    let mut running = program.start()?;
    while running.stamps.token.is_none() {
        if !running.read_some()? {
            return Err("ended without a token".to_owned());
        }
    }
    std::thread::sleep(SETTLE);
    let mut sum = Held::default();
    let family = procfs::family(running.id());
    for member in &family {
        let path = format!("/proc/{member}/smaps");
        let text = fs::read_to_string(&path).map_err(|source| format!("{path}: {source}"))?;
        let held = held(&text, guest_mib * 1024);
        sum.rss_kib += held.rss_kib;
        sum.pss_kib += held.pss_kib;
        sum.guest_kib += held.guest_kib;
    }
    Ok(format!(
        "{FOOTPRINT} program={} processes={} rss_kib={} pss_kib={} guest_kib={}",
        program.name,
        family.len(),
        sum.rss_kib,
        sum.pss_kib,
        sum.guest_kib
    ))
}

/// Sums the mappings of one process. One of at least half the guest's memory is the guest's:
/// nothing else in a VM program is as big, and programs split the memory at the low holes only.
fn held(smaps: &str, guest_kib: u64) -> Held {
    let mut held = Held::default();
    let mut is_guest = false;
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(key), Some(value)) = (words.next(), words.next()) else {
            continue;
        };
        let Ok(kib) = value.parse::<u64>() else {
            continue;
        };
        match key {
            "Size:" => is_guest = kib >= guest_kib / 2,
            "Rss:" if is_guest => held.guest_kib += kib,
            "Rss:" => held.rss_kib += kib,
            "Pss:" if !is_guest => held.pss_kib += kib,
            _ => {}
        }
    }
    held
}

#[cfg(test)]
mod tests {
    use super::{Held, held};

    #[test]
    fn the_guests_memory_is_told_from_the_programs() {
        let smaps = "\
7f00-7f80 rw-s 00000000 00:01 5 /memfd:guest (deleted)
Size:             131072 kB
Rss:               60000 kB
Pss:               60000 kB
5500-5600 r-xp 00000000 00:02 7 /bin/luc
Size:               2048 kB
Rss:                1024 kB
Pss:                 512 kB
VmFlags: rd ex mr";
        let expected = Held {
            rss_kib: 1024,
            pss_kib: 512,
            guest_kib: 60000,
        };
        assert_eq!(held(smaps, 131_072), expected);
    }
}
