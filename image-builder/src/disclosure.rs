//! What we owe to receivers: the bill of materials, and where the sources are.
//!
//! Does:      writes CycloneDX JSON and the `SOURCES` text.
//! Does not:  ship the sources; Debian keeps each version for ever at snapshot.debian.org.
//! Bounds:    as many rows as packages and crates.
//! Trusts:    the lock files.
//! Start at:  `bill_of_materials`, `sources`.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::crates::Crate;
use crate::digest::Digest;
use crate::initrd::About;
use crate::lock::Package;

/// The C library inside the static `luc`, when we built it on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linked {
    pub name: String,
    pub source: String,
    pub version: String,
}

/// A CycloneDX 1.5 document. Its serial number comes from `seed`, so that it is reproducible.
pub fn bill_of_materials(
    about: &About,
    seed: &Digest,
    packages: &[Package],
    crates: &[Crate],
    linked: &[Linked],
) -> Vec<u8> {
    let mut components: Vec<Value> = packages.iter().map(debian).collect();
    components.extend(linked.iter().map(|library| {
        json!({
            "type": "library", "name": library.name, "version": library.version,
            "purl": purl("deb/debian", &library.name, &library.version),
        })
    }));
    components.extend(crates.iter().map(rust));
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": urn(seed),
        "version": 1,
        "metadata": { "component": {
            "type": "operating-system", "name": about.name, "version": about.version,
            "hashes": [],
            "properties": [
                { "name": "luc:build", "value": about.build },
                { "name": "luc:kernel", "value": about.kernel },
            ],
        }},
        "components": components,
    });
    let mut text = serde_json::to_vec_pretty(&document).expect("a document is always JSON");
    text.push(b'\n');
    text
}

fn debian(package: &Package) -> Value {
    json!({
        "type": "application", "name": package.name, "version": package.version,
        "purl": format!("{}?arch={}", purl("deb/debian", &package.name, &package.version),
                        package.architecture),
        "hashes": [{ "alg": "SHA-256", "content": package.sha256 }],
        "properties": package.sources.iter().map(|source| {
            json!({ "name": "luc:source", "value": format!("{} {}", source.name, source.version) })
        }).collect::<Vec<_>>(),
    })
}

fn rust(part: &Crate) -> Value {
    let mut value = json!({
        "type": "library", "name": part.name, "version": part.version,
        "purl": purl("cargo", &part.name, &part.version),
    });
    if let Some(licence) = &part.licence {
        value["licenses"] = json!([{ "expression": licence.replace('/', " OR ") }]);
    }
    if let Some(checksum) = &part.checksum {
        value["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    value
}

fn purl(kind: &str, name: &str, version: &str) -> String {
    let escape = |text: &str| text.replace('+', "%2B").replace(':', "%3A");
    format!("pkg:{kind}/{}@{}", escape(name), escape(version))
}

/// A version 8 UUID made from a hash.
fn urn(seed: &Digest) -> String {
    let hex = seed.to_string();
    format!(
        "urn:uuid:{}-{}-8{}-a{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[13..16],
        &hex[17..20],
        &hex[20..32]
    )
}

/// The `SOURCES` text: for each part under the GPL or LGPL, its source package and where it is.
pub fn sources(about: &About, packages: &[Package], linked: &[Linked]) -> Vec<u8> {
    let mut text = format!(
        "Sources of the parts of {} {} that others wrote\n\n\
         The packages below are used as Debian built them. Their complete source is at\n\
         https://snapshot.debian.org/package/NAME/VERSION/ (all versions, kept for ever) and,\n\
         while current, in the archive's pool. Licences: /usr/share/doc/*/copyright in each.\n",
        about.name, about.version
    );
    let mut line = |row: String| writeln!(text, "{row}").expect("text grows");
    for package in packages {
        line(format!(
            "\n{} {} ({})",
            package.name, package.version, package.architecture
        ));
        line(format!(
            "  file    {} ({} bytes)",
            package.file, package.size
        ));
        line(format!("  sha256  {}", package.sha256));
        line(format!("  pool    {}", package.pool));
        for source in &package.sources {
            line(source_row(&source.name, &source.version));
        }
    }
    for library in linked {
        line(format!(
            "\n{} {} (linked into luc)",
            library.name, library.version
        ));
        line(source_row(&library.source, &library.version));
    }
    text.into_bytes()
}

fn source_row(name: &str, version: &str) -> String {
    // A .dsc leaves out the epoch.
    let plain = version.rsplit(':').next().unwrap_or(version);
    format!("  source  {name}_{plain}.dsc  https://snapshot.debian.org/package/{name}/{version}/")
}

/// The C library that this machine links statically, as dpkg knows it; none elsewhere.
pub fn c_library() -> Vec<Linked> {
    let output = std::process::Command::new("dpkg-query")
        .args([
            "--show",
            "--showformat",
            "${source:Package} ${Version}",
            "libc6-dev",
        ])
        .output();
    let text = output
        .ok()
        .filter(|output| output.status.success())
        .map(|output| output.stdout);
    let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
    let row = text.split_once(' ').map(|(source, version)| Linked {
        name: "libc6-dev".to_owned(),
        source: source.to_owned(),
        version: version.trim().to_owned(),
    });
    row.into_iter().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::lock::Source;

    fn package() -> Package {
        Package {
            role: "kernel-amd64".into(),
            name: "linux-image-6+deb12".into(),
            version: "1:6.1-2".into(),
            architecture: "amd64".into(),
            file: "x.deb".into(),
            pool: "pool/l".into(),
            size: 7,
            sha256: Digest::of(b"deb"),
            sources: vec![Source {
                name: "linux".into(),
                version: "1:6.1-2".into(),
            }],
        }
    }

    fn about() -> About {
        let text = |word: &str| word.to_owned();
        About {
            name: text("luc-os"),
            version: text("0"),
            kernel: text("6"),
            build: text("b"),
            source_date_epoch: 0,
        }
    }

    #[test]
    fn the_sources_name_each_dsc_and_its_address() {
        let text = String::from_utf8(sources(&about(), &[package()], &[])).unwrap();
        assert!(text.contains("linux_6.1-2.dsc"), "{text}");
        assert!(
            text.contains("https://snapshot.debian.org/package/linux/1:6.1-2/"),
            "{text}"
        );
    }

    #[test]
    fn the_bill_is_reproducible_and_names_every_part() {
        let part = Crate {
            name: "serde".into(),
            version: "1.0.0".into(),
            licence: Some("MIT/Apache-2.0".into()),
            checksum: Some("ff".into()),
        };
        let bill = || {
            bill_of_materials(
                &about(),
                &Digest::of(b""),
                &[package()],
                std::slice::from_ref(&part),
                &[],
            )
        };
        assert_eq!(bill(), bill());
        let value: Value = serde_json::from_slice(&bill()).unwrap();
        assert_eq!(
            value["components"][0]["purl"],
            "pkg:deb/debian/linux-image-6%2Bdeb12@1%3A6.1-2?arch=amd64"
        );
        assert_eq!(
            value["components"][1]["licenses"][0]["expression"],
            "MIT OR Apache-2.0"
        );
    }
}
