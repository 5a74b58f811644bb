//! Ethernet, and the IPv4 and UDP below DHCP.
//!
//! Does:      reads and writes whole frames for talkers that have no IP address yet.
//! Does not:  fragment, route, or speak TCP; the host stack does.
//! Bounds:    a frame holds at most `UDP_PAYLOAD_LEN_MAX` bytes of payload.
//! Trusts:    nothing in a frame: lengths and checksums are checked before a field is believed.
//! Start at:  `Datagram::parse`, `Datagram::emit`.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// A hardware address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    pub const BROADCAST: Mac = Mac([0xff; 6]);

    /// One station's own address: not a group, not zero.
    pub fn is_unicast(self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not six bytes in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Not a hardware address; write six bytes like 52:54:00:12:34:56")]
pub struct BadMac;

impl FromStr for Mac {
    type Err = BadMac;

    /// Takes `:` or `-` between the bytes, as Linux and PXE's BOOTIF write them.
    fn from_str(text: &str) -> Result<Mac, BadMac> {
        let mut bytes = [0u8; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().ok_or(BadMac)?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(BadMac);
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| BadMac)?;
        }
        if parts.next().is_some() {
            Err(BadMac)
        } else {
            Ok(Mac(bytes))
        }
    }
}

/// Length of an Ethernet header without a VLAN tag.
pub const HEADER_LEN: usize = 14;
const IPV4_HEADER_LEN: usize = 20;
const UDP_HEADER_LEN: usize = 8;
const HEADERS_LEN: usize = HEADER_LEN + IPV4_HEADER_LEN + UDP_HEADER_LEN;

/// What fits into one frame of MTU 1500.
pub const UDP_PAYLOAD_LEN_MAX: usize = 1500 - IPV4_HEADER_LEN - UDP_HEADER_LEN;

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
const PROTOCOL_UDP: u8 = 17;
/// Hardware and protocol type and their lengths, as ARP has them for IPv4 on Ethernet.
const ARP_ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
const ARP_LEN: usize = 28;

/// A UDP datagram with everything below it: who sent it to whom, in both layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    pub source_mac: Mac,
    pub target_mac: Mac,
    pub source: Ipv4Addr,
    pub target: Ipv4Addr,
    pub source_port: u16,
    pub target_port: u16,
    pub payload: &'a [u8],
}

/// The payload is longer than one frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("A payload of {length} bytes does not fit one frame of {UDP_PAYLOAD_LEN_MAX}")]
pub struct TooLong {
    pub length: usize,
}

impl<'a> Datagram<'a> {
    /// `None`: not a whole, unfragmented IPv4 UDP datagram with correct checksums.
    pub fn parse(frame: &'a [u8]) -> Option<Datagram<'a>> {
        let (ethernet, rest) = frame.split_first_chunk::<HEADER_LEN>()?;
        if ethernet[12..] != ETHERTYPE_IPV4 {
            return None;
        }
        let version_and_words = *rest.first()?;
        let header_len = usize::from(version_and_words & 0x0f) * 4;
        if version_and_words >> 4 != 4 || header_len < IPV4_HEADER_LEN {
            return None;
        }
        let total_len = usize::from(be16(rest, 2)?);
        let packet = rest.get(..total_len)?;
        let header = packet.get(..header_len)?;
        let fragmented = be16(header, 6)? & 0x3fff != 0;
        if fragmented || header[9] != PROTOCOL_UDP || checksum(&[header]) != 0 {
            return None;
        }
        let source = address(header, 12)?;
        let target = address(header, 16)?;
        let udp = packet.get(header_len..)?;
        let udp_len = usize::from(be16(udp, 4)?);
        let udp = udp.get(..udp_len)?;
        let payload = udp.get(UDP_HEADER_LEN..)?;
        if be16(udp, 6)? != 0 && checksum(&[&pseudo_header(source, target, udp_len), udp]) != 0 {
            return None;
        }
        Some(Datagram {
            source_mac: Mac(*ethernet[6..].first_chunk()?),
            target_mac: Mac(*ethernet.first_chunk()?),
            source,
            target,
            source_port: be16(udp, 0)?,
            target_port: be16(udp, 2)?,
            payload,
        })
    }

    /// The frame, with both checksums filled in.
    pub fn emit(&self) -> Result<Vec<u8>, TooLong> {
        let too_long = TooLong {
            length: self.payload.len(),
        };
        if self.payload.len() > UDP_PAYLOAD_LEN_MAX {
            return Err(too_long);
        }
        let udp_len = UDP_HEADER_LEN + self.payload.len();
        let total_len = u16::try_from(IPV4_HEADER_LEN + udp_len).map_err(|_| too_long)?;
        let udp_len16 = u16::try_from(udp_len).map_err(|_| too_long)?;
        let mut frame = Vec::with_capacity(HEADERS_LEN + self.payload.len());
        frame.extend_from_slice(&self.target_mac.0);
        frame.extend_from_slice(&self.source_mac.0);
        frame.extend_from_slice(&ETHERTYPE_IPV4);
        frame.extend_from_slice(&[0x45, 0]);
        frame.extend_from_slice(&total_len.to_be_bytes());
        frame.extend_from_slice(&[0, 0, 0, 0, 64, PROTOCOL_UDP, 0, 0]);
        frame.extend_from_slice(&self.source.octets());
        frame.extend_from_slice(&self.target.octets());
        let ip_checksum = checksum(&[&frame[HEADER_LEN..]]);
        frame[HEADER_LEN + 10..HEADER_LEN + 12].copy_from_slice(&ip_checksum.to_be_bytes());
        frame.extend_from_slice(&self.source_port.to_be_bytes());
        frame.extend_from_slice(&self.target_port.to_be_bytes());
        frame.extend_from_slice(&udp_len16.to_be_bytes());
        frame.extend_from_slice(&[0, 0]);
        frame.extend_from_slice(self.payload);
        let udp = HEADER_LEN + IPV4_HEADER_LEN;
        let pseudo = pseudo_header(self.source, self.target, udp_len);
        // Zero on the wire means "no checksum", so a computed zero is sent as its other form.
        let sum = match checksum(&[&pseudo, &frame[udp..]]) {
            0 => 0xffff,
            sum => sum,
        };
        frame[udp + 6..udp + 8].copy_from_slice(&sum.to_be_bytes());
        Ok(frame)
    }
}

/// An ARP announcement (RFC 5227): tells switches and neighbours where the address is now.
pub fn arp_announcement(mac: Mac, address: Ipv4Addr) -> Vec<u8> {
    arp_request(mac, address, address)
}

/// "Who has `wanted`?", asked by `address` at `mac` (RFC 826).
pub fn arp_request(mac: Mac, address: Ipv4Addr, wanted: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER_LEN + ARP_LEN);
    frame.extend_from_slice(&Mac::BROADCAST.0);
    frame.extend_from_slice(&mac.0);
    frame.extend_from_slice(&ETHERTYPE_ARP);
    frame.extend_from_slice(&ARP_ETHERNET_IPV4);
    frame.extend_from_slice(&[0, 1]); // request
    frame.extend_from_slice(&mac.0);
    frame.extend_from_slice(&address.octets());
    frame.extend_from_slice(&[0; 6]);
    frame.extend_from_slice(&wanted.octets());
    frame
}

