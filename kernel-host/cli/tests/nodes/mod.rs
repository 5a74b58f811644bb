//! A cluster around the fake node: two sites more, that exist in its directory and records only.
#![allow(clippy::unwrap_used, dead_code)]

use crate::fake::{FakeNode, ME};
use cloud::{
    NodeSight, SiteSight,
    bodies::{ImageFact, ImagesBody, VmBody, encode_capacity},
};
use protocol::{
    BlobRef, ByteCount, Capacity, Digest, DiskUse, Name, NodeId, PendingNode, Standing, Timestamp,
    VmSpec, VmState,
    peer::{Realm, Record, RecordKey, RecordKind, Signature, Stamp, Version, site},
};

pub fn id(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn node(number: u8, called: &str, at: &str, standing: Standing, age_ms: u64) -> NodeSight {
    NodeSight {
        site: site::id_of(&name(at)),
        standing,
        age_ms: Some(age_ms),
        address: Some(([192, 0, 2, number], 12213).into()),
        boots: 3,
        ..NodeSight::alone(id(number), called)
    }
}

fn record(kind: RecordKind, author: NodeId, at: &str, subject: [u8; 16], body: Vec<u8>) -> Record {
    Record {
        key: RecordKey {
            realm: Realm::Site(site::id_of(&name(at))),
            kind,
            subject,
        },
        author,
        version: Version { epoch: 1, seq: 1 },
        written: Stamp::from_wall(Timestamp::from_unix_ms(1_700_000_000_000)),
        ended: false,
        body,
        signature: Signature([0; 64]),
    }
}

fn vm(number: u8, called: &str, host: u8, at: &str, state: VmState) -> Record {
    let body = VmBody {
        name: name(called),
        host: id(host),
        spec: VmSpec {
            image: name("img"),
            vcpus: 2,
            memory: ByteCount::mib(256),
            cmdline: String::new(),
            disk: DiskUse::ReadOnly,
        },
        state,
        reason: None,
        created_at: Timestamp::from_unix_ms(1_700_000_000_000),
        changed_at: Timestamp::from_unix_ms(1_700_000_000_000),
        starts: 1,
        resets: 0,
    };
    record(RecordKind::VM, id(host), at, [number; 16], body.encode())
}

fn capacity(host: u8, at: &str) -> Record {
    let capacity = Capacity {
        cpus: 8,
        vcpus: 64, // fuller than the fake node ever gets
        memory: ByteCount::gib(16),
        reserved: ByteCount::gib(2),
        load_permille: 130,
        vms: 1,
        images: 1,
        kvm: true,
    };
    let body = encode_capacity(&capacity);
    record(RecordKind::CAPACITY, id(host), at, id(host).bytes(), body)
}

fn images(host: u8, at: &str) -> Record {
    let kernel = BlobRef {
        digest: Digest::of(b"a kernel"),
        size: ByteCount::bytes(8),
    };
    let initrd = BlobRef {
        digest: Digest::of(&vec![7; 3 << 20]),
        size: ByteCount::mib(3),
    };
    let body = ImagesBody {
        images: vec![ImageFact {
            name: name("img"),
            kernel,
            initrd: Some(initrd),
            disk: None,
            cmdline: "console=ttyS0".to_owned(),
            created_at: Timestamp::from_unix_ms(1_700_000_000_000),
            vms: 1,
        }],
    };
    record(
        RecordKind::IMAGES,
        id(host),
        at,
        id(host).bytes(),
        body.encode(),
    )
}

/// `fake` and `ams-2` in ams, `doomed` in ams and dead, `lon-1` in lon, and fra that is cut off.
pub fn join(fake: &FakeNode) {
    let nodes = vec![
        node(0x22, "ams-2", "ams", Standing::Alive, 800),
        node(0x23, "doomed", "ams", Standing::Dead, 200_000),
        node(0x31, "lon-1", "lon", Standing::Alive, 2_400),
        node(0x41, "fra-1", "fra", Standing::Unreachable, 500_000),
    ];
    let sight = |called: &str, reachable, age_ms: Option<u64>| SiteSight {
        id: site::id_of(&name(called)),
        name: name(called),
        reachable,
        round_trip_us: age_ms.filter(|_| reachable).map(|_| 49_700),
        age_ms,
        kept: true,
    };
    let sites = vec![
        sight("ams", true, None),
        sight("lon", true, Some(2_400)),
        sight("fra", false, Some(500_000)),
    ];
    let records = vec![
        vm(0xa1, "db", 0x22, "ams", VmState::Running),
        vm(0xa2, "shop", 0x31, "lon", VmState::Running),
        vm(0xa3, "cache", 0x41, "fra", VmState::Running),
        vm(0xa4, "shop", 0x41, "fra", VmState::Stopped),
        capacity(0x22, "ams"),
        capacity(0x31, "lon"),
        capacity(0x41, "fra"),
        images(0x22, "ams"),
        images(0x31, "lon"),
    ];
    fake.joins(nodes, sites, records);
    fake.has_waiting(PendingNode {
        code: "ab12-cd34".to_owned(),
        node: Some(id(0x77)),
        site: Some(name("ams")),
        address: Some("192.0.2.77".to_owned()),
        machine: Some("ams-7".to_owned()),
        waiting_ms: 95_000,
    });
    fake.sees("node", "ams-2", "is alive in site ams");
    fake.sees("node", "doomed", "does not answer its site: dead");
    fake.sees("site", "fra", "does not answer");
    debug_assert_ne!(ME, id(0x22));
}
