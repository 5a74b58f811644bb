//! Partition tables: GPT, and MBR with its chain of logical partitions.
//!
//! Does:      lists where partitions lie, under the numbers that Linux and GRUB give them.
//! Does not:  repair: a damaged GPT is tried from its copy at the disk's end, then MBR.
//! Bounds:    `PARTITIONS_MAX`; `LOGICAL_MAX` links of the chain.
//! Trusts:    nothing; ranges are cut at the disk's end by `Disk::slice`.
//! Start at:  `list`.

use crate::disk::{Disk, ReadError, u32_at, u64_at};

/// A partition table has 128 slots by convention; more are not looked at.
pub(crate) const PARTITIONS_MAX: usize = 128;
const LOGICAL_MAX: usize = 60;
const SECTOR_BYTES: u64 = 512;
/// Disks with large sectors have their GPT header at the second of those.
const LARGE_SECTOR_BYTES: u64 = 4096;
const ENTRY_BYTES_MAX: u32 = 4096;

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    /// 1, 2, ... as in `vda1`.
    pub(crate) number: usize,
    pub(crate) start: u64,
    pub(crate) len: u64,
    /// What `root=PARTUUID=` would say.
    pub(crate) uuid: String,
}

/// All partitions, and the table's name. Empty without a table.
pub(crate) fn list(disk: &Disk) -> Result<(&'static str, Vec<Partition>), ReadError> {
    for sector in [SECTOR_BYTES, LARGE_SECTOR_BYTES] {
        let last = (disk.len() / sector).saturating_sub(1);
        for header in [1, last] {
            if let Some(found) = gpt(disk, sector, header)? {
                return Ok(("GPT", found));
            }
        }
    }
    let found = mbr(disk)?;
    Ok((if found.is_empty() { "no" } else { "MBR" }, found))
}

fn gpt(disk: &Disk, sector: u64, header: u64) -> Result<Option<Vec<Partition>>, ReadError> {
    let Some(at) = header
        .checked_mul(sector)
        .filter(|at| at + 92 <= disk.len())
    else {
        return Ok(None);
    };
    let head: [u8; 92] = disk.array(at)?;
    if !head.starts_with(b"EFI PART") {
        return Ok(None);
    }
    let first = u64_at(&head, 72);
    let count = usize::try_from(u32_at(&head, 80)).unwrap_or(usize::MAX);
    let size = u32_at(&head, 84);
    if !(128..=ENTRY_BYTES_MAX).contains(&size) {
        return Ok(None);
    }
    let mut found = Vec::new();
    for number in 0..count.min(PARTITIONS_MAX) {
        let at = first
            .checked_mul(sector)
            .and_then(|at| at.checked_add(number as u64 * u64::from(size)));
        let Some(at) = at else { return Ok(None) };
        let entry: [u8; 48] = match disk.array(at) {
            Err(ReadError::Outside { .. }) => return Ok(None),
            other => other?,
        };
        if entry[..16] == [0; 16] {
            continue;
        }
        let (from, to) = (u64_at(&entry, 32), u64_at(&entry, 40));
        let start = from.checked_mul(sector);
        let len = to
            .checked_sub(from)
            .and_then(|len| len.checked_add(1)?.checked_mul(sector));
        if let (Some(start), Some(len)) = (start, len) {
            found.push(Partition {
                number: number + 1,
                start,
                len,
                uuid: guid(&entry[16..32]),
            });
        }
    }
    Ok(Some(found))
}

/// A GUID as Linux writes it: three numbers little-endian, the rest in order.
fn guid(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for at in [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15] {
        if [5, 7, 8, 10].contains(&at) {
            text.push('-');
        }
        text.push_str(&format!("{:02x}", bytes[at]));
    }
    text
}

fn mbr(disk: &Disk) -> Result<Vec<Partition>, ReadError> {
    if disk.len() < SECTOR_BYTES {
        return Ok(Vec::new());
    }
    let sector: [u8; 512] = disk.array(0)?;
    if !signed(&sector) || !plausible(&sector) {
        return Ok(Vec::new());
    }
    let id = u32_at(&sector, 440);
    let uuid = |number: usize| format!("{id:08x}-{number:02x}");
    let mut found = Vec::new();
    for number in 1..=4 {
        let Some((kind, start, len)) = slot(&sector, number - 1) else {
            continue;
        };
        if [0x05, 0x0f, 0x85].contains(&kind) {
            logical(disk, start, &mut found, uuid)?;
        } else {
            found.push(Partition {
                number,
                start: start * SECTOR_BYTES,
                len: len * SECTOR_BYTES,
                uuid: uuid(number),
            });
        }
    }
    found.sort_by_key(|partition| partition.number);
    Ok(found)
}

