//! What nodes say to each other: the words, and their bytes.
//!
//! Does:      lives, stamps, contacts, signed records, and one table of messages with their binary
//!            form; a value that was decoded is inside every limit.
//! Does not:  sign, verify or encrypt (`identity`, `session`), or decide anything (`overlay`).
//! Bounds:    `DATAGRAM_BYTES_MAX` and `STREAM_MESSAGE_BYTES_MAX` for a message,
//!            `RECORD_BODY_BYTES_MAX` for a record; counts are capped before memory is taken.
//! Trusts:    nobody: peers may send any bytes.
//! Start at:  `message::Message`, then `record::Record`.

pub mod admission;
pub mod capped;
pub mod card;
pub mod contact;
pub mod coordinate;
pub mod directory;
pub mod keys;
pub mod life;
pub mod load;
pub mod lookup;
pub mod members;
pub mod message;
pub mod recon;
pub mod record;
pub mod register;
pub mod site;
pub mod spread;
pub mod stamp;
pub mod swim;

pub use card::NodeCard;
pub use contact::Contact;
pub use coordinate::Coordinate;
pub use keys::{PublicKey, SessionKey, Signature};
pub use life::Life;
pub use load::SiteLoad;
pub use members::{MemberLine, SiteMembers};
pub use message::{BadMessage, Channel, Message};
pub use record::{Realm, Record, RecordKey, RecordKind, Version};
pub use stamp::Stamp;

/// Bytes of one message between nodes before encryption: with our headers, the session's tag, UDP
/// and IPv6 it stays below 1,280, which every path carries.
pub const DATAGRAM_BYTES_MAX: usize = 1150;

/// Bytes of one message on a stream.
pub const STREAM_MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Bytes of a record's body. Records above what a datagram holds travel on streams.
pub const RECORD_BODY_BYTES_MAX: usize = 60 << 10;
