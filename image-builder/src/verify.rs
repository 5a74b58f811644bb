//! Opens every artefact again, with readers that the builder did not write them with.
//!
//! Does:      compares hashes; reads PE with `object`, cpio with `cpio`, GPT with `gpt`; compares
//!            what is inside with what stands beside it.
//! Does not:  check signatures yet, or boot anything; the rig does.
//! Bounds:    files as big as the manifest says, no bigger.
//! Trusts:    nothing in the folder but the manifest.
//! Start at:  `verify`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use object::read::pe::PeFile64;
use object::{Object, ObjectSection};

use crate::Error;
use crate::compose::UKI_BYTES_MAX;
use crate::digest::Digest;
use crate::initrd::{About, IMAGE_JSON, INITRD_BYTES_MAX, MODULES_JSON};
use crate::manifest::Manifest;
use crate::media::{BOOT_PATH, CONFIG_LABEL, fat_file};
use crate::modules::Table;
use crate::paths::read;

/// Entries of an initrd.
const ENTRIES_MAX: usize = 100_000;
const SECTOR_BYTES: u64 = 512;

/// What was looked at and found right, one line each.
pub type Findings = Vec<String>;

/// Checks the image in `folder`.
pub fn verify(folder: &Path) -> Result<Findings, Error> {
    let manifest = Manifest::read(folder)?;
    let mut findings = Vec::new();
    for file in &manifest.files {
        let path = folder.join(&file.name);
        let (sha256, size) = Digest::of_file(&path).map_err(Error::file("Reading", &path))?;
        if sha256 != file.sha256 || size != file.size {
            return Err(broken(
                &file.name,
                format!(
                    "sha256 {sha256} ({size} bytes), the manifest says {} ({} bytes)",
                    file.sha256, file.size
                ),
            ));
        }
    }
    findings.push(format!(
        "{} files have the hashes of the manifest",
        manifest.files.len()
    ));
    let [program, kernel, initrd] = ["luc.efi", "vmlinuz", "initrd.cpio"].map(|n| folder.join(n));
    let (program, kernel, initrd) = (read(&program)?, read(&kernel)?, read(&initrd)?);
    let at = |name: &'static str| move |reason: String| broken(name, reason);
    check_kernel(&kernel).map_err(at("vmlinuz"))?;
    findings.push(check_initrd(&initrd, &manifest).map_err(at("initrd.cpio"))?);
    findings.push(check_program(&program, &kernel, &initrd, &manifest).map_err(at("luc.efi"))?);
    findings.push(check_disk(&folder.join("luc.img"), &program).map_err(at("luc.img"))?);
    let script = String::from_utf8_lossy(&read(&folder.join("luc.ipxe"))?).into_owned();
    findings.push(check_script(&script, &manifest).map_err(at("luc.ipxe"))?);
    let bill = read(&folder.join("sbom.cdx.json"))?;
    findings.push(check_bill(&bill, &manifest).map_err(at("sbom.cdx.json"))?);
    Ok(findings)
}

fn broken(name: &str, reason: String) -> Error {
    Error::Broken {
        name: name.to_owned(),
        reason,
    }
}

fn check_kernel(kernel: &[u8]) -> Result<(), String> {
    let magic = kernel.get(0x202..0x206);
    if magic == Some(b"HdrS") {
        Ok(())
    } else {
        Err("it is no bzImage".to_owned())
    }
}

/// Path and content of every regular file in an initrd: of a plain archive, and of a packed one
/// that may follow it.
pub fn initrd_files(initrd: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let mut files = BTreeMap::new();
    let rest = add_files(initrd, &mut files)?;
    let padding = rest.iter().take_while(|byte| **byte == 0).count();
    let packed = &rest[padding..];
    if !packed.is_empty() {
        let mut plain = vec![0; plain_size(packed)?];
        zstd_safe::decompress(&mut plain[..], packed)
            .map_err(|code| format!("its second part: {}", zstd_safe::get_error_name(code)))?;
        add_files(&plain, &mut files)?;
    }
    Ok(files)
}

