//! Why an image was not built, opened or served, and what to do about it.
//!
//! Does:      one variant per thing that an operator can act upon, each with advice.
//! Does not:  paste a source's text; the chain is printed once, at the top.
//! Bounds:    none.
//! Trusts:    nothing.
//! Start at:  `Error::advice`.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;

/// Why the work stopped. Whatever stood at the destination before still stands there unchanged.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{doing} {}", path.display())]
    File {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("No LUC OS source tree around {}", from.display())]
    NoWorkspace { from: PathBuf },
    #[error("Lock file {}: {reason}", path.display())]
    Lock { path: PathBuf, reason: String },
    #[error("Lock file {} names no package for {role}", path.display())]
    NotLocked { path: PathBuf, role: &'static str },
    #[error(
        "Package {package} {version} is missing: {} is not there, and this run is offline",
        path.display()
    )]
    PackageMissing {
        package: String,
        version: String,
        path: PathBuf,
    },
    #[error(
        "Package {package} {version} could not be fetched (expected sha256 {expected}): {reason}"
    )]
    Fetch {
        package: String,
        version: String,
        expected: Digest,
        reason: String,
    },
    #[error(transparent)]
    PackageAltered(Box<Altered>),
    #[error("apt knows no package for {role} (looked for {pattern})")]
    NotInApt { role: &'static str, pattern: String },
    #[error("Package file {what}: {reason}")]
    Package { what: String, reason: String },
    #[error("Kernel package: {reason}")]
    Kernel { reason: String },
    #[error("Allow-list line {line}: {reason}")]
    AllowList { line: usize, reason: String },
    #[error("Modules that the kernel {release} does not have: {}", names.join(", "))]
    ModulesAbsent { release: String, names: Vec<String> },
    #[error("Program {program} failed ({status})")]
    Program { program: String, status: String },
    #[error("Initrd: {reason}")]
    Initrd { reason: String },
    #[error("Boot program (UKI): {reason}")]
    Uki { reason: String },
    #[error("Disk image: {reason}")]
    Media { reason: String },
    #[error("State disk {}: {reason}", path.display())]
    StateDisk { path: PathBuf, reason: String },
    #[error(
        "luc.efi has {bytes} bytes, {over} more than the {max} it may have; biggest parts: {parts}"
    )]
    TooBig {
        bytes: u64,
        over: u64,
        max: u64,
        parts: String,
    },
    #[error("Artefact {name}: {reason}")]
    Broken { name: String, reason: String },
    #[error("Netboot server: {reason}")]
    Serve {
        reason: String,
        advice: &'static str,
    },
}

/// A package file that is not the one in the lock file.
#[derive(Debug, thiserror::Error)]
#[error(
    "Package {package} {version} is altered: {} has sha256 {found} ({found_bytes} bytes), \
     the lock file says {expected} ({expected_bytes} bytes)",
    path.display()
)]
pub struct Altered {
    pub package: String,
    pub version: String,
    pub path: PathBuf,
    pub found: Digest,
    pub found_bytes: u64,
    pub expected: Digest,
    pub expected_bytes: u64,
}

impl Error {
    /// Wraps an I/O error with what was tried, on which file.
    pub fn file(doing: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Error {
        let path = path.as_ref().to_owned();
        move |source| Error::File {
            doing,
            path,
            source,
        }
    }

    /// What to do about it; the command prints it below the error.
    pub fn advice(&self) -> &'static str {
        match self {
            Error::File { .. } => "Check the path, its permissions and the free space",
            Error::NoWorkspace { .. } => {
                "Run it inside the source tree, or say where things are with --out and --binary"
            }
            Error::Lock { .. } | Error::NotLocked { .. } => {
                "Take the file from the repository again, or write a new one: cargo image lock"
            }
            Error::PackageMissing { .. } => {
                "Run without --offline, or put the .deb there yourself; old versions: \
                 https://snapshot.debian.org"
            }
            Error::Fetch { .. } => {
                "As root: apt-get update. If the version has left the mirror: pin the newest with \
                 cargo image lock, or put the .deb into target/debs yourself (old versions: \
                 https://snapshot.debian.org)"
            }
            Error::PackageAltered(_) => {
                "Delete that file; the next build fetches it again. If the mirror itself serves \
                 this, do not use it: compare with https://snapshot.debian.org, or re-pin with \
                 cargo image lock"
            }
            Error::NotInApt { .. } => {
                "As root: apt-get update, with Debian 12 main and security enabled"
            }
            Error::Package { .. } => {
                "Delete the file from target/debs; the next build fetches it again"
            }
            Error::Kernel { .. } => "Pin a kernel that fits: cargo image lock",
            Error::AllowList { .. } => "Correct image-builder/modules.allow",
            Error::ModulesAbsent { .. } => {
                "Correct the names in image-builder/modules.allow; mark those that only the full \
                 kernel has with `metal`"
            }
            Error::Program { .. } => "Its own messages stand above",
            Error::Initrd { .. } | Error::Uki { .. } | Error::Media { .. } => {
                "This is a mistake in the builder or in a locked package; nothing was written"
            }
            Error::StateDisk { .. } => {
                "Name a new file, and a size such as 64MiB; nothing that existed was changed"
            }
            Error::TooBig { .. } => {
                "Shorten image-builder/modules.allow, or make the luc binary smaller"
            }
            Error::Broken { .. } => "Build again: cargo image build",
            Error::Serve { advice, .. } => advice,
        }
    }
}
