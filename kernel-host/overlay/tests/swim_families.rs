//! Families of bugs that others have had in their failure detectors, each as a scenario.
#![allow(clippy::unwrap_used)]

mod site;

use overlay::Event;
use protocol::NodeId;
use protocol::peer::{Channel, Life};
use site::{Site, id};

const BOTH: [Channel; 2] = [Channel::Datagram, Channel::Stream];

/// Messages that a node sends in a second of the next ten.
fn messages_a_second(site: &mut Site) -> u64 {
    let total = |site: &Site| -> u64 { site.running().map(|(_, node)| node.messages_out).sum() };
    let before = total(site);
    site.run_ms(10_000);
    (total(site) - before) / 10 / site.running().count().max(1) as u64
}

/// memberlist 311, 345: after a mass restart peers stay dead, when lives were lost.
#[test]
fn family_1_everybody_restarts_within_a_minute_and_half_forget_their_lives() {
    for seed in 1..=3 {
        let mut site = Site::grown(seed, 1, 50);
        site.run_ms(5000);
        for at in 0..50 {
            site.crash(at);
            let pause = site.dice.below(2000);
            site.run_ms(pause);
            let life = if at % 2 == 0 {
                Life::new(2, 0)
            } else {
                Life::new(1, 0)
            };
            site.boot(at, id(at), life);
            site.run_ms(10);
            site.meet(at, (at + 1) % 50);
        }
        let took = site.until_one_view(30_000);
        println!("seed {seed}: one view {took} ms after the last restart");
        for (_, node) in site.running() {
            assert!(
                !node.swim.is_doubled(site.now_ms()),
                "a lost life is no clone"
            );
        }
    }
}

/// consul 4879, 6897, 7396: a replaced machine is refused.
#[test]
fn family_2_new_keys_and_new_addresses_are_welcome() {
    let mut site = Site::grown(2, 1, 6);
    // The same address with a new key.
    site.crash(3);
    site.boot(3, id(100), Life::new(1, 0));
    site.run_ms(10);
    site.meet(3, 0);
    site.run_ms(10_000);
    site.assert_one_view();
    // The same key at another address, without a goodbye, and with one.
    site.crash(4);
    site.boot(7, id(4), Life::new(2, 0));
    site.run_ms(10);
    site.meet(7, 1);
    site.run_ms(10_000);
    site.assert_one_view();
    assert_eq!(
        site.node(0).swim.contact(id(4)).unwrap().address,
        site::address(7)
    );
    site.leave(5);
    site.run_ms(1000);
    site.crash(5);
    site.boot(8, id(5), Life::new(2, 0));
    site.run_ms(10);
    site.meet(8, 1);
    site.run_ms(3000);
    site.assert_one_view();
    // Even with the life it had when it left.
    site.leave(8);
    site.run_ms(1000);
    site.crash(8);
    site.boot(8, id(5), Life::new(2, 0));
    site.run_ms(10);
    site.meet(8, 1);
    site.run_ms(3000);
    site.assert_one_view();
}

/// consul 13037, 2430: a clone makes healthy nodes flap.
#[test]
fn family_3_two_machines_with_one_key_are_told_and_nobody_else_is_suspected() {
    for seed in 1..=5 {
        let mut site = Site::grown(seed, 1, 8);
        site.boot(8, id(3), Life::new(1, 0));
        site.run_ms(10);
        site.meet(8, 0);
        site.run_ms(60_000);
        for at in [3, 8] {
            let is_told =
                |noted: &&site::Noted| noted.1 == at && matches!(noted.2, Event::Cloned { .. });
            assert!(
                site.noted.iter().any(|noted| is_told(&noted)),
                "seed {seed}: {at}"
            );
        }
        let others: Vec<NodeId> = site
            .suspected()
            .into_iter()
            .filter(|one| *one != id(3))
            .collect();
        assert!(others.is_empty(), "seed {seed}: {others:?}");
        assert_eq!(site.false_deaths(), 0, "seed {seed}");
        let bids = site.noted.iter();
        let bids = bids
            .filter(|noted| matches!(noted.2, Event::Reborn { .. }))
            .count();
        assert!(bids < 12, "seed {seed}: {bids} bids");
        assert!(messages_a_second(&mut site) < 12);
        // One of them stops: the other is whole again.
        site.crash(8);
        site.run_ms(400_000);
        site.assert_one_view();
        assert!(!site.node(3).swim.is_doubled(site.now_ms()));
    }
}

