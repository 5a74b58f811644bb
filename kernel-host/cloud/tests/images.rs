//! Blobs that arrive in pieces, and images that name them.
#![allow(clippy::unwrap_used)]

mod world;

use cloud::{Event, Refusal};
use protocol::{
    Answer, Blob, ByteCount, Command, Digest, NewImage, PageRequest, Request, RetryKey, limits,
};
use world::World;

fn put(world: &mut World, whole: &[u8], from: usize, to: usize) -> Result<Blob, Refusal> {
    let (digest, size) = (Digest::of(whole), whole.len() as u64);
    let bytes = whole[from..to].to_vec();
    let offset = from as u64;
    match world.ask(Command::PutBlob {
        digest,
        size,
        offset,
        bytes,
    })? {
        Answer::Blob(blob) => Ok(blob),
        other => panic!("{other:?}"),
    }
}

fn image(name: &str, kernel: Digest) -> Command {
    let name = name.parse().unwrap();
    let cmdline = String::new();
    Command::CreateImage(NewImage {
        name,
        kernel,
        initrd: None,
        disk: None,
        cmdline,
    })
}

#[test]
fn a_blob_arrives_in_pieces_and_may_repeat_itself() {
    let mut world = World::new(ByteCount::mib(1));
    let blob = put(&mut world, b"0123456789", 0, 4).unwrap();
    assert_eq!((blob.received, blob.complete), (4, false));
    assert_eq!(world.asked(), "create:10 append:4");
    // The answer got lost: the same piece again changes nothing.
    assert_eq!(put(&mut world, b"0123456789", 0, 4).unwrap().received, 4);
    // Half old, half new: only the new half is stored.
    assert_eq!(put(&mut world, b"0123456789", 2, 6).unwrap().received, 6);
    assert_eq!(world.asked(), "append:2");
    // A gap is refused with the place to continue.
    let refused = put(&mut world, b"0123456789", 8, 10).unwrap_err();
    assert!(matches!(refused, Refusal::WrongOffset { received: 6, .. }));
    assert!(refused.advice().contains("byte 6"));
    assert!(put(&mut world, b"0123456789", 6, 10).unwrap().complete);
    assert_eq!(world.asked(), "append:4 seal");
    // Complete is complete: any piece is answered with that.
    assert!(put(&mut world, b"0123456789", 0, 10).unwrap().complete);
    assert_eq!(world.asked(), "");
    assert_eq!(world.blobs[&Digest::of(b"0123456789")], b"0123456789");
}

#[test]
fn bytes_of_another_digest_are_dropped_and_told() {
    let mut world = World::new(ByteCount::mib(1));
    let digest = Digest::of(b"right");
    let bytes = b"wrong".to_vec();
    let refused = world
        .ask(Command::PutBlob {
            digest,
            size: 5,
            offset: 0,
            bytes,
        })
        .unwrap_err();
    assert!(matches!(refused, Refusal::DigestMismatch { .. }));
    assert_eq!(world.asked(), "create:5 append:5 drop");
    assert_eq!(world.cloud.memory().reserved, ByteCount::ZERO);
    assert!(put(&mut world, b"right", 0, 5).unwrap().complete);
}

#[test]
fn room_is_checked_before_the_first_byte() {
    let mut world = World::new(ByteCount::bytes(9));
    let refused = put(&mut world, b"0123456789", 0, 1).unwrap_err();
    assert!(matches!(refused, Refusal::NoCapacity { .. }));
    assert_eq!(world.asked(), "");
    for (size, offset, bytes) in [
        (0, 0, vec![]),
        (4, 0, vec![1; 5]),
        (4, u64::MAX, vec![1]),
        (u64::MAX, 0, vec![]),
    ] {
        let digest = Digest::of(b"x");
        let refused = world
            .ask(Command::PutBlob {
                digest,
                size,
                offset,
                bytes,
            })
            .unwrap_err();
        assert!(
            matches!(refused, Refusal::BadValue { what: "size", .. }),
            "{refused}"
        );
    }
    put(&mut world, b"01234", 0, 1).unwrap();
    let digest = Digest::of(b"01234");
    let other = Command::PutBlob {
        digest,
        size: 6,
        offset: 1,
        bytes: vec![1],
    };
    assert!(matches!(
        world.ask(other),
        Err(Refusal::OtherSize {
            begun: 5,
            said: 6,
            ..
        })
    ));
}

