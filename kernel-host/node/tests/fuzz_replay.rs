//! Replays the corpora, then seeded mutations of them, through their fuzz targets.

#[test]
fn arguments() {
    corpus::replay(
        env!("CARGO_MANIFEST_DIR"),
        "arguments",
        node::arguments::fuzz_arguments,
    );
}

#[test]
fn seeds() {
    corpus::replay(
        env!("CARGO_MANIFEST_DIR"),
        "seeds",
        node::service::fuzz_seeds,
    );
}

#[test]
fn supervision() {
    corpus::replay(
        env!("CARGO_MANIFEST_DIR"),
        "supervision",
        node::supervision::fuzz_supervision,
    );
}
