//! The bytes of bodies are for ever; what is outside the limits is refused.
#![allow(clippy::unwrap_used)]

use cloud::bodies::{BadBody, ImageFact, ImagesBody, VmBody, decode_capacity, encode_capacity};
use protocol::{
    BlobRef, ByteCount, Capacity, Digest, DiskUse, NodeId, Timestamp, VmSpec, VmState, limits,
};

fn vm() -> VmBody {
    VmBody {
        name: "web".parse().unwrap(),
        host: NodeId::from_bytes([7; 16]),
        spec: VmSpec {
            image: "alpine".parse().unwrap(),
            vcpus: 2,
            memory: ByteCount::mib(256),
            cmdline: "quiet".to_owned(),
            disk: DiskUse::Private,
        },
        state: VmState::Stopped,
        reason: Some("asked".to_owned()),
        created_at: Timestamp::from_unix_ms(1_700_000_000_000),
        changed_at: Timestamp::from_unix_ms(1_700_000_001_000),
        starts: 3,
        resets: 1,
    }
}

fn images() -> ImagesBody {
    let part = BlobRef {
        digest: Digest::of(b"kernel"),
        size: ByteCount::kib(3),
    };
    ImagesBody {
        images: vec![ImageFact {
            name: "alpine".parse().unwrap(),
            kernel: part,
            initrd: None,
            disk: Some(part),
            cmdline: "quiet".to_owned(),
            created_at: Timestamp::from_unix_ms(1_700_000_000_000),
            vms: 2,
        }],
    }
}

fn capacity() -> Capacity {
    Capacity {
        cpus: 8,
        vcpus: 3,
        memory: ByteCount::gib(4),
        reserved: ByteCount::mib(300),
        load_permille: 120,
        vms: 2,
        images: 1,
        kvm: true,
    }
}

/// Holds bytes against the file; `LUC_GOLDEN=write` writes it, and seeds the fuzzer's corpus.
fn golden(name: &str, kind: u8, bytes: &[u8]) {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let root = env!("CARGO_MANIFEST_DIR");
    let path = format!("{root}/tests/golden/{name}.hex");
    if std::env::var("LUC_GOLDEN").is_ok() {
        std::fs::create_dir_all(format!("{root}/tests/golden")).unwrap();
        std::fs::write(&path, format!("{hex}\n")).unwrap();
        let seed = [&[kind], bytes].concat();
        std::fs::write(format!("{root}/corpus/body/{name}"), seed).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        hex,
        wanted.trim(),
        "{name}: nodes of other versions read these bytes"
    );
}

#[test]
fn bodies_are_the_bytes_that_other_nodes_know() {
    golden("vm-v1", 0, &vm().encode());
    golden("images-v1", 1, &images().encode());
    golden("capacity-v1", 2, &encode_capacity(&capacity()));
}

#[test]
fn what_is_written_reads_back_and_later_fields_are_ignored() {
    let later = |mut bytes: Vec<u8>| {
        bytes.extend([1, 2, 3]);
        bytes
    };
    assert_eq!(VmBody::decode(&later(vm().encode())), Ok(vm()));
    assert_eq!(ImagesBody::decode(&later(images().encode())), Ok(images()));
    assert_eq!(
        decode_capacity(&later(encode_capacity(&capacity()))),
        Ok(capacity())
    );
}

#[test]
fn what_is_outside_the_limits_is_refused() {
    let with = |change: fn(&mut VmBody)| {
        let mut body = vm();
        change(&mut body);
        VmBody::decode(&body.encode())
    };
    for (what, refused) in [
        ("vcpus", with(|body| body.spec.vcpus = 0)),
        ("memory", with(|body| body.spec.memory = ByteCount::mib(1))),
        (
            "cmdline",
            with(|body| body.spec.cmdline = "\x1b[2J".to_owned()),
        ),
        ("reason", with(|body| body.reason = Some("x".repeat(400)))),
    ] {
        assert_eq!(refused, Err(BadBody::Limit { what }));
    }
    assert_eq!(VmBody::decode(&[]), Err(BadBody::Version));
    assert_eq!(VmBody::decode(&[0, 1]), Err(BadBody::Version));
    assert!(matches!(
        VmBody::decode(&[1; 9000]),
        Err(BadBody::Size { .. })
    ));
    assert_eq!(VmBody::decode(&[1, 255]), Err(BadBody::Form));
}

#[test]
fn the_largest_bodies_fit_their_records() {
    let mut body = vm();
    body.name = "n".repeat(limits::NAME_CHARS_MAX).parse().unwrap();
    body.spec.image = body.name.clone();
    body.spec.cmdline = "x".repeat(limits::CMDLINE_CHARS_MAX);
    body.reason = Some("\u{1f980}".repeat(limits::REASON_CHARS_MAX));
    assert_eq!(VmBody::decode(&body.encode()).as_ref(), Ok(&body));
    let image = protocol::Image {
        name: "n".repeat(limits::NAME_CHARS_MAX).parse().unwrap(),
        kernel: images().images[0].kernel,
        initrd: images().images[0].disk,
        disk: images().images[0].disk,
        cmdline: body.spec.cmdline,
        size: ByteCount::ZERO,
        created_at: Timestamp::default(),
        vms: 0,
        places: Vec::new(),
    };
    let all = vec![image; limits::IMAGES_MAX];
    let told = ImagesBody::new(all.iter());
    assert_eq!(ImagesBody::decode(&told.encode()).as_ref(), Ok(&told));
    assert!(told.images[0].cmdline.ends_with("..."), "cut, and says so");
}
