//! Frames on a byte stream: a length of two bytes, little-endian, and as many bytes.
//!
//! Start at:  `split`.

use crate::crypto::TAG_BYTES;

/// Bytes of text in one frame. More frames cost little, and a whole one must come before it opens.
pub(super) const FRAME_TEXT_MAX: usize = 16 << 10;
const LENGTH_BYTES: usize = 2;
/// The longest body: a kind, a text, a tag. Handshake messages are shorter.
const BODY_BYTES_MAX: usize = 1 + FRAME_TEXT_MAX + TAG_BYTES;

/// What a frame's text is: its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Bytes = 0,
    /// The initiator's first: what the stream is for.
    Purpose = 1,
    /// The last of its direction.
    End = 2,
    /// No session for you; a `Refusal`'s number follows.
    Refused = 3,
}

/// What stands at the start of some bytes.
pub(super) enum Split<'a> {
    Incomplete,
    Malformed,
    Frame(&'a [u8]),
}

/// Appends a frame.
pub(super) fn put(body: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    debug_assert!(body.len() <= BODY_BYTES_MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(body);
}

/// Bytes on the wire for a text of so many bytes.
pub(super) const fn sealed_bytes(text: usize) -> usize {
    text + text.div_ceil(FRAME_TEXT_MAX) * (LENGTH_BYTES + 1 + TAG_BYTES)
}

/// How many bytes `partial` lacks for the next step: at most one frame.
pub(super) fn wanted(partial: &[u8]) -> usize {
    match length(partial) {
        Some(length) => LENGTH_BYTES + length - partial.len(),
        None => LENGTH_BYTES - partial.len(),
    }
}

/// The frame in `partial`, which never holds more than one.
pub(super) fn split(partial: &[u8]) -> Split<'_> {
    match length(partial) {
        None => Split::Incomplete,
        Some(length) if !(TAG_BYTES..=BODY_BYTES_MAX).contains(&length) => Split::Malformed,
        Some(length) if partial.len() < LENGTH_BYTES + length => Split::Incomplete,
        Some(_) => Split::Frame(&partial[LENGTH_BYTES..]),
    }
}

fn length(partial: &[u8]) -> Option<usize> {
    let length = partial.first_chunk::<LENGTH_BYTES>()?;
    Some(usize::from(u16::from_le_bytes(*length)))
}
