//! How big the image is.
//!
//! Does:      reads the image builder's manifest.
//! Does not:  open the artefacts; `cargo image verify` does.
//! Bounds:    as the manifest's.
//! Trusts:    the manifest, which the image builder has just written.
//! Start at:  `measure`.

use image_builder::Paths;
use image_builder::manifest::Manifest;
use serde::Serialize;

use crate::scenario::chain;

/// The artefact that carries everything.
const UKI: &str = "luc.efi";

/// Sizes of the image, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// The image's version.
    pub version: String,
    /// The kernel's release.
    pub kernel: String,
    /// Kernel modules inside.
    pub modules: usize,
    /// Each artefact.
    pub files: Vec<Size>,
    /// What the UKI consists of.
    pub parts: Vec<Size>,
}

/// One size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Size {
    /// File or part.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

impl Sizes {
    /// The UKI's size.
    #[must_use]
    pub fn uki(&self) -> Option<u64> {
        let file = self.files.iter().find(|file| file.name == UKI)?;
        Some(file.bytes)
    }
}

/// Reads the sizes of the image that was built last.
pub fn measure(paths: &Paths) -> Result<Sizes, String> {
    let manifest = Manifest::read(&paths.image).map_err(|error| chain(&error))?;
    let size = |name: String, bytes: u64| Size { name, bytes };
    Ok(Sizes {
        version: manifest.about.version,
        kernel: manifest.about.kernel,
        modules: manifest.modules,
        files: manifest
            .files
            .into_iter()
            .map(|file| size(file.name, file.size))
            .collect(),
        parts: manifest
            .parts
            .into_iter()
            .map(|part| size(part.name, part.size))
            .collect(),
    })
}
