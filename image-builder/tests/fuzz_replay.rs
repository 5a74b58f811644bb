//! Replays each corpus, then thousands of seeded mutations of it, through its fuzz target.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use std::fs;
use std::path::Path;

use image_builder::fuzz;
use netcore::dice::Dice;

/// Mutations of each target in one run.
const MUTATIONS: u64 = 5_000;

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let entries = fs::read_dir(&folder).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn mutate(dice: &mut Dice, bytes: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=dice.below(6) {
        let at = dice.below(bytes.len() as u64 + 1) as usize;
        match dice.below(6) {
            0 if at < bytes.len() => bytes[at] = dice.next_u64() as u8,
            1 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            2 => bytes.insert(at, dice.next_u64() as u8),
            3 => bytes.truncate(at),
            4 => bytes
                .splice(at..at, other.iter().copied().take(40))
                .for_each(drop),
            _ if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][dice.below(5) as usize],
            _ => {}
        }
    }
}

fn replay(name: &str, target: fn(&[u8])) {
    let files = corpus(name);
    assert!(!files.is_empty(), "{name} has a corpus");
    files.iter().for_each(|file| target(file));
    let mut dice = Dice::new(1);
    for _ in 0..MUTATIONS {
        let mut bytes = files[dice.below(files.len() as u64) as usize].clone();
        let other = &files[dice.below(files.len() as u64) as usize];
        mutate(&mut dice, &mut bytes, other);
        target(&bytes);
    }
}

#[test]
fn lists_and_records() {
    replay("allow", fuzz::fuzz_allow);
    replay("lock", fuzz::fuzz_lock);
    replay("manifest", fuzz::fuzz_manifest);
}

#[test]
fn packages_and_modules() {
    replay("deb", fuzz::fuzz_deb);
    replay("modinfo", fuzz::fuzz_modinfo);
}

#[test]
fn programs_and_archives() {
    replay("uki", fuzz::fuzz_uki);
    replay("binary", fuzz::fuzz_binary);
    replay("initrd", fuzz::fuzz_initrd);
}

#[test]
fn requests() {
    replay("range", fuzz::fuzz_range);
    replay("path", fuzz::fuzz_path);
}
