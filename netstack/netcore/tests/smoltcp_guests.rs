//! Guests that no one here wrote: smoltcp asks for its address, names and routes, and talks.
//!
//! Two switches with a tunnel between them stand for two sites; time is virtual.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap
)]

mod world;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};

use netcore::offload::Offload;
use netcore::packet::Packet;
use netcore::switch::records::{PeerId, Place, PortId};
use netcore::switch::{Input, Output, Switch};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::{dhcpv4, dns, tcp};
use smoltcp::time::Instant;
use smoltcp::wire::{DnsQueryType, EthernetAddress, IpAddress, IpCidr, IpEndpoint};
use world::{GATEWAY, PREFIX, empty, link_local, mac, net, plug, set_peers, station, v4, v6};

/// A guest's card: frames in, frames out.
#[derive(Default)]
struct Card {
    to_guest: VecDeque<Vec<u8>>,
    from_guest: VecDeque<Vec<u8>>,
}

struct Rx(Vec<u8>);
struct Tx<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.push_back(frame);
        result
    }
}

impl Device for Card {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Rx, Tx<'_>)> {
        let frame = self.to_guest.pop_front()?;
        Some((Rx(frame), Tx(&mut self.from_guest)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        Some(Tx(&mut self.from_guest))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1380 + 14;
        capabilities
    }
}

struct Guest {
    port: PortId,
    card: Card,
    iface: Interface,
    sockets: SocketSet<'static>,
    dhcp: SocketHandle,
    dns: SocketHandle,
    tcp: SocketHandle,
}

impl Guest {
    fn new(last: u8) -> Guest {
        let mut card = Card::default();
        let mut config = Config::new(EthernetAddress(mac(last).0).into());
        config.slaac = true;
        config.random_seed = u64::from(last);
        let mut iface = Interface::new(config, &mut card, Instant::ZERO);
        iface.update_ip_addrs(|all| {
            all.push(IpCidr::new(IpAddress::Ipv6(link_local(last)), 64))
                .unwrap();
        });
        let mut sockets = SocketSet::new(vec![]);
        let dhcp = sockets.add(dhcpv4::Socket::new());
        let dns = sockets.add(dns::Socket::new(&[], vec![]));
        let buffer = || tcp::SocketBuffer::new(vec![0; 65_536]);
        let tcp = sockets.add(tcp::Socket::new(buffer(), buffer()));
        Guest {
            port: PortId(u32::from(last)),
            card,
            iface,
            sockets,
            dhcp,
            dns,
            tcp,
        }
    }

    fn poll(&mut self, now_ms: u64) {
        let now = Instant::from_millis(now_ms as i64);
        self.iface.poll(now, &mut self.card, &mut self.sockets);
        let Some(event) = self.sockets.get_mut::<dhcpv4::Socket<'_>>(self.dhcp).poll() else {
            return;
        };
        let dhcpv4::Event::Configured(lease) = event else {
            return;
        };
        let (address, router) = (lease.address, lease.router.unwrap());
        let servers: Vec<IpAddress> = lease.dns_servers.iter().map(|a| (*a).into()).collect();
        self.iface.update_ip_addrs(|all| {
            all.retain(|cidr| matches!(cidr, IpCidr::Ipv6(_)));
            all.insert(0, IpCidr::Ipv4(address)).unwrap();
        });
        self.iface
            .routes_mut()
            .add_default_ipv4_route(router)
            .unwrap();
        let dns = self.sockets.get_mut::<dns::Socket<'_>>(self.dns);
        dns.update_servers(&servers);
    }

    fn has(&self, address: IpAddr) -> bool {
        let addresses = self.iface.ip_addrs();
        addresses
            .iter()
            .any(|cidr| IpAddr::from(cidr.address()) == address)
    }

    fn tcp(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.tcp)
    }
}

/// Two sites, A and B, that know each other as peer 1 and peer 2.
struct Sites {
    now_ms: u64,
    switches: [Switch; 2],
    /// Each guest and the site where it is.
    guests: Vec<(usize, Guest)>,
    queries: Vec<Vec<u8>>,
    crossed: u64,
}

fn sites() -> Sites {
    let mut switches = [empty(), empty()];
    for (site, switch) in switches.iter_mut().enumerate() {
        set_peers(switch, &[1 + (1 - site as u64)]);
    }
    let mut sites = Sites {
        now_ms: 0,
        switches,
        guests: Vec::new(),
        queries: Vec::new(),
        crossed: 0,
    };
    sites.add(0, 2);
    sites.add(1, 3);
    sites
}

impl Sites {
    fn add(&mut self, site: usize, last: u8) {
        plug(&mut self.switches[site], last);
        let peer = PeerId(1 + site as u64);
        let record = station(last, Place::There(peer));
        self.switches[1 - site].put_station(net(5), record).unwrap();
        self.guests.push((site, Guest::new(last)));
    }

