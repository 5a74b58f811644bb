//! Two host stacks on one wire: what TCP, UDP, ping and the listener pool promise.
#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddrV4};

use netio::executor::{Executor, Handle, JoinHandle};
use netio::frame::{FramePort, Mac, WirePort};
use netio::host::{HostStack, StackSettings, TcpListener, UdpSocket, tcp_connect};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

fn stack(executor: &Handle, port: impl FramePort + 'static, last: u8, ip: Ipv4Addr) -> HostStack {
    let mac = Mac([2, 0, 0, 0, 0, last]);
    let stack = HostStack::start(executor, port, StackSettings::new(mac, 1500)).unwrap();
    stack.set_address(ip, 24, None);
    stack
}

fn two_stacks(executor: &Handle) -> (HostStack, HostStack) {
    let (left, right) = WirePort::pair().unwrap();
    (
        stack(executor, left, 1, SERVER),
        stack(executor, right, 2, CLIENT),
    )
}

fn pattern(at: usize) -> u8 {
    u8::try_from((at.wrapping_mul(2_654_435_761) >> 13) & 0xff).unwrap()
}

#[test]
fn a_long_transfer_arrives_whole_and_in_order() {
    const LENGTH: usize = 64 * 1024 * 1024;
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let (server, client) = two_stacks(&handle);
    let sender: JoinHandle<()> = handle
        .spawn({
            let mut listener = TcpListener::bind(&server, 80, 4).unwrap();
            async move {
                let stream = listener.accept().await.unwrap();
                let mut chunk = vec![0; 64 * 1024];
                for start in (0..LENGTH).step_by(chunk.len()) {
                    for (offset, byte) in chunk.iter_mut().enumerate() {
                        *byte = pattern(start + offset);
                    }
                    stream.write_all(&chunk).await.unwrap();
                }
            }
        })
        .unwrap();
    let started_ms = handle.now_ms();
    let received = executor.block_on(async {
        let stream = tcp_connect(&client, SocketAddrV4::new(SERVER, 80))
            .await
            .unwrap();
        let mut buffer = vec![0; 64 * 1024];
        let mut received = 0;
        loop {
            let count = stream.read(&mut buffer).await.unwrap();
            if count == 0 {
                break received;
            }
            for (offset, byte) in buffer[..count].iter().enumerate() {
                assert_eq!(
                    *byte,
                    pattern(received + offset),
                    "at byte {}",
                    received + offset
                );
            }
            received += count;
        }
    });
    println!("64 MiB in {} ms", handle.now_ms() - started_ms);
    assert_eq!(received, LENGTH);
    executor.block_on(sender).unwrap();
}

#[test]
fn a_burst_of_200_connections_sees_no_reset() {
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let (server, client) = two_stacks(&handle);
    let mut listener = TcpListener::bind(&server, 80, 200).unwrap();
    handle
        .spawn_detached({
            let handle = handle.clone();
            async move {
                handle.sleep(300).await; // all of them wait in the backlog
                loop {
                    let stream = listener.accept().await.unwrap();
                    stream.write_all(b"hello").await.unwrap();
                }
            }
        })
        .unwrap();
    let clients: Vec<JoinHandle<Vec<u8>>> = (0..200)
        .map(|_| {
            let client = client.clone();
            let task = async move {
                let stream = tcp_connect(&client, SocketAddrV4::new(SERVER, 80))
                    .await
                    .unwrap();
                let mut greeting = vec![0; 5];
                let count = stream.read(&mut greeting).await.unwrap();
                greeting.truncate(count);
                greeting
            };
            handle.spawn(task).unwrap()
        })
        .collect();
    executor.block_on(async {
        for client in clients {
            assert_eq!(client.await.unwrap(), b"hello");
        }
    });
    assert_eq!(server.counters().syns_dropped, 0);
}

