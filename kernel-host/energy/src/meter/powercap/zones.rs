//! Which zones a powercap tree has: by their names, not by the numbers of their folders.
//!
//! Does:      reads `name`, range and limits of each folder; drops what would be counted twice.
//! Does not:  follow counters (`counter`).
//! Bounds:    `ZONES_MAX`; further folders are left out.
//! Trusts:    nobody: a folder that makes no sense is no zone.
//! Start at:  `found`.

use super::counter::Counter;
use crate::meter::{Files, Zone};
use protocol::Microwatts;

/// 8 packages of 2 dies with 4 zones each.
pub(super) const ZONES_MAX: usize = 64;

pub(super) const ROOT: &str = "/sys/class/powercap";
/// What is read of each folder when the tree is looked at.
pub(super) const FILES: [&str; 9] = [
    "name",
    "energy_uj",
    "max_energy_range_uj",
    "constraint_0_max_power_uw",
    "constraint_1_max_power_uw",
    "constraint_2_max_power_uw",
    "constraint_0_power_limit_uw",
    "constraint_1_power_limit_uw",
    "constraint_2_power_limit_uw",
];

/// What a zone can draw where its limits are not told, and where they are told beyond reason.
const CAP: Microwatts = Microwatts::from_watts(1000);
/// Limits of small machines are below what they draw for a moment.
const CAP_LEAST: Microwatts = Microwatts::from_watts(100);

/// A zone of the tree.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub zone: Zone,
    pub die: u8,
    /// Its counter's file.
    pub energy: String,
    /// Read through the memory-mapped twin of the register.
    mapped: bool,
    pub counter: Counter,
}

/// All zones of the tree, each physical counter once per way to read it; in order.
pub(super) fn found(files: &Files) -> Vec<Found> {
    let mut all: Vec<Found> = files
        .paths()
        .filter_map(|path| path.strip_suffix("/name"))
        .filter_map(|folder| one(files, folder))
        .collect();
    let direct: Vec<(Zone, u8)> = all
        .iter()
        .filter(|found| !found.mapped)
        .map(|found| (found.zone, found.die))
        .collect();
    all.retain(|found| !found.mapped || !direct.contains(&(found.zone, found.die)));
    all.sort_by_key(|found| (found.zone, found.die, found.mapped));
    all.dedup_by_key(|found| (found.zone, found.die));
    all.truncate(ZONES_MAX);
    all
}

fn one(files: &Files, folder: &str) -> Option<Found> {
    let text = |file: &str| files.text(&format!("{folder}/{file}")).ok();
    let number = |file: &str| files.number(&format!("{folder}/{file}")).ok();
    let name = text("name")?;
    let (zone, die) = match package(name) {
        Some((socket, die)) => (Zone::Package(socket), die),
        None if name == "psys" => (Zone::Platform, 0),
        None => {
            // `intel-rapl:1:0`: the folder above it is `intel-rapl:1`, whose name says the package.
            let (above, _) = folder.rsplit_once(':')?;
            let (socket, die) = package(files.text(&format!("{above}/name")).ok()?)?;
            let zone = match name {
                "core" => Zone::Cores(socket),
                "uncore" => Zone::Uncore(socket),
                "dram" => Zone::Dram(socket),
                _ => return None,
            };
            (zone, die)
        }
    };
    let told = (0..3)
        .flat_map(|n| {
            let of = |what: &str| number(&format!("constraint_{n}_{what}_uw"));
            [of("max_power"), of("power_limit")]
        })
        .flatten()
        .max()
        .filter(|most| *most > 0);
    let most = told.map_or(CAP, |most| Microwatts(most.saturating_mul(3) / 2));
    Some(Found {
        zone,
        die,
        energy: format!("{folder}/energy_uj"),
        mapped: folder.contains("-mmio"),
        counter: Counter::new(number("max_energy_range_uj"), most.clamp(CAP_LEAST, CAP)),
    })
}

/// `package-1` and `package-1-die-0`.
fn package(name: &str) -> Option<(u8, u8)> {
    let rest = name.strip_prefix("package-")?;
    match rest.split_once("-die-") {
        Some((socket, die)) => Some((socket.parse().ok()?, die.parse().ok()?)),
        None => Some((rest.parse().ok()?, 0)),
    }
}
