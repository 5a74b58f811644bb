//! The DHCP client on a stack, against netcore's server on another.
#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddrV4};

use netcore::dhcp::server::{Mode, PoolSettings, Quirks, Server, ServerSettings, Target};
use netcore::dhcp::{CLIENT_PORT, SERVER_PORT};
use netcore::ethernet::{Datagram, Mac};
use netio::executor::Executor;
use netio::frame::WirePort;
use netio::host::{DhcpClient, DhcpEvent, DhcpSettings, HostStack, StackSettings, UdpSocket};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

fn settings(quirks: Quirks) -> ServerSettings {
    let pool = PoolSettings {
        first: Ipv4Addr::new(10, 0, 0, 50),
        last: Ipv4Addr::new(10, 0, 0, 60),
        prefix_len: 24,
        router: Some(SERVER),
        dns: vec![SERVER],
        ntp: vec![],
        domain: Some("luc.test".into()),
        lease_seconds: 10,
    };
    ServerSettings {
        address: SERVER,
        mode: Mode::Full(pool),
        boot: None,
        quirks,
    }
}

/// Serves for ever. Replies to stations without an address go out as frames, as firmware wants.
async fn serve(stack: HostStack, settings: ServerSettings) {
    let socket = UdpSocket::bind(&stack, SERVER_PORT).unwrap();
    let mut server = Server::new(settings);
    let mut buffer = [0; 1500];
    loop {
        let (length, from, _) = socket.recv_from(&mut buffer).await.unwrap();
        let now_ms = stack.executor().now_ms();
        let reply = server.handle_request(now_ms, SERVER_PORT, from, &buffer[..length]);
        let Some(reply) = reply else { continue };
        match reply.target {
            Target::Broadcast => {
                let everybody = SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT);
                socket.send_to(&reply.bytes, everybody).await.unwrap();
            }
            Target::Address(to) => socket.send_to(&reply.bytes, to).await.unwrap(),
            Target::Station { mac, address } => {
                let datagram = Datagram {
                    source_mac: stack.mac(),
                    target_mac: mac,
                    source: SERVER,
                    target: address,
                    source_port: SERVER_PORT,
                    target_port: CLIENT_PORT,
                    payload: &reply.bytes,
                };
                stack.send_frame(&datagram.emit().unwrap());
            }
        }
    }
}

#[test]
fn a_stack_gets_an_address_through_a_nak_and_renews_it() {
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let (left, right) = WirePort::pair().unwrap();
    let mac = |last| Mac([2, 0, 0, 0, 0, last]);
    let server = HostStack::start(&handle, left, StackSettings::new(mac(1), 1500)).unwrap();
    server.set_address(SERVER, 24, None);
    let quirks = Quirks {
        naks: 1,
        ..Quirks::default()
    };
    handle
        .spawn_detached(serve(server.clone(), settings(quirks)))
        .unwrap();
    let stack = HostStack::start(&handle, right, StackSettings::new(mac(2), 1500)).unwrap();
    let mut client = DhcpClient::new(&stack, DhcpSettings::default()).unwrap();
    executor.block_on(async {
        let event = handle.timeout(5000, client.next_event()).await.unwrap();
        let DhcpEvent::Bound(lease) = event else {
            panic!("{event:?}")
        };
        assert_eq!(lease.address, Ipv4Addr::new(10, 0, 0, 50));
        assert_eq!(stack.address(), Some((lease.address, 24)));
        assert_eq!(client.counters().naks, 1);
        stack.ping(SERVER, 1000).await.unwrap();
        // The lease lasts 10 s: it is renewed by unicast after 5 s, which changes nothing.
        let quiet = handle.timeout(7000, client.next_event()).await;
        assert!(quiet.is_err(), "{quiet:?}");
        let first = lease.schedule.unwrap();
        let second = client.lease().unwrap().schedule.unwrap();
        assert!(
            second.expire_ms >= first.expire_ms + 4000,
            "{first:?} {second:?}"
        );
    });
}
