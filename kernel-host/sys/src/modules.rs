//! The image's kernel modules: which there are, what they need, which device asks for which.
//!
//! Does:      reads `modules.json`, finds the modules for a device, orders them by need.
//! Does not:  load anything; `loader` does.
//! Bounds:    `MODULES_MAX`, `ALIASES_MAX`; dependency chains end at `DEPTH_MAX` even if circular.
//! Trusts:    the table's syntax only. File names are checked: no path leaves the modules' folder.
//! Start at:  `Table::parse`.

use crate::aliases;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// The full Debian kernel has 4230 modules; our closure about 200. More means a damaged table.
pub const MODULES_MAX: usize = 8192;
/// Our closure has about 6000 aliases.
pub const ALIASES_MAX: usize = 65_536;
/// The deepest real chain is 6. Deeper ones are cut; the kernel then refuses the module.
const DEPTH_MAX: usize = 32;

/// One module of the image.
#[derive(Debug, Clone, Deserialize)]
pub struct Module {
    pub file: String,
    #[serde(default)]
    pub depends: Vec<String>,
    /// Modules that are better loaded before, if they are there.
    #[serde(default)]
    pub soft_pre: Vec<String>,
}

#[derive(Deserialize)]
struct Document {
    kernel: String,
    modules: BTreeMap<String, Module>,
    aliases: Vec<(String, String)>,
}

/// The checked table.
#[derive(Debug, Clone)]
pub struct Table {
    kernel: String,
    modules: BTreeMap<String, Module>,
    /// Sorted by the pattern's plain prefix, so that a device looks at few patterns.
    aliases: BTreeMap<String, Vec<(String, String)>>,
}

/// Why a table was refused.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error("The module table is not the JSON that this program expects")]
    Syntax(#[from] serde_json::Error),
    #[error("The module table has {count} {what}, more than the {max} allowed")]
    TooMany {
        what: &'static str,
        count: usize,
        max: usize,
    },
    #[error("The module table names the file {file:?} for {module}: not a plain file name")]
    File { module: String, file: String },
}

impl TableError {
    /// The operator's next step.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        "The image is damaged or from another version. Build it again: cargo image build"
    }
}

impl Table {
    /// Reads and checks the image's table.
    ///
    /// # Errors
    /// When it is not JSON of the expected shape, too large, or names a file with a path.
    pub fn parse(json: &[u8]) -> Result<Table, TableError> {
        let document: Document = serde_json::from_slice(json)?;
        bounded("modules", document.modules.len(), MODULES_MAX)?;
        bounded("aliases", document.aliases.len(), ALIASES_MAX)?;
        for (name, module) in &document.modules {
            if module.file.is_empty() || module.file.contains('/') || module.file.contains('\0') {
                return Err(TableError::File {
                    module: name.clone(),
                    file: module.file.clone(),
                });
            }
        }
        let mut by_prefix: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        for (pattern, module) in document.aliases {
            let key = bus(aliases::literal_prefix(&pattern)).to_owned();
            by_prefix.entry(key).or_default().push((pattern, module));
        }
        Ok(Table {
            kernel: document.kernel,
            modules: document.modules,
            aliases: by_prefix,
        })
    }

    /// The kernel release that the modules were built for.
    #[must_use]
    pub fn kernel(&self) -> &str {
        &self.kernel
    }

    #[must_use]
    pub fn module(&self, name: &str) -> Option<&Module> {
        self.modules.get(name)
    }

    /// The modules that ask to serve a device, by its `modalias`.
    #[must_use]
    pub fn matching(&self, modalias: &str) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        // A pattern's plain prefix up to the bus may end early: `acpi*:PNP0C0C:*`, or `*`.
        let key = bus(modalias);
        for end in (0..=key.len()).filter(|end| key.is_char_boundary(*end)) {
            for (pattern, module) in self.aliases.get(&key[..end]).into_iter().flatten() {
                if aliases::matches(pattern, modalias) {
                    found.insert(module.as_str());
                }
            }
        }
        found
    }

    /// The module with everything it needs, in an order that loads. Unknown names are left out:
    /// they are built into the kernel.
    #[must_use]
    pub fn load_order(&self, name: &str) -> Vec<&str> {
        let mut order = Vec::new();
        self.append(name, &mut order, &mut Vec::new());
        order
    }

    /// `path` holds the modules whose needs are being collected: meeting one of them again is a
    /// circle, which is left open there.
    fn append<'a>(&'a self, name: &str, order: &mut Vec<&'a str>, path: &mut Vec<&'a str>) {
        let Some((name, module)) = self.modules.get_key_value(name) else {
            return;
        };
        let name = name.as_str();
        if path.len() >= DEPTH_MAX || path.contains(&name) || order.contains(&name) {
            return;
        }
        path.push(name);
        for needed in module.soft_pre.iter().chain(&module.depends) {
            self.append(needed, order, path);
        }
        path.pop();
        order.push(name);
    }
}

