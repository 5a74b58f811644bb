//! Where things are: the source tree, the packages, the artefacts.
//!
//! Does:      finds the workspace and names its folders; writes files whole or not at all.
//! Does not:  create folders before something is written into them.
//! Bounds:    looks at most `PARENTS_MAX` folders up.
//! Trusts:    `CARGO_MANIFEST_DIR` and `CARGO_TARGET_DIR` when set.
//! Start at:  `Paths::discover`.

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::Error;

/// Folders looked at, from the current one up, to find the workspace.
const PARENTS_MAX: usize = 32;

/// The folders of one workspace.
#[derive(Debug, Clone)]
pub struct Paths {
    /// The source tree.
    pub workspace: PathBuf,
    /// Cargo's folder for everything built.
    pub target: PathBuf,
    /// Artefacts: `vmlinuz`, `initrd.cpio`, `luc.efi`, ...
    pub image: PathBuf,
    /// Debian packages, and `extracted/` with the parts taken out of them.
    pub debs: PathBuf,
    /// The pinned packages.
    pub lock: PathBuf,
}

impl Paths {
    /// The workspace around the running program, under cargo or from any folder inside it.
    pub fn discover() -> Result<Paths, Error> {
        let from = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let from = from.or_else(|| env::current_dir().ok()).unwrap_or_default();
        let workspace = from
            .ancestors()
            .take(PARENTS_MAX)
            .find(|folder| folder.join("image-builder/image.lock.toml").is_file())
            .ok_or(Error::NoWorkspace { from: from.clone() })?
            .to_owned();
        let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        Ok(Paths::of(
            &workspace,
            &target.unwrap_or_else(|| workspace.join("target")),
        ))
    }

    /// The folders of this workspace with this target folder.
    pub fn of(workspace: &Path, target: &Path) -> Paths {
        Paths {
            workspace: workspace.to_owned(),
            target: target.to_owned(),
            image: target.join("image"),
            debs: target.join("debs"),
            lock: workspace.join("image-builder/image.lock.toml"),
        }
    }
}

/// A neighbour of `path` that nobody else uses: same folder, so that a rename is atomic.
pub fn scratch(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}", std::process::id()))
}

/// Writes a file whole or not at all.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Error::file("Making folder", folder))?;
    let partial = scratch(path);
    let written = fs::File::create(&partial)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_data()))
        .and_then(|()| fs::rename(&partial, path));
    written.map_err(|source| {
        let _ = fs::remove_file(&partial);
        Error::File {
            doing: "Writing",
            path: path.to_owned(),
            source,
        }
    })
}

/// Reads a whole file.
pub fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(Error::file("Reading", path))
}

/// Puts the finished folder `fresh` where `place` is, in one step if something stands there,
/// and removes what stood there.
pub fn replace_folder(fresh: &Path, place: &Path) -> Result<(), Error> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let swapped = renameat_with(CWD, fresh, CWD, place, RenameFlags::EXCHANGE);
    match swapped {
        Ok(()) => fs::remove_dir_all(fresh).map_err(Error::file("Removing", fresh)),
        Err(_) if !place.exists() => {
            fs::rename(fresh, place).map_err(Error::file("Moving into place", place))
        }
        // File systems without exchange: a moment without the folder is the best there is.
        Err(_) => {
            fs::remove_dir_all(place).map_err(Error::file("Removing", place))?;
            fs::rename(fresh, place).map_err(Error::file("Moving into place", place))
        }
    }
}
