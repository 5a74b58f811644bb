//! The network card as a driver sees it: frames through real rings, by table.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use std::collections::VecDeque;

use virtio::pci::{Face, Function};
use virtio::{
    CHAINS_PER_TURN_MAX, FRAME_BYTES_MAX, Memory, NET_HEADER_BYTES, Net, Offloads, RECEIVE_QUEUE,
    TRANSMIT_QUEUE, Turn, Wire,
};
use vm_memory::{Bytes, GuestAddress};

const CHECKSUM: u32 = 1;
const GUEST_CHECKSUM: u32 = 1 << 1;
const GUEST_TCP_4: u32 = 1 << 7;
const HOST_TCP_4: u32 = 1 << 11;
const MERGEABLE: u32 = 1 << 15;

/// Rings of a queue, and where its buffers begin.
const RINGS: [u64; 2] = [0x1_0000, 0x2_0000];
const BUFFERS: [u64; 2] = [0x10_0000, 0x40_0000];
const AVAILABLE: u64 = 0x4000;
const USED: u64 = 0x8000;

/// A wire in memory.
#[derive(Default)]
struct Cable {
    to_guest: VecDeque<Vec<u8>>,
    from_guest: Vec<Vec<u8>>,
    room: usize,
    guest: Option<Offloads>,
}

impl Wire for Cable {
    fn receive(&mut self, into: &mut [u8]) -> Option<usize> {
        let packet = self.to_guest.pop_front()?;
        into[..packet.len()].copy_from_slice(&packet);
        Some(packet.len())
    }

    fn send(&mut self, packet: &[u8]) -> bool {
        if self.from_guest.len() >= self.room {
            return false;
        }
        self.from_guest.push(packet.to_vec());
        true
    }

    fn guest_can(&mut self, offloads: Offloads) {
        self.guest = Some(offloads);
    }
}

struct Driver {
    card: Function<Net<Cable>>,
    memory: Memory,
    posted: [u16; 2],
    descriptors: [u16; 2],
    seen: [u16; 2],
}

impl Driver {
    fn new(features: u32) -> Driver {
        let memory = Memory::from_ranges(&[(GuestAddress(0), 0x80_0000)]).unwrap();
        let cable = Cable {
            room: usize::MAX,
            ..Cable::default()
        };
        let mut card = Function::new(Net::new(cable, [2, 0, 0, 0, 0, 7], 1380), 0xc000_0000);
        card.write_bar(0x14, &[3], &memory);
        for (half, bits) in [(0u32, features), (1, 1)] {
            card.write_bar(0x08, &half.to_le_bytes(), &memory);
            card.write_bar(0x0c, &bits.to_le_bytes(), &memory);
        }
        card.write_bar(0x14, &[11], &memory);
        for (queue, rings) in (0u16..).zip(RINGS) {
            card.write_bar(0x16, &queue.to_le_bytes(), &memory);
            for (at, address) in [
                (0x20, rings),
                (0x28, rings + AVAILABLE),
                (0x30, rings + USED),
            ] {
                card.write_bar(at, &address.to_le_bytes(), &memory);
            }
            card.write_bar(0x1c, &[1, 0], &memory);
        }
        card.write_bar(0x14, &[15], &memory);
        assert!(card.alive());
        Driver {
            card,
            memory,
            posted: [0; 2],
            descriptors: [0; 2],
            seen: [0; 2],
        }
    }

    /// Posts one chain of parts; returns where each part lies. `None` data: for the device.
    fn post(&mut self, queue: u16, parts: &[(usize, Option<&[u8]>)]) -> Vec<u64> {
        let at = usize::from(queue);
        let mut places = Vec::new();
        let first = self.descriptors[at];
        for (number, (len, data)) in parts.iter().enumerate() {
            let index = self.descriptors[at];
            self.descriptors[at] = (index + 1) % 256;
            let place = BUFFERS[at] + u64::from(index) * 0x2000;
            if let Some(data) = data {
                self.memory.write_slice(data, GuestAddress(place)).unwrap();
            }
            let more = u16::from(number + 1 < parts.len());
            let flags = more | if data.is_none() { 2 } else { 0 };
            let mut bytes = place.to_le_bytes().to_vec();
            bytes.extend((*len as u32).to_le_bytes());
            bytes.extend(flags.to_le_bytes());
            bytes.extend(self.descriptors[at].to_le_bytes());
            let table = GuestAddress(RINGS[at] + u64::from(index) * 16);
            self.memory.write_slice(&bytes, table).unwrap();
            places.push(place);
        }
        let available = RINGS[at] + AVAILABLE;
        let slot = GuestAddress(available + 4 + u64::from(self.posted[at] % 256) * 2);
        self.memory.write_obj(first, slot).unwrap();
        self.posted[at] = self.posted[at].wrapping_add(1);
        let index = GuestAddress(available + 2);
        self.memory.write_obj(self.posted[at], index).unwrap();
        places
    }

