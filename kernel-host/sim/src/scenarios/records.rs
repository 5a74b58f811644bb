//! Families about what nodes know: deletion, absence, disks, sizes, other versions.
//!
//! Start at:  `large_resync`.

use super::script::Script;
use crate::history::{Deed, History, Work};

/// chitchat 127, 110: a reset larger than a datagram revives deleted keys.
pub fn large_resync(seed: u64) -> History {
    let fill = Work::Fill {
        host: 0,
        first_vm: 0,
        count: 400,
    };
    let empty = Work::Empty {
        first_vm: 100,
        count: 200,
    };
    Script::new(seed, &[4, 3, 3])
        .loss(200_000)
        .work(20, fill)
        .crash(60, 1, 60)
        .crash_without_disk(60, 2, 60)
        .work(80, empty)
        .deed(
            100,
            Deed::Pause {
                host: 3,
                for_ms: 30_000,
            },
        )
        .done(150, 180)
}

/// scylla 3560, 23712, 14823, 4277: deleted data returns by hints, logs and long absence.
pub fn deleted_while_away(seed: u64) -> History {
    Script::new(seed, &[3, 3, 3, 3])
        .work(
            20,
            Work::Fill {
                host: 0,
                first_vm: 0,
                count: 10,
            },
        )
        .crash(60, 1, 200)
        .cut_sites(60, &[2, 3], &[0, 1], 120)
        .work(
            80,
            Work::Empty {
                first_vm: 0,
                count: 10,
            },
        )
        .crash(100, 0, 5)
        .crash(110, 2, 5)
        .done(280, 180)
}

/// etcd 13527 and others: a disk that stands still.
pub fn stalled_disk(seed: u64) -> History {
    let mut script = Script::new(seed, &[5, 5]);
    for (at_s, host) in [(40, 0), (110, 1), (180, 2)] {
        script = script.deed(
            at_s,
            Deed::Stall {
                host,
                for_ms: 60_000,
            },
        );
    }
    for at_s in (42..240).step_by(6) {
        let host = u32::try_from(at_s % 5).unwrap_or(0);
        script = script.work(at_s, Work::Swap { host, register: 0 });
    }
    // One loses what was not on its disk.
    script.crash(190, 2, 5).done(245, 120)
}

/// torus 230, etcd 10811, 15247: a lease is lost and its holder goes on writing.
pub fn paused_host(seed: u64) -> History {
    Script::new(seed, &[4, 3])
        .work(20, Work::Create { host: 1, vm: 1 })
        .deed(
            40,
            Deed::Pause {
                host: 1,
                for_ms: 90_000,
            },
        )
        .work(
            60,
            Work::Swap {
                host: 0,
                register: 0,
            },
        )
        .work(131, Work::Change { vm: 1 })
        .work(
            132,
            Work::Swap {
                host: 1,
                register: 0,
            },
        )
        .done(150, 120)
}

/// libnetwork 2247, alertmanager 1412: large values never spread.
pub fn large_record(seed: u64) -> History {
    let large = |host, bytes| Work::Large { host, bytes };
    Script::new(seed, &[3, 3, 3])
        .loss(20_000)
        .work(30, large(1, 60 << 10))
        .work(35, large(4, 1000))
        .work(35, large(5, 1100))
        .work(35, large(5, 1150))
        .work(36, large(5, 1200))
        .work(40, large(7, 0))
        .done(60, 120)
}

/// consul 3217, 1346: versions side by side.
pub fn unknown_kinds(seed: u64) -> History {
    Script::new(seed, &[3, 2, 2])
        .work(30, Work::Strange { host: 0 })
        .work(31, Work::Strange { host: 4 })
        .cut_sites(40, &[2], &[0, 1], 40)
        .work(50, Work::Strange { host: 6 })
        .work(51, Work::Strange { host: 1 })
        .crash(60, 3, 3)
        .done(90, 120)
}

/// Fly.io 2024-09 and 2024-12: one record stops every proxy.
pub fn poison(seed: u64) -> History {
    let mut script = Script::new(seed, &[3, 3, 2]);
    for (at_s, kind) in [(30, 1), (33, 2), (36, 3), (39, 32), (42, 34)] {
        script = script.work(at_s, Work::Poison { host: 4, kind });
    }
    script.done(60, 120)
}