/// consul 2430: two nodes with one address. The one that can't be reached is dead, no other is.
#[test]
fn family_3_two_nodes_with_one_address_harm_nobody_else() {
    let mut site = Site::grown(3, 0, 8);
    let stolen = site::address(2);
    site.nodes[5].as_mut().unwrap().address = stolen;
    site.step(5, |swim, cx| swim.set_address(cx, stolen));
    site.run_ms(60_000);
    site.noted.retain(|(_, observer, _)| *observer != 5);
    let suspected = site.suspected();
    assert!(
        suspected.iter().all(|one| *one == id(5) || *one == id(2)),
        "{suspected:?}"
    );
}

/// foca 31, 25, 15: lists that only grow, loops of notices, members that lose everybody.
#[test]
fn family_4_a_thousand_restarts_leave_a_list_of_the_living() {
    let mut site = Site::grown(4, 1, 50);
    let before = messages_a_second(&mut site);
    let sent = |site: &Site| -> u64 { site.running().map(|(_, node)| node.messages_out).sum() };
    let mut total = 0;
    for restart in 0..1000_usize {
        let at = restart % 50;
        let had = sent(&site);
        site.crash(at);
        // Each without its disk: a new key.
        site.boot(at, id(1000 + restart), Life::new(1, 0));
        site.meet(at, (at + 7) % 50);
        let kept = sent(&site);
        site.run_ms(300);
        total += sent(&site) - kept.min(had);
    }
    println!("{} messages for each of 1,000 restarts", total / 1000);
    assert!(total / 1000 < 3000);
    site.run_ms(20_000);
    site.assert_one_view();
    for (_, node) in site.running() {
        assert_eq!(node.swim.members().len(), 49);
        assert!(node.swim.gone().count() <= overlay::swim::GONE_MAX);
        assert!(
            node.swim.memory_bytes() < 250_000,
            "{}",
            node.swim.memory_bytes()
        );
    }
    let after = messages_a_second(&mut site);
    assert!(after <= before + 2, "{before} before, {after} after");
}

/// chitchat 161, 155, piko 314: the dead are learned again from those who forget later.
#[test]
fn family_5_the_dead_stay_dead_whoever_forgets_them_first() {
    let mut site = Site::grown(5, 1, 30);
    for at in 20..30 {
        site.crash(at);
    }
    site.run_ms(30_000);
    site.assert_one_view();
    site.noted.clear();
    // Newcomers know nothing of the dead; a thousand others push them out of some memories.
    for number in 0..40 {
        site.boot(30, id(2000 + number), Life::new(1, 0));
        site.meet(30, number % 20);
        site.run_ms(8000);
        site.crash(30);
    }
    site.run_ms(30_000);
    site.assert_one_view();
    let is_dead = |node: &NodeId| (20..30).any(|at| id(at) == *node);
    let back = site
        .noted
        .iter()
        .filter(|noted| matches!(&noted.2, Event::Alive { contact, .. } if is_dead(&contact.node)));
    assert_eq!(back.count(), 0);
}

/// scylla 5164: a reboot after a year is refused.
#[test]
fn family_8_a_reboot_after_400_days_is_welcome() {
    let mut site = Site::grown(8, 1, 5);
    for _ in 0..400 {
        site.uptime_before_ms += 86_400_000 - 2000;
        site.run_ms(2000);
    }
    site.run_ms(5000);
    site.assert_one_view();
    assert_eq!(
        site.false_deaths(),
        0,
        "days that nobody saw pass prove nothing"
    );
    site.crash(2);
    site.run_ms(1000);
    site.boot(2, id(2), Life::new(2, 0));
    site.meet(2, 0);
    site.until_one_view(10_000);
}

/// serf 216: datagrams blocked, streams open; ringpop 59: a helper's own trouble counts against
/// the target.
#[test]
fn family_16_half_open_ways_kill_nobody() {
    type Cuts = Vec<(usize, usize, Vec<Channel>)>;
    let all = |at: usize, channels: &[Channel]| -> Cuts {
        let others = (0..8).filter(move |other| *other != at);
        others
            .flat_map(|other| {
                [
                    (at, other, channels.to_vec()),
                    (other, at, channels.to_vec()),
                ]
            })
            .collect()
    };
    let cases: [(&str, Cuts); 6] = [
        ("one way between two", vec![(1, 2, BOTH.to_vec())]),
        (
            "no way between two",
            vec![(1, 2, BOTH.to_vec()), (2, 1, BOTH.to_vec())],
        ),
        ("no datagrams to or from one", all(1, &[Channel::Datagram])),
        ("no streams to or from one", all(1, &[Channel::Stream])),
        (
            "no datagrams to one, no streams from it",
            (0..8)
                .filter(|other| *other != 1)
                .flat_map(|other| {
                    [
                        (other, 1, vec![Channel::Datagram]),
                        (1, other, vec![Channel::Datagram]),
                    ]
                })
                .collect(),
        ),
        (
            "three that reach nobody but two",
            [3, 4, 5]
                .iter()
                .flat_map(|at| [0, 1, 2].map(|other| (*at, other, BOTH.to_vec())))
                .collect(),
        ),
    ];
    for (name, cuts) in cases {
        let mut site = Site::grown(16, 1, 8);
        for (from, to, channels) in cuts {
            site.cut(from, to, &channels);
        }
        site.run_ms(120_000);
        assert_eq!(site.false_deaths(), 0, "{name}");
        site.assert_one_view();
    }
}

