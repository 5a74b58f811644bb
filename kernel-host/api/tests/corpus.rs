//! Replays the fuzz corpus, and a few thousand seeded mutations of it.
#![allow(clippy::unwrap_used)]

use api::fuzz::fuzz_request;

#[test]
fn the_corpus_and_its_mutations_break_nothing() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/request");
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    let mut roll = move |below: usize| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        usize::try_from(dice % below as u64).unwrap()
    };
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 10, "the corpus is missing");
    for file in files {
        let data = std::fs::read(&file).unwrap();
        fuzz_request(&data);
        for _ in 0..500 {
            let mut mutated = data.clone();
            for _ in 0..=roll(3) {
                let at = roll(mutated.len() + 1);
                match roll(4) {
                    0 if at < mutated.len() => mutated[at] = u8::try_from(roll(256)).unwrap(),
                    1 if at < mutated.len() => drop(mutated.remove(at)),
                    2 => mutated.insert(at, b"\n%/?{&=["[roll(8)]),
                    _ => mutated.truncate(at),
                }
            }
            fuzz_request(&mutated);
        }
    }
}
