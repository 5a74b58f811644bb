//! Replays the fuzz corpora as plain tests.
//!
//! Does:      runs a fuzz entry over `corpus/<name>/` and over seeded mutations of each file.
//! Does not:  look for new inputs; the fuzzer does.
//! Bounds:    `MUTATIONS` per file.
//! Trusts:    the corpus in the repository.
//! Start at:  `replay`.

#![allow(clippy::unwrap_used)]

const MUTATIONS: usize = 2000;

pub(crate) fn replay(name: &str, target: fn(&[u8])) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let original = std::fs::read(entry.unwrap().path()).unwrap();
        target(&original);
        let mut dice = Dice(0x9E37_79B9_7F4A_7C15 ^ original.len() as u64);
        for _ in 0..MUTATIONS {
            let mut mutated = original.clone();
            for _ in 0..=dice.below(4) {
                mutate(&mut mutated, &mut dice);
            }
            target(&mutated);
        }
        seen += 1;
    }
    assert!(seen > 0, "the corpus {} is empty", folder.display());
}

/// A seeded source of numbers (xorshift): the same in every run.
pub(crate) struct Dice(pub u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.roll() % limit as u64).unwrap()
    }
}

fn mutate(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let at = dice.below(bytes.len() + 1);
    match dice.below(4) {
        0 if at < bytes.len() => bytes[at] = u8::try_from(dice.below(256)).unwrap(),
        1 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
        2 => bytes.truncate(at),
        _ => bytes.insert(at, b"= -.:\0\x7f\xff01aA"[dice.below(12)]),
    }
}
