//! The router's decisions: which frame leaves where, when, and who has to be asked first.
//!
//! Does:      IPv4 forwarding between LANs with a `Lane` for each ordered pair, and ARP on each.
//! Does not:  move bytes or read a clock; ICMP errors, fragments and options are not for a rig.
//! Bounds:    `NEIGHBOURS_MAX` learned stations and `WAITING_MAX` packets for unknown ones on each
//!            side; beyond, the oldest goes.
//! Trusts:    nobody: what is no well-formed frame for the router is ignored.
//! Start at:  `Router::handle_frame`.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use netcore::ethernet::{HEADER_LEN, Mac};

use crate::lan::Subnet;
use crate::wire::{Lane, Link};

/// Stations remembered on a side: a LAN of the rig has tens.
const NEIGHBOURS_MAX: usize = 64;
/// Packets that wait for an ARP answer on a side.
const WAITING_MAX: usize = 64;
const ARP_LEN: usize = 28;
const IPV4: [u8; 2] = [8, 0];
const ARP: [u8; 2] = [8, 6];
/// Ethernet, IPv4, 6 and 4 bytes: how every ARP message of interest begins.
const ARP_START: [u8; 6] = [0, 1, 8, 0, 6, 4];
const REQUEST: u8 = 1;
const REPLY: u8 = 2;

/// One leg of the router.
#[derive(Debug)]
struct Side {
    subnet: Subnet,
    mac: Mac,
    neighbours: VecDeque<(Ipv4Addr, Mac)>,
    waiting: VecDeque<(Ipv4Addr, Vec<u8>)>,
}

/// A frame that leaves the router at a time.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leaving {
    /// Microseconds of the caller's clock.
    pub due_us: u64,
    /// The side it leaves by.
    pub side: usize,
    /// The frame.
    pub frame: Vec<u8>,
}

/// A router between LANs.
#[derive(Debug)]
pub struct Router {
    sides: Vec<Side>,
    /// From side, to side.
    lanes: Vec<Vec<Lane>>,
}

impl Router {
    /// A router with a leg in each of these; `seed` decides later losses.
    pub fn new(subnets: &[Subnet], seed: u64) -> Self {
        let sides = subnets.iter().map(|&subnet| Side {
            subnet,
            mac: Mac([0x52, 0x54, 0, 0x79, 0, subnet.0]),
            neighbours: VecDeque::new(),
            waiting: VecDeque::new(),
        });
        let count = subnets.len() as u64;
        let lane = |from: u64, to: u64| Lane::new(seed.wrapping_add(from * count + to));
        let lanes = (0..count).map(|from| (0..count).map(|to| lane(from, to)).collect());
        Self {
            sides: sides.collect(),
            lanes: lanes.collect(),
        }
    }

    /// Changes the path from one side to another from now on.
    pub fn set_path(&mut self, from: usize, to: usize, link: Link) {
        if let Some(lane) = self.lanes.get_mut(from).and_then(|row| row.get_mut(to)) {
            lane.set(link);
        }
    }

    /// A frame came in at `side`: what leaves because of it.
    pub fn handle_frame(&mut self, now_us: u64, side: usize, frame: &[u8]) -> Vec<Leaving> {
        let Some((header, body)) = frame.split_first_chunk::<HEADER_LEN>() else {
            return Vec::new();
        };
        if header[12..] == ARP {
            return self.handle_arp(now_us, side, body);
        }
        let for_us = self
            .sides
            .get(side)
            .is_some_and(|it| header[..6] == it.mac.0);
        if header[12..] != IPV4 || !for_us {
            return Vec::new();
        }
        self.forward(now_us, side, body).into_iter().collect()
    }

    /// A packet on its way out: as a frame, or as the question for its target's address.
    fn forward(&mut self, now_us: u64, from: usize, packet: &[u8]) -> Option<Leaving> {
        let target = address(packet, 16)?;
        let to = self.sides.iter().position(|it| it.subnet.has(target))?;
        if to == from || target == self.sides[to].subnet.router() {
            return None;
        }
        let packet = one_hop_older(packet)?;
        let due_us = self.lanes[from][to].arrival(now_us, packet.len()).ok()?;
        let side = &mut self.sides[to];
        let known = side.neighbours.iter().find(|(at, _)| *at == target);
        let frame = match known {
            Some(&(_, mac)) => ethernet(mac, side.mac, IPV4, &packet),
            None => {
                push_bounded(&mut side.waiting, WAITING_MAX, (target, packet));
                side.arp(REQUEST, Mac::BROADCAST, target)
            }
        };
        Some(Leaving {
            due_us,
            side: to,
            frame,
        })
    }

    fn handle_arp(&mut self, now_us: u64, number: usize, body: &[u8]) -> Vec<Leaving> {
        let side = &mut self.sides[number];
        let Some(message) = body.get(..ARP_LEN).filter(|it| it[..6] == ARP_START) else {
            return Vec::new();
        };
        let (Some(sender), Some(target)) = (address(message, 14), address(message, 24)) else {
            return Vec::new();
        };
        let mut mac = Mac::default();
        mac.0.copy_from_slice(&message[8..14]);
        if !side.subnet.has(sender) || !mac.is_unicast() {
            return Vec::new();
        }
        side.neighbours.retain(|(at, _)| *at != sender);
        push_bounded(&mut side.neighbours, NEIGHBOURS_MAX, (sender, mac));
        let mut frames = Vec::new();
        if message[7] == REQUEST && target == side.subnet.router() {
            frames.push(side.arp(REPLY, mac, sender));
        }
        let (ready, waiting) = std::mem::take(&mut side.waiting)
            .into_iter()
            .partition(|(at, _)| *at == sender);
        side.waiting = waiting;
        let ready: VecDeque<(Ipv4Addr, Vec<u8>)> = ready;
        frames.extend(
            ready
                .iter()
                .map(|(_, packet)| ethernet(mac, side.mac, IPV4, packet)),
        );
        let leaving = |frame| Leaving {
            due_us: now_us,
            side: number,
            frame,
        };
        frames.into_iter().map(leaving).collect()
    }
}

