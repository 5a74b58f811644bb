//! What a frame says it is: ARP or IP, from whom, to whom, about which ports.
//!
//! Does:      checks the headers of a frame once and keeps what later decisions ask for.
//! Does not:  judge whether the sender may say it, or verify transport checksums unasked.
//! Bounds:    `EXTENSIONS_MAX` IPv6 extension headers; a longer chain is refused.
//! Trusts:    nothing in a frame. A packet whose ports hide behind a fragment is refused.
//! Start at:  `Packet::parse`.
//!
//! Why not `smoltcp::wire`: its views check one layer at a time and panic where a length was not
//! asked for; here one pass gives all that the switch needs. The tests let smoltcp read it again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::ethernet::{HEADER_LEN, Mac, checksum};

/// Extension headers of IPv6 that are walked; real ones have two or three.
pub const EXTENSIONS_MAX: usize = 8;

pub const ETHERTYPE_IPV4: u16 = 0x0800;
pub const ETHERTYPE_ARP: u16 = 0x0806;
pub const ETHERTYPE_IPV6: u16 = 0x86dd;

/// Numbers of protocols above IP.
pub mod protocol {
    pub const ICMP: u8 = 1;
    pub const IGMP: u8 = 2;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ICMPV6: u8 = 58;
}

/// Bits of a TCP header.
pub mod tcp_flag {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
    pub const CWR: u8 = 0x80;
}

/// Why a frame is not a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum BadPacket {
    #[error("the frame ends inside its {0} header")]
    Short(&'static str),
    #[error("a frame of type {0:#06x} is neither IPv4, IPv6 nor ARP")]
    EtherType(u16),
    #[error("the ARP message is not about IPv4 on Ethernet")]
    Arp,
    #[error("the IP header contradicts the frame")]
    IpHeader,
    #[error("the checksum of the IPv4 header is wrong")]
    IpChecksum,
    #[error("the packet wants to choose its own route")]
    SourceRoute,
    #[error("more than {EXTENSIONS_MAX} IPv6 extension headers")]
    Extensions,
    #[error("the transport header contradicts the packet, or hides behind a fragment")]
    Transport,
}

/// One ARP message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arp {
    pub is_request: bool,
    pub sender_mac: Mac,
    pub sender: Ipv4Addr,
    pub target: Ipv4Addr,
}

/// Which part of a datagram this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fragment {
    Whole,
    /// The part that has the transport header.
    First(u32),
    Later(u32),
}

/// What stands above IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Tcp {
        source: u16,
        target: u16,
        flags: u8,
    },
    Udp {
        source: u16,
        target: u16,
    },
    /// ICMP or ICMPv6, by the IP version. `id` is that of an echo, else zero.
    Icmp {
        kind: u8,
        code: u8,
        id: u16,
    },
    /// A protocol without ports, or a later fragment.
    Other,
}

/// An IP packet in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ip {
    pub source: IpAddr,
    pub target: IpAddr,
    pub protocol: u8,
    pub hop_limit: u8,
    pub fragment: Fragment,
    /// Must not be split on its way; always so in IPv6.
    pub is_whole_or_nothing: bool,
    /// Where the transport header begins in the frame.
    pub transport_at: usize,
    /// Where the packet ends in the frame; what follows is padding.
    pub end: usize,
    pub transport: Transport,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    Arp(Arp),
    Ip(Ip),
}

/// A frame whose headers were checked. To hold one is the proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    frame: &'a [u8],
    pub source_mac: Mac,
    pub target_mac: Mac,
    pub body: Body,
}

impl<'a> Packet<'a> {
    pub fn parse(frame: &'a [u8]) -> Result<Packet<'a>, BadPacket> {
        let (ethernet, _) = frame
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(BadPacket::Short("Ethernet"))?;
        let body = match u16::from_be_bytes([ethernet[12], ethernet[13]]) {
            ETHERTYPE_ARP => Body::Arp(parse_arp(&frame[HEADER_LEN..])?),
            ETHERTYPE_IPV4 => Body::Ip(parse_ipv4(frame, HEADER_LEN, Scope::Frame)?),
            ETHERTYPE_IPV6 => Body::Ip(parse_ipv6(frame, HEADER_LEN, Scope::Frame)?),
            other => return Err(BadPacket::EtherType(other)),
        };
        let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = *ethernet;
        Ok(Packet {
            frame,
            target_mac: Mac([a, b, c, d, e, f]),
            source_mac: Mac([g, h, i, j, k, l]),
            body,
        })
    }

    /// The frame without padding behind an IP packet.
    pub fn bytes(&self) -> &'a [u8] {
        match self.body {
            Body::Ip(ip) => &self.frame[..ip.end],
            Body::Arp(_) => self.frame,
        }
    }

