//! The table of messages between nodes, and their binary form.
//!
//! Does:      `{magic, version, kind, flags}` and a postcard body; decoding is total and bounded.
//! Does not:  encrypt or number them (`session`).
//! Bounds:    `DATAGRAM_BYTES_MAX`, `STREAM_MESSAGE_BYTES_MAX`; decoding takes no more memory
//!            than the bytes that came.
//! Trusts:    nobody.
//! Start at:  the table `messages!`.

use super::admission::AdmissionMessage;
use super::directory::DirectoryMessage;
use super::lookup::LookupMessage;
use super::recon::ReconMessage;
use super::register::RegisterMessage;
use super::spread::SpreadMessage;
use super::swim::SwimMessage;
use super::{DATAGRAM_BYTES_MAX, STREAM_MESSAGE_BYTES_MAX};

/// First byte of each message.
const MAGIC: u8 = 0x4c;
/// The version that we speak. A peer that speaks a later one is answered in this one.
pub const VERSION: u8 = 1;
/// Magic, version, kind, flags.
pub const HEADER_BYTES: usize = 4;
/// Most messages are shorter: room for them is taken at once.
const USUAL_BYTES: usize = 128;

/// How a message travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// UDP: at most `DATAGRAM_BYTES_MAX`; may be lost, doubled and reordered.
    Datagram,
    /// TCP: at most `STREAM_MESSAGE_BYTES_MAX`; in order or reported as unreachable.
    Stream,
}

impl Channel {
    /// The longest message it carries, in bytes.
    pub const fn bytes_max(self) -> usize {
        match self {
            Self::Datagram => DATAGRAM_BYTES_MAX,
            Self::Stream => STREAM_MESSAGE_BYTES_MAX,
        }
    }
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    #[error("{bytes} bytes are too many, or too few for a header")]
    Size { bytes: usize },
    #[error("the magic byte is wrong")]
    Magic,
    #[error("version {version} is older than any we know")]
    Version { version: u8 },
    #[error("the body of kind {kind} is malformed")]
    Body { kind: u8 },
}

macro_rules! messages {
    ($($number:literal $name:ident($body:ty): $doc:literal,)+) => {
        /// A message between nodes.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Message {
            $(#[doc = $doc] $name($body),)+
            /// Of a kind that a later version knows; counted, never an error.
            Unknown { kind: u8 },
        }

        impl Message {
            /// Number, name and meaning of every kind: for documents and golden files.
            pub const KINDS: &'static [(u8, &'static str, &'static str)] =
                &[$(($number, stringify!($name), $doc),)+];

            fn encode_body(&self, out: Vec<u8>) -> (u8, Result<Vec<u8>, postcard::Error>) {
                match self {
                    $(Self::$name(body) => ($number, postcard::to_extend(body, out)),)+
                    Self::Unknown { kind } => (*kind, Ok(out)),
                }
            }

            fn decode_body(kind: u8, bytes: &[u8]) -> Result<Self, postcard::Error> {
                match kind {
                    $($number => whole::<$body>(bytes).map(Self::$name),)+
                    _ => Ok(Self::Unknown { kind }),
                }
            }
        }
    };
}

messages! {
    1 Swim(SwimMessage): "Probes of a site's failure detector, and what they carry along.",
    2 Spread(SpreadMessage): "Links between neighbours, and the broadcast tree.",
    3 Recon(ReconMessage): "Reconciliation of two nodes' record sets.",
    4 Register(RegisterMessage): "Compare-and-swap registers and host leases.",
    5 Lookup(LookupMessage): "The table of small values that is spread over the cluster.",
    6 Admission(AdmissionMessage): "Joining, renewal and approval.",
    7 Directory(DirectoryMessage): "Whether a site still answers.",
}

/// A body that uses all its bytes. Longer bodies come from later versions, which add fields at
/// the end: those are ignored.
fn whole<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, postcard::Error> {
    postcard::take_from_bytes(bytes).map(|(value, _later_fields)| value)
}

impl Message {
    /// The kind of `Admission`: the only one that strangers may send.
    pub const ADMISSION: u8 = 6;
    /// The kind of `Register`: the only one that waits for its sender's disk.
    pub const REGISTER: u8 = 4;

    /// The kind that a message's header names, without looking further.
    pub fn kind_of(bytes: &[u8]) -> Option<u8> {
        match bytes {
            [MAGIC, _, kind, _, ..] => Some(*kind),
            _ => None,
        }
    }

    /// The bytes of this message. `None`: it is longer than `channel` carries.
    pub fn encode(&self, channel: Channel) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(USUAL_BYTES);
        bytes.extend([MAGIC, VERSION, 0, 0]);
        let (kind, bytes) = self.encode_body(bytes);
        let mut bytes = bytes.ok()?;
        *bytes.get_mut(2)? = kind;
        (bytes.len() <= channel.bytes_max()).then_some(bytes)
    }

    /// Reads a message that came by `channel`.
    pub fn decode(channel: Channel, bytes: &[u8]) -> Result<Self, BadMessage> {
        let size = BadMessage::Size { bytes: bytes.len() };
        if bytes.len() > channel.bytes_max() {
            return Err(size);
        }
        let (header, body) = bytes.split_at_checked(HEADER_BYTES).ok_or(size)?;
        let &[magic, version, kind, _flags] = header else {
            return Err(size);
        };
        if magic != MAGIC {
            return Err(BadMessage::Magic);
        }
        if version < 1 {
            return Err(BadMessage::Version { version });
        }
        Self::decode_body(kind, body).map_err(|_| BadMessage::Body { kind })
    }
}
