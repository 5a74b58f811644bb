//! The host stack when the network or the peer misbehaves.
#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::thread;

use netcore::dice::Dice;
use netio::executor::{Executor, Handle};
use netio::frame::{FRAME_LEN_MAX, FramePort, Mac, WirePort};
use netio::host::{HostStack, StackSettings, TcpListener, expose, tcp_connect};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpAddress, IpProtocol,
    Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const WEB: SocketAddrV4 = SocketAddrV4::new(SERVER, 80);

/// A port that loses frames as it is told.
struct Lossy {
    port: WirePort,
    loss_percent: Rc<Cell<u64>>,
    dice: Dice,
}

impl Lossy {
    fn loses(&mut self) -> bool {
        self.dice.below(100) < self.loss_percent.get()
    }
}

impl FramePort for Lossy {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let length = self.port.receive(buffer)?;
            if !self.loses() {
                return Ok(length);
            }
        }
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        if self.loses() {
            Ok(())
        } else {
            self.port.send(frame)
        }
    }

    fn is_flush_due(&self) -> bool {
        self.port.is_flush_due()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.port.flush()
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.port.readiness()
    }
}

fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, last])
}

fn stack(executor: &Handle, port: impl FramePort + 'static, last: u8) -> HostStack {
    let settings = StackSettings {
        tcp_silence_ms_max: 3_000,
        ..StackSettings::new(mac(last), 1500)
    };
    let stack = HostStack::start(executor, port, settings).unwrap();
    stack.set_address(Ipv4Addr::new(10, 0, 0, last), 24, None);
    stack
}

/// A server and a client whose frames get lost as the cell says.
fn lossy_pair(executor: &Handle) -> (HostStack, HostStack, Rc<Cell<u64>>) {
    let (left, right) = WirePort::pair().unwrap();
    let loss_percent = Rc::new(Cell::new(0));
    let lossy = Lossy {
        port: right,
        loss_percent: Rc::clone(&loss_percent),
        dice: Dice::new(1),
    };
    (
        stack(executor, left, 1),
        stack(executor, lossy, 2),
        loss_percent,
    )
}

#[test]
fn a_peer_that_vanishes_is_noticed_and_its_slot_freed() {
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let (server, client, loss_percent) = lossy_pair(&handle);
    let mut listener = TcpListener::bind(&server, 80, 4).unwrap();
    let before = server.counters().sockets;
    executor.block_on(async {
        let near = tcp_connect(&client, WEB).await.unwrap();
        let far = listener.accept().await.unwrap();
        loss_percent.set(100); // the power is cut
        let read = handle.timeout(6_000, far.read(&mut [0; 8])).await.unwrap();
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        drop((near, far));
        handle.sleep(200).await;
    });
    assert_eq!(server.counters().sockets, before);
}

#[test]
fn a_lossy_wire_delays_and_never_damages() {
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let (server, client, loss_percent) = lossy_pair(&handle);
    let mut listener = TcpListener::bind(&server, 80, 4).unwrap();
    let sent: Vec<u8> = (0..1_000_000u32).map(|at| (at % 251) as u8).collect();
    let expected = sent.clone();
    executor.block_on(async {
        let near = tcp_connect(&client, WEB).await.unwrap();
        let far = listener.accept().await.unwrap();
        loss_percent.set(1);
        handle
            .spawn_detached(async move { far.write_all(&sent).await.unwrap() })
            .unwrap();
        let mut received = Vec::new();
        let mut buffer = vec![0; 65536];
        loop {
            let count = near.read(&mut buffer).await.unwrap();
            if count == 0 {
                break;
            }
            received.extend_from_slice(&buffer[..count]);
        }
        assert!(received == expected);
    });
}

#[test]
fn a_cut_wire_is_an_answer_and_not_a_loop() {
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let (left, right) = WirePort::pair().unwrap();
    let server = stack(&handle, left, 1);
    drop(right);
    executor.block_on(handle.sleep(50));
    assert_eq!(server.port_failure().as_deref(), Some("the wire was cut"));
    let before = handle.counters().wake_ups;
    executor.block_on(handle.sleep(500));
    assert!(handle.counters().wake_ups - before < 5);
}

