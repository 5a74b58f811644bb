//! Replays the corpus, then seeded mutations of it, through its fuzz target.

#[test]
fn words() {
    corpus::replay(
        env!("CARGO_MANIFEST_DIR"),
        "words",
        protocol::fuzz::fuzz_words,
    );
}

#[test]
fn admission() {
    corpus::replay(
        env!("CARGO_MANIFEST_DIR"),
        "admission",
        protocol::fuzz::fuzz_admission,
    );
}

#[test]
fn record() {
    corpus::replay(
        env!("CARGO_MANIFEST_DIR"),
        "record",
        protocol::fuzz::fuzz_record,
    );
}

#[test]
fn register() {
    corpus::replay(
        env!("CARGO_MANIFEST_DIR"),
        "register",
        protocol::fuzz::fuzz_register,
    );
}

#[test]
fn lookup() {
    corpus::replay(
        env!("CARGO_MANIFEST_DIR"),
        "lookup",
        protocol::fuzz::fuzz_lookup,
    );
}
