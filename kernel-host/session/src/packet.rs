//! What is on the wire: the datagrams of sessions.
//!
//! Does:      splits a datagram into checked fields, and puts them together. Integers are
//!            little-endian; `noise` is a handshake message, `sealed` a sealed text.
//! Does not:  decide anything: a packet that parses may still be forged.
//! Bounds:    `BYTES_MAX`; an opening without a cookie is answered when it is as long as the
//!            longest answer, so that nobody can make us send more to a forged address than he
//!            sends to us.
//! Trusts:    nobody.
//! Start at:  `Packet`.
//!
//! ```text
//! open     a1 version 0 0  sender:4  cookie:16  noise:32  padding
//! answer   a2 version 0 0  receiver:4  noise (its payload begins with the sender's number)
//! prove    a3 version 0 0  receiver:4  noise
//! data     a4  receiver:4  number:4  sealed
//! cookie   a5 version 0 0  receiver:4  cookie:16
//! unknown  a6 version 0 0  receiver:4
//! hello    a7 .. of `hello`, which needs no session
//! ```
//! First bytes 1 to 4 belong to the fabric's tunnels, which share the port (WireGuard's kinds).
//! Of a text's number only the lower half is sent: the window tells the rest.

use crate::crypto::TAG_BYTES;
use crate::handshake::{FIRST_BYTES, MESSAGE_BYTES_MAX, SECOND_BYTES, THIRD_BYTES};
use protocol::peer::DATAGRAM_BYTES_MAX;

/// Of the handshake. Another one is not understood, and counted.
pub const VERSION: u8 = 1;
/// The longest datagram: with IPv6 and UDP below 1,280, which every path carries.
pub const BYTES_MAX: usize = 1232;
/// An opening of this length needs no cookie.
pub const OPEN_BYTES: usize = ANSWER_HEADER_BYTES + MESSAGE_BYTES_MAX;
pub(crate) const OPEN_HEADER_BYTES: usize = 24;
/// Bytes of an opening without padding.
pub(crate) const SHORT_OPEN_BYTES: usize = OPEN_HEADER_BYTES + FIRST_BYTES;
const ANSWER_HEADER_BYTES: usize = 8;
/// The sender's number in an answer's payload.
pub(crate) const INDEX_BYTES: usize = 4;
const DATA_HEADER_BYTES: usize = 9;
/// Bytes of a cookie.
pub(crate) const COOKIE_BYTES: usize = 16;

const OPEN: u8 = 0xa1;
const ANSWER: u8 = 0xa2;
const PROVE: u8 = 0xa3;
const DATA: u8 = 0xa4;
const COOKIE: u8 = 0xa5;
const UNKNOWN: u8 = 0xa6;
pub(crate) const HELLO: u8 = 0xa7;

// A message in a data packet with its kind byte fits a datagram.
const _: () = assert!(DATA_HEADER_BYTES + 1 + DATAGRAM_BYTES_MAX + TAG_BYTES <= BYTES_MAX);
const _: () = assert!(OPEN_BYTES <= BYTES_MAX);

/// A datagram that is well-formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// First message of a handshake. `sender`: the number by which the answer is to call us.
    /// `padded`: it is as long as its answer.
    Open {
        padded: bool,
        sender: u32,
        cookie: [u8; COOKIE_BYTES],
        noise: &'a [u8; FIRST_BYTES],
    },
    Answer {
        receiver: u32,
        noise: &'a [u8],
    },
    Prove {
        receiver: u32,
        noise: &'a [u8],
    },
    Data {
        receiver: u32,
        number: u32,
        sealed: &'a [u8],
    },
    /// The receiver has much to do: repeat the opening with this cookie.
    Cookie {
        receiver: u32,
        cookie: [u8; COOKIE_BYTES],
    },
    /// The sender has no session with this number, perhaps because it has started anew.
    Unknown {
        receiver: u32,
    },
}

/// Why a datagram is none of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadPacket {
    /// Of the fabric's tunnels.
    Fabric,
    /// `hello::Hello` may read it.
    Hello,
    Malformed,
}

