//! Debian packages and our binary in; bootable images out.
//!
//! Does:      fetches locked packages, packs kernel, modules and `luc` into images for PXE, UEFI
//!            and USB, describes them, opens them again, and serves them to booting machines.
//! Does not:  need root, run anything out of a package, or put a secret into an image.
//! Bounds:    `luc.efi` has at most `UKI_BYTES_MAX` bytes; each parser names its own maximum.
//! Trusts:    the hashes in `image.lock.toml`, and the source tree it stands in.
//! Start at:  `build`.

#![forbid(unsafe_code)]

pub mod binary;
mod build;
pub mod compose;
pub mod cpio;
pub mod crates;
pub mod deb;
pub mod digest;
pub mod disclosure;
mod error;
pub mod fetch;
pub mod initrd;
pub mod inspect;
pub mod kernel;
pub mod lock;
pub mod manifest;
pub mod media;
pub mod modules;
pub mod netboot;
mod partitions;
pub mod paths;
pub mod progress;
pub mod script;
pub mod state;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod trial;
pub mod uki;
mod verify;

pub use build::{Image, Options, build};
pub use digest::Digest;
pub use error::{Altered, Error};
pub use kernel::Kernel;
pub use lock::Flavour;
pub use modules::AllowList;
pub use paths::Paths;
pub use progress::Progress;
pub use verify::{Findings, initrd_files, verify};

/// Fuzz targets: each takes hostile bytes and panics on a broken invariant.
pub mod fuzz {
    pub use crate::binary::fuzz_binary;
    pub use crate::deb::fuzz_deb;
    pub use crate::lock::fuzz_lock;
    pub use crate::manifest::fuzz_manifest;
    pub use crate::modules::allow::fuzz_allow;
    pub use crate::modules::modinfo::fuzz_modinfo;
    pub use crate::netboot::{fuzz_path, fuzz_range};
    pub use crate::uki::fuzz_uki;
    pub use crate::verify::fuzz_initrd;
}
