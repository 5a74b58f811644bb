//! Replays the corpora, then seeded mutations of them, through their fuzz targets.

#[test]
fn handshake() {
    let target = session::fuzz::fuzz_handshake;
    corpus::replay(env!("CARGO_MANIFEST_DIR"), "handshake", target);
}

#[test]
fn data() {
    let target = session::fuzz::fuzz_data;
    corpus::replay(env!("CARGO_MANIFEST_DIR"), "data", target);
}

#[test]
fn stream() {
    let target = session::fuzz::fuzz_stream;
    corpus::replay(env!("CARGO_MANIFEST_DIR"), "stream", target);
}
