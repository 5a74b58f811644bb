//! The Boot Loader Specification: one small file per entry in `loader/entries`.
//!
//! Does:      entries of type 1 from `/loader/entries` and `/boot/loader/entries`; the default from
//!            `loader.conf` or from GRUB's saved entry; variables that Fedora's entries use.
//! Does not:  entries of type 2 (`uki`), device trees, boot counting beyond "no tries left" last.
//! Bounds:    `ENTRIES_MAX` entries of one folder; texts as in `volume`.
//! Trusts:    nothing: a guest wrote them.
//! Start at:  `choices`.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::disk::ReadError;
use crate::grub;
use crate::search::{Choice, FileName, Volumes};
use crate::version;

/// Distributions keep three. The rest is not looked at.
const ENTRIES_MAX: usize = 128;
const FOLDERS: [&str; 2] = ["/loader/entries", "/boot/loader/entries"];
const GRUBENVS: [&str; 5] = [
    "/grub2/grubenv",
    "/boot/grub2/grubenv",
    "/grub/grubenv",
    "/boot/grub/grubenv",
    "/EFI/fedora/grubenv",
];

/// One entry, as its file has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    /// The file's name without `.conf` and without the count of tries.
    id: String,
    tries_left: Option<u32>,
    title: String,
    version: String,
    sort_key: String,
    linux: String,
    initrds: Vec<String>,
    options: Vec<String>,
}

/// What the entries of all volumes would boot, the default of each first.
pub(crate) fn choices(volumes: &Volumes) -> Result<Vec<Choice>, ReadError> {
    let mut found = Vec::new();
    for (number, volume) in volumes.list().iter().enumerate() {
        let mut environment = BTreeMap::new();
        for path in GRUBENVS {
            if let Some(text) = volume.text(path)? {
                environment = grub::parse_environment(&text);
                break;
            }
        }
        let mut entries = entries(volumes, number, &environment)?;
        let config = volume.text("/loader/loader.conf")?.unwrap_or_default();
        let pattern = words(&config).filter(|(key, _)| *key == "default").last();
        let pattern = pattern.map(|(_, pattern)| pattern.trim_end_matches(".conf").to_owned());
        let saved = environment.get("saved_entry").cloned();
        if let Some(default) = pattern.or(saved) {
            let by_number = default
                .parse::<usize>()
                .ok()
                .filter(|at| *at < entries.len());
            let by_name = || {
                let named = |(id, _): &(String, Choice)| matches(&default, id);
                entries.iter().position(named)
            };
            if let Some(at) = by_number.or_else(by_name) {
                entries[..=at].rotate_right(1);
            }
        }
        found.extend(entries.into_iter().map(|(_, choice)| choice));
    }
    Ok(found)
}

/// The entries of one volume with their ids, in the order of a menu.
pub(crate) fn entries(
    volumes: &Volumes,
    number: usize,
    environment: &BTreeMap<String, String>,
) -> Result<Vec<(String, Choice)>, ReadError> {
    let Some(volume) = volumes.list().get(number) else {
        return Ok(Vec::new());
    };
    let mut entries = Vec::new();
    for folder in FOLDERS {
        for (name, _) in volume.list(folder)?.unwrap_or_default() {
            let Some(stem) = name.strip_suffix(".conf") else {
                continue;
            };
            if entries.len() == ENTRIES_MAX {
                break;
            }
            if let Some(text) = volume.text(&format!("{folder}/{name}"))? {
                let entry = parse(stem, &text);
                entries.extend((!entry.linux.is_empty()).then_some(entry));
            }
        }
    }
    entries.sort_by(order);
    let mut found = Vec::new();
    for entry in entries {
        let id = entry.id.clone();
        // Where /boot is no volume of its own, some entries leave it out all the same.
        let inside = format!("/boot/{}", entry.linux.trim_start_matches('/'));
        let add = !volume.exists(&entry.linux)? && volume.exists(&inside)?;
        let prefix = if add { "/boot" } else { "" };
        found.push((id, entry.choice(number, prefix, environment)));
    }
    Ok(found)
}

/// Keys and values of a file, comments left out.
fn words(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once(char::is_whitespace))
        .map(|(key, value)| (key, value.trim()))
}

fn parse(stem: &str, text: &str) -> Entry {
    let (id, tries) = stem.rsplit_once('+').unwrap_or((stem, ""));
    let left = tries.split('-').next().and_then(|left| left.parse().ok());
    let mut entry = Entry {
        id: if left.is_some() { id } else { stem }.to_owned(),
        tries_left: left,
        ..Entry::default()
    };
    for (key, value) in words(text) {
        let value = value.to_owned();
        match key {
            "title" => entry.title = value,
            "version" => entry.version = value,
            "sort-key" => entry.sort_key = value,
            "linux" => entry.linux = value,
            "efi" if entry.linux.is_empty() => entry.linux = value, // perhaps a unified image
            "initrd" => entry
                .initrds
                .extend(value.split_whitespace().map(str::to_owned)),
            "options" => entry.options.push(value),
            _ => {}
        }
    }
    entry
}

