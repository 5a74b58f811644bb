//! FAT12, FAT16 and FAT32, read only: the EFI system partition and small boot partitions.
//!
//! Does:      directories with long names, files as lists of ranges on the disk.
//! Does not:  write, or judge the second copy of the table. The crate `fatfs`, which builds our
//!            own images, is not used here: version 0.3.6 multiplies what a boot sector claims
//!            without checks, which ends the process of a build that checks overflows.
//! Bounds:    `ENTRIES_MAX` slots of a directory; `EXTENTS_MAX` pieces of a file; a chain is
//!            followed as far as the file's size goes, so a ring in it ends.
//! Trusts:    nothing: a guest wrote it.
//! Start at:  `Fat::open`, `Fat::find`.

use crate::disk::{Disk, ReadError, u16_at, u32_at};

/// Slots of one directory, of 32 bytes each. What lies behind is not seen.
const ENTRIES_MAX: u64 = 16_384;
/// Pieces of one file. A file in more is refused.
const EXTENTS_MAX: usize = 65_536;
const SLOT_BYTES: u64 = 32;
const NAME_UNITS_MAX: usize = 260;

const VOLUME_LABEL: u8 = 0x08;
const DIRECTORY: u8 = 0x10;
const LONG_NAME: u8 = 0x0f;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    Bits12,
    Bits16,
    Bits32,
}

/// A volume whose boot sector was checked.
#[derive(Clone, Debug)]
pub(crate) struct Fat {
    disk: Disk,
    width: Width,
    table: u64,
    data: u64,
    cluster_bytes: u64,
    clusters: u32,
    root: Place,
    /// As Linux writes it: `1A2B-3C4D`.
    pub(crate) uuid: String,
    pub(crate) label: String,
}

/// Where a directory lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The root of FAT12 and FAT16: byte and length.
    Fixed(u64, u64),
    /// A chain of clusters.
    Chain(u32),
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) folder: bool,
    cluster: u32,
    len: u32,
}

/// A file: its pieces on the disk, in order.
#[derive(Clone, Debug)]
pub(crate) struct FatFile {
    disk: Disk,
    extents: Vec<(u64, u64)>,
    pub(crate) len: u64,
}

fn damaged(what: &str) -> ReadError {
    ReadError::Damaged(format!("FAT: {what}"))
}

impl Fat {
    /// `None`: this is no FAT.
    pub(crate) fn open(disk: &Disk) -> Result<Option<Fat>, ReadError> {
        if disk.len() < 512 {
            return Ok(None);
        }
        let boot: [u8; 512] = disk.array(0)?;
        Ok(Fat::new(disk, &boot))
    }

    fn new(disk: &Disk, boot: &[u8; 512]) -> Option<Fat> {
        let sector = u64::from(u16_at(boot, 11));
        let per_cluster = u64::from(boot[13]);
        let reserved = u64::from(u16_at(boot, 14));
        let tables = u64::from(boot[16]);
        let root_slots = u64::from(u16_at(boot, 17));
        let sane = boot[510..] == [0x55, 0xaa]
            && [512, 1024, 2048, 4096].contains(&sector)
            && per_cluster.is_power_of_two()
            && reserved > 0
            && (1..=2).contains(&tables);
        if !sane {
            return None;
        }
        let either = |short: u16, long: u32| if short == 0 { long } else { u32::from(short) };
        let total = u64::from(either(u16_at(boot, 19), u32_at(boot, 32)));
        let table_sectors = u64::from(either(u16_at(boot, 22), u32_at(boot, 36)));
        let root_sectors = (root_slots * SLOT_BYTES).div_ceil(sector);
        // None of these can overflow: all factors have 32 bits at most, and sectors 13.
        let first_data = reserved + tables * table_sectors + root_sectors;
        let clusters = total.checked_sub(first_data)? / per_cluster;
        let clusters = u32::try_from(clusters).ok().filter(|count| *count > 0)?;
        let width = match clusters {
            0..4085 => Width::Bits12,
            4085..65_525 => Width::Bits16,
            _ => Width::Bits32,
        };
        // The width follows from the count; FAT32 alone has no fixed root.
        if (width == Width::Bits32) != (root_slots == 0) || table_sectors == 0 {
            return None;
        }
        let (root, names) = match width {
            Width::Bits32 => (Place::Chain(u32_at(boot, 44)), 67),
            _ => {
                let at = (reserved + tables * table_sectors) * sector;
                (Place::Fixed(at, root_sectors * sector), 39)
            }
        };
        let [d, c, b, a] = *boot[names..].first_chunk()?;
        let label = String::from_utf8_lossy(&boot[names + 4..names + 15]);
        Some(Fat {
            disk: disk.clone(),
            width,
            table: reserved * sector,
            data: first_data * sector,
            cluster_bytes: per_cluster * sector,
            clusters,
            root,
            uuid: format!("{a:02X}{b:02X}-{c:02X}{d:02X}"),
            label: label.trim_end().to_owned(),
        })
    }

