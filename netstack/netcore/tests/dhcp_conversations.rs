//! The DHCP client against servers, in virtual time, on a LAN that delays and loses.
//!
//! Each test is a public bug report of somebody's client or server. A failure names its seed.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use netcore::dhcp::client::{Client, ClientSettings, Input, LostReason, Output, Target};
use netcore::dhcp::lease::Lease;
use netcore::dhcp::message::{Kind, Message};
use netcore::dhcp::options::code;
use netcore::dhcp::server::{Mode, PoolSettings, Quirks, Server, ServerSettings};
use netcore::dhcp::{CLIENT_PORT, SERVER_PORT};
use netcore::dice::Dice;
use netcore::ethernet::Mac;

const MAC: Mac = Mac([2, 0, 0, 0, 0, 9]);

fn pool(net: u8) -> ServerSettings {
    let at = |last| Ipv4Addr::new(10, 0, net, last);
    let pool = PoolSettings {
        first: at(50),
        last: at(60),
        prefix_len: 24,
        router: Some(at(1)),
        dns: vec![at(1)],
        ntp: vec![at(1)],
        domain: Some("luc.test".into()),
        lease_seconds: 600,
    };
    let mode = Mode::Full(pool);
    ServerSettings {
        address: at(1),
        mode,
        boot: None,
        quirks: Quirks::default(),
    }
}

#[derive(Debug)]
enum Flight {
    ToServers { target: Target, bytes: Vec<u8> },
    ToClient { from: Ipv4Addr, bytes: Vec<u8> },
}

struct World {
    now_ms: u64,
    client: Client,
    servers: Vec<Server>,
    addresses: Vec<Ipv4Addr>,
    flights: BTreeMap<(u64, u64), Flight>,
    dice: Dice,
    loss_percent: u64,
    connected: bool,
    /// A server's hand on its replies.
    edit: Option<fn(&mut Message)>,
    /// Kind and time of what the client sent.
    sent: Vec<(u64, Kind)>,
    events: Vec<(u64, Output)>,
}

impl World {
    fn new(seed: u64, servers: Vec<ServerSettings>) -> World {
        let settings = ClientSettings {
            mac: MAC,
            host_name: None,
            vendor_class: None,
            seed,
        };
        World {
            now_ms: 0,
            client: Client::new(settings, 0),
            addresses: servers.iter().map(|server| server.address).collect(),
            servers: servers.into_iter().map(Server::new).collect(),
            flights: BTreeMap::new(),
            dice: Dice::new(seed),
            loss_percent: 0,
            connected: true,
            edit: None,
            sent: Vec::new(),
            events: Vec::new(),
        }
    }

    fn launch(&mut self, flight: Flight) {
        if !self.connected || self.dice.below(100) < self.loss_percent {
            return;
        }
        let key = (self.now_ms + 1 + self.dice.below(20), self.dice.next_u64());
        self.flights.insert(key, flight);
    }

    fn drain_client(&mut self) {
        while let Some(output) = self.client.poll_output() {
            match output {
                Output::Send { target, bytes } => {
                    self.sent
                        .push((self.now_ms, Message::parse(&bytes).unwrap().kind));
                    self.launch(Flight::ToServers { target, bytes });
                }
                event => self.events.push((self.now_ms, event)),
            }
        }
    }