    /// The same packet from another station: a router puts its own address in the sender's place.
    pub fn said_by(self, source_mac: Mac) -> Packet<'a> {
        Packet { source_mac, ..self }
    }

    pub fn ip(&self) -> Option<Ip> {
        match self.body {
            Body::Ip(ip) => Some(ip),
            Body::Arp(_) => None,
        }
    }
}

/// How much of a packet must be there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// All of it.
    Frame,
    /// Its beginning, as an ICMP error quotes it.
    Quote,
}

impl Ip {
    /// Reads an IP packet that has no Ethernet header; offsets count from its first byte.
    pub fn parse(packet: &[u8]) -> Result<Ip, BadPacket> {
        Ip::parse_at(packet, 0, Scope::Frame)
    }

    fn parse_at(bytes: &[u8], at: usize, scope: Scope) -> Result<Ip, BadPacket> {
        match bytes.get(at).ok_or(BadPacket::Short("IP"))? >> 4 {
            4 => parse_ipv4(bytes, at, scope),
            6 => parse_ipv6(bytes, at, scope),
            _ => Err(BadPacket::IpHeader),
        }
    }

    pub fn is_v4(&self) -> bool {
        self.source.is_ipv4()
    }

    /// The packet that an ICMP error complains about, read from its quote. `bytes` is what this
    /// packet was read from; offsets count from its first byte.
    pub fn quoted(&self, bytes: &[u8]) -> Option<Ip> {
        if !self.is_icmp_error() {
            return None;
        }
        let end = self.end.min(bytes.len());
        Ip::parse_at(&bytes[..end], self.transport_at + 8, Scope::Quote).ok()
    }

    /// Errors quote the packet that they are about.
    pub fn is_icmp_error(&self) -> bool {
        match (self.is_v4(), self.transport) {
            (true, Transport::Icmp { kind, .. }) => matches!(kind, 3 | 11 | 12),
            (false, Transport::Icmp { kind, .. }) => matches!(kind, 1..=4),
            _ => false,
        }
    }

    /// Whether the transport checksum in `bytes` is right. What has none is right; so is a
    /// fragment, whose checksum nobody can verify before it is whole.
    pub fn has_good_checksum(&self, bytes: &[u8]) -> bool {
        if self.fragment != Fragment::Whole {
            return true;
        }
        let Some(body) = bytes.get(self.transport_at..self.end) else {
            return false;
        };
        match self.transport {
            Transport::Other => true,
            Transport::Icmp { .. } if self.is_v4() => checksum(&[body]) == 0,
            Transport::Udp { .. } if self.is_v4() && body[6..8] == [0, 0] => true,
            _ => {
                let pseudo = Pseudo::new(self.source, self.target, self.protocol, body.len());
                checksum(&[pseudo.bytes(), body]) == 0
            }
        }
    }
}

/// The words about addresses that a transport checksum covers.
#[derive(Debug)]
pub struct Pseudo {
    bytes: [u8; 40],
    len: usize,
}

