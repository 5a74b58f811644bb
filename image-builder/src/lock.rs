//! The lock file: which Debian packages the image is made of, to the byte.
//!
//! Does:      reads, checks and writes `image.lock.toml`; finds the newest versions in apt's lists.
//! Does not:  download; `fetch` does, and only what stands here.
//! Bounds:    `PACKAGES_MAX` packages, `LOCK_BYTES_MAX` of text.
//! Trusts:    apt's signed lists when locking; afterwards only the hashes written here.
//! Start at:  `Lock::read`, then `resolve`.

use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::digest::Digest;
use crate::paths::{read, write_whole};

/// Packages in a lock file. The image needs four; the rest is room for blobs.
const PACKAGES_MAX: usize = 64;
/// Characters of a lock file; ten times what `PACKAGES_MAX` packages need.
const LOCK_BYTES_MAX: usize = 1 << 20;

/// The kernel that the image carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// Debian's full kernel: for metal, and the default.
    #[default]
    Amd64,
    /// Debian's small kernel for virtual machines: for rigs and guests.
    Cloud,
}

impl Flavour {
    /// The role of its package in the lock file.
    pub fn role(self) -> &'static str {
        match self {
            Flavour::Amd64 => "kernel-amd64",
            Flavour::Cloud => "kernel-cloud",
        }
    }
}

/// What a package is for.
pub const ROLE_STUB: &str = "uki-stub";
/// The loaders for machines whose firmware cannot fetch by HTTP.
pub const ROLE_IPXE: &str = "ipxe";

/// role, and the package names that may fill it: `#` stands for a decimal number.
const WANTED: [(&str, &str); 4] = [
    ("kernel-amd64", "linux-image-6.12.#+deb12-amd64"),
    ("kernel-cloud", "linux-image-6.12.#+deb12-cloud-amd64"),
    (ROLE_STUB, "systemd-boot-efi"),
    (ROLE_IPXE, "ipxe"),
];

/// A source package, whose text the GPL lets a receiver ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    pub name: String,
    pub version: String,
}

/// One pinned package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    pub role: String,
    pub name: String,
    pub version: String,
    pub architecture: String,
    /// Name of the .deb in the package folder.
    pub file: String,
    /// Folder in Debian's archive.
    pub pool: String,
    pub size: u64,
    pub sha256: Digest,
    pub sources: Vec<Source>,
}

/// All pinned packages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// When it was written, in seconds since 1970. Nodes know that it cannot be earlier.
    #[serde(default)]
    pub pinned_at: u64,
    #[serde(rename = "package")]
    pub packages: Vec<Package>,
}

impl Lock {
    /// Reads and checks a lock file.
    pub fn read(path: &Path) -> Result<Lock, Error> {
        let bad = |reason: String| Error::Lock {
            path: path.to_owned(),
            reason,
        };
        let bytes = read(path)?;
        let text = String::from_utf8(bytes).map_err(|_| bad("it is not UTF-8 text".into()))?;
        Lock::parse(&text).map_err(bad)
    }

    /// Parses a lock file's text. `Err` is a sentence.
    pub fn parse(text: &str) -> Result<Lock, String> {
        if text.len() > LOCK_BYTES_MAX {
            return Err(format!(
                "it has {} bytes, the most is {LOCK_BYTES_MAX}",
                text.len()
            ));
        }
        let lock: Lock = toml::from_str(text).map_err(|error| error.to_string())?;
        if lock.packages.len() > PACKAGES_MAX {
            return Err(format!(
                "{} packages, the most is {PACKAGES_MAX}",
                lock.packages.len()
            ));
        }
        for (at, package) in lock.packages.iter().enumerate() {
            if !is_plain_file_name(&package.file) || !package.file.ends_with(".deb") {
                return Err(format!("{:?} is not the name of a .deb", package.file));
            }
            if lock.packages[..at]
                .iter()
                .any(|other| other.role == package.role)
            {
                return Err(format!("{} appears twice", package.role));
            }
        }
        Ok(lock)
    }

    /// The package that fills a role; `path` is for the error.
    pub fn package(&self, role: &'static str, path: &Path) -> Result<&Package, Error> {
        let found = self.packages.iter().find(|package| package.role == role);
        found.ok_or_else(|| Error::NotLocked {
            path: path.to_owned(),
            role,
        })
    }

    /// Writes the lock file whole, with its explanation on top.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let body = toml::to_string(self).map_err(|error| Error::Lock {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        let head = "# The Debian packages that the image is made of, to the byte.\n\
                    # Written by `cargo image lock`, which pins the newest that apt knows.\n\n";
        write_whole(path, format!("{head}{body}").as_bytes())
    }
}

fn is_plain_file_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"+-._~%".contains(&b);
    !name.starts_with('.') && !name.is_empty() && name.len() <= 255 && name.bytes().all(plain)
}

/// The newest packages in apt's lists, as any user, without the network.
pub fn resolve() -> Result<Lock, Error> {
    let mut packages = Vec::new();
    for (role, pattern) in WANTED {
        let absent = || Error::NotInApt {
            role,
            pattern: pattern.to_owned(),
        };
        let name = newest_name(pattern)?.ok_or_else(absent)?;
        let text = apt_cache(&["show", "--no-all-versions", &name])?;
        packages.push(parse_record(role, &text).ok_or_else(absent)?);
    }
    Ok(Lock {
        pinned_at: seconds_since_1970(),
        packages,
    })
}

fn seconds_since_1970() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}

