//! How a signed statement is laid out: a version byte, then its fields.
//!
//! The signed bytes themselves are kept and passed on, never written anew: a later version's
//! fields, which stand behind ours, survive a node that can't read them.
//!
//! Start at:  `write` and `read`.

use serde::{Deserialize, Serialize};

/// The version that we write. Later ones only add fields at the end.
const VERSION: u8 = 1;

/// The bytes to sign. (A `Vec` takes all of them; were they ever lost, nothing would be signed.)
pub(crate) fn write<T: Serialize>(fields: &T) -> Vec<u8> {
    postcard::to_extend(fields, vec![VERSION]).unwrap_or_default()
}

/// The fields behind signed bytes.
pub(crate) fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    let (&version, fields) = bytes.split_first()?;
    if version < VERSION {
        return None;
    }
    let (fields, _later) = postcard::take_from_bytes(fields).ok()?;
    Some(fields)
}

/// The wall clock in whole seconds, as statements carry it.
pub(crate) fn seconds(wall: protocol::Timestamp) -> u64 {
    wall.unix_ms() / 1000
}
