//! Replays each corpus, then seeded mutations of it, through its fuzz target.

use image_builder::fuzz;

fn replay(name: &str, target: fn(&[u8])) {
    corpus::replay(env!("CARGO_MANIFEST_DIR"), name, target);
}

#[test]
fn lists_and_records() {
    replay("allow", fuzz::fuzz_allow);
    replay("lock", fuzz::fuzz_lock);
    replay("manifest", fuzz::fuzz_manifest);
}

#[test]
fn packages_and_modules() {
    replay("deb", fuzz::fuzz_deb);
    replay("modinfo", fuzz::fuzz_modinfo);
}

#[test]
fn programs_and_archives() {
    replay("uki", fuzz::fuzz_uki);
    replay("binary", fuzz::fuzz_binary);
    replay("initrd", fuzz::fuzz_initrd);
}

#[test]
fn requests() {
    replay("range", fuzz::fuzz_range);
    replay("path", fuzz::fuzz_path);
}
