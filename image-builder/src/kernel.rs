//! A kernel out of its Debian package: the bootable file and the modules we want.
//!
//! Does:      reads the package once, closes over the allow-list, and keeps the result on disk
//!            under a name made of the package's hash and the list's.
//! Does not:  unpack the other 4,000 modules, or trust its own cache: each file is hashed again.
//! Bounds:    as `deb` and `modules` say; about 110 MB of memory while a package is read.
//! Trusts:    a package that `fetch` has checked.
//! Start at:  `open`.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::deb::{expand_xz, for_each_file};
use crate::digest::Digest;
use crate::lock::Package;
use crate::modules::{self, AllowList, Facts, MODULE_BYTES_MAX, MODULES_MAX, Modules, Table};
use crate::paths::{read, replace_folder, scratch};
use crate::progress::Progress;

/// Changes when the extraction does, so that old caches are not taken for new ones.
const CACHE_FORMAT: &[u8] = b"1";

/// A kernel and the modules that ride with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    pub release: String,
    /// The bzImage, as Debian signed it.
    pub vmlinuz: Vec<u8>,
    /// `.ko.xz` files by module name.
    pub modules: BTreeMap<String, Vec<u8>>,
    pub table: Table,
    /// Names on the list that this kernel lacks and may lack.
    pub absent: Vec<String>,
    /// Soft dependencies that nothing in the set fulfils.
    pub soft_unmet: Vec<String>,
    /// Blobs that modules may ask for, and that Debian's free archive does not have.
    pub firmware: BTreeMap<String, Vec<String>>,
}

/// What lies beside the extracted files.
#[derive(Serialize, Deserialize)]
struct Index {
    release: String,
    files: BTreeMap<String, Digest>,
    table: Table,
    absent: Vec<String>,
    soft_unmet: Vec<String>,
    firmware: BTreeMap<String, Vec<String>>,
}

/// The kernel in `deb` with the listed modules and all that they need.
pub fn open(
    package: &Package,
    deb: &Path,
    list: &AllowList,
    progress: &mut Progress,
) -> Result<Kernel, Error> {
    let wanted = list.digest();
    let key = [
        &package.sha256.as_bytes()[..],
        wanted.as_bytes(),
        CACHE_FORMAT,
    ];
    let key = Digest::of_parts(key).short();
    let cache = deb.with_file_name("extracted").join(key);
    if let Some(kernel) = recall(&cache) {
        return Ok(kernel);
    }
    progress.step(&format!("unpacking {}", package.file));
    let kernel = extract(deb, list, package.role == "kernel-cloud", progress)?;
    remember(&cache, &kernel)?;
    Ok(kernel)
}

/// A package's relevant files, in memory.
struct Unpacked {
    release: String,
    vmlinuz: Vec<u8>,
    modules: BTreeMap<String, Vec<u8>>,
    builtin: BTreeSet<String>,
}

impl Modules for Unpacked {
    fn release(&self) -> &str {
        &self.release
    }

    fn has(&self, name: &str) -> bool {
        self.modules.contains_key(name)
    }

    fn is_builtin(&self, name: &str) -> bool {
        self.builtin.contains(name)
    }

    fn facts(&self, name: &str) -> Result<Facts, Error> {
        let bad = |reason: String| Error::Kernel {
            reason: format!("module {name}: {reason}"),
        };
        let packed = self.modules.get(name).ok_or_else(|| bad("absent".into()))?;
        let elf = expand_xz(packed, MODULE_BYTES_MAX).map_err(bad)?;
        Facts::of_module(&elf).map_err(bad)
    }
}

fn extract(
    deb: &Path,
    list: &AllowList,
    metal_absent: bool,
    progress: &mut Progress,
) -> Result<Kernel, Error> {
    let mut unpacked = unpack(deb, progress)?;
    let closed = modules::closure(list, &unpacked, metal_absent)?;
    let firmware = closed
        .modules
        .iter()
        .filter(|(_, facts)| !facts.firmware.is_empty());
    let firmware = firmware
        .map(|(name, facts)| (name.clone(), facts.firmware.clone()))
        .collect();
    unpacked
        .modules
        .retain(|name, _| closed.modules.contains_key(name));
    Ok(Kernel {
        table: Table::of(&unpacked.release, &closed),
        release: unpacked.release,
        vmlinuz: unpacked.vmlinuz,
        modules: unpacked.modules,
        absent: closed.absent,
        soft_unmet: closed.soft_unmet.into_iter().collect(),
        firmware,
    })
}