    fn serve(&mut self, queue: u16) -> Turn {
        self.card.serve(queue, &self.memory).turn
    }

    /// Head and length of each chain that came back.
    fn used(&mut self, queue: u16) -> Vec<(u32, u32)> {
        let at = usize::from(queue);
        let used = RINGS[at] + USED;
        let index: u16 = self.memory.read_obj(GuestAddress(used + 2)).unwrap();
        let mut found = Vec::new();
        while self.seen[at] != index {
            let place = used + 4 + u64::from(self.seen[at] % 256) * 8;
            let head = self.memory.read_obj(GuestAddress(place)).unwrap();
            let length = self.memory.read_obj(GuestAddress(place + 4)).unwrap();
            found.push((head, length));
            self.seen[at] = self.seen[at].wrapping_add(1);
        }
        found
    }

    fn cable(&mut self) -> &mut Cable {
        self.card.device_mut().wire_mut()
    }

    fn read(&self, place: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory
            .read_slice(&mut bytes, GuestAddress(place))
            .unwrap();
        bytes
    }
}

fn packet(flags: u8, kind: u8, len: usize) -> Vec<u8> {
    let mut packet = vec![0; NET_HEADER_BYTES];
    (packet[0], packet[1]) = (flags, kind);
    packet.extend((0..len).map(|at| (at * 7 % 251) as u8));
    packet
}

#[test]
fn the_driver_reads_its_address_and_mtu() {
    let mut driver = Driver::new(0);
    let mut config = [0; 12];
    driver.card.read_bar(0x2000, &mut config);
    assert_eq!(config, [2, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0x64, 5]);
}

/// Group 15 of the public reports: header and frame in one buffer, in two, or in pieces.
#[test]
fn frames_leave_whole_however_they_are_laid_out() {
    let whole = packet(0, 0, 100);
    for cuts in [vec![112], vec![12, 100], vec![5, 7, 1, 99], vec![20, 92]] {
        let mut driver = Driver::new(0);
        let mut rest = &whole[..];
        let mut parts = Vec::new();
        for cut in cuts {
            let (part, tail) = rest.split_at(cut);
            parts.push((cut, Some(part)));
            rest = tail;
        }
        driver.post(TRANSMIT_QUEUE, &parts);
        assert_eq!(driver.serve(TRANSMIT_QUEUE).served, 1);
        assert_eq!(driver.used(TRANSMIT_QUEUE), [(0, 0)]);
        assert_eq!(driver.cable().from_guest, std::slice::from_ref(&whole));
    }
}

/// Group 14: what a header may ask for is what was negotiated.
#[test]
#[rustfmt::skip] // keeps the columns
fn a_header_that_asks_for_more_than_was_negotiated_sends_nothing() {
    let check = |features, flags, kind, len, sent| {
        let mut driver = Driver::new(features);
        let packet = packet(flags, kind, len);
        driver.post(TRANSMIT_QUEUE, &[(packet.len().min(0x2000), Some(&packet[..packet.len().min(0x2000)]))]);
        let turn = driver.serve(TRANSMIT_QUEUE);
        assert_eq!((turn.served, turn.refused), if sent { (1, 0) } else { (0, 1) }, "{features} {flags} {kind} {len}");
        assert_eq!(driver.used(TRANSMIT_QUEUE), [(0, 0)], "it comes back once");
        assert_eq!(driver.cable().from_guest.len(), usize::from(sent));
        assert!(driver.card.alive());
    };
    //    negotiated               flags  kind  bytes  sent
    check(0,                       0,     0,    60,    true);
    check(0,                       1,     0,    60,    false);
    check(CHECKSUM,                1,     0,    60,    true);
    check(CHECKSUM,                1,     1,    4000,  false);
    check(CHECKSUM | HOST_TCP_4,   1,     1,    4000,  true);
    check(CHECKSUM | HOST_TCP_4,   0,     1,    4000,  false); // without a checksum to complete
    check(CHECKSUM | HOST_TCP_4,   1,     4,    4000,  false);
    check(CHECKSUM | HOST_TCP_4,   1,     3,    4000,  false); // UDP in fragments
    check(CHECKSUM | HOST_TCP_4,   1,     0x81, 4000,  false);
    check(HOST_TCP_4,              1,     1,    4000,  false); // needs checksums too
    check(0,                       0,     0,    13,    false);
    check(0,                       0,     0,    14,    true);
}

