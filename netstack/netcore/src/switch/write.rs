//! Frames that the switch says itself.
//!
//! Does:      writes IPv4 and IPv6 packets with complete checksums, ARP, neighbour and router
//!            advertisements, echoes, errors, resets; changes a packet's addresses and keeps its
//!            checksums right.
//! Does not:  decide to whom.
//! Bounds:    an error quotes at most `QUOTE_LEN_MAX` bytes.
//! Trusts:    packets as far as `packet` checked them.
//! Start at:  `ip_packet`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::guard::neighbour;
use super::records::{GATEWAY_LINK_LOCAL, GATEWAY_MAC, NetworkSettings};
use crate::ethernet::{HEADER_LEN, Mac, checksum};
use crate::packet::{
    ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ip, Pseudo, Transport, protocol, tcp_flag,
};

/// Bytes of a packet that an error quotes: enough for a tunnel's inner headers too, and the whole
/// error still fits the smallest MTU of IPv4.
const QUOTE_LEN_MAX: usize = 520;

/// How long what a router advertisement says holds, in seconds.
const ROUTER_SECONDS: u16 = 1800;
const PREFIX_VALID_SECONDS: u32 = 86_400;
const PREFIX_PREFERRED_SECONDS: u32 = 14_400;

/// An IP packet around a transport message, whose checksum is filled in. `None`: addresses of two
/// kinds, or too long.
pub fn ip_packet(
    source: IpAddr,
    target: IpAddr,
    number: u8,
    hop_limit: u8,
    transport: &[u8],
) -> Option<Vec<u8>> {
    let mut packet = match (source, target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            let total_len = u16::try_from(20 + transport.len()).ok()?;
            let mut header = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, hop_limit, number, 0, 0];
            header[2..4].copy_from_slice(&total_len.to_be_bytes());
            header.extend(source.octets());
            header.extend(target.octets());
            let sum = checksum(&[&header]);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            header
        }
        (IpAddr::V6(source), IpAddr::V6(target)) => {
            let payload_len = u16::try_from(transport.len()).ok()?;
            let mut header = vec![0x60, 0, 0, 0, 0, 0, number, hop_limit];
            header[4..6].copy_from_slice(&payload_len.to_be_bytes());
            header.extend(source.octets());
            header.extend(target.octets());
            header
        }
        _ => return None,
    };
    let transport_at = packet.len();
    packet.extend_from_slice(transport);
    let sum_at = transport_at + checksum_offset(number)?;
    packet.get(sum_at + 1)?;
    packet[sum_at..sum_at + 2].copy_from_slice(&[0, 0]);
    let pseudo = Pseudo::new(source, target, number, transport.len());
    let pseudo: &[u8] = if number == protocol::ICMP {
        &[]
    } else {
        pseudo.bytes()
    };
    let sum = match checksum(&[pseudo, &packet[transport_at..]]) {
        0 if number == protocol::UDP => 0xffff,
        sum => sum,
    };
    packet[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
    Some(packet)
}

fn checksum_offset(number: u8) -> Option<usize> {
    match number {
        protocol::TCP => Some(16),
        protocol::UDP => Some(6),
        protocol::ICMP | protocol::ICMPV6 => Some(2),
        _ => None,
    }
}

/// Puts an Ethernet header before an IP packet.
pub fn frame(target: Mac, source: Mac, packet: &[u8]) -> Vec<u8> {
    let ethertype = match packet.first().map(|byte| byte >> 4) {
        Some(6) => ETHERTYPE_IPV6,
        _ => ETHERTYPE_IPV4,
    };
    let mut frame = Vec::with_capacity(HEADER_LEN + packet.len());
    frame.extend(target.0);
    frame.extend(source.0);
    frame.extend(ethertype.to_be_bytes());
    frame.extend_from_slice(packet);
    frame
}

/// A UDP datagram without its checksum.
pub fn udp(source: u16, target: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX);
    let mut datagram = Vec::with_capacity(8 + payload.len());
    for number in [source, target, length, 0] {
        datagram.extend(number.to_be_bytes());
    }
    datagram.extend_from_slice(payload);
    datagram
}

