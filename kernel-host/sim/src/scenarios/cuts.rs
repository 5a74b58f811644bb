//! Families about the network: splits, partial graphs, one direction, one channel, sizes.
//!
//! Does:      writes histories; each names the reports that it stands for.
//! Does not:  judge them (`checks`).
//! Bounds:    seconds of a processor each, but for the week.
//! Trusts:    nothing.
//! Start at:  `minute_halves`.

use super::script::Script;
use crate::history::{History, Work};
use crate::world::network::{Effect, Group};

const HOUR_S: u64 = 3600;

fn halves(seed: u64, for_s: u64) -> History {
    Script::new(seed, &[4, 4, 4, 4])
        .without_discovery()
        .loss(5000)
        .work(30, Work::Create { host: 1, vm: 1 })
        .cut_sites(60, &[0, 1], &[2, 3], for_s + 10)
        .work(90, Work::Create { host: 2, vm: 2 })
        .work(90, Work::Create { host: 9, vm: 3 })
        .work(95, Work::Delete { vm: 1 })
        .done(60 + for_s, 120)
}

fn one_against_all(seed: u64, for_s: u64) -> History {
    let mut sites = vec![9; 11];
    sites.push(1);
    let others: Vec<u16> = (0..11).collect();
    Script::new(seed, &sites)
        .without_discovery()
        .loss(5000)
        .cut_sites(60, &[11], &others, for_s + 10)
        .work(70, Work::Create { host: 99, vm: 1 })
        .work(70, Work::Create { host: 5, vm: 2 })
        .done(60 + for_s, 120)
}

/// iroh-gossip 152, p2panda 906, moby 53715, actor-ts 1176: split overlays never merge again.
pub fn minute_halves(seed: u64) -> History {
    halves(seed, 60)
}

pub fn minute_one(seed: u64) -> History {
    one_against_all(seed, 60)
}

pub fn hour_halves(seed: u64) -> History {
    halves(seed, HOUR_S)
}

pub fn hour_one(seed: u64) -> History {
    one_against_all(seed, HOUR_S)
}

pub fn week_halves(seed: u64) -> History {
    halves(seed, 7 * 24 * HOUR_S)
}

/// Two halves that never met: each has its own seed, and they learn of each other at the heal.
pub fn born_apart(seed: u64) -> History {
    let script = Script::new(seed, &[3, 3, 3, 3]);
    script.cut_sites(0, &[0, 1], &[2, 3], 100).done(90, 120)
}

/// openraft 2080, etcd 13527: a partial graph blocks a majority that is connected.
pub fn bridge(seed: u64) -> History {
    let mut script = Script::new(seed, &[9, 2]).cut_hosts(40, &[0, 1, 2, 3], &[5, 6, 7, 8], 100);
    for at_s in (50..130).step_by(5) {
        let host = u32::try_from(at_s % 9).unwrap_or(0);
        script = script.work(at_s, Work::Swap { host, register: 0 });
    }
    script.done(130, 120)
}

pub fn chain(seed: u64) -> History {
    let mut script = Script::new(seed, &[6]);
    for host in 0..4_u32 {
        let beyond: Vec<u32> = (host + 2..6).collect();
        script = script.cut_hosts(40, &[host], &beyond, 60);
    }
    for at_s in (45..95).step_by(5) {
        let host = u32::try_from(at_s % 6).unwrap_or(0);
        script = script.work(at_s, Work::Swap { host, register: 1 });
    }
    script.done(100, 120)
}

/// go-libp2p-kad-dht 283, stacks 164: a mass disconnect empties the routing for good.
pub fn all_links(seed: u64) -> History {
    let mut script = Script::new(seed, &[3, 3, 3]).without_discovery();
    for key in 0..4 {
        let host = key * 2;
        script = script.work(40, Work::Put { host, key });
    }
    let all = Group::All;
    let script = script.disturb(60, all.clone(), all, false, Effect::Block, HOUR_S + 10);
    script.done(60 + HOUR_S, 120)
}

/// consul 3023, serf 488: mad distances poison the coordinates.
pub fn mad_distances(seed: u64) -> History {
    let one = |host| Group::Hosts(vec![host]);
    Script::new(seed, &[3, 3, 3])
        .disturb(
            30,
            one(0),
            Group::All,
            false,
            Effect::DelayUs(2_900_000),
            20,
        )
        .disturb(50, one(4), Group::All, true, Effect::DelayUs(700_000), 20)
        .disturb(
            60,
            Group::All,
            one(8),
            false,
            Effect::DelayUs(1_300_000),
            15,
        )
        .done(90, 120)
}

/// serf 216, ringpop 59: UDP is blocked while TCP is open, and the other way round.
pub fn datagrams_blocked(seed: u64) -> History {
    let one = |host| Group::Hosts(vec![host]);
    Script::new(seed, &[4, 4])
        .disturb(30, one(1), Group::All, true, Effect::BlockDatagrams, 40)
        .disturb(80, one(6), Group::All, true, Effect::BlockStreams, 40)
        .disturb(90, one(2), one(3), true, Effect::BlockDatagrams, 60)
        .done(150, 120)
}

pub fn black_hole(seed: u64) -> History {
    let script = Script::new(seed, &[4, 4, 4]);
    let script = script.disturb(0, Group::All, Group::All, false, Effect::SizeMax(1280), 200);
    script
        .work(
            60,
            Work::Large {
                host: 1,
                bytes: 30_000,
            },
        )
        .done(100, 120)
}

pub fn one_way(seed: u64) -> History {
    let others = |one: u32| Group::Hosts((0..8).filter(|host| *host != one).collect());
    let one = |host: u32| Group::Hosts(vec![host]);
    Script::new(seed, &[4, 4])
        .disturb(30, one(1), others(1), false, Effect::Block, 30)
        .disturb(80, others(6), one(6), false, Effect::Block, 30)
        .disturb(110, one(2), one(3), false, Effect::Block, 30)
        .done(145, 120)
}

pub fn flapping(seed: u64) -> History {
    let mut script = Script::new(seed, &[2, 1, 2]);
    for at_s in (30..330).step_by(60) {
        script = script.cut_hosts(at_s, &[0], &[1, 2, 3, 4], 30);
    }
    script.done(340, 120)
}
