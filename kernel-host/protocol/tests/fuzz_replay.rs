//! Replays the corpus, then seeded mutations of it, through its fuzz target.

#[test]
fn words() {
    corpus::replay(
        env!("CARGO_MANIFEST_DIR"),
        "words",
        protocol::fuzz::fuzz_words,
    );
}
