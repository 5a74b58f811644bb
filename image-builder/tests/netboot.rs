//! The netboot server on one stack, a booting machine's questions from another.
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use image_builder::netboot::{Config, Event, Files, Outcome, Server};
use netcore::dhcp::message::{Kind, Message};
use netcore::dhcp::options::code;
use netcore::dhcp::server::{Mode, PoolSettings};
use netcore::ethernet::{Datagram, Mac};
use netio::executor::{Executor, Handle};
use netio::frame::WirePort;
use netio::host::{
    DhcpClient, DhcpEvent, DhcpSettings, HostStack, StackSettings, UdpSocket, tcp_connect,
};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 50);
/// Nothing here takes longer, even on a busy machine.
const PATIENCE_MS: u64 = 30_000;

fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, last])
}

/// A file in which every position is different from its neighbours.
fn program() -> Vec<u8> {
    (0..300_007u32)
        .flat_map(|at| [u8::try_from(at % 251).unwrap()])
        .collect()
}

fn full() -> Mode {
    Mode::Full(PoolSettings {
        first: CLIENT,
        last: CLIENT,
        prefix_len: 24,
        router: Some(SERVER),
        dns: Vec::new(),
        ntp: Vec::new(),
        domain: None,
        lease_seconds: 600,
    })
}

/// A server and a client on one wire, and what the server tells.
struct Lan {
    executor: Executor,
    client: HostStack,
    events: Rc<RefCell<Vec<Event>>>,
    _server: Server,
}

impl Lan {
    fn new(mode: Mode) -> Lan {
        let executor = Executor::new().unwrap();
        let handle = executor.handle();
        let (left, right) = WirePort::pair().unwrap();
        let stack = HostStack::start(&handle, left, StackSettings::new(mac(1), 1500)).unwrap();
        stack.set_address(SERVER, 24, None);
        let client = HostStack::start(&handle, right, StackSettings::new(mac(2), 1500)).unwrap();
        let events = Rc::new(RefCell::new(Vec::new()));
        let heard = Rc::clone(&events);
        let files = [
            ("luc.efi".to_owned(), program()),
            ("luc.ipxe".to_owned(), b"#!ipxe".into()),
        ];
        let config = Config {
            listener: Rc::new(move |event: &Event| heard.borrow_mut().push(event.clone())),
            ..Config::new(SERVER, mode, Files::of(files).unwrap())
        };
        let server = Server::on_stack(&stack, config).unwrap();
        Lan {
            executor,
            client,
            events,
            _server: server,
        }
    }

    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let handle = self.executor.handle();
        self.executor
            .block_on(async { handle.timeout(PATIENCE_MS, work).await })
            .unwrap()
    }

    fn heard(&self) -> Vec<String> {
        self.events
            .borrow()
            .iter()
            .map(ToString::to_string)
            .collect()
    }
}

async fn read_all(stack: &HostStack, request: &str) -> Vec<u8> {
    let stream = tcp_connect(stack, SocketAddrV4::new(SERVER, 80))
        .await
        .unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    let mut piece = vec![0; 65_536];
    loop {
        match stream.read(&mut piece).await.unwrap() {
            0 => return all,
            count => all.extend_from_slice(&piece[..count]),
        }
    }
}

#[test]
fn a_machine_gets_an_address_and_its_files_on_one_connection() {
    let lan = Lan::new(full());
    lan.run(async {
        let mut dhcp = DhcpClient::new(&lan.client, DhcpSettings::default()).unwrap();
        let DhcpEvent::Bound(lease) = dhcp.next_event().await else {
            panic!("no lease")
        };
        assert_eq!(lease.address, CLIENT);
        let ask = "HEAD /luc.efi HTTP/1.1\r\nHost: x\r\n\r\n\
                   GET //luc.efi HTTP/1.1\r\nHost: x\r\nRange: bytes=300000-\r\n\r\n\
                   GET /luc.efi HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let answer = read_all(&lan.client, ask).await;
        let text = String::from_utf8_lossy(&answer);
        let heads: Vec<&str> = text.matches("HTTP/1.1 2").collect();
        assert_eq!(heads.len(), 3, "three answers on one connection");
        assert!(text.contains("content-range: bytes 300000-300006/300007"));
        assert!(!text.to_lowercase().contains("transfer-encoding"));
        assert!(answer.ends_with(&program()), "the file arrives whole");
    });
    let heard = lan.heard().join("\n");
    assert!(
        heard.contains("Offer 10.0.0.50") && heard.contains("Ack 10.0.0.50"),
        "{heard}"
    );
    let done = |event: &Event| matches!(event, Event::Transfer(t) if t.outcome == Outcome::Done && t.sent == 300_007);
    assert!(lan.events.borrow().iter().any(done), "{heard}");
}

