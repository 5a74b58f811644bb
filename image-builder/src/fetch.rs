//! Gets locked packages, and refuses every byte that differs from the lock file.
//!
//! Does:      checks what is in the package folder; downloads the rest with `apt-get download`.
//! Does not:  install, run or unpack anything; needs no root.
//! Bounds:    a download that has grown past its locked size is stopped.
//! Trusts:    the hashes in the lock file, and nothing that arrives.
//! Start at:  `ensure`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::digest::Digest;
use crate::error::{Altered, Error};
use crate::lock::Package;
use crate::paths::scratch;
use crate::progress::Progress;

/// How often a running download is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The path of a package that is present and unaltered, fetched now if it was absent.
pub fn ensure(
    package: &Package,
    debs: &Path,
    offline: bool,
    progress: &mut Progress,
) -> Result<PathBuf, Error> {
    let path = debs.join(&package.file);
    if !path.exists() {
        if offline {
            let (name, version) = (package.name.clone(), package.version.clone());
            return Err(Error::PackageMissing {
                package: name,
                version,
                path,
            });
        }
        download(package, &path, progress)?;
    }
    check(package, &path)?;
    Ok(path)
}

/// Refuses a file that is not the locked package.
pub fn check(package: &Package, path: &Path) -> Result<(), Error> {
    let (found, found_bytes) = Digest::of_file(path).map_err(Error::file("Reading", path))?;
    if found == package.sha256 && found_bytes == package.size {
        return Ok(());
    }
    Err(Error::PackageAltered(Box::new(Altered {
        package: package.name.clone(),
        version: package.version.clone(),
        path: path.to_owned(),
        found,
        found_bytes,
        expected: package.sha256,
        expected_bytes: package.size,
    })))
}

/// Downloads into a folder of its own and moves the file when it is whole and right.
fn download(package: &Package, path: &Path, progress: &mut Progress) -> Result<(), Error> {
    let folder = scratch(path);
    let made = fs::create_dir_all(&folder).map_err(Error::file("Making folder", &folder));
    let result = made.and_then(|()| download_into(package, &folder, path, progress));
    let _ = fs::remove_dir_all(&folder);
    result
}

fn download_into(
    package: &Package,
    folder: &Path,
    path: &Path,
    progress: &mut Progress,
) -> Result<(), Error> {
    let wanted = format!("{}={}", package.name, package.version);
    progress.step(&format!(
        "fetching {wanted} ({})",
        crate::progress::megabytes(package.size)
    ));
    let failed = |reason: String| Error::Fetch {
        package: package.name.clone(),
        version: package.version.clone(),
        expected: package.sha256,
        reason,
    };
    let child = Command::new("apt-get")
        .args(["download", "--quiet", "--quiet", &wanted])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("apt-get did not start ({error})")))?;
    let said = watch(child, package, folder, progress).map_err(&failed)?;
    let arrived = fs::read_dir(folder)
        .map_err(Error::file("Listing", folder))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|file| file.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| failed(said))?;
    check(package, &arrived)?;
    fs::rename(&arrived, path).map_err(Error::file("Moving into place", path))
}

/// Waits for apt, shows how far it is, and returns what it complained about.
fn watch(
    mut child: Child,
    package: &Package,
    folder: &Path,
    progress: &mut Progress,
) -> Result<String, String> {
    loop {
        let arrived = folder_bytes(folder);
        progress.part(&package.name, arrived, package.size);
        if arrived > package.size {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!(
                "more than the locked {} bytes arrived",
                package.size
            ));
        }
        match child.try_wait() {
            Ok(None) => std::thread::sleep(LOOK_EVERY),
            Ok(Some(_)) => break,
            Err(error) => return Err(format!("waiting for apt-get failed ({error})")),
        }
    }
    let output = child
        .wait_with_output()
        .map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    let complaint = said.lines().find(|line| line.starts_with("E:"));
    Ok(complaint
        .unwrap_or("apt-get brought nothing")
        .trim_start_matches("E: ")
        .to_owned())
}

fn folder_bytes(folder: &Path) -> u64 {
    // apt writes to FILE.partial or partial/FILE, depending on its version.
    let files = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    files
        .filter_map(|file| file.metadata().ok())
        .filter(|m| m.is_file())
        .map(|m| m.len())
        .sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn package(bytes: &[u8]) -> Package {
        Package {
            role: "ipxe".into(),
            name: "no-such-package-anywhere".into(),
            version: "1".into(),
            architecture: "all".into(),
            file: "no-such-package-anywhere_1_all.deb".into(),
            pool: "pool".into(),
            size: bytes.len() as u64,
            sha256: Digest::of(bytes),
            sources: Vec::new(),
        }
    }

    #[test]
    fn an_altered_package_is_refused_with_its_name_both_hashes_and_advice() {
        let folder = tempfile::tempdir().unwrap();
        let package = package(b"good");
        fs::write(folder.path().join(&package.file), b"evil").unwrap();
        let error = ensure(&package, folder.path(), true, &mut Progress::silent()).unwrap_err();
        let text = error.to_string();
        for part in ["no-such-package-anywhere", &Digest::of(b"good").to_string()] {
            assert!(text.contains(part), "{text}");
        }
        assert!(text.contains(&Digest::of(b"evil").to_string()), "{text}");
        assert!(error.advice().contains("cargo image lock"));
    }

    #[test]
    fn a_missing_package_is_named_and_nothing_half_written_stays() {
        let folder = tempfile::tempdir().unwrap();
        for offline in [true, false] {
            let package = package(b"good");
            let result = ensure(&package, folder.path(), offline, &mut Progress::silent());
            let error = result.unwrap_err();
            assert!(
                error.to_string().contains("no-such-package-anywhere"),
                "{error}"
            );
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{error}");
        }
    }
}
