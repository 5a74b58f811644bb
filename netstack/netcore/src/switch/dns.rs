//! Names of a network's stations: `<station>.<network>.internal`, and back from addresses.
//!
//! Does:      answers A, AAAA and PTR from records; says of any other name under `internal` that
//!            it does not exist; hands every other question on.
//! Does not:  ask other servers, or keep their answers.
//! Bounds:    one question of at most `NAME_LEN_MAX` bytes; one answer.
//! Trusts:    nothing in a question; names compare without regard to case.
//! Start at:  `answer`.

use std::net::{IpAddr, Ipv6Addr};

use super::records::Network;

/// Under it all names are ours (reserved for private use).
pub const DOMAIN: &str = "internal";
/// How long an answer may be kept: about as long as a move takes to be told everywhere.
const SECONDS: u32 = 5;
/// A name on the wire (RFC 1035).
const NAME_LEN_MAX: usize = 255;
/// Room that every asker has without asking for more.
const PAYLOAD_LEN: u16 = 1232;

const A: u16 = 1;
const SOA: u16 = 6;
const PTR: u16 = 12;
const AAAA: u16 = 28;
const OPT: u16 = 41;
const ANY: u16 = 255;
const INTERNET: u16 = 1;

const FORMAT_ERROR: u8 = 1;
const NO_SUCH_NAME: u8 = 3;
const NOT_IMPLEMENTED: u8 = 4;

/// What becomes of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Answer(Vec<u8>),
    /// Not ours to answer.
    Forward,
    /// Not a question.
    Nothing,
}

/// One question, as far as it was understood.
struct Question<'a> {
    id: [u8; 2],
    wants_recursion: bool,
    /// Lower case, without the last dot.
    name: String,
    kind: u16,
    /// The question as it stands in the message, to be repeated.
    bytes: &'a [u8],
    has_options: bool,
}

/// What to say to a message that was sent to the gateway's port 53.
pub fn answer(network: &Network, message: &[u8]) -> Reply {
    let Some(header) = message.first_chunk::<12>() else {
        return Reply::Nothing;
    };
    if header[2] & 0x80 != 0 {
        return Reply::Nothing; // an answer
    }
    if header[2] & 0x78 != 0 {
        return Reply::Answer(refusal(header, NOT_IMPLEMENTED));
    }
    let Some(question) = parse(header, message) else {
        return Reply::Answer(refusal(header, FORMAT_ERROR));
    };
    match lookup(network, &question) {
        Some(found) => Reply::Answer(emit(network, &question, found)),
        None => Reply::Forward,
    }
}

/// A message with no more than the header.
fn refusal(header: &[u8; 12], code: u8) -> Vec<u8> {
    let mut message = vec![0; 12];
    message[..2].copy_from_slice(&header[..2]);
    message[2] = 0x80 | (header[2] & 0x79);
    message[3] = 0x80 | code;
    message
}

fn parse<'a>(header: &[u8; 12], message: &'a [u8]) -> Option<Question<'a>> {
    let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    if count(4) != 1 || count(6) != 0 {
        return None;
    }
    let mut rest = &message[12..];
    let mut labels = Vec::new();
    let mut name_len = 0;
    loop {
        let length = usize::from(*rest.first()?);
        name_len += length + 1;
        if length > 63 || name_len > NAME_LEN_MAX {
            return None; // a pointer before anything to point at, or too long
        }
        if length == 0 {
            rest = &rest[1..];
            break;
        }
        let label = rest.get(1..=length)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        rest = &rest[length + 1..];
    }
    let fixed = rest.first_chunk::<4>()?;
    let kind = u16::from_be_bytes([fixed[0], fixed[1]]);
    let class = u16::from_be_bytes([fixed[2], fixed[3]]);
    let after = &rest[4..];
    let has_options = count(10) > 0 && after.starts_with(&[0, 0, OPT.to_be_bytes()[1]]);
    Some(Question {
        id: [header[0], header[1]],
        wants_recursion: header[2] & 1 != 0,
        name: labels.join("."),
        // Other classes have no names of ours.
        kind: if class == INTERNET || class == ANY {
            kind
        } else {
            0
        },
        bytes: &message[12..message.len() - after.len()],
        has_options,
    })
}

/// What is known of a name.
enum Found {
    NoSuchName,
    /// It exists; these are its records of the wanted kind, which may be none.
    Records(Vec<(u16, Vec<u8>)>),
}

