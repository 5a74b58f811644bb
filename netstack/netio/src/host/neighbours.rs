//! Which station has which address on the link, for datagrams that pass smoltcp by.
//!
//! Does:      learns from ARP and from what stations send to us; asks, and keeps a few frames until
//!            the answer comes.
//! Does not:  let one silent station hold up what is for others, as a queue shared by all would.
//! Bounds:    `NEIGHBOURS_MAX` stations, above which the one heard longest ago is forgotten;
//!            `WAITING_MAX` frames for each, above which the oldest is dropped.
//! Trusts:    ARP, as every station on a LAN must; what is sent is sealed elsewhere.
//! Start at:  `Neighbours::send`.

use netcore::ethernet::{Mac, arp_request, arp_sender};
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

const NEIGHBOURS_MAX: usize = 512;
const WAITING_MAX: usize = 4;
/// A station that was not heard for so long is asked again, while it is still sent to.
const DOUBT_MS: u64 = 30_000;
/// And after so long it is not sent to before it answers.
const FORGET_MS: u64 = 120_000;
/// Between two questions for one address.
const ASK_MS: u64 = 1_000;

#[derive(Debug, Default)]
struct Station {
    mac: Option<Mac>,
    heard_ms: u64,
    asked_ms: Option<u64>,
    /// Whole frames that lack their target's MAC.
    waiting: VecDeque<Vec<u8>>,
}

#[derive(Debug, Default)]
pub(super) struct Neighbours {
    stations: BTreeMap<Ipv4Addr, Station>,
    /// Frames given up while their station did not answer.
    pub dropped: u64,
}

impl Neighbours {
    /// The frames to put on the link so that `frame` gets to the station at `hop`: the frame
    /// itself, a question, or both.
    pub fn send(
        &mut self,
        (mac, address): (Mac, Ipv4Addr),
        hop: Ipv4Addr,
        mut frame: Vec<u8>,
        now_ms: u64,
    ) -> Vec<Vec<u8>> {
        self.make_room(hop);
        let station = self.stations.entry(hop).or_default();
        let silent_ms = now_ms.saturating_sub(station.heard_ms);
        let known = station.mac.filter(|_| silent_ms < FORGET_MS);
        let mut frames = Vec::new();
        if let Some(target) = known {
            frame[..6].copy_from_slice(&target.0);
            frames.push(frame);
        } else {
            if station.waiting.len() >= WAITING_MAX {
                station.waiting.pop_front();
                self.dropped += 1;
            }
            station.waiting.push_back(frame);
        }
        let asks = known.is_none() || silent_ms >= DOUBT_MS;
        if asks && station.asked_ms.is_none_or(|at| now_ms >= at + ASK_MS) {
            station.asked_ms = Some(now_ms);
            frames.push(arp_request(mac, address, hop));
        }
        frames
    }

    /// A station on the link sent something from this address. Gives the frames that waited for it.
    pub fn hear(&mut self, address: Ipv4Addr, mac: Mac, now_ms: u64) -> Vec<Vec<u8>> {
        let Some(station) = self.stations.get_mut(&address) else {
            return Vec::new(); // nothing of ours is for it yet
        };
        station.mac = Some(mac);
        station.heard_ms = now_ms;
        let mut frames: Vec<Vec<u8>> = station.waiting.drain(..).collect();
        for frame in &mut frames {
            frame[..6].copy_from_slice(&mac.0);
        }
        frames
    }

    /// The same for an ARP frame; any other frame gives nothing.
    pub fn hear_arp(&mut self, frame: &[u8], now_ms: u64) -> Vec<Vec<u8>> {
        match arp_sender(frame) {
            Some((address, mac)) => self.hear(address, mac, now_ms),
            None => Vec::new(),
        }
    }

    fn make_room(&mut self, newcomer: Ipv4Addr) {
        if self.stations.len() < NEIGHBOURS_MAX || self.stations.contains_key(&newcomer) {
            return;
        }
        let oldest = self.stations.iter().min_by_key(|(_, s)| s.heard_ms);
        if let Some(address) = oldest.map(|(address, _)| *address) {
            self.stations.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: (Mac, Ipv4Addr) = (Mac([2, 0, 0, 0, 0, 1]), Ipv4Addr::new(10, 0, 0, 1));
    const THEM: (Mac, Ipv4Addr) = (Mac([2, 0, 0, 0, 0, 9]), Ipv4Addr::new(10, 0, 0, 9));

    #[test]
    fn a_frame_waits_for_its_station_and_no_other() {
        let mut neighbours = Neighbours::default();
        let dead = Ipv4Addr::new(10, 0, 0, 66);
        let asked = neighbours.send(US, dead, vec![0; 60], 0);
        assert_eq!(asked, [arp_request(US.0, US.1, dead)]);
        let asked = neighbours.send(US, THEM.1, vec![0; 60], 0);
        assert_eq!(asked, [arp_request(US.0, US.1, THEM.1)]);
        assert!(neighbours.send(US, THEM.1, vec![1; 60], 10).is_empty());
        let answer = arp_request(THEM.0, THEM.1, US.1);
        let frames = neighbours.hear_arp(&answer, 20);
        assert_eq!(frames.len(), 2);
        assert!(frames.iter().all(|frame| frame[..6] == THEM.0.0));
        assert_eq!(neighbours.send(US, THEM.1, vec![2; 60], 30).len(), 1);
    }

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn a_station_that_grows_silent_is_asked_and_then_awaited() {
        //    silent ms  frames: of ours, questions
        check(    1_000, 1,      0);
        check(   30_000, 1,      1);
        check(  120_000, 0,      1);

        fn check(silent_ms: u64, ours: usize, questions: usize) {
            let mut neighbours = Neighbours::default();
            neighbours.send(US, THEM.1, vec![0; 60], 0);
            neighbours.hear(THEM.1, THEM.0, 1);
            let frames = neighbours.send(US, THEM.1, vec![0; 60], 1 + silent_ms);
            let asked = arp_request(US.0, US.1, THEM.1);
            let count = frames.iter().filter(|frame| **frame == asked).count();
            assert_eq!((frames.len() - count, count), (ours, questions));
        }
    }

    #[test]
    fn tables_are_bounded() {
        let mut neighbours = Neighbours::default();
        for round in 0..2_000_u32 {
            let address = Ipv4Addr::from(0x0a00_0000 + round);
            for _ in 0..10 {
                neighbours.send(US, address, vec![0; 60], u64::from(round));
            }
        }
        assert_eq!(neighbours.stations.len(), NEIGHBOURS_MAX);
        assert_eq!(neighbours.dropped, 2_000 * 6);
    }
}
