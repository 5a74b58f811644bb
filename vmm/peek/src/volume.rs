//! A volume of the disk that can be read, whichever file system it has; or what it has instead.
//!
//! Does:      one face for `fat` and `ext4`; names file systems that nobody here reads.
//! Does not:  join volumes: a symbolic link ends at its own one.
//! Bounds:    `TEXT_MAX_BYTES` of a configuration file.
//! Trusts:    nothing: a guest wrote it.
//! Start at:  `look`.

use crate::disk::{Disk, ReadError};
use crate::ext4;
use crate::fat::Fat;
use crate::part::Part;
use crate::partitions::Partition;

/// Configuration files are read whole; the largest grub.cfg seen has 40 KiB.
const TEXT_MAX_BYTES: u64 = 1 << 20;

/// A partition with a file system, or the whole disk with one.
#[derive(Debug)]
pub(crate) struct Volume {
    /// 0: the whole disk.
    pub(crate) number: usize,
    partition_uuid: Option<String>,
    files: Files,
}

#[derive(Debug)]
enum Files {
    Fat(Fat),
    Ext4(ext4::Volume),
}

/// What a range of the disk holds.
#[derive(Debug)]
pub(crate) enum Content {
    Readable(Volume),
    /// Something else, in words.
    Other(String),
}

/// Looks at a partition, or at the whole disk.
pub(crate) fn look(disk: &Disk, partition: Option<&Partition>) -> Result<Content, ReadError> {
    let range = match partition {
        Some(partition) => disk.slice(partition.start, partition.len),
        None => disk.clone(),
    };
    let opened = match ext4::open(&range) {
        Ok(Some(volume)) => Ok(Some(Files::Ext4(volume))),
        Ok(None) => Fat::open(&range).map(|fat| fat.map(Files::Fat)),
        Err(error) => Err(error),
    };
    match opened {
        Ok(Some(files)) => Ok(Content::Readable(Volume {
            number: partition.map_or(0, |partition| partition.number),
            partition_uuid: partition.map(|partition| partition.uuid.clone()),
            files,
        })),
        Ok(None) => Ok(Content::Other(foreign(&range)?.to_owned())),
        Err(ReadError::Budget) => Err(ReadError::Budget),
        Err(error) => Ok(Content::Other(error.to_string())),
    }
}

/// Names what peek boot can't read, by its signature.
fn foreign(range: &Disk) -> Result<&'static str, ReadError> {
    #[rustfmt::skip] // keeps the columns
    const SIGNS: [(u64, &[u8], &str); 8] = [
        (0,       b"XFSB",         "XFS, which can't be read"),
        (0x10040, b"_BHRfS_M",     "Btrfs, which can't be read"),
        (0,       b"LUKS\xba\xbe", "an encrypted volume (LUKS)"),
        (512,     b"LABELONE",     "LVM, which can't be read"),
        (0x8001,  b"CD001",        "ISO 9660, which can't be read"),
        (3,       b"NTFS    ",     "NTFS"),
        (4086,    b"SWAPSPACE2",   "swap space"),
        (0x400,   b"\x10\x20\xf5\xf2", "F2FS, which can't be read"),
    ];
    for (at, sign, name) in SIGNS {
        let mut found = vec![0; sign.len()];
        match range.read(at, &mut found) {
            Ok(()) if found == sign => return Ok(name),
            Ok(()) | Err(ReadError::Outside { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok("no known file system")
}

impl Volume {
    /// `partition 1 (FAT)`.
    pub(crate) fn title(&self) -> String {
        let kind = match &self.files {
            Files::Fat(_) => "FAT",
            Files::Ext4(volume) if volume.stale => "ext4, whose journal can't be read",
            Files::Ext4(_) => "ext4",
        };
        match self.number {
            0 => format!("the whole disk ({kind})"),
            number => format!("partition {number} ({kind})"),
        }
    }

    pub(crate) fn uuid(&self) -> &str {
        match &self.files {
            Files::Fat(fat) => &fat.uuid,
            Files::Ext4(volume) => &volume.uuid,
        }
    }

    pub(crate) fn label(&self) -> &str {
        match &self.files {
            Files::Fat(fat) => &fat.label,
            Files::Ext4(volume) => &volume.label,
        }
    }

    pub(crate) fn is_fat(&self) -> bool {
        matches!(self.files, Files::Fat(_))
    }

    /// What `root=` says for this volume; without an initrd only the kernel's own words help.
    pub(crate) fn root_argument(&self, initrd: bool) -> String {
        match (&self.partition_uuid, initrd) {
            (_, true) => format!("root=UUID={}", self.uuid()),
            (Some(uuid), false) => format!("root=PARTUUID={uuid}"),
            (None, false) => "root=/dev/vda".to_owned(),
        }
    }

    /// Names in a folder, sorted, each with whether it is a folder; `None` without that folder.
    pub(crate) fn list(&self, path: &str) -> Result<Option<Vec<(String, bool)>>, ReadError> {
        let listed = match &self.files {
            Files::Fat(fat) => fat.list(path)?.map(|entries| {
                let row = |entry: crate::fat::Entry| (entry.name, entry.folder);
                entries.into_iter().map(row).collect::<Vec<_>>()
            }),
            Files::Ext4(volume) => volume.list(&absolute(path))?,
        };
        Ok(listed.map(|mut names| {
            names.sort();
            names
        }))
    }

    /// A file; `None` if there is none.
    pub(crate) fn open(&self, path: &str) -> Result<Option<Part>, ReadError> {
        let path = absolute(path);
        let name = match self.number {
            0 => path.clone(),
            number => format!("{number}:{path}"),
        };
        match &self.files {
            Files::Fat(fat) => match fat.find(&path)? {
                Some(entry) if !entry.folder => Ok(Some(Part::fat(name, fat.file(&entry)?))),
                _ => Ok(None),
            },
            Files::Ext4(volume) => Ok(volume.file(&path)?.map(|file| Part::ext4(name, file))),
        }
    }

    /// Whether a file or folder of this name is there.
    pub(crate) fn exists(&self, path: &str) -> Result<bool, ReadError> {
        match &self.files {
            Files::Fat(fat) => Ok(fat.find(path)?.is_some()),
            Files::Ext4(volume) => volume.exists(&absolute(path)),
        }
    }

    /// A configuration file as text; `None` if there is none.
    pub(crate) fn text(&self, path: &str) -> Result<Option<String>, ReadError> {
        let Some(part) = self.open(path)? else {
            return Ok(None);
        };
        let bytes = part.read_all(TEXT_MAX_BYTES)?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

/// With one slash in front, without empty parts and `.`.
fn absolute(path: &str) -> String {
    let parts = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".");
    let mut text = String::new();
    for part in parts {
        text.push('/');
        text.push_str(part);
    }
    if text.is_empty() {
        "/".to_owned()
    } else {
        text
    }
}