#[test]
fn a_full_backlog_delays_connections_and_refuses_none() {
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let (server, client) = two_stacks(&handle);
    let mut listener = TcpListener::bind(&server, 80, 4).unwrap();
    handle
        .spawn_detached({
            let handle = handle.clone();
            async move {
                loop {
                    let stream = listener.accept().await.unwrap();
                    handle.sleep(20).await;
                    stream.write_all(b"x").await.unwrap();
                }
            }
        })
        .unwrap();
    let clients: Vec<JoinHandle<usize>> = (0..12)
        .map(|_| {
            let client = client.clone();
            let task = async move {
                let stream = tcp_connect(&client, SocketAddrV4::new(SERVER, 80))
                    .await
                    .unwrap();
                stream.read(&mut [0; 8]).await.unwrap()
            };
            handle.spawn(task).unwrap()
        })
        .collect();
    executor.block_on(async {
        for client in clients {
            assert_eq!(client.await.unwrap(), 1);
        }
    });
    assert!(
        server.counters().syns_dropped > 0,
        "the pool was smaller than the burst"
    );
}

#[test]
fn a_port_without_a_listener_refuses_at_once() {
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let (_server, client) = two_stacks(&handle);
    let refused = executor
        .block_on(handle.timeout(2000, tcp_connect(&client, SocketAddrV4::new(SERVER, 81))))
        .unwrap();
    assert_eq!(
        refused.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionRefused
    );
}

#[test]
fn closed_connections_give_their_slots_back() {
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let (server, client) = two_stacks(&handle);
    let before = server.counters().sockets;
    let mut listener = TcpListener::bind(&server, 80, 4).unwrap();
    executor.block_on(async {
        for _ in 0..300 {
            let to = SocketAddrV4::new(SERVER, 80);
            let (near, far) = (tcp_connect(&client, to).await, listener.accept().await);
            far.unwrap().write_all(b"bye").await.unwrap(); // the server parts first: TIME-WAIT
            let near = near.unwrap();
            let mut buffer = [0; 8];
            while near.read(&mut buffer).await.unwrap() > 0 {}
        }
        handle.sleep(300).await;
    });
    let counters = server.counters();
    assert!(
        counters.sockets - before <= 32,
        "TIME-WAIT is bounded: {counters:?}"
    );
    // A few connections took a port that was still in TIME-WAIT, and ended it that way.
    assert!(counters.time_waits_cut > 200, "{counters:?}");
    assert_eq!(client.counters().orphans, 0, "who parts last does not wait");
    executor.block_on(handle.sleep(11_000));
    assert_eq!(
        server.counters().sockets,
        before,
        "after TIME-WAIT nothing is left"
    );
}

#[test]
fn pings_are_answered_and_silence_is_an_error() {
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let (_server, client) = two_stacks(&handle);
    executor.block_on(client.ping(SERVER, 2000)).unwrap();
    let silent = executor.block_on(client.ping(Ipv4Addr::new(10, 0, 0, 77), 300));
    assert_eq!(silent.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    assert_eq!(client.counters().sockets, 1, "only the DNS socket remains");
}

#[test]
fn datagrams_arrive_also_without_an_address() {
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let (server, client) = two_stacks(&handle);
    client.clear_address();
    let here = UdpSocket::bind(&server, 5000).unwrap();
    let there = UdpSocket::bind(&client, 5001).unwrap();
    executor.block_on(async {
        let everybody = SocketAddrV4::new(Ipv4Addr::BROADCAST, 5001);
        here.send_to(b"anybody?", everybody).await.unwrap();
        let mut buffer = [0; 64];
        let (length, from, at) = there.recv_from(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], b"anybody?");
        assert_eq!(from, SocketAddrV4::new(SERVER, 5000));
        assert_eq!(at, Some(Ipv4Addr::BROADCAST));
        let mute = there.send_to(b"me", SocketAddrV4::new(SERVER, 5000)).await;
        assert_eq!(
            mute.unwrap_err().kind(),
            std::io::ErrorKind::AddrNotAvailable
        );
    });
}

#[test]
fn an_idle_stack_sleeps() {
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let (server, _client) = two_stacks(&handle);
    let _listener = TcpListener::bind(&server, 80, 4).unwrap();
    executor.block_on(handle.sleep(200));
    let before = handle.counters().wake_ups;
    executor.block_on(handle.sleep(2000));
    let woken = handle.counters().wake_ups - before;
    assert!(woken <= 3, "{woken} wake-ups in two idle seconds");
}
