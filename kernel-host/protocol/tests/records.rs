//! Records, their bodies and the words of reconciliation: their bytes for ever, their limits.
#![allow(clippy::unwrap_used)]

use protocol::peer::admission::Few;
use protocol::peer::directory::DirectoryMessage;
use protocol::peer::load::Usage;
use protocol::peer::members::{Health, MEMBERS_MAX};
use protocol::peer::recon::{
    self, Held, MARKS_MAX, Packer, RANGES_MAX, REALMS_MAX, Range, RealmSum, ReconMessage, Sum,
};
use protocol::peer::record::RECORD_BYTES_MAX;
use protocol::peer::{
    Channel, Coordinate, Life, MemberLine, Message, NodeCard, RECORD_BODY_BYTES_MAX, Realm, Record,
    RecordKey, RecordKind, Signature, SiteLoad, SiteMembers, Stamp, Version,
};
use protocol::{NodeId, SiteId, Timestamp};
use std::net::SocketAddr;
use std::path::Path;

const SITE: SiteId = SiteId::from_bytes([9; 16]);

fn wall() -> Stamp {
    Stamp::from_wall(Timestamp::from_unix_ms(1_800_000_000_000))
}

fn record(body: Vec<u8>) -> Record {
    Record {
        key: RecordKey {
            realm: Realm::Site(SITE),
            kind: RecordKind::VM,
            subject: [5; 16],
        },
        author: NodeId::from_bytes([1; 16]),
        version: Version { epoch: 3, seq: 300 },
        written: wall(),
        ended: false,
        body,
        signature: Signature([4; 64]),
    }
}

fn line(number: u8, address: SocketAddr) -> MemberLine {
    MemberLine {
        node: NodeId::from_bytes([number; 16]),
        address,
        life: Life::new(u32::from(number), 1),
        health: Health::Alive,
    }
}

fn members() -> SiteMembers {
    let four = SocketAddr::from(([192, 0, 2, 1], 12213));
    let six = SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 12213));
    let mut lines = vec![line(1, four), line(2, six), line(3, four), line(4, four)];
    lines[2].health = Health::Dead;
    lines[3].health = Health::Other(7);
    SiteMembers {
        site: SITE,
        life: Life::new(2, 0),
        members: Few::new(lines),
        site_name: "lyon".parse().unwrap(),
    }
}

fn usage() -> Usage {
    Usage {
        vcpus: 64,
        vcpus_used: 3,
        memory_mib: 262_144,
        memory_used_mib: 700,
        vms: 2,
    }
}

fn range(held: Held) -> Range {
    Range {
        class: 3,
        start: 0x5 << 60,
        bits: 4,
        held,
    }
}

fn words() -> Vec<(&'static str, Vec<u8>)> {
    let load = SiteLoad {
        site: SITE,
        members: Version { epoch: 2, seq: 9 },
        nodes_alive: 4,
        usage: usage(),
        lost: Few::new([SiteId::from_bytes([8; 16])]),
        acknowledged: wall(),
        place: Coordinate {
            axes_us: [1, -70, 24_000],
            height_us: 90,
            error_milli: 40,
        },
    };
    let card = NodeCard {
        name: "node-a".parse().unwrap(),
        usage: usage(),
        is_draining: true,
    };
    let mut packer = Packer::default();
    assert!(packer.add(&record(vec![1, 2, 3]).encode()));
    let key = record(Vec::new()).key;
    let sum = Sum {
        count: 2,
        marks: u64::MAX,
    };
    let ranges = [
        range(Held::Sum(sum)),
        range(Held::Marks(Few::new([1, u64::MAX]))),
        range(Held::Lacking(Few::new([7]))),
    ];
    let realm = Realm::Cluster;
    let said = |word: ReconMessage| Message::Recon(word).encode(Channel::Stream).unwrap();
    let told = |word: DirectoryMessage| Message::Directory(word).encode(Channel::Stream).unwrap();
    let sums = Few::new([RealmSum { realm, sum }]);
    let wanted = Few::new([1, 2, 3]);
    vec![
        ("record", record(vec![1, 2, 3]).encode()),
        ("members", members().encode()),
        ("load", load.encode()),
        ("card", card.encode()),
        ("open", said(ReconMessage::Open { wall: wall(), sums })),
        ("same", said(ReconMessage::Same { wall: wall() })),
        (
            "ranges",
            said(ReconMessage::Ranges {
                realm,
                ranges: Few::new(ranges),
            }),
        ),
        (
            "want",
            said(ReconMessage::Want {
                realm,
                class: 3,
                marks: wanted,
            }),
        ),
        ("bundle", said(packer.finish())),
        ("ask", said(ReconMessage::Ask { key })),
        ("gone", said(ReconMessage::Gone { key })),
        (
            "site-ask",
            told(DirectoryMessage::Ask {
                number: 1,
                wall: wall(),
            }),
        ),
        (
            "site-here",
            told(DirectoryMessage::Here {
                number: 1,
                wall: wall(),
            }),
        ),
    ]
}

