//! Small worlds: sites of one node, met by discovery, end with the same records and views.
#![allow(clippy::unwrap_used)]

mod world;

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
