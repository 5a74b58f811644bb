//! What a switch is told: networks, who is in them, and where each of them is.
//!
//! Does:      keeps the newest record of each station, by hardware address, IP address and name.
//! Does not:  learn anything from traffic, or fetch records.
//! Bounds:    `NETWORKS_MAX`, `STATIONS_MAX` in one network; more are refused with a reason.
//! Trusts:    the caller that records are genuine. An older epoch never replaces a newer one.
//! Start at:  `Network::put`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::groups::GroupId;
use crate::ethernet::Mac;

/// Networks that one switch knows: those of the guests on it, and their like.
pub const NETWORKS_MAX: usize = 4096;
/// Stations of one network.
pub const STATIONS_MAX: usize = 16_384;
/// Groups that one station is in.
pub const GROUPS_MAX: usize = 8;
/// Every network has its gateway at this address, on every switch, so that a guest that moves
/// finds it where it was.
pub const GATEWAY_MAC: Mac = Mac([0x02, 0x6c, 0x75, 0x63, 0x00, 0x01]);
/// The gateway's address on the link.
pub const GATEWAY_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// Where guests ask who they are.
pub const METADATA_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
pub const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe);
/// The smallest MTU that IPv6 allows, and the largest that fits one frame of ours.
const MTU_RANGE: std::ops::RangeInclusive<u16> = 1280..=9000;
/// A label of DNS.
const NAME_LEN_MAX: usize = 63;

/// A tenant's network, by the 24 bits that frames between switches carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NetworkId(u32);

impl NetworkId {
    /// `None`: zero, or more than 24 bits.
    pub fn new(number: u32) -> Option<NetworkId> {
        (1..1 << 24).contains(&number).then_some(NetworkId(number))
    }

    pub fn number(self) -> u32 {
        self.0
    }
}

impl std::fmt::Display for NetworkId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "network {}", self.0)
    }
}

/// Where a guest is plugged in, by the caller's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortId(pub u32);

/// Another switch, by the caller's number for the tunnel to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerId(pub u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Here(PortId),
    There(PeerId),
}

/// An IPv4 subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    pub address: Ipv4Addr,
    pub prefix_len: u8,
}

impl Subnet {
    pub fn mask(self) -> Ipv4Addr {
        let ones = u32::MAX.checked_shl(32 - u32::from(self.prefix_len.min(32)));
        ones.unwrap_or(0).into()
    }

    fn first(self) -> u32 {
        u32::from(self.address) & u32::from(self.mask())
    }

    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & u32::from(self.mask()) == self.first()
    }

    /// The first host.
    pub fn gateway(self) -> Ipv4Addr {
        (self.first() + 1).into()
    }

    pub fn broadcast(self) -> Ipv4Addr {
        (self.first() | !u32::from(self.mask())).into()
    }

    /// An address that a guest may have.
    fn has_room_for(self, address: Ipv4Addr) -> bool {
        self.contains(address)
            && u32::from(address) != self.first()
            && address != self.gateway()
            && address != self.broadcast()
    }
}

/// What a network is for as long as it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkSettings {
    pub id: NetworkId,
    /// Its label in DNS: stations are `<station>.<name>.internal`.
    pub name: String,
    pub v4: Option<Subnet>,
    /// A prefix of 64 bits.
    pub v6: Option<Ipv6Addr>,
    /// What a guest may send; never changes, so that a move never changes it.
    pub mtu: u16,
}

impl NetworkSettings {
    pub fn gateway_v4(&self) -> Option<Ipv4Addr> {
        self.v4.map(Subnet::gateway)
    }

    pub fn gateway_v6(&self) -> Option<Ipv6Addr> {
        let prefix = u128::from(self.v6?) & PREFIX_MASK;
        Some((prefix | 1).into())
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.is_some_and(|subnet| subnet.contains(address)),
            IpAddr::V6(address) => self.v6.is_some_and(|prefix| {
                (u128::from(prefix) ^ u128::from(address)) & PREFIX_MASK == 0
            }),
        }
    }

    /// Whether the gateway answers there itself.
    pub fn is_gateway(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => Some(address) == self.gateway_v4(),
            IpAddr::V6(address) => {
                address == GATEWAY_LINK_LOCAL || Some(address) == self.gateway_v6()
            }
        }
    }

    fn check(&self) -> Result<(), Refused> {
        let v4_fits = self
            .v4
            .is_none_or(|subnet| (8..=29).contains(&subnet.prefix_len));
        if !v4_fits || (self.v4.is_none() && self.v6.is_none()) {
            return Err(Refused::Subnet);
        }
        if !MTU_RANGE.contains(&self.mtu) {
            return Err(Refused::Mtu(self.mtu));
        }
        check_name(&self.name)
    }
}

const PREFIX_MASK: u128 = u128::MAX << 64;

/// One guest's card in one network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Station {
    pub mac: Mac,
    pub v4: Option<Ipv4Addr>,
    /// The address that the guest makes itself from the network's prefix and its MAC.
    pub v6: Option<Ipv6Addr>,
    pub name: String,
    pub groups: Vec<GroupId>,
    pub place: Place,
    /// Grows with each move.
    pub epoch: u64,
}

impl Station {
    pub fn link_local(&self) -> Ipv6Addr {
        from_mac(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), self.mac)
    }

    /// Whether the station may speak from there.
    pub fn owns(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4 == Some(address),
            IpAddr::V6(address) => self.v6 == Some(address) || address == self.link_local(),
        }
    }
}