#[test]
fn a_blob_that_nobody_sends_on_or_uses_is_dropped() {
    let mut world = World::new(ByteCount::mib(1));
    put(&mut world, b"half", 0, 2).unwrap();
    put(&mut world, b"whole", 0, 5).unwrap();
    put(&mut world, b"used", 0, 4).unwrap();
    world.ask(image("img", Digest::of(b"used"))).unwrap();
    world.asked();
    world.pass(limits::BLOB_IDLE_MS - 1);
    assert_eq!(world.asked(), "");
    world.pass(1);
    assert_eq!(world.asked(), "drop drop");
    assert_eq!(world.cloud.memory().reserved, ByteCount::bytes(4));
    world.pass(10 * limits::BLOB_IDLE_MS);
    assert_eq!(world.asked(), "");
}

#[test]
fn a_blob_that_can_not_be_stored_is_forgotten() {
    let mut world = World::new(ByteCount::mib(1));
    put(&mut world, b"0123456789", 0, 4).unwrap();
    world.asked();
    world.event(Event::BlobFailed {
        digest: Digest::of(b"0123456789"),
    });
    assert_eq!(world.asked(), "drop");
    let gone = put(&mut world, b"0123456789", 4, 10).unwrap_err();
    assert!(matches!(gone, Refusal::WrongOffset { received: 0, .. }));
}

#[test]
fn an_image_needs_all_its_parts() {
    let mut world = World::new(ByteCount::mib(1));
    let refused = world.ask(image("img", Digest::of(b"kernel"))).unwrap_err();
    assert!(matches!(
        refused,
        Refusal::BlobMissing {
            role: "kernel",
            received: 0,
            ..
        }
    ));
    put(&mut world, b"kernel", 0, 3).unwrap();
    let refused = world.ask(image("img", Digest::of(b"kernel"))).unwrap_err();
    assert!(matches!(refused, Refusal::BlobMissing { received: 3, .. }));
    put(&mut world, b"kernel", 3, 6).unwrap();
    world.ask(image("img", Digest::of(b"kernel"))).unwrap();
}

#[test]
fn an_image_is_made_once_however_often_it_is_asked_for() {
    let mut world = World::new(ByteCount::mib(1));
    let (kernel, other) = (world.upload(b"kernel"), world.upload(b"other"));
    let made = world.ask(image("img", kernel)).unwrap();
    assert_eq!(world.ask(image("img", kernel)).unwrap(), made);
    let refused = world.ask(image("img", other)).unwrap_err();
    assert!(matches!(refused, Refusal::NameTaken { kind: "image", .. }));
    // Asked for twice, it holds its parts once.
    let name = "img".parse().unwrap();
    world.ask(Command::DeleteImage(name)).unwrap();
    assert!(!world.blobs.contains_key(&kernel), "its part went with it");
}

#[test]
fn a_blob_goes_with_its_last_image() {
    let mut world = World::new(ByteCount::mib(1));
    let kernel = world.upload(b"kernel");
    world.ask(image("one", kernel)).unwrap();
    world.ask(image("two", kernel)).unwrap();
    world.asked();
    world
        .ask(Command::DeleteImage("one".parse().unwrap()))
        .unwrap();
    assert_eq!(world.asked(), "");
    world
        .ask(Command::DeleteImage("two".parse().unwrap()))
        .unwrap();
    assert_eq!(world.asked(), "drop");
    assert_eq!(world.cloud.memory().reserved, ByteCount::ZERO);
}

#[test]
fn an_image_in_use_is_not_deleted() {
    let mut world = World::with_image();
    world.create("a");
    let refused = world
        .ask(Command::DeleteImage("img".parse().unwrap()))
        .unwrap_err();
    assert_eq!(refused.to_string(), "Image `img` is used by a");
    let Answer::Image(shown) = world
        .ask(Command::ShowImage("img".parse().unwrap()))
        .unwrap()
    else {
        panic!()
    };
    assert_eq!(shown.vms, 1);
    world.ask(Command::DeleteVm("a".parse().unwrap())).unwrap();
    world.exits("a");
    world
        .ask(Command::DeleteImage("img".parse().unwrap()))
        .unwrap();
}

