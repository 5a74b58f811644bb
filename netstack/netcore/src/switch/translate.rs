//! Changes the ends of an IP packet and keeps its checksums right.
//!
//! Does:      writes another address and port over the source or the target, in the packet itself
//!            and in what an ICMP error quotes.
//! Does not:  know why.
//! Bounds:    one packet.
//! Trusts:    packets as far as `packet` checked them.
//! Start at:  `translate`.

use std::net::IpAddr;

use super::flows::End;
use crate::ethernet::checksum;
use crate::packet::{Fragment, Ip, Pseudo, Transport, protocol};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Source,
    Target,
}

impl Side {
    fn other(self) -> Side {
        match self {
            Side::Source => Side::Target,
            Side::Target => Side::Source,
        }
    }
}

/// Replaces one end. `packet` has no Ethernet header, and `ip` was read from it. An error's quote
/// is a packet of the other direction: there the other end is replaced. False: it can't be done
/// (a later fragment has no ports), and nothing was changed.
pub fn translate(packet: &mut [u8], ip: &Ip, side: Side, end: End) -> bool {
    if matches!(ip.fragment, Fragment::Later(_)) || ip.is_v4() != end.0.is_ipv4() {
        return false;
    }
    if !ip.is_icmp_error() {
        replace(packet, 0, ip, side, end);
        return true;
    }
    let Some(quoted) = ip.quoted(packet) else {
        return false;
    };
    if quoted.is_v4() != ip.is_v4() {
        return false;
    }
    replace(packet, ip.transport_at + 8, &quoted, side.other(), end);
    replace_address(packet, 0, ip, side, end.0, None);
    let sum_at = ip.transport_at + 2;
    packet[sum_at..sum_at + 2].copy_from_slice(&[0, 0]);
    let source = if side == Side::Source {
        end.0
    } else {
        ip.source
    };
    let target = if side == Side::Target {
        end.0
    } else {
        ip.target
    };
    let body = &packet[ip.transport_at..ip.end];
    let pseudo = Pseudo::new(source, target, ip.protocol, body.len());
    let pseudo: &[u8] = if ip.is_v4() { &[] } else { pseudo.bytes() };
    let sum = checksum(&[pseudo, body]);
    packet[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
    true
}

/// `header_at` is where the IP header of `ip` begins.
fn replace(packet: &mut [u8], header_at: usize, ip: &Ip, side: Side, end: End) {
    let sum = transport_sum(packet, ip);
    let covers_addresses = ip.protocol != protocol::ICMP;
    let covering = sum.filter(|_| covers_addresses);
    replace_address(packet, header_at, ip, side, end.0, covering);
    let number_at = match (ip.transport, side) {
        (Transport::Tcp { .. } | Transport::Udp { .. }, Side::Source) => Some(0),
        (Transport::Tcp { .. } | Transport::Udp { .. }, Side::Target) => Some(2),
        (Transport::Icmp { kind: 0 | 8, .. }, _) if ip.is_v4() => Some(4),
        (
            Transport::Icmp {
                kind: 128 | 129, ..
            },
            _,
        ) if !ip.is_v4() => Some(4),
        _ => None,
    };
    if let Some(at) = number_at {
        put(packet, ip.transport_at + at, &end.1.to_be_bytes(), sum);
    }
}

fn replace_address(
    packet: &mut [u8],
    header_at: usize,
    ip: &Ip,
    side: Side,
    address: IpAddr,
    sum: Option<Sum>,
) {
    let at = header_at
        + match (ip.is_v4(), side) {
            (true, Side::Source) => 12,
            (true, Side::Target) => 16,
            (false, Side::Source) => 8,
            (false, Side::Target) => 24,
        };
    match address {
        IpAddr::V4(address) => {
            put(packet, at, &address.octets(), sum);
            let header_len = usize::from(packet[header_at] & 0x0f) * 4;
            let header = header_at..header_at + header_len;
            packet[header_at + 10..header_at + 12].copy_from_slice(&[0, 0]);
            let sum = checksum(&[&packet[header]]);
            packet[header_at + 10..header_at + 12].copy_from_slice(&sum.to_be_bytes());
        }
        IpAddr::V6(address) => put(packet, at, &address.octets(), sum),
    }
}

#[derive(Clone, Copy)]
struct Sum {
    at: usize,
    is_udp: bool,
}

/// Where the transport checksum stands, if there is one and it is inside.
fn transport_sum(packet: &[u8], ip: &Ip) -> Option<Sum> {
    let at = ip.transport_at
        + match ip.transport {
            Transport::Tcp { .. } => 16,
            Transport::Udp { .. } => 6,
            Transport::Icmp { .. } => 2,
            Transport::Other => return None,
        };
    let sum = packet.get(..ip.end)?.get(at..at + 2)?;
    let is_udp = matches!(ip.transport, Transport::Udp { .. });
    let has_none = is_udp && sum == [0, 0];
    (!has_none).then_some(Sum { at, is_udp })
}

/// Overwrites words, which lie at even places, and brings the checksum in line (RFC 1624).
fn put(packet: &mut [u8], at: usize, words: &[u8], sum: Option<Sum>) {
    if let Some(sum) = sum {
        let sum_at = sum.at;
        let mut total = u64::from(!u16::from_be_bytes([packet[sum_at], packet[sum_at + 1]]));
        let before = &packet[at..at + words.len()];
        for (old, new) in before.chunks_exact(2).zip(words.chunks_exact(2)) {
            total += u64::from(!u16::from_be_bytes([old[0], old[1]]));
            total += u64::from(u16::from_be_bytes([new[0], new[1]]));
        }
        while total > 0xffff {
            total = (total & 0xffff) + (total >> 16);
        }
        let value = match !u16::try_from(total).unwrap_or(0) {
            0 if sum.is_udp => 0xffff, // zero would say that there is none
            value => value,
        };
        packet[sum_at..sum_at + 2].copy_from_slice(&value.to_be_bytes());
    }
    packet[at..at + words.len()].copy_from_slice(words);
}
