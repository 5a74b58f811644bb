//! Two nodes and the pipes between them: requests asked at one for the other.

#![allow(clippy::unwrap_used)]

use crate::console::pump;
use crate::service::cluster::{Opening, Peers};
use crate::service::facts::Facts;
use crate::service::streams::pipe;
use crate::service::{Node, Parent, server};
use cloud::{NodeSight, Publication, SiteSight};
use netio::executor::{Executor, Handle};
use protocol::peer::{Realm, Record, RecordKey, RecordKind, Signature, Stamp, Version, site};
use protocol::{
    Digest, Name, NodeEntry, NodeId, Page, PendingNode, Problem, SiteId, Standing, Vm, VmState,
};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::{Rc, Weak};
use sys::seqpacket::pair;

fn id(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

/// The records that both nodes have, and whether they reach each other.
#[derive(Debug, Default)]
struct Air {
    records: RefCell<Vec<Record>>,
    nodes: RefCell<Vec<Weak<Node>>>,
    cut: Cell<bool>,
    opened: Cell<u32>,
}

#[derive(Debug)]
struct Link {
    me: NodeId,
    air: Rc<Air>,
    executor: Handle,
}

fn site_of(node: NodeId) -> Name {
    if node == id(1) { "ams" } else { "lon" }.parse().unwrap()
}

impl Peers for Link {
    fn nodes(&self) -> Vec<NodeSight> {
        let sight = |number: u8, name: &str| NodeSight {
            site: site::id_of(&site_of(id(number))),
            standing: match self.air.cut.get() && id(number) != self.me {
                true => Standing::Unreachable,
                false => Standing::Alive,
            },
            age_ms: (id(number) != self.me).then_some(500),
            ..NodeSight::alone(id(number), name)
        };
        vec![sight(1, "a"), sight(2, "b")]
    }

    fn sites(&self) -> Vec<SiteSight> {
        let sight = |number: u8| SiteSight {
            id: site::id_of(&site_of(id(number))),
            name: site_of(id(number)),
            reachable: id(number) == self.me || !self.air.cut.get(),
            age_ms: (id(number) != self.me).then_some(500),
            kept: true,
        };
        vec![sight(1), sight(2)]
    }

    fn records(&self, kinds: &[RecordKind]) -> Vec<Record> {
        let records = self.air.records.borrow();
        let wanted = records
            .iter()
            .filter(|record| kinds.contains(&record.key.kind));
        wanted.cloned().collect()
    }

    fn publish(&self, realm: Option<SiteId>, fact: Publication) -> Result<(), Box<Problem>> {
        let realm = realm.unwrap_or_else(|| site::id_of(&site_of(self.me)));
        let key = RecordKey {
            realm: Realm::Site(realm),
            kind: fact.kind,
            subject: fact.subject,
        };
        let mut records = self.air.records.borrow_mut();
        let seq = records.len() as u64;
        records.retain(|record| record.key != key);
        records.push(Record {
            key,
            author: self.me,
            version: Version {
                epoch: fact.epoch,
                seq,
            },
            written: Stamp::default(),
            ended: fact.ended,
            body: fact.body,
            signature: Signature([0; 64]),
        });
        Ok(())
    }

    fn open_http(&self, node: NodeId) -> Opening {
        self.air.opened.set(self.air.opened.get() + 1);
        if self.air.cut.get() {
            return Box::pin(async { Err(io::ErrorKind::HostUnreachable.into()) });
        }
        let nodes = self.air.nodes.borrow();
        let there = nodes
            .iter()
            .filter_map(Weak::upgrade)
            .find(|there| there.facts.id.get() == node);
        let (near, far) = pipe::pair();
        let served = server::serve_peer(there.unwrap(), far);
        self.executor.spawn_detached(served).unwrap();
        Box::pin(async { Ok(near) })
    }

    fn pending(&self) -> Vec<PendingNode> {
        Vec::new()
    }

    fn approve(&self, _code: &str) -> Result<PendingNode, Box<Problem>> {
        Err(Box::new(crate::service::cluster::no_cluster()))
    }

    fn remove(&self, _node: NodeId) -> Result<(), Box<Problem>> {
        Ok(())
    }
}

struct World {
    a: Rc<Node>,
    b: Rc<Node>,
    air: Rc<Air>,
    executor: Handle,
}

fn with_two<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) {
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let air = Rc::<Air>::default();
    let mut kept = Vec::new();
    let made = [1, 2].map(|number| {
        let (init, theirs) = pair().unwrap();
        kept.push(init);
        let facts = Facts {
            id: id(number).into(),
            ..Facts::read()
        };
        let node = Node::with_facts(handle.clone(), Parent::new(theirs), facts).unwrap();
        let node = Rc::new(node);
        node.kvm.decide_for_test(true);
        air.nodes.borrow_mut().push(Rc::downgrade(&node));
        node
    });
    for node in &made {
        node.join(Rc::new(Link {
            me: node.facts.id.get(),
            air: air.clone(),
            executor: handle.clone(),
        }));
        node.event(cloud::Event::Machine {
            cpus: 2,
            load_permille: 0,
            kvm: true,
        });
    }
    let [a, b] = made;
    let world = World {
        a,
        b,
        air,
        executor: handle,
    };
    executor.block_on(test(world));
    drop(kept);
}

