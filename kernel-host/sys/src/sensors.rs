//! Small files of sysfs and procfs that are read again and again.
//!
//! Does:      keeps them open, so that a usual read is one system call; lists the folders of a
//!            class and the same few files in each.
//! Does not:  know what stands in them.
//! Bounds:    `OPEN_MAX` files kept open, further ones are opened for each read; `READ_MAX` bytes.
//! Trusts:    the kernel.
//! Start at:  `Sensors::read`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A VM has a few threads and a group; 50 VMs stay below it.
const OPEN_MAX: usize = 512;
/// A page, as sysfs has it.
const READ_MAX: usize = 4096;
/// Folders of one class: a large machine has about a hundred.
const FOLDERS_MAX: usize = 256;

/// Files that stay open.
#[derive(Debug)]
pub struct Sensors {
    open: BTreeMap<String, File>,
    buffer: Box<[u8; READ_MAX]>,
}

impl Default for Sensors {
    fn default() -> Self {
        Self {
            open: BTreeMap::new(),
            buffer: Box::new([0; READ_MAX]),
        }
    }
}

impl Sensors {
    /// What stands in the file now, up to a page.
    ///
    /// # Errors
    /// When it is not there, may not be read, or the device behind it fails.
    pub fn read(&mut self, path: &str) -> io::Result<&[u8]> {
        if let Some(file) = self.open.get(path) {
            match file.read_at(&mut self.buffer[..], 0) {
                Ok(count) => return Ok(&self.buffer[..count]),
                // Its process or device is gone; there may be another one by that name.
                Err(_) => drop(self.open.remove(path)),
            }
        }
        let file = File::open(path)?;
        let count = file.read_at(&mut self.buffer[..], 0)?;
        if self.open.len() < OPEN_MAX {
            self.open.insert(path.to_owned(), file);
        }
        Ok(&self.buffer[..count])
    }

    /// Closes all files whose path does not satisfy this.
    pub fn keep_only(&mut self, wanted: impl Fn(&str) -> bool) {
        self.open.retain(|path, _| wanted(path));
    }

    /// How many files are open.
    #[must_use]
    pub fn open_files(&self) -> usize {
        self.open.len()
    }
}

/// The paths of these files in each folder of `class`, whether they are there or not, sorted by
/// folder. An empty list where there is no such class.
#[must_use]
pub fn in_each_folder(class: &str, files: &[String]) -> Vec<String> {
    let entries = std::fs::read_dir(Path::new(class))
        .into_iter()
        .flatten()
        .flatten();
    let mut folders: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .take(FOLDERS_MAX)
        .collect();
    folders.sort();
    let paths = folders.iter().flat_map(|folder| {
        files
            .iter()
            .map(move |file| format!("{class}/{folder}/{file}"))
    });
    paths.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_is_read_again_and_a_new_one_by_the_same_name_is_found() {
        let folder = std::env::temp_dir().join(format!("luc-sensors-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("zone")).unwrap();
        let path = folder.join("zone/energy").to_str().unwrap().to_owned();
        let mut sensors = Sensors::default();
        assert!(sensors.read(&path).is_err());
        std::fs::write(&path, "12").unwrap();
        assert_eq!(sensors.read(&path).unwrap(), b"12");
        std::fs::write(&path, "34567").unwrap();
        assert_eq!(sensors.read(&path).unwrap(), b"34567");
        assert_eq!(sensors.open_files(), 1);
        sensors.keep_only(|_| false);
        assert_eq!(sensors.open_files(), 0);
        let class = folder.to_str().unwrap();
        let found = in_each_folder(class, &["name".to_owned(), "energy".to_owned()]);
        assert_eq!(
            found,
            [format!("{class}/zone/name"), format!("{class}/zone/energy")]
        );
        assert!(in_each_folder("/no/such/class", &["x".to_owned()]).is_empty());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
