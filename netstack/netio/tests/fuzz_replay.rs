//! Replays each corpus, then thousands of seeded mutations of it, through its fuzz target.
//! More of them: `LUC_MUTATIONS=1000000 cargo test --test fuzz_replay`.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use std::fs;
use std::path::Path;

use netcore::dice::Dice;
use netio::fuzz;

/// Mutations of each target in one run; `LUC_MUTATIONS` asks for another number.
const MUTATIONS: u64 = 3_000;

fn mutations() -> u64 {
    let wished = std::env::var("LUC_MUTATIONS").ok();
    wished.map_or(MUTATIONS, |text| {
        text.parse().expect("LUC_MUTATIONS is a number")
    })
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
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
    for file in &files {
        target(file);
    }
    let mut dice = Dice::new(1);
    for _ in 0..mutations() {
        let mut bytes = files[dice.below(files.len() as u64) as usize].clone();
        let other = &files[dice.below(files.len() as u64) as usize];
        mutate(&mut dice, &mut bytes, other);
        target(&bytes);
    }
}

#[test]
fn wires() {
    replay("wire", fuzz::fuzz_wire);
}

#[test]
fn offloads() {
    replay("offload", fuzz::fuzz_offload);
}

#[test]
fn neighbours() {
    replay("arp", fuzz::fuzz_arp);
}
