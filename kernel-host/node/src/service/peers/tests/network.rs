//! Two nodes on one wire, as the appliance runs them.

use super::super::streams::open_http;
use super::super::{self as peers, Keeper, News, Transport};
use super::{config, root, token};
use crate::arguments::DiskWish;
use crate::service::parent::Parent;
use crate::service::standing::Address;
use crate::service::{Node, PeersConfig};
use http::Request;
use http_body_util::{BodyExt, Empty};
use netio::executor::{Executor, Handle};
use netio::frame::{FramePort, Mac, WirePort};
use netio::host::{HostStack, StackSettings};
use overlay::{Answer, Draft, Input, NodeState};
use protocol::peer::{Realm, RecordKind};
use state::Store;
use state::faulty::FaultyDisk;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use sys::seqpacket::pair;

fn start(
    handle: &Handle,
    port: impl FramePort + 'static,
    last: u8,
    (mut config, store): (PeersConfig, Option<Store>),
) -> (Rc<Node>, OwnedFd) {
    let (init, theirs) = pair().unwrap();
    let parent = Parent::new(theirs);
    config.disk = store.as_ref().map(|_| "vda1".to_owned());
    let keeper = store.map(|store| Keeper::start(store).unwrap());
    let node = Rc::new(Node::new(handle.clone(), parent).unwrap());
    let transport = Transport::new(node.clock.clone(), config, keeper);
    peers::late::be(&node, transport.me());
    node.transport.set(transport);
    plug_in(handle, port, last, &node);
    let keep = peers::late::keep(node.clone());
    handle.spawn_detached(keep).unwrap();
    handle
        .spawn_detached(peers::deadlines(node.clone()))
        .unwrap();
    node.tell_peers_address();
    (node, init)
}

/// Gives a node a card with an address.
fn plug_in(handle: &Handle, port: impl FramePort + 'static, last: u8, node: &Rc<Node>) {
    let settings = StackSettings::new(Mac([2, 0, 0, 0, 0, last]), 1500);
    let stack = HostStack::start(handle, port, settings).unwrap();
    let ip = Ipv4Addr::new(10, 0, 0, last);
    stack.set_address(ip, 24, None);
    let address = Address {
        address: ip,
        prefix_len: 24,
        gateway: None,
    };
    node.standing
        .borrow_mut()
        .set_address("eth0", Some(address));
    let served = peers::serve(node.clone(), "eth0".to_owned(), stack);
    let served = async move { served.await.unwrap() };
    handle.spawn_detached(served).unwrap();
}

fn is_member(node: &Rc<Node>) -> bool {
    node.overlay(|_, _| ()).is_some()
}

