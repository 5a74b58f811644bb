//! What is inside an image and how big each part is, for a person at a terminal.
//!
//! Does:      draws the manifest as tables with bars.
//! Does not:  open the artefacts; `verify` does.
//! Bounds:    as many rows as the manifest has.
//! Trusts:    the manifest, which was checked when read.
//! Start at:  `table`.

use std::fmt::Write;

use crate::compose::UKI_BYTES_MAX;
use crate::manifest::Manifest;
use crate::progress::{bar, megabytes};

/// The manifest as text.
pub fn table(manifest: &Manifest) -> String {
    let mut text = String::new();
    let about = &manifest.about;
    let mut line = |row: String| writeln!(text, "{}", row.trim_end()).expect("text grows");
    line(format!(
        "{} {}  build {}  kernel {}",
        about.name, about.version, about.build, about.kernel
    ));
    line(format!("arguments: {}", manifest.arguments));
    line(String::new());
    let program = manifest
        .files
        .iter()
        .find(|file| file.name == "luc.efi")
        .map_or(0, |f| f.size);
    line(format!(
        "luc.efi  {} of {} allowed  {}",
        megabytes(program),
        megabytes(UKI_BYTES_MAX),
        bar(program, UKI_BYTES_MAX)
    ));
    for part in &manifest.parts {
        line(format!(
            "  {:<16} {:>9}  {}",
            part.name,
            megabytes(part.size),
            bar(part.size, program)
        ));
    }
    line(String::new());
    line(format!(
        "{:<14} {:>9}  {:<16}  {}",
        "FILE", "SIZE", "SHA-256", "FOR"
    ));
    for file in &manifest.files {
        let (size, digest) = (megabytes(file.size), file.sha256.short());
        line(format!(
            "{:<14} {size:>9}  {digest}  {}",
            file.name, file.purpose
        ));
    }
    line(String::new());
    for package in &manifest.packages {
        line(format!("from {} {}", package.name, package.version));
    }
    line(format!(
        "{} modules answer {} device patterns",
        manifest.modules, manifest.aliases
    ));
    for (what, names) in [
        ("modules that this kernel lacks", &manifest.modules_absent),
        ("modules that may ask for a blob", &manifest.firmware_wanted),
    ] {
        if !names.is_empty() {
            line(format!("{what}: {}", names.join(" ")));
        }
    }
    text
}