/// "`address` is at `mac`", told to one station.
pub fn arp_reply(mac: Mac, address: Ipv4Addr, to: Mac, to_address: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER_LEN + 28);
    frame.extend(to.0);
    frame.extend(mac.0);
    frame.extend(ETHERTYPE_ARP.to_be_bytes());
    frame.extend([0, 1, 8, 0, 6, 4, 0, 2]);
    frame.extend(mac.0);
    frame.extend(address.octets());
    frame.extend(to.0);
    frame.extend(to_address.octets());
    frame
}

/// "`address` is at `mac`" (RFC 4861, 4.4). Told to all when nobody in particular asked.
pub fn neighbour_advertisement(
    address: Ipv6Addr,
    mac: Mac,
    is_router: bool,
    asker: Ipv6Addr,
) -> Option<Vec<u8>> {
    let is_solicited = !asker.is_unspecified();
    let flags = u8::from(is_router) << 7 | u8::from(is_solicited) << 6 | 1 << 5;
    let mut message = vec![neighbour::ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0];
    message.extend(address.octets());
    message.extend([neighbour::TARGET_MAC, 1]);
    message.extend(mac.0);
    let target = if is_solicited { asker } else { ALL_NODES };
    ip_packet(
        address.into(),
        target.into(),
        protocol::ICMPV6,
        255,
        &message,
    )
}

pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The gateway's advertisement (RFC 4861, 4.2; RFC 8106). `None`: the network has no IPv6.
pub fn router_advertisement(
    network: &NetworkSettings,
    target: Ipv6Addr,
    leads_outside: bool,
) -> Option<Vec<u8>> {
    let prefix = network.v6?;
    let mut message = vec![neighbour::ROUTER_ADVERTISEMENT, 0, 0, 0, 64, 0];
    let lifetime = if leads_outside { ROUTER_SECONDS } else { 0 };
    message.extend(lifetime.to_be_bytes());
    message.extend([0; 8]); // reachable and retransmission time: the guest's own
    message.extend([neighbour::SOURCE_MAC, 1]);
    message.extend(GATEWAY_MAC.0);
    message.extend([5, 1, 0, 0]);
    message.extend(u32::from(network.mtu).to_be_bytes());
    message.extend([3, 4, 64, 0xc0]); // on this link, and good for making an address of
    message.extend(PREFIX_VALID_SECONDS.to_be_bytes());
    message.extend(PREFIX_PREFERRED_SECONDS.to_be_bytes());
    message.extend([0; 4]);
    message.extend(&prefix.octets()[..8]);
    message.extend([0; 8]);
    message.extend([25, 3, 0, 0]);
    message.extend(u32::from(ROUTER_SECONDS).to_be_bytes());
    message.extend(GATEWAY_LINK_LOCAL.octets());
    let mut domain = Vec::new();
    for label in [network.name.as_str(), super::dns::DOMAIN] {
        domain.push(u8::try_from(label.len()).ok()?);
        domain.extend(label.as_bytes());
    }
    domain.push(0);
    let words = (8 + domain.len()).div_ceil(8);
    domain.resize(words * 8 - 8, 0);
    message.extend([31, u8::try_from(words).ok()?, 0, 0]);
    message.extend(u32::from(ROUTER_SECONDS).to_be_bytes());
    message.extend(domain);
    let source = IpAddr::V6(GATEWAY_LINK_LOCAL);
    ip_packet(source, target.into(), protocol::ICMPV6, 255, &message)
}

/// Why a packet comes back to its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complaint {
    /// The next link takes packets of this length.
    TooBig(u16),
    NoRoute,
    NoPort,
    TimeExceeded,
}