/// How big something packed says that it is.
fn plain_size(packed: &[u8]) -> Result<usize, String> {
    let said = zstd_safe::get_frame_content_size(packed).ok().flatten();
    let said = said.and_then(|size| usize::try_from(size).ok());
    said.filter(|size| *size <= INITRD_BYTES_MAX)
        .ok_or_else(|| "what follows its first archive is none that is packed".to_owned())
}

/// Reads one archive, and returns what follows it.
fn add_files<'a>(
    archive: &'a [u8],
    files: &mut BTreeMap<String, Vec<u8>>,
) -> Result<&'a [u8], String> {
    let mut rest = archive;
    for _ in 0..ENTRIES_MAX {
        let mut reader = cpio::newc::Reader::new(rest).map_err(|error| error.to_string())?;
        let is_last = reader.entry().is_trailer();
        let mut bytes = Vec::new();
        reader
            .read_to_end(&mut bytes)
            .map_err(|error| error.to_string())?;
        if reader.entry().mode() & 0o170_000 == 0o100_000 {
            files.insert(reader.entry().name().to_owned(), bytes);
        }
        rest = reader.finish().map_err(|error| error.to_string())?;
        if is_last {
            return Ok(rest);
        }
    }
    Err(format!("it has more than {ENTRIES_MAX} entries"))
}

fn check_initrd(initrd: &[u8], manifest: &Manifest) -> Result<String, String> {
    let files = initrd_files(initrd)?;
    let file = |path: &str| files.get(path).ok_or(format!("{path} is missing"));
    crate::binary::check(file("init")?)?;
    let about: About = serde_json::from_slice(file(IMAGE_JSON)?).map_err(|e| e.to_string())?;
    let table: Table = serde_json::from_slice(file(MODULES_JSON)?).map_err(|e| e.to_string())?;
    if about != manifest.about || table.kernel != about.kernel {
        return Err("it describes another image than the manifest".to_owned());
    }
    for (name, row) in &table.modules {
        file(&format!("lib/luc/modules/{}", row.file))?;
        let needs = row.depends.iter().chain(&row.soft_pre);
        if let Some(need) = needs
            .clone()
            .find(|need| !table.modules.contains_key(*need))
        {
            return Err(format!("module {name} needs {need}, which is not there"));
        }
    }
    if let Some((pattern, name)) = table
        .aliases
        .iter()
        .find(|a| !table.modules.contains_key(&a.1))
    {
        return Err(format!("{pattern} asks for {name}, which is not there"));
    }
    Ok(format!(
        "initrd: static init, {} modules, none needs one that is absent",
        table.modules.len()
    ))
}

fn check_program(
    program: &[u8],
    kernel: &[u8],
    initrd: &[u8],
    manifest: &Manifest,
) -> Result<String, String> {
    if program.len() as u64 > UKI_BYTES_MAX {
        return Err(format!(
            "{} bytes, the most is {UKI_BYTES_MAX}",
            program.len()
        ));
    }
    let file = PeFile64::parse(program).map_err(|error| error.to_string())?;
    let arguments = manifest.arguments.as_bytes();
    let release = manifest.about.kernel.as_bytes();
    let expected = [
        (".linux", kernel),
        (".initrd", initrd),
        (".cmdline", arguments),
        (".uname", release),
    ];
    for (name, content) in expected {
        let section = file
            .section_by_name(name)
            .ok_or(format!("section {name} is missing"))?;
        let data = section.data().map_err(|error| error.to_string())?;
        if section.size() != content.len() as u64 || data.get(..content.len()) != Some(content) {
            return Err(format!(
                "section {name} holds something else than the file beside it"
            ));
        }
    }
    for name in [".osrel", ".sbat"] {
        file.section_by_name(name)
            .ok_or(format!("section {name} is missing"))?;
    }
    let mut areas: Vec<_> = file
        .sections()
        .map(|s| (s.address(), s.address() + s.size()))
        .collect();
    areas.sort_unstable();
    if areas.windows(2).any(|pair| pair[0].1 > pair[1].0) {
        return Err("its sections overlap in memory".to_owned());
    }
    Ok(format!(
        "luc.efi: kernel, initrd and arguments are inside, {} bytes",
        program.len()
    ))
}