    fn step(&mut self) {
        self.now_ms += 1;
        let mut peers = VecDeque::new();
        for (site, guest) in &mut self.guests {
            guest.poll(self.now_ms);
            while let Some(frame) = guest.card.from_guest.pop_front() {
                let input = Input::Guest {
                    port: guest.port,
                    frame: &frame,
                    offload: Offload::default(),
                };
                self.switches[*site].handle_input(self.now_ms, input);
            }
        }
        for site in 0..2 {
            self.switches[site].handle_timeout(self.now_ms);
            self.take(site, &mut peers);
        }
        while let Some((from, message)) = peers.pop_front() {
            self.crossed += 1;
            let peer = PeerId(1 + from as u64);
            let input = Input::Peer {
                peer,
                message: &message,
            };
            self.switches[1 - from].handle_input(self.now_ms, input);
            self.take(1 - from, &mut peers);
        }
    }

    fn take(&mut self, site: usize, peers: &mut VecDeque<(usize, Vec<u8>)>) {
        while let Some(output) = self.switches[site].poll_output() {
            match output {
                Output::Guest { port, frame, .. } => {
                    assert!(Packet::parse(&frame).is_ok());
                    let guests = self.guests.iter_mut();
                    let found = guests
                        .filter(|(at, _)| *at == site)
                        .find(|(_, g)| g.port == port);
                    if let Some((_, guest)) = found {
                        guest.card.to_guest.push_back(frame);
                    }
                }
                Output::Peer { message, .. } => peers.push_back((site, message)),
                Output::Query { message, .. } => self.queries.push(message),
                _ => {}
            }
        }
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Sites) -> bool) {
        for _ in 0..60_000 {
            if done(self) {
                return;
            }
            self.step();
        }
        let port = self.guests[0].1.port;
        panic!("{what}: {:?}", self.switches[0].port_counters(port));
    }

    fn configured(&mut self) {
        self.until("addresses", |sites| {
            let has = |at: usize, last| {
                let guest = &sites.guests[at].1;
                guest.has(v4(last).into()) && guest.has(v6(last).into())
            };
            has(0, 2) && has(1, 3)
        });
    }

    fn resolve(&mut self, at: usize, name: &str, kind: DnsQueryType) -> Option<IpAddress> {
        let guest = &mut self.guests[at].1;
        let dns = guest.sockets.get_mut::<dns::Socket<'_>>(guest.dns);
        let query = dns.start_query(guest.iface.context(), name, kind).unwrap();
        let mut found = None;
        self.until(name, |sites| {
            let guest = &mut sites.guests[at].1;
            let dns = guest.sockets.get_mut::<dns::Socket<'_>>(guest.dns);
            match dns.get_query_result(query) {
                Err(dns::GetQueryResultError::Pending) => false,
                Err(dns::GetQueryResultError::Failed) => true,
                Ok(addresses) => {
                    found = addresses.first().copied();
                    true
                }
            }
        });
        found
    }

    /// Guest 3 at the other site listens, guest 2 sends; true when all arrived.
    fn transfer(&mut self, target: IpAddress, length: usize) {
        self.guests[1].1.tcp().abort();
        self.guests[0].1.tcp().abort();
        self.step();
        self.guests[1].1.tcp().listen(80).unwrap();
        let local = 40_000 + (self.now_ms % 20_000) as u16;
        let guest = &mut self.guests[0].1;
        let socket = guest.sockets.get_mut::<tcp::Socket<'_>>(guest.tcp);
        let endpoint = IpEndpoint::new(target, 80);
        socket
            .connect(guest.iface.context(), endpoint, local)
            .unwrap();
        let (mut sent, mut received) = (0, 0);
        self.until("the transfer", |sites| {
            let piece = vec![7; (length - sent).min(8192)];
            sent += sites.guests[0].1.tcp().send_slice(&piece).unwrap_or(0);
            let receiver = sites.guests[1].1.tcp();
            while receiver.can_recv() {
                received += receiver.recv(|data| (data.len(), data.len())).unwrap();
            }
            received == length
        });
    }
}

#[test]
fn guests_of_two_sites_get_addresses_find_each_other_by_name_and_talk() {
    let mut sites = sites();
    sites.configured();
    let router = sites.guests[0].1.iface.routes_mut();
    let mut routes = Vec::new();
    router.update(|all| routes.extend(all.iter().map(|route| route.via_router)));
    assert!(routes.contains(&IpAddress::Ipv4(GATEWAY)));

    let v4_found = sites.resolve(0, "vm3.lan5.internal", DnsQueryType::A);
    assert_eq!(v4_found, Some(IpAddress::Ipv4(v4(3))));
    let v6_found = sites.resolve(0, "VM3.lan5.internal", DnsQueryType::Aaaa);
    assert_eq!(v6_found, Some(IpAddress::Ipv6(v6(3))));
    assert_eq!(sites.resolve(0, "vm9.lan5.internal", DnsQueryType::A), None);
    assert_eq!(sites.resolve(0, "vm3.lan6.internal", DnsQueryType::A), None);
    assert!(sites.queries.is_empty(), "no name under `internal` leaves");

    sites.transfer(v4_found.unwrap(), 300_000);
    sites.transfer(v6_found.unwrap(), 300_000);
    sites.transfer(IpAddress::Ipv6(link_local(3)), 10_000);
    assert!(sites.crossed > 400, "it went from site to site");
}