#[test]
fn what_the_guest_can_do_is_told_to_the_wire() {
    let told = |features| Driver::new(features).cable().guest;
    let offloads = |checksum, tcp4| {
        Some(Offloads {
            checksum,
            tcp4,
            tcp6: false,
        })
    };
    assert_eq!(told(0), offloads(false, false));
    assert_eq!(told(GUEST_CHECKSUM), offloads(true, false));
    assert_eq!(told(GUEST_CHECKSUM | GUEST_TCP_4), offloads(true, true));
    assert_eq!(
        told(GUEST_TCP_4),
        offloads(false, false),
        "nothing without checksums"
    );
}

#[test]
fn a_frame_waits_for_room_on_the_wire() {
    let mut driver = Driver::new(0);
    driver.cable().room = 1;
    let sent = packet(0, 0, 60);
    for _ in 0..3 {
        driver.post(TRANSMIT_QUEUE, &[(sent.len(), Some(&sent))]);
    }
    let turn = driver.serve(TRANSMIT_QUEUE);
    assert!(turn.stalled && !turn.again);
    assert_eq!(driver.used(TRANSMIT_QUEUE).len(), 1);
    driver.cable().room = 3;
    assert!(!driver.serve(TRANSMIT_QUEUE).stalled);
    assert_eq!(
        driver.used(TRANSMIT_QUEUE),
        [(1, 0), (2, 0)],
        "in order, each once"
    );
}

#[test]
fn a_frame_arrives_in_one_buffer() {
    for features in [0, MERGEABLE] {
        let mut driver = Driver::new(features);
        let sent = packet(0, 0, 100);
        driver.cable().to_guest.push_back(sent.clone());
        assert!(!driver.serve(RECEIVE_QUEUE).stalled, "it waits for buffers");
        assert_eq!(driver.used(RECEIVE_QUEUE), []);
        let places = driver.post(RECEIVE_QUEUE, &[(12, None), (1600, None)]);
        let turn = driver.serve(RECEIVE_QUEUE);
        assert!(turn.stalled, "nothing more is there");
        assert_eq!(driver.used(RECEIVE_QUEUE), [(0, 112)]);
        let header = driver.read(places[0], 12);
        assert_eq!(
            header,
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0],
            "in one buffer"
        );
        assert_eq!(driver.read(places[1], 100), sent[12..]);
    }
}

/// Group 15: the number of buffers is exact, and all of them come back at once.
#[test]
fn a_long_frame_is_spread_over_buffers() {
    let mut driver = Driver::new(MERGEABLE | GUEST_CHECKSUM | GUEST_TCP_4);
    let sent = packet(1, 1, 5000);
    driver.cable().to_guest.push_back(sent.clone());
    let mut places = Vec::new();
    for number in 0..4 {
        places.extend(driver.post(RECEIVE_QUEUE, &[(1536, None)]));
        let turn = driver.serve(RECEIVE_QUEUE);
        let back = driver.used(RECEIVE_QUEUE);
        if number < 3 {
            assert_eq!(
                (back.len(), turn.served),
                (0, 0),
                "none before all are there"
            );
        } else {
            assert_eq!(
                back,
                [(0, 1536), (1, 1536), (2, 1536), (3, 5012 - 3 * 1536)]
            );
            assert_eq!(turn.served, 4);
        }
    }
    assert_eq!(driver.read(places[0], 12)[10..], [4, 0]);
    let mut whole: Vec<u8> = places
        .iter()
        .flat_map(|place| driver.read(*place, 1536))
        .collect();
    whole.truncate(sent.len());
    assert!(whole[12..] == sent[12..]);
}

