//! The style of the whole source tree, as a test.
//!
//! Does:      reads every file and reports each breach of a rule with its place.
//! Does not:  judge taste: only what can be counted.
//! Bounds:    files of our own rooms; `target` and dot folders are not ours.
//! Trusts:    rustfmt, which runs before: a function ends where its indentation says.
//! Start at:  `RULES`.

#![allow(clippy::unwrap_used)]
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a function, braces included.
const FUNCTION_LINES_MAX: usize = 70;
/// Lines of a file before its tests.
const FILE_LINES_MAX: usize = 600;
/// Columns of a line.
const COLUMNS_MAX: usize = 100;
/// Rooms whose crates may hold unsafe code.
const UNSAFE_ROOMS: [&str; 3] = ["kernel-host/sys", "vmm/machine", "netstack/netio"];
/// Rooms that do no I/O, held to it by a `clippy.toml`.
const CORES: &[&str] = &[
    "vmm/virtio",
    "vmm/peek",
    "netstack/netcore",
    "kernel-host/protocol",
    "kernel-host/overlay",
    "kernel-host/identity",
    "kernel-host/session",
    "kernel-host/cloud",
    "kernel-host/energy",
    "kernel-host/placement",
    "kernel-host/api",
    "kernel-host/sim",
];
/// A module with fewer lines may say in one sentence what it is.
const FULL_HEADER_FROM: usize = 150;
/// Parts of a full header.
const HEADER: [&str; 5] = ["Does:", "Does not:", "Bounds:", "Trusts:", "Start at:"];
/// What may stand at the top of the tree, besides dot files.
const TOP: [&str; 10] = [
    "Cargo.toml",
    "Cargo.lock",
    "LICENSE",
    "README.md",
    "kernel-host",
    "vmm",
    "netstack",
    "image-builder",
    "qemu-tests",
    "target",
];

type Rule = fn(&Source) -> Vec<String>;
const RULES: [(&str, Rule); 6] = [
    ("a module opens with a header", header),
    ("a function fits on a screen", function_lengths),
    ("a file stays small", file_length),
    ("a line has at most 100 columns", columns),
    ("names say what they mean", banned_names),
    (
        "work that is not done is not written down as done",
        unfinished,
    ),
];

/// A Rust file of ours.
struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    fn at(&self, line: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path.display(), line + 1)
    }

    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate()
    }

    /// Where the tests begin, which come last in a file.
    fn code_lines(&self) -> usize {
        let tests = self.text.lines().position(|line| line == "#[cfg(test)]");
        tests.unwrap_or_else(|| self.text.lines().count())
    }

    /// Whether a crate starts here.
    fn is_crate_root(&self) -> bool {
        let path = self.path.to_string_lossy();
        let in_bin = path.split_once("/src/bin/").map(|(_, rest)| rest);
        path.ends_with("/src/lib.rs")
            || path.ends_with("/src/main.rs")
            || in_bin.is_some_and(|rest| !rest.contains('/') || rest.ends_with("/main.rs"))
    }

    /// Which lines keep a layout of their own, by `#[rustfmt::skip]`.
    fn is_table(&self) -> Vec<bool> {
        let mut ends_at: Option<String> = None;
        let mut marks = Vec::new();
        for line in self.text.lines() {
            let indent = line.len() - line.trim_start().len();
            if ends_at.is_none() && line.trim_start().starts_with("#[rustfmt::skip]") {
                ends_at = Some(" ".repeat(indent));
            }
            marks.push(ends_at.is_some());
            let closes = ["}", "];", "]", ");", "};"];
            if ends_at
                .as_ref()
                .is_some_and(|at| closes.iter().any(|c| line == format!("{at}{c}")))
            {
                ends_at = None;
            }
        }
        marks
    }

    /// Whether the whole file is a test.
    fn is_test(&self) -> bool {
        let parts: Vec<_> = self
            .path
            .components()
            .map(|part| part.as_os_str())
            .collect();
        parts
            .iter()
            .any(|part| *part == "tests" || *part == "tests.rs" || *part == "fuzz_targets")
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    collect(&workspace(), &mut found);
    assert!(
        found.len() > 20,
        "only {} files found: is this the source tree?",
        found.len()
    );
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            collect(&path, found);
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push(Source {
                path: path.strip_prefix(workspace()).unwrap().into(),
                text,
            });
        }
    }
}

