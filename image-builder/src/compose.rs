//! From ingredients to artefacts: pure, so that two runs cannot differ.
//!
//! Does:      packs the initrd, assembles the UKI, lays out the disk, describes it all.
//! Does not:  read a file, a clock or the environment.
//! Bounds:    `UKI_BYTES_MAX`.
//! Trusts:    ingredients that `build` has checked.
//! Start at:  `compose`.

use crate::Error;
use crate::crates::Crate;
use crate::digest::Digest;
use crate::disclosure::{self, Linked};
use crate::initrd::{self, About};
use crate::kernel::Kernel;
use crate::lock::Package;
use crate::manifest::{Artefact, FORMAT, Manifest, Origin, Part};
use crate::progress::{Progress, megabytes};
use crate::{media, script, uki};

/// The boot program may have 32 MB: it travels by TFTP where firmware knows nothing better, and
/// it stands in memory twice while a machine boots.
pub const UKI_BYTES_MAX: u64 = 32_000_000;
/// Parts named when the boot program is too big.
const PARTS_NAMED: usize = 5;

/// Everything that goes into an image.
#[derive(Debug, Clone)]
pub struct Ingredients {
    pub version: String,
    pub kernel: Kernel,
    /// The `luc` program.
    pub init: Vec<u8>,
    /// systemd's UEFI stub.
    pub stub: Vec<u8>,
    /// File name, purpose and bytes of boot loaders that are copied as they are.
    pub loaders: Vec<(String, String, Vec<u8>)>,
    /// Kernel arguments.
    pub arguments: String,
    /// When `packages` were pinned, in seconds since 1970.
    pub pinned_at: u64,
    pub packages: Vec<Package>,
    pub crates: Vec<Crate>,
    pub linked: Vec<Linked>,
}

/// An artefact before it is written.
pub type File = (Artefact, Vec<u8>);

/// All artefacts but the manifest, and the manifest.
pub fn compose(
    from: &Ingredients,
    progress: &mut Progress,
) -> Result<(Vec<File>, Manifest), Error> {
    let build = fingerprint(from);
    let about = About {
        name: "luc-os".to_owned(),
        version: from.version.clone(),
        kernel: from.kernel.release.clone(),
        build: build.short(),
        source_date_epoch: from.pinned_at,
    };
    let init = initrd::packed(&from.init)?;
    let initrd = initrd::pack(&from.kernel, &init, &about)?;
    progress.step(&format!("initrd.cpio {}", megabytes(initrd.len() as u64)));
    let program = boot_program(from, &about, &initrd)?;
    let parts = parts(from, &init, &initrd);
    hold_limit(program.len() as u64, &parts)?;
    progress.step(&format!("luc.efi {}", megabytes(program.len() as u64)));
    let disk = media::disk_image(&program)?;
    let text = script::ipxe_script(&from.arguments).into_bytes();
    let bill =
        disclosure::bill_of_materials(&about, &build, &from.packages, &from.crates, &from.linked);
    let sources = disclosure::sources(&about, &from.packages, &from.linked);
    let mut files = vec![
        file(
            "luc.efi",
            "UKI: one UEFI program for PXE, HTTP boot and disks",
            program,
        ),
        file(
            "vmlinuz",
            "kernel, as Debian signed it",
            from.kernel.vmlinuz.clone(),
        ),
        file("initrd.cpio", "init, modules and their table", initrd),
        file("luc.ipxe", "iPXE script for BIOS and UEFI", text),
        file("luc.img", "disk image for USB sticks", disk),
    ];
    for (name, purpose, bytes) in &from.loaders {
        files.push(file(name, purpose, bytes.clone()));
    }
    files.push(file("sbom.cdx.json", "bill of materials (CycloneDX)", bill));
    files.push(file(
        "SOURCES",
        "where the sources are that the GPL asks for",
        sources,
    ));
    let manifest = manifest(from, about, &files, parts);
    Ok((files, manifest))
}

fn file(name: &str, purpose: &str, bytes: Vec<u8>) -> File {
    let artefact = Artefact {
        name: name.to_owned(),
        purpose: purpose.to_owned(),
        size: bytes.len() as u64,
        sha256: Digest::of(&bytes),
    };
    (artefact, bytes)
}