    fn deliver_to_servers(&mut self, target: Target, bytes: &[u8]) {
        for number in 0..self.servers.len() {
            if matches!(target, Target::Server(address) if address != self.addresses[number]) {
                continue;
            }
            let from = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT);
            let server = &mut self.servers[number];
            let reply = server.handle_request(self.now_ms, SERVER_PORT, from, bytes);
            let Some(reply) = reply else { continue };
            let mut message = Message::parse(&reply.bytes).unwrap();
            if let Some(edit) = self.edit {
                edit(&mut message);
            }
            let from = self.addresses[number];
            self.launch(Flight::ToClient {
                from,
                bytes: message.emit(),
            });
        }
    }

    fn run_until(&mut self, end_ms: u64) {
        loop {
            self.drain_client();
            let timeout_ms = self.client.next_timeout().map(|ms| ms.max(self.now_ms));
            let flight_ms = self.flights.first_key_value().map(|(key, _)| key.0);
            let next_ms = [timeout_ms, flight_ms].into_iter().flatten().min();
            let Some(next_ms) = next_ms.filter(|ms| *ms <= end_ms) else {
                break;
            };
            self.now_ms = next_ms;
            if flight_ms == Some(next_ms) {
                match self.flights.pop_first().unwrap().1 {
                    Flight::ToServers { target, bytes } => self.deliver_to_servers(target, &bytes),
                    Flight::ToClient { from, bytes } => {
                        self.client.handle_input(
                            next_ms,
                            Input::Datagram {
                                from,
                                bytes: &bytes,
                            },
                        );
                    }
                }
            } else {
                self.client.handle_timeout(next_ms);
            }
        }
        self.now_ms = end_ms;
    }

    fn carrier(&mut self, up: bool) {
        self.connected = up;
        self.flights.clear();
        let input = if up {
            Input::CarrierBack
        } else {
            Input::CarrierLost
        };
        self.client.handle_input(self.now_ms, input);
    }

    fn lease(&self) -> &Lease {
        self.client.lease().expect("the client has a lease")
    }

    fn sent_count(&self, kind: Kind) -> usize {
        self.sent.iter().filter(|(_, sent)| *sent == kind).count()
    }

    fn lost(&self) -> Vec<LostReason> {
        let reasons = self.events.iter().filter_map(|(_, event)| match event {
            Output::Lost(reason) => Some(*reason),
            _ => None,
        });
        reasons.collect()
    }

    /// Says something to the client as a stranger would.
    fn inject(&mut self, from: Ipv4Addr, kind: Kind, dress: impl FnOnce(&mut Message)) {
        let transaction = self.last_transaction();
        let mut message = Message::new(kind, transaction, MAC);
        dress(&mut message);
        let bytes = message.emit();
        self.client.handle_input(
            self.now_ms,
            Input::Datagram {
                from,
                bytes: &bytes,
            },
        );
        self.drain_client();
    }

    fn last_transaction(&self) -> u32 {
        let mut flights = self.flights.values().filter_map(|flight| match flight {
            Flight::ToServers { bytes, .. } => Some(Message::parse(bytes).unwrap().transaction),
            Flight::ToClient { .. } => None,
        });
        flights
            .next_back()
            .expect("the client's question is on the wire")
    }
}

#[test]
fn four_messages_give_a_complete_lease() {
    let mut world = World::new(1, vec![pool(0)]);
    world.run_until(1_000);
    let lease = world.lease();
    assert_eq!(lease.address, Ipv4Addr::new(10, 0, 0, 50));
    assert_eq!(lease.prefix_len, 24);
    assert_eq!(lease.routers, [Ipv4Addr::new(10, 0, 0, 1)]);
    assert_eq!(lease.dns, lease.routers);
    assert_eq!(lease.ntp, lease.routers);
    assert_eq!(lease.domain.as_deref(), Some("luc.test"));
    assert_eq!(world.sent.len(), 2);
}

/// smoltcp#445.
#[test]
fn a_renewal_that_leaves_options_out_keeps_the_old_values() {
    let mut world = World::new(2, vec![pool(0)]);
    world.run_until(1_000);
    let before = world.lease().clone();
    world.edit = Some(|message| {
        for number in [code::MASK, code::ROUTER, code::DNS, code::NTP, code::DOMAIN] {
            message.options.remove(number);
        }
    });
    world.run_until(400_000); // T1 is at 300 s
    assert!(world.lease().configures_like(&before));
    assert!(world.lease().schedule.unwrap().expire_ms > before.schedule.unwrap().expire_ms);
    assert_eq!(world.events.len(), 1, "nothing changed, so nothing is said");
}

/// n-dhcp4#31, zephyr#50868, esp-idf#19120.
#[test]
fn only_the_chosen_server_can_refuse_a_request() {
    let stranger = Ipv4Addr::new(10, 0, 0, 66);
    let mut world = World::new(3, vec![pool(0)]);
    world.run_until(0);
    world.inject(stranger, Kind::Nak, |nak| {
        nak.options.set_address(code::SERVER_ID, stranger)
    });
    assert_eq!(world.client.counters().naks, 0, "nothing was requested yet");
    while world.sent_count(Kind::Request) == 0 {
        world.run_until(world.now_ms + 1);
    }
    world.inject(stranger, Kind::Nak, |nak| {
        nak.options.set_address(code::SERVER_ID, stranger)
    });
    world.inject(stranger, Kind::Nak, |_| {});
    assert_eq!(
        world.client.counters().naks,
        0,
        "a stranger's word counts for nothing"
    );
    world.run_until(world.now_ms + 1_000);
    assert_eq!(world.lease().address, Ipv4Addr::new(10, 0, 0, 50));
}

#[test]
fn a_refusal_by_the_chosen_server_starts_over_at_once() {
    for with_id in [true, false] {
        let mut settings = pool(0);
        settings.quirks.naks = 1;
        let mut world = World::new(4, vec![settings]);
        if !with_id {
            world.edit = Some(|message| {
                if message.kind == Kind::Nak {
                    message.options.remove(code::SERVER_ID);
                }
            });
        }
        world.run_until(1_000);
        assert_eq!(
            world.client.counters().naks,
            1,
            "server identifier: {with_id}"
        );
        assert!(world.client.lease().is_some());
        assert_eq!(world.lost(), [], "no address was in use");
    }
}