    /// The cluster after this one. `None` at the chain's end.
    fn next(&self, cluster: u32) -> Result<Option<u32>, ReadError> {
        let at = u64::from(cluster);
        let (next, end) = match self.width {
            Width::Bits12 => {
                let pair = u16::from_le_bytes(self.disk.array(self.table + at + at / 2)?);
                let value = if at % 2 == 0 { pair & 0xfff } else { pair >> 4 };
                (u32::from(value), 0xff8)
            }
            Width::Bits16 => {
                let value = u16::from_le_bytes(self.disk.array(self.table + at * 2)?);
                (u32::from(value), 0xfff8)
            }
            Width::Bits32 => {
                let value = u32::from_le_bytes(self.disk.array(self.table + at * 4)?);
                (value & 0x0fff_ffff, 0x0fff_fff8)
            }
        };
        Ok((next < end).then_some(next))
    }

    /// Where a cluster lies.
    fn place(&self, cluster: u32) -> Result<u64, ReadError> {
        match cluster.checked_sub(2) {
            Some(number) if number < self.clusters => {
                Ok(self.data + u64::from(number) * self.cluster_bytes)
            }
            _ => Err(damaged("a chain leads out of the volume")),
        }
    }

    /// The ranges of a chain, `len` bytes of it.
    fn extents(&self, first: u32, len: u64) -> Result<Vec<(u64, u64)>, ReadError> {
        let mut found: Vec<(u64, u64)> = Vec::new();
        let (mut cluster, mut left) = (Some(first), len);
        while left > 0 {
            let Some(this) = cluster else {
                return Err(damaged("a file's chain is shorter than the file"));
            };
            let (at, part) = (self.place(this)?, left.min(self.cluster_bytes));
            let full = found.len() == EXTENTS_MAX;
            match found.last_mut() {
                Some((start, len)) if *start + *len == at => *len += part,
                _ if full => {
                    return Err(damaged("a file in too many pieces"));
                }
                _ => found.push((at, part)),
            }
            left -= part;
            if left > 0 {
                cluster = self.next(this)?;
            }
        }
        Ok(found)
    }

    /// Where the slots of a directory lie. Its length is that of its chain.
    fn folder_extents(&self, place: Place) -> Result<Vec<(u64, u64)>, ReadError> {
        let first = match place {
            Place::Fixed(at, len) => return Ok(vec![(at, len)]),
            Place::Chain(first) => first,
        };
        let mut found = Vec::new();
        let mut cluster = Some(first);
        let mut left = ENTRIES_MAX * SLOT_BYTES;
        while let Some(this) = cluster.filter(|_| left > 0) {
            let part = self.cluster_bytes.min(left);
            found.push((self.place(this)?, part));
            left -= part;
            cluster = self.next(this)?;
        }
        Ok(found)
    }

    fn list_place(&self, place: Place) -> Result<Vec<Entry>, ReadError> {
        let mut entries = Vec::new();
        let mut long = LongName::default();
        for (at, len) in self.folder_extents(place)? {
            for slot in 0..len / SLOT_BYTES {
                let slot: [u8; 32] = self.disk.array(at + slot * SLOT_BYTES)?;
                match slot[0] {
                    0 => return Ok(entries),
                    0xe5 => long.clear(),
                    _ if slot[11] & 0x3f == LONG_NAME => long.add(&slot),
                    _ => {
                        let name = long.take(&slot).unwrap_or_else(|| short_name(&slot));
                        let real = slot[11] & VOLUME_LABEL == 0 && name != "." && name != "..";
                        let (high, low) = (u16_at(&slot, 20), u16_at(&slot, 26));
                        entries.extend(real.then(|| Entry {
                            name,
                            folder: slot[11] & DIRECTORY != 0,
                            cluster: u32::from(high) << 16 | u32::from(low),
                            len: u32_at(&slot, 28),
                        }));
                    }
                }
            }
        }
        Ok(entries)
    }

