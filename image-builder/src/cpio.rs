//! The initramfs format ("newc" cpio), written so that equal content gives equal bytes.
//!
//! Does:      folders, files and device nodes, sorted by path, all owned by root at time 0.
//! Does not:  links, owners, times or compression; reads nothing (in tests the `cpio` crate does).
//! Bounds:    `PATH_BYTES_MAX` a path, 4 GiB a file (the format's own limit).
//! Trusts:    the caller's paths, except that they must be plain.
//! Start at:  `Archive`.

use std::collections::BTreeMap;

/// Bytes of a path; the kernel's own limit.
const PATH_BYTES_MAX: usize = 4096;
const TRAILER: &str = "TRAILER!!!";
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFCHR: u32 = 0o020_000;

/// An archive under construction. The order of calls does not matter.
#[derive(Debug, Clone, Default)]
pub struct Archive {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    mode: u32,
    device: (u32, u32),
    bytes: Vec<u8>,
}

impl Archive {
    /// An archive without entries.
    pub fn new() -> Archive {
        Archive::default()
    }

    /// Adds a folder, and those above it.
    pub fn folder(&mut self, path: &str) {
        self.parents(path);
        self.insert(
            path,
            Entry {
                mode: S_IFDIR | 0o755,
                device: (0, 0),
                bytes: Vec::new(),
            },
        );
    }

    /// Adds a file with these permissions, and the folders above it.
    pub fn file(&mut self, path: &str, permissions: u32, bytes: Vec<u8>) {
        self.parents(path);
        let mode = S_IFREG | (permissions & 0o7777);
        self.insert(
            path,
            Entry {
                mode,
                device: (0, 0),
                bytes,
            },
        );
    }

    /// Adds a character device node, and the folders above it.
    pub fn device(&mut self, path: &str, permissions: u32, major: u32, minor: u32) {
        self.parents(path);
        let mode = S_IFCHR | (permissions & 0o7777);
        self.insert(
            path,
            Entry {
                mode,
                device: (major, minor),
                bytes: Vec::new(),
            },
        );
    }

    /// The archive's bytes. `Err` is a sentence.
    pub fn finish(&self) -> Result<Vec<u8>, String> {
        let size = self
            .entries
            .values()
            .map(|entry| entry.bytes.len() + 256)
            .sum();
        let mut out = Vec::with_capacity(size);
        for (inode, (path, entry)) in (1..).zip(&self.entries) {
            check(path)?;
            write_entry(&mut out, inode, path, entry)?;
        }
        let trailer = Entry {
            mode: 0,
            device: (0, 0),
            bytes: Vec::new(),
        };
        write_entry(&mut out, 0, TRAILER, &trailer)?;
        // Loaders that put several archives together expect whole sectors.
        out.resize(out.len().next_multiple_of(512), 0);
        Ok(out)
    }

    fn parents(&mut self, path: &str) {
        let folder = || Entry {
            mode: S_IFDIR | 0o755,
            device: (0, 0),
            bytes: Vec::new(),
        };
        for (at, _) in path.match_indices('/') {
            self.entries
                .entry(path[..at].to_owned())
                .or_insert_with(folder);
        }
    }

    fn insert(&mut self, path: &str, entry: Entry) {
        self.entries.insert(path.to_owned(), entry);
    }
}

fn check(path: &str) -> Result<(), String> {
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    if path.len() > PATH_BYTES_MAX || !path.split('/').all(plain) || path.contains('\0') {
        return Err(format!("{path:?} is no plain path"));
    }
    Ok(())
}

fn write_entry(out: &mut Vec<u8>, inode: u32, path: &str, entry: &Entry) -> Result<(), String> {
    let too_big = |_| format!("{path} has more than 4 GiB");
    let size = u32::try_from(entry.bytes.len()).map_err(too_big)?;
    let name_size = u32::try_from(path.len() + 1).map_err(too_big)?;
    let links = if entry.mode & S_IFDIR == S_IFDIR {
        2
    } else {
        1
    };
    let (major, minor) = entry.device;
    out.extend_from_slice(b"070701");
    //            inode  mode        uid gid links  mtime size  dev   rdev          name       check
    for field in [
        inode, entry.mode, 0, 0, links, 0, size, 0, 0, major, minor, name_size, 0,
    ] {
        out.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    pad(out);
    out.extend_from_slice(&entry.bytes);
    pad(out);
    Ok(())
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Read;

    fn sample(order: [usize; 3]) -> Archive {
        let mut archive = Archive::new();
        for step in order {
            match step {
                0 => archive.file("init", 0o755, b"program".to_vec()),
                1 => archive.device("dev/console", 0o600, 5, 1),
                _ => archive.file("lib/luc/a.json", 0o644, b"{}".to_vec()),
            }
        }
        archive
    }

    #[test]
    fn the_order_of_calls_leaves_no_trace() {
        let bytes = sample([0, 1, 2]).finish().unwrap();
        assert_eq!(sample([2, 0, 1]).finish().unwrap(), bytes);
        assert_eq!(bytes.len() % 512, 0);
    }

    #[test]
    fn another_reader_finds_every_entry_and_parents_come_first() {
        let bytes = sample([0, 1, 2]).finish().unwrap();
        let mut rest = &bytes[..];
        let mut seen = Vec::new();
        loop {
            let mut reader = cpio::newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            let mut content = String::new();
            reader.read_to_string(&mut content).unwrap();
            let entry = reader.entry();
            seen.push(format!("{} {:o} {content}", entry.name(), entry.mode()));
            assert_eq!((entry.mtime(), entry.uid(), entry.gid()), (0, 0, 0));
            rest = reader.finish().unwrap();
        }
        let expected = [
            "dev 40755 ",
            "dev/console 20600 ",
            "init 100755 program",
            "lib 40755 ",
            "lib/luc 40755 ",
            "lib/luc/a.json 100644 {}",
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_path_that_leads_elsewhere_is_refused() {
        for path in ["/init", "a/../b", "a//b", ""] {
            let mut archive = Archive::new();
            archive.file(path, 0o644, Vec::new());
            assert!(archive.finish().is_err(), "{path}");
        }
    }
}