impl Side {
    fn arp(&self, kind: u8, to: Mac, about: Ipv4Addr) -> Vec<u8> {
        let mut body = ARP_START.to_vec();
        body.extend([0, kind]);
        body.extend(self.mac.0);
        body.extend(self.subnet.router().octets());
        body.extend(if kind == REPLY { to.0 } else { [0; 6] });
        body.extend(about.octets());
        ethernet(to, self.mac, ARP, &body)
    }
}

fn push_bounded<T>(queue: &mut VecDeque<T>, max: usize, item: T) {
    if queue.len() == max {
        queue.pop_front();
    }
    queue.push_back(item);
}

fn ethernet(to: Mac, from: Mac, kind: [u8; 2], body: &[u8]) -> Vec<u8> {
    [&to.0[..], &from.0, &kind, body].concat()
}

fn address(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(octets.into())
}

/// The packet with its time to live one lower. `None`: too old, or no IPv4 packet.
fn one_hop_older(packet: &[u8]) -> Option<Vec<u8>> {
    let total = usize::from(u16::from_be_bytes(packet.get(2..4)?.try_into().ok()?));
    let mut packet = packet.get(..total)?.to_vec(); // without Ethernet's padding
    if packet.len() < 20 || packet[0] >> 4 != 4 || packet[8] < 2 {
        return None;
    }
    packet[8] -= 1;
    // RFC 1624: the sum grows by what the field lost.
    let sum = u32::from(u16::from_be_bytes([packet[10], packet[11]])) + 0x0100;
    let folded = (sum & 0xffff) + (sum >> 16);
    packet[10..12].copy_from_slice(&u16::try_from(folded).ok()?.to_be_bytes());
    Some(packet)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Leaving, Router};
    use crate::lan::Subnet;
    use crate::wire::Link;
    use netcore::ethernet::{Datagram, Mac};
    use std::net::Ipv4Addr;

    const HERE: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const THERE: Mac = Mac([2, 0, 0, 0, 0, 2]);

    fn station(net: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, net, 9)
    }

    fn packet(router: Mac) -> Vec<u8> {
        let datagram = Datagram {
            source_mac: HERE,
            target_mac: router,
            source: station(1),
            target: station(2),
            source_port: 1,
            target_port: 2,
            payload: b"over the hills",
        };
        datagram.emit().unwrap()
    }

    /// An ARP message from the station of net 2.
    fn arp(kind: u8, target: Ipv4Addr) -> Vec<u8> {
        let mut frame = [&[0xff; 6][..], &THERE.0, &[8, 6, 0, 1, 8, 0, 6, 4, 0, kind]].concat();
        frame.extend(THERE.0);
        frame.extend(station(2).octets());
        frame.extend([0; 6]);
        frame.extend(target.octets());
        frame
    }

    fn one(mut leaving: Vec<Leaving>) -> Leaving {
        assert_eq!(leaving.len(), 1, "{leaving:?}");
        leaving.remove(0)
    }

    #[test]
    fn a_packet_crosses_after_its_target_was_asked_for_and_is_one_hop_older() {
        let mut router = Router::new(&[Subnet(1), Subnet(2)], 7);
        router.set_path(
            0,
            1,
            Link {
                delay_ms: 25,
                ..Link::default()
            },
        );
        let leg = Mac([0x52, 0x54, 0, 0x79, 0, 1]);
        let question = one(router.handle_frame(1000, 0, &packet(leg)));
        assert_eq!((question.side, question.due_us), (1, 26_000));
        assert_eq!(question.frame[12..14], [8, 6]);

        let freed = one(router.handle_frame(30_000, 1, &arp(2, Subnet(2).router())));
        let datagram = Datagram::parse(&freed.frame).expect("checksums are right");
        assert_eq!(
            (datagram.target_mac, datagram.payload),
            (THERE, &b"over the hills"[..])
        );
        assert_eq!(freed.frame[14 + 8], 63, "time to live");

        let next = one(router.handle_frame(50_000, 0, &packet(leg)));
        assert_eq!(
            (next.side, next.due_us),
            (1, 75_000),
            "the neighbour is known now"
        );
    }

    #[test]
    fn a_cut_is_one_way_and_frames_for_others_are_left_alone() {
        let mut router = Router::new(&[Subnet(1), Subnet(2)], 7);
        router.set_path(
            0,
            1,
            Link {
                cut: true,
                ..Link::default()
            },
        );
        let leg = Mac([0x52, 0x54, 0, 0x79, 0, 1]);
        assert_eq!(router.handle_frame(0, 0, &packet(leg)), []);
        assert_eq!(router.handle_frame(0, 0, &packet(THERE)), []);
        let reply = one(router.handle_frame(0, 1, &arp(1, Subnet(2).router())));
        assert_eq!((reply.side, &reply.frame[..6]), (1, &THERE.0[..]));
        assert_eq!(router.handle_frame(0, 1, &arp(1, station(2))), []);
        for length in 0..40 {
            router.handle_frame(0, 0, &packet(leg)[..length]);
        }
    }
}
