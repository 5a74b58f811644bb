//! A wire with what a LAN has: a DHCP and boot server, and our own client.
//!
//! Does:      puts the pieces on one wire with fixed addresses, and plugs machines in.
//! Does not:  start machines.
//! Bounds:    one network each, 10.77.N.0/24; as many machines as a wire has ports.
//! Trusts:    its own pieces; machines on the wire are strangers.
//! Start at:  `Lan::start`.

mod backbone;
mod bridge;
mod dnsmasq;
mod netboot;
mod rogue;
mod station;

use std::net::Ipv4Addr;

pub use backbone::Backbone;
pub use bridge::Bridge;
pub use dnsmasq::Dnsmasq;
pub use rogue::{OFFERED, Rogue};
pub use station::Station;

use crate::machine::Shape;
use crate::scenario::Problem;
use crate::story::Story;
use crate::wire::{Direction, Link, Place, Port, PortNumber, Wire};

/// Our client's number in its LAN.
const CLIENT: u8 = 2;
/// The netboot server's; dnsmasq has the same on its own wire.
const SERVER: u8 = 1;
/// A backbone's leg.
const ROUTER: u8 = 254;
const PREFIX: u8 = 24;
/// Losses of a wire follow it; a scenario that wants other dice says so.
const SEED: u64 = 20_260_101;

/// The network 10.77.N.0/24.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet(pub u8);

impl Subnet {
    /// The address with this number in it.
    #[must_use]
    pub const fn at(self, number: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.0, number)
    }

    /// A backbone's leg in it.
    #[must_use]
    pub const fn router(self) -> Ipv4Addr {
        self.at(ROUTER)
    }

    /// Whether an address belongs to it.
    #[must_use]
    pub fn has(self, address: Ipv4Addr) -> bool {
        address.octets()[..3] == self.at(0).octets()[..3]
    }

    const fn mac(self, number: u8) -> [u8; 6] {
        [0x52, 0x54, 0, 0x77, self.0, number]
    }
}

/// A LAN. Dropping it pulls every plug.
#[derive(Debug)]
pub struct Lan {
    // Stations first: they leave before the wire ends.
    client: Station,
    server: Option<(Station, PortNumber)>,
    wire: Wire,
    name: &'static str,
    subnet: Subnet,
    machines: u8,
}

impl Lan {
    /// A wire with only our client on it.
    pub fn start(story: &Story, name: &'static str) -> Result<Self, Problem> {
        Self::start_in(story, name, Subnet(0))
    }

    fn start_in(story: &Story, name: &'static str, subnet: Subnet) -> Result<Self, Problem> {
        let folders = story.folders();
        let place = Place {
            sockets: folders.sockets,
            logs: folders.logs,
        };
        let mut wire = Wire::start(name, place, SEED)?;
        let port = wire.add_port()?;
        let client = Station::start(&port, subnet.mac(CLIENT), subnet.at(CLIENT), PREFIX)?;
        Ok(Self {
            client,
            server: None,
            wire,
            name,
            subnet,
            machines: 0,
        })
    }

    /// The same with our netboot server, which serves the run's image.
    pub fn with_netboot(story: &Story, name: &'static str) -> Result<Self, Problem> {
        Self::site(story, name, Subnet(0))
    }

    /// The same in a network of its own, so that a backbone can join it with others.
    pub fn site(story: &Story, name: &'static str, subnet: Subnet) -> Result<Self, Problem> {
        let mut lan = Self::start_in(story, name, subnet)?;
        let port = lan.add_port()?;
        let station = Station::start(&port, subnet.mac(SERVER), subnet.at(SERVER), PREFIX)?;
        let log = story.folders().logs.join(format!("{name}.netboot.txt"));
        netboot::serve(&station, subnet, &story.supplies().paths.image, &log)?;
        lan.server = Some((station, port.number));
        Ok(lan)
    }

    /// Its network.
    #[must_use]
    pub fn subnet(&self) -> Subnet {
        self.subnet
    }

    /// Our client on this LAN.
    #[must_use]
    pub fn client(&self) -> &Station {
        &self.client
    }

    /// A port for anything that speaks the wire's framing.
    pub fn add_port(&mut self) -> Result<Port, Problem> {
        Ok(self.wire.add_port()?)
    }

    /// Plugs one NIC of a machine into this LAN.
    pub fn plug(&mut self, shape: Shape) -> Result<Shape, Problem> {
        self.plug_over(shape, Link::default())
    }

    /// The same by a cable with its own delay, loss and rate in both directions.
    pub fn plug_over(&mut self, shape: Shape, link: Link) -> Result<Shape, Problem> {
        let port = self.wire.add_port()?;
        self.wire.set_link(port.number, Direction::Both, link);
        self.machines += 1;
        // Different on every LAN of a scenario: a machine may be on two.
        let lan = self.name.bytes().fold(0, u8::wrapping_add);
        Ok(shape.nic([0x52, 0x54, 0, 0x78, lan, self.machines], &port.path))
    }

    /// Changes how the netboot server is reached; without one, nothing changes.
    pub fn set_server_link(&self, link: Link) {
        if let Some((_, port)) = &self.server {
            self.wire.set_link(*port, Direction::Both, link);
        }
    }

    /// The wire, for its counters and cables.
    #[must_use]
    pub fn wire(&self) -> &Wire {
        &self.wire
    }
}
