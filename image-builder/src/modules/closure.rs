//! From the names on the allow-list to everything they need.
//!
//! Does:      follows `depends` and soft dependencies; leaves out what the kernel has built in.
//! Does not:  order the loading; PID 1 walks the table depth first.
//! Bounds:    every module is visited once, so the walk ends; `MODULES_MAX` modules.
//! Trusts:    the facts; a cycle in them does no harm.
//! Start at:  `closure`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{AllowList, Facts, allow::Need, canonical};
use crate::Error;

/// A kernel package's modules, as the closure needs to see them.
pub trait Modules {
    /// The kernel's release, such as `6.12.117+deb12-amd64`.
    fn release(&self) -> &str;
    /// The package has this module as a file.
    fn has(&self, name: &str) -> bool;
    /// The kernel has it built in.
    fn is_builtin(&self, name: &str) -> bool;
    /// What the module states.
    fn facts(&self, name: &str) -> Result<Facts, Error>;
}

/// The closed set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Closure {
    /// Modules with their facts; `depends` and `soft_pre` name only modules of this set.
    pub modules: BTreeMap<String, Facts>,
    /// Names on the list that this kernel lacks and may lack.
    pub absent: Vec<String>,
    /// Soft dependencies that nothing in the set fulfils.
    pub soft_unmet: BTreeSet<String>,
}

/// Everything that the listed modules need.
pub fn closure(
    list: &AllowList,
    kernel: &impl Modules,
    metal_absent: bool,
) -> Result<Closure, Error> {
    let mut closed = Closure::default();
    let mut waiting = VecDeque::new();
    let mut wrong = Vec::new();
    for (name, need) in list.iter() {
        if kernel.has(name) {
            waiting.push_back(name.to_owned());
        } else if kernel.is_builtin(name) {
        } else if need == Need::Metal && metal_absent {
            closed.absent.push(name.to_owned());
        } else {
            wrong.push(name.to_owned());
        }
    }
    if !wrong.is_empty() {
        return Err(Error::ModulesAbsent {
            release: kernel.release().to_owned(),
            names: wrong,
        });
    }
    while let Some(name) = waiting.pop_front() {
        if closed.modules.contains_key(&name) {
            continue;
        }
        let facts = kernel.facts(&name)?;
        for needed in &facts.depends {
            if kernel.has(needed) {
                waiting.push_back(needed.clone());
            } else if !kernel.is_builtin(needed) {
                let reason = format!("{name} needs {needed}, which the package lacks");
                return Err(Error::Kernel { reason });
            }
        }
        let soft = facts.soft_pre.iter().map(|soft| canonical(soft));
        waiting.extend(soft.filter(|soft| kernel.has(soft)));
        closed.modules.insert(name, facts);
    }
    settle(&mut closed, kernel);
    Ok(closed)
}

/// Leaves in each module's lists only modules of the set; soft aliases become module names.
fn settle(closed: &mut Closure, kernel: &impl Modules) {
    let names: BTreeSet<String> = closed.modules.keys().cloned().collect();
    let mut by_alias: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, facts) in &closed.modules {
        for alias in &facts.aliases {
            by_alias
                .entry(canonical(alias))
                .or_default()
                .insert(name.clone());
        }
    }
    for (name, facts) in &mut closed.modules {
        facts.depends.retain(|needed| names.contains(needed));
        let mut soft_pre = BTreeSet::new();
        for soft in facts.soft_pre.iter().map(|soft| canonical(soft)) {
            if names.contains(&soft) {
                soft_pre.insert(soft);
            } else if let Some(found) = by_alias.get(&soft) {
                soft_pre.extend(found.iter().cloned());
            } else if !kernel.is_builtin(&soft) {
                closed.soft_unmet.insert(soft);
            }
        }
        soft_pre.remove(name);
        facts.soft_pre = soft_pre.into_iter().collect();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// name, depends, soft, aliases
    type Row = (&'static str, &'static str, &'static str, &'static str);

    struct Toy(&'static [Row]);

    impl Modules for Toy {
        fn release(&self) -> &str {
            "toy"
        }
        fn has(&self, name: &str) -> bool {
            self.0.iter().any(|row| row.0 == name)
        }
        fn is_builtin(&self, name: &str) -> bool {
            name == "unix"
        }
        fn facts(&self, name: &str) -> Result<Facts, Error> {
            let row = self.0.iter().find(|row| row.0 == name).unwrap();
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
            let (depends, soft_pre, aliases) = (words(row.1), words(row.2), words(row.3));
            Ok(Facts {
                depends,
                soft_pre,
                aliases,
                firmware: Vec::new(),
            })
        }
    }

    const KERNEL: Toy = Toy(&[
        ("ext4", "jbd2 unix", "crypto-crc32c", "fs-ext4"),
        ("jbd2", "", "", ""),
        ("crc32c_generic", "", "", "crypto-crc32c"),
        ("round", "about", "gone", ""),
        ("about", "round", "round", ""),
        ("broken", "nowhere", "", ""),
    ]);

    fn close(names: &[&str]) -> Result<Closure, Error> {
        closure(&AllowList::of(names.iter().copied()), &KERNEL, false)
    }

    #[test]
    fn a_module_brings_what_it_needs_and_finds_its_soft_wishes_by_alias() {
        let closed = close(&["ext4", "crc32c-generic", "unix"]).unwrap();
        let names: Vec<_> = closed.modules.keys().collect();
        assert_eq!(names, ["crc32c_generic", "ext4", "jbd2"]);
        assert_eq!(closed.modules["ext4"].depends, ["jbd2"]);
        assert_eq!(closed.modules["ext4"].soft_pre, ["crc32c_generic"]);
    }

    #[test]
    fn a_cycle_ends_and_an_unmet_soft_wish_is_told() {
        let closed = close(&["round"]).unwrap();
        assert_eq!(closed.modules.len(), 2);
        assert_eq!(closed.soft_unmet.into_iter().collect::<Vec<_>>(), ["gone"]);
    }

    #[test]
    fn what_the_kernel_lacks_stops_the_build_by_name() {
        assert!(
            close(&["ext4", "ext5"])
                .unwrap_err()
                .to_string()
                .contains("ext5")
        );
        assert!(
            close(&["broken"])
                .unwrap_err()
                .to_string()
                .contains("nowhere")
        );
    }

    #[test]
    fn only_a_kernel_for_rigs_may_lack_what_metal_needs() {
        let list = AllowList::parse("ixgbe metal\njbd2").unwrap();
        assert_eq!(closure(&list, &KERNEL, true).unwrap().absent, ["ixgbe"]);
        assert!(closure(&list, &KERNEL, false).is_err());
    }
}