/// The hash of all that goes in.
fn fingerprint(from: &Ingredients) -> Digest {
    let modules = from.kernel.modules.values().map(|bytes| &bytes[..]);
    let table = from.kernel.table.to_json();
    let fixed = [
        from.version.as_bytes(),
        from.kernel.release.as_bytes(),
        &from.kernel.vmlinuz,
        &from.init,
        &from.stub,
        from.arguments.as_bytes(),
        &table,
        &from.pinned_at.to_le_bytes(),
    ];
    Digest::of_parts(fixed.into_iter().chain(modules))
}

fn boot_program(from: &Ingredients, about: &About, initrd: &[u8]) -> Result<Vec<u8>, Error> {
    let release = format!(
        "ID=luc\nNAME=\"LUC OS\"\nPRETTY_NAME=\"LUC OS {}\"\nVERSION_ID={}\nBUILD_ID={}\n",
        about.version, about.version, about.build
    );
    // Shim refuses programs whose generation was revoked; ours starts at 1.
    let mut sbat = uki::section(&from.stub, ".sbat")
        .unwrap_or_default()
        .to_vec();
    while sbat.last() == Some(&0) {
        sbat.pop();
    }
    sbat.extend_from_slice(format!("luc,1,LUC OS,luc,{},-\n", about.version).as_bytes());
    uki::assemble(
        &from.stub,
        &[
            (".sbat", &sbat),
            (".osrel", release.as_bytes()),
            (".uname", about.kernel.as_bytes()),
            (".cmdline", from.arguments.as_bytes()),
            (".linux", &from.kernel.vmlinuz),
            (".initrd", initrd),
        ],
    )
}

/// What the boot program consists of, the biggest part first.
fn parts(from: &Ingredients, init: &[u8], initrd: &[u8]) -> Vec<Part> {
    let part = |name: &str, bytes: &[u8]| Part {
        name: name.to_owned(),
        size: bytes.len() as u64,
        sha256: Digest::of(bytes),
    };
    let modules: u64 = from
        .kernel
        .modules
        .values()
        .map(|bytes| bytes.len() as u64)
        .sum();
    let table = from.kernel.table.to_json();
    let known = modules + init.len() as u64 + table.len() as u64;
    let mut parts = vec![
        part("kernel", &from.kernel.vmlinuz),
        part("luc (init)", init),
        part("module table", &table),
        part("UEFI stub", &from.stub),
        Part {
            name: format!("{} modules", from.kernel.modules.len()),
            size: modules,
            sha256: Digest::of_parts(from.kernel.modules.values().map(|bytes| &bytes[..])),
        },
        Part {
            name: "cpio headers".to_owned(),
            size: (initrd.len() as u64).saturating_sub(known),
            sha256: Digest::of(initrd),
        },
    ];
    parts.sort_by(|a, b| b.size.cmp(&a.size).then(a.name.cmp(&b.name)));
    parts
}

fn hold_limit(bytes: u64, parts: &[Part]) -> Result<(), Error> {
    if bytes <= UKI_BYTES_MAX {
        return Ok(());
    }
    let named = parts.iter().take(PARTS_NAMED);
    let named = named.map(|part| format!("{} {}", part.name, megabytes(part.size)));
    Err(Error::TooBig {
        bytes,
        over: bytes - UKI_BYTES_MAX,
        max: UKI_BYTES_MAX,
        parts: named.collect::<Vec<_>>().join(", "),
    })
}

fn manifest(from: &Ingredients, about: About, files: &[File], parts: Vec<Part>) -> Manifest {
    Manifest {
        format: FORMAT,
        about,
        arguments: from.arguments.clone(),
        files: files.iter().map(|(artefact, _)| artefact.clone()).collect(),
        parts,
        packages: from.packages.iter().map(Origin::of).collect(),
        modules: from.kernel.modules.len(),
        aliases: from.kernel.table.aliases.len(),
        modules_absent: from.kernel.absent.clone(),
        firmware_wanted: from.kernel.firmware.keys().cloned().collect(),
    }
}
