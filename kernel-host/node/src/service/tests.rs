//! The API over two host stacks on one wire, in one process: what a client sees of the glue.

#![allow(clippy::unwrap_used)]

mod air;
mod forwarding;

use super::{Node, Parent, server};
use crate::console::{self, pump};
use crate::supervision::{End, ToInit, ToNode, decode, encode};
use netio::executor::{Executor, Handle};
use netio::frame::{FramePort, Mac, WirePort};
use netio::host::{HostStack, StackSettings, TcpStream, tcp_connect};
use protocol::{Digest, Selector};
use std::future::{Future, poll_fn};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::task::{Poll, Waker};
use sys::seqpacket::{Received, pair, receive_message, send_message};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

const NODE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

struct World {
    node: Rc<Node>,
    client: HostStack,
    init: OwnedFd,
}

fn stack(executor: &Handle, port: impl FramePort + 'static, last: u8) -> HostStack {
    let settings = StackSettings::new(Mac([2, 0, 0, 0, 0, last]), 1500);
    let stack = HostStack::start(executor, port, settings).unwrap();
    stack.set_address(Ipv4Addr::new(10, 0, 0, last), 24, None);
    stack
}

/// Runs a client against a node whose KVM is or is not usable.
fn with_node<F: Future<Output = ()>>(kvm: bool, test: impl FnOnce(World) -> F) {
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let (left, right) = WirePort::pair().unwrap();
    let (init, theirs) = pair().unwrap();
    let node = Rc::new(Node::new(handle.clone(), Parent::new(theirs)).unwrap());
    node.kvm.decide_for_test(kvm);
    let served = server::listen(node.clone(), stack(&handle, left, 1));
    handle.spawn_detached(served).unwrap();
    handle
        .spawn_detached(super::parent::listen(node.clone()))
        .unwrap();
    let client = stack(&handle, right, 2);
    executor.block_on(test(World { node, client, init }));
}

impl World {
    async fn connect(&self) -> TcpStream {
        tcp_connect(&self.client, SocketAddrV4::new(NODE, server::PORT))
            .await
            .unwrap()
    }

    async fn ask(&self, request: &[u8]) -> (u16, String) {
        let stream = self.connect().await;
        stream.write_all(request).await.unwrap();
        read_reply(&stream).await
    }

    async fn ask_json(&self, method: &str, target: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: node\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        self.ask(request.as_bytes()).await
    }

    fn said_to_init(&self) -> Vec<ToInit> {
        let mut all = Vec::new();
        while let Received::Message(bytes) = receive_message(&self.init).unwrap() {
            all.extend(decode::<ToInit>(&bytes));
        }
        all
    }
}

/// One reply: status and body.
async fn read_reply(stream: &TcpStream) -> (u16, String) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            let head = head.to_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
            if body.len() >= length || status == 101 {
                return (status, body.to_owned());
            }
        }
        let count = stream.read(&mut buffer).await.unwrap_or(0);
        if count == 0 {
            return (0, text);
        }
        bytes.extend_from_slice(&buffer[..count]);
    }
}

#[test]
fn a_connection_serves_several_requests_and_a_head_comes_without_its_body() {
    with_node(true, async |world: World| {
        let stream = world.connect().await;
        for _ in 0..3 {
            stream
                .write_all(b"GET /v1/node HTTP/1.1\r\nHost: n\r\n\r\n")
                .await
                .unwrap();
            let (status, body) = read_reply(&stream).await;
            assert_eq!(status, 200, "{body}");
            let node: protocol::Node = serde_json::from_str(&body).unwrap();
            assert!(
                node.kvm.usable && node.counters["requests"] >= 1,
                "{node:?}"
            );
        }
        assert_eq!(world.node.counters.connections.get(), 1);
    });
}

