//! Bytes with a maximum that is checked before memory is taken.
//!
//! Start at:  `Capped`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::fmt;

/// At most `MAX` bytes whose meaning another room knows.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capped<const MAX: usize>(Vec<u8>);

impl<const MAX: usize> Capped<MAX> {
    /// `None`: they are too many.
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        (bytes.len() <= MAX).then_some(Self(bytes))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl<const MAX: usize> fmt::Debug for Capped<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl<const MAX: usize> Serialize for Capped<MAX> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_bytes(&self.0)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Capped<MAX> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let bytes = <&[u8]>::deserialize(input)?;
        if bytes.len() > MAX {
            return Err(D::Error::custom("too many bytes"));
        }
        Ok(Self(bytes.to_vec()))
    }
}
