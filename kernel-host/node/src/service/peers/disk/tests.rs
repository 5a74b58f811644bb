//! Disks that are new, damaged, doubled, slow, full and broken.
#![allow(clippy::unwrap_used)]

use super::*;
use netio::executor::Executor;
use state::faulty::FaultyDisk;

const SIZE: usize = 8 << 20;

fn boot(disk: &FaultyDisk, fresh: u8) -> Result<Kept, String> {
    let store = Store::open(disk.clone()).unwrap();
    Kept::read("vda1", store, [fresh; 32])
}

fn entries(disk: &FaultyDisk) -> Vec<(String, Vec<u8>)> {
    Store::open(disk.clone()).unwrap().entries().unwrap()
}

fn line(key: &str, value: &[u8]) -> state::Change {
    (key.to_owned(), Some(value.to_vec()))
}

#[test]
fn the_key_stays_and_boots_are_counted() {
    let disk = FaultyDisk::new(SIZE);
    let mut first = boot(&disk, 1).unwrap();
    assert_eq!(
        (first.seed.reveal(), first.life),
        (&[1; 32], Life::new(1, 0))
    );
    first.store.save(&[line("contact/x", &[7])]).unwrap();
    drop(first);
    let second = boot(&disk, 2).unwrap();
    assert_eq!(
        (second.seed.reveal(), second.life),
        (&[1; 32], Life::new(2, 0))
    );
    assert_eq!(second.saved, [("contact/x".to_owned(), vec![7])]);
}

/// The power goes at any step of the first boot: the next one finds key and count, or neither.
#[test]
fn a_power_cut_leaves_no_key_without_a_count() {
    let mut begun_anew = 0;
    for writes in 0..40 {
        let disk = FaultyDisk::new(SIZE);
        let store = Store::open(disk.clone()).unwrap();
        disk.break_after(writes);
        let was_acknowledged = Kept::read("vda1", store, [1; 32]).is_ok();
        let mut dice = writes;
        disk.power_cut(|limit| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (dice >> 33) % limit
        });
        let again = boot(&disk, 2).unwrap();
        let is_first = again.life == Life::new(1, 0);
        assert_eq!(again.seed.reveal(), &[if is_first { 2 } else { 1 }; 32]);
        assert!(!(is_first && was_acknowledged), "after {writes} writes");
        begun_anew += u32::from(is_first);
    }
    assert!(begun_anew > 0, "the power never went in time");
}

#[test]
fn a_damaged_key_or_count_is_refused_and_left_alone() {
    let whole = [line(SEED_KEY, &[1; 32]), line(BOOTS_KEY, &[3, 0, 0, 0])];
    let other = line("register/epoch", &[9; 8]);
    for (lines, words) in [
        (
            vec![line(SEED_KEY, &[1; 31]), whole[1].clone()],
            "31 bytes instead of 32",
        ),
        (
            vec![whole[0].clone(), line(BOOTS_KEY, &[3])],
            "1 bytes instead of 4",
        ),
        (vec![whole[0].clone()], "node/boots is missing"),
        (vec![whole[1].clone()], "node/seed is missing"),
        (vec![other], "missing beside 1 other"),
    ] {
        let disk = FaultyDisk::new(SIZE);
        Store::open(disk.clone()).unwrap().save(&lines).unwrap();
        let before = entries(&disk);
        let refused = boot(&disk, 2).unwrap_err();
        assert!(refused.contains(words), "{refused}");
        assert!(
            refused.contains("write zeros to the partition"),
            "{refused}"
        );
        assert_eq!(entries(&disk), before);
    }
}

#[test]
fn a_disk_that_takes_no_count_is_refused() {
    let disk = FaultyDisk::new(SIZE);
    drop(boot(&disk, 1).unwrap());
    let store = Store::open(disk.clone()).unwrap();
    disk.protect(true);
    let refused = Kept::read("vda1", store, [2; 32]).unwrap_err();
    assert!(
        refused.contains("vda1") && refused.contains("Replace"),
        "{refused}"
    );
}