#[test]
fn a_stack_that_nobody_holds_ends_and_closes_its_port() {
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let (left, mut right) = WirePort::pair().unwrap();
    drop(stack(&handle, left, 1));
    executor.block_on(handle.sleep(20));
    assert_eq!(handle.counters().tasks, 0);
    let mut buffer = vec![0; FRAME_LEN_MAX];
    let error = loop {
        if let Err(error) = right.receive(&mut buffer) {
            break error;
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

/// A frame with a SYN, as a scanner makes it.
fn syn(source_port: u16, good_checksum: bool) -> Vec<u8> {
    let tcp = TcpRepr {
        src_port: source_port,
        dst_port: 80,
        control: TcpControl::Syn,
        seq_number: TcpSeqNumber(1),
        ack_number: None,
        window_len: 1000,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let ip = Ipv4Repr {
        src_addr: CLIENT,
        dst_addr: SERVER,
        next_header: IpProtocol::Tcp,
        payload_len: tcp.buffer_len(),
        hop_limit: 64,
    };
    let ethernet = EthernetRepr {
        src_addr: EthernetAddress(mac(2).0),
        dst_addr: EthernetAddress(mac(1).0),
        ethertype: EthernetProtocol::Ipv4,
    };
    let mut bytes = vec![0; ethernet.buffer_len() + ip.buffer_len() + tcp.buffer_len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    ethernet.emit(&mut frame);
    let checksums = ChecksumCapabilities::default();
    let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
    ip.emit(&mut packet, &checksums);
    let (source, target) = (IpAddress::Ipv4(CLIENT), IpAddress::Ipv4(SERVER));
    let mut segment = TcpPacket::new_unchecked(packet.payload_mut());
    tcp.emit(&mut segment, &source, &target, &checksums);
    if !good_checksum {
        segment.set_checksum(0x1234);
    }
    bytes
}

/// tailscale-rs#141, EasyTier#2519, smoltcp#1049.
#[test]
fn half_open_connections_are_bounded_and_give_their_places_back() {
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let (left, mut right) = WirePort::pair().unwrap();
    let server = stack(&handle, left, 1);
    let listener = TcpListener::bind(&server, 80, 8).unwrap();
    let before = server.counters().sockets;
    for port in 0..100 {
        right.send(&syn(1000 + port, false)).unwrap();
    }
    right.flush().unwrap();
    executor.block_on(handle.sleep(50));
    assert_eq!(
        server.counters().sockets,
        before,
        "a damaged SYN costs nothing"
    );
    for port in 0..100 {
        right.send(&syn(1000 + port, true)).unwrap();
    }
    right.flush().unwrap();
    executor.block_on(handle.sleep(50));
    assert_eq!(server.counters().sockets - before, 8);
    assert_eq!(server.counters().syns_dropped, 92);
    executor.block_on(handle.sleep(11_000));
    assert_eq!(
        server.counters().sockets,
        before,
        "after ten seconds at the latest"
    );
    drop(listener);
}

#[test]
fn a_repeated_syn_takes_one_place() {
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let (left, mut right) = WirePort::pair().unwrap();
    let server = stack(&handle, left, 1);
    let _listener = TcpListener::bind(&server, 80, 8).unwrap();
    let before = server.counters().sockets;
    for _ in 0..3 {
        right.send(&syn(1000, true)).unwrap();
        right.flush().unwrap();
        executor.block_on(handle.sleep(20));
    }
    assert_eq!(server.counters().sockets - before, 1);
}

#[test]
fn the_door_on_loopback_carries_many_connections_both_ways() {
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let (server, client, _) = lossy_pair(&handle);
    let mut listener = TcpListener::bind(&server, 80, 64).unwrap();
    let spawner = handle.clone();
    let echo = async move {
        loop {
            let stream = listener.accept().await.unwrap();
            let echo = async move {
                let mut buffer = vec![0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    stream.write_all(&buffer[..count]).await.unwrap();
                }
            };
            spawner.spawn_detached(echo).unwrap();
        }
    };
    handle.spawn_detached(echo).unwrap();
    let door = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = door.local_addr().unwrap();
    let forward = async move {
        let error = expose(client, door, WEB).await;
        panic!("{error:?}");
    };
    handle.spawn_detached(forward).unwrap();
    let people: Vec<_> = (0..20u8)
        .map(|number| {
            thread::spawn(move || {
                let mut stream = std::net::TcpStream::connect(address).unwrap();
                let sent = vec![number; 200_000];
                let mut writer = stream.try_clone().unwrap();
                let copy = sent.clone();
                let writing = thread::spawn(move || {
                    writer.write_all(&copy).unwrap();
                    writer.shutdown(std::net::Shutdown::Write).unwrap();
                });
                let mut back = Vec::new();
                stream.read_to_end(&mut back).unwrap();
                writing.join().unwrap();
                back == sent
            })
        })
        .collect();
    executor.block_on(async {
        while !people.iter().all(std::thread::JoinHandle::is_finished) {
            handle.sleep(20).await;
        }
    });
    assert!(people.into_iter().all(|person| person.join().unwrap()));
}
