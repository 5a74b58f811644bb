//! Replays each corpus, then seeded mutations of it, through its fuzz target.

use corpus::replay;
use netio::fuzz;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn wires() {
    replay(HERE, "wire", fuzz::fuzz_wire);
}

#[test]
fn offloads() {
    replay(HERE, "offload", fuzz::fuzz_offload);
}

#[test]
fn neighbours() {
    replay(HERE, "arp", fuzz::fuzz_arp);
}
