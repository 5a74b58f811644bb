//! What the kernel unpacks into memory before PID 1 runs.
//!
//! Does:      `/init`, `/dev/console`, empty mount points, modules and their table.
//! Does not:  compress what is packed already, as modules are: only `/init` is, in an archive of
//!            its own behind the plain one.
//! Bounds:    `INITRD_BYTES_MAX`.
//! Trusts:    the kernel's closure; the binary only after `binary::check`.
//! Start at:  `pack`.

use serde::{Deserialize, Serialize};

use zstd_safe::{CCtx, CParameter};

use crate::Error;
use crate::cpio::Archive;
use crate::kernel::Kernel;
use crate::modules::table::file_name;

/// Beyond this, machines with 256 MiB no longer boot by firmware and PXE.
pub const INITRD_BYTES_MAX: usize = 64 << 20;
/// The slowest that is still usual; unpacking takes the kernel the same time at any level.
const LEVEL: i32 = 19;
/// The kernel reserves so much to unpack, as a power of two: 4 MiB are there on any machine.
const WINDOW: u32 = 22;
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

/// `init` as PID 1, in an archive that the kernel unpacks.
pub fn packed(init: &[u8]) -> Result<Vec<u8>, Error> {
    let failed = |reason: String| Error::Initrd { reason };
    let mut archive = Archive::new();
    archive.file("init", 0o755, init.to_vec());
    let plain = archive.finish().map_err(failed)?;
    let compress = |out: &mut [u8]| {
        let mut zstd = CCtx::create();
        zstd.set_parameter(CParameter::CompressionLevel(LEVEL))?;
        zstd.set_parameter(CParameter::WindowLog(WINDOW))?;
        zstd.compress2(out, &plain)
    };
    let mut bytes = vec![0; zstd_safe::compress_bound(plain.len())];
    let size = compress(&mut bytes)
        .map_err(|code| failed(format!("packing init: {}", zstd_safe::get_error_name(code))))?;
    bytes.truncate(size);
    Ok(bytes)
}

/// An initrd with the kernel's modules, and a packed `init` behind them.
pub fn pack(kernel: &Kernel, init: &[u8], about: &About) -> Result<Vec<u8>, Error> {
    let mut archive = skeleton();
    for (name, bytes) in &kernel.modules {
        let path = format!("lib/luc/modules/{}", file_name(name));
        archive.file(&path, 0o644, bytes.clone());
    }
    archive.file(MODULES_JSON, 0o644, kernel.table.to_json());
    let about = serde_json::to_vec(about).expect("a flat record is always JSON");
    archive.file(IMAGE_JSON, 0o644, about);
    let mut bytes = archive
        .finish()
        .map_err(|reason| Error::Initrd { reason })?;
    bytes.extend(init);
    if bytes.len() > INITRD_BYTES_MAX {
        let reason = format!("{} bytes, the most is {INITRD_BYTES_MAX}", bytes.len());
        return Err(Error::Initrd { reason });
    }
    Ok(bytes)
}

/// What a Linux kernel's first program needs: a console, and places to mount.
fn skeleton() -> Archive {
    let mut archive = Archive::new();
    archive.device("dev/console", 0o600, 5, 1);
    for folder in ["proc", "sys", "run", "tmp"] {
        archive.folder(folder);
    }
    archive
}