/// Entries whose tries are used up come last; then by sort key, then the newest first.
fn order(a: &Entry, b: &Entry) -> Ordering {
    let spent = |entry: &Entry| entry.tries_left == Some(0);
    let keyless = |entry: &Entry| entry.sort_key.is_empty();
    spent(a)
        .cmp(&spent(b))
        .then_with(|| keyless(a).cmp(&keyless(b)))
        .then_with(|| a.sort_key.cmp(&b.sort_key))
        .then_with(|| version::compare(&b.version, &a.version))
        .then_with(|| version::compare(&b.id, &a.id))
}

impl Entry {
    fn choice(self, volume: usize, prefix: &str, environment: &BTreeMap<String, String>) -> Choice {
        let file = |path: &str| FileName {
            volume,
            path: format!("{prefix}/{}", path.trim_start_matches('/')),
        };
        // A variable may hold several words, or none.
        let initrds = self.initrds.iter().map(|path| expand(path, environment));
        let initrds = initrds.flat_map(|paths| {
            paths
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        });
        Choice {
            title: if self.title.is_empty() {
                self.id
            } else {
                self.title
            },
            kernel: file(&self.linux),
            initrds: initrds.map(|path| file(&path)).collect(),
            cmdline: expand(&self.options.join(" "), environment),
        }
    }
}

/// Replaces `$name` by its value, or by nothing.
fn expand(text: &str, environment: &BTreeMap<String, String>) -> String {
    let mut parts = text.split('$');
    let mut all = parts.next().unwrap_or("").to_owned();
    for part in parts {
        let open = part.strip_prefix('{');
        let name_at = open.unwrap_or(part);
        let letter = |letter: char| !(letter.is_ascii_alphanumeric() || letter == '_');
        let end = name_at.find(letter).unwrap_or(name_at.len());
        let (name, rest) = name_at.split_at(end);
        let rest = if open.is_some() {
            rest.strip_prefix('}').unwrap_or(rest)
        } else {
            rest
        };
        all.push_str(environment.get(name).map_or("", String::as_str));
        all.push_str(rest);
    }
    all
}

/// Shell patterns with `*` and `?`.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(letter) if *letter == b'?' || *letter == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|letter| *letter == b'*')
}

/// An entry as a guest may have written it.
pub(crate) fn fuzz(text: &str) {
    let entry = parse("name+3-1", text);
    assert!(order(&entry, &entry) == Ordering::Equal);
    let environment = grub::parse_environment(text);
    let pattern = entry.title.clone();
    let choice = entry.choice(0, "", &environment);
    matches(&pattern, &choice.cmdline);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{expand, matches, order, parse};

    #[test]
    fn an_entry_is_read_and_its_tries_are_no_part_of_its_name() {
        let text = "# comment\ntitle  Fedora 40\nversion 6.8\nlinux /vmlinuz-6.8\n\
                    initrd /a.img  $more\ninitrd /b.img\noptions root=UUID=x ro\noptions quiet\n";
        let entry = parse("abc-6.8+2-1", text);
        assert_eq!((entry.id.as_str(), entry.tries_left), ("abc-6.8", Some(2)));
        let environment = [("more".to_owned(), "/c.img /d.img".to_owned())].into();
        let choice = entry.choice(3, "/boot", &environment);
        assert_eq!(choice.title, "Fedora 40");
        assert_eq!(
            (choice.kernel.volume, choice.kernel.path.as_str()),
            (3, "/boot/vmlinuz-6.8")
        );
        let initrds: Vec<_> = choice
            .initrds
            .iter()
            .map(|file| file.path.as_str())
            .collect();
        assert_eq!(
            initrds,
            ["/boot/a.img", "/boot/c.img", "/boot/d.img", "/boot/b.img"]
        );
        assert_eq!(choice.cmdline, "root=UUID=x ro quiet");
        assert_eq!(parse("kernel+new", "").id, "kernel+new");
    }

    #[test]
    fn the_newest_comes_first_and_spent_tries_last() {
        let entry = |stem: &str, text: &str| parse(stem, text);
        let mut all = [
            entry("a-0-rescue-1", "version 0-rescue-1"),
            entry("a-6.10", "version 6.10"),
            entry("a-6.11+0-3", "version 6.11"),
            entry("a-6.9", "version 6.9"),
            entry("arch", "sort-key arch\nversion 6.1"),
        ];
        all.sort_by(order);
        let names: Vec<_> = all.iter().map(|entry| entry.id.as_str()).collect();
        assert_eq!(names, ["arch", "a-6.10", "a-6.9", "a-0-rescue-1", "a-6.11"]);
    }

    #[test]
    fn variables_become_their_values_or_nothing() {
        let environment = [("kernelopts".to_owned(), "root=x ro".to_owned())].into();
        assert_eq!(
            expand("$kernelopts $tuned a${kernelopts}b", &environment),
            "root=x ro  aroot=x rob"
        );
        assert_eq!(expand("a$", &environment), "a");
    }

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn patterns_match_as_in_a_shell() {
        assert!( matches("arch*",     "arch-6.1"));
        assert!( matches("*-6.?",     "arch-6.1"));
        assert!( matches("*",         ""));
        assert!(!matches("arch",      "arch-6.1"));
        assert!(!matches("*-6.1",     "arch-6.10"));
        assert!(!matches("",          "a"));
    }
}
