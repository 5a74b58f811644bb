//! The operator's own words in a server's firmware: SMBIOS OEM strings.
//!
//! Does:      reads structures of type 11 out of the table that the kernel shows.
//! Does not:  know what the strings mean; `node::arguments` does.
//! Bounds:    `TABLE_BYTES_MAX`, `STRINGS_MAX` strings of `STRING_BYTES_MAX` bytes; what is above
//!            is left out.
//! Trusts:    nothing: firmware writes odd tables; a broken structure ends the reading.
//! Start at:  `read`. Source: DMTF DSP0134 (SMBIOS 3.7), sections 6.1 and 7.12.

use std::io::{self, Read};

/// Where the kernel shows the structure table; only root may read it.
const TABLE: &str = "/sys/firmware/dmi/tables/DMI";
/// Real tables have below 10 KiB.
const TABLE_BYTES_MAX: u64 = 256 << 10;
pub const STRINGS_MAX: usize = 64;
pub const STRING_BYTES_MAX: usize = 1024;

/// Type, length and handle.
const HEADER_BYTES: usize = 4;
const TYPE_OEM_STRINGS: u8 = 11;
const TYPE_END: u8 = 127;

/// The strings of this machine; none if its firmware shows no table.
///
/// # Errors
/// When the table is there and can't be read.
pub fn read() -> io::Result<Vec<String>> {
    let file = match std::fs::File::open(TABLE) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut table = Vec::new();
    file.take(TABLE_BYTES_MAX).read_to_end(&mut table)?;
    Ok(parse(&table))
}

/// The strings in a table. Only texts of visible ASCII count.
#[must_use]
pub fn parse(table: &[u8]) -> Vec<String> {
    let mut strings = Vec::new();
    let mut rest = table;
    while let Some((kind, texts, after)) = next_structure(rest) {
        if kind == TYPE_END {
            break;
        }
        if kind == TYPE_OEM_STRINGS {
            let texts = texts.split(|byte| *byte == 0);
            let plain = |text: &&[u8]| {
                !text.is_empty()
                    && text.len() <= STRING_BYTES_MAX
                    && text.iter().all(|byte| (b' '..=b'~').contains(byte))
            };
            let room = STRINGS_MAX - strings.len();
            let texts = texts.filter(plain).take(room);
            strings.extend(texts.map(|text| String::from_utf8_lossy(text).into_owned()));
        }
        rest = after;
    }
    strings
}

/// A structure's type, its strings with a zero between them, and what follows.
fn next_structure(table: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (kind, length) = (*table.first()?, usize::from(*table.get(1)?));
    if length < HEADER_BYTES {
        return None;
    }
    let texts = table.get(length..)?;
    let end = texts.windows(2).position(|pair| pair == [0, 0])?;
    Some((kind, &texts[..end], &texts[end + 2..]))
}

/// Fuzz entry: any table gives bounded, printable strings.
pub fn fuzz_oem_strings(data: &[u8]) {
    let strings = parse(data);
    assert!(strings.len() <= STRINGS_MAX);
    for text in strings {
        assert!(text.len() <= STRING_BYTES_MAX && !text.contains(char::is_control));
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    const BIOS: &[u8] = b"\x00\x06\x00\x00\x01\x02maker\0version\0\0";
    const OURS: &[u8] = b"\x0b\x05\x01\x00\x02luc.site=paris\0luc.seeds=10.0.0.1\0\0";
    const NONE: &[u8] = b"\x20\x0b\x02\x00\x00\x00\x00\x00\x00\x00\x00\0\0";
    const END: &[u8] = b"\x7f\x04\x03\x00\0\0";

    #[test]
    fn only_the_operators_strings_are_read() {
        let table = [BIOS, NONE, OURS, END, OURS].concat();
        assert_eq!(parse(&table), ["luc.site=paris", "luc.seeds=10.0.0.1"]);
    }

    #[test]
    fn a_table_cut_anywhere_gives_whole_strings_or_none() {
        let table = [BIOS, OURS].concat();
        for length in 0..table.len() {
            assert_eq!(parse(&table[..length]), Vec::<String>::new(), "{length}");
        }
        assert_eq!(parse(&table).len(), 2);
    }

    #[test]
    fn strings_that_could_paint_a_screen_are_left_out() {
        let table = b"\x0b\x05\x01\x00\x02a\x1b[2J\0b\xff\0c\0\0";
        assert_eq!(parse(table), ["c"]);
    }
}
