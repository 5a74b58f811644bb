//! The initrds of the benchmark: the bare one, and that of the machine that starts VMs.
//!
//! Does:      packs our programs, KVM's modules, Debian's QEMU with its libraries, and a guest.
//! Does not:  start anything.
//! Bounds:    `LIBRARIES_MAX` libraries.
//! Trusts:    the host's QEMU package and `ldd`.
//! Start at:  `bare`, `vm_starts`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use image_builder::cpio::Archive;
use image_builder::kernel::{self, Kernel};
use image_builder::lock::{Flavour, Lock};
use image_builder::modules::{AllowList, Table};
use image_builder::{Paths, fetch};

use super::plan::{self, Plan};
use crate::machine::QEMU;
use crate::scenario::chain;
use crate::supplies::{Supplies, build_bin};

/// Debian's QEMU 7.2 needs 51.
const LIBRARIES_MAX: usize = 200;
/// What microvm reads at its start: both firmwares it may take, and the loaders of kernels.
const FIRMWARE: [&str; 5] = [
    "bios-microvm.bin",
    "qboot.rom",
    "linuxboot_dma.bin",
    "pvh.bin",
    "kvmvapic.bin",
];
/// The modules of the bench machine; Intel's refuses AMD's processors and the other way round.
const MODULES: [&str; 2] = ["kvm_amd", "kvm_intel"];

/// The least that boots: our kernel's floor.
pub fn bare(paths: &Paths, folder: &Path) -> Result<PathBuf, String> {
    let mut archive = skeleton();
    let init = program(paths, "bare-init")?;
    add(&mut archive, "init", &init)?;
    write(&archive, &folder.join("bare.cpio"))
}

/// A machine with KVM, `luc`, QEMU and a guest, that follows the plan.
pub fn vm_starts(supplies: &Supplies, plan: &Plan<'_>, folder: &Path) -> Result<PathBuf, String> {
    let mut archive = skeleton();
    add(
        &mut archive,
        "init",
        &program(&supplies.paths, "bench-init")?,
    )?;
    add(&mut archive, &plan::LUC[1..], &supplies.luc)?;
    add(&mut archive, &plan::KERNEL[1..], &supplies.guest.kernel)?;
    add(&mut archive, &plan::INITRD[1..], &supplies.guest.initrd)?;
    let kernel = image_kernel(&supplies.paths)?;
    let modules = load_order(&kernel.table, &MODULES);
    for name in &modules {
        let bytes = kernel
            .modules
            .get(name)
            .ok_or(format!("no module {name}"))?;
        archive.file(&plan::module_path(name)[1..], 0o644, bytes.clone());
    }
    let modules: Vec<&str> = modules.iter().map(String::as_str).collect();
    archive.file(
        &guest::bench::PLAN[1..],
        0o644,
        plan.text(&modules).into_bytes(),
    );
    add_qemu(&mut archive)?;
    write(&archive, &folder.join("vm-starts.cpio"))
}

/// The kernel that our image carries, with the image's modules.
fn image_kernel(paths: &Paths) -> Result<Kernel, String> {
    let text = |error: image_builder::Error| chain(&error);
    let mut progress = image_builder::Progress::stderr();
    let lock = Lock::read(&paths.lock).map_err(text)?;
    let role = Flavour::default().role();
    let package = lock.package(role, &paths.lock).map_err(text)?;
    let deb = fetch::ensure(package, &paths.debs, false, &mut progress).map_err(text)?;
    let list = AllowList::image().map_err(text)?;
    kernel::open(package, &deb, &list, &mut progress).map_err(text)
}

/// These modules and those that they need, each after its needs.
fn load_order(table: &Table, wanted: &[&str]) -> Vec<String> {
    let needs = |name: &String| table.modules.get(name).map_or(&[][..], |row| &row.depends);
    let mut open: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
    let mut at = 0;
    while let Some(name) = open.get(at).cloned() {
        let fresh = needs(&name).iter().filter(|need| !open.contains(need));
        let fresh: Vec<String> = fresh.cloned().collect();
        open.extend(fresh);
        at += 1;
    }
    let mut order: Vec<String> = Vec::new();
    // Each turn takes one that has all its needs; depmod refuses cycles, which would end this.
    while let Some(at) = open
        .iter()
        .position(|n| needs(n).iter().all(|n| order.contains(n)))
    {
        order.push(open.remove(at));
    }
    order
}

fn skeleton() -> Archive {
    let mut archive = Archive::new();
    for name in ["proc", "sys", "dev", "tmp", "run"] {
        archive.folder(name);
    }
    // The kernel opens it for PID 1 before anything is mounted.
    archive.device("dev/console", 0o600, 5, 1);
    archive
}

/// QEMU, every library that it loads, and its firmware.
fn add_qemu(archive: &mut Archive) -> Result<(), String> {
    // QEMU looks for its data beside the folder that it runs from.
    add(
        archive,
        &plan::MICROVM[1..],
        &Path::new("/usr/bin").join(QEMU),
    )?;
    let output = Command::new("ldd")
        .arg(Path::new("/usr/bin").join(QEMU))
        .output()
        .map_err(|source| format!("ldd: {source}"))?;
    // `libz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x...)`, and the loader without an arrow.
    let text = String::from_utf8_lossy(&output.stdout);
    let libraries = text
        .split_ascii_whitespace()
        .filter(|word| word.starts_with('/'));
    for path in libraries.take(LIBRARIES_MAX) {
        add(archive, &path[1..], Path::new(path))?;
    }
    for name in FIRMWARE {
        let path = format!("/usr/share/qemu/{name}");
        add(archive, &path[1..], Path::new(&path))?;
    }
    Ok(())
}

fn program(paths: &Paths, name: &'static str) -> Result<PathBuf, String> {
    build_bin(paths, "guest", name).map_err(|error| error.to_string())
}

fn add(archive: &mut Archive, path: &str, file: &Path) -> Result<(), String> {
    let bytes = fs::read(file).map_err(|source| format!("{}: {source}", file.display()))?;
    archive.file(path, 0o755, bytes);
    Ok(())
}

fn write(archive: &Archive, path: &Path) -> Result<PathBuf, String> {
    fs::write(path, archive.finish()?).map_err(|source| format!("{}: {source}", path.display()))?;
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::load_order;
    use image_builder::modules::{Table, table::Row};

    #[test]
    fn a_module_comes_after_what_it_needs() {
        let row = |depends: &[&str]| Row {
            file: String::new(),
            depends: depends.iter().map(|name| (*name).to_owned()).collect(),
            soft_pre: Vec::new(),
        };
        let rows = [
            ("kvm_amd", row(&["kvm", "ccp"])),
            ("kvm_intel", row(&["kvm"])),
            ("kvm", row(&["irqbypass"])),
            ("irqbypass", row(&[])),
            ("ccp", row(&[])),
        ];
        let table = Table {
            kernel: String::new(),
            modules: rows.map(|(name, row)| (name.to_owned(), row)).into(),
            aliases: Vec::new(),
        };
        let order = load_order(&table, &["kvm_amd", "kvm_intel"]);
        let at = |name: &str| order.iter().position(|other| other == name);
        assert_eq!(order.len(), 5, "{order:?}");
        assert!(at("irqbypass") < at("kvm"), "{order:?}");
        assert!(at("kvm") < at("kvm_amd"), "{order:?}");
        assert!(at("ccp") < at("kvm_amd"), "{order:?}");
        assert!(at("kvm") < at("kvm_intel"), "{order:?}");
    }
}
