//! Whole builds from packages made here: no network, no cargo, a few milliseconds.
//!
//! Does:      makes a toy kernel package, stub, loaders and program; builds, verifies, breaks.
//! Does not:  boot; the rig does.
//! Bounds:    kilobytes.
//! Trusts:    nothing.
//! Start at:  `Trial::new`.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::deb::tests::{pack, pack_xz};
use crate::digest::Digest;
use crate::lock::{Lock, Package, Source};
use crate::uki::tests::toy_stub;
use crate::{AllowList, Error, Image, Options, Paths, Progress, build, inspect, verify};

/// A relocatable ELF file whose only section of interest is `.modinfo`.
fn toy_module(modinfo: &[u8]) -> Vec<u8> {
    let names = b"\0.modinfo\0.shstrtab\0";
    let data = 64;
    let table = (data + modinfo.len() + names.len()).next_multiple_of(8);
    let mut elf = elf_header(1, 0, 0, 3, u64::try_from(table).unwrap_or(0));
    elf.extend_from_slice(modinfo);
    elf.extend_from_slice(names);
    elf.resize(table, 0);
    let section = |elf: &mut Vec<u8>, name: u32, kind: u32, at: usize, size: usize| {
        elf.extend_from_slice(&name.to_le_bytes());
        elf.extend_from_slice(&kind.to_le_bytes());
        for field in [0, 0, at as u64, size as u64, 0, 1, 0] {
            elf.extend_from_slice(&field.to_le_bytes());
        }
    };
    section(&mut elf, 0, 0, 0, 0);
    section(&mut elf, 1, 1, data, modinfo.len());
    section(&mut elf, 10, 3, data + modinfo.len(), names.len());
    // sh_link and sh_info are one 8-byte field above; both stay zero.
    elf
}

fn elf_header(kind: u16, headers: u64, header_count: u16, sections: u16, table: u64) -> Vec<u8> {
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    elf.extend_from_slice(&kind.to_le_bytes());
    elf.extend_from_slice(&62u16.to_le_bytes());
    elf.extend_from_slice(&1u32.to_le_bytes());
    for field in [0, headers, table] {
        elf.extend_from_slice(&field.to_le_bytes());
    }
    elf.extend_from_slice(&0u32.to_le_bytes());
    let last = sections.saturating_sub(1);
    for field in [64, 56, header_count, 64, sections, last] {
        elf.extend_from_slice(&field.to_le_bytes());
    }
    elf
}

/// A program without a loader, or one that needs it.
fn toy_program(needs_loader: bool) -> Vec<u8> {
    let mut elf = elf_header(2, 64, 1, 0, 0);
    elf.extend_from_slice(&(if needs_loader { 3u32 } else { 1 }).to_le_bytes());
    elf.extend_from_slice(&[0; 52]);
    elf
}

fn toy_kernel() -> Vec<u8> {
    let mut kernel = vec![0x90; 0x1000];
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    kernel
}

/// A workspace with nothing but a lock file and packages.
struct Trial {
    folder: TempDir,
    paths: Paths,
}

impl Trial {
    fn new() -> Trial {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::of(folder.path(), &folder.path().join("target"));
        fs::create_dir_all(&paths.debs).unwrap();
        let module = |modinfo: &[u8]| pack_xz(&toy_module(modinfo));
        let nic = module(b"name=toy_nic\0depends=toy-bus\0alias=pci:v0001*\0");
        let bus = module(b"name=toy_bus\0depends=\0");
        let other = module(b"name=other\0depends=\0");
        let kernel = toy_kernel();
        let kernel = pack(&[
            ("boot/vmlinuz-6.0-toy", &kernel),
            ("lib/modules/6.0-toy/kernel/toy-nic.ko.xz", &nic),
            ("lib/modules/6.0-toy/kernel/toy-bus.ko.xz", &bus),
            ("lib/modules/6.0-toy/kernel/other.ko.xz", &other),
            (
                "lib/modules/6.0-toy/modules.builtin",
                b"kernel/net/unix.ko\n",
            ),
        ]);
        let stub = pack(&[("usr/lib/systemd/boot/efi/linuxx64.efi.stub", &toy_stub())]);
        let loaders = pack(&[
            ("usr/lib/ipxe/undionly.kpxe", b"bios"),
            ("usr/lib/ipxe/snponly.efi", b"MZ"),
        ]);
        let packages = [
            ("kernel-amd64", kernel),
            ("uki-stub", stub),
            ("ipxe", loaders),
        ]
        .map(|(role, bytes)| add(&paths, role, &bytes));
        Lock {
            pinned_at: 1_800_000_000,
            packages: packages.into(),
        }
        .write(&paths.lock)
        .unwrap();
        fs::write(folder.path().join("init"), toy_program(false)).unwrap();
        Trial { folder, paths }
    }

    fn options(&self) -> Options {
        let mut options = Options::of(self.paths.clone());
        options.binary = Some(self.folder.path().join("init"));
        options.modules = Some(AllowList::of(["toy_nic", "unix"]));
        options.offline = true;
        options
    }