impl Pseudo {
    pub fn new(source: IpAddr, target: IpAddr, protocol: u8, length: usize) -> Pseudo {
        let mut bytes = [0; 40];
        let [.., a, b, c, d] = length.to_be_bytes();
        let len = match (source, target) {
            (IpAddr::V4(source), IpAddr::V4(target)) => {
                bytes[..4].copy_from_slice(&source.octets());
                bytes[4..8].copy_from_slice(&target.octets());
                bytes[8..12].copy_from_slice(&[0, protocol, c, d]);
                12
            }
            (source, target) => {
                bytes[..16].copy_from_slice(&wide(source).octets());
                bytes[16..32].copy_from_slice(&wide(target).octets());
                bytes[32..].copy_from_slice(&[a, b, c, d, 0, 0, 0, protocol]);
                40
            }
        };
        Pseudo { bytes, len }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

fn wide(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

fn parse_arp(body: &[u8]) -> Result<Arp, BadPacket> {
    let arp = body.first_chunk::<28>().ok_or(BadPacket::Short("ARP"))?;
    let is_request = match arp[..8] {
        [0, 1, 8, 0, 6, 4, 0, 1] => true,
        [0, 1, 8, 0, 6, 4, 0, 2] => false,
        _ => return Err(BadPacket::Arp),
    };
    Ok(Arp {
        is_request,
        sender_mac: Mac([arp[8], arp[9], arp[10], arp[11], arp[12], arp[13]]),
        sender: Ipv4Addr::new(arp[14], arp[15], arp[16], arp[17]),
        target: Ipv4Addr::new(arp[24], arp[25], arp[26], arp[27]),
    })
}

fn parse_ipv4(bytes: &[u8], at: usize, scope: Scope) -> Result<Ip, BadPacket> {
    let rest = &bytes[at..];
    let fixed = rest.first_chunk::<20>().ok_or(BadPacket::Short("IPv4"))?;
    let header_len = usize::from(fixed[0] & 0x0f) * 4;
    let total_len = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    if fixed[0] >> 4 != 4 || header_len < 20 || total_len < header_len {
        return Err(BadPacket::IpHeader);
    }
    let header = rest.get(..header_len).ok_or(BadPacket::Short("IPv4"))?;
    let end = match scope {
        Scope::Frame if rest.len() < total_len => return Err(BadPacket::IpHeader),
        Scope::Frame if checksum(&[header]) != 0 => return Err(BadPacket::IpChecksum),
        Scope::Frame | Scope::Quote => at + total_len.min(rest.len()),
    };
    if has_source_route(&header[20..]) {
        return Err(BadPacket::SourceRoute);
    }
    let offset = u16::from_be_bytes([fixed[6], fixed[7]]);
    let id = u32::from(u16::from_be_bytes([fixed[4], fixed[5]]));
    let fragment = match (offset & 0x1fff, offset & 0x2000 != 0) {
        (0, false) => Fragment::Whole,
        (0, true) => Fragment::First(id),
        _ => Fragment::Later(id),
    };
    let mut ip = Ip {
        source: IpAddr::from([fixed[12], fixed[13], fixed[14], fixed[15]]),
        target: IpAddr::from([fixed[16], fixed[17], fixed[18], fixed[19]]),
        protocol: fixed[9],
        hop_limit: fixed[8],
        fragment,
        is_whole_or_nothing: offset & 0x4000 != 0,
        transport_at: at + header_len,
        end,
        transport: Transport::Other,
    };
    ip.transport = parse_transport(&ip, bytes, scope)?;
    Ok(ip)
}

/// Loose and strict source routes (options 131 and 137).
fn has_source_route(mut options: &[u8]) -> bool {
    loop {
        match options {
            [] | [0, ..] => return false,
            [1, rest @ ..] => options = rest,
            [131 | 137, ..] => return true,
            [_, length, ..] if *length >= 2 => {
                options = options.get(usize::from(*length)..).unwrap_or_default();
            }
            _ => return false,
        }
    }
}

fn parse_ipv6(bytes: &[u8], at: usize, scope: Scope) -> Result<Ip, BadPacket> {
    let fixed = bytes[at..]
        .first_chunk::<40>()
        .ok_or(BadPacket::Short("IPv6"))?;
    let payload_len = usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
    let available = bytes.len() - at - 40;
    if fixed[0] >> 4 != 6 || (scope == Scope::Frame && available < payload_len) {
        return Err(BadPacket::IpHeader);
    }
    let address = |at: usize| {
        let octets: [u8; 16] = std::array::from_fn(|index| fixed[at + index]);
        IpAddr::from(octets)
    };
    let end = at + 40 + payload_len.min(available);
    let chain = walk_extensions(bytes, at + 40, end, fixed[6])?;
    let mut ip = Ip {
        source: address(8),
        target: address(24),
        protocol: chain.protocol,
        hop_limit: fixed[7],
        fragment: chain.fragment,
        is_whole_or_nothing: true,
        transport_at: chain.at,
        end,
        transport: Transport::Other,
    };
    ip.transport = parse_transport(&ip, bytes, scope)?;
    Ok(ip)
}

/// Where a chain of extension headers ends.
struct Chain {
    protocol: u8,
    at: usize,
    fragment: Fragment,
}

fn walk_extensions(bytes: &[u8], at: usize, end: usize, next: u8) -> Result<Chain, BadPacket> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const AUTHENTICATION: u8 = 51;
    const DESTINATION: u8 = 60;
    let mut chain = Chain {
        protocol: next,
        at,
        fragment: Fragment::Whole,
    };
    for _ in 0..=EXTENSIONS_MAX {
        let is_extension = matches!(
            chain.protocol,
            HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION
        );
        if !is_extension || matches!(chain.fragment, Fragment::Later(_)) {
            return Ok(chain);
        }
        let header = bytes[..end].get(chain.at..).unwrap_or_default();
        let header = header.first_chunk::<8>().ok_or(BadPacket::Transport)?;
        let words = usize::from(header[1]);
        let length = match chain.protocol {
            // Type 0 lets the sender choose a route (RFC 5095).
            ROUTING if header[2] == 0 => return Err(BadPacket::SourceRoute),
            FRAGMENT => {
                let offset = u16::from_be_bytes([header[2], header[3]]);
                let id = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
                chain.fragment = match (offset & 0xfff8, offset & 1) {
                    (0, 0) => Fragment::Whole, // an atomic fragment (RFC 6946)
                    (0, _) => Fragment::First(id),
                    _ => Fragment::Later(id),
                };
                8
            }
            AUTHENTICATION => (words + 2) * 4,
            _ => (words + 1) * 8,
        };
        chain.protocol = header[0];
        chain.at += length;
        if chain.at > end {
            return Err(BadPacket::Transport);
        }
    }
    Err(BadPacket::Extensions)
}

fn parse_transport(ip: &Ip, bytes: &[u8], scope: Scope) -> Result<Transport, BadPacket> {
    if matches!(ip.fragment, Fragment::Later(_)) {
        return Ok(Transport::Other);
    }
    let body = bytes
        .get(ip.transport_at..ip.end)
        .ok_or(BadPacket::Transport)?;
    let port = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    // A quote has at least eight bytes of the transport header (RFC 792).
    let need = match (ip.protocol, ip.is_v4()) {
        (protocol::TCP, _) if scope == Scope::Frame => 20,
        (protocol::TCP | protocol::UDP, _) => 8,
        (protocol::ICMP, true) | (protocol::ICMPV6, false) => 8,
        _ => return Ok(Transport::Other),
    };
    if body.len() < need {
        return Err(BadPacket::Transport);
    }
    if ip.protocol == protocol::TCP {
        let is_quote = scope == Scope::Quote;
        let header_len = if is_quote {
            20
        } else {
            usize::from(body[12] >> 4) * 4
        };
        if header_len < 20 || (!is_quote && header_len > body.len()) {
            return Err(BadPacket::Transport);
        }
        return Ok(Transport::Tcp {
            source: port(0),
            target: port(2),
            flags: if is_quote { 0 } else { body[13] },
        });
    }
    if ip.protocol == protocol::UDP {
        let length = usize::from(port(4));
        let is_cut = scope == Scope::Quote || ip.fragment != Fragment::Whole;
        if length < 8 || (!is_cut && length != body.len()) {
            return Err(BadPacket::Transport);
        }
        return Ok(Transport::Udp {
            source: port(0),
            target: port(2),
        });
    }
    let is_echo = matches!((ip.is_v4(), body[0]), (true, 0 | 8) | (false, 128 | 129));
    Ok(Transport::Icmp {
        kind: body[0],
        code: body[1],
        id: if is_echo { port(4) } else { 0 },
    })
}

/// Fuzz target: offsets of a parsed packet lie in its frame, and so do those of a quote.
pub fn fuzz_packet(data: &[u8]) {
    let Ok(packet) = Packet::parse(data) else {
        return;
    };
    assert!(packet.bytes().len() <= data.len(), "only padding is cut");
    let Some(ip) = packet.ip() else { return };
    assert!(ip.transport_at <= ip.end && ip.end <= data.len());
    let _ = ip.has_good_checksum(data);
    if let Some(quoted) = ip.quoted(data) {
        assert!(ip.transport_at + 8 < quoted.transport_at && quoted.end <= ip.end);
    }
    let again = Packet::parse(packet.bytes()).expect("padding says nothing");
    assert_eq!(again.body, packet.body, "padding says nothing");
}
