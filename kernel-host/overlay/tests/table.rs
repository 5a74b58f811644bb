//! The cluster's table among many overlays: what is put is found, whatever happens meanwhile.
#![allow(clippy::unwrap_used)]

mod world;

use overlay::lookup::{Found, Reach};
use overlay::{Answer, Input};
use protocol::peer::lookup::Key;
use protocol::{Digest, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use world::{World, contact, node_id, site_id};

const LIVES_S: u32 = 3600;

fn key(number: u32) -> [u8; 32] {
    Digest::of(&number.to_be_bytes()).bytes()
}

/// So many sites of so many nodes that know each other.
fn cluster(sites: u8, nodes: u8) -> World {
    let mut world = World::new();
    for site in 0..sites {
        for number in 1..=nodes {
            world.start(site, number, 1, BTreeMap::new());
            if number > 1 {
                world.introduce(contact(site, number), contact(site, 1));
            }
        }
        if site > 0 {
            world.introduce(contact(site, 1), contact(site / 2, 1));
        }
    }
    world.run(25_000);
    world
}

/// Asks, waits, and says what was answered.
fn ask(world: &mut World, node: NodeId, input: Input<'_>) -> Answer {
    let (Input::Put { ask, .. } | Input::Remove { ask, .. } | Input::Find { ask, .. }) = input
    else {
        panic!("{input:?}");
    };
    world.input(node, input).unwrap();
    for _ in 0..50 {
        if let Some(answer) = world.nodes.get_mut(&node).unwrap().answers.remove(&ask) {
            return answer;
        }
        world.run(100);
    }
    panic!("no answer");
}

fn put(world: &mut World, node: NodeId, number: u32, value: &[u8]) -> (u8, u8) {
    let input = Input::Put {
        ask: 7,
        key: key(number),
        value: value.to_vec(),
        lives_s: LIVES_S,
    };
    match ask(world, node, input) {
        Answer::Taken { homes, of } => (homes, of),
        other => panic!("{number}: {other:?}"),
    }
}

fn find(world: &mut World, node: NodeId, number: u32, reach: Reach) -> (Vec<Found>, u8) {
    let input = Input::Find {
        ask: 8,
        key: key(number),
        reach,
    };
    match ask(world, node, input) {
        Answer::Found { values, homes, .. } => (values, homes),
        other => panic!("{number} at {node}: {other:?}"),
    }
}

fn texts(found: &[Found]) -> BTreeSet<Vec<u8>> {
    found.iter().map(|one| one.value.clone()).collect()
}

/// Nodes that keep something under a key, by site.
fn keepers(world: &World, number: u32) -> Vec<NodeId> {
    let keeps = |node: &world::Node| node.overlay.lookup().kept(Key(key(number))).count() > 0;
    let nodes = world.nodes.iter().filter(|(_, node)| keeps(node));
    nodes.map(|(node, _)| *node).collect()
}

fn forwarded(world: &World) -> u64 {
    let nodes = world.nodes.values();
    nodes
        .map(|node| node.overlay.lookup().counters().forwarded)
        .sum()
}

fn any_node(number: u32, sites: u8, nodes: u8) -> NodeId {
    let site = u8::try_from(number * 7 % u32::from(sites)).unwrap();
    node_id(site, 1 + u8::try_from(number % u32::from(nodes)).unwrap())
}

#[test]
fn what_is_put_is_kept_by_six_nodes_of_three_sites_and_found_by_everybody() {
    let mut world = cluster(20, 5);
    world.loss_percent = 1;
    for number in 0..60 {
        let at = any_node(number, 20, 5);
        let (homes, of) = put(&mut world, at, number, &number.to_be_bytes());
        assert!(homes >= 2 && of == 3, "{number}: {homes} of {of}");
    }
    world.run(15_000);
    let passed_on = forwarded(&world);
    for number in 0..60 {
        let nodes = keepers(&world, number);
        let sites: BTreeSet<u8> = nodes.iter().map(|node| node.bytes()[1]).collect();
        assert_eq!((nodes.len(), sites.len()), (6, 3), "{number}: {nodes:?}");
        for (asker, reach) in [(number + 1, Reach::Most), (number + 9, Reach::Nearest)] {
            let (found, homes) = find(&mut world, any_node(asker, 20, 5), number, reach);
            assert_eq!(texts(&found), [number.to_be_bytes().to_vec()].into());
            assert_eq!(found[0].author, any_node(number, 20, 5));
            assert!(homes >= if reach == Reach::Most { 2 } else { 1 });
        }
    }
    assert_eq!(
        forwarded(&world),
        passed_on,
        "everybody asks the right nodes"
    );
    // Homes that were never asked before first ask each other.
    find(&mut world, node_id(3, 3), 1000, Reach::Most);
    world.run(10_000);
    let (found, homes) = find(&mut world, node_id(3, 3), 1000, Reach::Most);
    assert!(found.is_empty() && homes >= 2, "{homes}");
    world.check();
}

#[test]
fn the_newer_value_counts_and_authors_do_not_disturb_each_other() {
    let mut world = cluster(4, 2);
    put(&mut world, node_id(0, 1), 1, b"old");
    put(&mut world, node_id(1, 1), 1, b"other");
    put(&mut world, node_id(0, 1), 1, b"new");
    let both: BTreeSet<Vec<u8>> = [b"new".to_vec(), b"other".to_vec()].into();
    for site in 0..4 {
        let (found, _) = find(&mut world, node_id(site, 2), 1, Reach::Most);
        assert_eq!(texts(&found), both, "{site}");
    }
    let remove = Input::Remove {
        ask: 9,
        key: key(1),
    };
    ask(&mut world, node_id(0, 1), remove);
    world.run(400_000);
    for site in 0..4 {
        for reach in [Reach::Most, Reach::Nearest] {
            let (found, _) = find(&mut world, node_id(site, 2), 1, reach);
            assert_eq!(texts(&found), [b"other".to_vec()].into(), "{site}");
        }
    }
    world.check();
}

#[test]
fn two_copies_and_the_author_die_at_once_and_nothing_is_lost() {
    let mut world = cluster(8, 3);
    for number in 0..24 {
        put(&mut world, any_node(number, 8, 3), number, b"value");
    }
    world.run(5_000);
    for number in [3, 11] {
        let author = any_node(number, 8, 3);
        let homes = keepers(&world, number);
        let dead = homes.into_iter().filter(|node| *node != author).take(2);
        let dead: Vec<NodeId> = dead.chain([author]).collect();
        for node in dead {
            world.nodes.remove(&node);
        }
        // At once, when nobody knows yet; and when all is mended.
        for wait_ms in [0, 40_000] {
            world.run(wait_ms);
            let askers: Vec<NodeId> = world.nodes.keys().copied().collect();
            for asker in askers.into_iter().step_by(5) {
                let (found, _) = find(&mut world, asker, number, Reach::Most);
                assert_eq!(
                    texts(&found),
                    [b"value".to_vec()].into(),
                    "{number} {wait_ms}"
                );
            }
        }
        assert_eq!(keepers(&world, number).len(), 6, "{number}");
    }
    world.check();
}

#[test]
fn both_halves_of_a_cut_put_and_find_and_agree_afterwards() {
    let mut world = cluster(8, 2);
    for number in 0..20 {
        put(&mut world, any_node(number, 8, 2), number, b"before");
    }
    world.run(5_000);
    let before: BTreeMap<u32, (bool, bool)> = (0..20)
        .map(|number| {
            let mut keepers = keepers(&world, number);
            keepers.push(any_node(number, 8, 2));
            let (left, right): (Vec<NodeId>, Vec<NodeId>) =
                keepers.iter().partition(|node| node.bytes()[1] < 3);
            (number, (!left.is_empty(), !right.is_empty()))
        })
        .collect();
    for left in 0..3 {
        for right in 3..8 {
            world.cut.insert((site_id(left), site_id(right)));
        }
    }
    // At once, when nobody has noticed: a home answers, or who stands in for it.
    put(&mut world, node_id(0, 1), 100, b"left at once");
    put(&mut world, node_id(5, 1), 100, b"right at once");
    world.run(200_000);
    for number in 100..120 {
        for (at, value) in [(node_id(1, 1), b"left"), (node_id(6, 2), b"rght")] {
            let (homes, of) = put(&mut world, at, number, value);
            assert!(homes >= 2 && of == 3, "{homes} of {of}");
        }
        let (found, _) = find(&mut world, node_id(2, 1), number, Reach::Most);
        assert!(texts(&found).contains(&b"left"[..]), "{number}");
        let (found, _) = find(&mut world, node_id(3, 1), number, Reach::Most);
        assert!(texts(&found).contains(&b"rght"[..]), "{number}");
    }
    for number in 0..20 {
        let (left, right) = before[&number];
        for (asker, has) in [(node_id(0, 2), left), (node_id(7, 2), right)] {
            let (found, _) = find(&mut world, asker, number, Reach::Most);
            assert_eq!(found.is_empty(), !has, "{number} in its half");
        }
    }
    world.cut.clear();
    world.run(30_000);
    let both: BTreeSet<Vec<u8>> = [b"left".to_vec(), b"rght".to_vec()].into();
    for number in 101..120 {
        for asker in [node_id(0, 2), node_id(7, 1)] {
            let (found, _) = find(&mut world, asker, number, Reach::Most);
            assert_eq!(texts(&found), both, "{number} after the cut");
        }
    }
    let (found, _) = find(&mut world, node_id(3, 2), 100, Reach::Most);
    assert_eq!(found.len(), 4, "{found:?}");
    // What stood in for homes has handed over.
    world.run(180_000);
    for number in (0..20).chain(100..120) {
        assert_eq!(keepers(&world, number).len(), 6, "{number}");
    }
    world.check();
}

#[test]
fn a_site_of_one_alone_puts_and_finds_and_its_homes_get_it_later() {
    let mut world = cluster(5, 1);
    for other in 1..5 {
        world.cut.insert((site_id(0), site_id(other)));
    }
    let (homes, of) = put(&mut world, node_id(0, 1), 1, b"alone");
    assert!(homes >= 1 && of == 3, "{homes} of {of}");
    let (found, _) = find(&mut world, node_id(0, 1), 1, Reach::Most);
    assert_eq!(texts(&found), [b"alone".to_vec()].into());
    world.cut.clear();
    world.run(60_000);
    for site in 1..5 {
        let (found, _) = find(&mut world, node_id(site, 1), 1, Reach::Most);
        assert_eq!(texts(&found), [b"alone".to_vec()].into(), "{site}");
    }
    world.check();
}

#[test]
fn all_nodes_but_the_authors_restart_and_everything_is_found_again() {
    let mut world = cluster(4, 2);
    for number in 0..20 {
        put(&mut world, node_id(0, 1), number, b"value");
    }
    for site in 0..4 {
        for number in 1..=2 {
            if (site, number) != (0, 1) {
                let disk = world.stop(site, number);
                world.start(site, number, 2, disk);
            }
        }
    }
    world.run(30_000);
    for number in 0..20 {
        let (found, _) = find(&mut world, node_id(3, 2), number, Reach::Most);
        // The one copy that is left, if the author is a home; else it is repeated in time.
        let is_home = keepers(&world, number).contains(&node_id(0, 1));
        assert!(
            !is_home || texts(&found) == [b"value".to_vec()].into(),
            "{number}"
        );
    }
    world.run(u64::from(LIVES_S) * 1000 / 3 + 60_000);
    for number in 0..20 {
        let (found, _) = find(&mut world, node_id(3, 2), number, Reach::Most);
        assert_eq!(texts(&found), [b"value".to_vec()].into(), "{number}");
    }
    world.check();
}

#[test]
fn what_a_dead_author_has_put_fades_and_what_a_revoked_one_has_put_goes_at_once() {
    let mut world = cluster(4, 2);
    for (at, number) in [(node_id(0, 1), 1), (node_id(1, 1), 2), (node_id(2, 1), 3)] {
        put(&mut world, at, number, b"value");
    }
    world.run(10_000);
    world.stop(0, 1);
    world.stop(1, 1);
    let draft = overlay::Draft {
        realm: protocol::peer::Realm::Cluster,
        kind: protocol::peer::RecordKind::REVOCATION,
        subject: node_id(1, 1).bytes(),
        epoch: 0,
        ended: false,
        body: Vec::new(),
    };
    world.input(node_id(3, 1), Input::Publish(draft)).unwrap();
    world.run(30_000);
    assert_eq!(keepers(&world, 2), []);
    assert_eq!(find(&mut world, node_id(3, 2), 2, Reach::Most).0, []);
    assert_eq!(find(&mut world, node_id(3, 2), 1, Reach::Most).0.len(), 1);
    world.run(u64::from(LIVES_S) * 1000 + 60_000);
    assert_eq!(keepers(&world, 1), []);
    assert_eq!(find(&mut world, node_id(3, 2), 1, Reach::Most).0, []);
    assert_eq!(find(&mut world, node_id(3, 2), 3, Reach::Most).0.len(), 1);
    world.check();
}

#[test]
fn what_is_out_of_range_is_refused_and_changes_nothing() {
    let mut world = cluster(1, 1);
    let put = |value: usize, lives_s: u32| Input::Put {
        ask: 3,
        key: key(1),
        value: vec![1; value],
        lives_s,
    };
    for (value, lives_s) in [(897, LIVES_S), (1, 119), (1, 86_401)] {
        let answer = ask(&mut world, node_id(0, 1), put(value, lives_s));
        assert_eq!(answer, Answer::Refused, "{value} {lives_s}");
    }
    assert_eq!(keepers(&world, 1), []);
    for (value, lives_s) in [(896, 120), (0, 86_400)] {
        let answer = ask(&mut world, node_id(0, 1), put(value, lives_s));
        assert_eq!(
            answer,
            Answer::Taken { homes: 1, of: 1 },
            "{value} {lives_s}"
        );
    }
    // One author's entries are bounded, wherever they go.
    for number in 0..1030 {
        let input = Input::Put {
            ask: number,
            key: key(u32::try_from(number).unwrap()),
            value: Vec::new(),
            lives_s: LIVES_S,
        };
        let answer = ask(&mut world, node_id(0, 1), input);
        let is_taken = answer == Answer::Taken { homes: 1, of: 1 };
        assert_eq!(is_taken, number < 1024, "{number}: {answer:?}");
    }
    world.check();
}

/// Writes what nodes say about the table as seeds of the fuzz target, when `LUC_GOLDEN` is set.
#[test]
fn seeds_are_real_conversations() {
    if std::env::var_os("LUC_GOLDEN").is_none() {
        return;
    }
    let mut world = cluster(3, 2);
    world.tap = Some(Vec::new());
    for number in 0..3 {
        put(&mut world, node_id(0, 1), number, b"value");
        find(&mut world, node_id(2, 2), number, Reach::Most);
    }
    world.stop(1, 1);
    world.run(8_000);
    let said = world.tap.take().unwrap();
    let is_about_table = |part: &&Vec<u8>| part.get(5) == Some(&5);
    let said: Vec<Vec<u8>> = said.iter().filter(is_about_table).cloned().collect();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/overlay");
    for (at, part) in said.chunks(said.len().div_ceil(3)).enumerate() {
        std::fs::write(folder.join(format!("table-{at:02}")), part.concat()).unwrap();
    }
}