    /// What a path names; `Ok(None)` if nothing. Letter case does not matter.
    pub(crate) fn find(&self, path: &str) -> Result<Option<Entry>, ReadError> {
        let mut place = self.root;
        let mut found = None;
        for part in path
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".")
        {
            if let Some(Entry { folder: false, .. }) = found {
                return Ok(None);
            }
            let entries = self.list_place(place)?;
            let same = |entry: &Entry| entry.name.to_lowercase() == part.to_lowercase();
            let Some(entry) = entries.into_iter().find(same) else {
                return Ok(None);
            };
            place = Place::Chain(entry.cluster);
            found = Some(entry);
        }
        Ok(found)
    }

    /// The names in a folder; `Ok(None)` if there is none of that name.
    pub(crate) fn list(&self, path: &str) -> Result<Option<Vec<Entry>>, ReadError> {
        if path.split('/').all(|part| part.is_empty() || part == ".") {
            return self.list_place(self.root).map(Some);
        }
        match self.find(path)? {
            Some(Entry {
                folder: true,
                cluster,
                ..
            }) => self.list_place(Place::Chain(cluster)).map(Some),
            _ => Ok(None),
        }
    }

    /// Opens a file that `find` returned.
    pub(crate) fn file(&self, entry: &Entry) -> Result<FatFile, ReadError> {
        let len = u64::from(entry.len);
        Ok(FatFile {
            disk: self.disk.clone(),
            extents: self.extents(entry.cluster, len)?,
            len,
        })
    }
}

impl FatFile {
    /// Fills `into` from the byte `at` of the file.
    pub(crate) fn read(&self, at: u64, into: &mut [u8]) -> Result<(), ReadError> {
        let (mut skip, mut done) = (at, 0);
        for (start, len) in &self.extents {
            if skip >= *len {
                skip -= len;
                continue;
            }
            let part = usize::try_from(len - skip).unwrap_or(usize::MAX);
            let part = part.min(into.len() - done);
            self.disk.read(start + skip, &mut into[done..done + part])?;
            (skip, done) = (0, done + part);
            if done == into.len() {
                return Ok(());
            }
        }
        if done == into.len() {
            return Ok(());
        }
        Err(damaged("a read behind a file's end"))
    }
}

/// A long name comes in pieces of 13 units, the last piece first, before its short slot.
#[derive(Default)]
struct LongName {
    units: Vec<u16>,
    sum: u8,
    next: u8,
}

impl LongName {
    fn clear(&mut self) {
        self.units.clear();
        self.next = 0;
    }

    fn add(&mut self, slot: &[u8; 32]) {
        let number = slot[0] & 0x3f;
        if slot[0] & 0x40 != 0 {
            self.clear();
            (self.sum, self.next) = (slot[13], number);
        }
        let fits = number != 0 && number == self.next && slot[13] == self.sum;
        if !fits || self.units.len() + 13 > NAME_UNITS_MAX {
            return self.clear();
        }
        let places = (1..11)
            .step_by(2)
            .chain((14..26).step_by(2))
            .chain([28, 30]);
        let piece = places.map(|at| u16_at(slot, at));
        self.units.splice(0..0, piece);
        self.next -= 1;
        if self.next == 0 {
            self.next = u8::MAX; // complete
        }
    }

    /// The name, if it is complete and belongs to this short slot.
    fn take(&mut self, slot: &[u8; 32]) -> Option<String> {
        let complete = self.next == u8::MAX;
        let sum = slot[..11]
            .iter()
            .fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        let end = self.units.iter().position(|unit| *unit == 0);
        let name = String::from_utf16_lossy(&self.units[..end.unwrap_or(self.units.len())]);
        let own = complete && sum == self.sum && !name.is_empty();
        self.clear();
        own.then_some(name)
    }
}

/// The name of 8 and 3 letters. Two flags of Windows NT say which half is written small.
fn short_name(slot: &[u8; 32]) -> String {
    let half = |bytes: &[u8], small: u8| {
        let text = String::from_utf8_lossy(bytes).trim_end().to_owned();
        if slot[12] & small != 0 {
            text.to_lowercase()
        } else {
            text
        }
    };
    let (name, kind) = (half(&slot[..8], 0x08), half(&slot[8..11], 0x10));
    if kind.is_empty() {
        name
    } else {
        format!("{name}.{kind}")
    }
}
