//! Replays the corpus, then seeded mutations of it, through its fuzz target.

#[test]
fn body() {
    corpus::replay(env!("CARGO_MANIFEST_DIR"), "body", cloud::fuzz::fuzz_body);
}
