//! The switch as a whole under hostile bytes.
//!
//! Does:      plays any bytes as a row of frames, messages and packets from all sides.
//! Does not:  run in production.
//! Bounds:    the input's length.
//! Trusts:    nothing.
//! Start at:  `fuzz_switch`.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::groups::{Direction, GroupId, Remote, Rule, Service};
use super::outside::{Forward, Shared};
use super::port::{Limits, PortSettings};
use super::records::{
    GATEWAY_MAC, Network, NetworkId, NetworkSettings, PeerId, Place, PortId, Station, Subnet,
    from_mac,
};
use super::{Input, Output, Switch};
use crate::ethernet::Mac;
use crate::offload::{Abilities, Checked, NET_HEADER_LEN, Offload};
use crate::packet::{Ip, Packet, protocol};

const PREFIX: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 0);
const FLOATING: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 8));
const SHARED: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9));
const PEER: PeerId = PeerId(7);

fn settings(number: u32) -> NetworkSettings {
    NetworkSettings {
        id: NetworkId::new(number).expect("it has 24 bits"),
        name: "lan".into(),
        v4: Some(Subnet {
            address: Ipv4Addr::new(10, 0, 0, 0),
            prefix_len: 24,
        }),
        v6: Some(PREFIX),
        mtu: 1380,
    }
}

fn station(last: u8, place: Place) -> Station {
    let mac = Mac([2, 0, 0, 0, 0, last]);
    Station {
        mac,
        v4: Some(Ipv4Addr::new(10, 0, 0, last)),
        v6: Some(from_mac(PREFIX, mac)),
        name: format!("vm{last}"),
        groups: vec![GroupId(1)],
        place,
        epoch: 3,
    }
}

/// A network with two stations, for the fuzz targets of its parts.
pub(super) fn network() -> Network {
    let mut network = Network::new(settings(5)).expect("it is right");
    for last in [2, 3] {
        let place = Place::Here(PortId(u32::from(last)));
        network.put(station(last, place)).expect("it is right");
    }
    network
}

/// Guests 2 and 3 here and 4 at a peer; guest 9 in another network with the same addresses.
fn switch() -> Switch {
    let mut switch = Switch::new();
    let (own, other) = (settings(5), settings(6));
    let any = |direction| Rule {
        direction,
        service: Service::Any,
        remote: Remote::Anyone,
    };
    let rules = vec![any(Direction::Out), any(Direction::In)];
    switch.put_group(GroupId(1), rules).expect("there is room");
    let places = [
        (2, own.id, Place::Here(PortId(2))),
        (3, own.id, Place::Here(PortId(3))),
        (4, own.id, Place::There(PEER)),
        (9, other.id, Place::Here(PortId(9))),
    ];
    for settings in [own, other] {
        switch.put_network(settings).expect("there is room");
    }
    for (last, network, place) in places {
        let station = station(last, place);
        if let Place::Here(port) = place {
            let settings = PortSettings {
                network,
                mac: station.mac,
                abilities: if last == 3 {
                    Abilities::ALL
                } else {
                    Abilities::default()
                },
                limits: Limits::FREE,
            };
            switch.attach(0, port, settings).expect("there is room");
        }
        switch.put_station(network, station).expect("it is right");
    }
    let peers = BTreeSet::from([PEER]);
    let id = NetworkId::new(5).expect("it has 24 bits");
    switch.set_peers(id, peers).expect("it is known");
    switch.share(Shared {
        address: SHARED,
        ports: 1024..=1100,
    });
    switch.float(FLOATING, PortId(3)).expect("there is room");
    let forward = Forward {
        protocol: protocol::TCP,
        outside: (SHARED, 80),
        port: PortId(2),
        guest_port: 8080,
    };
    switch.forward(forward).expect("there is room");
    switch
}

/// Fuzz target: any row of inputs leaves only outputs that keep the networks apart and tell the
/// truth about their senders.
pub fn fuzz_switch(data: &[u8]) {
    let mut switch = switch();
    let mut now_ms = 0;
    let mut rest = data;
    while let [kind, length, low, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*length, *low]));
        let (piece, tail) = tail.split_at(length.min(tail.len()));
        rest = tail;
        now_ms += u64::from(*kind);
        let port = PortId([2, 3, 9, 77][usize::from(kind >> 4) % 4]);
        match kind % 8 {
            0..=2 => {
                let Some((header, frame)) = piece.split_first_chunk::<NET_HEADER_LEN>() else {
                    continue;
                };
                let offload = Offload::parse(header).unwrap_or_default();
                let _ = switch.explain(now_ms, port, frame, offload);
                let input = Input::Guest {
                    port,
                    frame,
                    offload,
                };
                switch.handle_input(now_ms, input);
                drain(&mut switch, Some(port));
            }
            3 => {
                let peer = PeerId(u64::from(kind >> 4));
                let message = piece;
                switch.handle_input(now_ms, Input::Peer { peer, message });
                drain(&mut switch, None);
            }
            4 => {
                switch.handle_input(now_ms, Input::Outside { packet: piece });
                drain(&mut switch, None);
            }
            5 => {
                let packet = piece;
                switch.handle_input(now_ms, Input::Host { port, packet });
                drain(&mut switch, None);
            }
            6 => switch.handle_input(now_ms, Input::Answer { message: piece }),
            _ => switch.handle_timeout(now_ms),
        }
        while switch.poll_output().is_some() {}
    }
}

fn drain(switch: &mut Switch, from: Option<PortId>) {
    let lone = PortId(9);
    while let Some(output) = switch.poll_output() {
        match output {
            Output::Guest {
                port,
                frame,
                offload,
            } => {
                if from == Some(lone) || (port == lone && from.is_some()) {
                    assert_eq!(Some(port), from, "networks stay apart");
                }
                let checked = Checked::new(&frame, offload).expect("guests get whole frames");
                let truth = [
                    GATEWAY_MAC,
                    Mac([2, 0, 0, 0, 0, 2]),
                    Mac([2, 0, 0, 0, 0, 3]),
                ];
                let source = checked.packet().source_mac;
                let is_far = source == Mac([2, 0, 0, 0, 0, 4]);
                assert!(truth.contains(&source) || is_far, "from {source}");
            }
            Output::Peer { peer, message } => {
                assert_eq!(peer, PEER, "only members hear");
                assert!(Packet::parse(&message[super::shim::SHIM_LEN..]).is_ok());
            }
            Output::Outside { packet } => {
                let ip = Ip::parse(&packet).expect("whole packets leave");
                assert!([SHARED, FLOATING].contains(&ip.source), "as {}", ip.source);
            }
            Output::Host { packet, .. } => assert!(Ip::parse(&packet).is_ok()),
            Output::Query { .. } | Output::Stale { .. } | Output::Announce { .. } => {}
        }
    }
}
