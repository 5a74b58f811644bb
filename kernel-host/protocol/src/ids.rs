//! Ids: 16 bytes that say what they name.
//!
//! Does:      prints `vm-`, `node-` or `site-` and 32 lower-case hexadecimal digits; reads the same
//!            back; 16 plain bytes in binary formats.
//! Does not:  make ids: randomness comes in from outside; nothing converts one kind to another.
//! Start at:  `VmId`.

use crate::text::{bytes_from_hex, write_hex};
use std::{fmt, str::FromStr};

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no id: wanted `{prefix}` and 32 lower-case hexadecimal digits")]
pub struct BadId {
    pub text: String,
    pub prefix: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            pub const fn bytes(&self) -> [u8; 16] {
                self.0
            }

            /// The first 8 digits, for tables: easy to grep, hard to mistake.
            pub fn short(&self) -> String {
                self.to_string()[..$prefix.len() + 8].to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                write_hex(f, &self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                text.strip_prefix($prefix).and_then(bytes_from_hex).map(Self).ok_or_else(|| BadId {
                    text: crate::limits::shortened(text, 64),
                    prefix: $prefix,
                })
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                if out.is_human_readable() {
                    out.collect_str(self)
                } else {
                    self.0.serialize(out)
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                if input.is_human_readable() {
                    String::deserialize(input)?
                        .parse()
                        .map_err(serde::de::Error::custom)
                } else {
                    <[u8; 16]>::deserialize(input).map(Self)
                }
            }
        }
    };
}

id!(
    /// A server running the image.
    NodeId,
    "node-"
);
id!(
    /// A virtual machine; never given twice, also after it was deleted.
    VmId,
    "vm-"
);
id!(
    /// A point of presence: the start of the SHA-256 of its name (`peer::site`).
    SiteId,
    "site-"
);