/// Who says in an ARP frame, request or reply, that he has which address.
pub fn arp_sender(frame: &[u8]) -> Option<(Ipv4Addr, Mac)> {
    let (ethernet, arp) = frame.split_first_chunk::<HEADER_LEN>()?;
    if ethernet[12..] != ETHERTYPE_ARP || arp.len() < ARP_LEN || arp[..6] != ARP_ETHERNET_IPV4 {
        return None;
    }
    let mac = Mac(*arp.get(8..)?.first_chunk()?);
    let at = address(arp, 14)?;
    (mac.is_unicast() && !at.is_unspecified()).then_some((at, mac))
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn address(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(*bytes.get(at..)?.first_chunk::<4>()?))
}

fn pseudo_header(source: Ipv4Addr, target: Ipv4Addr, udp_len: usize) -> [u8; 12] {
    let [a, b, c, d] = source.octets();
    let [e, f, g, h] = target.octets();
    let [.., high, low] = udp_len.to_be_bytes();
    [a, b, c, d, e, f, g, h, 0, PROTOCOL_UDP, high, low]
}

/// The Internet checksum (RFC 1071) over the parts in a row. All parts but the last have even
/// length. Over data that carries its own correct checksum the result is zero.
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u64 = 0;
    for part in parts {
        let (pairs, last) = part.as_chunks::<2>();
        sum += pairs
            .iter()
            .map(|pair| u64::from(u16::from_be_bytes(*pair)))
            .sum::<u64>();
        if let [byte] = last {
            sum += u64::from(*byte) << 8;
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

/// Fuzz target: what parses can be written and parses back to the same.
pub fn fuzz_datagram(data: &[u8]) {
    let Some(datagram) = Datagram::parse(data) else {
        return;
    };
    let Ok(frame) = datagram.emit() else {
        assert!(
            datagram.payload.len() > UDP_PAYLOAD_LEN_MAX,
            "only length may refuse"
        );
        return;
    };
    assert_eq!(
        Datagram::parse(&frame),
        Some(datagram),
        "emit is the inverse of parse"
    );
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_hardware_address_reads_and_prints_the_same() {
        let mac: Mac = "52:54:00:12:34:56".parse().unwrap();
        assert_eq!(mac.to_string(), "52:54:00:12:34:56");
        assert_eq!("52-54-00-12-34-56".parse(), Ok(mac));
        for bad in [
            "",
            "52:54:00:12:34",
            "52:54:00:12:34:56:78",
            "5:254:00:12:34:56",
            "+1:00:00:00:00:00",
        ] {
            assert_eq!(bad.parse::<Mac>(), Err(BadMac), "{bad}");
        }
    }

    #[test]
    fn a_datagram_survives_the_wire_and_a_flipped_bit_does_not() {
        let datagram = Datagram {
            source_mac: Mac([2, 0, 0, 0, 0, 1]),
            target_mac: Mac::BROADCAST,
            source: Ipv4Addr::UNSPECIFIED,
            target: Ipv4Addr::BROADCAST,
            source_port: 68,
            target_port: 67,
            payload: b"odd",
        };
        let frame = datagram.emit().unwrap();
        assert_eq!(Datagram::parse(&frame), Some(datagram));
        for at in HEADER_LEN..frame.len() {
            let mut bent = frame.clone();
            bent[at] ^= 0x10;
            assert_eq!(Datagram::parse(&bent), None, "bit flipped in byte {at}");
        }
        fuzz_datagram(&frame);
    }

    #[test]
    fn a_payload_longer_than_a_frame_is_refused() {
        let payload = vec![0; UDP_PAYLOAD_LEN_MAX + 1];
        let datagram = Datagram {
            source_mac: Mac::default(),
            target_mac: Mac::BROADCAST,
            source: Ipv4Addr::UNSPECIFIED,
            target: Ipv4Addr::BROADCAST,
            source_port: 1,
            target_port: 2,
            payload: &payload,
        };
        assert_eq!(
            datagram.emit(),
            Err(TooLong {
                length: UDP_PAYLOAD_LEN_MAX + 1
            })
        );
    }
}
