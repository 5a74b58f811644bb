//! What is inside an image and how big each part is, for a person at a terminal.
//!
//! Does:      draws the manifest as tables with bars.
//! Does not:  open the artefacts; `verify` does.
//! Bounds:    as many rows as the manifest has.
//! Trusts:    the manifest, which was checked when read.
//! Start at:  `table`.

use crate::compose::UKI_BYTES_MAX;
use crate::manifest::Manifest;
use crate::progress::{bar, megabytes};

/// The manifest as text.
pub fn table(manifest: &Manifest) -> String {
    let mut rows = Vec::new();
    let about = &manifest.about;
    let title = format!("{} {}  build {}", about.name, about.version, about.build);
    rows.push(format!("{title}  kernel {}", about.kernel));
    rows.push(format!("arguments: {}", manifest.arguments));
    rows.push(String::new());
    add_parts(&mut rows, manifest);
    rows.push(String::new());
    add_files(&mut rows, manifest);
    rows.push(String::new());
    add_origins(&mut rows, manifest);
    rows.iter()
        .fold(String::new(), |text, row| text + row.trim_end() + "\n")
}

/// The boot program against its limit, and each part against the boot program.
fn add_parts(rows: &mut Vec<String>, manifest: &Manifest) {
    let program = manifest.files.iter().find(|file| file.name == "luc.efi");
    let program = program.map_or(0, |file| file.size);
    let (size, allowed) = (megabytes(program), megabytes(UKI_BYTES_MAX));
    let full = bar(program, UKI_BYTES_MAX);
    rows.push(format!("luc.efi  {size} of {allowed} allowed  {full}"));
    for part in &manifest.parts {
        let (size, share) = (megabytes(part.size), bar(part.size, program));
        rows.push(format!("  {:<16} {size:>9}  {share}", part.name));
    }
}

fn add_files(rows: &mut Vec<String>, manifest: &Manifest) {
    let row = |name: &str, size: &str, digest: &str, purpose: &str| {
        format!("{name:<14} {size:>9}  {digest:<16}  {purpose}")
    };
    rows.push(row("FILE", "SIZE", "SHA-256", "FOR"));
    for file in &manifest.files {
        let (size, digest) = (megabytes(file.size), file.sha256.short());
        rows.push(row(&file.name, &size, &digest, &file.purpose));
    }
}

/// Where it comes from, and what it does not have.
fn add_origins(rows: &mut Vec<String>, manifest: &Manifest) {
    for package in &manifest.packages {
        rows.push(format!("from {} {}", package.name, package.version));
    }
    let (modules, aliases) = (manifest.modules, manifest.aliases);
    rows.push(format!(
        "{modules} modules answer {aliases} device patterns"
    ));
    for (what, names) in [
        ("modules that this kernel lacks", &manifest.modules_absent),
        ("modules that may ask for a blob", &manifest.firmware_wanted),
    ] {
        if !names.is_empty() {
            rows.push(format!("{what}: {}", names.join(" ")));
        }
    }
}