/// A node that hears nothing but is heard: it accuses nobody aloud.
#[test]
fn the_deaf_accuse_nobody() {
    let mut site = Site::grown(17, 0, 8);
    for other in 1..8 {
        site.cut(other, 0, &BOTH);
    }
    site.run_ms(60_000);
    let others: Vec<_> = site.noted.iter().filter(|noted| noted.1 != 0).collect();
    for (_, _, event) in others {
        if let Event::Suspect { node, .. } | Event::Dead { node, .. } = event {
            assert_eq!(*node, id(0), "{event:?}");
        }
    }
    site.cuts.clear();
    let took = site.until_one_view(15_000);
    println!("the deaf node is back after {took} ms");
}

/// A node that stands still accuses nobody when it goes on.
#[test]
fn who_stood_still_accuses_nobody() {
    for pause_ms in [700, 1500, 10_000, 100_000] {
        let mut site = Site::grown(18, 1, 8);
        for _ in 0..20 {
            site.pause_ms(0, pause_ms);
            site.run_ms(pause_ms + 3000);
        }
        site.run_ms(10_000);
        let suspected = site.suspected();
        assert!(
            suspected.iter().all(|one| *one == id(0)),
            "{pause_ms}: {suspected:?}"
        );
        site.assert_one_view();
        if pause_ms < 1500 {
            assert_eq!(site.false_deaths(), 0);
        }
    }
}

/// A site that was split finds together by itself, after a minute as after a week, and nobody is
/// called dead because of the meeting.
#[test]
fn a_split_site_heals_within_ten_seconds() {
    for (half, split_ms) in [(10, 60_000), (1, 60_000), (10, 3_600_000), (19, 600_000)] {
        let mut site = Site::grown(19, 1, 20);
        let numbers: Vec<usize> = (0..20).collect();
        site.split(&numbers[..half], &numbers[half..]);
        site.run_ms(split_ms);
        let missing = site.wrong().len();
        assert_eq!(
            missing,
            2 * half * (20 - half),
            "the halves don't see each other"
        );
        site.cuts.clear();
        site.noted.clear();
        let took = site.until_one_view(10_000);
        println!("{half} of 20, {split_ms} ms: healed in {took} ms");
        site.run_ms(20_000);
        site.assert_one_view();
        assert_eq!(site.false_deaths(), 0);
    }
}

/// Half of a site's nodes lose power at once.
#[test]
fn half_of_a_site_dies_at_once() {
    for count in [4, 20, 60] {
        let mut site = Site::grown(20, 1, count);
        for at in 0..count / 2 {
            site.crash(at);
        }
        let took = site.until_one_view(30_000);
        println!("half of {count}: known to all after {took} ms");
        assert_eq!(site.false_deaths(), 0);
    }
}

/// A goodbye is known at once, and is no death.
#[test]
fn who_leaves_is_not_dead() {
    let mut site = Site::grown(21, 1, 20);
    site.leave(4);
    site.run_ms(300);
    site.crash(4);
    let took = site.until_one_view(2000);
    println!("a goodbye is known to all after {took} ms");
    site.run_ms(20_000);
    let is_dead = |noted: &&site::Noted| matches!(noted.2, Event::Dead { .. });
    assert_eq!(site.noted.iter().filter(is_dead).count(), 0);
}

/// The rule that a later test switches off: without helpers, and the stream that goes with them,
/// a way that is cut between two kills one of them.
#[test]
fn without_indirect_probes_a_broken_way_between_two_is_noticed() {
    for (indirect_probe, is_hurt) in [(true, false), (false, true)] {
        let mut site = Site::new(22, 1);
        site.rules.indirect_probe = indirect_probe;
        for at in 0..6 {
            site.boot(at, id(at), Life::new(1, 0));
            site.meet(at, 0);
            site.run_ms(100);
        }
        site.run_ms(5000);
        site.noted.clear();
        site.cut(1, 2, &BOTH);
        site.run_ms(60_000);
        assert_eq!(!site.suspected().is_empty(), is_hurt);
    }
}
