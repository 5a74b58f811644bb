//! Replays the corpora, then seeded mutations of them, through their fuzz targets.

#[test]
fn headers() {
    corpus::replay(env!("CARGO_MANIFEST_DIR"), "header", state::fuzz_header);
}
