//! The TFTP server against a small client, in virtual time, with loss.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use netcore::dice::Dice;
use netcore::tftp::packet::{self, Packet};
use netcore::tftp::server::{Counters, End, Files, Output, Server};

const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 9), 2000);

struct OneFile(Vec<u8>);

impl Files for OneFile {
    fn length(&mut self, name: &str) -> Option<u64> {
        (name == "luc.efi").then_some(self.0.len() as u64)
    }

    fn read(&mut self, _: &str, offset: u64, buffer: &mut [u8]) -> bool {
        let start = offset as usize;
        buffer.copy_from_slice(&self.0[start..start + buffer.len()]);
        true
    }
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 251) as u8).collect()
}

/// A client as RFC 7440 describes it: acknowledges a window's end, or what it has on a gap.
struct Client {
    block_len: usize,
    window: u64,
    received: Vec<u8>,
    blocks: u64,
    since_ack: u64,
    done: bool,
    granted: Option<String>,
}

impl Client {
    fn take(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        match Packet::parse(bytes)? {
            Packet::OptionAnswer(options) => {
                self.granted = Some(String::from_utf8(options.to_vec()).unwrap());
                Some(packet::acknowledgement(0))
            }
            Packet::Data { block, bytes } => {
                if block != (self.blocks + 1) as u16 {
                    self.since_ack = 0;
                    return Some(packet::acknowledgement(self.blocks as u16));
                }
                self.blocks += 1;
                self.since_ack += 1;
                self.received.extend_from_slice(bytes);
                self.done = bytes.len() < self.block_len;
                if self.done || self.since_ack == self.window {
                    self.since_ack = 0;
                    return Some(packet::acknowledgement(self.blocks as u16));
                }
                None
            }
            other => panic!("{other:?}"),
        }
    }
}

struct Outcome {
    received: Vec<u8>,
    end: Option<End>,
    granted: Option<String>,
    counters: Counters,
    longest: usize,
    elapsed_ms: u64,
}

/// Runs one download. `loss_percent` counts in both directions.
fn download(seed: u64, length: usize, options: &[(&str, u64)], loss_percent: u64) -> Outcome {
    let wish = |name: &str| {
        options
            .iter()
            .find(|(option, _)| *option == name)
            .map(|(_, v)| *v)
    };
    let mut client = Client {
        block_len: wish("blksize").unwrap_or(512).min(1468) as usize,
        window: wish("windowsize").unwrap_or(1).clamp(1, 16),
        received: Vec::new(),
        blocks: 0,
        since_ack: 0,
        done: false,
        granted: None,
    };
    let mut server = Server::new(OneFile(content(length)), 1500);
    let mut dice = Dice::new(seed);
    let mut flights: BTreeMap<(u64, u64), (bool, Vec<u8>)> = BTreeMap::new();
    let (mut now_ms, mut number, mut end, mut longest) = (0, 0, None, 0);
    let mut last_said = packet::read_request("luc.efi", options);
    let mut client_timeout_ms = 0;
    while end.is_none() && now_ms < 3_600_000 {
        if client_timeout_ms <= now_ms && !client.done {
            number += 1;
            flights.insert((now_ms + 1, number), (true, last_said.clone()));
            client_timeout_ms = now_ms + 2_000;
        }
        if let Some(((at_ms, _), (to_server, bytes))) = flights.pop_first() {
            if server.next_timeout().is_some_and(|ms| ms < at_ms) {
                now_ms = now_ms.max(server.next_timeout().unwrap());
                server.handle_timeout(now_ms);
                flights.insert((at_ms, 0), (to_server, bytes));
            } else {
                now_ms = now_ms.max(at_ms);
                if to_server {
                    server.handle_datagram(now_ms, CLIENT, &bytes);
                } else if let Some(answer) = client.take(&bytes) {
                    last_said = answer.clone();
                    client_timeout_ms = now_ms + 2_000;
                    if dice.below(100) >= loss_percent {
                        number += 1;
                        flights.insert((now_ms + 1, number), (true, answer));
                    }
                }
            }
        } else {
            let next = [
                server.next_timeout(),
                (!client.done).then_some(client_timeout_ms),
            ];
            now_ms = next.into_iter().flatten().min().unwrap().max(now_ms);
            server.handle_timeout(now_ms);
        }
        while let Some(output) = server.poll_output() {
            match output {
                Output::Send { bytes, .. } => {
                    longest = longest.max(bytes.len());
                    if dice.below(100) >= loss_percent {
                        number += 1;
                        flights.insert((now_ms + 1, number), (false, bytes));
                    }
                }
                Output::Finished { end: how, .. } => end = Some(how),
            }
        }
    }
    let counters = server.counters();
    let Client {
        received, granted, ..
    } = client;
    Outcome {
        received,
        end,
        granted,
        counters,
        longest,
        elapsed_ms: now_ms,
    }
}

