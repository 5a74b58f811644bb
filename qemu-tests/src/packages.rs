//! The Debian packages that the rig needs on its host.
//!
//! Does:      finds what is missing; installs it as root, or prints the one line that would.
//! Does not:  touch anything when nothing is missing.
//! Bounds:    the table below.
//! Trusts:    apt.
//! Start at:  `ensure`.

use std::path::Path;
use std::process::{Command, Stdio};

/// A package, and a file that proves that it is there.
const PACKAGES: [(&str, &str); 6] = [
    ("qemu-system-x86", "/usr/bin/qemu-system-x86_64"),
    ("ovmf", "/usr/share/OVMF/OVMF_CODE_4M.fd"),
    ("ipxe-qemu", "/usr/lib/ipxe/qemu/pxe-virtio.rom"),
    ("dnsmasq-base", "/usr/sbin/dnsmasq"),
    ("iproute2", "/usr/sbin/ip"),
    ("util-linux", "/usr/bin/setpriv"),
];

/// Packages could not be made present.
#[derive(Debug, thiserror::Error)]
pub enum PackagesMissing {
    /// The user has to.
    #[error("Debian packages are missing. Install them: {line}")]
    NotRoot {
        /// The one line.
        line: String,
    },
    /// We tried.
    #[error("installing Debian packages failed: {line}")]
    Failed {
        /// The line that was run.
        line: String,
    },
}

/// Makes every package present.
pub fn ensure() -> Result<(), PackagesMissing> {
    let missing = missing(|file| Path::new(file).exists());
    if missing.is_empty() {
        return Ok(());
    }
    let line = format!(
        "apt-get install -y --no-install-recommends {}",
        missing.join(" ")
    );
    if !rustix::process::geteuid().is_root() {
        return Err(PackagesMissing::NotRoot {
            line: format!("sudo {line}"),
        });
    }
    eprintln!("rig: {line}");
    // The lists may be too old for the archive, or not there at all on a fresh machine.
    if apt(&["update", "-qq"]) && apt_install(&missing) {
        return Ok(());
    }
    Err(PackagesMissing::Failed { line })
}

fn missing(is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    PACKAGES
        .iter()
        .filter(|(_, file)| !is_there(file))
        .map(|(name, _)| *name)
        .collect()
}

fn apt_install(packages: &[&str]) -> bool {
    let mut words = vec!["install", "-y", "-qq", "--no-install-recommends"];
    words.extend(packages);
    apt(&words)
}

fn apt(words: &[&str]) -> bool {
    let status = Command::new("apt-get")
        .args(words)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::missing;

    #[test]
    fn only_what_is_missing_is_asked_for() {
        assert!(missing(|_| true).is_empty());
        assert_eq!(missing(|file| !file.ends_with("dnsmasq")), ["dnsmasq-base"]);
    }
}
