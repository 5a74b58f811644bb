//! Three nodes in two sites, and pipes between them: `a` in `ams`, `b` and `c` in `lon`.

#![allow(clippy::unwrap_used)]

use crate::service::cluster::{Opening, Peers};
use crate::service::facts::Facts;
use crate::service::streams::{Stream, pipe};
use crate::service::{Node, Parent, server};
use cloud::{NodeSight, Publication, SiteSight};
use netio::executor::{Executor, Handle};
use protocol::peer::{Realm, Record, RecordKey, RecordKind, Signature, Stamp, Version, site};
use protocol::{Digest, Name, NodeId, PendingNode, Problem, SiteId, Standing, Vm};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::rc::{Rc, Weak};
use sys::seqpacket::pair;

pub fn id(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

/// What becomes of a stream to a node that is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Streams {
    #[default]
    Served,
    /// They close at once.
    Close,
    /// They stay open, and nobody speaks.
    Silent,
}

/// The records that all nodes have, and who is cut off.
#[derive(Debug, Default)]
pub struct Air {
    pub records: RefCell<Vec<Record>>,
    pub nodes: RefCell<Vec<Weak<Node>>>,
    /// Nobody reaches these.
    pub away: RefCell<Vec<NodeId>>,
    pub streams: Cell<Streams>,
    pub opened: Cell<u32>,
    pub removed: RefCell<Vec<(NodeId, NodeId)>>,
    held: RefCell<Vec<Stream>>,
}

impl Air {
    pub fn is_away(&self, node: NodeId) -> bool {
        self.away.borrow().contains(&node)
    }
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
            standing: match self.air.is_away(id(number)) && id(number) != self.me {
                true => Standing::Unreachable,
                false => Standing::Alive,
            },
            age_ms: (id(number) != self.me).then_some(500),
            ..NodeSight::alone(id(number), name)
        };
        vec![sight(1, "a"), sight(2, "b"), sight(3, "c")]
    }

    fn sites(&self) -> Vec<SiteSight> {
        let sight = |numbers: &[u8]| SiteSight {
            id: site::id_of(&site_of(id(numbers[0]))),
            name: site_of(id(numbers[0])),
            reachable: numbers
                .iter()
                .any(|number| id(*number) == self.me || !self.air.is_away(id(*number))),
            round_trip_us: None,
            age_ms: (!numbers.contains(&self.me.bytes()[0])).then_some(500),
            kept: true,
        };
        vec![sight(&[1]), sight(&[2, 3])]
    }

    fn records(&self, kinds: &[RecordKind]) -> Vec<Record> {
        let records = self.air.records.borrow();
        let wanted = records
            .iter()
            .filter(|record| kinds.contains(&record.key.kind));
        wanted.cloned().collect()
    }

    fn publish(&self, realm: Option<SiteId>, fact: Publication) -> Result<(), Box<Problem>> {
        let own = site::id_of(&site_of(self.me));
        let realm = realm.unwrap_or(own);
        assert_eq!(realm, own, "only nodes of a site may write its records");
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
        if self.air.is_away(node) {
            return Box::pin(async { Err(io::ErrorKind::HostUnreachable.into()) });
        }
        let (near, far) = pipe::pair();
        match self.air.streams.get() {
            Streams::Close => {}
            Streams::Silent => self.air.held.borrow_mut().push(far),
            Streams::Served => {
                let nodes = self.air.nodes.borrow();
                let mut there = nodes.iter().filter_map(Weak::upgrade);
                let there = there.find(|there| there.facts.id.get() == node);
                let served = server::serve_peer(there.unwrap(), far);
                self.executor.spawn_detached(served).unwrap();
            }
        }
        Box::pin(async { Ok(near) })
    }

    fn pending(&self) -> Vec<PendingNode> {
        Vec::new()
    }

    fn approve(&self, _code: &str) -> Result<PendingNode, Box<Problem>> {
        Err(Box::new(crate::service::cluster::no_cluster()))
    }

    fn tell_word(&self, _word: &str) -> Result<String, Box<Problem>> {
        Err(Box::new(crate::service::cluster::no_cluster()))
    }

    fn remove(&self, node: NodeId) -> Result<(), Box<Problem>> {
        self.air.removed.borrow_mut().push((self.me, node));
        Ok(())
    }
}

pub struct World {
    pub a: Rc<Node>,
    pub b: Rc<Node>,
    pub c: Rc<Node>,
    pub air: Rc<Air>,
    pub executor: Handle,
}

pub fn with_three<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) {
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let air = Rc::<Air>::default();
    let mut kept = Vec::new();
    let made = [1, 2, 3].map(|number| {
        let (init, theirs) = pair().unwrap();
        kept.push(init);
        let facts = Facts {
            id: Cell::new(id(number)),
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
    let [a, b, c] = made;
    let world = World {
        a,
        b,
        c,
        air,
        executor: handle,
    };
    executor.block_on(test(world));
    drop(kept);
}

impl World {
    /// A client of a node: one request on a connection of its own.
    pub async fn ask(
        &self,
        node: &Rc<Node>,
        method: &str,
        target: &str,
        body: &[u8],
    ) -> (u16, String) {
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
    pub async fn add_image_to_b(&self) {
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

    pub async fn create_on_b(&self) -> Vm {
        self.add_image_to_b().await;
        let new = b"{\"name\":\"web\",\"image\":\"linux\",\"memory\":\"64MiB\"}";
        let (status, body) = self.ask(&self.a, "POST", "/v1/vms?site=lon", new).await;
        assert_eq!(status, 202, "{body}");
        serde_json::from_str(&body).unwrap()
    }
}
