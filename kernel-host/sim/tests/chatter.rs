//! The world with a machine that only chatters: what arrives, what is saved, what stands still.

#![allow(clippy::unwrap_used)]

use overlay::Save;
use protocol::peer::{Channel, Contact, Realm, Record, RecordKey};
use protocol::{Moment, NodeId};
use sim::history::{Act, Deed, History, Shape, Work};
use sim::machine::{Ask, Birth, Machine, Note, Opinion, Wish};
use sim::world::network::{Effect, Group, Weather};
use sim::world::{Watch, World};
use std::collections::VecDeque;

/// Greets each node that it meets, ticks ten times a second, and counts what comes.
#[derive(Debug)]
struct Chatter {
    next_ms: u64,
    wishes: VecDeque<Wish>,
    came: u64,
    broken: u64,
    saved: u64,
    turns: u32,
}

impl Machine for Chatter {
    const TELLS_ALL: bool = true;

    fn start(now: Moment, birth: Birth<'_>) -> Self {
        Self {
            next_ms: now.uptime_ms + birth.seed % 100,
            wishes: VecDeque::new(),
            came: 0,
            broken: 0,
            saved: birth.disk.len() as u64,
            turns: 0,
        }
    }

    fn receive(&mut self, _: Moment, _: Contact, _: Channel, bytes: &[u8]) {
        assert_eq!(bytes.len(), 200);
        self.came += 1;
    }

    fn unreachable(&mut self, _: Moment, _: NodeId, _: Channel) {
        self.broken += 1;
    }

    fn contact(&mut self, now: Moment, contact: Contact) {
        self.wishes.push_back(Wish::Send {
            to: contact.node,
            address: contact.address,
            channel: Channel::Datagram,
            bytes: vec![0; 200],
        });
        self.next_ms = now.uptime_ms + 100;
    }

    fn ask(&mut self, _: Moment, _: u64, _: &Ask) {
        let key = format!("turn/{}", self.turns);
        let value = Some(vec![1]);
        self.wishes.push_back(Wish::Save(Save { key, value }));
        self.turns += 1;
    }

    fn timeout(&mut self, now: Moment) {
        self.next_ms += 100;
        assert!(self.next_ms > now.uptime_ms);
        self.wishes.push_back(Wish::Note(Note::Cloned));
    }

    fn next_timeout(&self) -> Option<u64> {
        Some(self.next_ms)
    }

    fn poll(&mut self) -> Option<Wish> {
        self.wishes.pop_front()
    }

    fn opinion(&self, _: NodeId) -> Opinion {
        Opinion::Unknown
    }

    fn others_there(&self) -> usize {
        0
    }

    fn record(&self, _: &RecordKey) -> Option<Record> {
        None
    }

    fn records_digest(&self, _: Realm) -> u64 {
        0
    }

    fn memory_bytes(&self) -> usize {
        0
    }

    fn payloads(&self) -> (u64, u64) {
        (self.came, self.came)
    }

    fn check(&self) {}
}

/// Counts ticks.
struct Crowd {
    ticks: u64,
}

impl Watch<Chatter> for Crowd {
    fn note(&mut self, _: &mut World<Chatter>, _: u32, _: Note) {
        self.ticks += 1;
    }
    fn wake(&mut self, _: &mut World<Chatter>, _: u64) {}
    fn work(&mut self, _: &mut World<Chatter>, _: &Work) {}
    fn power(&mut self, _: &mut World<Chatter>, _: u32, _: bool) {}
}

fn history(sites: &[u16], deeds: Vec<(u64, Deed)>) -> History {
    let nodes = sites.iter().map(|nodes| u32::from(*nodes)).sum();
    let mut shape = Shape::even(nodes, 1, Weather::CALM);
    shape.sites = sites.to_vec();
    shape.start_ms = 1;
    shape.beacons = false;
    let acts = deeds.into_iter().map(|(at_ms, deed)| Act { at_ms, deed });
    History {
        seed: 5,
        safety_ms: 0,
        heal_ms: 0,
        shape,
        acts: acts.collect(),
    }
}

/// What came to, and what broke at, each host by the end.
fn counts(world: &World<Chatter>) -> Vec<(u64, u64)> {
    let machines = world.hosts.iter().map(|host| host.machine.as_ref());
    machines
        .map(|machine| machine.map_or((0, 0), |m| (m.came, m.broken)))
        .collect()
}

#[test]
fn a_cut_stops_what_is_on_its_way() {
    let cut = Deed::Disturb {
        from: Group::Sites(vec![0]),
        to: Group::Sites(vec![1]),
        both: false,
        effect: Effect::Block,
        for_ms: 1_000_000,
    };
    for (cut_ms, both_ways) in [(0, false), (60_000, true)] {
        let mut world = World::<Chatter>::new(&history(&[1, 1], vec![(cut_ms, cut.clone())]));
        world.run(20_000_000, &mut Crowd { ticks: 0 });
        let [(to_first, _), (to_second, _)] = counts(&world)[..] else {
            panic!("two hosts")
        };
        assert_eq!(to_second > 0, both_ways, "cut at {cut_ms} ms");
        assert_eq!(to_first > 0, both_ways, "no session is made over a cut");
    }
}

#[test]
fn what_was_not_saved_is_gone_after_a_power_loss() {
    //   stalled from, orders at, power lost at: what is on the disk afterwards
    for (stall_ms, saved) in [(1_000_000, 2), (5000, 0)] {
        let deeds = vec![
            (
                stall_ms,
                Deed::Stall {
                    host: 0,
                    for_ms: 50_000,
                },
            ),
            (
                20_000,
                Deed::Crash {
                    host: 0,
                    down_ms: 1000,
                    keeps_disk: true,
                },
            ),
        ];
        let mut world = World::<Chatter>::new(&history(&[1], deeds));
        let mut crowd = Crowd { ticks: 0 };
        world.run(10_000_000, &mut crowd);
        world.ask(0, 1, &Ask::Leave);
        world.ask(0, 2, &Ask::Leave);
        world.run(30_000_000, &mut crowd);
        assert_eq!(
            world.machine(0).unwrap().saved,
            saved,
            "stall at {stall_ms} ms"
        );
    }
}

#[test]
fn a_paused_host_does_nothing_and_then_goes_on() {
    let deeds = vec![(
        5000,
        Deed::Pause {
            host: 0,
            for_ms: 10_000,
        },
    )];
    let mut world = World::<Chatter>::new(&history(&[1], deeds));
    let mut crowd = Crowd { ticks: 0 };
    world.run(5_000_000, &mut crowd);
    let before = crowd.ticks;
    world.run(14_000_000, &mut crowd);
    assert_eq!(crowd.ticks, before);
    assert!(!world.ask(0, 1, &Ask::Leave), "nobody answers");
}