    fn build(&self) -> Result<Image, Error> {
        build(&self.options(), &mut Progress::silent())
    }

    fn deb(&self, role: &str) -> std::path::PathBuf {
        self.paths.debs.join(format!("{role}_1_all.deb"))
    }
}

fn add(paths: &Paths, role: &str, bytes: &[u8]) -> Package {
    let file = format!("{role}_1_all.deb");
    fs::write(paths.debs.join(&file), bytes).unwrap();
    Package {
        role: role.to_owned(),
        name: format!("toy-{role}"),
        version: "1".into(),
        architecture: "all".into(),
        file,
        pool: "pool/main/t/toy".into(),
        size: bytes.len() as u64,
        sha256: Digest::of(bytes),
        sources: vec![Source {
            name: "toy".into(),
            version: "1".into(),
        }],
    }
}

fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into(),
                fs::read(path).unwrap(),
            )
        })
        .collect();
    files.sort();
    files
}

#[test]
fn two_builds_in_two_places_are_byte_identical() {
    let (one, two) = (Trial::new(), Trial::new());
    let first = contents(&one.build().unwrap().folder);
    assert!(
        first == contents(&two.build().unwrap().folder),
        "another folder"
    );
    assert!(
        first == contents(&one.build().unwrap().folder),
        "again, from the cache"
    );
    let names: Vec<_> = first.iter().map(|(name, _)| name.as_str()).collect();
    let expected = "SOURCES initrd.cpio luc.efi luc.img luc.ipxe manifest.json sbom.cdx.json \
                    snponly.efi undionly.kpxe vmlinuz";
    assert_eq!(names.join(" "), expected);
}

#[test]
fn a_built_image_verifies_and_shows_its_parts() {
    let trial = Trial::new();
    let image = trial.build().unwrap();
    let findings = verify(&image.folder).unwrap();
    assert!(
        findings.iter().any(|line| line.contains("2 modules")),
        "{findings:?}"
    );
    let text = inspect::table(&image.manifest);
    for part in [
        "luc.efi",
        "32.0 MB allowed",
        "2 modules",
        "1 device patterns",
        "6.0-toy",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn an_altered_package_stops_the_build_and_the_old_image_stands() {
    let trial = Trial::new();
    let before = contents(&trial.build().unwrap().folder);
    for role in ["kernel-amd64", "uki-stub", "ipxe"] {
        let good = fs::read(trial.deb(role)).unwrap();
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 1;
        fs::write(trial.deb(role), bad).unwrap();
        let error = trial.build().unwrap_err();
        assert!(matches!(error, Error::PackageAltered(_)), "{role}: {error}");
        assert!(
            error.to_string().contains(&Digest::of(&good).to_string()),
            "{error}"
        );
        fs::write(trial.deb(role), good).unwrap();
    }
    fs::remove_file(trial.deb("ipxe")).unwrap();
    let error = trial.build().unwrap_err();
    assert!(error.to_string().contains("toy-ipxe"), "{error}");
    assert!(contents(&trial.paths.image) == before, "nothing changed");
    let left = fs::read_dir(trial.paths.target.clone()).unwrap();
    let hidden = left.filter(|e| {
        e.as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with('.')
    });
    assert_eq!(hidden.count(), 0, "nothing half-written stays");
}

#[test]
fn a_program_that_needs_a_loader_is_refused() {
    let trial = Trial::new();
    fs::write(trial.folder.path().join("init"), toy_program(true)).unwrap();
    let error = trial.build().unwrap_err();
    assert!(error.to_string().contains("static"), "{error}");
}

#[test]
fn an_image_above_the_limit_names_its_biggest_parts() {
    let trial = Trial::new();
    let mut program = toy_program(false);
    // Noise, which packing makes no smaller.
    let mut state = 1_u64;
    program.resize_with(31_999_000, || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    });
    fs::write(trial.folder.path().join("init"), program).unwrap();
    let error = trial.build().unwrap_err();
    assert!(matches!(error, Error::TooBig { .. }), "{error}");
    assert!(error.to_string().contains("luc (init) 32.0 MB"), "{error}");
}

#[test]
fn every_altered_artefact_is_found() {
    let trial = Trial::new();
    let image = trial.build().unwrap();
    for artefact in &image.manifest.files {
        let path = image.path(&artefact.name);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        bad[good.len() / 3] ^= 1;
        fs::write(&path, bad).unwrap();
        let error = verify(&image.folder).unwrap_err();
        assert!(error.to_string().contains(&artefact.name), "{error}");
        fs::write(&path, good).unwrap();
    }
    assert!(verify(&image.folder).is_ok());
}

#[test]
fn a_cache_that_was_tampered_with_is_made_again() {
    let trial = Trial::new();
    let before = contents(&trial.build().unwrap().folder);
    let cache = fs::read_dir(trial.paths.debs.join("extracted"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    fs::write(cache.path().join("vmlinuz"), b"evil").unwrap();
    assert!(contents(&trial.build().unwrap().folder) == before);
}
