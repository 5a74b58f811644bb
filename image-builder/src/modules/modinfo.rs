//! What a module says about itself, in the `.modinfo` section of its ELF file.
//!
//! Does:      reads `name`, `depends`, `softdep`, `alias` and `firmware`.
//! Does not:  trust `modules.dep`: Debian's package has none, depmod makes it at installation.
//! Bounds:    `FACTS_MAX` entries a module.
//! Trusts:    nothing.
//! Start at:  `Facts::of_module`.

use object::{Object, ObjectSection};
use serde::{Deserialize, Serialize};

use super::canonical;

/// Entries of one module; the most talkative driver has about 1,500 aliases.
const FACTS_MAX: usize = 20_000;

/// One module's facts, as it states them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Modules that must be loaded first.
    pub depends: Vec<String>,
    /// Modules, or aliases of modules, that should be loaded first.
    pub soft_pre: Vec<String>,
    /// Patterns of devices and services that this module serves.
    pub aliases: Vec<String>,
    /// Blobs that it may ask for.
    pub firmware: Vec<String>,
}

impl Facts {
    /// Reads an expanded module. `Err` is a sentence.
    pub fn of_module(elf: &[u8]) -> Result<Facts, String> {
        let file = object::read::elf::ElfFile64::<object::Endianness>::parse(elf)
            .map_err(|error| format!("it is no ELF module ({error})"))?;
        let section = file
            .section_by_name(".modinfo")
            .ok_or("it has no .modinfo section")?;
        let data = section.data().map_err(|error| error.to_string())?;
        Facts::of_modinfo(data)
    }

    /// Reads the content of a `.modinfo` section: `key=value` strings, each closed by a NUL.
    pub fn of_modinfo(data: &[u8]) -> Result<Facts, String> {
        let mut facts = Facts::default();
        let entries = data
            .split(|byte| *byte == 0)
            .filter(|entry| !entry.is_empty());
        for (count, entry) in entries.enumerate() {
            if count >= FACTS_MAX {
                return Err(format!("it states more than {FACTS_MAX} facts"));
            }
            let Ok(entry) = str::from_utf8(entry) else {
                continue;
            };
            match entry.split_once('=') {
                Some(("depends", names)) => facts.depends.extend(names_in(names, ',')),
                Some(("softdep", text)) => facts.soft_pre.extend(soft_pre(text)),
                Some(("alias", pattern)) => facts.aliases.push(pattern.to_owned()),
                Some(("firmware", file)) => facts.firmware.push(file.to_owned()),
                _ => {}
            }
        }
        Ok(facts)
    }
}

fn names_in(text: &str, separator: char) -> impl Iterator<Item = String> {
    text.split(separator)
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(canonical)
}

/// `pre: a b post: c` names a and b.
fn soft_pre(text: &str) -> Vec<String> {
    let mut before = false;
    let mut names = Vec::new();
    for word in text.split_whitespace() {
        match word {
            "pre:" => before = true,
            "post:" => before = false,
            name if before => names.push(name.to_owned()),
            _ => {}
        }
    }
    names
}

/// Any bytes, as a module and as a section: an answer, with no empty names in it.
pub fn fuzz_modinfo(data: &[u8]) {
    let _ = Facts::of_module(data);
    if let Ok(facts) = Facts::of_modinfo(data) {
        assert!(
            facts
                .depends
                .iter()
                .all(|name| !name.is_empty() && !name.contains('-'))
        );
        assert!(
            facts
                .soft_pre
                .iter()
                .all(|name| !name.contains(char::is_whitespace))
        );
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn facts_are_read_from_key_value_strings() {
        let text = b"license=GPL\0softdep=pre: crypto-crc32c post: late\0depends=jbd2,crc-16\0\
                     alias=fs-ext4\0alias=pci:v*\0\0firmware=a/b.bin\0";
        let facts = Facts::of_modinfo(text).unwrap();
        assert_eq!(facts.depends, ["jbd2", "crc_16"]);
        assert_eq!(facts.soft_pre, ["crypto-crc32c"]);
        assert_eq!(facts.aliases, ["fs-ext4", "pci:v*"]);
        assert_eq!(facts.firmware, ["a/b.bin"]);
    }

    #[test]
    fn what_is_no_module_is_an_error() {
        for bytes in [&b""[..], b"\x7fELF", b"MZ"] {
            assert!(Facts::of_module(bytes).is_err());
        }
    }
}
