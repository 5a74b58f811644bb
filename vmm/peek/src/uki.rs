//! Unified kernel images: one PE file that carries kernel, initrd and command line as sections.
//!
//! Does:      finds them in `EFI/Linux` and as the default program of an EFI system partition;
//!            takes their sections apart.
//! Does not:  check signatures, or use other profiles than the first.
//! Bounds:    `SECTIONS_MAX`, `CMDLINE_MAX` bytes, `IMAGES_MAX` files of a folder.
//! Trusts:    nothing in the file.
//! Start at:  `split`.

use crate::disk::{ReadError, u16_at, u32_at};
use crate::part::Part;
use crate::search::{Choice, FileName, Volumes};
use crate::version;

const SECTIONS_MAX: usize = 96;
const SECTION_BYTES: usize = 40;
const CMDLINE_MAX: u64 = 16 << 10;
const IMAGES_MAX: usize = 64;
const FOLDERS: [&str; 2] = ["/EFI/Linux", "/boot/EFI/Linux"];
const DEFAULT: &str = "/EFI/BOOT/BOOTX64.EFI";

/// The parts of an image.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) kernel: Part,
    pub(crate) initrds: Vec<Part>,
    pub(crate) cmdline: String,
}

/// All images there are, the newest of a folder first.
pub(crate) fn choices(volumes: &Volumes) -> Result<Vec<Choice>, ReadError> {
    let mut found = Vec::new();
    for (number, volume) in volumes.list().iter().enumerate() {
        let mut paths = Vec::new();
        for folder in FOLDERS {
            let names = volume.list(folder)?.unwrap_or_default().into_iter();
            let mut names: Vec<String> = names
                .map(|(name, _)| name)
                .filter(|name| name.to_ascii_lowercase().ends_with(".efi"))
                .collect();
            names.sort_by(|a, b| version::compare(b, a));
            names.truncate(IMAGES_MAX);
            paths.extend(names.into_iter().map(|name| format!("{folder}/{name}")));
        }
        paths.push(DEFAULT.to_owned());
        for path in paths {
            // The default program is mostly a boot loader without a kernel in it.
            let image = volume.open(&path)?.map(|part| split(&part));
            if matches!(image, Some(Ok(Some(_)))) {
                found.push(Choice {
                    title: path.clone(),
                    kernel: FileName {
                        volume: number,
                        path,
                    },
                    initrds: Vec::new(),
                    cmdline: String::new(),
                });
            }
        }
    }
    Ok(found)
}

/// Takes an image apart. `None`: it is a kernel, or something else without a kernel inside.
pub(crate) fn split(file: &Part) -> Result<Option<Image>, ReadError> {
    let sections = sections(file)?;
    let section = |name: &str| {
        let of_name = |(found, _): &&(String, Part)| found == name;
        sections.iter().find(of_name).map(|(_, part)| part.clone())
    };
    let Some(kernel) = section(".linux") else {
        return Ok(None);
    };
    let cmdline = match section(".cmdline") {
        Some(part) => part.read_all(CMDLINE_MAX)?,
        None => Vec::new(),
    };
    let text = cmdline.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(Some(Image {
        kernel,
        initrds: section(".ucode")
            .into_iter()
            .chain(section(".initrd"))
            .collect(),
        cmdline: String::from_utf8_lossy(text).trim().to_owned(),
    }))
}

/// The sections of a PE file; none of anything else.
fn sections(file: &Part) -> Result<Vec<(String, Part)>, ReadError> {
    let mut head = [0; 64];
    if file.len() < 1024 {
        return Ok(Vec::new());
    }
    file.read_at(0, &mut head)?;
    let at = u64::from(u32_at(&head, 60));
    if !head.starts_with(b"MZ") || at + 24 > file.len() {
        return Ok(Vec::new());
    }
    let mut header = [0; 24];
    file.read_at(at, &mut header)?;
    if !header.starts_with(b"PE\0\0") {
        return Ok(Vec::new());
    }
    let count = usize::from(u16_at(&header, 6)).min(SECTIONS_MAX);
    let table_at = at + 24 + u64::from(u16_at(&header, 20));
    let mut table = vec![0; count * SECTION_BYTES];
    if table_at + table.len() as u64 > file.len() {
        return Ok(Vec::new());
    }
    file.read_at(table_at, &mut table)?;
    let sections = table.chunks_exact(SECTION_BYTES).map(|section| {
        let name = section[..8]
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default();
        let name = String::from_utf8_lossy(name).into_owned();
        // In the file a section is filled up; in memory it has its own length.
        let len = u32_at(section, 8).min(u32_at(section, 16));
        let part = file.section(&name, u64::from(u32_at(section, 20)), u64::from(len));
        (name, part)
    });
    Ok(sections.collect())
}