#[test]
fn every_length_arrives_whole_with_every_block_and_window() {
    for length in [0, 1, 511, 512, 513, 1468, 10_000, 100_000] {
        for options in [
            &[][..],
            &[("blksize", 1468)],
            &[("blksize", 1468), ("windowsize", 4)],
            &[("windowsize", 16), ("blksize", 8)],
        ] {
            let outcome = download(1, length, options, 0);
            assert!(
                outcome.received == content(length),
                "{length} bytes with {options:?}"
            );
            assert_eq!(outcome.end, Some(End::Complete));
            assert_eq!(
                outcome.counters.repeats, 0,
                "{length} bytes with {options:?}"
            );
        }
    }
}

#[test]
fn a_lossy_wire_delays_and_never_damages() {
    for seed in 0..30 {
        for window in [1, 4, 16] {
            let options = [("blksize", 1468), ("windowsize", window)];
            let outcome = download(seed, 60_000, &options, 10);
            assert!(
                outcome.received == content(60_000),
                "seed {seed}, window {window}"
            );
        }
    }
}

/// PyPXE#160: files of more than 65,535 blocks.
#[test]
fn block_numbers_roll_over() {
    let length = 65_600 * 512 + 7;
    let outcome = download(2, length, &[], 0);
    assert_eq!(outcome.received.len(), length);
    assert!(outcome.received == content(length));
    let outcome = download(3, 70_000 * 8, &[("blksize", 8), ("windowsize", 16)], 1);
    assert!(outcome.received == content(70_000 * 8));
}

#[test]
fn options_are_granted_only_when_asked_and_within_limits() {
    let granted = |options: &[(&str, u64)]| download(4, 5_000, options, 0).granted;
    assert_eq!(granted(&[]), None, "no options, no answer to them");
    assert_eq!(granted(&[("unknown", 1)]), None);
    assert_eq!(
        granted(&[("blksize", 65_464)]).as_deref(),
        Some("blksize\x001468\x00")
    );
    assert_eq!(
        granted(&[("tsize", 0)]).as_deref(),
        Some("tsize\x005000\x00")
    );
    assert_eq!(
        granted(&[("timeout", 3)]).as_deref(),
        Some("timeout\x003\x00")
    );
    assert_eq!(granted(&[("timeout", 0)]), None);
    assert_eq!(
        granted(&[("windowsize", 500)]).as_deref(),
        Some("windowsize\x0016\x00")
    );
    let outcome = download(4, 50_000, &[("blksize", 65_464)], 0);
    assert_eq!(
        outcome.longest, 1472,
        "with IP and UDP one full frame, never a fragment"
    );
}

/// pin/tftp#125: firmwares ask for the size, abort, and ask again.
#[test]
fn a_client_that_only_wants_the_size_is_normal() {
    let mut server = Server::new(OneFile(content(5_000)), 1500);
    let request = packet::read_request("luc.efi", &[("tsize", 0)]);
    for _ in 0..3 {
        server.handle_datagram(0, CLIENT, &request);
        assert!(matches!(server.poll_output(), Some(Output::Send { .. })));
        let stop = [&[0, 5, 0, 8][..], b"User aborted the transfer\0"].concat();
        server.handle_datagram(1, CLIENT, &stop);
        let over = server.poll_output();
        assert!(
            matches!(
                over,
                Some(Output::Finished {
                    end: End::Stopped,
                    ..
                })
            ),
            "{over:?}"
        );
        assert_eq!(server.transfers(), 0);
    }
}

