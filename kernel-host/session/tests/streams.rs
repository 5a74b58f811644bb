//! Sessions over byte streams.

#![allow(clippy::unwrap_used)]

mod wire;

use netcore::dice::Dice;
use protocol::peer::STREAM_MESSAGE_BYTES_MAX;
use session::stream::{Full, OUT_BYTES_MAX};
use session::{Broken, Purpose, Reason, Refusal, Rng, Secret, Stream, StreamEvent};
use wire::{TestGate, moment, node_peer};

/// Two ends of a stream and their gates; `captured` is what went over the wire.
struct Pair {
    ends: [Stream; 2],
    gates: [TestGate; 2],
    captured: Vec<u8>,
}

impl Pair {
    fn new(purpose: Purpose) -> Self {
        let secrets = [Secret::new([1; 32]), Secret::new([2; 32])];
        let client = Stream::connect(&secrets[0], &mut Rng::from_seed([3; 32]), purpose);
        let server = Stream::accept(&secrets[1], &mut Rng::from_seed([4; 32]));
        let gate = |number| TestGate {
            number: Some(number),
            refuses: Vec::new(),
        };
        Self {
            ends: [client.unwrap(), server.unwrap()],
            gates: [gate(1), gate(2)],
            captured: Vec::new(),
        }
    }

    fn open(purpose: Purpose) -> Self {
        let mut pair = Self::new(purpose);
        pair.run(usize::MAX).unwrap();
        assert!(pair.ends.iter().all(Stream::is_open));
        pair
    }

    /// Moves bytes until both ends are quiet or full, at most `step` at once.
    fn run(&mut self, step: usize) -> Result<(), Broken> {
        loop {
            let mut moved = 0;
            for from in 0..2 {
                let bytes = self.ends[from].wanted();
                let bytes = bytes[..bytes.len().min(step)].to_vec();
                let gate = &self.gates[1 - from];
                let taken = self.ends[1 - from].handle_bytes(moment(1), gate, &bytes)?;
                self.ends[from].wrote(taken);
                self.captured.extend_from_slice(&bytes[..taken]);
                moved += taken;
            }
            if moved == 0 {
                return Ok(());
            }
        }
    }
}

#[test]
fn both_ends_learn_who_is_there_and_what_for() {
    for purpose in [Purpose::Overlay, Purpose::Http] {
        let mut pair = Pair::open(purpose);
        let event = |peer| Some(StreamEvent::Established { peer, purpose });
        assert_eq!(pair.ends[0].poll_event(), event(node_peer(2)));
        assert_eq!(pair.ends[1].poll_event(), event(node_peer(1)));
    }
}

#[test]
fn messages_arrive_whole_and_in_order_however_the_wire_cuts_them() {
    for step in [1, 2, 3, 17, 1_000, usize::MAX] {
        let mut pair = Pair::open(Purpose::Overlay);
        let sizes: &[usize] = if step < 17 {
            &[0, 1, 300]
        } else {
            &[0, 1, 16_383, 16_384, 16_385, STREAM_MESSAGE_BYTES_MAX]
        };
        for (from, size) in [0, 1]
            .into_iter()
            .flat_map(|f| sizes.iter().map(move |s| (f, *s)))
        {
            pair.ends[from].send_message(&vec![5; size]).unwrap();
            pair.run(step).unwrap();
            let message = pair.ends[1 - from].poll_message().unwrap();
            assert_eq!(message, Some(vec![5; size]), "step {step}");
        }
        assert_eq!(pair.ends[0].poll_message(), Ok(None));
    }
}

#[test]
fn a_message_that_is_too_long_is_not_sent() {
    let mut pair = Pair::open(Purpose::Overlay);
    let long = vec![0; STREAM_MESSAGE_BYTES_MAX + 1];
    assert_eq!(pair.ends[0].send_message(&long), Err(Full));
    pair.ends[0].write(&u32::MAX.to_le_bytes());
    pair.run(usize::MAX).unwrap();
    assert_eq!(pair.ends[1].poll_message(), Err(Broken::Malformed));
}

