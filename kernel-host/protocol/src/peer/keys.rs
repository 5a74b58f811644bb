//! Public keys and signatures, as plain bytes.
//!
//! Does not:  compute with them: `identity` does.
//! Start at:  `PublicKey`.

use crate::text::write_hex;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::fmt;

/// An Ed25519 verifying key (RFC 8032).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PublicKey(pub [u8; 32]);

/// An X25519 key (RFC 7748) of sessions and, later, tunnels.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionKey(pub [u8; 32]);

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature(pub [u8; 64]);

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let (left, right) = self.0.split_at(32);
        let halves: [&[u8; 32]; 2] = [
            left.try_into().map_err(serde::ser::Error::custom)?,
            right.try_into().map_err(serde::ser::Error::custom)?,
        ];
        halves.serialize(out)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let halves = <[[u8; 32]; 2]>::deserialize(input)?;
        halves
            .concat()
            .try_into()
            .map(Self)
            .map_err(|_| D::Error::custom("a signature has 64 bytes"))
    }
}

macro_rules! debug_as_hex {
    ($($kind:ty),+) => { $(
        impl fmt::Debug for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(f, &self.0[..8])?;
                f.write_str("..")
            }
        }
    )+ };
}
debug_as_hex!(PublicKey, SessionKey, Signature);
