//! Coldplug: the devices that were there before anybody listened.
//!
//! Does:      collects the `modalias` of every device.
//! Does not:  walk the whole of /sys: a device that a module can serve is on a bus, is an input
//!            device, or is the processor. Looking only there takes a tenth of the time.
//! Bounds:    `DEVICES_MAX` aliases of at most `MODALIAS_MAX` bytes; more are counted and left out.
//! Trusts:    /sys.
//! Start at:  `modaliases`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A large server has about 1500 devices.
pub const DEVICES_MAX: usize = 16_384;
/// The longest, the processor's feature list, takes about 1500 bytes.
pub const MODALIAS_MAX: usize = 4096;

/// What the walk found.
#[derive(Debug, Default)]
pub struct Coldplug {
    pub modaliases: BTreeSet<String>,
    /// Aliases beyond the bounds.
    pub left_out: usize,
}

/// Collects all device aliases below `sys` (`/sys`, or a copy in a test).
#[must_use]
pub fn modaliases(sys: &Path) -> Coldplug {
    let mut found = Coldplug::default();
    found.take(&sys.join("devices/system/cpu/modalias"));
    let mut folders: Vec<PathBuf> = vec![sys.join("class/input"), sys.join("class/dmi")];
    for bus in entries(&sys.join("bus")) {
        // Memory blocks and processors are many and have no module but the processor's own.
        if !matches!(
            bus.file_name().and_then(|name| name.to_str()),
            Some("memory" | "cpu")
        ) {
            folders.push(bus.join("devices"));
        }
    }
    for folder in folders {
        for device in entries(&folder) {
            found.take(&device.join("modalias"));
        }
    }
    found
}

impl Coldplug {
    fn take(&mut self, file: &Path) {
        let Ok(text) = crate::read_attribute(file) else {
            return;
        };
        if text.is_empty() {
            return;
        }
        if text.len() > MODALIAS_MAX || self.modaliases.len() >= DEVICES_MAX {
            self.left_out += 1;
        } else {
            self.modaliases.insert(text);
        }
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn devices_on_buses_inputs_and_the_processor_are_found_once() {
        let sys = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = sys.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("devices/system/cpu/modalias", "cpu:type:x86\n");
        write("bus/pci/devices/0000:00:01.0/modalias", "pci:v1\n");
        write("bus/pci/devices/0000:00:02.0/modalias", "pci:v1\n");
        write("bus/memory/devices/memory0/modalias", "memory:0\n");
        write("class/input/input0/modalias", "input:b0019\n");
        write("bus/acpi/devices/EMPTY/modalias", "\n");
        let found = modaliases(sys.path());
        let list: Vec<_> = found.modaliases.iter().map(String::as_str).collect();
        assert_eq!(list, ["cpu:type:x86", "input:b0019", "pci:v1"]);
        assert_eq!(found.left_out, 0);
    }
}
