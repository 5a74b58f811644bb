//! The words of the cluster's table: their bytes for ever, and that the longest fit their way.
#![allow(clippy::unwrap_used)]

use protocol::NodeId;
use protocol::peer::admission::Few;
use protocol::peer::lookup::{
    Agreed, BUCKETS, BucketSum, ENTRIES_MAX, Entry, HOPS_MAX, Key, LIVES_S_MAX, LookupMessage,
    MARKS_MAX, Route, SUMS_MAX, Taken, VALUE_BYTES_MAX, VALUES_MAX, Value,
};
use protocol::peer::{Channel, Message, Signature, Stamp, Version};
use std::path::Path;

const fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

fn entry(epoch: u64, seq: u64, bytes: usize) -> Entry {
    Entry {
        key: Key([0x6b; 32]),
        author: node(3),
        version: Version { epoch, seq },
        written: Stamp::from_bits(u64::MAX),
        lives_s: LIVES_S_MAX,
        ended: false,
        value: Value::new(vec![0x76; bytes]).unwrap(),
        signature: Signature([0x73; 64]),
    }
}

fn longest() -> Entry {
    entry(u64::MAX, u64::MAX, VALUE_BYTES_MAX)
}

fn words() -> Vec<(&'static str, LookupMessage)> {
    use LookupMessage as M;
    let (number, bucket) = (u64::MAX, BUCKETS - 1);
    let route = Route {
        asker: node(1),
        hops: HOPS_MAX,
    };
    let found = |values: Vec<Entry>| M::Found {
        number,
        is_sure: true,
        values: Few::new(values),
    };
    let sum = BucketSum {
        bucket,
        count: u32::MAX,
        marks: u64::MAX,
    };
    let agreed = Agreed {
        bucket,
        marks: u64::MAX,
        is_sure: true,
    };
    let (entry, key) = (Box::new(longest()), Key([0x6b; 32]));
    let offer = M::Offer {
        bucket,
        wants_back: true,
        marks: Few::new([1, u64::MAX]),
    };
    let taken = |taken| M::Taken { number, taken };
    let marks = Few::new([1, 2]);
    vec![
        (
            "put",
            M::Put {
                number,
                route,
                entry,
            },
        ),
        ("find", M::Find { number, route, key }),
        ("kept", taken(Taken::Kept)),
        ("older", taken(Taken::Older)),
        ("full", taken(Taken::Full)),
        ("bad", taken(Taken::Bad)),
        ("unknown", taken(Taken::Unknown)),
        ("busy", taken(Taken::Busy)),
        ("found", found(vec![longest()])),
        ("found-nothing", found(Vec::new())),
        (
            "sums",
            M::Sums(Few::new(std::iter::repeat_n(sum, SUMS_MAX))),
        ),
        ("agree", M::Agree(Few::new([agreed]))),
        ("offer", offer),
        (
            "want",
            M::Want {
                bucket,
                offered: 3,
                marks,
            },
        ),
        ("entries", M::Entries(Few::new([longest()]))),
    ]
}

#[test]
fn the_bytes_of_version_1_stay_as_they_are() {
    for (name, word) in words() {
        let message = Message::Lookup(word);
        let written = message.encode(Channel::Stream).unwrap();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = folder.join(format!("tests/golden/lookup-{name}.v1"));
        if std::env::var_os("LUC_GOLDEN").is_some() {
            std::fs::write(&path, &written).unwrap();
            let seed = folder.join(format!("corpus/lookup/{name}"));
            std::fs::create_dir_all(seed.parent().unwrap()).unwrap();
            std::fs::write(seed, &written[4..]).unwrap();
        }
        assert_eq!(std::fs::read(&path).unwrap(), written, "{name}");
        let read = Message::decode(Channel::Stream, &written);
        assert_eq!(read, Ok(message), "{name}");
    }
}

#[test]
fn every_word_fits_a_datagram_and_its_largest_form_a_stream() {
    for (name, word) in words() {
        let message = Message::Lookup(word);
        assert!(message.encode(Channel::Datagram).is_some(), "{name}");
    }
    let marks = || Few::new(std::iter::repeat_n(u64::MAX, MARKS_MAX));
    let entries = |count| std::iter::repeat_n(longest(), count);
    let largest = [
        LookupMessage::Entries(Few::new(entries(ENTRIES_MAX))),
        LookupMessage::Found {
            number: u64::MAX,
            is_sure: true,
            values: Few::new(entries(VALUES_MAX)),
        },
        LookupMessage::Offer {
            bucket: BUCKETS - 1,
            wants_back: true,
            marks: marks(),
        },
        LookupMessage::Want {
            bucket: BUCKETS - 1,
            offered: u64::MAX,
            marks: marks(),
        },
    ];
    for word in largest {
        assert!(Message::Lookup(word).encode(Channel::Stream).is_some());
    }
}

#[test]
fn what_is_out_of_range_is_no_message() {
    let route = |hops| Route {
        asker: node(1),
        hops,
    };
    let find = |hops| LookupMessage::Find {
        number: 1,
        route: route(hops),
        key: Key([1; 32]),
    };
    let want = |bucket| LookupMessage::Want {
        bucket,
        offered: 3,
        marks: Few::default(),
    };
    let put = |lives_s| LookupMessage::Put {
        number: 1,
        route: route(0),
        entry: Box::new(Entry {
            lives_s,
            ..longest()
        }),
    };
    check(find(HOPS_MAX), find(HOPS_MAX + 1));
    check(want(BUCKETS - 1), want(BUCKETS));
    check(put(LIVES_S_MAX), put(LIVES_S_MAX + 1));
}

fn check(good: LookupMessage, bad: LookupMessage) {
    for (word, is_good) in [(good, true), (bad, false)] {
        let bytes = Message::Lookup(word).encode(Channel::Stream).unwrap();
        let read = Message::decode(Channel::Stream, &bytes);
        assert_eq!(read.is_ok(), is_good, "{read:?}");
    }
}

#[test]
fn the_later_write_counts_and_every_part_of_an_entry_is_signed() {
    let check = |new: (u64, u64), old: (u64, u64), wanted: bool| {
        let is_newer = entry(new.0, new.1, 1).is_newer_than(&entry(old.0, old.1, 1));
        assert_eq!(is_newer, wanted, "{new:?} {old:?}");
    };
    check((1, 2), (1, 1), true);
    check((2, 1), (1, 9), true);
    check((1, 1), (1, 1), false);
    check((1, 9), (2, 1), false);
    let one = entry(1, 1, 8);
    let changed = [
        Entry {
            key: Key([1; 32]),
            ..one.clone()
        },
        Entry {
            author: node(4),
            ..one.clone()
        },
        Entry {
            written: Stamp::from_bits(1),
            ..one.clone()
        },
        Entry {
            lives_s: 1,
            ..one.clone()
        },
        Entry {
            ended: true,
            ..one.clone()
        },
        entry(1, 2, 8),
        entry(1, 1, 9),
    ];
    for other in changed {
        assert_ne!(other.signed_part(), one.signed_part(), "{other:?}");
    }
}
