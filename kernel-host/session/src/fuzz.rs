//! Fuzz targets: bytes from strangers, and from whoever stands between two nodes.
//!
//! Does:      feeds any bytes to both sides of a handshake, of a session and of a stream; checks
//!            that tables agree and that nothing is received which was not sent.
//! Does not:  search for inputs; `qemu-tests/fuzz` does.
//! Bounds:    a few handshakes for each input.
//! Trusts:    nothing.
//! Start at:  `fuzz_handshake`.

use crate::gate::{Gate, Peer, Refusal};
use crate::packet::Packet;
use crate::{Datagrams, Destination, Hello, Limits, Output, Purpose, Rng, Secret, Stream};
use protocol::peer::SessionKey;
use protocol::{Moment, NodeId, SiteId, Timestamp};
use std::net::SocketAddr;

const MESSAGE: &[u8] = b"nobody may change this";

struct Open;

impl Gate for Open {
    fn payload(&self) -> Vec<u8> {
        vec![1]
    }

    fn check(&self, _: Moment, key: &SessionKey, payload: &[u8]) -> Result<Peer, Refusal> {
        if payload != [1] {
            return Ok(Peer::Stranger(*key));
        }
        let mut node = [0; 16];
        node.copy_from_slice(&key.0[..16]);
        Ok(Peer::Node {
            node: NodeId::from_bytes(node),
            site: SiteId::from_bytes([1; 16]),
        })
    }
}

const fn moment(uptime_ms: u64) -> Moment {
    Moment {
        uptime_ms,
        wall: Timestamp::from_unix_ms(uptime_ms),
    }
}

fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], crate::PORT))
}

fn side(number: u8) -> Datagrams {
    let secret = Secret::new([number; 32]);
    Datagrams::new(secret, Rng::from_seed([number; 32]), Limits::default())
}

/// Chunks of `data`: each begins with its length, in units of 5 bytes.
fn chunks(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = data.split_first()?;
        let (chunk, rest) = rest.split_at(rest.len().min(usize::from(*length) * 5));
        data = rest;
        Some(chunk)
    })
}

/// Passes datagrams between two sides until both are quiet. Gives what each received.
fn settle(sides: &mut [Datagrams; 2], now: Moment) -> [Vec<Vec<u8>>; 2] {
    let mut received = [Vec::new(), Vec::new()];
    for _ in 0..16 {
        for from in 0..2_usize {
            while let Some(output) = sides[from].poll_output() {
                match output {
                    Output::Transmit { bytes, .. } => {
                        let sender = address(u8::try_from(from).unwrap_or(0));
                        sides[1 - from].handle_datagram(now, &Open, sender, &bytes);
                    }
                    Output::Received { bytes, .. } => received[from].push(bytes),
                    _ => {}
                }
            }
            sides[from].check();
        }
    }
    received
}

/// Datagrams by strangers, to a node that waits for an answer and to one that waits for anybody.
/// No message may come of them, and no table may grow out of its limits.
pub fn fuzz_handshake(data: &[u8]) {
    let mut sides = [side(0), side(1)];
    let now = moment(1_000);
    assert_eq!(sides[0].open(now, address(1)), Ok(()));
    for chunk in chunks(data) {
        if let Ok(packet) = Packet::parse(chunk) {
            assert!(packet.encode().len() <= chunk.len());
        }
        if let Some(hello) = Hello::decode(chunk) {
            assert_eq!(hello.encode(), chunk);
        }
        for (from, side) in sides.iter_mut().enumerate() {
            let from = address(u8::try_from(1 - from).unwrap_or(0));
            side.handle_datagram(now, &Open, from, chunk);
            side.check();
        }
    }
    for side in &mut sides {
        side.handle_timeout(moment(60_000));
        while let Some(output) = side.poll_output() {
            assert!(!matches!(output, Output::Received { .. }));
        }
        side.check();
    }
}

/// What somebody between two nodes may do to their sealed datagrams. The first byte of a chunk
/// picks one that was sent; the others change it.
pub fn fuzz_data(data: &[u8]) {
    let mut sides = [side(0), side(1)];
    let now = moment(1_000);
    let to = Destination {
        node: None,
        address: address(1),
    };
    assert_eq!(sides[0].send(now, to, MESSAGE), Ok(()));
    assert_eq!(settle(&mut sides, now), [vec![], vec![MESSAGE.to_vec()]]);
    let mut sent = Vec::new();
    for _ in 0..4 {
        assert_eq!(sides[0].send(now, to, MESSAGE), Ok(()));
        while let Some(output) = sides[0].poll_output() {
            if let Output::Transmit { bytes, .. } = output {
                sent.push(bytes);
            }
        }
    }
    let mut received = 0;
    for chunk in chunks(data) {
        let [pick, changes @ ..] = chunk else {
            continue;
        };
        let mut bytes = sent[usize::from(*pick) % sent.len()].clone();
        for pair in changes.chunks_exact(2) {
            let place = usize::from(pair[0]) % bytes.len();
            bytes[place] ^= pair[1];
        }
        sides[1].handle_datagram(now, &Open, address(0), &bytes);
        sides[1].check();
        while let Some(output) = sides[1].poll_output() {
            if let Output::Received { bytes, .. } = output {
                assert_eq!(bytes, MESSAGE);
                received += 1;
            }
        }
    }
    assert!(received <= sent.len(), "a datagram was taken twice");
}

/// Bytes on a stream: by a stranger to either side (first byte 0 and 1), or changed between two
/// nodes (others). What is received is what was sent, or its beginning.
pub fn fuzz_stream(data: &[u8]) {
    let [how, data @ ..] = data else {
        return;
    };
    let connected = Stream::connect(
        &Secret::new([0; 32]),
        &mut Rng::from_seed([0; 32]),
        Purpose::Overlay,
    );
    let accepted = Stream::accept(&Secret::new([1; 32]), &mut Rng::from_seed([1; 32]));
    let (Ok(mut client), Ok(mut server)) = (connected, accepted) else {
        return;
    };
    match how {
        0 => hear(&mut server, data),
        1 => hear(&mut client, data),
        _ => {
            for _ in 0..3 {
                pass(&mut client, &mut server, &[]);
                pass(&mut server, &mut client, &[]);
            }
            assert!(client.is_open() && server.is_open());
            assert_eq!(client.send_message(MESSAGE), Ok(()));
            pass(&mut client, &mut server, data);
            if let Ok(Some(message)) = server.poll_message() {
                assert_eq!(message, MESSAGE);
            }
        }
    }
    while let Ok(Some(message)) = server.poll_message() {
        assert!(message.len() <= protocol::peer::STREAM_MESSAGE_BYTES_MAX);
    }
}

/// Moves what `from` wants written to `to`, changed by pairs of place and difference.
fn pass(from: &mut Stream, to: &mut Stream, changes: &[u8]) {
    let mut bytes = from.wanted().to_vec();
    from.wrote(bytes.len());
    for pair in changes.chunks_exact(2) {
        let length = bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(usize::from(pair[0]) % length) {
            *byte ^= pair[1];
        }
    }
    hear(to, &bytes);
}

/// Whether the stream breaks or not, it takes no more than there is.
fn hear(stream: &mut Stream, bytes: &[u8]) {
    if let Ok(taken) = stream.handle_bytes(moment(1_000), &Open, bytes) {
        assert!(taken <= bytes.len());
    }
}