#[test]
fn every_source_file_keeps_the_rules() {
    let mut breaches = Vec::new();
    for source in sources() {
        for (rule, check) in RULES {
            breaches.extend(
                check(&source)
                    .into_iter()
                    .map(|at| format!("{at}  ({rule})")),
            );
        }
    }
    assert!(
        breaches.is_empty(),
        "{} breaches:\n{}",
        breaches.len(),
        breaches.join("\n")
    );
}

fn header(source: &Source) -> Vec<String> {
    let first = source.lines().next().map_or("", |(_, line)| line);
    if !first.starts_with("//! ") && !first.starts_with("#!") {
        return vec![source.at(0, "the first line says what the module is")];
    }
    if source.is_test()
        && source
            .path
            .file_name()
            .is_some_and(|name| name != "tidy.rs")
    {
        return Vec::new(); // a test's sentence is enough
    }
    if source.code_lines() < FULL_HEADER_FROM && !source.is_crate_root() {
        return Vec::new();
    }
    let head: String = source
        .text
        .lines()
        .take_while(|line| line.starts_with("//!"))
        .collect();
    HEADER
        .iter()
        .filter(|part| !head.contains(**part))
        .map(|part| source.at(0, &format!("the header lacks {part:?}")))
        .collect()
}

fn function_lengths(source: &Source) -> Vec<String> {
    if source.is_test() {
        return Vec::new(); // a story may be long
    }
    let lines: Vec<&str> = source.text.lines().collect();
    let mut breaches = Vec::new();
    for (start, line) in source.lines().filter(|(_, line)| is_function(line)) {
        let indent = line.len() - line.trim_start().len();
        let end_line = format!("{}}}", " ".repeat(indent));
        let end = lines[start..]
            .iter()
            .position(|line| *line == end_line)
            .unwrap_or(0);
        if end + 1 > FUNCTION_LINES_MAX {
            breaches.push(source.at(start, &format!("a function of {} lines", end + 1)));
        }
    }
    breaches
}

fn is_function(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    let before = |word: &&str| {
        ["pub", "const", "async", "unsafe", "extern", "\"C\""].contains(word)
            || word.starts_with("pub(")
    };
    words.find(|word| !before(word)) == Some("fn") && !line.ends_with([';', '}'])
}

fn file_length(source: &Source) -> Vec<String> {
    let lines = source.code_lines();
    if lines > FILE_LINES_MAX && !source.is_test() {
        return vec![source.at(lines, &format!("{lines} lines before the tests"))];
    }
    Vec::new()
}

fn columns(source: &Source) -> Vec<String> {
    if source.is_test() {
        return Vec::new();
    }
    let table = source.is_table();
    let long = source
        .lines()
        .filter(|(_, line)| line.chars().count() > COLUMNS_MAX);
    // A table keeps its columns, and an address can't be broken.
    let long = long.filter(|(at, line)| !line.contains("://") && *at < source.code_lines());
    let long = long.filter(|(at, _)| !table[*at]);
    long.map(|(at, _)| source.at(at, "too long")).collect()
}

fn banned_names(source: &Source) -> Vec<String> {
    // Written in parts, so that this file does not breach its own rule.
    let banned = [
        (
            concat!("fn ", "get_"),
            "the noun alone, or what it really does",
        ),
        (concat!("Mana", "ger"), "what it does to what"),
        (concat!("Hel", "per"), "what it is"),
        (concat!("mod ", "util"), "the domain's noun"),
        (concat!("mod ", "common"), "the domain's noun"),
        (concat!("mod ", "misc"), "the domain's noun"),
    ];
    let mut breaches = Vec::new();
    for (at, line) in source.lines() {
        let code = line.split("//").next().unwrap_or("");
        for (name, instead) in banned {
            if code.contains(name) {
                breaches.push(source.at(at, &format!("{name:?}: write {instead}")));
            }
        }
    }
    breaches
}

fn unfinished(source: &Source) -> Vec<String> {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
    ];
    let found = source
        .lines()
        .filter(|(_, line)| marks.iter().any(|mark| line.contains(mark)));
    found.map(|(at, line)| source.at(at, line.trim())).collect()
}

