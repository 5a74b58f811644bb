//! What stations said to each other, read back from a capture.
//!
//! Does:      finds the two ends and the payload of IPv4's UDP and TCP packets, and joins what one
//!            end said to another; looks for texts in it.
//! Does not:  put TCP's segments in order, or drop those that came twice: who looks for a text
//!            looks at each.
//! Bounds:    those of the capture.
//! Trusts:    nobody: what is no whole header is no packet.
//! Start at:  `Packet::parse`, `Talk::of`.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

use netcore::ethernet::HEADER_LEN;

const IPV4: [u8; 2] = [8, 0];
const UDP: u8 = 17;
const TCP: u8 = 6;
const UDP_HEADER: usize = 8;

/// A UDP or TCP packet in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Whether it is a part of a stream.
    pub is_stream: bool,
    /// Who sent it.
    pub source: SocketAddrV4,
    /// Who shall get it.
    pub target: SocketAddrV4,
    /// What it carries.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// The packet in a frame; `None` for any other frame, fragments included.
    #[must_use]
    pub fn parse(frame: &'a [u8]) -> Option<Self> {
        let (header, packet) = frame.split_at_checked(HEADER_LEN)?;
        let first = *packet.first()?;
        if header[12..] != IPV4 || first >> 4 != 4 {
            return None;
        }
        let fragment = u16::from_be_bytes(word(packet, 6)?) & 0x3fff;
        let total = usize::from(u16::from_be_bytes(word(packet, 2)?));
        // Short frames are padded: what is beyond the packet's own length says nothing.
        let packet = packet.get(..total).unwrap_or(packet);
        let body = packet.get(usize::from(first & 15) * 4..)?;
        let payload_at = match (packet.get(9)?, fragment) {
            (&UDP, 0) => UDP_HEADER,
            (&TCP, 0) => usize::from(body.get(12)? >> 4) * 4,
            _ => return None,
        };
        let address = |at| Some(Ipv4Addr::from(word::<4>(packet, at)?));
        let port = |at| Some(u16::from_be_bytes(word(body, at)?));
        Some(Self {
            is_stream: packet[9] == TCP,
            source: SocketAddrV4::new(address(12)?, port(0)?),
            target: SocketAddrV4::new(address(16)?, port(2)?),
            payload: body.get(payload_at..)?,
        })
    }

    /// Whether one of its ends is this port.
    #[must_use]
    pub fn is_of(&self, port: u16) -> bool {
        self.source.port() == port || self.target.port() == port
    }
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// Who spoke, to whom, and whether by stream.
type Way = (SocketAddrV4, SocketAddrV4, bool);

/// All that was said on a wire by UDP and TCP, by who said it to whom.
#[derive(Debug, Default)]
pub struct Talk {
    said: BTreeMap<Way, Vec<u8>>,
    packets: BTreeMap<Way, usize>,
}

impl Talk {
    /// What a capture holds of the packets that are wanted.
    pub fn of(path: &Path, is_wanted: impl Fn(&Packet<'_>) -> bool) -> io::Result<Self> {
        let mut talk = Self::default();
        for frame in super::pcap::frames(path)? {
            if let Some(packet) = Packet::parse(&frame).filter(&is_wanted) {
                let way = (packet.source, packet.target, packet.is_stream);
                talk.said.entry(way).or_default().extend(packet.payload);
                *talk.packets.entry(way).or_default() += 1;
            }
        }
        Ok(talk)
    }

    /// Packets of datagrams or of streams.
    #[must_use]
    pub fn packets(&self, of_streams: bool) -> usize {
        let ways = self.packets.iter();
        let ways = ways.filter(|((_, _, is_stream), _)| *is_stream == of_streams);
        ways.map(|(_, count)| count).sum()
    }

    /// Whether any of it has a text in it, whatever its letters' case, or these bytes.
    #[must_use]
    pub fn has(&self, wanted: &[u8]) -> bool {
        let same = |window: &[u8]| window.eq_ignore_ascii_case(wanted);
        self.said
            .values()
            .any(|bytes| bytes.windows(wanted.len().max(1)).any(same))
    }

    /// The longest run of printable letters, and how long it is.
    #[must_use]
    pub fn longest_text(&self) -> String {
        let printable = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
        let runs = self
            .said
            .values()
            .flat_map(|bytes| bytes.split(|byte| !printable(byte)));
        let longest = runs.max_by_key(|run| run.len()).unwrap_or_default();
        String::from_utf8_lossy(longest).into_owned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Packet, Talk};
    use crate::wire::pcap::Capture;
    use netcore::ethernet::{Datagram, Mac};
    use std::net::Ipv4Addr;
    use std::time::UNIX_EPOCH;

    fn datagram(port: u16, payload: &[u8]) -> Vec<u8> {
        let datagram = Datagram {
            source_mac: Mac([2; 6]),
            target_mac: Mac([4; 6]),
            source: Ipv4Addr::new(10, 0, 0, 1),
            target: Ipv4Addr::new(10, 0, 0, 2),
            source_port: port,
            target_port: port,
            payload,
        };
        datagram.emit().unwrap()
    }

    #[test]
    fn a_datagram_has_its_ends_and_no_padding() {
        let mut frame = datagram(12_213, b"hi");
        frame.resize(60, b'x');
        let packet = Packet::parse(&frame).unwrap();
        assert_eq!(packet.payload, b"hi");
        assert_eq!(packet.source.to_string(), "10.0.0.1:12213");
        assert!(packet.is_of(12_213) && !packet.is_stream);
        for cut in 0..42 {
            assert_eq!(Packet::parse(&frame[..cut]), None, "{cut} bytes");
        }
    }

    #[test]
    fn a_text_is_found_in_what_was_asked_for_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.pcap");
        let mut capture = Capture::create(&path).unwrap();
        let long = [&[0; 1000][..], b"Belle", b"ville", &[0; 9]].concat();
        for frame in [datagram(12_213, &long), datagram(80, b"auteuil")] {
            capture.record(UNIX_EPOCH, &frame).unwrap();
        }
        capture.flush().unwrap();
        let talk = Talk::of(&path, |packet| packet.is_of(12_213)).unwrap();
        assert!(talk.has(b"belleville"), "the end of a long packet is kept");
        assert!(!talk.has(b"auteuil"));
        assert_eq!(talk.longest_text(), "Belleville");
        assert_eq!((talk.packets(false), talk.packets(true)), (1, 0));
    }
}