#[test]
fn the_bytes_of_version_1_stay_as_they_are() {
    for (name, written) in words() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = folder.join(format!("tests/golden/store-{name}.v1"));
        if std::env::var_os("LUC_GOLDEN").is_some() {
            std::fs::write(&path, &written).unwrap();
            let seed = folder.join(format!("corpus/record/{name}"));
            std::fs::create_dir_all(seed.parent().unwrap()).unwrap();
            // The target reads the body of a message.
            let is_message = written.first() == Some(&0x4c) && written.len() > 4;
            let body = if is_message {
                &written[4..]
            } else {
                &written[..]
            };
            std::fs::write(seed, body).unwrap();
        }
        assert_eq!(std::fs::read(&path).unwrap(), written, "{name}");
    }
}

#[test]
fn what_version_1_wrote_is_read_for_ever() {
    let golden = |name: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        std::fs::read(folder.join(format!("tests/golden/store-{name}.v1"))).unwrap()
    };
    assert_eq!(
        Record::decode(&golden("record")),
        Some(record(vec![1, 2, 3]))
    );
    assert_eq!(SiteMembers::decode(&golden("members")), Some(members()));
    assert_eq!(SiteLoad::decode(&golden("load")).unwrap().usage, usage());
    assert!(NodeCard::decode(&golden("card")).unwrap().is_draining);
    for name in ["open", "same", "ranges", "want", "bundle", "ask", "gone"] {
        let read = Message::decode(Channel::Stream, &golden(name));
        assert!(matches!(read, Ok(Message::Recon(_))), "{name}");
    }
}

#[test]
fn later_versions_may_add_fields_at_the_end_of_bodies_but_not_of_records() {
    let longer = |mut bytes: Vec<u8>| {
        bytes.extend([1, 2, 3]);
        bytes
    };
    assert_eq!(
        SiteMembers::decode(&longer(members().encode())),
        Some(members())
    );
    assert_eq!(Record::decode(&longer(record(Vec::new()).encode())), None);
}

#[test]
#[rustfmt::skip] // keeps the columns
fn a_record_has_a_largest_size() {
    //    body bytes                  is read
    check(0,                          true);
    check(RECORD_BODY_BYTES_MAX - 1,  true);
    check(RECORD_BODY_BYTES_MAX,      true);
    check(RECORD_BODY_BYTES_MAX + 1,  false);
}

fn check(body_bytes: usize, is_read: bool) {
    let bytes = record(vec![0; body_bytes]).encode();
    assert_eq!(Record::decode(&bytes).is_some(), is_read, "{body_bytes}");
    if is_read {
        assert!(bytes.len() <= RECORD_BYTES_MAX);
        let mut packer = Packer::default();
        assert!(packer.add(&bytes), "the largest record travels alone");
        let bundle = Message::Recon(packer.finish());
        assert!(bundle.encode(Channel::Stream).is_some());
    }
}

#[test]
fn a_bundle_gives_back_what_was_packed() {
    let records: Vec<Vec<u8>> = (0..20).map(|at| record(vec![at; 100]).encode()).collect();
    let mut packer = Packer::default();
    assert!(records.iter().all(|one| packer.add(one)));
    let ReconMessage::Bundle(bundle) = packer.finish() else {
        panic!("a packer makes bundles");
    };
    assert!(recon::unpack(bundle.bytes()).eq(records.iter().map(Vec::as_slice)));
    let cut = &bundle.bytes()[..bundle.bytes().len() - 1];
    assert_eq!(recon::unpack(cut).count(), records.len() - 1);
}

#[test]
fn the_longest_words_fit_their_channel() {
    let sum = Sum {
        count: u32::MAX,
        marks: u64::MAX,
    };
    let realm = Realm::Site(SITE);
    let sums = Few::new((0..REALMS_MAX).map(|_| RealmSum { realm, sum }));
    let open = ReconMessage::Open { wall: wall(), sums };
    assert!(Message::Recon(open).encode(Channel::Stream).is_some());
    let ranges = Few::new((0..RANGES_MAX).map(|_| range(Held::Sum(sum))));
    let ranges = ReconMessage::Ranges { realm, ranges };
    assert!(Message::Recon(ranges).encode(Channel::Stream).is_some());
    let marks = Few::new((0..MARKS_MAX).map(|_| u64::MAX));
    let want = ReconMessage::Want {
        realm,
        class: 3,
        marks,
    };
    assert!(Message::Recon(want).encode(Channel::Stream).is_some());
    let address = SocketAddr::from(([255; 8].map(|_: u8| 0xffff_u16), 65535));
    let lines = (0..MEMBERS_MAX).map(|at| {
        let mut one = line(0, address);
        let number = u16::try_from(at).unwrap().to_be_bytes();
        one.node = NodeId::from_bytes([
            number[0], number[1], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ]);
        one
    });
    let full = SiteMembers {
        members: Few::new(lines),
        ..members()
    };
    assert!(full.encode().len() <= 48 << 10, "{}", full.encode().len());
    assert_eq!(SiteMembers::decode(&full.encode()), Some(full));
}

#[test]
fn a_site_of_twenty_fits_a_datagram() {
    let address = SocketAddr::from(([192, 0, 2, 1], 12213));
    let lines = (0..26).map(|number| line(number, address));
    let said = SiteMembers {
        members: Few::new(lines),
        ..members()
    };
    let mut packer = Packer::default();
    packer.add(&record(said.encode()).encode());
    assert!(
        Message::Recon(packer.finish())
            .encode(Channel::Datagram)
            .is_some()
    );
}
