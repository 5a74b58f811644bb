//! Why a packet went nowhere, in words and as the name of a counter.

use std::net::IpAddr;

use super::groups::{Direction, GroupId};
use super::guard::Spoof;
use super::outside::NoEnd;
use crate::ethernet::Mac;
use crate::offload::BadOffload;

/// Why a packet went nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("it is malformed: {0}")]
    Malformed(BadOffload),
    #[error("it is spoofed: {0}")]
    Spoofed(Spoof),
    #[error("port {0} is not known here")]
    NoPort(u32),
    #[error("the network is not known here")]
    NoNetwork,
    #[error("no record of {0} is known here")]
    NoStation(Mac),
    #[error("nobody in the network has the address {0}")]
    NoAddress(IpAddr),
    #[error("{name} is elsewhere since epoch {epoch}; this port must not speak for it any more")]
    Moved { name: String, epoch: u64 },
    #[error("no rule lets {name} {verb} it; {groups}", verb = verb(*.direction))]
    NoRule {
        direction: Direction,
        name: String,
        groups: GroupList,
    },
    #[error("it is a later part of a datagram whose first part did not pass")]
    Fragment,
    #[error("its checksum is wrong, and it would begin a conversation")]
    Checksum,
    #[error("it has {length} bytes and the network carries {mtu}")]
    TooLong { length: usize, mtu: u16 },
    #[error("a packet for everybody can't be cut into segments")]
    LongForAll,
    #[error("the network has no way outside")]
    NoWayOut,
    #[error("there is no end outside for it: {0}")]
    NoEnd(NoEnd),
    #[error("{0} is not an address that a gateway passes on")]
    NotRoutable(IpAddr),
    #[error("it has passed too many routers or switches")]
    Hops,
    #[error("nobody listens there")]
    NoListener,
    #[error("the switch that sent it is no member of the network")]
    NotMember,
    #[error("what came before the frame is not our header")]
    Shim,
    #[error("no address or port outside leads to a guest with it")]
    NoEntry,
    #[error("more {0} than the port may send")]
    TooFast(&'static str),
    #[error("there is no room for another conversation of the port")]
    NoRoom,
}

fn verb(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "get",
        Direction::Out => "send",
    }
}

/// Groups in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupList(pub Vec<GroupId>);

impl std::fmt::Display for GroupList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return write!(f, "it is in no group");
        }
        let numbers: Vec<String> = self.0.iter().map(|group| group.0.to_string()).collect();
        write!(f, "its groups are {}", numbers.join(", "))
    }
}

impl Reason {
    /// What counters call it.
    pub fn name(&self) -> &'static str {
        match self {
            Reason::Malformed(_) => "malformed",
            Reason::Spoofed(spoof) => spoof.name(),
            Reason::NoPort(_) => "no-port",
            Reason::NoNetwork => "no-network",
            Reason::NoStation(_) => "no-station",
            Reason::NoAddress(_) => "no-address",
            Reason::Moved { .. } => "moved",
            Reason::NoRule { .. } => "no-rule",
            Reason::Fragment => "fragment",
            Reason::Checksum => "checksum",
            Reason::TooLong { .. } => "too-long",
            Reason::LongForAll => "long-for-all",
            Reason::NoWayOut => "no-way-out",
            Reason::NoEnd(_) => "no-end",
            Reason::NotRoutable(_) => "not-routable",
            Reason::Hops => "hops",
            Reason::NoListener => "no-listener",
            Reason::NotMember => "not-member",
            Reason::Shim => "shim",
            Reason::NoEntry => "no-entry",
            Reason::TooFast(_) => "too-fast",
            Reason::NoRoom => "no-room",
        }
    }
}
