//! What the store promises when disks fail.
#![allow(clippy::unwrap_used)]

use state::faulty::FaultyDisk;
use state::{BadVolume, Disk, OpenError, SaveError, Store, VALUE_BYTES_MAX};
use std::collections::BTreeMap;

const SIZE: usize = 8 << 20;

/// A small generator: the tests' dice.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn entries(store: &Store) -> BTreeMap<String, Vec<u8>> {
    store.entries().unwrap().into_iter().collect()
}

/// Goal: after any power cut the state is that of the last acknowledged batch, or of the batch
/// that was under way; never a mixture.
/// How: random batches; the power goes while one is half done, because the disk fails there.
#[test]
fn a_power_cut_loses_no_acknowledged_batch_and_tears_none() {
    for seed in 1..=40 {
        let mut dice = Dice(seed);
        let disk = FaultyDisk::new(SIZE);
        let mut known = BTreeMap::new();
        for round in 0..6 {
            let mut store = Store::open(disk.clone()).unwrap();
            assert_eq!(entries(&store), known, "seed {seed}, round {round}");
            for _ in 0..dice.below(6) {
                let changes = batch(&mut dice);
                store.save(&changes).unwrap();
                apply(&mut known, &changes);
            }
            let last = batch(&mut dice);
            disk.break_down();
            assert!(store.save(&last).is_err());
            drop(store);
            disk.power_cut(|limit| dice.below(limit));
        }
    }
}

fn batch(dice: &mut Dice) -> Vec<(String, Option<Vec<u8>>)> {
    (0..1 + dice.below(8))
        .map(|_| {
            let key = format!("key/{}", dice.below(20));
            let fill = u8::try_from(dice.below(256)).unwrap();
            let length = usize::try_from(dice.below(3000)).unwrap();
            let value = (dice.below(4) > 0).then(|| vec![fill; length]);
            (key, value)
        })
        .collect()
}

fn apply(known: &mut BTreeMap<String, Vec<u8>>, changes: &[(String, Option<Vec<u8>>)]) {
    for (key, value) in changes {
        match value {
            Some(value) => known.insert(key.clone(), value.clone()),
            None => known.remove(key),
        };
    }
}

/// Unsynced writes that are lost or torn in the middle of a commit leave the state before or
/// after it.
#[test]
fn a_commit_that_was_cut_in_the_middle_is_there_whole_or_not_at_all() {
    for seed in 1..=60 {
        let mut dice = Dice(seed);
        let disk = FaultyDisk::new(SIZE);
        let mut store = Store::open(disk.clone()).unwrap();
        store
            .save(&[
                ("a".to_owned(), Some(vec![1; 2000])),
                ("b".to_owned(), Some(vec![1])),
            ])
            .unwrap();
        drop(store);
        let mut store = Store::open(disk.clone()).unwrap();
        disk.break_after(dice.below(12));
        let result = store.save(&[
            ("a".to_owned(), Some(vec![2; 3000])),
            ("b".to_owned(), Some(vec![2])),
        ]);
        drop(store);
        disk.power_cut(|limit| dice.below(limit));
        let found = entries(&Store::open(disk.clone()).unwrap());
        let (old, new) = (found["a"] == [1; 2000], found["a"] == [2; 3000]);
        assert!(
            old && found["b"] == [1] || new && found["b"] == [2],
            "seed {seed}"
        );
        assert!(
            new || result.is_err(),
            "seed {seed}: an acknowledged batch is gone"
        );
    }
}

#[test]
fn foreign_and_damaged_disks_are_refused_and_left_alone() {
    let foreign = FaultyDisk::new(SIZE);
    foreign.write(1000, b"family photos").unwrap();
    foreign.sync().unwrap();
    let refused = Store::open(foreign.clone()).unwrap_err();
    assert!(
        matches!(refused, OpenError::Volume(BadVolume::Foreign)),
        "{refused}"
    );
    let mut photos = [0; 13];
    foreign.read(1000, &mut photos).unwrap();
    assert_eq!(&photos, b"family photos");
    let small = Store::open(FaultyDisk::new(1000)).unwrap_err();
    assert!(
        matches!(small, OpenError::Volume(BadVolume::Small { .. })),
        "{small}"
    );
}

/// One flipped bit is noticed, harmless, or makes the store refuse; it never panics.
#[test]
fn a_flipped_bit_never_becomes_a_panic() {
    let mut dice = Dice(7);
    for _ in 0..60 {
        let disk = FaultyDisk::new(1 << 20);
        let mut store = Store::open(disk.clone()).unwrap();
        store
            .save(&[("a".to_owned(), Some(vec![1; 2000]))])
            .unwrap();
        drop(store);
        disk.flip_bit(dice.below((1 << 20) * 8));
        if let Ok(store) = Store::open(disk) {
            let _ = store.entries();
        }
    }
}

#[test]
fn a_full_partition_refuses_a_batch_and_keeps_the_rest() {
    let disk = FaultyDisk::new(1 << 20);
    let mut store = Store::open(disk.clone()).unwrap();
    store
        .save(&[("first".to_owned(), Some(vec![1; 100]))])
        .unwrap();
    let mut refused = None;
    for number in 0..64 {
        if let Err(error) = store.save(&[(format!("more/{number}"), Some(vec![2; 60_000]))]) {
            refused = Some((number, error));
            break;
        }
    }
    let (number, error) = refused.expect("one mebibyte is full at some time");
    assert!(matches!(error, SaveError::Full), "{error}");
    let last = format!("more/{}", number - 1);
    store.save(&[(last, None)]).unwrap();
    store.save(&[("small".to_owned(), Some(vec![3]))]).unwrap();
    drop(store);
    let found = entries(&Store::open(disk).unwrap());
    assert_eq!(found.len(), 1 + number);
    assert_eq!(
        (&found["first"], &found["small"]),
        (&vec![1; 100], &vec![3])
    );
}

/// After a failed sync the kernel may show what the disk never got: nothing is built on it.
#[test]
fn a_disk_that_failed_once_is_not_written_to_again() {
    let disk = FaultyDisk::new(SIZE);
    let mut store = Store::open(disk.clone()).unwrap();
    store.save(&[("a".to_owned(), Some(vec![1]))]).unwrap();
    disk.protect(true);
    let refused = store.save(&[("a".to_owned(), Some(vec![2]))]).unwrap_err();
    assert!(matches!(refused, SaveError::Disk(_)), "{refused}");
    disk.protect(false);
    let syncs = disk.syncs();
    let refused = store.save(&[("a".to_owned(), Some(vec![3]))]).unwrap_err();
    assert!(matches!(refused, SaveError::Disk(_)), "{refused}");
    assert_eq!(disk.syncs(), syncs);
    drop(store);
    assert_eq!(entries(&Store::open(disk).unwrap())["a"], [1]);
}

#[test]
fn a_write_protected_disk_is_refused_with_words_for_it() {
    let disk = FaultyDisk::new(SIZE);
    disk.protect(true);
    let refused = Store::open(disk).unwrap_err();
    assert!(refused.advice().contains("write-protected"), "{refused}");
}

#[test]
fn what_is_too_long_is_refused_before_anything_is_written() {
    let mut store = Store::open(FaultyDisk::new(SIZE)).unwrap();
    let long = vec![0; VALUE_BYTES_MAX + 1];
    let changes = [
        ("a".to_owned(), Some(vec![1])),
        ("b".to_owned(), Some(long)),
    ];
    assert!(matches!(
        store.save(&changes),
        Err(SaveError::TooLong { .. })
    ));
    assert_eq!(entries(&store), BTreeMap::new());
}