fn unpack(deb: &Path, progress: &mut Progress) -> Result<Unpacked, Error> {
    let what = deb
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let bad = |reason: String| Error::Package {
        what: what.clone(),
        reason,
    };
    let file = File::open(deb).map_err(Error::file("Reading", deb))?;
    let total = file.metadata().map_err(Error::file("Reading", deb))?.len();
    let mut unpacked = Unpacked {
        release: String::new(),
        vmlinuz: Vec::new(),
        modules: BTreeMap::new(),
        builtin: BTreeSet::new(),
    };
    let kept = Cell::new(0u64);
    for_each_file(
        BufReader::with_capacity(1 << 20, file),
        |path| {
            progress.part("unpacking", kept.get(), total);
            path.starts_with("boot/vmlinuz-")
                || path.ends_with("/modules.builtin")
                || modules::name_of(path).is_some()
        },
        |path, bytes| {
            kept.set(kept.get() + bytes.len() as u64);
            take(&mut unpacked, &path, bytes);
        },
    )
    .map_err(bad)?;
    if unpacked.release.is_empty() || unpacked.vmlinuz.is_empty() {
        return Err(bad("it holds no boot/vmlinuz".into()));
    }
    if unpacked.modules.len() > MODULES_MAX {
        return Err(bad(format!("it has more than {MODULES_MAX} modules")));
    }
    Ok(unpacked)
}

fn take(unpacked: &mut Unpacked, path: &str, bytes: Vec<u8>) {
    if let Some(release) = path.strip_prefix("boot/vmlinuz-") {
        unpacked.release = release.to_owned();
        unpacked.vmlinuz = bytes;
    } else if let Some(name) = modules::name_of(path) {
        unpacked.modules.insert(name, bytes);
    } else {
        let text = String::from_utf8_lossy(&bytes);
        unpacked
            .builtin
            .extend(text.lines().filter_map(modules::name_of));
    }
}

/// The kernel from the cache, if every file there is what was written.
fn recall(cache: &Path) -> Option<Kernel> {
    let index: Index = serde_json::from_slice(&fs::read(cache.join("index.json")).ok()?).ok()?;
    let file = |name: &str, digest: &Digest| -> Option<Vec<u8>> {
        let bytes = fs::read(cache.join(name)).ok()?;
        (Digest::of(&bytes) == *digest).then_some(bytes)
    };
    let vmlinuz = file("vmlinuz", index.files.get("vmlinuz")?)?;
    let mut modules = BTreeMap::new();
    for (name, row) in &index.table.modules {
        modules.insert(name.clone(), file(&row.file, index.files.get(&row.file)?)?);
    }
    Some(Kernel {
        release: index.release,
        vmlinuz,
        modules,
        table: index.table,
        absent: index.absent,
        soft_unmet: index.soft_unmet,
        firmware: index.firmware,
    })
}

fn remember(cache: &Path, kernel: &Kernel) -> Result<(), Error> {
    let fresh = scratch(cache);
    fs::create_dir_all(&fresh).map_err(Error::file("Making folder", &fresh))?;
    let mut files = BTreeMap::new();
    let mut keep = |name: String, bytes: &[u8]| {
        let path = fresh.join(&name);
        files.insert(name, Digest::of(bytes));
        fs::write(&path, bytes).map_err(Error::file("Writing", &path))
    };
    keep("vmlinuz".to_owned(), &kernel.vmlinuz)?;
    for (name, bytes) in &kernel.modules {
        keep(modules::table::file_name(name), bytes)?;
    }
    let index = Index {
        release: kernel.release.clone(),
        files,
        table: kernel.table.clone(),
        absent: kernel.absent.clone(),
        soft_unmet: kernel.soft_unmet.clone(),
        firmware: kernel.firmware.clone(),
    };
    let index = serde_json::to_vec(&index).expect("an index of strings is always JSON");
    let path = fresh.join("index.json");
    fs::write(&path, index).map_err(Error::file("Writing", &path))?;
    replace_folder(&fresh, cache)
}

/// One file out of a small package, such as the UKI stub.
pub fn file_in(deb: &Path, path: &str) -> Result<Vec<u8>, Error> {
    let what = deb
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let mut found = None;
    for_each_file(
        &read(deb)?[..],
        |name| name == path,
        |_, bytes| found = Some(bytes),
    )
    .map_err(|reason| Error::Package {
        what: what.clone(),
        reason,
    })?;
    found.ok_or_else(|| Error::Package {
        what,
        reason: format!("it holds no {path}"),
    })
}
