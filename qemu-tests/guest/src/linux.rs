//! The few things a test guest asks of its kernel.
//!
//! Does:      mounts, loads modules, reads facts, switches off.
//! Does not:  interpret anything; `behaviour` does.
//! Bounds:    reads small files of `/proc` whole.
//! Trusts:    the kernel.
//! Start at:  `mount_all`.

use std::ffi::CString;
use std::fs;

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, finit_module, reboot, uname};
use rustix::time::{ClockId, clock_gettime};

/// Tells `finit_module` that the file is still compressed.
const MODULE_INIT_COMPRESSED_FILE: core::ffi::c_int = 4;

/// Prints a line about the guest itself, with the kernel's clock in front.
pub fn say(text: &str) {
    let now = clock_gettime(ClockId::Boottime);
    println!(
        "{}{:5}.{:03}] {text}",
        crate::GUEST_LINE,
        now.tv_sec,
        now.tv_nsec / 1_000_000
    );
}

/// Mounts what the guest reads: `/proc`, `/sys` and `/dev`.
pub fn mount_all() -> Result<(), String> {
    for (kind, at) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")] {
        fs::create_dir_all(at).map_err(|source| format!("creating {at}: {source}"))?;
        match mount(kind, at, kind, MountFlags::empty(), None) {
            // The kernel may have mounted devtmpfs by itself.
            Ok(()) | Err(Errno::BUSY) => {}
            Err(source) => return Err(format!("mounting {kind} on {at}: {source}")),
        }
    }
    Ok(())
}

/// Loads a module from the initrd's `/lib/<name>.ko.xz`; loaded already is fine.
pub fn load_module(name: &str) -> Result<(), String> {
    let path = format!("/lib/{name}.ko.xz");
    let file = fs::File::open(&path).map_err(|source| format!("opening {path}: {source}"))?;
    match finit_module(&file, &CString::default(), MODULE_INIT_COMPRESSED_FILE) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(source) => Err(format!("loading {path}: {source}")),
    }
}

/// What `uname -r` says.
#[must_use]
pub fn kernel_release() -> String {
    uname().release().to_string_lossy().into_owned()
}

/// A small file, whole.
pub fn read_text(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|source| format!("reading {path}: {source}"))
}

/// All memory that the kernel has.
pub fn memory_kib() -> Result<u64, String> {
    let text = read_text("/proc/meminfo")?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    total
        .and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok())
        .ok_or_else(|| "/proc/meminfo has no MemTotal".to_owned())
}

/// Processors that run.
pub fn cpus() -> Result<usize, String> {
    let text = read_text("/proc/cpuinfo")?;
    Ok(text
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count())
}

/// Whether this machine's processor offers virtualisation to us.
pub fn has_virtualisation() -> Result<bool, String> {
    let text = read_text("/proc/cpuinfo")?;
    Ok(text
        .split_ascii_whitespace()
        .any(|word| word == "svm" || word == "vmx"))
}

/// Switches the machine off.
pub fn power_off() -> Result<(), String> {
    reboot(RebootCommand::PowerOff).map_err(|source| format!("power-off: {source}"))
}

/// Resets; with `reboot=t` on the command line the kernel does it by a triple fault.
pub fn restart() -> Result<(), String> {
    reboot(RebootCommand::Restart).map_err(|source| format!("restart: {source}"))
}
