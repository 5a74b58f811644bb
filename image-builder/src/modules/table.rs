//! The table that PID 1 loads modules by: `/lib/luc/modules.json` in the initrd.
//!
//! Does:      states files, dependencies and device patterns in one sorted document.
//! Does not:  hold anything that the kernel has built in.
//! Bounds:    as the closure's.
//! Trusts:    the closure.
//! Start at:  `Table::of`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Closure;

/// One row: the file and what comes before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub file: String,
    pub depends: Vec<String>,
    pub soft_pre: Vec<String>,
}

/// The whole table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    pub kernel: String,
    pub modules: BTreeMap<String, Row>,
    /// Pattern (fnmatch: `*`, `?`, `[..]`) and the module that serves it; sorted.
    pub aliases: Vec<(String, String)>,
}

impl Table {
    /// The table of a closed set.
    pub fn of(release: &str, closed: &Closure) -> Table {
        let row = |name: &String| file_name(name);
        let modules = closed.modules.iter().map(|(name, facts)| {
            let (depends, soft_pre) = (facts.depends.clone(), facts.soft_pre.clone());
            (
                name.clone(),
                Row {
                    file: row(name),
                    depends,
                    soft_pre,
                },
            )
        });
        let mut aliases: Vec<(String, String)> = closed
            .modules
            .iter()
            .flat_map(|(name, facts)| facts.aliases.iter().map(|a| (a.clone(), name.clone())))
            .collect();
        aliases.sort();
        aliases.dedup();
        Table {
            kernel: release.to_owned(),
            modules: modules.collect(),
            aliases,
        }
    }

    /// As JSON, one line.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a table of strings is always JSON")
    }
}

/// The file of a module in the initrd.
pub fn file_name(module: &str) -> String {
    format!("{module}.ko.xz")
}
