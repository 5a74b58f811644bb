//! How fast a VM starts, beside QEMU's microvm, inside the same machine.
//!
//! Does:      packs a machine with KVM, `luc`, Debian's QEMU with its libraries, and a guest;
//!            boots it once; reads what it measured.
//! Does not:  compare numbers of different runs: emulation on a busy host differs too much.
//! Bounds:    `ROUNDS` starts of each.
//! Trusts:    the machine's clock.
//! Start at:  `measure`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use image_builder::cpio::Archive;
use serde::Serialize;

use crate::machine::{Boot, Firmware, Shape};
use crate::scenario::Problem;
use crate::story::Story;
use crate::supplies::{Supplies, build_bin, unpack_modules};

/// Starts of each runner; the median is reported.
const ROUNDS: usize = 5;
/// Memory of the machine: the packed QEMU alone has 60 MB.
const MACHINE_MIB: u32 = 1024;
/// Memory of the guest.
const GUEST_MIB: u32 = 128;
/// Guests print little: the same for both, and no time is lost in an emulated UART.
const GUEST_CMDLINE: &str = "console=ttyS0 quiet reboot=t panic=-1 luc.guest=idle luc.nonce=bench";
/// Files of QEMU's data folder that microvm needs.
const FIRMWARE: [&str; 2] = ["qboot.rom", "bios-microvm.bin"];
/// How long the whole run may take.
const LIMIT: Duration = Duration::from_secs(900);

/// One runner's medians.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Starts {
    /// `luc` or `microvm`.
    pub runner: String,
    /// From the runner's start to the guest's first byte on its console.
    pub first_byte_ms: f64,
    /// To the first line of the guest's `/init`.
    pub init_ms: f64,
    /// To its token.
    pub token_ms: f64,
    /// Resident memory of the runner's processes, touched guest memory included.
    pub resident_kib: f64,
}

/// Runs both and returns their medians.
pub fn measure(story: &mut Story) -> Result<Vec<Starts>, Problem> {
    let (kernel, initrd) = pack(story)?;
    let cmdline = format!("console=ttyS0 quiet panic=-1 bench.rounds={ROUNDS}");
    let boot = Boot::Direct {
        kernel,
        initrd,
        cmdline,
    };
    let shape = Shape::new("vm-starts", Firmware::Bios, boot)
        .memory_mib(MACHINE_MIB)
        .cpus(2);
    let mut machine = story.power_on(shape)?;
    machine.booted("LUC-BENCH luc 0", LIMIT)?;
    machine.serial().wait_for("LUC-BENCH done", LIMIT)?;
    let lines = machine.serial().all_with("LUC-BENCH ");
    let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    Ok(["luc", "microvm"]
        .map(|runner| medians(runner, &texts))
        .to_vec())
}

