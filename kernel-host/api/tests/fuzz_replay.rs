//! Replays the corpus, then seeded mutations of it, through its fuzz target.

#[test]
fn requests() {
    corpus::replay(
        env!("CARGO_MANIFEST_DIR"),
        "request",
        api::fuzz::fuzz_request,
    );
}
