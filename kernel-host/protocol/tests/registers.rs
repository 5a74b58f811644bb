//! The words of registers: their bytes for ever, and that the longest fit their way.
#![allow(clippy::unwrap_used)]

use protocol::peer::admission::Few;
use protocol::peer::register::{
    Accepted, Ballot, Council, Entry, Founding, GUARDIANS_MAX, Mark, Outcome, PAGE_ENTRIES_MAX,
    RegisterKey, RegisterMessage, Seat, Tag, VALUE_BYTES_MAX, Value, Wish, Written,
};
use protocol::peer::{Channel, Message};
use protocol::{NodeId, SiteId};
use std::path::Path;

const fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

const fn ballot(counter: u32) -> Ballot {
    Ballot {
        generation: u32::MAX,
        counter,
        node: node(1),
        boots: u32::MAX,
    }
}

fn value() -> Value {
    Value::new(vec![0x5a; VALUE_BYTES_MAX]).unwrap()
}

const fn tag() -> Tag {
    Tag {
        by: node(2),
        number: u64::MAX,
    }
}

fn accepted() -> Accepted {
    Accepted {
        ballot: ballot(7),
        written: Written {
            tag: tag(),
            follows: Some(tag()),
            value: value(),
        },
        age_ms: u64::MAX,
    }
}

fn council(seats: u8) -> Council {
    Council {
        site: SiteId::from_bytes([9; 16]),
        founding: Founding {
            era: 1,
            born_ms: 1_800_000_000_000,
            lot: 77,
        },
        generation: 3,
        seats: Few::new((0..seats).map(|number| Seat {
            node: node(number),
            boots: 4,
        })),
        before: Few::new((0..seats).map(node)),
    }
}

fn words() -> Vec<(&'static str, RegisterMessage)> {
    use RegisterMessage as M;
    let (mark, key, number) = (Mark([3; 8]), RegisterKey::Named([4; 16]), u64::MAX);
    let lease = RegisterKey::Lease(node(5));
    let written = accepted().written;
    let swap = Wish::Swap {
        expect: Some(value()),
        value: value(),
    };
    let held = Some(value());
    let council = || Box::new(council(5));
    let entry = Entry {
        key,
        accepted: accepted(),
    };
    let accept = M::Accept {
        mark,
        key,
        number,
        ballot: ballot(8),
        written,
        next: Some(ballot(9)),
    };
    let forward = |wish| M::Forward {
        mark,
        number,
        tag: tag(),
        key,
        wish,
        ms: 1350,
    };
    let found = Outcome::Value {
        value: held.clone(),
        age_ms: 5,
    };
    let page = M::Page {
        mark,
        behind: Some(key),
        entries: Few::new(std::iter::repeat_n(entry, 2)),
        is_last: true,
        is_seated: false,
    };
    let hand = M::Hand {
        council: council(),
        behind: Some(lease),
    };
    let outcome = |outcome| M::Outcome { number, outcome };
    vec![
        ("look", M::Look { mark, key, number }),
        (
            "prepare",
            M::Prepare {
                mark,
                key: lease,
                number,
                ballot: ballot(8),
            },
        ),
        (
            "promise-nothing",
            M::Promise {
                number,
                accepted: None,
            },
        ),
        (
            "promise",
            M::Promise {
                number,
                accepted: Some(accepted()),
            },
        ),
        ("accept", accept),
        ("accepted", M::Accepted { number }),
        (
            "late",
            M::Late {
                number,
                promised: ballot(9),
            },
        ),
        ("full", M::Full { number }),
        ("forward-look", forward(Wish::Look)),
        ("forward-swap", forward(swap)),
        ("done", outcome(Outcome::Done)),
        ("value", outcome(found)),
        ("conflict", outcome(Outcome::Conflict(held))),
        ("unsure", outcome(Outcome::Unsure)),
        ("refused", outcome(Outcome::Refused)),
        ("greet", M::Greet { mark: Some(mark) }),
        ("council", M::Council(council())),
        ("no-council", M::NoCouncil),
        ("blank", M::Blank { mark }),
        ("hand", hand),
        ("page", page),
        ("seated", M::Seated { mark }),
        ("unseated", M::Unseated { mark }),
    ]
}

#[test]
fn the_bytes_of_version_1_stay_as_they_are() {
    for (name, word) in words() {
        let message = Message::Register(word);
        let written = message.encode(Channel::Stream).unwrap();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = folder.join(format!("tests/golden/register-{name}.v1"));
        if std::env::var_os("LUC_GOLDEN").is_some() {
            std::fs::write(&path, &written).unwrap();
            let seed = folder.join(format!("corpus/register/{name}"));
            std::fs::create_dir_all(seed.parent().unwrap()).unwrap();
            std::fs::write(seed, &written[4..]).unwrap();
        }
        assert_eq!(std::fs::read(&path).unwrap(), written, "{name}");
        assert_eq!(
            Message::decode(Channel::Stream, &written),
            Ok(message),
            "{name}"
        );
    }
}

#[test]
fn all_but_a_page_fit_a_datagram_and_a_full_page_fits_a_stream() {
    for (name, word) in words() {
        let fits = Message::Register(word).encode(Channel::Datagram).is_some();
        assert_eq!(fits, name != "page", "{name}");
    }
    let entry = Entry {
        key: RegisterKey::Named([4; 16]),
        accepted: accepted(),
    };
    let page = RegisterMessage::Page {
        mark: Mark([3; 8]),
        behind: None,
        entries: Few::new(std::iter::repeat_n(entry, PAGE_ENTRIES_MAX)),
        is_last: false,
        is_seated: true,
    };
    assert!(Message::Register(page).encode(Channel::Stream).is_some());
}

#[test]
fn a_council_has_guardians_each_but_once() {
    assert_eq!(Council::decode(&council(5).encode()), Some(council(5)));
    assert_eq!(Council::decode(&council(0).encode()), None);
    let mut twice = council(3);
    twice.seats = Few::new([0, 1, 0].map(|number| Seat {
        node: node(number),
        boots: 1,
    }));
    assert_eq!(Council::decode(&twice.encode()), None);
    assert!(usize::from(5_u8) == GUARDIANS_MAX);
}

#[test]
#[rustfmt::skip] // keeps the columns
fn of_two_councils_one_goes_on() {
    //    era  born  lot  generation   against era 1, born 5, lot 5, generation 5
    check(1,   5,    5,   6,           true);
    check(1,   5,    5,   5,           false);
    check(1,   5,    5,   4,           false);
    check(2,   9,    9,   1,           true);
    check(0,   1,    1,   9,           false);
    check(1,   4,    9,   1,           true);
    check(1,   6,    1,   9,           false);
    check(1,   5,    4,   1,           true);
}

fn check(era: u32, born_ms: u64, lot: u64, generation: u32, wanted: bool) {
    let line = |era, born_ms, lot| Founding { era, born_ms, lot };
    let one = |founding, generation| Council {
        founding,
        generation,
        ..council(3)
    };
    let known = one(line(1, 5, 5), 5);
    let other = one(line(era, born_ms, lot), generation);
    assert_eq!(
        other.follows(&known),
        wanted,
        "{era} {born_ms} {lot} {generation}"
    );
}