/// `None`: somebody else's name.
fn lookup(network: &Network, question: &Question<'_>) -> Option<Found> {
    let settings = &network.settings;
    if let Some(address) = reverse(&question.name) {
        if !settings.contains(address) {
            return None;
        }
        let zone = &settings.name;
        let name = if settings.is_gateway(address) {
            "gateway".to_owned()
        } else {
            match network.station_at(address) {
                Some(station) => station.name.clone(),
                None => return Some(Found::NoSuchName),
            }
        };
        let wanted = question.kind == PTR || question.kind == ANY;
        let record = (PTR, wire_name(&[&name, zone, DOMAIN]));
        return Some(Found::Records(if wanted { vec![record] } else { vec![] }));
    }
    let mut labels = question.name.rsplit('.');
    if labels.next() != Some(DOMAIN) {
        return None;
    }
    let (zone, host, more) = (labels.next(), labels.next(), labels.next());
    let found = match (zone, host, more) {
        (None, ..) => Found::Records(Vec::new()),
        (Some(zone), ..) if zone != settings.name => Found::NoSuchName,
        (Some(_), None, _) => Found::Records(Vec::new()),
        (Some(_), Some(_), Some(_)) => Found::NoSuchName,
        (Some(_), Some("gateway"), None) => {
            let v6 = settings.gateway_v6();
            Found::Records(addresses(question.kind, settings.gateway_v4(), v6))
        }
        (Some(_), Some(host), None) => match network.station_named(host) {
            Some(station) => Found::Records(addresses(question.kind, station.v4, station.v6)),
            None => Found::NoSuchName,
        },
    };
    Some(found)
}

fn addresses(
    kind: u16,
    v4: Option<std::net::Ipv4Addr>,
    v6: Option<Ipv6Addr>,
) -> Vec<(u16, Vec<u8>)> {
    let v4 = v4.filter(|_| kind == A || kind == ANY);
    let v6 = v6.filter(|_| kind == AAAA || kind == ANY);
    let v4 = v4.map(|address| (A, address.octets().to_vec()));
    let v6 = v6.map(|address| (AAAA, address.octets().to_vec()));
    v4.into_iter().chain(v6).collect()
}

/// The address that a name of the reverse trees is about.
fn reverse(name: &str) -> Option<IpAddr> {
    if let Some(labels) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0u8; 4];
        let mut parts = labels.split('.');
        for octet in octets.iter_mut().rev() {
            *octet = parts.next()?.parse().ok()?;
        }
        return parts.next().is_none().then(|| octets.into());
    }
    let labels = name.strip_suffix(".ip6.arpa")?;
    let mut value = 0u128;
    let mut count = 0;
    for (place, label) in labels.split('.').enumerate() {
        if label.len() != 1 || place >= 32 {
            return None;
        }
        value |= u128::from_str_radix(label, 16).ok()? << (4 * place);
        count += 1;
    }
    (count == 32).then(|| Ipv6Addr::from(value).into())
}

fn wire_name(labels: &[&str]) -> Vec<u8> {
    let mut name = Vec::new();
    for label in labels {
        name.push(u8::try_from(label.len()).unwrap_or(0));
        name.extend(label.as_bytes());
    }
    name.push(0);
    name
}

fn emit(network: &Network, question: &Question<'_>, found: Found) -> Vec<u8> {
    let (code, records) = match found {
        Found::NoSuchName => (NO_SUCH_NAME, Vec::new()),
        Found::Records(records) => (0, records),
    };
    let number = |count: usize| u16::try_from(count).unwrap_or(0).to_be_bytes();
    let is_empty = records.is_empty();
    let mut message = Vec::with_capacity(128);
    message.extend(question.id);
    message.push(0x84 | u8::from(question.wants_recursion)); // an answer, with authority
    message.push(0x80 | code);
    message.extend(number(1));
    message.extend(number(records.len()));
    message.extend(number(usize::from(is_empty)));
    message.extend(number(usize::from(question.has_options)));
    message.extend_from_slice(question.bytes);
    for (kind, value) in &records {
        message.extend([0xc0, 12]); // the name that was asked
        push_record(&mut message, *kind, value);
    }
    if is_empty {
        // Says how long "no" may be remembered (RFC 2308).
        let zone = wire_name(&[&network.settings.name, DOMAIN]);
        let mut value = wire_name(&["gateway", &network.settings.name, DOMAIN]);
        value.extend(wire_name(&["nobody", "invalid"]));
        for seconds in [1, 3600, 600, 86_400, SECONDS] {
            value.extend(u32::to_be_bytes(seconds));
        }
        message.extend(zone);
        push_record(&mut message, SOA, &value);
    }
    if question.has_options {
        message.push(0);
        message.extend(OPT.to_be_bytes());
        message.extend(PAYLOAD_LEN.to_be_bytes());
        message.extend([0; 6]);
    }
    message
}

fn push_record(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend(kind.to_be_bytes());
    message.extend(INTERNET.to_be_bytes());
    message.extend(SECONDS.to_be_bytes());
    message.extend(u16::try_from(value.len()).unwrap_or(0).to_be_bytes());
    message.extend_from_slice(value);
}

/// Fuzz target: every answer is to the question that was asked.
pub fn fuzz_names(data: &[u8]) {
    let network = super::fuzz::network();
    if let Reply::Answer(message) = answer(&network, data) {
        assert_eq!(message[..2], data[..2], "of the same question");
        assert!(message[2] & 0x80 != 0, "an answer");
        assert!(message.len() <= usize::from(PAYLOAD_LEN), "that fits");
        assert_eq!(answer(&network, &message), Reply::Nothing, "no echo");
    }
}
