//! Kernel modules: which ones ride along, what they need, and which devices ask for them.
//!
//! Does:      reads the allow-list and each module's own facts; closes over what they need.
//! Does not:  load anything; PID 1 does, with the table written here.
//! Bounds:    `MODULE_BYTES_MAX` an expanded module, `MODULES_MAX` in a package.
//! Trusts:    a package whose hash was checked; a bad module is still only an error.
//! Start at:  `closure`.

pub mod allow;
pub mod closure;
pub mod modinfo;
pub mod table;

pub use allow::AllowList;
pub use closure::{Closure, Modules, closure};
pub use modinfo::Facts;
pub use table::Table;

/// Modules in a kernel package; Debian's full kernel has 4,230.
pub const MODULES_MAX: usize = 20_000;
/// Bytes of an expanded module; the biggest one of the list (`xfs`) has 3 MB.
pub const MODULE_BYTES_MAX: u64 = 32 << 20;

/// `kernel/drivers/nvme/host/nvme-core.ko.xz` is the module `nvme_core`.
pub fn name_of(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let name = file
        .strip_suffix(".ko.xz")
        .or_else(|| file.strip_suffix(".ko"))?;
    (!name.is_empty()).then(|| canonical(name))
}

/// The kernel takes `-` and `_` for the same in names; we keep `_`.
pub fn canonical(name: &str) -> String {
    name.replace('-', "_")
}
