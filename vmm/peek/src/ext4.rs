//! ext2, ext3 and ext4 through the crate `ext4-view`, behind a fence.
//!
//! Does:      checks the superblock's sizes before the library believes them; paths, folders,
//!            files. A journal that was not replayed is read as if it had been: the library keeps
//!            its committed blocks in mind, the disk stays as it is. Journals without checksums
//!            (those of file systems made before 2018) it can't read; then the files are taken as
//!            they lie there, which is what GRUB does with every journal, and `stale` says so.
//! Does not:  write; the library knows no meta block groups (file systems grown a thousandfold),
//!            no inline data, no encryption and no journal elsewhere, and says so.
//! Bounds:    `GROUPS_MAX`, `ENTRIES_MAX`; symbolic links as many as Linux follows (40).
//! Trusts:    the library not to break memory: it has no unsafe code; all its reads come out of
//!            the budget of `disk`.
//! Start at:  `open`.

use std::cell::RefCell;
use std::fmt;

use ext4_view::{Ext4, Ext4Error, Ext4Read, FileType};

use crate::disk::{Disk, ReadError, u16_at, u32_at};

/// Block groups: 2 TB of usual ones. Each costs the library memory before anything is read.
const GROUPS_MAX: u64 = 16_384;
/// Names in a folder. What comes behind is not seen.
const ENTRIES_MAX: usize = 16_384;
const SUPERBLOCK_AT: u64 = 1024;
const MAGIC: u16 = 0xef53;
/// Offset of the features that a reader must know, and two of them.
const INCOMPATIBLE: usize = 0x60;
const RECOVERY: u8 = 0x04;
const FEATURE_64BIT: u32 = 0x80;

/// An open volume.
#[derive(Clone)]
pub(crate) struct Volume {
    fs: Ext4,
    pub(crate) uuid: String,
    pub(crate) label: String,
    /// The journal has what the files have not, and could not be read.
    pub(crate) stale: bool,
}

impl fmt::Debug for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ext4 {}", self.uuid)
    }
}

/// An open file.
pub(crate) struct Ext4File {
    file: RefCell<ext4_view::File>,
    pub(crate) len: u64,
}

struct Reader {
    disk: Disk,
    /// Says "was unmounted well" in the superblock's place: the journal is passed by.
    as_clean: bool,
}

impl Ext4Read for Reader {
    fn read(
        &mut self,
        at: u64,
        into: &mut [u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync + 'static>> {
        self.disk.read(at, into)?;
        if self.as_clean && at == SUPERBLOCK_AT && into.len() > INCOMPATIBLE {
            into[INCOMPATIBLE] &= !RECOVERY;
        }
        Ok(())
    }
}

/// What the library says, with our own errors given back as they were.
fn explain(error: Ext4Error) -> ReadError {
    match error {
        Ext4Error::Io(source) => match source.downcast::<ReadError>() {
            Ok(own) => *own,
            Err(other) => ReadError::Damaged(format!("ext4: {other}")),
        },
        other => ReadError::Damaged(format!("ext4: {other}")),
    }
}

/// Errors that mean "there is no such thing".
fn absent(error: &Ext4Error) -> bool {
    matches!(
        error,
        Ext4Error::NotFound
            | Ext4Error::NotADirectory
            | Ext4Error::IsADirectory
            | Ext4Error::IsASpecialFile
            | Ext4Error::MalformedPath
            | Ext4Error::PathTooLong
            | Ext4Error::TooManySymlinks
    )
}

fn some<T>(result: Result<T, Ext4Error>) -> Result<Option<T>, ReadError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if absent(&error) => Ok(None),
        Err(error) => Err(explain(error)),
    }
}

/// `None`: this is no ext file system.
pub(crate) fn open(disk: &Disk) -> Result<Option<Volume>, ReadError> {
    if disk.len() < SUPERBLOCK_AT + 1024 {
        return Ok(None);
    }
    let superblock: [u8; 1024] = disk.array(SUPERBLOCK_AT)?;
    if u16_at(&superblock, 0x38) != MAGIC {
        return Ok(None);
    }
    check(&superblock, disk.len())?;
    let load = |as_clean| {
        let disk = disk.clone();
        Ext4::load(Box::new(Reader { disk, as_clean }))
    };
    let unclean = superblock[INCOMPATIBLE] & RECOVERY != 0;
    let (fs, stale) = match load(false) {
        Err(Ext4Error::Incompatible(_)) if unclean => (load(true), true),
        other => (other, false),
    };
    let fs = fs.map_err(explain)?;
    Ok(Some(Volume {
        stale,
        uuid: fs.uuid().to_string(),
        label: fs.label().to_str().unwrap_or_default().to_owned(),
        fs,
    }))
}

/// Refuses claims that would cost memory or time before a checksum was looked at.
fn check(superblock: &[u8; 1024], len: u64) -> Result<(), ReadError> {
    let odd = |what: &str| Err(ReadError::Damaged(format!("ext4: {what}")));
    let log = u32_at(superblock, 0x18);
    if log > 6 {
        return odd("blocks larger than 64 KiB");
    }
    let mut blocks = u64::from(u32_at(superblock, 4));
    if u32_at(superblock, INCOMPATIBLE) & FEATURE_64BIT != 0 {
        blocks |= u64::from(u32_at(superblock, 0x150)) << 32;
    }
    let per_group = u64::from(u32_at(superblock, 0x20)).max(1);
    if blocks > len >> (10 + log) {
        return odd("it claims to be larger than its partition");
    }
    if blocks / per_group > GROUPS_MAX {
        return odd("more block groups than any disk has");
    }
    Ok(())
}

impl Volume {
    /// Names in a folder, each with whether it is a folder itself.
    pub(crate) fn list(&self, path: &str) -> Result<Option<Vec<(String, bool)>>, ReadError> {
        let Some(entries) = some(self.fs.read_dir(path))? else {
            return Ok(None);
        };
        let mut found = Vec::new();
        for entry in entries.take(ENTRIES_MAX) {
            let entry = entry.map_err(explain)?;
            let folder = entry
                .file_type()
                .is_ok_and(|kind| kind == FileType::Directory);
            if let Ok(name) = entry.file_name().as_str()
                && name != "."
                && name != ".."
            {
                found.push((name.to_owned(), folder));
            }
        }
        Ok(Some(found))
    }

    /// A file, symbolic links followed inside of this volume.
    pub(crate) fn file(&self, path: &str) -> Result<Option<Ext4File>, ReadError> {
        let Some(file) = some(self.fs.open(path))? else {
            return Ok(None);
        };
        let len = file.metadata().len();
        Ok(Some(Ext4File {
            file: RefCell::new(file),
            len,
        }))
    }

    /// Whether a path names anything.
    pub(crate) fn exists(&self, path: &str) -> Result<bool, ReadError> {
        Ok(some(self.fs.exists(path))?.unwrap_or(false))
    }
}

impl Ext4File {
    /// Fills `into` from the byte `at` of the file. In order is fast; other orders are not.
    pub(crate) fn read(&self, at: u64, into: &mut [u8]) -> Result<(), ReadError> {
        let mut file = self.file.borrow_mut();
        if file.position() != at {
            file.seek_to(at).map_err(explain)?;
        }
        let mut done = 0;
        while done < into.len() {
            match file.read_bytes(&mut into[done..]).map_err(explain)? {
                0 => return Err(ReadError::Damaged("ext4: a file ended early".to_owned())),
                len => done += len,
            }
        }
        Ok(())
    }
}