#[test]
fn a_frame_that_no_buffer_can_hold_is_dropped_and_the_buffers_stay() {
    let mut driver = Driver::new(0);
    driver.post(RECEIVE_QUEUE, &[(500, None)]);
    driver.cable().to_guest.push_back(packet(0, 0, 1000));
    driver.cable().to_guest.push_back(packet(0, 0, 100));
    driver.serve(RECEIVE_QUEUE);
    assert_eq!(driver.used(RECEIVE_QUEUE), [(0, 112)]);
    assert_eq!(driver.card.device_mut().counters().too_long, 1);
    let mut driver = Driver::new(MERGEABLE);
    for _ in 0..70 {
        driver.post(RECEIVE_QUEUE, &[(1, None)]);
    }
    driver.cable().to_guest.push_back(packet(0, 0, 100));
    assert!(driver.serve(RECEIVE_QUEUE).stalled);
    assert_eq!(driver.used(RECEIVE_QUEUE), []);
}

#[test]
fn a_wire_that_asks_too_much_of_the_guest_is_not_heard() {
    let mut driver = Driver::new(0);
    driver.post(RECEIVE_QUEUE, &[(1600, None)]);
    for bad in [
        packet(1, 0, 100),
        packet(1, 1, 100),
        packet(0, 0, 13),
        vec![],
    ] {
        driver.cable().to_guest.push_back(bad);
    }
    driver
        .cable()
        .to_guest
        .push_back(vec![0; NET_HEADER_BYTES + FRAME_BYTES_MAX + 1]);
    driver.cable().to_guest.push_back(packet(2, 0, 100));
    driver.serve(RECEIVE_QUEUE);
    assert_eq!(
        driver.used(RECEIVE_QUEUE),
        [(0, 112)],
        "the last one, without its flag"
    );
    assert_eq!(driver.card.device_mut().counters().unfit, 5);
}

#[test]
fn a_buffer_that_is_none_comes_back_empty_and_takes_its_frame_with_it() {
    let mut driver = Driver::new(MERGEABLE);
    driver.cable().to_guest.push_back(packet(0, 0, 3000));
    driver.cable().to_guest.push_back(packet(0, 0, 60));
    driver.post(RECEIVE_QUEUE, &[(1536, None)]);
    driver.post(RECEIVE_QUEUE, &[(100, Some(b"readable"))]); // nothing to write to
    driver.post(RECEIVE_QUEUE, &[(1536, None)]);
    let turn = driver.serve(RECEIVE_QUEUE);
    assert_eq!(turn.refused, 2);
    assert_eq!(
        driver.used(RECEIVE_QUEUE),
        [(0, 0), (1, 0), (2, 72)],
        "each once"
    );
}

#[test]
fn one_turn_is_bounded_and_asks_for_another() {
    let mut driver = Driver::new(0);
    let sent = packet(0, 0, 60);
    for _ in 0..200 {
        driver.post(TRANSMIT_QUEUE, &[(sent.len(), Some(&sent))]);
        driver.post(RECEIVE_QUEUE, &[(100, None)]);
        driver.cable().to_guest.push_back(sent.clone());
    }
    for queue in [TRANSMIT_QUEUE, RECEIVE_QUEUE] {
        let turn = driver.serve(queue);
        assert_eq!((turn.served, turn.again), (CHAINS_PER_TURN_MAX, true));
    }
}

#[test]
fn after_a_reset_nothing_of_the_old_life_is_left() {
    let mut driver = Driver::new(CHECKSUM);
    driver.cable().to_guest.push_back(packet(0, 0, 60));
    driver.serve(RECEIVE_QUEUE); // in hand now
    driver.card.write_bar(0x14, &[0], &driver.memory);
    assert!(!driver.card.alive());
    assert_eq!(driver.serve(TRANSMIT_QUEUE), Turn::default());
    assert_eq!(driver.card.device_mut().counters().received, 0);
}