/// Goal: an end that does not read slows the other down; memory stays bounded; nothing is lost.
#[test]
fn who_does_not_read_slows_the_writer_down() {
    let mut pair = Pair::open(Purpose::Http);
    let mut dice = Dice::new(1);
    let (mut written, mut read) = (Vec::new(), Vec::new());
    let mut next = 0_u8;
    for round in 0..4_000 {
        let length = usize::try_from(dice.below(4_000)).unwrap();
        let bytes: Vec<u8> = (0..length)
            .map(|_| {
                next = next.wrapping_add(7);
                next
            })
            .collect();
        let taken = pair.ends[0].write(&bytes);
        written.extend_from_slice(&bytes[..taken]);
        next = written.last().copied().unwrap_or(0);
        assert!(pair.ends[0].wanted().len() <= OUT_BYTES_MAX);
        pair.run(10_000).unwrap();
        if round > 1_000 {
            let mut out = [0; 3_000];
            let bytes = pair.ends[1].read(&mut out);
            read.extend_from_slice(&out[..bytes]);
        }
    }
    loop {
        let mut out = [0; 9_000];
        let bytes = pair.ends[1].read(&mut out);
        read.extend_from_slice(&out[..bytes]);
        pair.run(10_000).unwrap();
        if bytes == 0 && pair.ends[0].wanted().is_empty() {
            break;
        }
    }
    assert!(written.len() > 2_000_000);
    assert_eq!(written, read);
}

#[test]
fn an_end_is_told_from_a_cut() {
    let mut pair = Pair::open(Purpose::Http);
    pair.ends[0].write(b"the last words");
    pair.ends[0].finish();
    assert_eq!(pair.ends[0].write(b"and more"), 0);
    assert!(!pair.ends[1].is_at_end());
    pair.run(usize::MAX).unwrap();
    assert!(!pair.ends[1].is_at_end(), "something is left to read");
    let mut out = [0; 100];
    assert_eq!(pair.ends[1].read(&mut out), 14);
    assert!(pair.ends[1].is_at_end());
    assert_eq!(
        pair.ends[1].write(b"the answer"),
        10,
        "the other direction goes on"
    );
}

#[test]
fn whom_the_gate_refuses_is_told_why() {
    let mut pair = Pair::new(Purpose::Overlay);
    pair.gates[1].refuses = vec![1];
    let broken = pair.run(usize::MAX);
    assert_eq!(broken, Err(Broken::Refused(Reason::Ours(Refusal::Revoked))));
    let last = pair.ends[1].wanted().to_vec();
    let broken = pair.ends[0].handle_bytes(moment(1), &pair.gates[0], &last);
    assert_eq!(
        broken,
        Err(Broken::Refused(Reason::Theirs(Refusal::Revoked)))
    );
    assert!(!pair.ends[1].is_open());

    let mut pair = Pair::new(Purpose::Overlay);
    pair.gates[0].refuses = vec![2];
    let broken = pair.run(usize::MAX);
    assert_eq!(broken, Err(Broken::Refused(Reason::Ours(Refusal::Revoked))));
}

#[test]
fn a_changed_byte_breaks_the_stream_and_gives_nothing() {
    let clean = {
        let mut pair = Pair::open(Purpose::Overlay);
        pair.ends[0].send_message(b"the message").unwrap();
        pair.run(usize::MAX).unwrap();
        pair.captured.len()
    };
    for at in 0..clean {
        let mut pair = Pair::new(Purpose::Overlay);
        let mut place = 0;
        let mut sent = false;
        for _ in 0..20 {
            for from in 0..2 {
                let mut bytes = pair.ends[from].wanted().to_vec();
                pair.ends[from].wrote(bytes.len());
                if (place..place + bytes.len()).contains(&at) {
                    bytes[at - place] ^= 1 << (at % 8);
                }
                place += bytes.len();
                let gate = pair.gates[1 - from].clone();
                let _broken = pair.ends[1 - from].handle_bytes(moment(1), &gate, &bytes);
            }
            if pair.ends[0].is_open() && !sent {
                sent = true;
                pair.ends[0].send_message(b"the message").unwrap();
            }
        }
        let received = pair.ends[1].poll_message();
        assert!(
            !matches!(received, Ok(Some(_))),
            "byte {at} of {clean}: {received:?}"
        );
    }
}

#[test]
fn nothing_of_a_message_is_on_the_wire() {
    let mut pair = Pair::open(Purpose::Http);
    for _ in 0..100 {
        pair.ends[0].write(&b"GET /v1/vms HTTP/1.1\r\n".repeat(10));
        pair.ends[1].write(&b"HTTP/1.1 200 OK\r\n".repeat(10));
        pair.run(usize::MAX).unwrap();
        let mut out = [0; 4_096];
        while pair.ends[0].read(&mut out) + pair.ends[1].read(&mut out) > 0 {}
    }
    let has = |words: &[u8]| pair.captured.windows(words.len()).any(|w| w == words);
    assert!(pair.captured.len() > 40_000);
    assert!(!has(b"HTTP") && !has(b"/v1") && !has(&[1; 8]) && !has(&[2; 8]));
}
