//! Two nodes on one wire, as the appliance runs them.

use super::super::streams::open_http;
use super::super::{self as peers, Transport};
use super::{config, token};
use crate::service::parent::Parent;
use crate::service::standing::Address;
use crate::service::{Node, PeersConfig};
use http::Request;
use http_body_util::{BodyExt, Empty};
use netio::executor::{Executor, Handle};
use netio::frame::{FramePort, Mac, WirePort};
use netio::host::{HostStack, StackSettings};
use overlay::{Draft, Input};
use protocol::peer::{Realm, RecordKind};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use sys::seqpacket::pair;

fn start(
    handle: &Handle,
    port: impl FramePort + 'static,
    last: u8,
    config: PeersConfig,
) -> (Rc<Node>, OwnedFd) {
    let (init, theirs) = pair().unwrap();
    let parent = Parent::new(theirs);
    let transport = Transport::new(config);
    let mut node = Node::new(handle.clone(), parent).unwrap();
    node.facts.id = transport.me();
    node.transport = Some(transport);
    let node = Rc::new(node);
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
    handle
        .spawn_detached(peers::deadlines(node.clone()))
        .unwrap();
    node.tell_peers_address();
    (node, init)
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
        config(number, "paris", Some(token), &[])
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

        let stream = open_http(&two, one.facts.id).await.unwrap();
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
        assert!(text.contains(&one.facts.id.to_string()), "{text}");
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
