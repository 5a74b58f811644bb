//! Requests asked at one node for another.

#![allow(clippy::unwrap_used)]

use super::air::{Streams, World, id, with_three};
use crate::console::pump;
use crate::service::server;
use crate::service::streams::pipe;
use protocol::peer::RecordKind;
use protocol::{Digest, NodeEntry, Page, Vm, VmState, limits};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

#[test]
fn every_call_for_a_vm_works_at_any_node() {
    with_three(async |world: World| {
        let vm = world.create_on_b().await;
        assert_eq!(vm.node, id(2));
        let place = vm.place.unwrap();
        assert_eq!(
            (place.name.as_str(), place.age_ms),
            ("b", None),
            "its host said so"
        );
        for node in [&world.a, &world.b, &world.c] {
            let (_, body) = world.ask(node, "GET", "/v1/vms", b"").await;
            let page: Page<Vm> = serde_json::from_str(&body).unwrap();
            assert_eq!(page.items.len(), 1, "{body}");
            for target in ["web", "web~lon", &vm.id.to_string()] {
                let (status, body) = world
                    .ask(node, "GET", &format!("/v1/vms/{target}"), b"")
                    .await;
                assert_eq!(status, 200, "{target}: {body}");
                let shown: Vm = serde_json::from_str(&body).unwrap();
                assert_eq!((shown.id, shown.timeline.len()), (vm.id, 1), "first-hand");
            }
            let (status, _) = world.ask(node, "GET", "/v1/vms/web/console/log", b"").await;
            assert_eq!(status, 200);
            // Its process can't be made here, so it has failed, and can't be reset.
            let (status, body) = world.ask(node, "POST", "/v1/vms/web/reset", b"").await;
            assert_eq!(status, 409, "{body}");
            let (status, body) = world
                .ask(node, "POST", "/v1/vms/web/stop", b"{\"force\":true}")
                .await;
            assert_eq!(status, 202, "{body}");
        }
        let (status, _) = world.ask(&world.a, "DELETE", "/v1/vms/web", b"").await;
        assert_eq!(status, 202);
        assert!(
            world.b.counters.peers_served.get() <= 1,
            "streams end with their requests"
        );
    });
}

#[test]
fn nodes_and_images_are_reached_by_name() {
    with_three(async |world: World| {
        world.add_image_to_b().await;
        let (_, body) = world.ask(&world.a, "GET", "/v1/node?node=b", b"").await;
        let node: protocol::Node = serde_json::from_str(&body).unwrap();
        assert_eq!(node.id, id(2));
        let (_, body) = world.ask(&world.a, "GET", "/v1/nodes/b", b"").await;
        let entry: NodeEntry = serde_json::from_str(&body).unwrap();
        assert_eq!((entry.id, entry.age_ms), (id(2), Some(500)));
        let (status, body) = world.ask(&world.a, "GET", "/v1/node?node=q", b"").await;
        assert_eq!(status, 404, "{body}");
        // Without a wish an image is deleted where it is.
        let (status, body) = world.ask(&world.a, "DELETE", "/v1/images/linux", b"").await;
        assert_eq!(status, 200, "{body}");
        assert_eq!(world.b.cloud.borrow().image_count(), 0);
    });
}

#[test]
fn what_a_cut_leaves_is_shown_refused_or_kept_for_later() {
    with_three(async |world: World| {
        world.create_on_b().await;
        world.air.away.replace(vec![id(2)]);
        let (status, body) = world.ask(&world.a, "GET", "/v1/vms/web", b"").await;
        assert_eq!(status, 200, "{body}");
        let vm: Vm = serde_json::from_str(&body).unwrap();
        assert!(!vm.place.unwrap().reachable);
        let (_, body) = world.ask(&world.a, "GET", "/v1/vms", b"").await;
        assert!(
            body.contains("node `b` of site `lon` does not answer"),
            "{body}"
        );
        for (method, target) in [
            ("POST", "/v1/vms/web/start"),
            ("GET", "/v1/vms/web/console/log"),
            ("GET", "/v1/node?node=b"),
        ] {
            let (status, body) = world.ask(&world.a, method, target, b"").await;
            assert_eq!(status, 502, "{target}: {body}");
            assert!(
                body.contains("host_silent") && body.contains("Node `b`"),
                "{body}"
            );
        }
        // The word of its site is needed: another node of it takes the wish in.
        let before = world.air.opened.get();
        let (status, body) = world.ask(&world.a, "DELETE", "/v1/vms/web", b"").await;
        assert_eq!(
            (status, world.air.opened.get()),
            (202, before + 1),
            "{body}"
        );
        assert!(body.contains("deletes the VM on its return"), "{body}");
        // The cut heals: the host hears of the wish.
        world.air.away.replace(Vec::new());
        let wish = world
            .air
            .records
            .borrow()
            .iter()
            .find(|record| record.key.kind == RecordKind::VM)
            .cloned()
            .unwrap();
        assert_eq!(wish.author, id(3));
        world.b.heard(&wish);
        let (_, body) = world.ask(&world.b, "GET", "/v1/vms", b"").await;
        let page: Page<Vm> = serde_json::from_str(&body).unwrap();
        assert!(
            page.items.iter().all(|vm| vm.state == VmState::Deleting),
            "{body}"
        );
    });
}

