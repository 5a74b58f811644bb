//! TFTP's packets.
//!
//! Does:      reads requests, acknowledgements and errors; writes data, option answers and errors.
//! Does not:  know transfers.
//! Bounds:    `NAME_LEN_MAX`, `OPTIONS_MAX`.
//! Trusts:    nothing. Firmwares that add 0xFF or NUL to a name are forgiven, nothing else is.
//! Start at:  `Packet::parse`.

/// The longest file name; firmware's own field for it is 128.
pub const NAME_LEN_MAX: usize = 255;

/// Options in one request; there are five in use anywhere.
const OPTIONS_MAX: usize = 8;

const READ: u16 = 1;
const WRITE: u16 = 2;
const DATA: u16 = 3;
const ACKNOWLEDGEMENT: u16 = 4;
const ERROR: u16 = 5;
const OPTION_ANSWER: u16 = 6;

/// The errors that we send (RFC 1350, 2347).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    NotDefined = 0,
    FileNotFound = 1,
    IllegalOperation = 4,
    OptionsRefused = 8,
}

/// What a client asks for. An option that is no number is as good as absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    pub name: String,
    /// Lower case; only `octet` has a meaning today.
    pub mode: String,
    pub block_len: Option<u64>,
    pub wants_size: bool,
    pub timeout_seconds: Option<u64>,
    pub window: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<'a> {
    Read(Request),
    Write,
    Data {
        block: u16,
        bytes: &'a [u8],
    },
    Acknowledgement {
        block: u16,
    },
    Error {
        code: u16,
        text: &'a [u8],
    },
    /// Options that a server granted, as their bytes.
    OptionAnswer(&'a [u8]),
}

impl Packet<'_> {
    /// `None`: not TFTP, or damaged.
    pub fn parse(bytes: &[u8]) -> Option<Packet<'_>> {
        let (operation, rest) = take16(bytes)?;
        match operation {
            READ => parse_request(rest).map(Packet::Read),
            WRITE => Some(Packet::Write),
            DATA => take16(rest).map(|(block, bytes)| Packet::Data { block, bytes }),
            ACKNOWLEDGEMENT => take16(rest).map(|(block, _)| Packet::Acknowledgement { block }),
            ERROR => take16(rest).map(|(code, text)| Packet::Error { code, text }),
            OPTION_ANSWER => Some(Packet::OptionAnswer(rest)),
            _ => None,
        }
    }
}

fn take16(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*number), rest))
}

fn parse_request(bytes: &[u8]) -> Option<Request> {
    let mut parts = bytes.split(|byte| *byte == 0);
    let name = clean_name(parts.next()?)?;
    let mode = text(parts.next()?)?.to_ascii_lowercase();
    let mut request = Request {
        name,
        mode,
        ..Request::default()
    };
    for _ in 0..OPTIONS_MAX {
        let (Some(option), Some(value)) = (parts.next(), parts.next()) else {
            break;
        };
        let number = text(value).and_then(|value| value.parse().ok());
        match text(option)?.to_ascii_lowercase().as_str() {
            "blksize" => request.block_len = number,
            "tsize" => request.wants_size = true,
            "timeout" => request.timeout_seconds = number,
            "windowsize" => request.window = number,
            _ => {}
        }
    }
    Some(request)
}

/// A printable name without what some firmwares put behind it, and without leading or double
/// slashes. `None`: no name at all, or one that climbs out of its folder.
fn clean_name(mut bytes: &[u8]) -> Option<String> {
    while let [rest @ .., 0xff | 0] = bytes {
        bytes = rest;
    }
    let printable = bytes
        .iter()
        .all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    if bytes.len() > NAME_LEN_MAX || !printable {
        return None;
    }
    let parts: Vec<&str> = text(bytes)?
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    let climbs = parts.iter().any(|part| matches!(*part, "." | ".."));
    (!parts.is_empty() && !climbs).then(|| parts.join("/"))
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// A data packet's head; the block's bytes follow it.
pub fn data_header(block: u16) -> [u8; 4] {
    let [op_high, op_low] = DATA.to_be_bytes();
    let [high, low] = block.to_be_bytes();
    [op_high, op_low, high, low]
}

pub fn error(code: ErrorCode, text: &str) -> Vec<u8> {
    let mut bytes = ERROR.to_be_bytes().to_vec();
    bytes.extend_from_slice(&(code as u16).to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    bytes
}

/// The options that we grant, by name.
pub fn option_answer(granted: &[(&str, u64)]) -> Vec<u8> {
    let mut bytes = OPTION_ANSWER.to_be_bytes().to_vec();
    for (name, value) in granted {
        bytes.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
    }
    bytes
}

/// A request as a client writes it.
pub fn read_request(name: &str, options: &[(&str, u64)]) -> Vec<u8> {
    let mut bytes = READ.to_be_bytes().to_vec();
    bytes.extend_from_slice(format!("{name}\0octet\0").as_bytes());
    for (name, value) in options {
        bytes.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
    }
    bytes
}

pub fn acknowledgement(block: u16) -> Vec<u8> {
    [ACKNOWLEDGEMENT.to_be_bytes(), block.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn names_are_cleaned_of_what_firmwares_add() {
        let check = |raw: &[u8], expected: Option<&str>| {
            let bytes = [&[0, 1], raw, b"\0octet\0"].concat();
            let name = match Packet::parse(&bytes) {
                Some(Packet::Read(request)) => Some(request.name),
                _ => None,
            };
            assert_eq!(name.as_deref(), expected, "{raw:?}");
        };
        check(b"luc.efi",          Some("luc.efi"));
        check(b"luc.efi\xff",      Some("luc.efi"));
        check(b"/luc.efi\xff\xff", Some("luc.efi"));
        check(b"//a//b",           Some("a/b"));
        check(b"",                 None);
        check(b"/",                None);
        check(b"\xff",             None);
        check(b"a\nb",             None);
        check(b"a/../../etc",      None);
        check(&[b'a'; 256],        None);
    }

    #[test]
    fn a_request_is_read_with_its_options() {
        let bytes = read_request(
            "a",
            &[("blksize", 1468), ("TSize", 0), ("windowsize", 4), ("x", 1)],
        );
        let expected = Request {
            name: "a".into(),
            mode: "octet".into(),
            block_len: Some(1468),
            wants_size: true,
            timeout_seconds: None,
            window: Some(4),
        };
        assert_eq!(Packet::parse(&bytes), Some(Packet::Read(expected)));
        assert_eq!(Packet::parse(b"\0\x01name"), None, "no mode");
        assert_eq!(Packet::parse(b"\0"), None);
        assert_eq!(Packet::parse(b"\0\x09"), None);
    }
}