#[test]
fn unsafe_code_is_forbidden_outside_three_rooms() {
    let mut breaches = Vec::new();
    for source in sources() {
        let path = source.path.to_string_lossy().into_owned();
        if UNSAFE_ROOMS.iter().any(|room| path.starts_with(room)) {
            continue;
        }
        if source.is_crate_root() && !source.text.contains("#![forbid(unsafe_code)]") {
            breaches.push(path);
        }
    }
    assert!(
        breaches.is_empty(),
        "crate roots without `#![forbid(unsafe_code)]`: {breaches:?}"
    );
}

#[test]
fn every_dependency_stands_in_the_root_manifest_with_its_reason() {
    let root = fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    let (_, table) = root.split_once("[workspace.dependencies]").unwrap();
    let table = table.split("\n[").next().unwrap();
    for line in table
        .lines()
        .filter(|line| line.contains('=') && !line.starts_with('#'))
    {
        let is_ours = line.contains("path = ");
        let reason = line.rsplit_once(" # ").map_or("", |(_, reason)| reason);
        assert!(is_ours || reason.len() > 5, "no reason: {line}");
    }
    for member in members(&root) {
        let manifest = fs::read_to_string(workspace().join(&member).join("Cargo.toml")).unwrap();
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{member}: no workspace lints"
        );
        let versions = manifest.lines().filter(|line| {
            line.contains("= \"") && line.contains(char::is_numeric) && !line.contains("path")
        });
        let versions: Vec<_> = versions
            .filter(|line| !line.starts_with("description"))
            .collect();
        assert!(
            versions.is_empty(),
            "{member}: versions belong into the root: {versions:?}"
        );
    }
}

fn members(root: &str) -> Vec<String> {
    let (_, list) = root.split_once("members = [").unwrap();
    let list = list.split(']').next().unwrap();
    list.split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn cores_are_kept_from_clocks_threads_and_chance() {
    for room in CORES {
        let path = workspace().join(room).join("clippy.toml");
        let text = fs::read_to_string(&path).unwrap_or_default();
        for ban in ["std::time::Instant::now", "std::thread::spawn"] {
            assert!(text.contains(ban), "{} does not ban {ban}", path.display());
        }
    }
}

#[test]
fn every_fuzz_target_is_run_by_the_fuzzer_and_has_a_corpus() {
    let root = fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    let rooms = members(&root);
    let table = workspace().join("qemu-tests/fuzz/src/targets.rs");
    let table = fs::read_to_string(table).unwrap();
    let entries = table
        .lines()
        .filter_map(|line| line.trim().strip_prefix("(\"")?.strip_suffix("),"));
    let entries: Vec<(&str, &str)> = entries
        .map(|entry| {
            let (name, target) = entry.split_once("\",").unwrap();
            (name, target.trim())
        })
        .collect();
    let mut breaches = Vec::new();
    for source in sources() {
        let path = source.path.to_string_lossy();
        let Some(room) = rooms
            .iter()
            .find(|room| path.starts_with(&format!("{room}/")))
        else {
            continue;
        };
        let room = room.rsplit('/').next().unwrap().replace('-', "_");
        for (at, line) in source.lines() {
            let Some(rest) = line.trim().strip_prefix(concat!("pub fn ", "fuzz_")) else {
                continue;
            };
            let function = format!("::fuzz_{}", rest.split('(').next().unwrap());
            let is_run = |(_, target): &(&str, &str)| {
                target.starts_with(&format!("{room}::")) && target.ends_with(&function)
            };
            if !entries.iter().any(is_run) {
                breaches.push(source.at(at, "not in qemu-tests/fuzz/src/targets.rs"));
            }
        }
    }
    for (name, _) in &entries {
        let (room, corpus) = name.split_once('/').unwrap();
        let folder = rooms
            .iter()
            .find(|path| path.rsplit('/').next() == Some(room));
        let folder = folder.map(|path| workspace().join(path).join("corpus").join(corpus));
        let seeds = folder.and_then(|folder| fs::read_dir(folder).ok());
        if seeds.is_none_or(|mut seeds| seeds.next().is_none()) {
            breaches.push(format!("{name}: no corpus"));
        }
    }
    assert!(!entries.is_empty(), "the table has another form");
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn the_top_of_the_tree_keeps_to_its_names() {
    for entry in fs::read_dir(workspace()).unwrap().map(Result::unwrap) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_tool = name.starts_with('.') || name == "rust-toolchain.toml";
        assert!(
            is_tool || TOP.contains(&name.as_str()),
            "{name} does not belong here"
        );
    }
}