#[test]
#[rustfmt::skip] // keeps the columns
fn malformed_requests_are_refused_with_a_status_and_the_node_lives() {
    with_node(true, async |world: World| {
        let long = format!("GET /v1/node HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(40_000));
        let big = "PUT /v1/blobs/aa?size=1 HTTP/1.1\r\nHost: n\r\nContent-Length: 99999999\r\n\r\n";
        let cases: [(&str, u16); 7] = [
            ("GET /nowhere HTTP/1.1\r\nHost: n\r\n\r\n",                        404),
            ("DELETE /v1/node HTTP/1.1\r\nHost: n\r\n\r\n",                     405),
            ("POST /v1/vms HTTP/1.1\r\nHost: n\r\nContent-Length: 1\r\n\r\n{",  415),
            ("GET /v1/vms/none/console HTTP/1.1\r\nHost: n\r\n\r\n",            426),
            ("\x16\x03\x01 this is TLS\r\n\r\n",                                400),
            (big,                                                               413),
            (&long,                                                             431),
        ];
        for (request, status) in cases {
            let (got, body) = world.ask(request.as_bytes()).await;
            assert_eq!(got, status, "{request:.60}: {body}");
            if (402..431).contains(&status) {
                assert!(body.contains("\"advice\"") && body.contains("\"request_id\": \"r-"), "{body}");
            }
        }
        assert_eq!(world.ask(b"GET /v1/node HTTP/1.1\r\nHost: n\r\n\r\n").await.0, 200);
    });
}

/// Uploads a blob and makes the image `linux` from it.
async fn add_image(world: &World) {
    let digest = Digest::of(b"kernel");
    let put = format!(
        "PUT /v1/blobs/{digest}?size=6&offset=0 HTTP/1.1\r\nHost: n\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: 6\r\n\r\nkernel"
    );
    let (status, body) = world.ask(put.as_bytes()).await;
    assert_eq!(status, 200, "{body}");
    let body = format!("{{\"name\":\"linux\",\"kernel\":\"{digest}\"}}");
    let (status, body) = world.ask_json("POST", "/v1/images", &body).await;
    assert_eq!(status, 201, "{body}");
}

const NEW_VM: &str = "{\"name\":\"web\",\"image\":\"linux\",\"memory\":\"64MiB\"}";

#[test]
fn without_kvm_a_vm_is_refused_with_advice() {
    with_node(false, async |world: World| {
        add_image(&world).await;
        let (status, body) = world.ask_json("POST", "/v1/vms", NEW_VM).await;
        assert_eq!(status, 503, "{body}");
        assert!(
            body.contains("no_kvm") && body.contains("for this test"),
            "{body}"
        );
    });
}

#[test]
fn a_console_shows_the_scrollback_then_what_comes_and_takes_what_is_typed() {
    with_node(true, async |world: World| {
        add_image(&world).await;
        // Its process can't be made here; its console is there all the same.
        let (status, body) = world.ask_json("POST", "/v1/vms", NEW_VM).await;
        assert_eq!(status, 202, "{body}");
        let id = world
            .node
            .cloud
            .borrow()
            .vm(&"web".parse::<Selector>().unwrap())
            .unwrap()
            .id;
        let (guest, ours) = UnixStream::pair().unwrap();
        guest.set_nonblocking(true).unwrap();
        ours.set_nonblocking(true).unwrap();
        (&guest).write_all(b"before ").unwrap();
        let (console, executor) = (world.node.console(id), world.node.executor.clone());
        let pumping = async move { pump(&executor, &console, &ours, || {}).await };
        world.node.executor.spawn_detached(pumping).unwrap();
        world.node.executor.sleep(20).await;

        let mut socket = open_console(&world).await;
        let first = next_message(&mut socket).await;
        let attached = first.into_text().unwrap().to_string();
        assert!(
            attached.contains("\"attached\"") && attached.contains("\"writer\":true"),
            "{attached}"
        );
        assert_eq!(next_bytes(&mut socket).await, b"before ");
        (&guest).write_all(b"after").unwrap();
        assert_eq!(next_bytes(&mut socket).await, b"after");

        socket.write(Message::binary(&b"ls\r"[..])).unwrap();
        socket.flush().unwrap();
        world.node.executor.readable(&guest).await.unwrap();
        let mut typed = [0; 16];
        let count = (&guest).read(&mut typed).unwrap();
        assert_eq!(&typed[..count], b"ls\r");

        let (status, log) = world
            .ask(b"GET /v1/vms/web/console/log HTTP/1.1\r\nHost: n\r\n\r\n")
            .await;
        assert_eq!((status, log.as_str()), (200, "before after"));
    });
}

#[test]
fn a_client_that_does_not_read_is_parted_and_the_guest_goes_on() {
    with_node(true, async |world: World| {
        add_image(&world).await;
        world.ask_json("POST", "/v1/vms", NEW_VM).await;
        let id = world
            .node
            .cloud
            .borrow()
            .vm(&"web".parse::<Selector>().unwrap())
            .unwrap()
            .id;
        let (guest, ours) = UnixStream::pair().unwrap();
        guest.set_nonblocking(true).unwrap();
        ours.set_nonblocking(true).unwrap();
        let console = world.node.console(id);
        let (moved, executor) = (console.clone(), world.node.executor.clone());
        let pumping = async move { pump(&executor, &moved, &ours, || {}).await };
        world.node.executor.spawn_detached(pumping).unwrap();
        let _stuck = open_console(&world).await;
        // More than every buffer between guest and client together.
        let began_ms = world.node.executor.now_ms();
        while console.written() < 1 << 20 {
            match (&guest).write(&[b'x'; 8192]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    world.node.executor.writable(&guest).await.unwrap();
                }
                Err(error) => panic!("{error}"),
            }
        }
        let waited_ms = world.node.executor.now_ms() - began_ms;
        assert!(
            waited_ms >= console::session::PATIENCE_MS,
            "the guest waited {waited_ms} ms"
        );
        assert_eq!(console.clients(), 0);
        assert_eq!(world.node.counters.sessions_too_slow.get(), 1);
    });
}

