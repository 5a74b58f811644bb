//! Who may say what: the first look at every frame, before anything is answered or allowed.
//!
//! Does:      holds a frame against the record of its sender: hardware address, IPv4, IPv6, ARP,
//!            neighbour discovery; refuses router advertisements, redirects and DHCP servers.
//! Does not:  look at where a frame goes.
//! Bounds:    the options of one neighbour message.
//! Trusts:    the sender's record and nothing else.
//! Start at:  `guard`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::records::Station;
use crate::ethernet::Mac;
use crate::packet::{Arp, Body, Fragment, Ip, Packet, Transport};

/// Why a frame is not its sender's to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Spoof {
    #[error("its hardware address {0} is not the sender's")]
    Mac(Mac),
    #[error("its source {0} is not the sender's address")]
    Address(IpAddr),
    #[error("it says by ARP that {0} at {1} is the sender")]
    Arp(Ipv4Addr, Mac),
    #[error("it says as a neighbour what is not the sender's to say")]
    Neighbour,
    #[error("it wants to be a router, and only the network's gateway is one")]
    Router,
    #[error("it wants to be a DHCP server, and only the network's gateway is one")]
    DhcpServer,
}

impl Spoof {
    /// What counters call it.
    pub fn name(self) -> &'static str {
        match self {
            Spoof::Mac(_) => "spoofed-mac",
            Spoof::Address(_) => "spoofed-address",
            Spoof::Arp(..) => "spoofed-arp",
            Spoof::Neighbour => "spoofed-neighbour",
            Spoof::Router => "rogue-router",
            Spoof::DhcpServer => "rogue-dhcp",
        }
    }
}

/// Kinds of ICMPv6 that belong to neighbour discovery.
pub mod neighbour {
    pub const ROUTER_SOLICITATION: u8 = 133;
    pub const ROUTER_ADVERTISEMENT: u8 = 134;
    pub const SOLICITATION: u8 = 135;
    pub const ADVERTISEMENT: u8 = 136;
    pub const REDIRECT: u8 = 137;
    pub const SOURCE_MAC: u8 = 1;
    pub const TARGET_MAC: u8 = 2;
}

/// Whether `who` may send this frame.
pub fn guard(packet: &Packet<'_>, who: &Station) -> Result<(), Spoof> {
    if packet.source_mac != who.mac {
        return Err(Spoof::Mac(packet.source_mac));
    }
    match packet.body {
        Body::Arp(arp) => guard_arp(arp, who),
        Body::Ip(ip) => guard_ip(packet.bytes(), &ip, who),
    }
}

fn guard_arp(arp: Arp, who: &Station) -> Result<(), Spoof> {
    let is_probe = arp.is_request && arp.sender.is_unspecified();
    if arp.sender_mac == who.mac && (is_probe || who.owns(arp.sender.into())) {
        Ok(())
    } else {
        Err(Spoof::Arp(arp.sender, arp.sender_mac))
    }
}

fn guard_ip(bytes: &[u8], ip: &Ip, who: &Station) -> Result<(), Spoof> {
    match (ip.is_v4(), ip.transport) {
        (true, Transport::Udp { source: 67, .. }) => return Err(Spoof::DhcpServer),
        (false, Transport::Udp { source: 547, .. }) => return Err(Spoof::DhcpServer),
        (true, Transport::Icmp { kind: 5 | 9, .. }) => return Err(Spoof::Router),
        (
            false,
            Transport::Icmp {
                kind: 133..=137, ..
            },
        ) => guard_neighbour(bytes, ip, who)?,
        _ => {}
    }
    if who.owns(ip.source) || may_be_nobody(ip) {
        Ok(())
    } else {
        Err(Spoof::Address(ip.source))
    }
}

/// Who has no address yet says so, to ask for one and to find out whether it is free.
fn may_be_nobody(ip: &Ip) -> bool {
    match (ip.source, ip.transport) {
        (
            IpAddr::V4(source),
            Transport::Udp {
                source: 68,
                target: 67,
            },
        ) => source.is_unspecified(),
        // Solicitations, and reports of the groups that are joined for them.
        (
            IpAddr::V6(source),
            Transport::Icmp {
                kind: 131 | 133 | 135 | 143,
                ..
            },
        ) => source.is_unspecified(),
        _ => false,
    }
}

fn guard_neighbour(bytes: &[u8], ip: &Ip, who: &Station) -> Result<(), Spoof> {
    let Transport::Icmp { kind, .. } = ip.transport else {
        return Ok(());
    };
    if kind == neighbour::ROUTER_ADVERTISEMENT || kind == neighbour::REDIRECT {
        return Err(Spoof::Router);
    }
    let message = Neighbour::parse(bytes, ip).ok_or(Spoof::Neighbour)?;
    let says_own = |said: Option<Mac>| said.is_none_or(|mac| mac == who.mac);
    let is_own_target = kind != neighbour::ADVERTISEMENT || who.owns(message.target.into());
    // An unspecified source says no hardware address (RFC 4861, 4.1 and 4.3).
    let is_probe = ip.source == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    if says_own(message.source_mac)
        && says_own(message.target_mac)
        && is_own_target
        && !(is_probe && message.source_mac.is_some())
    {
        Ok(())
    } else {
        Err(Spoof::Neighbour)
    }
}

/// A message of neighbour discovery, as far as the switch cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    pub kind: u8,
    /// Whose hardware address is asked or told; unspecified in a router solicitation.
    pub target: Ipv6Addr,
    pub source_mac: Option<Mac>,
    pub target_mac: Option<Mac>,
}

impl Neighbour {
    /// `None`: from off the link, in fragments, or malformed (RFC 4861, 6.1 and 7.1; RFC 6980).
    pub fn parse(bytes: &[u8], ip: &Ip) -> Option<Neighbour> {
        let Transport::Icmp { kind, code: 0, .. } = ip.transport else {
            return None;
        };
        if ip.hop_limit != 255 || ip.fragment != Fragment::Whole || ip.is_v4() {
            return None;
        }
        let body = bytes.get(ip.transport_at..ip.end)?;
        let (target, mut options) = if kind == neighbour::ROUTER_SOLICITATION {
            (Ipv6Addr::UNSPECIFIED, body.get(8..)?)
        } else {
            let target = Ipv6Addr::from(*body.get(8..)?.first_chunk::<16>()?);
            (target, body.get(24..)?)
        };
        let mut message = Neighbour {
            kind,
            target,
            source_mac: None,
            target_mac: None,
        };
        while !options.is_empty() {
            let length = usize::from(*options.get(1)?) * 8;
            let (option, rest) = options.split_at_checked(length)?;
            let mac = |option: &[u8]| Some(Mac(*option.get(2..)?.first_chunk()?));
            match *option.first()? {
                neighbour::SOURCE_MAC => message.source_mac = Some(mac(option)?),
                neighbour::TARGET_MAC => message.target_mac = Some(mac(option)?),
                _ => {}
            }
            options = rest;
        }
        Some(message)
    }
}
