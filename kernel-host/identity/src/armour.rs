//! Bytes as text that people copy: `luc-<what>-`, base64url, and a checksum.
//!
//! Does:      reads the same back; says where a typo is as far as can be known.
//! Does not:  know what the bytes mean.
//! Bounds:    `TEXT_CHARS_MAX`.
//! Trusts:    nobody: texts come from people and firmware tables.
//! Start at:  `write` and `read`.

use protocol::{Digest, limits};

/// Characters of one text: a list of machines.
pub const TEXT_CHARS_MAX: usize = 8192;
/// Bytes of the checksum behind the content.
const CHECK_BYTES: usize = 4;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Why a text is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadText {
    #[error("it starts with `{found}`, and should start with `{wanted}`")]
    Prefix { wanted: String, found: String },
    #[error("`{found}` at place {place} can't stand in it")]
    Character { found: char, place: usize },
    #[error("a character was mistyped, lost or added somewhere: its checksum is wrong")]
    Checksum,
    #[error("it is too short: {chars} characters; was it cut off?")]
    Short { chars: usize },
    #[error("it is too long: {chars} characters, and at most {TEXT_CHARS_MAX} are allowed")]
    Long { chars: usize },
    #[error("its checksum is right, but this version of luc can't read what it says")]
    Content,
}

fn check_of(prefix: &str, bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let digest = Digest::of(&[prefix.as_bytes(), b"\0", bytes].concat()).bytes();
    [digest[0], digest[1], digest[2], digest[3]]
}

/// The text of `bytes`.
pub fn write(prefix: &str, bytes: &[u8]) -> String {
    let all = [bytes, &check_of(prefix, bytes)].concat();
    let mut text = prefix.to_owned();
    for group in all.chunks(3) {
        let at = |place: usize| u32::from(group.get(place).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..=group.len() {
            let six = bits >> (18 - 6 * place) & 63;
            text.push(char::from(ALPHABET[six as usize]));
        }
    }
    text
}

/// The bytes of `text`. White space around it, and line breaks inside, are not meant.
pub fn read(prefix: &str, text: &str) -> Result<Vec<u8>, BadText> {
    if text.len() > 2 * TEXT_CHARS_MAX {
        return Err(BadText::Long { chars: text.len() });
    }
    let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    if text.len() > TEXT_CHARS_MAX {
        return Err(BadText::Long { chars: text.len() });
    }
    let Some(body) = text.strip_prefix(prefix) else {
        return Err(BadText::Prefix {
            wanted: prefix.to_owned(),
            found: limits::shortened(&text, prefix.len()),
        });
    };
    let bytes = from_base64(body, prefix.len())?;
    let Some(end) = bytes.len().checked_sub(CHECK_BYTES).filter(|end| *end > 0) else {
        return Err(BadText::Short { chars: text.len() });
    };
    let (content, check) = bytes.split_at(end);
    match check == check_of(prefix, content) && write(prefix, content) == text {
        true => Ok(content.to_vec()),
        false => Err(BadText::Checksum),
    }
}

fn from_base64(body: &str, before: usize) -> Result<Vec<u8>, BadText> {
    let mut bytes = Vec::with_capacity(body.len() * 3 / 4);
    let (mut bits, mut held) = (0u32, 0u32);
    for (place, found) in body.chars().enumerate() {
        let value = ALPHABET
            .iter()
            .position(|&known| char::from(known) == found);
        let Some(value) = value.and_then(|value| u32::try_from(value).ok()) else {
            let place = before + place + 1;
            return Err(BadText::Character { found, place });
        };
        bits = bits << 6 | value;
        held += 6;
        if held >= 8 {
            held -= 8;
            let [.., byte] = (bits >> held).to_be_bytes();
            bytes.push(byte);
            bits &= (1 << held) - 1;
        }
    }
    Ok(bytes)
}