#[test]
fn tftp_brings_a_file_in_large_blocks_and_windows() {
    let lan = Lan::new(full());
    lan.client.set_address(CLIENT, 24, None);
    // The socket outlives the transfer: its last acknowledgement is still queued in it.
    let (file, _socket) = lan.run(async {
        let socket = UdpSocket::bind(&lan.client, 0).unwrap();
        let to = SocketAddrV4::new(SERVER, 69);
        let ask = b"\0\x01/luc.efi\0octet\0blksize\x001400\0windowsize\x008\0tsize\x000\0";
        socket.send_to(ask, to).await.unwrap();
        let mut packet = [0; 2048];
        let (length, from, _) = socket.recv_from(&mut packet).await.unwrap();
        let granted = String::from_utf8_lossy(&packet[..length]).into_owned();
        assert!(granted.contains("tsize\x00300007"), "{granted:?}");
        socket.send_to(&[0, 4, 0, 0], from).await.unwrap();
        (fetch_blocks(&socket, from).await, socket)
    });
    assert!(file == program());
    let handle = lan.executor.handle();
    lan.run(async {
        while !lan.heard().iter().any(|line| line.contains("done")) {
            handle.sleep(10).await;
        }
    });
}

/// Takes 1400-byte blocks and acknowledges every eighth and the last.
async fn fetch_blocks(socket: &UdpSocket, from: SocketAddrV4) -> Vec<u8> {
    let mut file = Vec::new();
    let mut packet = [0; 2048];
    for number in 1u16.. {
        let (length, ..) = socket.recv_from(&mut packet).await.unwrap();
        assert_eq!(packet[..2], [0, 3]);
        assert_eq!(packet[2..4], number.to_be_bytes(), "blocks come in order");
        file.extend_from_slice(&packet[4..length]);
        let last = length < 1404;
        if last || number % 8 == 0 {
            let [high, low] = number.to_be_bytes();
            socket.send_to(&[0, 4, high, low], from).await.unwrap();
        }
        if last {
            return file;
        }
    }
    file
}

/// Asks as a firmware does, in a raw frame, and returns the answer, if one comes within a second.
async fn ask_dhcp(handle: &Handle, stack: &HostStack, class: &str, number: u16) -> Option<Message> {
    let tap = stack.tap_udp(68).unwrap();
    let mut message = Message::new(Kind::Discover, 7, stack.mac());
    if !class.is_empty() {
        message.options.set(code::VENDOR_CLASS, class);
        message
            .options
            .set(code::ARCHITECTURE, number.to_be_bytes());
    }
    let datagram = Datagram {
        source_mac: stack.mac(),
        target_mac: Mac::BROADCAST,
        source: Ipv4Addr::UNSPECIFIED,
        target: Ipv4Addr::BROADCAST,
        source_port: 68,
        target_port: 67,
        payload: &message.emit(),
    };
    stack.send_frame(&datagram.emit().unwrap());
    let frame = handle.timeout(1_000, tap.receive()).await.ok()?;
    Message::parse(Datagram::parse(&frame)?.payload).ok()
}

#[test]
#[rustfmt::skip] // keeps the columns
fn a_proxy_gives_each_firmware_its_file_and_nobody_an_address() {
    let lan = Lan::new(Mode::Proxy);
    let handle = lan.executor.handle();
    lan.run(async {
        for (class, number, file) in [
            ("PXEClient:Arch:00000:UNDI:002001",  0,  Some("undionly.kpxe")),
            ("PXEClient:Arch:00007:UNDI:003016",  7,  Some("luc.efi")),
            ("HTTPClient:Arch:00016:UNDI:003016", 16, Some("http://10.0.0.1/luc.efi")),
            ("",                                  0,  None),
        ] {
            let answer = ask_dhcp(&handle, &lan.client, class, number).await;
            let told = answer.as_ref().map(|message| message.boot_file.as_str());
            assert_eq!(told, file, "{class}");
            assert!(answer.is_none_or(|message| message.yours.is_unspecified()), "{class}");
        }
    });
}