impl<'a> Packet<'a> {
    /// Splits a datagram.
    ///
    /// # Errors
    ///
    /// When it is none of these, or has a length that none of these has.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BadPacket> {
        match bytes {
            [1..=4, ..] => Err(BadPacket::Fabric),
            [HELLO, ..] => Err(BadPacket::Hello),
            _ if bytes.len() > BYTES_MAX => Err(BadPacket::Malformed),
            [DATA, rest @ ..] => Self::data(rest).ok_or(BadPacket::Malformed),
            [kind, VERSION, 0, 0, rest @ ..] => {
                Self::versioned(*kind, bytes.len(), rest).ok_or(BadPacket::Malformed)
            }
            _ => Err(BadPacket::Malformed),
        }
    }

    fn data(rest: &'a [u8]) -> Option<Self> {
        let (receiver, rest) = rest.split_first_chunk()?;
        let (number, sealed) = rest.split_first_chunk()?;
        (sealed.len() > TAG_BYTES).then_some(Self::Data {
            receiver: u32::from_le_bytes(*receiver),
            number: u32::from_le_bytes(*number),
            sealed,
        })
    }

    fn versioned(kind: u8, bytes: usize, rest: &'a [u8]) -> Option<Self> {
        let (first, rest) = rest.split_first_chunk()?;
        let (first, longest) = (u32::from_le_bytes(*first), MESSAGE_BYTES_MAX);
        match kind {
            OPEN => {
                let (cookie, rest) = rest.split_first_chunk()?;
                let (noise, _padding) = rest.split_first_chunk()?;
                Some(Self::Open {
                    padded: bytes >= OPEN_BYTES,
                    sender: first,
                    cookie: *cookie,
                    noise,
                })
            }
            ANSWER => (SECOND_BYTES + INDEX_BYTES..=longest)
                .contains(&rest.len())
                .then_some(Self::Answer {
                    receiver: first,
                    noise: rest,
                }),
            PROVE => (THIRD_BYTES..=longest)
                .contains(&rest.len())
                .then_some(Self::Prove {
                    receiver: first,
                    noise: rest,
                }),
            COOKIE => Some(Self::Cookie {
                receiver: first,
                cookie: rest.try_into().ok()?,
            }),
            UNKNOWN => rest.is_empty().then_some(Self::Unknown { receiver: first }),
            _ => None,
        }
    }

    /// The bytes of this packet.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        let head = |out: &mut Vec<u8>, kind: u8, number: u32| {
            out.extend_from_slice(&[kind, VERSION, 0, 0]);
            out.extend_from_slice(&number.to_le_bytes());
        };
        match *self {
            Self::Open {
                padded,
                sender,
                cookie,
                noise,
            } => {
                head(&mut out, OPEN, sender);
                out.extend_from_slice(&cookie);
                out.extend_from_slice(noise);
                if padded {
                    out.resize(OPEN_BYTES, 0);
                }
            }
            Self::Answer { receiver, noise } => {
                head(&mut out, ANSWER, receiver);
                out.extend_from_slice(noise);
            }
            Self::Prove { receiver, noise } => {
                head(&mut out, PROVE, receiver);
                out.extend_from_slice(noise);
            }
            Self::Data {
                receiver,
                number,
                sealed,
            } => {
                out = Self::data_header(receiver, number);
                out.extend_from_slice(sealed);
            }
            Self::Cookie { receiver, cookie } => {
                head(&mut out, COOKIE, receiver);
                out.extend_from_slice(&cookie);
            }
            Self::Unknown { receiver } => head(&mut out, UNKNOWN, receiver),
        }
        out
    }

    /// What stands before the sealed text of a data packet.
    pub(crate) fn data_header(receiver: u32, number: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(BYTES_MAX);
        out.push(DATA);
        out.extend_from_slice(&receiver.to_le_bytes());
        out.extend_from_slice(&number.to_le_bytes());
        out
    }
}

/// What the text of a data packet is: its first byte.
pub(crate) mod text {
    pub(crate) const MESSAGE: u8 = 0;
    /// Nothing: a sign of life.
    pub(crate) const EMPTY: u8 = 1;
    /// No session for you; a `Refusal`'s number follows.
    pub(crate) const REFUSED: u8 = 2;
    /// The sender forgets this session.
    pub(crate) const BYE: u8 = 3;
}
