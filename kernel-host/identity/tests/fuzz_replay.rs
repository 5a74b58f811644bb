//! Replays each corpus, then seeded mutations of it, through its fuzz target.

use identity::fuzz;

#[test]
fn credential() {
    corpus::replay(
        env!("CARGO_MANIFEST_DIR"),
        "credential",
        fuzz::fuzz_credential,
    );
}

#[test]
fn statement() {
    corpus::replay(
        env!("CARGO_MANIFEST_DIR"),
        "statement",
        fuzz::fuzz_statement,
    );
}

#[test]
fn text() {
    corpus::replay(env!("CARGO_MANIFEST_DIR"), "text", fuzz::fuzz_text);
}

#[test]
fn saved() {
    corpus::replay(env!("CARGO_MANIFEST_DIR"), "saved", fuzz::fuzz_saved);
}
