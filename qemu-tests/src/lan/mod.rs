//! A wire with what a LAN has: a DHCP and boot server, and our own client.
//!
//! Does:      puts the pieces on one wire with fixed addresses, and plugs machines in.
//! Does not:  start machines.
//! Bounds:    one network, 10.77.0.0/24; as many machines as a wire has ports.
//! Trusts:    its own pieces; machines on the wire are strangers.
//! Start at:  `Lan::start`.

mod bridge;
mod dnsmasq;
mod netboot;
mod rogue;
mod station;

use std::net::Ipv4Addr;

pub use bridge::Bridge;
pub use dnsmasq::Dnsmasq;
pub use rogue::{OFFERED, Rogue};
pub use station::Station;

use crate::machine::Shape;
use crate::scenario::Problem;
use crate::story::Story;
use crate::wire::{Direction, Link, Place, Port, PortNumber, Wire};

/// Where our client lives.
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const CLIENT_MAC: [u8; 6] = [0x52, 0x54, 0, 0x77, 0, 2];
/// Where the netboot server lives; dnsmasq has the same address on its own wire.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const SERVER_MAC: [u8; 6] = [0x52, 0x54, 0, 0x77, 0, 1];
const PREFIX: u8 = 24;
/// Losses of a wire follow it; a scenario that wants other dice says so.
const SEED: u64 = 20_260_101;

/// A LAN. Dropping it pulls every plug.
#[derive(Debug)]
pub struct Lan {
    // Stations first: they leave before the wire ends.
    client: Station,
    server: Option<(Station, PortNumber)>,
    wire: Wire,
    name: &'static str,
    machines: u8,
}

impl Lan {
    /// A wire with only our client on it.
    pub fn start(story: &Story, name: &'static str) -> Result<Self, Problem> {
        let folders = story.folders();
        let place = Place {
            sockets: folders.sockets,
            logs: folders.logs,
        };
        let mut wire = Wire::start(name, place, SEED)?;
        let port = wire.add_port()?;
        let client = Station::start(&port, CLIENT_MAC, CLIENT, PREFIX)?;
        Ok(Self {
            client,
            server: None,
            wire,
            name,
            machines: 0,
        })
    }

    /// The same with our netboot server, which serves the run's image.
    pub fn with_netboot(story: &Story, name: &'static str) -> Result<Self, Problem> {
        let mut lan = Self::start(story, name)?;
        let port = lan.add_port()?;
        let station = Station::start(&port, SERVER_MAC, SERVER, PREFIX)?;
        let log = story.folders().logs.join(format!("{name}.netboot.txt"));
        netboot::serve(&station, SERVER, &story.supplies().paths.image, &log)?;
        lan.server = Some((station, port.number));
        Ok(lan)
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