#[test]
fn a_client_that_vanishes_is_forgotten_after_bounded_repeats() {
    let mut server = Server::new(OneFile(content(5_000)), 1500);
    server.handle_datagram(0, CLIENT, &packet::read_request("luc.efi", &[]));
    let mut sent = std::iter::from_fn(|| server.poll_output()).count();
    let end_ms = loop {
        let Some(at_ms) = server.next_timeout() else {
            panic!("it has to end by itself")
        };
        server.handle_timeout(at_ms);
        match server.poll_output() {
            Some(Output::Send { .. }) => sent += 1,
            Some(Output::Finished { end, .. }) => {
                assert_eq!(end, End::Silent);
                break at_ms;
            }
            None => panic!("a timeout does something"),
        }
    };
    assert!(sent <= 8, "{sent} packets into the void");
    assert!(end_ms <= 60_000, "after {end_ms} ms");
}

#[test]
fn what_can_not_be_served_is_refused_with_a_reason() {
    let refused = |bytes: &[u8]| {
        let mut server = Server::new(OneFile(content(5)), 1500);
        server.handle_datagram(0, CLIENT, bytes);
        match server.poll_output() {
            Some(Output::Send { bytes, .. }) => Some(u16::from_be_bytes([bytes[2], bytes[3]])),
            _ => None,
        }
    };
    assert_eq!(refused(&packet::read_request("missing", &[])), Some(1));
    assert_eq!(
        refused(&packet::read_request("../luc.efi", &[])),
        None,
        "no such name exists"
    );
    assert_eq!(refused(b"\0\x02luc.efi\0octet\0"), Some(4));
    assert_eq!(refused(b"\0\x01luc.efi\0netascii\0"), Some(0));
    assert_eq!(
        refused(&packet::read_request("luc.efi", &[("blksize", 7)])),
        Some(8)
    );
    assert_eq!(
        refused(b"\0\x04\0\x01"),
        None,
        "a stray acknowledgement gets silence"
    );
}

#[test]
fn a_request_beyond_the_maximum_waits_its_turn() {
    let mut server = Server::new(OneFile(content(5_000)), 1500);
    let request = packet::read_request("luc.efi", &[]);
    for port in 0..100 {
        let client = SocketAddrV4::new(*CLIENT.ip(), 3000 + port);
        server.handle_datagram(0, client, &request);
    }
    assert_eq!(server.transfers(), netcore::tftp::server::TRANSFERS_MAX);
    assert_eq!(server.counters().refused, 36);
}

/// The "sorcerer's apprentice": a doubled acknowledgement must not double all that follows.
#[test]
fn a_doubled_acknowledgement_brings_nothing() {
    let mut server = Server::new(OneFile(content(5_000)), 1500);
    server.handle_datagram(0, CLIENT, &packet::read_request("luc.efi", &[]));
    let count = |server: &mut Server<OneFile>| std::iter::from_fn(|| server.poll_output()).count();
    assert_eq!(count(&mut server), 1);
    server.handle_datagram(1, CLIENT, &packet::acknowledgement(1));
    assert_eq!(count(&mut server), 1);
    server.handle_datagram(2, CLIENT, &packet::acknowledgement(1));
    assert_eq!(count(&mut server), 0);
}

#[test]
fn windows_make_a_transfer_faster() {
    let slow = download(5, 400_000, &[("blksize", 1468)], 0).elapsed_ms;
    let fast = download(5, 400_000, &[("blksize", 1468), ("windowsize", 8)], 0).elapsed_ms;
    assert!(fast * 3 < slow, "{fast} ms against {slow} ms");
}