/// The address of a station in a prefix (RFC 4291, appendix A).
pub fn from_mac(prefix: Ipv6Addr, mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    let low = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    (u128::from(prefix) & PREFIX_MASK | u128::from(low)).into()
}

/// Why a record was not taken. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("{0} is not known here; put the network first")]
    NoNetwork(NetworkId),
    #[error("{NETWORKS_MAX} networks are known here; remove one first")]
    Networks,
    #[error("{STATIONS_MAX} stations are in this network; remove one first")]
    Stations,
    #[error("{0} exists with other addresses or another MTU; make a new network")]
    Fixed(NetworkId),
    #[error("A network needs an IPv6 prefix, or an IPv4 subnet of 8 to 29 bits")]
    Subnet,
    #[error("An MTU of {0} is not within 1280 to 9000")]
    Mtu(u16),
    #[error("The name {0:?} is not a label of DNS: use a-z, 0-9 and inner hyphens, at most 63")]
    Name(String),
    #[error("{0} is not one station's own hardware address")]
    Mac(Mac),
    #[error("{0} can't be a station's address in this network")]
    Address(IpAddr),
    #[error("{0} belongs to another station")]
    Taken(IpAddr),
    #[error("The name {0:?} belongs to another station")]
    NameTaken(String),
    #[error("A station is in at most {GROUPS_MAX} groups")]
    Groups,
    #[error("A record of epoch {known} is known; this one says {told}")]
    Stale { known: u64, told: u64 },
    #[error("Port {0} is not known here")]
    NoPort(u32),
    #[error("There is no room for another {0}; remove one first")]
    Full(&'static str),
}

fn check_name(name: &str) -> Result<(), Refused> {
    let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    let fits = (1..=NAME_LEN_MAX).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with('-')
        && !name.ends_with('-');
    fits.then_some(())
        .ok_or_else(|| Refused::Name(name.to_owned()))
}

/// A network and everybody in it.
#[derive(Clone, Debug)]
pub struct Network {
    pub settings: NetworkSettings,
    stations: BTreeMap<Mac, Station>,
    by_address: BTreeMap<IpAddr, Mac>,
    by_name: BTreeMap<String, Mac>,
    /// The switches that may speak in it.
    pub(super) peers: BTreeSet<PeerId>,
}

impl Network {
    pub(super) fn new(settings: NetworkSettings) -> Result<Network, Refused> {
        settings.check()?;
        Ok(Network {
            settings,
            stations: BTreeMap::new(),
            by_address: BTreeMap::new(),
            by_name: BTreeMap::new(),
            peers: BTreeSet::new(),
        })
    }

    pub fn station(&self, mac: Mac) -> Option<&Station> {
        self.stations.get(&mac)
    }

    pub fn station_at(&self, address: IpAddr) -> Option<&Station> {
        self.stations.get(self.by_address.get(&address)?)
    }

    pub fn station_named(&self, name: &str) -> Option<&Station> {
        self.stations.get(self.by_name.get(name)?)
    }

    pub fn stations(&self) -> impl Iterator<Item = &Station> {
        self.stations.values()
    }

    /// Takes a record unless a newer one is known.
    pub(super) fn put(&mut self, station: Station) -> Result<(), Refused> {
        self.check(&station)?;
        self.remove(station.mac);
        for address in Network::addresses(&station) {
            self.by_address.insert(address, station.mac);
        }
        self.by_name.insert(station.name.clone(), station.mac);
        self.stations.insert(station.mac, station);
        Ok(())
    }

    pub(super) fn remove(&mut self, mac: Mac) -> Option<Station> {
        let station = self.stations.remove(&mac)?;
        for address in Network::addresses(&station) {
            self.by_address.remove(&address);
        }
        self.by_name.remove(&station.name);
        Some(station)
    }

    fn addresses(station: &Station) -> impl Iterator<Item = IpAddr> {
        let v4 = station.v4.map(IpAddr::V4);
        let v6 = station.v6.map(IpAddr::V6);
        let link_local = Some(IpAddr::V6(station.link_local()));
        [v4, v6, link_local].into_iter().flatten()
    }

    fn check(&self, station: &Station) -> Result<(), Refused> {
        let mac = station.mac;
        if !mac.is_unicast() || mac == GATEWAY_MAC {
            return Err(Refused::Mac(mac));
        }
        let known = self.stations.get(&mac).map(|station| station.epoch);
        if let Some(known) = known.filter(|known| *known > station.epoch) {
            let told = station.epoch;
            return Err(Refused::Stale { known, told });
        }
        if known.is_none() && self.stations.len() >= STATIONS_MAX {
            return Err(Refused::Stations);
        }
        if station.groups.len() > GROUPS_MAX {
            return Err(Refused::Groups);
        }
        check_name(&station.name)?;
        if let Some(v4) = station.v4
            && !self
                .settings
                .v4
                .is_some_and(|subnet| subnet.has_room_for(v4))
        {
            return Err(Refused::Address(v4.into()));
        }
        // The guest is told the prefix and makes this address itself; another would be shut out.
        if let Some(v6) = station.v6
            && self.settings.v6.map(|prefix| from_mac(prefix, mac)) != Some(v6)
        {
            return Err(Refused::Address(v6.into()));
        }
        let is_other = |owner: Option<&Mac>| owner.is_some_and(|owner| *owner != mac);
        if let Some(taken) =
            Network::addresses(station).find(|address| is_other(self.by_address.get(address)))
        {
            return Err(Refused::Taken(taken));
        }
        if is_other(self.by_name.get(&station.name)) {
            return Err(Refused::NameTaken(station.name.clone()));
        }
        Ok(())
    }
}