#[test]
fn other_names_are_asked_elsewhere_and_their_answers_come_from_the_gateway() {
    let mut sites = sites();
    sites.configured();
    let guest = &mut sites.guests[0].1;
    let dns = guest.sockets.get_mut::<dns::Socket<'_>>(guest.dns);
    let query = dns
        .start_query(guest.iface.context(), "example.org", DnsQueryType::A)
        .unwrap();
    sites.until("the question", |sites| !sites.queries.is_empty());
    let mut message = sites.queries.remove(0);
    message[2] |= 0x80;
    message[7] = 1;
    message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1]);
    let mut wrong = message.clone();
    wrong[1] ^= 1;
    for message in [&wrong, &message, &message] {
        sites.switches[0].handle_input(sites.now_ms, Input::Answer { message });
    }
    let mut found = None;
    sites.until("the answer", |sites| {
        let guest = &mut sites.guests[0].1;
        let dns = guest.sockets.get_mut::<dns::Socket<'_>>(guest.dns);
        found = dns
            .get_query_result(query)
            .ok()
            .and_then(|all| all.first().copied());
        found.is_some()
    });
    assert_eq!(found, Some(IpAddress::Ipv4(Ipv4Addr::new(192, 0, 2, 1))));
}

/// Group 12 of the public reports: after a move the guest keeps both addresses, its gateway has the
/// same hardware address, and its connections go on.
#[test]
fn a_connection_survives_the_move_of_its_guest() {
    let mut sites = sites();
    sites.configured();
    sites.transfer(IpAddress::Ipv4(v4(3)), 50_000);
    let crossed = sites.crossed;
    // Guest 3 moves from B to A; B hears of it a little later than A.
    let mut record = station(3, world::here(3));
    record.epoch = 2;
    world::plug_into(&mut sites.switches[0], net(5), 3, record.clone());
    sites.guests[1].0 = 0;
    for _ in 0..5 {
        sites.step();
    }
    record.place = Place::There(PeerId(1));
    sites.switches[1].put_station(net(5), record).unwrap();
    let mut received = 0;
    let mut sent = 0;
    sites.until("the rest of the transfer", |sites| {
        let piece = vec![7; (100_000 - sent).min(8192)];
        sent += sites.guests[0].1.tcp().send_slice(&piece).unwrap();
        let receiver = sites.guests[1].1.tcp();
        while receiver.can_recv() {
            received += receiver.recv(|data| (data.len(), data.len())).unwrap();
        }
        received == 100_000
    });
    assert_eq!(sites.crossed, crossed, "both are at one site now");
    assert!(sites.guests[1].1.has(v4(3).into()) && sites.guests[1].1.has(v6(3).into()));
    assert_eq!(PREFIX.segments()[0], 0xfd00);
}

#[test]
fn a_sender_with_an_old_record_is_led_to_where_the_guest_went() {
    let mut old = empty(); // knows that guest 3 went on to peer 9
    let mut moved = station(3, Place::There(PeerId(9)));
    moved.epoch = 4;
    old.put_station(net(5), moved).unwrap();
    old.put_station(net(5), station(2, Place::There(PeerId(1))))
        .unwrap();
    set_peers(&mut old, &[1, 9]);
    let frame = world::between(2, 3, 1, &world::echo(8, 1));
    let message = |hops: u8| [&[0x10, hops << 4, 0, 0, 5, 0, 1, 0][..], &frame].concat();
    let mut hear = |peer: u64, hops: u8| {
        let message = message(hops);
        let input = Input::Peer {
            peer: PeerId(peer),
            message: &message,
        };
        old.handle_input(0, input);
        world::drain(&mut old)
    };
    let stale = |peer| Output::Stale {
        peer: PeerId(peer),
        network: net(5),
        mac: mac(3),
    };
    let passed_on = Output::Peer {
        peer: PeerId(9),
        message: [&[0x10, 0x20, 0, 0, 5, 0, 4, 0][..], &frame].concat(),
    };
    assert_eq!(
        hear(1, 3),
        [stale(1), passed_on],
        "passed on, and the sender is told"
    );
    assert_eq!(hear(1, 0), [stale(1)], "never for ever");
    assert_eq!(hear(9, 3), [stale(9)], "nor back to where it came from");
}
