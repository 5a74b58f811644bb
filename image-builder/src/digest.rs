//! SHA-256 as a type: what a package or an artefact must be, and what it is.
//!
//! Does:      hashes bytes and files; reads and prints 64 hexadecimal digits.
//! Does not:  compare secrets; these hashes are public, so equality may be quick.
//! Bounds:    files are hashed in 1 MiB pieces.
//! Trusts:    nothing.
//! Start at:  `Digest::of`.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Bytes read at once while a file is hashed.
const PIECE_BYTES: usize = 1 << 20;

/// A SHA-256. Prints as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

/// The text is no SHA-256.
#[derive(Debug, thiserror::Error)]
#[error("A SHA-256 has 64 hexadecimal digits, and this is {text:?}")]
pub struct BadDigest {
    text: String,
}

impl Digest {
    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    /// The hash of everything that `reader` still holds, and how many bytes that was.
    pub fn of_reader(mut reader: impl Read) -> io::Result<(Digest, u64)> {
        let mut hasher = Sha256::new();
        let mut piece = vec![0; PIECE_BYTES];
        let mut bytes = 0u64;
        loop {
            let count = reader.read(&mut piece)?;
            if count == 0 {
                return Ok((Digest(hasher.finalize().into()), bytes));
            }
            hasher.update(&piece[..count]);
            bytes += count as u64;
        }
    }

    /// The hash and length of a file.
    pub fn of_file(path: &Path) -> io::Result<(Digest, u64)> {
        Digest::of_reader(File::open(path)?)
    }

    /// The hash of several byte strings, each preceded by its length, so that
    /// `["ab", "c"]` and `["a", "bc"]` differ.
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Digest {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Digest(hasher.finalize().into())
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 16 digits: enough to tell builds apart on a screen.
    pub fn short(&self) -> String {
        self.to_string()[..16].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{self}")
    }
}

impl FromStr for Digest {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Digest, BadDigest> {
        let bad = || BadDigest {
            text: text.chars().take(80).collect(),
        };
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad());
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| bad())?;
        }
        Ok(Digest(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_digest_reads_back_what_it_prints_and_refuses_all_else() {
        let empty = Digest::of(b"");
        assert!(empty.to_string().starts_with("e3b0c44298fc1c14"));
        assert_eq!(empty.to_string().parse::<Digest>().unwrap(), empty);
        for text in ["", "e3b0", &"g".repeat(64), &"é".repeat(32)] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    #[test]
    fn where_one_part_ends_is_part_of_the_hash() {
        let split = |parts: &[&str]| Digest::of_parts(parts.iter().map(|p| p.as_bytes()));
        assert_ne!(split(&["ab", "c"]), split(&["a", "bc"]));
    }
}
