//! Replays the corpus, then seeded mutations of it, through its fuzz target.
#![allow(clippy::unwrap_used)]

mod world;

use overlay::{Draft, Input};
use protocol::peer::{Realm, RecordKind};
use world::{World, contact, node_id, site_id};

#[test]
fn overlay() {
    corpus::replay(
        env!("CARGO_MANIFEST_DIR"),
        "overlay",
        overlay::fuzz::fuzz_overlay,
    );
}

#[test]
fn swim() {
    corpus::replay(env!("CARGO_MANIFEST_DIR"), "swim", overlay::fuzz::fuzz_swim);
}

/// Writes what nodes really say as seeds, when `LUC_GOLDEN` is set.
#[test]
fn seeds_are_real_conversations() {
    if std::env::var_os("LUC_GOLDEN").is_none() {
        return;
    }
    let mut world = World::new();
    world.tap = Some(Vec::new());
    for number in 1..=3 {
        world.start(0, number, 1, Default::default());
    }
    world.start(1, 1, 1, Default::default());
    world.introduce(contact(0, 1), contact(0, 2));
    world.introduce(contact(0, 3), contact(0, 2));
    world.introduce(contact(0, 1), contact(1, 1));
    world.run(6_000);
    let draft = Draft {
        realm: Realm::Site(site_id(0)),
        kind: RecordKind::VM,
        subject: [9; 16],
        epoch: 1,
        ended: false,
        body: vec![1; 40],
    };
    world.input(node_id(0, 1), Input::Publish(draft)).unwrap();
    world.run(20_000);
    let said = world.tap.take().unwrap();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/overlay");
    std::fs::create_dir_all(&folder).unwrap();
    for (at, part) in said.chunks(said.len().div_ceil(12)).enumerate() {
        std::fs::write(folder.join(format!("talk-{at:02}")), part.concat()).unwrap();
    }
}