#[test]
fn lists_are_sorted_and_paged() {
    let mut world = World::with_image();
    for name in ["c", "a", "b", "d"] {
        world.try_create(name, ByteCount::mib(48)).unwrap();
    }
    let mut page = PageRequest {
        limit: 3,
        after: None,
        after_id: None,
    };
    let Answer::Vms(first) = world.ask(Command::ListVms(page.clone())).unwrap() else {
        panic!()
    };
    assert_eq!(
        first
            .items
            .iter()
            .map(|vm| vm.name.as_str())
            .collect::<String>(),
        "abc"
    );
    page.after = Some(first.next.unwrap().parse().unwrap());
    let Answer::Vms(last) = world.ask(Command::ListVms(page)).unwrap() else {
        panic!()
    };
    assert_eq!(
        last.items
            .iter()
            .map(|vm| vm.name.as_str())
            .collect::<String>(),
        "d"
    );
    assert_eq!(last.next, None);
}

#[test]
fn the_tables_of_images_and_blobs_have_an_end() {
    let mut world = World::new(ByteCount::mib(1));
    let kernel = world.upload(b"kernel");
    for n in 0..limits::IMAGES_MAX {
        world.ask(image(&format!("i{n}"), kernel)).unwrap();
    }
    let refused = world.ask(image("more", kernel)).unwrap_err();
    assert!(matches!(
        refused,
        Refusal::LimitReached { kind: "images", .. }
    ));
    for n in 1..limits::BLOBS_MAX {
        world.upload(format!("blob {n}").as_bytes());
    }
    let refused = put(&mut world, b"one more", 0, 8).unwrap_err();
    assert!(matches!(
        refused,
        Refusal::LimitReached { kind: "blobs", .. }
    ));
}

fn with_key(key: &str, body: &[u8], command: Command) -> Request {
    let key: RetryKey = key.parse().unwrap();
    Request {
        command,
        retry: Some((key, Digest::of(body))),
    }
}

#[test]
fn the_same_request_with_the_same_key_is_done_once() {
    let mut world = World::with_image();
    let new = protocol::NewVm::new("a".parse().unwrap(), "img".parse().unwrap());
    let create = || Command::CreateVm(new.clone());
    let first = world.request(with_key("k", b"create a", create())).unwrap();
    let again = world.request(with_key("k", b"create a", create())).unwrap();
    assert_eq!(first, again);
    assert_eq!(world.launches.len(), 1);
    let other = world
        .request(with_key("k", b"create b", create()))
        .unwrap_err();
    assert!(matches!(other, Refusal::KeyReused { .. }));
    // Without the key it is a second request, and the name is taken.
    assert!(matches!(
        world.ask(create()),
        Err(Refusal::NameTaken { .. })
    ));
    world.pass(limits::RETRY_KEY_LIFE_MS);
    let late = world
        .request(with_key("k", b"create a", create()))
        .unwrap_err();
    assert!(
        matches!(late, Refusal::NameTaken { .. }),
        "the key was forgotten"
    );
}

#[test]
fn a_refusal_is_not_remembered() {
    let mut world = World::with_image();
    let new = protocol::NewVm::new("a".parse().unwrap(), "late".parse().unwrap());
    let request = || with_key("k", b"create a", Command::CreateVm(new.clone()));
    assert!(world.request(request()).is_err());
    let kernel = world.upload(b"kernel");
    world.ask(image("late", kernel)).unwrap();
    world.request(request()).unwrap();
}

#[test]
fn keys_have_a_maximum_and_the_oldest_goes() {
    let mut world = World::with_image();
    let start = || Command::StartVm("a".parse().unwrap());
    world.create("a");
    for n in 0..=limits::RETRY_KEYS_MAX {
        world
            .request(with_key(&format!("k{n}"), b"start", start()))
            .unwrap();
    }
    assert_eq!(world.cloud.counters().retry_keys_dropped, 1);
    // k0 is forgotten, so another body may use it; k1 is not.
    world.request(with_key("k0", b"other", start())).unwrap();
    assert!(world.request(with_key("k2", b"other", start())).is_err());
}
