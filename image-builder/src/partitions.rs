//! The partition table of a disk: GPT, both copies, and the protective MBR.
//!
//! Does:      writes the bytes in front of the first partition and those behind the last.
//! Does not:  read tables; `verify` does with another library.
//! Bounds:    `TABLE_ENTRIES` partitions.
//! Trusts:    its callers for partitions that lie inside the disk and apart.
//! Start at:  `Table::new`. Source: UEFI specification 2.10, section 5.3.

pub(crate) const SECTOR_BYTES: usize = 512;
/// Partitions start at whole mebibytes.
pub(crate) const FIRST_SECTOR: usize = 2048;
/// Space behind the last partition for the second table, rounded to a mebibyte.
pub(crate) const TAIL_SECTORS: usize = 2048;
/// Entries of the table, as the standard wants at least.
const TABLE_ENTRIES: u32 = 128;
const TABLE_ENTRY_BYTES: u32 = 128;
const TABLE_SECTORS: usize = 32;

/// One row of the table.
pub(crate) struct Partition {
    /// Its type and its id: GUIDs in the byte order of the disk.
    pub kind: [u8; 16],
    pub id: [u8; 16],
    pub sectors: std::ops::Range<usize>,
    pub name: &'static str,
}

/// What stands at both ends of a disk.
pub(crate) struct Table {
    /// From the first sector on.
    pub front: Vec<u8>,
    /// Up to the last sector.
    pub back: Vec<u8>,
}

impl Table {
    /// The table of a disk with this id and so many sectors.
    pub fn new(id: [u8; 16], all_sectors: usize, partitions: &[Partition]) -> Self {
        let entries = entries(partitions);
        let sum = crc32fast::hash(&entries);
        let last = all_sectors - 1;
        let header = |places| header(id, sum, all_sectors, places);
        let mut front = protective_mbr(last);
        front.extend(whole_sector(&header([1, last, 2])));
        front.extend(&entries);
        let mut back = entries;
        back.extend(whole_sector(&header([last, 1, last - TABLE_SECTORS])));
        Self { front, back }
    }
}

fn entries(partitions: &[Partition]) -> Vec<u8> {
    let mut entries = vec![0u8; (TABLE_ENTRIES * TABLE_ENTRY_BYTES) as usize];
    let rows = entries.chunks_mut(TABLE_ENTRY_BYTES as usize);
    for (entry, partition) in rows.zip(partitions) {
        entry[..16].copy_from_slice(&partition.kind);
        entry[16..32].copy_from_slice(&partition.id);
        entry[32..40].copy_from_slice(&sector_bytes(partition.sectors.start));
        entry[40..48].copy_from_slice(&sector_bytes(partition.sectors.end - 1));
        for (at, unit) in partition.name.encode_utf16().enumerate() {
            entry[56 + 2 * at..58 + 2 * at].copy_from_slice(&unit.to_le_bytes());
        }
    }
    entries
}

/// Tells tools of the past that the whole disk is taken.
fn protective_mbr(last: usize) -> Vec<u8> {
    let mut sector = vec![0; SECTOR_BYTES];
    sector[446..462].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0]);
    let covered = u32::try_from(last).unwrap_or(u32::MAX);
    sector[458..462].copy_from_slice(&covered.to_le_bytes());
    sector[510..512].copy_from_slice(&[0x55, 0xaa]);
    sector
}

/// A table header for [its own sector, the other header's sector, its entries' first sector].
fn header(id: [u8; 16], entries_sum: u32, all_sectors: usize, places: [usize; 3]) -> [u8; 92] {
    let mut header = [0; 92];
    header[..8].copy_from_slice(b"EFI PART");
    header[8..12].copy_from_slice(&0x0001_0000u32.to_le_bytes());
    header[12..16].copy_from_slice(&92u32.to_le_bytes());
    header[24..32].copy_from_slice(&sector_bytes(places[0]));
    header[32..40].copy_from_slice(&sector_bytes(places[1]));
    header[40..48].copy_from_slice(&sector_bytes(2 + TABLE_SECTORS));
    header[48..56].copy_from_slice(&sector_bytes(all_sectors - TABLE_SECTORS - 2));
    header[56..72].copy_from_slice(&id);
    header[72..80].copy_from_slice(&sector_bytes(places[2]));
    header[80..84].copy_from_slice(&TABLE_ENTRIES.to_le_bytes());
    header[84..88].copy_from_slice(&TABLE_ENTRY_BYTES.to_le_bytes());
    header[88..92].copy_from_slice(&entries_sum.to_le_bytes());
    let sum = crc32fast::hash(&header);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
    header
}

fn whole_sector(header: &[u8]) -> [u8; SECTOR_BYTES] {
    let mut sector = [0; SECTOR_BYTES];
    sector[..header.len()].copy_from_slice(header);
    sector
}

/// A sector number as the table stores it.
fn sector_bytes(number: usize) -> [u8; 8] {
    (number as u64).to_le_bytes()
}
