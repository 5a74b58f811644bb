//! Builds an image: gathers what is locked, composes, writes.
//!
//! Does:      fetches, unpacks, compiles, then puts the finished folder in place in one step.
//! Does not:  leave anything half-written: until the last step the old image stands.
//! Bounds:    those of its parts.
//! Trusts:    the lock file and the source tree.
//! Start at:  `build`.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::compose::{File, Ingredients, compose};
use crate::lock::{Flavour, Lock, ROLE_IPXE, ROLE_STUB};
use crate::manifest::Manifest;
use crate::modules::AllowList;
use crate::paths::{Paths, replace_folder, scratch};
use crate::progress::Progress;
use crate::{binary, crates, disclosure, fetch, kernel, script};

/// Where the stub is in its package.
const STUB_PATH: &str = "usr/lib/systemd/boot/efi/linuxx64.efi.stub";
/// Loaders that use the network driver that firmware has brought up already. iPXE's own drivers
/// lose the network on some machines.
const LOADERS: [(&str, &str, &str); 2] = [
    (
        "undionly.kpxe",
        "usr/lib/ipxe/undionly.kpxe",
        "iPXE for BIOS machines",
    ),
    (
        "snponly.efi",
        "usr/lib/ipxe/snponly.efi",
        "iPXE for UEFI machines",
    ),
];
/// Empty stretches of this size become holes in the disk image.
const HOLE_BYTES: usize = 64 << 10;

/// What to build.
#[derive(Debug, Clone)]
pub struct Options {
    pub paths: Paths,
    pub flavour: Flavour,
    /// The program to use as `/init`, instead of building `luc`.
    pub binary: Option<PathBuf>,
    /// Kernel arguments after the standing ones.
    pub arguments: String,
    /// Modules, instead of those in `modules.allow`.
    pub modules: Option<AllowList>,
    /// Fetch nothing.
    pub offline: bool,
}

impl Options {
    /// The production image of this workspace.
    pub fn of(paths: Paths) -> Options {
        Options {
            paths,
            flavour: Flavour::Amd64,
            binary: None,
            arguments: String::new(),
            modules: None,
            offline: false,
        }
    }
}

/// A built image: a folder with artefacts, and what they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    pub folder: PathBuf,
    pub manifest: Manifest,
}

impl Image {
    /// An image that was built before.
    pub fn open(folder: &Path) -> Result<Image, Error> {
        Ok(Image {
            folder: folder.to_owned(),
            manifest: Manifest::read(folder)?,
        })
    }

    /// The path of an artefact.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Builds the image into `options.paths.image`.
pub fn build(options: &Options, progress: &mut Progress) -> Result<Image, Error> {
    let ingredients = gather(options, progress)?;
    let (files, manifest) = compose(&ingredients, progress)?;
    let folder = options.paths.image.clone();
    let fresh = scratch(&folder);
    let written =
        write_all(&fresh, &files, &manifest).and_then(|()| replace_folder(&fresh, &folder));
    if written.is_err() {
        let _ = fs::remove_dir_all(&fresh);
    }
    written?;
    progress.step(&format!(
        "built {} in {}",
        manifest.about.build,
        folder.display()
    ));
    Ok(Image { folder, manifest })
}

fn gather(options: &Options, progress: &mut Progress) -> Result<Ingredients, Error> {
    let paths = &options.paths;
    let arguments =
        script::arguments(&options.arguments).map_err(|reason| Error::Uki { reason })?;
    let lock = Lock::read(&paths.lock)?;
    let mut packages = Vec::new();
    let mut debs = Vec::new();
    for role in [options.flavour.role(), ROLE_STUB, ROLE_IPXE] {
        let package = lock.package(role, &paths.lock)?;
        debs.push(fetch::ensure(
            package,
            &paths.debs,
            options.offline,
            progress,
        )?);
        packages.push(package.clone());
    }
    let list = options.modules.clone().map_or_else(AllowList::image, Ok)?;
    let kernel = kernel::open(&packages[0], &debs[0], &list, progress)?;
    let stub = kernel::file_in(&debs[1], STUB_PATH)?;
    let loaders = loaders(&debs[2])?;
    let init = binary::obtain(paths, options.binary.as_deref(), progress)?;
    // A program from elsewhere has crates that we do not know: its own bill must tell.
    let ours = options.binary.is_none();
    let (crates, linked) = if ours {
        (crates::of_luc(paths)?, disclosure::c_library())
    } else {
        (Vec::new(), Vec::new())
    };
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Ok(Ingredients {
        version,
        kernel,
        init,
        stub,
        loaders,
        arguments,
        pinned_at: lock.pinned_at,
        packages,
        crates,
        linked,
    })
}

/// Boot loaders as the package has them: name, purpose, bytes.
fn loaders(deb: &Path) -> Result<Vec<(String, String, Vec<u8>)>, Error> {
    let read = |(name, path, purpose): (&str, &str, &str)| {
        let bytes = kernel::file_in(deb, path)?;
        Ok((name.to_owned(), purpose.to_owned(), bytes))
    };
    LOADERS.into_iter().map(read).collect()
}

fn write_all(folder: &Path, files: &[File], manifest: &Manifest) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(Error::file("Making folder", folder))?;
    for (artefact, bytes) in files {
        let path = folder.join(&artefact.name);
        write_sparse(&path, bytes).map_err(Error::file("Writing", &path))?;
    }
    let path = folder.join("manifest.json");
    fs::write(&path, manifest.to_json()).map_err(Error::file("Writing", &path))
}

/// Writes a file and leaves holes where it is empty: the disk image is mostly free space.
fn write_sparse(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.set_len(bytes.len() as u64)?;
    for (at, piece) in bytes.chunks(HOLE_BYTES).enumerate() {
        if piece.iter().any(|byte| *byte != 0) {
            file.seek(SeekFrom::Start((at * HOLE_BYTES) as u64))?;
            file.write_all(piece)?;
        }
    }
    Ok(())
}