#[test]
fn a_server_that_always_refuses_makes_no_storm() {
    let mut settings = pool(0);
    settings.quirks.naks = u32::MAX;
    let mut world = World::new(5, vec![settings]);
    world.run_until(600_000);
    assert!(
        world.sent.len() < 100,
        "{} messages in ten minutes",
        world.sent.len()
    );
    assert!(world.sent.len() > 40, "it never gives up");
}

/// A NAK without a server identifier, from whoever rules the new wire: zephyr#50868.
#[test]
fn a_moved_cable_is_noticed_by_confirming_the_lease() {
    let mut world = World::new(6, vec![pool(0)]);
    world.run_until(10_000);
    world.carrier(false);
    world.run_until(20_000);
    assert!(
        world.lost().is_empty(),
        "the lease stays while the link is down"
    );
    world.servers = vec![Server::new(pool(1))];
    world.addresses = vec![Ipv4Addr::new(10, 0, 1, 1)];
    world.edit = Some(|message| {
        if message.kind == Kind::Nak {
            message.options.remove(code::SERVER_ID);
        }
    });
    world.carrier(true);
    world.run_until(21_000);
    assert_eq!(world.lost(), [LostReason::Refused]);
    assert_eq!(
        world.lease().address,
        Ipv4Addr::new(10, 0, 1, 50),
        "within a second"
    );
}

/// dhcpcd#590, zephyr#49184.
#[test]
fn a_flap_of_milliseconds_costs_one_question_and_no_address() {
    let mut world = World::new(7, vec![pool(0)]);
    world.run_until(10_000);
    for _ in 0..5 {
        world.carrier(false);
        world.run_until(world.now_ms + 3);
        world.carrier(true);
        world.run_until(world.now_ms + 1_000);
    }
    assert_eq!(world.sent_count(Kind::Request), 1 + 5);
    assert_eq!(world.sent_count(Kind::Discover), 1);
    assert_eq!(world.events.len(), 1, "bound once, never lost");
}

#[test]
fn a_lease_that_nobody_confirms_is_used_until_it_ends() {
    let mut world = World::new(8, vec![pool(0)]);
    world.run_until(10_000);
    let expire_ms = world.lease().schedule.unwrap().expire_ms;
    world.servers.clear();
    world.carrier(false);
    world.carrier(true);
    world.run_until(expire_ms - 1);
    assert!(world.client.lease().is_some());
    world.run_until(expire_ms + 1);
    assert_eq!(world.lost(), [LostReason::Expired]);
    let asked = world.sent_count(Kind::Discover);
    world.run_until(expire_ms + 600_000);
    assert!(
        world.sent_count(Kind::Discover) > asked + 20,
        "and it asks on"
    );
}

#[test]
fn a_dead_server_is_replaced_at_rebinding() {
    let mut world = World::new(9, vec![pool(0)]);
    world.run_until(10_000);
    let address = world.lease().address;
    // Another server takes over its pool under another address.
    let settings = ServerSettings {
        address: Ipv4Addr::new(10, 0, 0, 2),
        ..pool(0)
    };
    world.addresses = vec![settings.address];
    world.servers = vec![Server::new(settings)];
    world.run_until(590_000); // T2 is at 525 s
    assert_eq!(world.lost(), []);
    assert_eq!(world.lease().address, address);
    assert_eq!(world.lease().server, Ipv4Addr::new(10, 0, 0, 2));
}

/// STP keeps a port deaf for 30 s and more: ipxe#1337.
#[test]
fn a_server_that_answers_late_is_heard_soon_after() {
    for seed in 0..20 {
        let mut settings = pool(0);
        settings.quirks.deaf_until_ms = 40_000;
        let mut world = World::new(seed, vec![settings]);
        world.run_until(46_000);
        assert!(world.client.lease().is_some(), "seed {seed}");
        assert!(
            world.sent.len() < 30,
            "seed {seed}: {} messages",
            world.sent.len()
        );
    }
}

#[test]
fn without_a_server_it_asks_for_ever_and_ever_more_slowly() {
    let mut world = World::new(10, vec![]);
    world.run_until(90_000);
    let fast = world.sent.len();
    assert!((20..=40).contains(&fast), "{fast} in the first 90 s");
    world.run_until(24 * 3_600_000);
    let day = world.sent.len();
    assert!((1_100..=1_800).contains(&day), "{day} in a day");
    let gaps: Vec<u64> = world
        .sent
        .windows(2)
        .map(|pair| pair[1].0 - pair[0].0)
        .collect();
    assert!(gaps.iter().all(|gap| (750..=80_000).contains(gap)));
    world.servers = vec![Server::new(pool(0))];
    world.addresses = vec![Ipv4Addr::new(10, 0, 0, 1)];
    world.run_until(world.now_ms + 82_000);
    assert!(
        world.client.lease().is_some(),
        "and hears the one that comes at last"
    );
}

