//! The allow-list: the modules that ride in an image.
//!
//! Does:      parses `modules.allow`; its format is explained in that file's first lines.
//! Does not:  know any kernel.
//! Bounds:    `LINES_MAX` lines.
//! Trusts:    nothing.
//! Start at:  `AllowList::parse`.

use std::collections::BTreeMap;

use super::canonical;
use crate::Error;
use crate::digest::Digest;

/// Lines of an allow-list.
const LINES_MAX: usize = 10_000;

/// Module names, each with whether a kernel may lack it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllowList {
    names: BTreeMap<String, Need>,
}

/// What happens when the kernel package lacks the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The build stops.
    Always,
    /// Only Debian's full kernel must have it.
    Metal,
}

impl AllowList {
    /// The list that the image is built with.
    pub fn image() -> Result<AllowList, Error> {
        AllowList::parse(include_str!("../../modules.allow"))
    }

    /// A list of these names, each needed.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> AllowList {
        let names = names
            .into_iter()
            .map(|name| (canonical(name), Need::Always))
            .collect();
        AllowList { names }
    }

    /// Parses the format of `modules.allow`.
    pub fn parse(text: &str) -> Result<AllowList, Error> {
        let mut names = BTreeMap::new();
        for (at, line) in text.lines().enumerate() {
            let bad = |reason: String| Error::AllowList {
                line: at + 1,
                reason,
            };
            if at >= LINES_MAX {
                return Err(bad(format!("more than {LINES_MAX} lines")));
            }
            let words = line.split('#').next().unwrap_or("");
            let words: Vec<&str> = words.split_whitespace().collect();
            let (name, need) = match words[..] {
                [] => continue,
                [section] if section.starts_with('[') && section.ends_with(']') => continue,
                [name] => (name, Need::Always),
                [name, "metal"] => (name, Need::Metal),
                _ => return Err(bad(format!("{line:?} is not NAME or NAME metal"))),
            };
            if !name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
            {
                return Err(bad(format!("{name:?} is not the name of a module")));
            }
            if names.insert(canonical(name), need).is_some() {
                return Err(bad(format!("{name} stands here twice")));
            }
        }
        Ok(AllowList { names })
    }

    /// Names in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Need)> {
        self.names.iter().map(|(name, need)| (name.as_str(), *need))
    }

    /// Equal lists have equal hashes.
    pub fn digest(&self) -> Digest {
        let row = |(name, need): (&str, Need)| format!("{name} {need:?}");
        Digest::of(
            self.iter()
                .map(row)
                .collect::<Vec<_>>()
                .join("\n")
                .as_bytes(),
        )
    }
}

/// Any text: an answer, and a list that survives being written down again.
pub fn fuzz_allow(data: &[u8]) {
    let Ok(list) = AllowList::parse(&String::from_utf8_lossy(data)) else {
        return;
    };
    let word = |need| if need == Need::Metal { " metal" } else { "" };
    let text: String = list
        .iter()
        .map(|(name, need)| format!("{name}{}\n", word(need)))
        .collect();
    assert_eq!(
        AllowList::parse(&text).ok(),
        Some(list),
        "a list reads back what it says"
    );
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_list_is_names_under_headings_with_reasons() {
        let list = AllowList::parse("# why\n[nic] # heading\ne1000e metal # reason\n\nveth\n");
        let list: Vec<_> = list
            .unwrap()
            .iter()
            .map(|(n, need)| (n.to_owned(), need))
            .collect();
        assert_eq!(
            list,
            [
                ("e1000e".into(), Need::Metal),
                ("veth".into(), Need::Always)
            ]
        );
    }

    #[test]
    fn a_line_that_cannot_be_meant_is_refused_with_its_number() {
        for text in [
            "veth\nveth",
            "veth\nve-th!",
            "veth\nveth2 maybe",
            "veth\na b c",
        ] {
            let error = AllowList::parse(text).unwrap_err().to_string();
            assert!(error.contains("line 2"), "{text:?}: {error}");
        }
    }

    #[test]
    fn the_list_of_the_image_is_valid() {
        assert!(AllowList::image().unwrap().iter().count() > 100);
    }
}
