//! The virtual switch of tenants' networks, one on each node.
//!
//! Does:      takes frames from guests, from other switches, from outside and from the host, and
//!            says where each goes: anti-spoofing first, then the gateway's own services (ARP,
//!            neighbours, router advertisements, DHCP, DNS, echoes), then groups and
//!            conversations, then the station, the tunnel or the way outside.
//! Does not:  learn from traffic or flood: where a station is stands in its record. Route between
//!            networks. Serve the metadata itself, ask other DNS servers, or open tunnels: those
//!            are outputs.
//! Bounds:    `PORTS_MAX` ports, `OUTPUTS_MAX` outputs that wait (the newest is dropped and
//!            counted), `QUERIES_MAX` questions under way; tables have theirs beside them.
//! Trusts:    the caller for records and for which port or peer bytes came from; no frame.
//! Start at:  `Switch::handle_input`, then `judge`.
//!
//! Seams. *Tunnel*: `Output::Peer` and `Input::Peer` are whole messages between two switches; who
//! carries them authenticates the peer. *Outside*: `Output::Outside` and `Input::Outside` are IP
//! packets without a frame; the caller owns the uplink, its neighbours and its MTU. *Metadata*:
//! `Output::Host` and `Input::Host` are IP packets of one guest's connections to port 80 of
//! 169.254.169.254 and `fe80::a9fe:a9fe`. Which guest asks is the port and nothing in the packet;
//! equal addresses of two networks are told apart by it, so the host keeps a stack per port.

mod act;
mod answer;
mod bucket;
pub mod dns;
pub mod flows;
pub mod fuzz;
pub mod groups;
pub mod guard;
pub mod judge;
mod lease;
pub mod outside;
pub mod port;
pub mod reason;
pub mod records;
pub mod shim;
mod translate;
mod write;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

pub use bucket::Rate;
use flows::End;
use groups::{GroupId, Rule};
use judge::Tables;
use outside::{Forward, Shared};
use port::{Port, PortCounters, PortSettings};
use records::{
    NETWORKS_MAX, Network, NetworkId, NetworkSettings, PeerId, Place, PortId, Refused, Station,
};

use crate::ethernet::Mac;
use crate::offload::Offload;

/// Guests on one switch.
pub const PORTS_MAX: usize = 1024;
/// Outputs that wait for the caller, who takes all of them after each input.
pub const OUTPUTS_MAX: usize = 4096;
/// Questions that other DNS servers are asked at one time.
pub const QUERIES_MAX: usize = 512;
/// Switches that are members of one network.
pub const PEERS_MAX: usize = 1024;

/// How long a question waits for its answer: as long as resolvers wait.
const QUERY_MS: u64 = 5_000;
/// Between advertisements that nobody asked for (RFC 4861 allows 4 to 1,800 s).
const ROUTER_MS: u64 = 300_000;