fn medians(runner: &str, lines: &[&str]) -> Starts {
    let mark = format!("LUC-BENCH {runner} ");
    let ours: Vec<&str> = lines
        .iter()
        .copied()
        .filter(|line| line.contains(&mark))
        .collect();
    let of = |key: &str| {
        let key = format!("{key}=");
        let words = ours.iter().flat_map(|line| line.split_ascii_whitespace());
        let mut values: Vec<f64> = words
            .filter_map(|word| word.strip_prefix(&key)?.parse().ok())
            .collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    Starts {
        runner: runner.to_owned(),
        first_byte_ms: of("first_byte_ms"),
        init_ms: of("init_ms"),
        token_ms: of("token_ms"),
        resident_kib: of("resident_kib"),
    }
}

/// The machine's kernel and initrd.
fn pack(story: &Story) -> Result<(PathBuf, PathBuf), Problem> {
    let supplies = story.supplies();
    let text = |error: crate::supplies::NoSupply| Problem::broken(error.to_string());
    let mut archive = Archive::new();
    for name in ["proc", "sys", "dev", "tmp", "run"] {
        archive.folder(name);
    }
    archive.device("dev/console", 0o600, 5, 1);
    let init = build_bin(&supplies.paths, "guest", "vm_starts").map_err(text)?;
    add(&mut archive, "init", &init)?;
    add(&mut archive, "luc", &supplies.luc)?;
    add(&mut archive, "guest/vmlinuz", &supplies.guest.kernel)?;
    add(&mut archive, "guest/initrd.cpio", &supplies.guest.initrd)?;
    let modules = unpack_modules(&supplies.paths, &["kvm_amd", "kvm_intel"]).map_err(text)?;
    let order: String = modules
        .iter()
        .map(|(name, _)| format!("{name}\n"))
        .collect();
    archive.file("lib/modules.order", 0o644, order.into_bytes());
    for (name, bytes) in modules {
        archive.file(&format!("lib/{name}.ko.xz"), 0o644, bytes);
    }
    add_qemu(&mut archive)?;
    archive.file("runners", 0o644, runners().into_bytes());
    let initrd = story.folders().logs.join("vm-starts.cpio");
    fs::write(&initrd, archive.finish().map_err(Problem::broken)?)?;
    Ok((supplies.guest.kernel.clone(), initrd))
}

fn runners() -> String {
    let memory = GUEST_MIB.to_string();
    let luc = [
        "luc",
        "/luc",
        "vmm",
        "run",
        "--kernel",
        "/guest/vmlinuz",
        "--initrd",
        "/guest/initrd.cpio",
        "--memory",
        &format!("{memory}MiB"),
        "--cmdline",
        GUEST_CMDLINE,
    ];
    // The leanest microvm that runs a stock kernel: no ACPI, no option ROMs, serial to stdout.
    let microvm = [
        "microvm",
        "/usr/bin/qemu-system-x86_64",
        "-M",
        "microvm,accel=kvm,acpi=off,x-option-roms=off,isa-serial=on,rtc=on",
        "-cpu",
        "host",
        "-m",
        &memory,
        "-smp",
        "1",
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-serial",
        "stdio",
        "-no-reboot",
        "-L",
        "/usr/share/qemu",
        "-kernel",
        "/guest/vmlinuz",
        "-initrd",
        "/guest/initrd.cpio",
        "-append",
        GUEST_CMDLINE,
    ];
    format!("{}\n{}\n", luc.join("\t"), microvm.join("\t"))
}

fn add(archive: &mut Archive, path: &str, file: &Path) -> Result<(), Problem> {
    let bytes = fs::read(file)
        .map_err(|source| Problem::broken(format!("{}: {source}", file.display())))?;
    archive.file(path, 0o755, bytes);
    Ok(())
}

/// QEMU, every library that it loads, and its firmware.
fn add_qemu(archive: &mut Archive) -> Result<(), Problem> {
    let program = Path::new("/usr/bin/qemu-system-x86_64");
    add(archive, "usr/bin/qemu-system-x86_64", program)?;
    let output = Command::new("ldd").arg(program).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    // `libz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x...)`, and the loader without an arrow.
    for path in text
        .split_ascii_whitespace()
        .filter(|word| word.starts_with('/'))
    {
        add(archive, path.trim_start_matches('/'), Path::new(path))?;
    }
    for name in FIRMWARE {
        let path = format!("usr/share/qemu/{name}");
        add(archive, &path, &Path::new("/").join(&path))?;
    }
    Ok(())
}

/// Whether this host can pack the machine.
#[must_use]
pub fn is_possible(supplies: &Supplies) -> bool {
    supplies.luc.is_file()
}

#[cfg(test)]
mod tests {
    use super::medians;

    #[test]
    fn medians_are_taken_of_each_runners_own_lines() {
        let lines = [
            "LUC-BENCH luc 0 first_byte_ms=10.0 init_ms=30.0 token_ms=31.0 resident_kib=100",
            "LUC-BENCH microvm 0 first_byte_ms=90.0 init_ms=99.0 token_ms=99.0 resident_kib=900",
            "LUC-BENCH luc 1 first_byte_ms=12.0 init_ms=20.0 token_ms=21.0 resident_kib=100",
            "LUC-BENCH luc 2 first_byte_ms=99.0 init_ms=25.0 token_ms=26.0 resident_kib=100",
        ];
        let luc = medians("luc", &lines);
        assert_eq!(
            (luc.first_byte_ms, luc.init_ms, luc.token_ms),
            (12.0, 25.0, 26.0)
        );
        assert!(medians("absent", &lines).init_ms.is_nan());
    }
}