impl World {
    /// A client of a node: one request on a connection of its own.
    async fn ask(&self, node: &Rc<Node>, method: &str, target: &str, body: &[u8]) -> (u16, String) {
        let (mut near, far) = pipe::pair();
        let served = server::serve_client_for_test(node.clone(), far);
        self.executor.spawn_detached(served).unwrap();
        let kind = if method == "PUT" {
            "octet-stream"
        } else {
            "json"
        };
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\
             Content-Type: application/{kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        pipe::write_all(&mut near, head.as_bytes()).await.unwrap();
        pipe::write_all(&mut near, body).await.unwrap();
        let text = String::from_utf8(pipe::read_to_end(&mut near).await).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).unwrap_or("0").parse().unwrap();
        (status, body.to_owned())
    }

    /// Puts image `linux` on node b, asked at node a.
    async fn add_image_to_b(&self) {
        let kernel = vec![7; 1 << 20];
        let digest = Digest::of(&kernel);
        let put = format!("/v1/blobs/{digest}?offset=0&size={}&node=b", kernel.len());
        let (status, body) = self.ask(&self.a, "PUT", &put, &kernel).await;
        assert_eq!(status, 200, "{body}");
        let new = format!("{{\"name\":\"linux\",\"kernel\":\"{digest}\"}}");
        let (status, body) = self
            .ask(&self.a, "POST", "/v1/images?node=b", new.as_bytes())
            .await;
        assert_eq!(status, 201, "{body}");
        assert_eq!(self.a.cloud.borrow().image_count(), 0);
        assert_eq!(self.b.cloud.borrow().image_count(), 1);
    }

    async fn create_on_b(&self) -> Vm {
        self.add_image_to_b().await;
        let new = b"{\"name\":\"web\",\"image\":\"linux\",\"memory\":\"64MiB\"}";
        let (status, body) = self.ask(&self.a, "POST", "/v1/vms?site=lon", new).await;
        assert_eq!(status, 202, "{body}");
        serde_json::from_str(&body).unwrap()
    }
}

#[test]
fn every_call_for_a_vm_works_at_any_node() {
    with_two(async |world: World| {
        let vm = world.create_on_b().await;
        assert_eq!(vm.node, id(2));
        let place = vm.place.unwrap();
        assert_eq!(
            (place.name.as_str(), place.age_ms),
            ("b", None),
            "its host said so"
        );
        for node in [&world.a, &world.b] {
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
    with_two(async |world: World| {
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
    with_two(async |world: World| {
        world.create_on_b().await;
        world.air.cut.set(true);
        let (status, body) = world.ask(&world.a, "GET", "/v1/vms/web", b"").await;
        assert_eq!(status, 200, "{body}");
        let vm: Vm = serde_json::from_str(&body).unwrap();
        assert!(!vm.place.unwrap().reachable);
        let (_, body) = world.ask(&world.a, "GET", "/v1/vms", b"").await;
        assert!(body.contains("site `lon` does not answer"), "{body}");
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
        let before = world.air.opened.get();
        let (status, body) = world.ask(&world.a, "DELETE", "/v1/vms/web", b"").await;
        assert_eq!((status, world.air.opened.get()), (202, before), "{body}");
        assert!(body.contains("deletes the VM on its return"), "{body}");
        // The cut heals: the host hears of the wish.
        world.air.cut.set(false);
        let wish = world
            .air
            .records
            .borrow()
            .iter()
            .find(|record| record.key.kind == RecordKind::VM)
            .cloned()
            .unwrap();
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
fn a_forwarded_request_goes_no_further() {
    with_two(async |world: World| {
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
    with_two(async |world: World| {
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

#[test]
fn a_node_that_accepts_and_says_nothing_is_told_by_name() {
    with_two(async |world: World| {
        world.create_on_b().await;
        // It is thought alive, yet no stream comes about.
        let standing = world.air.cut.replace(false);
        world.air.nodes.borrow_mut().clear();
        assert!(!standing);
        let closed = Rc::new(Deaf(world.air.clone()));
        world.a.peers.replace(Some(closed));
        let (status, body) = world
            .ask(&world.a, "GET", "/v1/vms/web/console/log", b"")
            .await;
        assert_eq!(status, 502, "{body}");
        assert!(
            body.contains("Node `b`, which has VM `web`, does not answer"),
            "{body}"
        );
        let (status, body) = world.ask(&world.a, "GET", "/v1/vms/web", b"").await;
        assert_eq!(status, 200, "the record still tells what was true: {body}");
    });
}

/// Peers whose streams close at once.
#[derive(Debug)]
struct Deaf(Rc<Air>);

impl Deaf {
    fn link(&self) -> Link {
        let executor = Executor::new().unwrap().handle();
        Link {
            me: id(1),
            air: self.0.clone(),
            executor,
        }
    }
}

impl Peers for Deaf {
    fn nodes(&self) -> Vec<NodeSight> {
        self.link().nodes()
    }

    fn sites(&self) -> Vec<SiteSight> {
        self.link().sites()
    }

    fn records(&self, kinds: &[RecordKind]) -> Vec<Record> {
        self.link().records(kinds)
    }

    fn publish(&self, _: Option<SiteId>, _: Publication) -> Result<(), Box<Problem>> {
        Ok(())
    }

    fn open_http(&self, _: NodeId) -> Opening {
        Box::pin(async { Ok(pipe::pair().0) })
    }

    fn pending(&self) -> Vec<PendingNode> {
        Vec::new()
    }

    fn approve(&self, _: &str) -> Result<PendingNode, Box<Problem>> {
        Err(Box::new(crate::service::cluster::no_cluster()))
    }

    fn remove(&self, _: NodeId) -> Result<(), Box<Problem>> {
        Ok(())
    }
}
