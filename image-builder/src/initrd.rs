//! What the kernel unpacks into memory before PID 1 runs.
//!
//! Does:      `/init`, `/dev/console`, empty mount points, modules and their table.
//! Does not:  compress: modules are packed already, and a compressed initrd costs memory twice.
//! Bounds:    `INITRD_BYTES_MAX`.
//! Trusts:    the kernel's closure; the binary only after `binary::check`.
//! Start at:  `pack`.

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::cpio::Archive;
use crate::kernel::Kernel;
use crate::modules::table::file_name;

/// Beyond this, machines with 256 MiB no longer boot by firmware and PXE.
const INITRD_BYTES_MAX: usize = 64 << 20;
/// Where the image describes itself.
pub const IMAGE_JSON: &str = "lib/luc/image.json";
/// Where PID 1 finds the module table.
pub const MODULES_JSON: &str = "lib/luc/modules.json";

/// What a running node knows about its image: `/lib/luc/image.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    pub name: String,
    pub version: String,
    pub kernel: String,
    /// Hash of all that went in.
    pub build: String,
    /// When its packages were pinned, in seconds since 1970: a floor for a node's clock.
    pub source_date_epoch: u64,
}

/// An initrd with `init` as PID 1 and the kernel's modules.
pub fn pack(kernel: &Kernel, init: &[u8], about: &About) -> Result<Vec<u8>, Error> {
    let mut archive = skeleton(init);
    for (name, bytes) in &kernel.modules {
        let path = format!("lib/luc/modules/{}", file_name(name));
        archive.file(&path, 0o644, bytes.clone());
    }
    archive.file(MODULES_JSON, 0o644, kernel.table.to_json());
    let about = serde_json::to_vec(about).expect("a flat record is always JSON");
    archive.file(IMAGE_JSON, 0o644, about);
    let bytes = archive
        .finish()
        .map_err(|reason| Error::Initrd { reason })?;
    if bytes.len() > INITRD_BYTES_MAX {
        let reason = format!("{} bytes, the most is {INITRD_BYTES_MAX}", bytes.len());
        return Err(Error::Initrd { reason });
    }
    Ok(bytes)
}

/// The least that a Linux kernel starts: a program, a console, and places to mount.
pub fn skeleton(init: &[u8]) -> Archive {
    let mut archive = Archive::new();
    archive.file("init", 0o755, init.to_vec());
    archive.device("dev/console", 0o600, 5, 1);
    for folder in ["proc", "sys", "run", "tmp"] {
        archive.folder(folder);
    }
    archive
}