#[test]
fn of_two_partitions_none_is_taken_and_both_are_named() {
    let partition = |name: &str, read_only| Partition {
        name: name.to_owned(),
        bytes: 16 << 20,
        read_only,
    };
    let (one, two) = (partition("vda1", false), partition("vdb1", true));
    assert_eq!(choose(&[]), Ok(None));
    assert_eq!(choose(std::slice::from_ref(&one)), Ok(Some(&one)));
    let refused = choose(std::slice::from_ref(&two)).unwrap_err();
    assert!(refused.contains("vdb1 is write-protected"), "{refused}");
    let refused = choose(&[one, two]).unwrap_err();
    assert!(refused.contains("vda1, vdb1"), "{refused}");
}

/// Many values wait while the disk stalls; once it answers, one transaction keeps them all. The
/// loop is not held up: `put` returned each time.
#[test]
fn what_waits_for_a_stalled_disk_is_kept_at_once() {
    let disk = FaultyDisk::new(SIZE);
    let keeper = Keeper::start(Store::open(disk.clone()).unwrap()).unwrap();
    disk.stall(true);
    for number in 1..=1000_u64 {
        let key = format!("register/slot/{}", number % 100);
        keeper.put(number, key, Some(number.to_le_bytes().to_vec()));
    }
    disk.stall(false);
    Executor::new().unwrap().block_on(async {
        loop {
            let (kept, state) = keeper.news().await;
            assert_eq!(state, DiskState::Works);
            if kept == 1000 {
                break;
            }
        }
    });
    let (commits, waiting) = keeper.figures();
    assert!(commits <= 3, "{commits} transactions for 1000 values");
    assert_eq!(waiting, 0);
    drop(keeper);
}

/// A keeper says that its disk is full once, and keeps everything, in order, once there is room.
#[test]
fn a_full_disk_is_told_once_and_keeps_all_once_it_may() {
    let disk = FaultyDisk::new(1 << 20);
    let keeper = Keeper::start(Store::open(disk.clone()).unwrap()).unwrap();
    let executor = Executor::new().unwrap();
    let mut number = 0;
    executor.block_on(async {
        loop {
            number += 1;
            keeper.put(number, format!("record/{number}"), Some(vec![1; 60_000]));
            let (kept, state) = keeper.news().await;
            if state == DiskState::Full {
                assert_eq!(kept, number - 1);
                break;
            }
        }
        let last = number;
        for other in 1..=last {
            number += 1;
            keeper.put(number, format!("record/{other}"), None);
        }
        assert_eq!(keeper.news().await, (number, DiskState::Works));
    });
}

#[test]
fn a_broken_disk_is_told_and_not_written_to_again() {
    let disk = FaultyDisk::new(SIZE);
    let keeper = Keeper::start(Store::open(disk.clone()).unwrap()).unwrap();
    disk.break_down();
    keeper.put(1, "a".to_owned(), Some(vec![1]));
    let (kept, state) = Executor::new().unwrap().block_on(keeper.news());
    assert_eq!(kept, 0);
    assert!(matches!(state, DiskState::Failed(why) if why.contains("broken down")));
    disk.power_cut(|_| 0); // it would work again
    keeper.put(2, "a".to_owned(), Some(vec![2]));
    assert_eq!(keeper.figures(), (0, 0));
}

/// What waits for a disk that never answers does not grow for ever.
#[test]
fn a_disk_that_is_too_far_behind_has_failed() {
    let disk = FaultyDisk::new(SIZE);
    let keeper = Keeper::start(Store::open(disk.clone()).unwrap()).unwrap();
    disk.stall(true);
    for number in 1..=700 {
        keeper.put(number, format!("record/{number}"), Some(vec![1; 60_000]));
    }
    let (kept, state) = Executor::new().unwrap().block_on(keeper.news());
    assert!(matches!(state, DiskState::Failed(why) if why.contains("16 MiB")));
    assert_eq!((kept, keeper.figures().1), (0, 0));
    disk.stall(false);
}