/// The package name that fits the pattern and has the highest number in the place of `#`.
fn newest_name(pattern: &str) -> Result<Option<String>, Error> {
    let Some((head, tail)) = pattern.split_once('#') else {
        return Ok(Some(pattern.to_owned()));
    };
    let names = apt_cache(&["pkgnames", head])?;
    let number =
        |name: &str| -> Option<u32> { name.strip_prefix(head)?.strip_suffix(tail)?.parse().ok() };
    let newest = names
        .lines()
        .filter_map(|name| Some((number(name)?, name)))
        .max();
    Ok(newest.map(|(_, name)| name.to_owned()))
}

fn apt_cache(arguments: &[&str]) -> Result<String, Error> {
    let output = Command::new("apt-cache")
        .args(arguments)
        .output()
        .map_err(Error::file("Running", "apt-cache"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Turns the first record of `apt-cache show` into a locked package.
pub fn parse_record(role: &str, text: &str) -> Option<Package> {
    let record = text.split("\n\n").next()?;
    let field = |name: &str| {
        record
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    let name = field("Package")?;
    let version = field("Version")?;
    let filename = field("Filename")?;
    let (pool, _) = filename.rsplit_once('/')?;
    let architecture = field("Architecture")?;
    let mut sources = vec![parse_source(field("Source").unwrap_or(name), version)?];
    for built in field("Built-Using")
        .unwrap_or("")
        .split(',')
        .filter(|part| !part.is_empty())
    {
        sources.push(parse_source(&built.replace("(= ", "("), version)?);
    }
    Some(Package {
        role: role.to_owned(),
        name: name.to_owned(),
        version: version.to_owned(),
        architecture: architecture.to_owned(),
        // What `apt-get download` calls the file: an epoch's colon is escaped.
        file: format!("{name}_{}_{architecture}.deb", version.replace(':', "%3a")),
        pool: pool.to_owned(),
        size: field("Size")?.parse().ok()?,
        sha256: field("SHA256")?.parse().ok()?,
        sources,
    })
}

/// `linux-6.12 (6.12.117-1)`, or a name alone whose version is the package's own.
fn parse_source(text: &str, version: &str) -> Option<Source> {
    let mut words = text.split_whitespace();
    let name = words.next()?.to_owned();
    let own = words.next().map(|word| word.trim_matches(['(', ')']));
    Some(Source {
        name,
        version: own.unwrap_or(version).to_owned(),
    })
}

/// Any text as a lock file and as apt's answer: what is accepted stays inside the package folder.
pub fn fuzz_lock(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(lock) = Lock::parse(&text) {
        assert!(
            lock.packages
                .iter()
                .all(|package| !package.file.contains('/'))
        );
        let again = toml::to_string(&lock).expect("a lock is always TOML");
        assert_eq!(
            Lock::parse(&again).ok(),
            Some(lock),
            "a lock reads back what it says"
        );
    }
    let _ = parse_record("ipxe", &text);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const RECORD: &str = "Package: linux-image-6.12.9+deb12-amd64\n\
        Source: linux-signed-6.12-amd64 (6.12.9+1)\nVersion: 6.12.9-1\nArchitecture: amd64\n\
        Built-Using: linux-6.12 (= 6.12.9-1)\nFilename: pool/updates/main/l/x/y_1_amd64.deb\n\
        Size: 7\nSHA256: 803d36a7cda13355ae8152122470288b2636f19f1cb58162dd9d8b408af9b1b4\n\n\
        Package: an-older-one\n";

    #[test]
    fn a_record_of_apt_becomes_a_locked_package_with_both_its_sources() {
        let package = parse_record("kernel-amd64", RECORD).unwrap();
        assert_eq!(package.pool, "pool/updates/main/l/x");
        assert_eq!(
            package.file,
            "linux-image-6.12.9+deb12-amd64_6.12.9-1_amd64.deb"
        );
        let sources: Vec<_> = package
            .sources
            .iter()
            .map(|s| (&*s.name, &*s.version))
            .collect();
        assert_eq!(
            sources,
            [
                ("linux-signed-6.12-amd64", "6.12.9+1"),
                ("linux-6.12", "6.12.9-1")
            ]
        );
    }

    #[test]
    fn a_lock_reads_back_what_it_writes() {
        let lock = Lock {
            pinned_at: 0,
            packages: vec![parse_record("ipxe", RECORD).unwrap()],
        };
        assert_eq!(Lock::parse(&toml::to_string(&lock).unwrap()).unwrap(), lock);
    }

    #[test]
    fn a_lock_that_would_write_elsewhere_or_is_ambiguous_is_refused() {
        let package = parse_record("ipxe", RECORD).unwrap();
        let twice = Lock {
            pinned_at: 0,
            packages: vec![package.clone(), package.clone()],
        };
        let outside = Package {
            file: "../x.deb".into(),
            ..package
        };
        for lock in [
            twice,
            Lock {
                pinned_at: 0,
                packages: vec![outside],
            },
        ] {
            assert!(Lock::parse(&toml::to_string(&lock).unwrap()).is_err());
        }
        assert!(Lock::parse("package = 3").is_err());
    }

    #[test]
    fn the_lock_in_the_repository_is_whole() {
        let lock = Lock::parse(include_str!("../image.lock.toml")).unwrap();
        for (role, _) in WANTED {
            assert!(
                lock.package(role, Path::new("image.lock.toml")).is_ok(),
                "{role}"
            );
        }
    }
}
