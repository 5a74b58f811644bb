//! The environment block, `grubenv`: what the guest saved for its boot loader.

use std::collections::BTreeMap;

/// Variables of one block. The block has 1 KiB, so there are never more.
const VARIABLES_MAX: usize = 128;

/// Names and values. A backslash keeps the character behind it.
pub(crate) fn parse(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once('='));
    let pairs = pairs.map(|(name, value)| {
        let mut plain = String::new();
        let mut letters = value.chars();
        while let Some(letter) = letters.next() {
            plain.extend(if letter == '\\' {
                letters.next()
            } else {
                Some(letter)
            });
        }
        (name.to_owned(), plain)
    });
    pairs.take(VARIABLES_MAX).collect()
}
