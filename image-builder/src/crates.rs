//! The crates that are inside the `luc` program.
//!
//! Does:      asks cargo which packages `luc` is linked from, and Cargo.lock for their hashes.
//! Does not:  list tools, tests or build scripts' own dependencies: they are not in the program.
//! Bounds:    `CRATES_MAX`.
//! Trusts:    cargo.
//! Start at:  `of_luc`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::Error;
use crate::binary::cargo_program;
use crate::paths::{Paths, read};

/// The workspace aims at 180 packages.
const CRATES_MAX: usize = 2000;

/// One crate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Crate {
    pub name: String,
    pub version: String,
    pub licence: Option<String>,
    /// SHA-256 of the crate file; our own crates have none.
    pub checksum: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<MetadataPackage>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct MetadataPackage {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

#[derive(Deserialize)]
struct CargoLock {
    package: Vec<LockedCrate>,
}

#[derive(Deserialize)]
struct LockedCrate {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// The crates linked into `luc`, sorted by name.
pub fn of_luc(paths: &Paths) -> Result<Vec<Crate>, Error> {
    let cargo = cargo_program();
    let output = Command::new(&cargo)
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(&paths.workspace)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(Error::file("Running", &cargo))?;
    let program = || "cargo metadata".to_owned();
    if !output.status.success() {
        return Err(Error::Program {
            program: program(),
            status: output.status.to_string(),
        });
    }
    let unreadable = |reason: String| Error::Program {
        program: program(),
        status: reason,
    };
    let lock = String::from_utf8_lossy(&read(&paths.workspace.join("Cargo.lock"))?).into_owned();
    linked(&output.stdout, &lock, "luc").map_err(unreadable)
}

/// The crates reachable from `root` by normal dependencies. `Err` is a sentence.
pub fn linked(metadata: &[u8], lock: &str, root: &str) -> Result<Vec<Crate>, String> {
    let metadata: Metadata = serde_json::from_slice(metadata).map_err(|e| e.to_string())?;
    let lock: CargoLock = toml::from_str(lock).map_err(|e| e.to_string())?;
    let packages: BTreeMap<&str, &MetadataPackage> = metadata
        .packages
        .iter()
        .map(|package| (&*package.id, package))
        .collect();
    let root = metadata
        .packages
        .iter()
        .find(|package| package.name == root);
    let root = root.ok_or("the workspace has no such package")?;
    let seen = reachable(&metadata.resolve, &root.id)?;
    let mut crates: Vec<Crate> =
        seen.iter()
            .filter_map(|id| packages.get(id))
            .map(|package| {
                let locked = lock.package.iter().find(|locked| {
                    locked.name == package.name && locked.version == package.version
                });
                Crate {
                    name: package.name.clone(),
                    version: package.version.clone(),
                    licence: package.license.clone(),
                    checksum: locked.and_then(|locked| locked.checksum.clone()),
                }
            })
            .collect();
    crates.sort();
    Ok(crates)
}

/// Package ids that are linked when `root` is.
fn reachable<'a>(resolve: &'a Resolve, root: &'a str) -> Result<BTreeSet<&'a str>, String> {
    let nodes: BTreeMap<&str, &Node> = resolve.nodes.iter().map(|node| (&*node.id, node)).collect();
    let mut waiting = vec![root];
    let mut seen = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        if !seen.insert(id) {
            continue;
        }
        if seen.len() > CRATES_MAX {
            return Err(format!("more than {CRATES_MAX} crates"));
        }
        let dependencies = nodes.get(id).map_or(&[][..], |node| &node.deps);
        let is_linked =
            |dependency: &&Dependency| dependency.dep_kinds.iter().any(|kind| kind.kind.is_none());
        waiting.extend(
            dependencies
                .iter()
                .filter(is_linked)
                .map(|dependency| &*dependency.pkg),
        );
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_what_is_linked_is_listed_and_each_has_the_hash_of_the_lock() {
        let metadata = r#"{"packages":[
            {"id":"a","name":"luc","version":"0.0.0","license":"Apache-2.0"},
            {"id":"b","name":"serde","version":"1.0.0","license":"MIT"},
            {"id":"c","name":"cc","version":"1.0.0","license":null}],
          "resolve":{"nodes":[
            {"id":"a","deps":[{"pkg":"b","dep_kinds":[{"kind":null}]},
                              {"pkg":"c","dep_kinds":[{"kind":"build"}]}]},
            {"id":"b","deps":[]},{"id":"c","deps":[]}]}}"#;
        let lock = "[[package]]\nname = \"serde\"\nversion = \"1.0.0\"\nchecksum = \"ff\"\n";
        let crates = linked(metadata.as_bytes(), lock, "luc").unwrap();
        let rows: Vec<_> = crates
            .iter()
            .map(|c| (&*c.name, c.checksum.as_deref()))
            .collect();
        assert_eq!(rows, [("luc", None), ("serde", Some("ff"))]);
        assert!(linked(metadata.as_bytes(), lock, "absent").is_err());
    }
}
