//! `manifest.json`: what the image is made of and what each artefact must be.
//!
//! Does:      one record that `inspect` shows and `verify` holds the artefacts to.
//! Does not:  carry a signature yet, or a time: equal input gives equal text.
//! Bounds:    `MANIFEST_BYTES_MAX` when read.
//! Trusts:    nothing when read.
//! Start at:  `Manifest`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::digest::Digest;
use crate::initrd::About;
use crate::lock::Package;
use crate::paths::read;

/// A manifest names about a dozen files and a few packages.
const MANIFEST_BYTES_MAX: usize = 4 << 20;
/// Changes when a reader of an older manifest would misread a newer one.
pub const FORMAT: u32 = 1;

/// One artefact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artefact {
    pub name: String,
    /// What it is for, in a few words.
    pub purpose: String,
    pub size: u64,
    pub sha256: Digest,
}

/// One piece of `luc.efi` and what it weighs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub name: String,
    pub size: u64,
    pub sha256: Digest,
}

/// A package and what it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub role: String,
    pub name: String,
    pub version: String,
    pub sha256: Digest,
}

/// The whole record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    #[serde(flatten)]
    pub about: About,
    pub arguments: String,
    pub files: Vec<Artefact>,
    /// What `luc.efi` consists of.
    pub parts: Vec<Part>,
    pub packages: Vec<Origin>,
    pub modules: usize,
    pub aliases: usize,
    /// Wished-for modules that this kernel lacks.
    pub modules_absent: Vec<String>,
    /// Modules that may ask for a blob that the image does not carry.
    pub firmware_wanted: Vec<String>,
}

impl Manifest {
    /// Reads the manifest in an image folder.
    pub fn read(folder: &Path) -> Result<Manifest, Error> {
        let bytes = read(&folder.join("manifest.json"))?;
        Manifest::parse(&bytes).map_err(|reason| Error::Broken {
            name: "manifest.json".to_owned(),
            reason,
        })
    }

    /// Parses a manifest. `Err` is a sentence.
    pub fn parse(bytes: &[u8]) -> Result<Manifest, String> {
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(format!(
                "{} bytes, the most is {MANIFEST_BYTES_MAX}",
                bytes.len()
            ));
        }
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if manifest.format != FORMAT {
            return Err(format!(
                "it has format {}, this program reads {FORMAT}",
                manifest.format
            ));
        }
        let plain = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains('/');
        if let Some(file) = manifest.files.iter().find(|file| !plain(&file.name)) {
            return Err(format!("{:?} is not the name of a file", file.name));
        }
        Ok(manifest)
    }

    /// As JSON for people and programs.
    pub fn to_json(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("a manifest is always JSON");
        text.push(b'\n');
        text
    }
}

impl Origin {
    /// The manifest's row for a locked package.
    pub fn of(package: &Package) -> Origin {
        Origin {
            role: package.role.clone(),
            name: package.name.clone(),
            version: package.version.clone(),
            sha256: package.sha256,
        }
    }
}

/// Any bytes as a manifest: no accepted name leads out of the folder.
pub fn fuzz_manifest(data: &[u8]) {
    if let Ok(manifest) = Manifest::parse(data) {
        assert!(manifest.files.iter().all(|file| !file.name.contains('/')));
        let again = Manifest::parse(&manifest.to_json());
        assert_eq!(
            again.ok(),
            Some(manifest),
            "a manifest reads back what it says"
        );
    }
}