fn check_disk(path: &Path, program: &[u8]) -> Result<String, String> {
    let mut disk = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(1 << 30)
        .read_to_end(&mut disk)
        .map_err(|error| error.to_string())?;
    let device = std::io::Cursor::new(disk);
    let config = gpt::GptConfig::new()
        .writable(false)
        .only_valid_headers(false);
    let table = config
        .open_from_device(device)
        .map_err(|error| error.to_string())?;
    table
        .primary_header()
        .map_err(|error| format!("first table: {error}"))?;
    table
        .backup_header()
        .map_err(|error| format!("second table: {error}"))?;
    let of = |name: &str| {
        table
            .partitions()
            .values()
            .find(|partition| partition.name == name)
    };
    let esp = of("LUCBOOT").ok_or("it has no EFI system partition")?;
    of(CONFIG_LABEL).ok_or("it has no partition for configuration")?;
    let bytes = |sector: u64| usize::try_from(sector * SECTOR_BYTES).unwrap_or(usize::MAX);
    let area = bytes(esp.first_lba)..bytes(esp.last_lba + 1);
    let disk = table
        .device_ref()
        .get_ref()
        .get(area)
        .ok_or("a partition leaves the disk")?;
    if fat_file(disk, BOOT_PATH)? != program {
        return Err(format!("{BOOT_PATH} is not luc.efi"));
    }
    Ok(format!(
        "luc.img: both tables are whole, {BOOT_PATH} is luc.efi"
    ))
}

fn check_script(script: &str, manifest: &Manifest) -> Result<String, String> {
    let names = [
        "luc.efi",
        "vmlinuz",
        "initrd=initrd.cpio",
        &*manifest.arguments,
    ];
    match names.iter().find(|name| !script.contains(**name)) {
        Some(name) => Err(format!("it does not mention {name}")),
        None if !script.starts_with("#!ipxe\n") => Err("it is no iPXE script".to_owned()),
        None => Ok("luc.ipxe: names the files beside it".to_owned()),
    }
}

fn check_bill(bill: &[u8], manifest: &Manifest) -> Result<String, String> {
    let bill: serde_json::Value = serde_json::from_slice(bill).map_err(|e| e.to_string())?;
    let components = bill["components"].as_array().ok_or("it lists nothing")?;
    for package in &manifest.packages {
        if !components
            .iter()
            .any(|component| component["name"] == package.name.as_str())
        {
            return Err(format!("it does not list {}", package.name));
        }
    }
    Ok(format!(
        "sbom.cdx.json: {} components, every package among them",
        components.len()
    ))
}

/// Any bytes as an initrd: an answer.
pub fn fuzz_initrd(data: &[u8]) {
    let _ = initrd_files(data);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::initrd_files;
    use crate::cpio::Archive;
    use crate::initrd::packed;

    #[test]
    fn files_of_a_plain_and_of_a_packed_archive_are_found() {
        let mut plain = Archive::new();
        plain.file("lib/a", 0o644, vec![1; 9]);
        let mut initrd = plain.finish().unwrap();
        let program = b"program ".repeat(10_000);
        let packed = packed(&program).unwrap();
        assert!(packed.len() < program.len() / 10);
        initrd.extend(&packed);
        let files = initrd_files(&initrd).unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["init", "lib/a"]);
        assert_eq!(files["init"], program);
        for broken in [&initrd[..initrd.len() - 1], &[&initrd[..], b"x"].concat()] {
            assert!(initrd_files(broken).is_err());
        }
    }
}
