//! Replays fuzz corpora as plain tests: every file, then seeded mutations of them.
//!
//! Does:      runs a fuzz target over `corpus/<name>/` of a crate; same seed, same inputs.
//! Does not:  look for new inputs; the libFuzzer targets in `qemu-tests/fuzz` do.
//! Bounds:    `MUTATIONS` a target, or as many as `LUC_MUTATIONS` says.
//! Trusts:    the corpus in the repository.
//! Start at:  `replay`.
//!
//! A leaf that depends on nothing: every room has it as a development dependency, so that none
//! writes its own.

#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

/// Mutations of a corpus in one run: a second or two in an unoptimised build.
const MUTATIONS: u64 = 20_000;

/// Bytes that parsers tend to give a meaning to: ends of ranges, and what separates words.
const TELLING: &[u8] = b"\0\x01\x7f\x80\xff=*?[]{}\"\\:,-. /\n09aA";

/// Runs `target` over each file of `<crate_folder>/corpus/<name>/` and over mutations of them.
/// A crate passes its `env!("CARGO_MANIFEST_DIR")`.
///
/// # Panics
/// When the target does, and when the corpus is missing: a fuzz target without one is not tested.
pub fn replay(crate_folder: &str, name: &str, target: fn(&[u8])) {
    let files = read(&Path::new(crate_folder).join("corpus").join(name));
    for file in &files {
        target(file);
    }
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    for _ in 0..mutations() {
        let mut bytes = files[dice.below(files.len())].clone();
        let other = &files[dice.below(files.len())];
        for _ in 0..=dice.below(6) {
            mutate(&mut dice, &mut bytes, other);
        }
        target(&bytes);
    }
}

/// The files of one corpus, in the order of their names.
fn read(folder: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("the corpus {}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    assert!(
        !paths.is_empty(),
        "the corpus {} is empty",
        folder.display()
    );
    let read = |path: &PathBuf| {
        fs::read(path).unwrap_or_else(|error| panic!("the input {}: {error}", path.display()))
    };
    paths.iter().map(read).collect()
}

fn mutations() -> u64 {
    std::env::var("LUC_MUTATIONS").map_or(MUTATIONS, |wish| {
        wish.parse().expect("LUC_MUTATIONS is a number")
    })
}

fn mutate(dice: &mut Dice, bytes: &mut Vec<u8>, other: &[u8]) {
    let at = dice.below(bytes.len() + 1);
    let telling = TELLING[dice.below(TELLING.len())];
    match dice.below(7) {
        0 if at < bytes.len() => bytes[at] = dice.byte(),
        1 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
        2 if at < bytes.len() => bytes[at] = telling,
        3 => bytes.insert(at, dice.byte()),
        4 => bytes.insert(at, telling),
        5 => bytes.truncate(at),
        _ => drop(bytes.splice(at..at, other.iter().copied().take(40))),
    }
}

/// A seeded source of numbers (Marsaglia's xorshift): the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.roll() % limit as u64).expect("less than a usize")
    }

    fn byte(&mut self) -> u8 {
        self.roll().to_le_bytes()[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_mutations() {
        let run = || {
            let mut dice = Dice(7);
            let mut bytes = b"luc.name=one".to_vec();
            for _ in 0..100 {
                mutate(&mut dice, &mut bytes, b"other");
            }
            bytes
        };
        assert_eq!(run(), run());
    }

    #[test]
    #[should_panic(expected = "the corpus")]
    fn a_missing_corpus_is_a_failure() {
        replay(env!("CARGO_MANIFEST_DIR"), "no-such-corpus", |_| {});
    }
}