/// Goal: two nodes find each other on the wire, one founds the site, the other joins it; a record
/// too long for a datagram travels by stream; the API is asked through a sealed stream.
#[test]
fn two_nodes_on_a_wire_join_talk_and_forward() {
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let (left, right) = WirePort::pair().unwrap();
    let paris = |number, founds| {
        let token = token(1, "paris", founds);
        (config(number, "paris", Some(token), &[]), None)
    };
    let (one, _init_one) = start(&handle, left, 1, paris(1, true));
    let (two, _init_two) = start(&handle, right, 2, paris(2, false));
    executor.block_on(async {
        until(&handle, || is_member(&one) && is_member(&two)).await;
        assert_eq!(two.transport.as_ref().unwrap().waits_for(), None);
        let realm = Realm::Cluster;
        let kind = RecordKind(40_000);
        let draft = Draft {
            realm,
            kind,
            subject: [7; 16],
            epoch: 0,
            ended: false,
            body: vec![42; 20_000],
        };
        until(&handle, || {
            one.tell_overlay(Input::Publish(draft.clone())).is_ok()
        })
        .await;
        let has = |node: &Rc<Node>| {
            node.overlay(|overlay, _| overlay.records(realm, kind).count()) == Some(1)
        };
        until(&handle, || has(&one) && has(&two)).await;

        let stream = open_http(&two, one.facts.id.get()).await.unwrap();
        let (mut client, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        handle
            .spawn_detached(async move { drop(connection.await) })
            .unwrap();
        let request = Request::get("/v1/node").header("host", "n");
        let request = request.body(Empty::<bytes::Bytes>::new()).unwrap();
        let reply = client.send_request(request).await.unwrap();
        assert_eq!(reply.status(), 200);
        let body = reply.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(text.contains(&one.facts.id.get().to_string()), "{text}");
    });
}

/// Goal: a disk that stalls holds up answers, and nothing else: the loop turns, peers stay alive to
/// each other, the API says what is wrong; when the disk answers again, so does the node.
#[test]
fn a_stalled_disk_holds_up_nothing_but_promises() {
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let (left, right) = WirePort::pair().unwrap();
    let paris = |number, founds| config(number, "paris", Some(token(1, "paris", founds)), &[]);
    let disk = FaultyDisk::new(8 << 20);
    let store = Store::open(disk.clone()).unwrap();
    let (one, _init_one) = start(&handle, left, 1, (paris(1, true), Some(store)));
    let (two, _init_two) = start(&handle, right, 2, (paris(2, false), None));
    executor.block_on(async {
        let is_guardian = |node: &Rc<Node>| {
            node.overlay(|overlay, _| overlay.registers().is_guardian()) == Some(true)
        };
        until(&handle, || is_member(&two) && is_guardian(&one)).await;
        let swap = |ask, expect: Option<u8>, value| Input::Swap {
            ask,
            register: [7; 16],
            expect: expect.map(|byte| vec![byte]),
            value: vec![value],
        };
        let answered = |node: &Rc<Node>, wanted: u64, as_wanted: &Answer| {
            let peers = node.transport.as_ref().unwrap();
            std::iter::from_fn(|| peers.poll_news()).any(|news| match news {
                News::Answer { ask, answer } => ask == wanted && answer == *as_wanted,
                _ => false,
            })
        };
        let done = |node: &Rc<Node>, wanted: u64| answered(node, wanted, &Answer::Done);
        one.tell_overlay(swap(1, None, 1)).unwrap();
        until(&handle, || done(&one, 1)).await;
        disk.stall(true);
        one.tell_overlay(swap(2, Some(1), 2)).unwrap();
        let trouble = || one.describe().reason.unwrap_or_default();
        until(&handle, || {
            trouble().contains("vda1, which has not answered for")
        })
        .await;
        assert!(!done(&one, 2));
        let alive = two.overlay(|overlay, now| {
            let nodes = overlay.nodes(now);
            nodes
                .iter()
                .filter(|node| node.state == NodeState::Alive)
                .count()
        });
        assert_eq!(alive, Some(2));
        disk.stall(false);
        until(&handle, || done(&one, 2)).await;
        until(&handle, || trouble().is_empty()).await;
        one.leave_peers();
        one.until_gone(10_000).await;
        assert!(one.transport.as_ref().unwrap().hub.borrow().has_gone());
        // The other guards now, with what was promised last.
        let register = [7; 16];
        two.tell_overlay(Input::Read { ask: 3, register }).unwrap();
        until(&handle, || answered(&two, 3, &Answer::Value(Some(vec![2])))).await;
    });
    let saved = Store::open(disk).unwrap().entries().unwrap();
    let mut keys = saved.iter().map(|(key, _)| key);
    assert!(keys.any(|key| key.starts_with("register/council/")));
}

/// Goal: a machine that was told of a disk does not begin without it: it says what it waits for and
/// serves its API; one that was not told begins anew, once all drivers are loaded.
#[test]
fn a_node_begins_without_a_disk_only_where_none_is_expected() {
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let (left, right) = WirePort::pair().unwrap();
    let node = |wish, last, port| {
        let (init, theirs) = pair().unwrap();
        let mut node = Node::new(handle.clone(), Parent::new(theirs)).unwrap();
        let words = &mut node.arguments.cluster;
        words.roots = vec![identity::cluster::write_root(&root(1).public())];
        (words.site, words.disk) = (Some("paris".parse().unwrap()), wish);
        let node = Rc::new(node);
        plug_in(&handle, port, last, &node);
        handle.spawn_detached(peers::begin(node.clone())).unwrap();
        (node, init)
    };
    let (one, _init_one) = node(DiskWish::Any, 1, left);
    let (two, _init_two) = node(DiskWish::Wanted, 2, right);
    executor.block_on(async {
        handle.sleep(100).await;
        for node in [&one, &two] {
            assert!(
                node.transport.as_ref().is_none(),
                "drivers are still loading"
            );
            node.parent.settle();
        }
        until(&handle, || one.transport.as_ref().is_some()).await;
        assert_eq!(one.facts.id.get(), one.transport.as_ref().unwrap().me());
        let reason = || two.describe().reason.unwrap_or_default();
        until(&handle, || reason().contains("luc.state=disk says")).await;
        two.transport.decided().await; // its API is served
        assert!(two.transport.as_ref().is_none());
    });
}

async fn until(handle: &Handle, mut done: impl FnMut() -> bool) {
    for _ in 0..1_200 {
        if done() {
            return;
        }
        handle.sleep(50).await;
    }
    panic!("it did not happen within a minute");
}