/// An ICMP error about `packet`, from the gateway. `None`: one never complains about errors,
/// about what went to many, or about what came from nobody in particular.
pub fn complaint(ip: &Ip, packet: &[u8], from: IpAddr, about: Complaint) -> Option<Vec<u8>> {
    let is_group = ip.target.is_multicast() || ip.target == IpAddr::V4(Ipv4Addr::BROADCAST);
    let is_later = matches!(ip.fragment, crate::packet::Fragment::Later(_));
    if ip.is_icmp_error() || ip.source.is_unspecified() || is_group || is_later {
        return None;
    }
    let (number, kind, code) = match (about, ip.is_v4()) {
        (Complaint::TooBig(_), true) => (protocol::ICMP, 3, 4),
        (Complaint::NoRoute, true) => (protocol::ICMP, 3, 0),
        (Complaint::NoPort, true) => (protocol::ICMP, 3, 3),
        (Complaint::TimeExceeded, true) => (protocol::ICMP, 11, 0),
        (Complaint::TooBig(_), false) => (protocol::ICMPV6, 2, 0),
        (Complaint::NoRoute, false) => (protocol::ICMPV6, 1, 0),
        (Complaint::NoPort, false) => (protocol::ICMPV6, 1, 4),
        (Complaint::TimeExceeded, false) => (protocol::ICMPV6, 3, 0),
    };
    let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
    if let Complaint::TooBig(mtu) = about {
        message[6..8].copy_from_slice(&mtu.to_be_bytes());
    }
    message.extend_from_slice(&packet[..packet.len().min(QUOTE_LEN_MAX)]);
    ip_packet(from, ip.source, number, 64, &message)
}

/// The answer to an echo request; the payload comes back.
pub fn echo_reply(ip: &Ip, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut message = bytes.get(ip.transport_at..ip.end)?.to_vec();
    *message.first_mut()? = if ip.is_v4() { 0 } else { 129 };
    ip_packet(ip.target, ip.source, ip.protocol, 64, &message)
}

/// "Nobody listens there" (RFC 9293, 3.10.7.1).
pub fn reset(ip: &Ip, bytes: &[u8]) -> Option<Vec<u8>> {
    let tcp = bytes.get(ip.transport_at..ip.end)?;
    let Transport::Tcp {
        source,
        target,
        flags,
    } = ip.transport
    else {
        return None;
    };
    if flags & tcp_flag::RST != 0 {
        return None;
    }
    let word = |at: usize| Some(u32::from_be_bytes(*tcp.get(at..)?.first_chunk()?));
    let header_len = usize::from(tcp.get(12)? >> 4) * 4;
    let extra = u32::from(flags & tcp_flag::SYN != 0) + u32::from(flags & tcp_flag::FIN != 0);
    let length = u32::try_from(tcp.len().checked_sub(header_len)?).ok()? + extra;
    let (sequence, acknowledged, flags) = if flags & tcp_flag::ACK != 0 {
        (word(8)?, 0, tcp_flag::RST)
    } else {
        (
            0,
            word(4)?.wrapping_add(length),
            tcp_flag::RST | tcp_flag::ACK,
        )
    };
    let mut message = Vec::with_capacity(20);
    message.extend(target.to_be_bytes());
    message.extend(source.to_be_bytes());
    message.extend(sequence.to_be_bytes());
    message.extend(acknowledged.to_be_bytes());
    message.extend([5 << 4, flags, 0, 0, 0, 0, 0, 0]);
    ip_packet(ip.target, ip.source, protocol::TCP, 64, &message)
}

/// A router passed the packet on: one hop less, in a frame from the gateway.
pub fn route(frame: &mut [u8], ip: &Ip, target: Mac) {
    frame[..6].copy_from_slice(&target.0);
    frame[6..12].copy_from_slice(&GATEWAY_MAC.0);
    lower_hop_limit(&mut frame[HEADER_LEN..], ip.is_v4());
}

