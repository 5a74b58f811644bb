//! What a sender left to its network card: checksums, and cutting a long packet into segments.
//!
//! Does:      reads and writes the virtio-net header (virtio 1.2, 5.1.6); judges it against the
//!            frame behind it; completes checksums and cuts TCP and UDP as the card would have.
//! Does not:  join segments to long packets.
//! Bounds:    `SEGMENTS_MAX` segments of one frame; a frame that wants more is refused.
//! Trusts:    nothing that the header says: every offset is held against the parsed packet, and
//!            the length of headers that it claims is not used at all.
//! Start at:  `Offload::parse`, then `Checked::new`.

use crate::packet::{BadPacket, Body, Fragment, Ip, Packet, Transport, protocol};

mod cut;
pub use cut::Segments;

/// The header before each frame, with the number of buffers as its last field.
pub const NET_HEADER_LEN: usize = 12;

/// A full frame in segments of 48 bytes, the smallest that Linux makes of TCP.
pub const SEGMENTS_MAX: usize = 1366;

const NEEDS_CHECKSUM: u8 = 1;
const CHECKSUM_IS_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCP4: u8 = 1;
const GSO_TCP6: u8 = 4;
const GSO_UDP: u8 = 5;
/// The sender marks congestion; we keep the bits as they are in the headers.
const GSO_ECN: u8 = 0x80;

/// Which checksum is still to be completed: summed from `start`, put at `start + offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Partial {
    pub start: u16,
    pub offset: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cut {
    Tcp4,
    Tcp6,
    Udp,
}

/// What one header asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Offload {
    pub partial: Option<Partial>,
    /// How to cut, and the bytes of payload in each segment.
    pub cut: Option<(Cut, u16)>,
}

/// What the receiver of a frame can do itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Abilities {
    pub checksum: bool,
    pub tcp4: bool,
    pub tcp6: bool,
    pub udp: bool,
}

/// Why an offload header is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum BadOffload {
    #[error("offload header: segments of kind {0} don't exist")]
    Kind(u8),
    #[error("offload header: segments of no bytes")]
    NoSize,
    #[error("offload header: segments need a checksum to complete, and none is named")]
    NoChecksum,
    #[error("offload header: the checksum lies where none can be")]
    Place,
    #[error("offload header: the packet is not of the kind that is to be cut")]
    NotThatKind,
    #[error("offload header: more than {SEGMENTS_MAX} segments")]
    TooMany,
    #[error("{0}")]
    Packet(BadPacket),
}

impl Offload {
    pub fn parse(header: &[u8; NET_HEADER_LEN]) -> Result<Offload, BadOffload> {
        let le16 = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let partial = (header[0] & NEEDS_CHECKSUM != 0).then(|| Partial {
            start: le16(6),
            offset: le16(8),
        });
        let kind = match header[1] & !GSO_ECN {
            GSO_NONE => return Ok(Offload { partial, cut: None }),
            GSO_TCP4 => Cut::Tcp4,
            GSO_TCP6 => Cut::Tcp6,
            GSO_UDP => Cut::Udp,
            other => return Err(BadOffload::Kind(other)),
        };
        let size = le16(4);
        if size == 0 {
            return Err(BadOffload::NoSize);
        }
        if partial.is_none() {
            return Err(BadOffload::NoChecksum);
        }
        Ok(Offload {
            partial,
            cut: Some((kind, size)),
        })
    }

    /// The header for a receiver; `headers_len` is where the payload of a long packet begins.
    pub fn emit(&self, headers_len: u16, buffers: u16) -> [u8; NET_HEADER_LEN] {
        let mut header = [0; NET_HEADER_LEN];
        if let Some(partial) = self.partial {
            header[0] = NEEDS_CHECKSUM;
            header[6..8].copy_from_slice(&partial.start.to_le_bytes());
            header[8..10].copy_from_slice(&partial.offset.to_le_bytes());
        }
        if let Some((kind, size)) = self.cut {
            header[1] = match kind {
                Cut::Tcp4 => GSO_TCP4,
                Cut::Tcp6 => GSO_TCP6,
                Cut::Udp => GSO_UDP,
            };
            header[2..4].copy_from_slice(&headers_len.to_le_bytes());
            header[4..6].copy_from_slice(&size.to_le_bytes());
        }
        header[10..].copy_from_slice(&buffers.to_le_bytes());
        header
    }

    /// Says of a frame with complete checksums that they were verified.
    pub fn emit_verified(buffers: u16) -> [u8; NET_HEADER_LEN] {
        let mut header = Offload::default().emit(0, buffers);
        header[0] = CHECKSUM_IS_VALID;
        header
    }
}

impl Abilities {
    pub const ALL: Abilities = Abilities {
        checksum: true,
        tcp4: true,
        tcp6: true,
        udp: true,
    };

    /// Whether a frame may go there as it is.
    pub fn can(self, offload: Offload) -> bool {
        let cuts = match offload.cut {
            None => true,
            Some((Cut::Tcp4, _)) => self.tcp4,
            Some((Cut::Tcp6, _)) => self.tcp6,
            Some((Cut::Udp, _)) => self.udp,
        };
        cuts && (self.checksum || offload.partial.is_none())
    }
}

/// A frame and an offload header that fit each other. To hold one is the proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked<'a> {
    packet: Packet<'a>,
    offload: Offload,
    /// Where the payload of a packet that is to be cut begins.
    payload_at: usize,
}

