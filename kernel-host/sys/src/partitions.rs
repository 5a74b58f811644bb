//! Partitions that carry a name of ours.
//!
//! Does:      lists block devices whose partition name the kernel read from a GPT; opens one.
//! Does not:  read partition tables or file systems; the kernel has.
//! Bounds:    `DEVICES_MAX` block devices are looked at, in the order of their names.
//! Trusts:    the kernel's /sys; a name is a claim of whoever wrote the disk.
//! Start at:  `named`.

use rustix::fs::{Mode, OFlags, open};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Where the kernel lists block devices.
const LIST: &str = "/sys/class/block";
/// A server with 24 disks of 8 partitions has 216.
const DEVICES_MAX: usize = 4096;
const SECTOR_BYTES: u64 = 512;

/// A partition with the wanted name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// The kernel's name, such as `vda1`.
    pub name: String,
    pub bytes: u64,
    pub read_only: bool,
}

/// All partitions whose GPT name is `wanted`.
///
/// # Errors
/// When the list of block devices can't be read. A machine without any has an empty list.
pub fn named(wanted: &str) -> io::Result<Vec<Partition>> {
    named_in(Path::new(LIST), wanted)
}

fn named_in(list: &Path, wanted: &str) -> io::Result<Vec<Partition>> {
    let folder = match std::fs::read_dir(list) {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths: Vec<PathBuf> = folder
        .take(DEVICES_MAX)
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    let found = paths.iter().filter_map(|path| describe(path, wanted));
    Ok(found.collect())
}

fn describe(path: &Path, wanted: &str) -> Option<Partition> {
    let facts = crate::read_attribute(path.join("uevent")).ok()?;
    let name = facts
        .lines()
        .find_map(|line| line.strip_prefix("PARTNAME="))?;
    if name != wanted {
        return None;
    }
    let sectors: u64 = crate::read_attribute(path.join("size"))
        .ok()?
        .parse()
        .ok()?;
    let read_only = crate::read_attribute(path.join("ro")).ok()? != "0";
    Some(Partition {
        name: path.file_name()?.to_str()?.to_owned(),
        bytes: sectors.checked_mul(SECTOR_BYTES)?,
        read_only,
    })
}

impl Partition {
    /// Opens it for reading and writing, and for us alone: a second opening of the same kind, and
    /// a mount, are refused by the kernel.
    ///
    /// # Errors
    /// When the device file is missing or the partition is in use.
    pub fn open(&self) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::EXCL | OFlags::CLOEXEC;
        let path = Path::new("/dev").join(&self.name);
        Ok(File::from(open(path, flags, Mode::empty())?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Partition, named_in};

    #[test]
    fn partitions_are_found_by_their_name_in_the_order_of_theirs() {
        let list = tempfile::tempdir().unwrap();
        for (name, label, sectors, ro) in [
            ("vdb1", "PARTNAME=luc-state\n", "2048\n", "0\n"),
            ("vda1", "PARTNAME=luc-state\n", "4096\n", "1\n"),
            ("vdc1", "PARTNAME=LUCBOOT\n", "4096\n", "0\n"),
            ("vdd", "", "4096\n", "0\n"),
            ("vde1", "PARTNAME=luc-state\n", "many\n", "0\n"),
        ] {
            let folder = list.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("uevent"), format!("MAJOR=254\n{label}")).unwrap();
            std::fs::write(folder.join("size"), sectors).unwrap();
            std::fs::write(folder.join("ro"), ro).unwrap();
        }
        let partition = |name: &str, bytes, read_only| Partition {
            name: name.to_owned(),
            bytes,
            read_only,
        };
        assert_eq!(
            named_in(list.path(), "luc-state").unwrap(),
            [
                partition("vda1", 2 << 20, true),
                partition("vdb1", 1 << 20, false)
            ]
        );
        assert_eq!(named_in(&list.path().join("none"), "x").unwrap(), []);
    }
}