/// One hop less; the caller has checked that one is left.
pub fn lower_hop_limit(packet: &mut [u8], is_v4: bool) {
    if !is_v4 {
        packet[7] = packet[7].saturating_sub(1);
        return;
    }
    packet[8] = packet[8].saturating_sub(1);
    let header_len = usize::from(packet[0] & 0x0f) * 4;
    packet[10..12].copy_from_slice(&[0, 0]);
    let sum = checksum(&[&packet[..header_len]]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// Lowers the segment size that a SYN announces to what the network carries. Guests behind a
/// guest (containers) don't know the network's MTU. `is_partial`: the checksum is still to come.
pub fn clamp_segment_size(bytes: &mut [u8], ip: &Ip, mtu: u16, is_partial: bool) {
    let Transport::Tcp { flags, .. } = ip.transport else {
        return;
    };
    if flags & tcp_flag::SYN == 0 {
        return;
    }
    let headers_len = if ip.is_v4() { 40 } else { 60 };
    let largest = mtu.saturating_sub(headers_len);
    // A segment of a long packet ends sooner than the packet did.
    let end = ip.end.min(bytes.len());
    let tcp = &mut bytes[ip.transport_at..end];
    let options_end = (usize::from(tcp[12] >> 4) * 4).min(tcp.len());
    let mut at = 20;
    while at < options_end {
        match tcp[at..options_end] {
            [0, ..] => return,
            [1, ..] => at += 1,
            [2, 4, high, low, ..] => {
                let said = u16::from_be_bytes([high, low]);
                if said > largest {
                    tcp[at + 2..at + 4].copy_from_slice(&largest.to_be_bytes());
                    if !is_partial {
                        patch_sum(tcp, 16, at + 2, said, largest);
                    }
                }
                return;
            }
            [_, length, ..] if length >= 2 => at += usize::from(length),
            _ => return,
        }
    }
}

/// Brings a checksum in line after one word changed (RFC 1624). A word may lie at an odd place,
/// where its bytes count the other way round.
fn patch_sum(bytes: &mut [u8], sum_at: usize, word_at: usize, before: u16, after: u16) {
    let swap = |word: u16| {
        if word_at % 2 == 1 {
            word.swap_bytes()
        } else {
            word
        }
    };
    let sum = u16::from_be_bytes([bytes[sum_at], bytes[sum_at + 1]]);
    let mut total = u32::from(!sum) + u32::from(!swap(before)) + u32::from(swap(after));
    total = (total & 0xffff) + (total >> 16);
    total = (total & 0xffff) + (total >> 16);
    let sum = !u16::try_from(total).unwrap_or(0);
    bytes[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A SYN whose segment size stands after `padding` single-byte options.
    fn syn(size: u16, padding: usize) -> Vec<u8> {
        let mut tcp = vec![
            0,
            9,
            0,
            80,
            0,
            0,
            0,
            1,
            0,
            0,
            0,
            0,
            7 << 4,
            2,
            16,
            0,
            0,
            0,
            0,
            0,
        ];
        tcp.extend(vec![1; padding]);
        tcp.extend([2, 4]);
        tcp.extend(size.to_be_bytes());
        tcp.resize(28, 0);
        let from = IpAddr::from([10, 0, 0, 1]);
        ip_packet(from, IpAddr::from([10, 0, 0, 2]), protocol::TCP, 64, &tcp).unwrap()
    }

    #[test]
    fn a_large_segment_size_is_lowered_and_the_checksum_stays_right() {
        for (said, expected) in [(1460, 1340), (1340, 1340), (536, 536), (65535, 1340)] {
            for padding in [0, 1, 3] {
                let mut packet = syn(said, padding);
                let ip = Ip::parse(&packet).unwrap();
                clamp_segment_size(&mut packet, &ip, 1380, false);
                assert!(ip.has_good_checksum(&packet), "{said} after {padding}");
                assert_eq!(packet, syn(expected, padding));
            }
        }
    }

    #[test]
    fn options_that_make_no_sense_end_the_search() {
        for options in [[2, 4, 0], [9, 0, 2], [9, 200, 0], [2, 3, 9]] {
            let mut packet = syn(1460, 0);
            packet[40..43].copy_from_slice(&options);
            packet[43..].fill(0);
            let before = packet.clone();
            let ip = Ip::parse(&packet).unwrap();
            clamp_segment_size(&mut packet, &ip, 576, false);
            assert!(packet.len() == before.len());
        }
    }
}