/// Logical partitions: a chain of tables inside the extended one.
fn logical(
    disk: &Disk,
    extended: u64,
    found: &mut Vec<Partition>,
    uuid: impl Fn(usize) -> String,
) -> Result<(), ReadError> {
    let mut table = extended;
    for number in 5..5 + LOGICAL_MAX {
        let sector: [u8; 512] = match disk.array(table.saturating_mul(SECTOR_BYTES)) {
            Err(ReadError::Outside { .. }) => return Ok(()),
            other => other?,
        };
        if !signed(&sector) {
            return Ok(());
        }
        if let Some((_, start, len)) = slot(&sector, 0) {
            found.push(Partition {
                number,
                start: (table + start) * SECTOR_BYTES,
                len: len * SECTOR_BYTES,
                uuid: uuid(number),
            });
        }
        match slot(&sector, 1) {
            Some((_, next, _)) => table = extended + next,
            None => return Ok(()),
        }
    }
    Ok(())
}

fn signed(sector: &[u8; 512]) -> bool {
    sector[510..] == [0x55, 0xaa]
}

/// A boot sector of FAT is signed too; in a table the first byte of each slot is 0 or 0x80.
fn plausible(sector: &[u8; 512]) -> bool {
    (0..4).all(|number| sector[446 + number * 16] & 0x7f == 0)
}

/// Kind, first sector and length of a used slot.
fn slot(sector: &[u8; 512], number: usize) -> Option<(u8, u64, u64)> {
    let at = 446 + number * 16;
    let (kind, start, len) = (
        sector[at + 4],
        u32_at(sector, at + 8),
        u32_at(sector, at + 12),
    );
    (kind != 0 && start != 0 && len != 0).then_some((kind, u64::from(start), u64::from(len)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::list;
    use crate::disk::{Bytes, Disk, Limits};

    fn read(bytes: Vec<u8>) -> (&'static str, Vec<(usize, u64, u64, String)>) {
        let disk = Disk::new(Box::new(Bytes(bytes.into())), Limits::default());
        let (table, found) = list(&disk).unwrap();
        let row = |one: super::Partition| (one.number, one.start, one.len, one.uuid);
        (table, found.into_iter().map(row).collect())
    }

    fn slot(sector: &mut [u8], number: usize, kind: u8, start: u32, len: u32) {
        let at = 446 + number * 16;
        sector[at + 4] = kind;
        sector[at + 8..at + 12].copy_from_slice(&start.to_le_bytes());
        sector[at + 12..at + 16].copy_from_slice(&len.to_le_bytes());
        sector[510..512].copy_from_slice(&[0x55, 0xaa]);
    }

    #[test]
    fn logical_partitions_are_found_through_their_chain() {
        let mut disk = vec![0; 64 * 512];
        disk[440..444].copy_from_slice(&0x1234_abcd_u32.to_le_bytes());
        slot(&mut disk, 0, 0x83, 1, 4);
        slot(&mut disk, 2, 0x05, 10, 40);
        slot(&mut disk[10 * 512..], 0, 0x83, 2, 3);
        slot(&mut disk[10 * 512..], 1, 0x05, 20, 5);
        slot(&mut disk[30 * 512..], 0, 0x83, 1, 2);
        slot(&mut disk[30 * 512..], 1, 0x05, 20, 5); // a ring: the bound ends it
        let (table, found) = read(disk);
        assert_eq!((table, found.len()), ("MBR", 1 + 60));
        assert_eq!(found[0], (1, 512, 2048, "1234abcd-01".to_owned()));
        assert_eq!(found[1], (5, 12 * 512, 3 * 512, "1234abcd-05".to_owned()));
        assert_eq!(found[2], (6, 31 * 512, 2 * 512, "1234abcd-06".to_owned()));
    }

    #[test]
    fn a_damaged_gpt_is_read_from_its_copy() {
        let mut disk = vec![0; 128 * 512];
        let header = |disk: &mut [u8], entries: u64| {
            disk[..8].copy_from_slice(b"EFI PART");
            disk[72..80].copy_from_slice(&entries.to_le_bytes());
            disk[80..84].copy_from_slice(&4u32.to_le_bytes());
            disk[84..88].copy_from_slice(&128u32.to_le_bytes());
        };
        header(&mut disk[127 * 512..], 126);
        let entry = &mut disk[126 * 512 + 128..];
        entry[..16].fill(7);
        for (at, byte) in (16..32).zip(0u8..) {
            entry[at] = byte;
        }
        entry[32] = 40;
        entry[40] = 41;
        let uuid = "03020100-0504-0706-0809-0a0b0c0d0e0f".to_owned();
        assert_eq!(read(disk), ("GPT", vec![(2, 40 * 512, 1024, uuid)]));
    }

    #[test]
    fn a_disk_without_a_table_has_none() {
        assert_eq!(read(vec![0; 512]).0, "no");
        assert_eq!(read(vec![0; 3]).0, "no");
        assert_eq!(read(vec![0xff; 8192]).0, "no");
    }
}