/// Something happened.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// A guest sent a frame.
    Guest {
        port: PortId,
        frame: &'a [u8],
        offload: Offload,
    },
    /// Another switch sent a message.
    Peer { peer: PeerId, message: &'a [u8] },
    /// An IP packet came from outside, with complete checksums.
    Outside { packet: &'a [u8] },
    /// The host answers a guest's connection.
    Host { port: PortId, packet: &'a [u8] },
    /// Another DNS server answered; the message has the id of `Output::Query`.
    Answer { message: &'a [u8] },
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Give a guest a frame. The offload is one that the port can.
    Guest {
        port: PortId,
        frame: Vec<u8>,
        offload: Offload,
    },
    /// Send another switch a message.
    Peer { peer: PeerId, message: Vec<u8> },
    /// Send an IP packet outside.
    Outside { packet: Vec<u8> },
    /// Give the host an IP packet of a guest's connection.
    Host { port: PortId, packet: Vec<u8> },
    /// Ask another DNS server for this guest.
    Query { port: PortId, message: Vec<u8> },
    /// The peer sent to where the station is no more: tell it the station's record.
    Stale {
        peer: PeerId,
        network: NetworkId,
        mac: Mac,
    },
    /// An address is here now: tell the uplink's neighbours.
    Announce { address: IpAddr },
}

/// A question that another server is asked.
#[derive(Debug, Clone, Copy)]
struct Query {
    port: PortId,
    guest: End,
    /// The address that the guest asked.
    server: IpAddr,
    id: [u8; 2],
    until_ms: u64,
}

/// What happened to what did not come from a guest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SwitchCounters {
    /// Messages of other switches, by the reason for which they were dropped.
    pub peer_drops: BTreeMap<&'static str, u64>,
    /// Packets from outside, by the reason for which they were dropped.
    pub outside_drops: BTreeMap<&'static str, u64>,
    /// Passed on to the switch where the station went.
    pub passed_on: u64,
    /// Outputs that nobody took in time.
    pub outputs_dropped: u64,
    /// Questions that were not asked because too many wait.
    pub queries_dropped: u64,
}

#[derive(Debug)]
pub struct Switch {
    tables: Tables,
    outputs: VecDeque<Output>,
    queries: BTreeMap<u16, Query>,
    next_query: u16,
    stale: bucket::Bucket,
    counters: SwitchCounters,
}

impl Default for Switch {
    fn default() -> Switch {
        Switch::new()
    }
}

impl Switch {
    pub fn new() -> Switch {
        /// Hints to peers: one that matters is enough.
        const STALE: Rate = Rate {
            per_second: 50,
            burst: 50,
        };
        Switch {
            tables: Tables::default(),
            outputs: VecDeque::new(),
            queries: BTreeMap::new(),
            next_query: 0,
            stale: bucket::Bucket::new(STALE),
            counters: SwitchCounters::default(),
        }
    }

    /// What verdicts rest on.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    pub fn counters(&self) -> &SwitchCounters {
        &self.counters
    }

    pub fn port_counters(&self, port: PortId) -> Option<&PortCounters> {
        Some(&self.tables.ports.get(&port)?.counters)
    }

    /// Makes a network known, or names it anew. Its addresses and MTU never change.
    pub fn put_network(&mut self, settings: NetworkSettings) -> Result<(), Refused> {
        let id = settings.id;
        let made = Network::new(settings)?;
        let networks = &mut self.tables.networks;
        if let Some(known) = networks.get_mut(&id) {
            let (old, new) = (&known.settings, &made.settings);
            if (old.v4, old.v6, old.mtu) != (new.v4, new.v6, new.mtu) {
                return Err(Refused::Fixed(id));
            }
            known.settings = made.settings;
            return Ok(());
        }
        if networks.len() >= NETWORKS_MAX {
            return Err(Refused::Networks);
        }
        networks.insert(id, made);
        Ok(())
    }

    /// Forgets a network with its stations, and unplugs its ports.
    pub fn remove_network(&mut self, id: NetworkId) {
        self.tables.networks.remove(&id);
        let ports = self.tables.ports.iter();
        let ports: Vec<PortId> = ports
            .filter(|(_, p)| p.network == id)
            .map(|(id, _)| *id)
            .collect();
        for port in ports {
            self.detach(port);
        }
    }

    /// Which switches may speak in a network.
    pub fn set_peers(&mut self, id: NetworkId, peers: BTreeSet<PeerId>) -> Result<(), Refused> {
        if peers.len() > PEERS_MAX {
            return Err(Refused::Full("member of this network"));
        }
        self.network_mut(id)?.peers = peers;
        Ok(())
    }

    /// Takes a station's record unless a newer one is known.
    pub fn put_station(&mut self, id: NetworkId, station: Station) -> Result<(), Refused> {
        let (mac, place) = (station.mac, station.place);
        let network = self.network_mut(id)?;
        let before = network.station(mac).map(|station| station.place);
        network.put(station)?;
        if let Some(Place::Here(port)) = before
            && place != Place::Here(port)
        {
            self.forget_conversations(port);
        }
        Ok(())
    }

    pub fn remove_station(&mut self, id: NetworkId, mac: Mac) -> Result<(), Refused> {
        let removed = self.network_mut(id)?.remove(mac);
        if let Some(Place::Here(port)) = removed.map(|station| station.place) {
            self.forget_conversations(port);
        }
        Ok(())
    }

    pub fn put_group(&mut self, group: GroupId, rules: Vec<Rule>) -> Result<(), Refused> {
        self.tables.groups.put(group, rules)
    }

    pub fn remove_group(&mut self, group: GroupId) {
        self.tables.groups.remove(group);
    }

    /// Plugs a guest in. It can speak once the record of its station says that it is here.
    pub fn attach(
        &mut self,
        now_ms: u64,
        id: PortId,
        settings: PortSettings,
    ) -> Result<(), Refused> {
        if !self.tables.networks.contains_key(&settings.network) {
            return Err(Refused::NoNetwork(settings.network));
        }
        if !self.tables.ports.contains_key(&id) && self.tables.ports.len() >= PORTS_MAX {
            return Err(Refused::Full("port"));
        }
        self.detach(id);
        self.tables.ports.insert(id, Port::new(now_ms, settings));
        Ok(())
    }

    /// Unplugs a guest; its conversations, addresses outside and forwarded ports are forgotten.
    pub fn detach(&mut self, id: PortId) {
        if self.tables.ports.remove(&id).is_some() {
            self.forget_conversations(id);
            self.tables.outside.forget_port(id);
            self.queries.retain(|_, query| query.port != id);
        }
    }

    /// What the guest's driver can do, once it has said so.
    pub fn set_abilities(
        &mut self,
        id: PortId,
        abilities: crate::offload::Abilities,
    ) -> Result<(), Refused> {
        let port = self
            .tables
            .ports
            .get_mut(&id)
            .ok_or(Refused::NoPort(id.0))?;
        port.abilities = abilities;
        Ok(())
    }

    /// The address that guests without their own share on their way out.
    pub fn share(&mut self, shared: Shared) {
        self.tables.outside.share(shared);
    }

    /// An address outside that belongs to one guest from now on.
    pub fn float(&mut self, address: IpAddr, port: PortId) -> Result<(), Refused> {
        if !self.tables.ports.contains_key(&port) {
            return Err(Refused::NoPort(port.0));
        }
        self.tables.outside.float(address, port)?;
        self.forget_end(|_, end| end.0 == address);
        self.push(Output::Announce { address });
        Ok(())
    }

    /// The address has left this switch.
    pub fn sink(&mut self, address: IpAddr) {
        self.tables.outside.sink(address);
        self.forget_end(|_, end| end.0 == address);
    }

    pub fn forward(&mut self, forward: Forward) -> Result<(), Refused> {
        if !self.tables.ports.contains_key(&forward.port) {
            return Err(Refused::NoPort(forward.port.0));
        }
        self.tables.outside.forward(forward)
    }

    pub fn forget_forward(&mut self, protocol: u8, outside: End) {
        self.tables.outside.forget_forward(protocol, outside);
        self.forget_end(|number, end| (number, end) == (protocol, outside));
    }

    /// Something happened. What can't be understood or may not pass is dropped and counted.
    pub fn handle_input(&mut self, now_ms: u64, input: Input<'_>) {
        match input {
            Input::Guest {
                port,
                frame,
                offload,
            } => self.hear_guest(now_ms, port, frame, offload),
            Input::Peer { peer, message } => self.hear_peer(now_ms, peer, message),
            Input::Outside { packet } => self.hear_outside(now_ms, packet),
            Input::Host { port, packet } => self.hear_host(now_ms, port, packet),
            Input::Answer { message } => self.hear_server(now_ms, message),
        }
        self.release_ends();
    }

    /// Time passed. Early or repeated calls are harmless.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        self.tables.flows.sweep(now_ms);
        self.release_ends();
        self.queries.retain(|_, query| query.until_ms > now_ms);
        let ports = self.tables.ports.iter_mut();
        let due: Vec<PortId> = ports
            .filter(|(_, port)| port.router_due_ms <= now_ms)
            .map(|(id, port)| {
                port.router_due_ms = now_ms.saturating_add(ROUTER_MS);
                *id
            })
            .collect();
        for port in due {
            self.advertise(now_ms, port, write::ALL_NODES);
        }
    }

    /// The next thing to do. Call until `None` after each input and timeout.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When `handle_timeout` is due. `None`: only an input can wake us.
    pub fn next_timeout(&self) -> Option<u64> {
        let router = self
            .tables
            .ports
            .values()
            .map(|port| port.router_due_ms)
            .min();
        let query = self.queries.values().map(|query| query.until_ms).min();
        let flow = self.tables.flows.next_timeout();
        [router, query, flow].into_iter().flatten().min()
    }

    fn push(&mut self, output: Output) {
        if self.outputs.len() >= OUTPUTS_MAX {
            self.counters.outputs_dropped += 1;
        } else {
            self.outputs.push_back(output);
        }
    }

    fn network_mut(&mut self, id: NetworkId) -> Result<&mut Network, Refused> {
        let network = self.tables.networks.get_mut(&id);
        network.ok_or(Refused::NoNetwork(id))
    }

    fn forget_end(&mut self, is_gone: impl Fn(u8, End) -> bool) {
        self.tables.flows.forget_outside(is_gone);
        self.release_ends();
    }

    fn forget_conversations(&mut self, port: PortId) {
        self.tables.flows.forget_port(port);
        self.release_ends();
    }

    fn release_ends(&mut self) {
        for (protocol, end) in self.tables.flows.take_released() {
            self.tables.outside.release(protocol, end);
        }
    }
}