#[test]
fn half_of_all_packets_lost_still_ends_in_a_lease() {
    for seed in 0..200 {
        let mut world = World::new(seed, vec![pool(0), pool(0)]);
        world.loss_percent = 50;
        world.run_until(180_000);
        assert!(world.client.lease().is_some(), "seed {seed}");
        world.loss_percent = 0;
        world.run_until(3_600_000);
        assert_eq!(world.lost(), [], "seed {seed}: renewals go through");
    }
}

/// mozim#99, smoltcp#1029.
#[test]
fn absurd_lease_times_make_no_storm_and_no_panic() {
    let edits: [fn(&mut Message); 5] = [
        |m| m.options.set_number32(code::LEASE_TIME, 0),
        |m| m.options.set_number32(code::LEASE_TIME, 10),
        |m| {
            m.options.set_number32(code::LEASE_TIME, 10);
            m.options.set_number32(code::RENEWAL_TIME, 0);
            m.options.set_number32(code::REBINDING_TIME, 0);
        },
        |m| m.options.set_number32(code::RENEWAL_TIME, u32::MAX),
        |m| m.options.set_number32(code::LEASE_TIME, u32::MAX),
    ];
    for (number, edit) in edits.into_iter().enumerate() {
        let mut world = World::new(11, vec![pool(0)]);
        world.edit = Some(edit);
        world.run_until(600_000);
        assert!(
            world.sent.len() <= 2 + 120,
            "case {number}: {} messages",
            world.sent.len()
        );
        assert_eq!(world.lost(), [], "case {number}");
    }
}

/// lwip#95, odhcp6c#62.
#[test]
fn an_address_that_somebody_else_has_is_declined() {
    let mut world = World::new(12, vec![pool(0)]);
    world.run_until(5_000);
    world.client.handle_input(world.now_ms, Input::Conflict);
    world.run_until(14_900);
    assert_eq!(world.lost(), [LostReason::Conflict]);
    assert_eq!(world.sent_count(Kind::Decline), 1);
    assert_eq!(world.sent_count(Kind::Discover), 1, "it waits ten seconds");
    world.run_until(16_000);
    assert_eq!(
        world.lease().address,
        Ipv4Addr::new(10, 0, 0, 51),
        "another one"
    );
}

#[test]
fn late_doubled_and_foreign_replies_are_counted_and_change_nothing() {
    let mut world = World::new(13, vec![pool(0)]);
    world.run_until(0);
    let transaction = world.last_transaction();
    world.run_until(1_000);
    let lease = world.lease().clone();
    let server = Ipv4Addr::new(10, 0, 0, 1);
    let mut say = |kind: Kind, transaction: u32, mac: Mac| {
        let mut message = Message::new(kind, transaction, mac);
        message.yours = Ipv4Addr::new(10, 0, 0, 99);
        message.options.set_address(code::SERVER_ID, server);
        let bytes = message.emit();
        world.client.handle_input(
            2_000,
            Input::Datagram {
                from: server,
                bytes: &bytes,
            },
        );
    };
    say(Kind::Ack, transaction, MAC);
    say(Kind::Offer, transaction, MAC);
    say(Kind::Nak, transaction, MAC);
    say(Kind::Ack, 42, MAC);
    say(Kind::Ack, transaction, Mac([2, 0, 0, 0, 0, 1]));
    say(Kind::Discover, transaction, MAC);
    world.client.handle_input(
        2_000,
        Input::Datagram {
            from: server,
            bytes: b"noise",
        },
    );
    world.drain_client();
    assert_eq!(world.client.lease(), Some(&lease));
    assert_eq!(world.events.len(), 1);
    assert_eq!(world.client.counters().foreign, 6);
    assert_eq!(world.client.counters().bad_messages, 1);
}

/// An offer without a server identifier is answered to its sender; smoltcp would drop it.
#[test]
fn a_server_without_an_identifier_is_known_by_its_address() {
    let mut world = World::new(14, vec![pool(0)]);
    world.edit = Some(|message| message.options.remove(code::SERVER_ID));
    world.run_until(1_000);
    assert_eq!(world.lease().server, Ipv4Addr::new(10, 0, 0, 1));
}

#[test]
fn the_same_seed_gives_the_same_conversation() {
    let run = || {
        let mut world = World::new(99, vec![pool(0), pool(1)]);
        world.loss_percent = 30;
        world.run_until(3_600_000);
        (world.sent.clone(), world.events.clone())
    };
    assert_eq!(run(), run());
}