/// The part before the first colon: `pci:v0000...` -> `pci`.
fn bus(text: &str) -> &str {
    text.split(':').next().unwrap_or_default()
}

fn bounded(what: &'static str, count: usize, max: usize) -> Result<(), TableError> {
    if count > max {
        Err(TableError::TooMany { what, count, max })
    } else {
        Ok(())
    }
}

/// Fuzz entry: any bytes are refused or give a table whose every order is free of repeats.
pub fn fuzz_module_table(data: &[u8]) {
    let Ok(table) = Table::parse(data) else {
        return;
    };
    for name in table.modules.keys() {
        let order = table.load_order(name);
        let distinct: BTreeSet<_> = order.iter().collect();
        assert_eq!(distinct.len(), order.len(), "a module is loaded twice");
        assert_eq!(
            order.last().copied(),
            Some(name.as_str()),
            "the module itself comes last"
        );
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TABLE: &str = r#"{"kernel":"6.12.117+deb12-amd64","modules":{
        "failover":{"file":"failover.ko.xz","depends":[]},
        "net_failover":{"file":"net_failover.ko.xz","depends":["failover"]},
        "virtio_net":{"file":"virtio_net.ko.xz","depends":["net_failover"]},
        "button":{"file":"button.ko.xz"},
        "ccp":{"file":"ccp.ko.xz"},
        "kvm":{"file":"kvm.ko.xz","depends":["irqbypass"],"soft_pre":["ccp"]},
        "kvm_amd":{"file":"kvm_amd.ko.xz","depends":["kvm"]},
        "egg":{"file":"egg.ko.xz","depends":["hen"]},
        "hen":{"file":"hen.ko.xz","depends":["egg"]}},
        "aliases":[["acpi*:LNXPWRBN:*","button"],["cpu:type:x86,ven0002fam*mod*:feature:*00C2*","kvm_amd"],
        ["virtio:d00000001v*","virtio_net"],["*","egg"]]}"#;

    #[test]
    fn a_device_finds_its_module_under_every_kind_of_prefix() {
        let table = Table::parse(TABLE.as_bytes()).unwrap();
        let names = |modalias| table.matching(modalias).into_iter().collect::<Vec<_>>();
        assert_eq!(names("virtio:d00000001v00001AF4"), ["egg", "virtio_net"]);
        assert_eq!(names("acpi:LNXPWRBN:"), ["button", "egg"]);
        assert_eq!(
            names("cpu:type:x86,ven0002fam000Fmod006B:feature:,00C2"),
            ["egg", "kvm_amd"]
        );
        assert_eq!(names("pci:v00001234"), ["egg"]);
    }

    #[test]
    fn what_a_module_needs_comes_before_it_and_builtin_needs_are_left_out() {
        let table = Table::parse(TABLE.as_bytes()).unwrap();
        assert_eq!(
            table.load_order("virtio_net"),
            ["failover", "net_failover", "virtio_net"]
        );
        assert_eq!(table.load_order("kvm_amd"), ["ccp", "kvm", "kvm_amd"]);
        assert_eq!(table.load_order("vfat"), Vec::<&str>::new());
    }

    #[test]
    fn a_circular_need_ends() {
        let table = Table::parse(TABLE.as_bytes()).unwrap();
        assert_eq!(table.load_order("egg"), ["hen", "egg"]);
    }

    #[test]
    fn a_file_name_with_a_path_is_refused() {
        let json = r#"{"kernel":"k","modules":{"a":{"file":"../a.ko"}},"aliases":[]}"#;
        assert!(matches!(
            Table::parse(json.as_bytes()),
            Err(TableError::File { .. })
        ));
    }
}
