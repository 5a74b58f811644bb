//! The words of neighbours: their bytes for ever, and what a message of each kind holds at most.
#![allow(clippy::unwrap_used)]

use protocol::peer::admission::Few;
use protocol::peer::capped::Capped;
use protocol::peer::record::RECORD_BYTES_MAX;
use protocol::peer::spread::{NAMES_MAX, SpreadMessage};
use protocol::peer::{Channel, Coordinate, DATAGRAM_BYTES_MAX, Message};
use std::path::Path;

fn payload(length: usize) -> Option<Message> {
    let record = Capped::new(vec![5; length])?;
    let hops = u8::MAX;
    Some(Message::Spread(SpreadMessage::Payload { hops, record }))
}

fn words() -> Vec<(&'static str, SpreadMessage)> {
    let record = Capped::new((0..200).collect()).unwrap();
    vec![
        ("hello", SpreadMessage::Hello { number: 300 }),
        (
            "here",
            SpreadMessage::Here {
                number: 300,
                is_accepted: true,
                place: Coordinate {
                    axes_us: [-5_000_000, 300, 0],
                    height_us: 700,
                    error_milli: 250,
                },
            },
        ),
        ("bye", SpreadMessage::Bye),
        ("payload", SpreadMessage::Payload { hops: 3, record }),
        ("names", SpreadMessage::Names(Few::new([1, u64::MAX]))),
        ("graft", SpreadMessage::Graft(Few::new([300]))),
        ("prune", SpreadMessage::Prune),
    ]
}

#[test]
fn the_bytes_of_version_1_stay_as_they_are() {
    for (name, word) in words() {
        let message = Message::Spread(word);
        let written = message.encode(Channel::Datagram).unwrap();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = folder.join(format!("tests/golden/spread-{name}.v1"));
        if std::env::var_os("LUC_GOLDEN").is_some() {
            std::fs::write(&path, &written).unwrap();
        }
        assert_eq!(std::fs::read(&path).unwrap(), written, "{name}");
        let read = Message::decode(Channel::Datagram, &written);
        assert_eq!(read, Ok(message), "{name}");
    }
}

/// Marks are digests, so most of them take the longest form that a number has.
#[test]
fn as_many_names_as_are_allowed_fit_a_datagram() {
    let full = || Few::new([u64::MAX; NAMES_MAX]);
    for word in [SpreadMessage::Names(full()), SpreadMessage::Graft(full())] {
        assert!(Message::Spread(word).encode(Channel::Datagram).is_some());
    }
}

#[test]
fn one_name_too_many_is_no_message() {
    let mut body = vec![0x4c, 1, 2, 0, 4, u8::try_from(NAMES_MAX + 1).unwrap()];
    body.extend([7; NAMES_MAX + 1]);
    assert!(Message::decode(Channel::Datagram, &body).is_err());
}

#[test]
fn the_longest_record_fits_a_stream_and_a_longer_one_is_no_payload() {
    let longest = payload(RECORD_BYTES_MAX).unwrap();
    let written = longest.encode(Channel::Stream).unwrap();
    assert_eq!(Message::decode(Channel::Stream, &written), Ok(longest));
    assert!(payload(RECORD_BYTES_MAX + 1).is_none());
}

#[test]
fn a_payload_at_the_limit_of_a_datagram_and_one_byte_beyond() {
    let head = payload(300)
        .unwrap()
        .encode(Channel::Datagram)
        .unwrap()
        .len()
        - 300;
    let most = DATAGRAM_BYTES_MAX - head;
    assert!(payload(most).unwrap().encode(Channel::Datagram).is_some());
    assert!(
        payload(most + 1)
            .unwrap()
            .encode(Channel::Datagram)
            .is_none()
    );
}
