//! Ids: 16 random bytes that say what they name.
//!
//! Does:      prints `vm-` or `node-` and 32 lower-case hexadecimal digits; reads the same back.
//! Does not:  make ids: randomness comes in from outside; nothing converts one kind to another.
//! Start at:  `VmId`.

use crate::text::{bytes_from_hex, serde_as_text, write_hex};
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

        serde_as_text!($name);
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
