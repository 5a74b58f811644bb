//! Families about who a node is: restarts, replacements, copies, clocks, first starts.
//!
//! Does:      writes histories; each names the reports that it stands for.
//! Does not:  judge them (`checks`).
//! Bounds:    seconds of a processor each.
//! Trusts:    nothing.
//! Start at:  `mass_restart`.

use super::script::Script;
use crate::history::{Deed, History, Work};

/// memberlist 311, 345: 4,500 nodes, mass restart, peers stuck dead.
pub fn mass_restart(seed: u64) -> History {
    let mut script = Script::new(seed, &[8, 8, 8, 8]).loss(10_000);
    for host in 0..script.hosts() {
        let at_ms = 60_000 + script.dice.below(60_000);
        let deed = Deed::Crash {
            host,
            down_ms: 5000 + script.dice.below(10_000),
            keeps_disk: host % 2 == 0,
        };
        script.deed_ms(at_ms, deed);
    }
    script.done(130, 120)
}

/// consul 4879, 6897, 7396: a replaced node is refused.
pub fn replaced_node(seed: u64) -> History {
    let hosts = 9;
    Script::new(seed, &[3, 3, 3])
        .crash_without_disk(30, 1, 4)
        .deed(
            45,
            Deed::Move {
                host: 4,
                address: hosts + 1,
            },
        )
        .crash_without_disk(60, 7, 1)
        .deed(
            75,
            Deed::Move {
                host: 4,
                address: 4,
            },
        )
        .done(90, 120)
}

/// consul 13037, 2430: a copied id makes healthy nodes flap.
pub fn cloned_disk(seed: u64) -> History {
    let clone = Deed::Clone {
        of: 1,
        onto: 2,
        for_ms: 60_000,
    };
    let far = Deed::Clone {
        of: 5,
        onto: 9,
        for_ms: 40_000,
    };
    Script::new(seed, &[4, 4, 4])
        .deed(30, clone)
        .deed(60, far)
        .done(130, 120)
}

/// foca 31, 25, 15: 400 nodes show as 6,000 and more; one loses all peers for good.
pub fn thousand_restarts(seed: u64) -> History {
    restarts_of(seed, &[17, 17, 16], 1000, 600)
}

/// The same, for every day.
pub fn restarts(seed: u64) -> History {
    restarts_of(seed, &[7, 7, 6], 120, 180)
}

fn restarts_of(seed: u64, sites: &[u16], count: u32, within_s: u64) -> History {
    let mut script = Script::new(seed, sites);
    let hosts = u64::from(script.hosts());
    for _ in 0..count {
        let at_ms = 30_000 + script.dice.below(within_s * 1000);
        let deed = Deed::Crash {
            host: u32::try_from(script.dice.below(hosts)).unwrap_or(0),
            down_ms: 500 + script.dice.below(5000),
            keeps_disk: script.dice.below(2) == 0,
        };
        script.deed_ms(at_ms, deed);
    }
    script.done(40 + within_s, 120)
}

/// chitchat 161, 155, piko 314: dead nodes are learned again from others for ever.
pub fn dead_stay_dead(seed: u64) -> History {
    let mut script = Script::new(seed, &[6, 6, 6]);
    for host in [1, 4, 7, 8, 13, 16, 17] {
        let at_ms = 30_000 + script.dice.below(120_000);
        let deed = Deed::Crash {
            host,
            down_ms: 1000,
            keeps_disk: false,
        };
        script.deed_ms(at_ms, deed);
    }
    // Some hear of the deaths late.
    script
        .deed(
            60,
            Deed::Pause {
                host: 2,
                for_ms: 45_000,
            },
        )
        .cut_sites(80, &[2], &[0, 1], 60)
        .done(170, 180)
}

/// scylla 5164: a reboot after more than a year is refused.
pub fn old_machine(seed: u64) -> History {
    let mut script = Script::new(seed, &[3, 2]);
    script.history.shape.uptime_ms = 400 * 86_400_000;
    script.crash(30, 1, 3).crash(60, 4, 3).done(90, 120)
}

/// cockroach 30031, solana 29198, hubble 2119: clocks back, drifted, far ahead.
pub fn wrong_clocks(seed: u64) -> History {
    let clock = |host, jump_ms, drift_ppm| Deed::Clock {
        host,
        jump_ms,
        drift_ppm,
    };
    Script::new(seed, &[3, 3, 3])
        .loss(5000)
        .deed(20, clock(0, -1_795_564_800_000, 0))
        .deed(25, clock(4, 315_360_000_000, 0))
        .deed(40, clock(5, -3_600_000, 0))
        .deed(45, clock(7, 0, 10_000))
        .deed(45, clock(8, 0, -10_000))
        .crash(60, 0, 2)
        .crash(65, 4, 2)
        .done(120, 120)
}

/// scylla 14945, quickwit 4688: a dead seed keeps a member from starting.
pub fn no_seeds(seed: u64) -> History {
    let mut script = Script::new(seed, &[4, 3]).without_discovery();
    script.history.shape.seeds = 1;
    // Site 0 has the only seed and is away; all of site 1 restarts and has only its disks.
    let script = script.cut_sites(40, &[0], &[1], 80);
    let script = script.crash(60, 4, 5).crash(60, 5, 6).crash(60, 6, 7);
    script.done(125, 120)
}

/// memberlist 158, 159: a storm of joins.
pub fn join_storm(seed: u64) -> History {
    let mut script = Script::new(seed, &[25, 25, 25, 25]).loss(10_000);
    script.history.shape.start_ms = 1000;
    script.done(20, 100)
}

/// serf 579, consul 719, pragmatica 1200: keys that change while somebody is away.
pub fn revoked_while_cut(seed: u64) -> History {
    let others: Vec<u32> = (0..9).filter(|host| *host != 7).collect();
    Script::new(seed, &[3, 3, 3])
        .work(20, Work::Create { host: 7, vm: 1 })
        .cut_sites(30, &[2], &[0, 1], 60)
        .crash(35, 4, 70)
        .work(40, Work::Revoke { host: 0, whom: 7 })
        .work(50, Work::Strange { host: 1 })
        // The revoked node goes on writing when all can hear it again.
        .work(120, Work::Change { vm: 1 })
        .cut_hosts(150, &[7], &others, 10)
        .done(155, 120)
}

/// A node that lies about others.
pub fn lying_node(seed: u64) -> History {
    let forge = |of, vm| Work::Forge { host: 4, of, vm };
    Script::new(seed, &[3, 3, 3])
        .work(20, Work::Create { host: 1, vm: 1 })
        .work(30, forge(1, 1))
        .work(40, forge(0, 9))
        .work(45, forge(7, 9))
        .work(50, Work::Change { vm: 1 })
        .done(60, 120)
}