#[test]
fn a_site_that_does_not_answer_is_named_and_the_rest_goes_on() {
    with_three(async |world: World| {
        world.create_on_b().await;
        world.air.away.replace(vec![id(2), id(3)]);
        let (_, body) = world.ask(&world.a, "GET", "/v1/vms", b"").await;
        assert!(body.contains("site `lon` does not answer"), "{body}");
        let (_, body) = world.ask(&world.a, "GET", "/v1/sites", b"").await;
        assert!(body.contains("\"reachable\": false"), "{body}");
        for (method, target) in [("DELETE", "/v1/vms/web"), ("DELETE", "/v1/nodes/c")] {
            let (status, body) = world.ask(&world.a, method, target, b"").await;
            assert_eq!(status, 502, "{target}: {body}");
            assert!(body.contains("No node of site `lon` answers"), "{body}");
        }
        let new = b"{\"name\":\"solo\",\"image\":\"linux\",\"memory\":\"64MiB\"}";
        let (status, body) = world.ask(&world.a, "POST", "/v1/vms?site=lon", new).await;
        assert_ne!(status, 202, "{body}");
        assert!(world.air.removed.borrow().is_empty());
        // An island of one still makes VMs of its own.
        let kernel = vec![9; 4096];
        let digest = Digest::of(&kernel);
        let put = format!("/v1/blobs/{digest}?offset=0&size={}", kernel.len());
        let (status, body) = world.ask(&world.a, "PUT", &put, &kernel).await;
        assert_eq!(status, 200, "{body}");
        let image = format!("{{\"name\":\"linux\",\"kernel\":\"{digest}\"}}");
        let (status, body) = world
            .ask(&world.a, "POST", "/v1/images", image.as_bytes())
            .await;
        assert_eq!(status, 201, "{body}");
        let (status, body) = world.ask(&world.a, "POST", "/v1/vms", new).await;
        assert_eq!(status, 202, "{body}");
    });
}

#[test]
fn a_node_is_removed_by_another_of_its_site() {
    with_three(async |world: World| {
        let (status, body) = world.ask(&world.a, "DELETE", "/v1/nodes/c", b"").await;
        assert_eq!(status, 202, "{body}");
        assert_eq!(*world.air.removed.borrow(), [(id(2), id(3))]);
        let (status, body) = world.ask(&world.a, "DELETE", "/v1/nodes/nobody", b"").await;
        assert_eq!(status, 404, "{body}");
    });
}

#[test]
fn a_forwarded_request_goes_no_further() {
    with_three(async |world: World| {
        world.create_on_b().await;
        let before = world.air.opened.get();
        let (mut near, far) = pipe::pair();
        let served = server::serve_peer(world.a.clone(), far);
        world.executor.spawn_detached(served).unwrap();
        let request = b"POST /v1/vms/web/start HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\
            luc-forwarded: 1\r\nContent-Length: 0\r\n\r\n";
        pipe::write_all(&mut near, request).await.unwrap();
        let answer = String::from_utf8(pipe::read_to_end(&mut near).await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        assert_eq!(world.air.opened.get(), before);
    });
}

#[test]
fn a_console_is_joined_through_the_node_that_was_asked() {
    with_three(async |world: World| {
        let vm = world.create_on_b().await;
        let (guest, ours) = UnixStream::pair().unwrap();
        guest.set_nonblocking(true).unwrap();
        ours.set_nonblocking(true).unwrap();
        (&guest).write_all(b"login: ").unwrap();
        let (console, executor) = (world.b.console(vm.id), world.executor.clone());
        let pumping = async move { pump(&executor, &console, &ours, || {}).await };
        world.executor.spawn_detached(pumping).unwrap();
        let (mut near, far) = pipe::pair();
        let served = server::serve_client_for_test(world.a.clone(), far);
        world.executor.spawn_detached(served).unwrap();
        let request = b"GET /v1/vms/web/console HTTP/1.1\r\nHost: n\r\nConnection: upgrade\r\n\
            Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        pipe::write_all(&mut near, request).await.unwrap();
        let seen = pipe::read_until(&mut near, b"login: ").await;
        let text = String::from_utf8_lossy(&seen);
        assert!(text.starts_with("HTTP/1.1 101"), "{text}");
        assert!(
            text.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            "the host's own word: {text}"
        );
        // One masked frame with `x`: typed at a, taken by the guest on b.
        let typed = [0x82, 0x81, 0, 0, 0, 0, b'x'];
        pipe::write_all(&mut near, &typed).await.unwrap();
        world.executor.readable(&guest).await.unwrap();
        let mut taken = [0; 16];
        let count = (&guest).read(&mut taken).unwrap();
        assert_eq!(&taken[..count], b"x");
    });
}

/// Waits for an answer of `b` that does not come, in the ways in which it may not come.
#[test]
fn a_node_that_closes_or_stays_silent_is_told_by_name() {
    for streams in [Streams::Close, Streams::Silent] {
        with_three(async |world: World| {
            world.create_on_b().await;
            // It is thought alive, yet no answer comes.
            world.air.streams.set(streams);
            let target = "/v1/vms/web/console/log";
            let (status, body) = world.ask(&world.a, "GET", target, b"").await;
            assert_eq!(status, 502, "{streams:?}: {body}");
            assert!(
                body.contains("Node `b`, which has VM `web`, does not answer"),
                "{body}"
            );
            let (status, body) = world.ask(&world.a, "GET", "/v1/vms/web", b"").await;
            assert_eq!(status, 200, "the record still tells what was true: {body}");
        });
    }
}

#[test]
fn bodies_are_bounded_before_and_after_they_are_forwarded() {
    with_three(async |world: World| {
        let before = world.air.opened.get();
        let body = vec![b' '; limits::BODY_BYTES_MAX + 1];
        let (status, answer) = world
            .ask(&world.a, "POST", "/v1/images?node=b", &body)
            .await;
        assert_eq!(status, 413, "{answer}");
        assert_eq!(world.air.opened.get(), before, "refused where it was asked");
    });
}