#[test]
fn a_wish_to_power_off_reaches_pid_1_and_new_work_is_refused() {
    with_node(true, async |world: World| {
        let (status, body) = world.ask_json("POST", "/v1/node/poweroff", "").await;
        assert_eq!(status, 202, "{body}");
        assert!(world.said_to_init().contains(&ToInit::Wish(End::PowerOff)));
        let order = ToNode::ShutDown {
            how: End::PowerOff,
            reason: "a test".into(),
            limit_ms: 1000,
        };
        send_message(&world.init, &encode(&order).unwrap()).unwrap();
        world.node.executor.sleep(50).await;
        let (status, body) = world.ask_json("POST", "/v1/vms", NEW_VM).await;
        assert_eq!(status, 503, "{body}");
        assert!(body.contains("going_down"), "{body}");
        world.node.executor.sleep(500).await;
        assert!(world.said_to_init().contains(&ToInit::Stopped));
    });
}

async fn open_console(world: &World) -> WebSocket<console::session::Pipe> {
    let stream = world.connect().await;
    let request = b"GET /v1/vms/web/console HTTP/1.1\r\nHost: n\r\nConnection: upgrade\r\n\
                    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request).await.unwrap();
    // Byte by byte: what follows the head belongs to the WebSocket.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).await.unwrap(), 1);
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(
        head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        "RFC 6455's own example: {head}"
    );
    let pipe = console::session::Pipe::new(Box::new(stream));
    WebSocket::from_raw_socket(pipe, Role::Client, Some(WebSocketConfig::default()))
}

async fn next_message(socket: &mut WebSocket<console::session::Pipe>) -> Message {
    poll_fn(|cx| {
        socket.get_mut().set_waker(cx.waker());
        match socket.read() {
            Ok(message) => Poll::Ready(message),
            Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                Poll::Pending
            }
            Err(error) => panic!("{error}"),
        }
    })
    .await
}

/// The next console bytes; notices on the way are skipped.
async fn next_bytes(socket: &mut WebSocket<console::session::Pipe>) -> Vec<u8> {
    loop {
        if let Message::Binary(bytes) = next_message(socket).await {
            socket.get_mut().set_waker(Waker::noop());
            return bytes.to_vec();
        }
    }
}
