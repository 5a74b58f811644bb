//! Small worlds: sites of one node, met by discovery, end with the same records and views.
#![allow(clippy::unwrap_used)]

mod world;

use overlay::overlay::journal::Happening;
use overlay::{Draft, Input, NodeState};
use protocol::peer::{Realm, RecordKey, RecordKind};
use world::{World, contact, node_id, site_id};

fn three_sites() -> World {
    let mut world = World::new();
    for site in 0..3 {
        world.start(site, 1, 1, Default::default());
    }
    for (a, b) in [(0, 1), (1, 2)] {
        world.introduce(contact(a, 1), contact(b, 1));
    }
    world
}

fn vm(site: u8, subject: u8, ended: bool) -> Draft {
    Draft {
        realm: Realm::Site(site_id(site)),
        kind: RecordKind::VM,
        subject: [subject; 16],
        epoch: 1,
        ended,
        body: vec![subject; 100],
    }
}

fn key(site: u8, subject: u8) -> RecordKey {
    RecordKey {
        realm: Realm::Site(site_id(site)),
        kind: RecordKind::VM,
        subject: [subject; 16],
    }
}

#[test]
fn three_sites_of_one_node_know_each_other() {
    let mut world = three_sites();
    world.run(15_000);
    for a in 0..3 {
        for b in 0..3 {
            assert_eq!(
                world.state((a, 1), (b, 1)),
                Some(NodeState::Alive),
                "{a} of {b}"
            );
        }
        let now = world.now();
        let sites = world.node(a, 1).overlay.sites(now);
        assert_eq!(sites.len(), 3);
        assert!(
            sites
                .iter()
                .all(|site| site.is_reachable && site.name.is_some()),
            "{sites:?}"
        );
    }
    assert_eq!(world.digests(Realm::Cluster).len(), 1);
    world.check();
}

#[test]
fn a_lost_site_is_unreachable_everywhere_and_comes_back() {
    let mut world = three_sites();
    world.run(15_000);
    let disk = world.stop(2, 1);
    world.run(8_000);
    for a in 0..2 {
        assert_eq!(
            world.state((a, 1), (2, 1)),
            Some(NodeState::Unreachable),
            "{a}"
        );
    }
    world.start(2, 1, 2, disk);
    world.introduce(contact(2, 1), contact(0, 1));
    world.run(10_000);
    for a in 0..2 {
        assert_eq!(world.state((a, 1), (2, 1)), Some(NodeState::Alive), "{a}");
    }
    let site = site_id(2);
    for a in 0..2 {
        let overlay = &world.node(a, 1).overlay;
        let of_site = overlay
            .journal(0)
            .map(|entry| entry.what)
            .filter(|what| match what {
                Happening::SiteFound { site: of, .. }
                | Happening::SiteLost { site: of }
                | Happening::SiteBack { site: of } => *of == site,
                _ => false,
            });
        let told = [
            Happening::SiteFound { site, alive: 1 },
            Happening::SiteLost { site },
            Happening::SiteBack { site },
        ];
        assert_eq!(of_site.collect::<Vec<_>>(), told, "{a}");
    }
    world.check();
}

#[test]
fn who_is_new_in_another_site_is_noted_also_when_the_newcomer_speaks_for_it() {
    let mut world = World::new();
    world.start(0, 1, 1, Default::default());
    world.start(1, 5, 1, Default::default());
    world.introduce(contact(0, 1), contact(1, 5));
    world.run(10_000);
    for number in [9, 2] {
        world.start(1, number, 1, Default::default());
        world.introduce(contact(1, 5), contact(1, number));
        world.run(5_000);
    }
    let journal = world.node(0, 1).overlay.journal(0);
    let of_site = journal
        .map(|entry| entry.what)
        .filter(|what| !matches!(what, Happening::NodeSuspect { .. }));
    let site = site_id(1);
    let alive = |number| Happening::NodeAlive {
        node: node_id(1, number),
        site,
    };
    let told = [Happening::SiteFound { site, alive: 1 }, alive(9), alive(2)];
    assert_eq!(of_site.collect::<Vec<_>>(), told);
    world.check();
}

#[test]
fn what_is_written_in_a_site_is_kept_by_its_keepers_and_stays_deleted() {
    let mut world = three_sites();
    world.run(15_000);
    world
        .input(node_id(0, 1), Input::Publish(vm(0, 1, false)))
        .unwrap();
    world.run(3_000);
    for site in 0..3 {
        assert!(
            world.node(site, 1).overlay.record(&key(0, 1)).is_some(),
            "{site}"
        );
    }
    let old_disk = world.stop(2, 1);
    world
        .input(node_id(0, 1), Input::Publish(vm(0, 1, true)))
        .unwrap();
    world.run(30_000);
    world.start(2, 1, 2, old_disk);
    world.introduce(contact(2, 1), contact(0, 1));
    world.run(30_000);
    for site in 0..3 {
        let record = world.node(site, 1).overlay.record(&key(0, 1)).unwrap();
        assert!(record.ended, "{site}");
    }
    assert_eq!(world.digests(Realm::Site(site_id(0))).len(), 1);
}

