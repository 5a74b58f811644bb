//! Datagrams past smoltcp: they find their way, and a dead station holds up no other.
#![allow(clippy::unwrap_used)]

use netio::executor::Executor;
use netio::frame::{Mac, WirePort};
use netio::host::{DirectUdp, HostStack, StackSettings};
use std::net::{Ipv4Addr, SocketAddrV4};

const PORT: u16 = 12_213;
const LEFT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const RIGHT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

#[test]
fn datagrams_arrive_though_others_wait_for_a_dead_station() {
    let executor = Executor::new().unwrap();
    let handle = executor.handle();
    let (left, right) = WirePort::pair().unwrap();
    let [left, right] = [(left, 1, LEFT), (right, 2, RIGHT)].map(|(port, last, address)| {
        let settings = StackSettings::new(Mac([2, 0, 0, 0, 0, last]), 1500);
        let stack = HostStack::start(&handle, port, settings).unwrap();
        stack.set_address(address, 24, Some(RIGHT));
        (DirectUdp::bind(&stack, PORT).unwrap(), stack)
    });
    let ((near, near_stack), (far, _)) = (&left, &right);
    assert!(
        DirectUdp::bind(near_stack, PORT).is_err(),
        "the port is taken"
    );
    let dead = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 99), PORT);
    assert!(near.is_neighbour(*dead.ip()) && !near.is_neighbour(Ipv4Addr::new(10, 0, 1, 1)));
    let elsewhere = Ipv4Addr::new(192, 0, 2, 1);
    executor.block_on(async {
        for round in 0..20 {
            assert!(near.send(b"anybody?", dead));
            assert!(near.send(&[round; 1_200], SocketAddrV4::new(RIGHT, PORT)));
            let received = far.receive().await;
            assert_eq!(received.from, SocketAddrV4::new(LEFT, PORT));
            assert_eq!(received.bytes, [round; 1_200]);
            assert!(far.send(b"yes", received.from));
            assert_eq!(near.receive().await.bytes, b"yes");
        }
        assert!(near.send_to_all(b"to everybody"));
        assert_eq!(far.receive().await.to, Ipv4Addr::BROADCAST);
        // Through the gateway, which here is only a station that does not forward.
        assert!(near.reaches(elsewhere));
        assert!(near.send(b"far away", SocketAddrV4::new(elsewhere, PORT)));
        assert!(
            !near.send(&[0; 1_500], SocketAddrV4::new(RIGHT, PORT)),
            "too long"
        );
        assert!(
            !near.send(b"", SocketAddrV4::new(LEFT, PORT)),
            "to ourselves"
        );
        near_stack.clear_address();
        assert!(!near.send(b"", SocketAddrV4::new(RIGHT, PORT)) && !near.send_to_all(b""));
    });
}
