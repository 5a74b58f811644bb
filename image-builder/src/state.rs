//! The state disk: where a node keeps its key, its life number and what it knows over power cuts.
//!
//! Does:      makes a raw disk with one empty partition, which the node that finds it adopts.
//! Does not:  write anything into the partition: the node that finds it does.
//! Bounds:    `STATE_BYTES_MIN` to `STATE_BYTES_MAX`.
//! Trusts:    the operator for the path; an existing file is never touched.
//! Start at:  `create`.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::Error;
use crate::partitions::{FIRST_SECTOR, Partition, SECTOR_BYTES, TAIL_SECTORS, Table};

/// The partition's name: nodes look for it, and for nothing else.
pub const STATE_LABEL: &str = "luc-state";
/// A day of records of a large cluster fits twice.
pub const STATE_BYTES_MIN: u64 = 16 << 20;
pub const STATE_BYTES_MAX: u64 = 1 << 40;

/// Our own partition type, in the byte order of the disk: random, made once.
const STATE_TYPE: [u8; 16] = [
    0x1c, 0x5a, 0x0e, 0x74, 0x9b, 0x62, 0x51, 0x4f, 0xa3, 0x17, 0x6c, 0x75, 0x63, 0x2d, 0x73, 0x74,
];

/// Makes a raw disk image of `bytes` (rounded down to whole mebibytes) at `path`; `id` is random
/// bytes, so that no two disks have equal ids.
pub fn create(path: &Path, bytes: u64, id: [u8; 32]) -> Result<(), Error> {
    if !(STATE_BYTES_MIN..=STATE_BYTES_MAX).contains(&bytes) {
        let (min, max) = (STATE_BYTES_MIN >> 20, STATE_BYTES_MAX >> 20);
        return Err(Error::StateDisk {
            path: path.to_owned(),
            reason: format!("{} MiB are not between {min} and {max}", bytes >> 20),
        });
    }
    let refused = |error: io::Error| Error::StateDisk {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let bytes = bytes >> 20 << 20;
    let sectors = usize::try_from(bytes).unwrap_or(usize::MAX) / SECTOR_BYTES;
    let (mut disk, mut partition) = ([0; 16], [0; 16]);
    disk.copy_from_slice(&id[..16]);
    partition.copy_from_slice(&id[16..]);
    let row = Partition {
        kind: STATE_TYPE,
        id: crate::media::version_8(partition),
        sectors: FIRST_SECTOR..sectors - TAIL_SECTORS,
        name: STATE_LABEL,
    };
    let table = Table::new(crate::media::version_8(disk), sectors, &[row]);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(refused)?;
    let back = bytes - table.back.len() as u64;
    file.set_len(bytes)
        .and_then(|()| file.write_all_at(&table.front, 0))
        .and_then(|()| file.write_all_at(&table.back, back))
        .and_then(|()| file.sync_all())
        .map_err(refused)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn another_reader_finds_one_partition_with_our_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.img");
        create(&path, 17 << 20, [7; 32]).unwrap();
        let table = gpt::GptConfig::new().writable(false).open(&path).unwrap();
        assert!(table.backup_header().is_ok());
        let rows: Vec<_> = table.partitions().values().collect();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].name, STATE_LABEL);
        assert_eq!(rows[0].first_lba, 2048);
        assert_eq!(rows[0].last_lba, 16 * 2048 - 1);
    }

    #[test]
    fn a_file_that_exists_and_a_size_that_makes_no_sense_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.img");
        std::fs::write(&path, b"photos").unwrap();
        assert!(create(&path, 64 << 20, [7; 32]).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"photos");
        assert!(create(&folder.path().join("small"), 1 << 20, [7; 32]).is_err());
    }
}