/// A full resync in many messages under loss, while a third node brings old states: family 6 of
/// the reports that this project tests against.
#[test]
fn a_large_resync_under_loss_does_not_revive_what_was_deleted() {
    let mut world = three_sites();
    world.run(15_000);
    for number in 0..200 {
        world
            .input(node_id(0, 1), Input::Publish(vm(0, number, false)))
            .unwrap();
    }
    world.run(20_000);
    // One keeper has the old states on its disk, another loses its disk.
    let old_disk = world.stop(1, 1);
    world.stop(2, 1);
    for number in 0..150 {
        world
            .input(node_id(0, 1), Input::Publish(vm(0, number, true)))
            .unwrap();
    }
    world.loss_percent = 20;
    world.start(1, 1, 2, old_disk);
    world.start(2, 1, 2, Default::default());
    for (a, b) in [(0, 1), (1, 2), (2, 0)] {
        world.introduce(contact(a, 1), contact(b, 1));
    }
    for _ in 0..60 {
        world.run(2_000);
        world.check();
    }
    for site in 0..3 {
        let node = world.node(site, 1);
        for number in 0..200 {
            let record = node.overlay.record(&key(0, number)).unwrap();
            assert_eq!(record.ended, number < 150, "{number} at {site}");
        }
        // Nothing lived again in between.
        let mut ended = std::collections::BTreeSet::new();
        for record in &node.stored {
            assert!(
                record.ended || !ended.contains(&record.key),
                "{:?}",
                record.key
            );
            if record.ended {
                ended.insert(record.key);
            }
        }
    }
    assert_eq!(world.digests(Realm::Site(site_id(0))).len(), 1);
}

/// Family 7: a holder returns after tombstones were forgotten.
#[test]
fn a_node_away_longer_than_the_horizon_brings_nothing_back() {
    let mut world = World::new();
    world.limits.tombstone_ms = 120_000;
    for site in 0..3 {
        world.start(site, 1, 1, Default::default());
    }
    for (a, b) in [(0, 1), (1, 2)] {
        world.introduce(contact(a, 1), contact(b, 1));
    }
    world.run(15_000);
    world
        .input(node_id(0, 1), Input::Publish(vm(0, 1, false)))
        .unwrap();
    world
        .input(node_id(0, 1), Input::Publish(vm(0, 2, false)))
        .unwrap();
    world.run(70_000);
    let away = world.stop(2, 1);
    world
        .input(node_id(0, 1), Input::Publish(vm(0, 1, true)))
        .unwrap();
    world.run(300_000);
    // The site that is away has not acknowledged: the tombstone waits for it.
    assert!(world.node(0, 1).overlay.record(&key(0, 1)).is_some());
    world.start(2, 1, 2, away.clone());
    world.introduce(contact(2, 1), contact(0, 1));
    world.run(1_200_000);
    for site in 0..3 {
        assert_eq!(
            world.node(site, 1).overlay.record(&key(0, 1)),
            None,
            "forgotten at {site}"
        );
        assert!(
            world.node(site, 1).overlay.record(&key(0, 2)).is_some(),
            "kept at {site}"
        );
    }
    // Now the old disk appears once more.
    world.stop(2, 1);
    world.start(2, 1, 3, away);
    world.introduce(contact(2, 1), contact(0, 1));
    world.run(30_000);
    for site in 0..3 {
        assert_eq!(
            world.node(site, 1).overlay.record(&key(0, 1)),
            None,
            "still gone at {site}"
        );
        assert!(
            world.node(site, 1).overlay.record(&key(0, 2)).is_some(),
            "still here at {site}"
        );
    }
}

/// Two sites of several nodes: first-hand inside, by the speaker's word outside.
#[test]
fn a_dead_node_is_known_everywhere_within_eight_seconds() {
    let mut world = World::new();
    for site in 0..2 {
        for number in 1..=4 {
            world.start(site, number, 1, Default::default());
            world.introduce(contact(site, number), contact(site, 1));
        }
    }
    world.introduce(contact(0, 2), contact(1, 3));
    world.run(20_000);
    let all: Vec<(u8, u8)> = (0..2)
        .flat_map(|site| (1..=4).map(move |number| (site, number)))
        .collect();
    for a in &all {
        for b in &all {
            assert_eq!(
                world.state(*a, *b),
                Some(NodeState::Alive),
                "{a:?} of {b:?}"
            );
        }
    }
    // The speaker of one site, then somebody else.
    for dead in [(0, 1), (1, 3)] {
        world.stop(dead.0, dead.1);
        world.run(8_000);
        let others = all
            .iter()
            .filter(|one| world.nodes.contains_key(&node_id(one.0, one.1)));
        for a in others {
            assert_eq!(
                world.state(*a, dead),
                Some(NodeState::Dead),
                "{a:?} of {dead:?}"
            );
        }
    }
    world.check();
}

/// Two speakers of one split site: both count, nobody is dead; healed, one falls silent.
#[test]
fn a_site_split_in_two_is_seen_whole_from_outside() {
    let mut world = World::new();
    for site in 0..2 {
        for number in 1..=4 {
            world.start(site, number, 1, Default::default());
            world.introduce(contact(site, number), contact(site, 1));
        }
    }
    world.introduce(contact(0, 1), contact(1, 1));
    world.introduce(contact(0, 3), contact(1, 2));
    world.run(20_000);
    world.cut_nodes(&[(0, 1), (0, 2)], &[(0, 3), (0, 4)]);
    world.run(40_000);
    for number in 1..=4 {
        assert_eq!(
            world.state((1, 1), (0, number)),
            Some(NodeState::Alive),
            "{number}"
        );
    }
    assert!(world.node(0, 1).overlay.is_speaker() && world.node(0, 3).overlay.is_speaker());
    world.cut_pairs.clear();
    world.run(40_000);
    assert!(world.node(0, 1).overlay.is_speaker() && !world.node(0, 3).overlay.is_speaker());
    let now = world.now();
    let seen = world.node(1, 4).overlay.site(now, site_id(0)).unwrap();
    assert_eq!((seen.speakers, seen.alive), (vec![node_id(0, 1)], 4));
}
