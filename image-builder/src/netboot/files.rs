//! The files that a netboot server gives away, read once and held in memory.
//!
//! Does:      a flat set of names; the image's artefacts without the disk image.
//! Does not:  look at the disk again: a rebuild does not change what a booting machine gets.
//! Bounds:    `FILES_MAX` files, `FILE_BYTES_MAX` each.
//! Trusts:    the image's manifest for names and hashes.
//! Start at:  `Files::of_image`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::digest::Digest;
use crate::paths::read;
use crate::{Error, Image};

/// Files in one server.
const FILES_MAX: usize = 256;
/// A file that a machine with 256 MiB could not hold is not for netboot.
const FILE_BYTES_MAX: u64 = 128 << 20;
/// Useful only on a stick.
const LOCAL_ONLY: &str = "luc.img";

/// A set of files; clones share the bytes.
#[derive(Debug, Clone, Default)]
pub struct Files {
    files: Arc<BTreeMap<String, Bytes>>,
}

impl Files {
    /// The artefacts of a built image, each checked against the manifest.
    pub fn of_image(image: &Image) -> Result<Files, Error> {
        let mut files = BTreeMap::new();
        for artefact in image
            .manifest
            .files
            .iter()
            .filter(|file| file.name != LOCAL_ONLY)
        {
            let bytes = read(&image.path(&artefact.name))?;
            if Digest::of(&bytes) != artefact.sha256 {
                let reason = "it is not what the manifest says".to_owned();
                return Err(Error::Broken {
                    name: artefact.name.clone(),
                    reason,
                });
            }
            files.insert(artefact.name.clone(), Bytes::from(bytes));
        }
        files.insert(
            "manifest.json".to_owned(),
            Bytes::from(image.manifest.to_json()),
        );
        Ok(Files {
            files: Arc::new(files),
        })
    }

    /// These files. A name is a plain file name; `Err` is a sentence.
    pub fn of(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<Files, String> {
        let files: BTreeMap<String, Bytes> = files
            .into_iter()
            .map(|(name, bytes)| (name, Bytes::from(bytes)))
            .collect();
        if files.len() > FILES_MAX {
            return Err(format!("more than {FILES_MAX} files"));
        }
        if let Some((name, _)) = files
            .iter()
            .find(|file| file.1.len() as u64 > FILE_BYTES_MAX)
        {
            return Err(format!("{name} has more than {FILE_BYTES_MAX} bytes"));
        }
        Ok(Files {
            files: Arc::new(files),
        })
    }

    /// The set with one file replaced or added.
    #[must_use]
    pub fn with(&self, name: &str, bytes: Vec<u8>) -> Files {
        let mut files = (*self.files).clone();
        files.insert(name.to_owned(), Bytes::from(bytes));
        Files {
            files: Arc::new(files),
        }
    }

    /// The bytes of a file.
    pub fn find(&self, name: &str) -> Option<Bytes> {
        self.files.get(name).cloned()
    }

    /// Names and sizes, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, usize)> {
        self.files
            .iter()
            .map(|(name, bytes)| (name.as_str(), bytes.len()))
    }
}