impl<'a> Checked<'a> {
    pub fn new(frame: &'a [u8], offload: Offload) -> Result<Checked<'a>, BadOffload> {
        let packet = Packet::parse(frame).map_err(BadOffload::Packet)?;
        let mut checked = Checked {
            packet,
            offload,
            payload_at: 0,
        };
        let Body::Ip(ip) = packet.body else {
            let asks = offload.partial.is_some() || offload.cut.is_some();
            return if asks {
                Err(BadOffload::NotThatKind)
            } else {
                Ok(checked)
            };
        };
        if let Some(partial) = offload.partial {
            judge_partial(&ip, partial)?;
        }
        if let Some((kind, size)) = offload.cut {
            checked.payload_at = judge_cut(&ip, frame, kind, offload.partial)?;
            let payload_len = ip.end - checked.payload_at;
            if payload_len.div_ceil(usize::from(size)) > SEGMENTS_MAX {
                return Err(BadOffload::TooMany);
            }
            if payload_len <= usize::from(size) {
                checked.offload.cut = None; // one segment is a whole packet
            }
        }
        Ok(checked)
    }

    pub fn packet(&self) -> &Packet<'a> {
        &self.packet
    }

    pub fn offload(&self) -> Offload {
        self.offload
    }

    /// The offload header to hand this frame on with.
    pub fn header(&self, buffers: u16) -> [u8; NET_HEADER_LEN] {
        let headers_len = u16::try_from(self.payload_at).unwrap_or(0);
        self.offload.emit(headers_len, buffers)
    }

    /// Length of the longest IP packet that will be on a wire.
    pub fn wire_len(&self) -> usize {
        let len = self.packet.bytes().len();
        match self.offload.cut {
            Some((_, size)) => len.min(self.payload_at + usize::from(size)),
            None => len,
        }
        .saturating_sub(crate::ethernet::HEADER_LEN)
    }

    /// Frames that need nothing more from anybody.
    pub fn segments(&self) -> Segments<'a> {
        Segments::new(*self)
    }
}

/// A checksum lies where the transport protocol has it, or inside the payload of a tunnel. It can
/// never overwrite what was looked at: addresses, ports, flags.
fn judge_partial(ip: &Ip, partial: Partial) -> Result<(), BadOffload> {
    let start = usize::from(partial.start);
    let offset = usize::from(partial.offset);
    if matches!(ip.fragment, Fragment::Later(_)) || start + offset + 2 > ip.end {
        return Err(BadOffload::Place);
    }
    let (own_offset, header_len) = match ip.transport {
        Transport::Tcp { .. } => (16, 20),
        Transport::Udp { .. } => (6, 8),
        Transport::Icmp { .. } => (2, 8),
        Transport::Other => (usize::MAX, 8),
    };
    let is_own = start == ip.transport_at && offset == own_offset;
    if is_own || start >= ip.transport_at + header_len {
        Ok(())
    } else {
        Err(BadOffload::Place)
    }
}

/// Where the payload begins of a packet that may be cut.
fn judge_cut(
    ip: &Ip,
    frame: &[u8],
    kind: Cut,
    partial: Option<Partial>,
) -> Result<usize, BadOffload> {
    let fits = match kind {
        Cut::Tcp4 => ip.is_v4() && ip.protocol == protocol::TCP,
        Cut::Tcp6 => !ip.is_v4() && ip.protocol == protocol::TCP,
        Cut::Udp => ip.protocol == protocol::UDP,
    };
    if !fits || ip.fragment != Fragment::Whole {
        return Err(BadOffload::NotThatKind);
    }
    if partial.is_none_or(|partial| usize::from(partial.start) != ip.transport_at) {
        return Err(BadOffload::Place);
    }
    Ok(match kind {
        Cut::Udp => ip.transport_at + 8,
        Cut::Tcp4 | Cut::Tcp6 => {
            ip.transport_at + usize::from(frame[ip.transport_at + 12] >> 4) * 4
        }
    })
}

/// Fuzz target: what is accepted is cut into whole packets with good checksums, and all of the
/// payload is in them.
pub fn fuzz_cut(data: &[u8]) {
    let Some((header, frame)) = data.split_first_chunk::<NET_HEADER_LEN>() else {
        return;
    };
    let Ok(offload) = Offload::parse(header) else {
        return;
    };
    let Ok(checked) = Checked::new(frame, offload) else {
        return;
    };
    let again = Offload::parse(&checked.header(1)).expect("what we write we can read");
    assert_eq!(again, checked.offload, "a header survives");
    let before = Packet::parse(frame).expect("it was checked");
    let mut payload_len = 0;
    let mut count = 0;
    for segment in checked.segments() {
        count += 1;
        let after = Packet::parse(&segment).expect("a segment is a packet");
        assert_eq!(after.source_mac, before.source_mac);
        let (Some(before), Some(after)) = (before.ip(), after.ip()) else {
            continue;
        };
        assert_eq!((after.source, after.target), (before.source, before.target));
        assert!(segment.len() - crate::ethernet::HEADER_LEN <= checked.wire_len());
        // An unfinished sum starts from what the guest wrote; a segment's is made anew.
        assert!(checked.offload.cut.is_none() || after.has_good_checksum(&segment));
        payload_len += after.end - checked.payload_at.max(after.transport_at);
    }
    assert!((1..=SEGMENTS_MAX).contains(&count));
    if let (Some(ip), true) = (before.ip(), checked.offload.cut.is_some()) {
        assert_eq!(payload_len, ip.end - checked.payload_at, "nothing is lost");
    }
}
