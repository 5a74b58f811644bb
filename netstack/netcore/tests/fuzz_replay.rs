//! Replays each corpus, then seeded mutations of it, through its fuzz target.

use corpus::replay;
use netcore::fuzz;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn datagrams() {
    replay(HERE, "datagram", fuzz::fuzz_datagram);
}

#[test]
fn messages() {
    replay(HERE, "message", fuzz::fuzz_message);
}

#[test]
fn dhcp_clients() {
    replay(HERE, "client", fuzz::fuzz_client);
}

#[test]
fn dhcp_servers() {
    replay(HERE, "server", fuzz::fuzz_server);
}

#[test]
fn tftp_servers() {
    replay(HERE, "tftp", fuzz::fuzz_tftp);
}

#[test]
fn packets() {
    replay(HERE, "packet", fuzz::fuzz_packet);
}

#[test]
fn cuts() {
    replay(HERE, "cut", fuzz::fuzz_cut);
}

#[test]
fn names() {
    replay(HERE, "names", fuzz::fuzz_names);
}

#[test]
fn shims() {
    replay(HERE, "shim", fuzz::fuzz_shim);
}

#[test]
fn switches() {
    replay(HERE, "switch", fuzz::fuzz_switch);
}
