//! One DHCP message.
//!
//! Does:      reads a datagram into a value and writes a value as a datagram; merges options that
//!            overflowed into the name fields (option 52).
//! Does not:  judge whether the message makes sense in some state.
//! Bounds:    `MESSAGE_LEN_MAX` bytes read; options beyond it don't exist.
//! Trusts:    nothing. What it can't read is refused with a reason.
//! Start at:  `Message::parse`, `Message::emit`.
//!
//! Why not a crate: `dhcproto` stops at the first odd option, does not merge option 52, keeps only
//! one part of an option in parts, and brings some forty packages (a DNS library and ICU tables).

use std::net::Ipv4Addr;

use super::options::{Options, code};
use crate::ethernet::Mac;

/// The longest message: what fits into one Ethernet frame.
pub const MESSAGE_LEN_MAX: usize = crate::ethernet::UDP_PAYLOAD_LEN_MAX;

/// BOOTP relays and some clients drop shorter messages.
const MESSAGE_LEN_MIN: usize = 300;

const FIXED_LEN: usize = 236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const SERVER_NAME: std::ops::Range<usize> = 44..108;
const BOOT_FILE: std::ops::Range<usize> = 108..236;
const BROADCAST_FLAG: u8 = 0x80;
const HARDWARE_ETHERNET: u8 = 1;
const OVERLOADED_FILE: u8 = 1;
const OVERLOADED_NAME: u8 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Request,
    Reply,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Discover,
    Offer,
    Request,
    Decline,
    Ack,
    Nak,
    Release,
    Inform,
}

/// Option 53's numbers, in one place.
const KINDS: [(u8, Kind); 8] = [
    (1, Kind::Discover),
    (2, Kind::Offer),
    (3, Kind::Request),
    (4, Kind::Decline),
    (5, Kind::Ack),
    (6, Kind::Nak),
    (7, Kind::Release),
    (8, Kind::Inform),
];

impl Kind {
    fn number(self) -> u8 {
        KINDS
            .iter()
            .find(|(_, kind)| *kind == self)
            .map_or(0, |(number, _)| *number)
    }

    fn direction(self) -> Direction {
        match self {
            Kind::Offer | Kind::Ack | Kind::Nak => Direction::Reply,
            _ => Direction::Request,
        }
    }
}

/// Why a datagram is not a DHCP message for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    #[error("DHCP message: {0} bytes are too few or too many")]
    Length(usize),
    #[error("DHCP message: the magic cookie is missing, this is BOOTP or noise")]
    Cookie,
    #[error("DHCP message: not from an Ethernet station")]
    Hardware,
    #[error("DHCP message: the message type is missing or contradicts the direction")]
    Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub kind: Kind,
    /// Names the conversation.
    pub transaction: u32,
    /// How long the client has been trying.
    pub seconds: u16,
    /// The client can't hear unicast yet.
    pub broadcast: bool,
    /// `ciaddr`: the address that the client holds and answers at.
    pub client: Ipv4Addr,
    /// `yiaddr`: the address that the server gives.
    pub yours: Ipv4Addr,
    /// `siaddr`: where the boot file is.
    pub next_server: Ipv4Addr,
    /// `giaddr`: the relay between them.
    pub relay: Ipv4Addr,
    pub hops: u8,
    pub mac: Mac,
    /// The fixed field, unless options overflowed into it.
    pub server_name: String,
    /// The fixed field, unless options overflowed into it.
    pub boot_file: String,
    pub options: Options,
}

impl Message {
    pub fn new(kind: Kind, transaction: u32, mac: Mac) -> Message {
        Message {
            kind,
            transaction,
            seconds: 0,
            broadcast: false,
            client: Ipv4Addr::UNSPECIFIED,
            yours: Ipv4Addr::UNSPECIFIED,
            next_server: Ipv4Addr::UNSPECIFIED,
            relay: Ipv4Addr::UNSPECIFIED,
            hops: 0,
            mac,
            server_name: String::new(),
            boot_file: String::new(),
            options: Options::default(),
        }
    }

    pub fn direction(&self) -> Direction {
        self.kind.direction()
    }

    pub fn parse(bytes: &[u8]) -> Result<Message, BadMessage> {
        let length = BadMessage::Length(bytes.len());
        if bytes.len() > MESSAGE_LEN_MAX {
            return Err(length);
        }
        let (fixed, rest) = bytes.split_first_chunk::<FIXED_LEN>().ok_or(length)?;
        let field = rest.strip_prefix(&COOKIE).ok_or(BadMessage::Cookie)?;
        if fixed[1] != HARDWARE_ETHERNET || usize::from(fixed[2]) != size_of::<Mac>() {
            return Err(BadMessage::Hardware);
        }
        let mut options = Options::default();
        options.absorb(field);
        let overloaded = options.byte(code::OVERLOAD).unwrap_or(0);
        // The order is RFC 2131's. An option 52 inside these fields means nothing.
        if overloaded & OVERLOADED_FILE != 0 {
            options.absorb(&fixed[BOOT_FILE]);
        }
        if overloaded & OVERLOADED_NAME != 0 {
            options.absorb(&fixed[SERVER_NAME]);
        }
        let number = options.byte(code::MESSAGE_TYPE).ok_or(BadMessage::Kind)?;
        let kind = KINDS
            .iter()
            .find(|(known, _)| *known == number)
            .ok_or(BadMessage::Kind)?
            .1;
        if fixed[0] != direction_number(kind.direction()) {
            return Err(BadMessage::Kind);
        }
        let text = |range: std::ops::Range<usize>, taken: bool| {
            if taken {
                String::new()
            } else {
                fixed_text(&fixed[range])
            }
        };
        Ok(Message {
            kind,
            transaction: u32::from_be_bytes(four(fixed, 4)),
            seconds: u16::from_be_bytes([fixed[8], fixed[9]]),
            broadcast: fixed[10] & BROADCAST_FLAG != 0,
            client: four(fixed, 12).into(),
            yours: four(fixed, 16).into(),
            next_server: four(fixed, 20).into(),
            relay: four(fixed, 24).into(),
            hops: fixed[3],
            mac: Mac([
                fixed[28], fixed[29], fixed[30], fixed[31], fixed[32], fixed[33],
            ]),
            server_name: text(SERVER_NAME, overloaded & OVERLOADED_NAME != 0),
            boot_file: text(BOOT_FILE, overloaded & OVERLOADED_FILE != 0),
            options,
        })
    }

    /// The datagram. Names longer than their fields are left out of them; say them by option.
    pub fn emit(&self) -> Vec<u8> {
        let mut bytes = vec![0u8; FIXED_LEN];
        bytes[0] = direction_number(self.direction());
        bytes[1] = HARDWARE_ETHERNET;
        bytes[2] = 6; // the length of a MAC
        bytes[3] = self.hops;
        bytes[4..8].copy_from_slice(&self.transaction.to_be_bytes());
        bytes[8..10].copy_from_slice(&self.seconds.to_be_bytes());
        bytes[10] = if self.broadcast { BROADCAST_FLAG } else { 0 };
        bytes[12..16].copy_from_slice(&self.client.octets());
        bytes[16..20].copy_from_slice(&self.yours.octets());
        bytes[20..24].copy_from_slice(&self.next_server.octets());
        bytes[24..28].copy_from_slice(&self.relay.octets());
        bytes[28..34].copy_from_slice(&self.mac.0);
        put_text(&mut bytes[SERVER_NAME], &self.server_name);
        put_text(&mut bytes[BOOT_FILE], &self.boot_file);
        bytes.extend_from_slice(&COOKIE);
        let mut options = self.options.clone();
        options.set(code::MESSAGE_TYPE, [self.kind.number()]);
        options.emit(&mut bytes);
        bytes.push(code::END);
        if bytes.len() < MESSAGE_LEN_MIN {
            bytes.resize(MESSAGE_LEN_MIN, code::PAD);
        }
        bytes
    }
}

fn direction_number(direction: Direction) -> u8 {
    match direction {
        Direction::Request => 1,
        Direction::Reply => 2,
    }
}

fn four(fixed: &[u8; FIXED_LEN], at: usize) -> [u8; 4] {
    [fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]
}

/// Text up to the first NUL; what is not UTF-8 is no name.
fn fixed_text(field: &[u8]) -> String {
    let end = field
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(field.len());
    std::str::from_utf8(&field[..end])
        .unwrap_or_default()
        .to_owned()
}

/// Writes text that leaves room for its NUL.
fn put_text(field: &mut [u8], text: &str) {
    if text.len() < field.len() {
        field[..text.len()].copy_from_slice(text.as_bytes());
    }
}

/// Fuzz target: what parses can be written, and parses back to the same value.
pub fn fuzz_message(data: &[u8]) {
    let Ok(mut message) = Message::parse(data) else {
        return;
    };
    // The merged form is written without overload, so the marker does not survive, nor do names
    // that fill their field without a NUL.
    message.options.remove(code::OVERLOAD);
    let bytes = message.emit();
    if bytes.len() > MESSAGE_LEN_MAX {
        return; // options of 1,232 bytes and the merged fields may exceed one frame
    }
    let again = Message::parse(&bytes).expect("what we write we can read");
    message
        .options
        .set(code::MESSAGE_TYPE, [message.kind.number()]);
    assert_eq!(again.options, message.options, "options survive");
    assert_eq!(again.emit(), bytes, "writing is stable");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn offer() -> Message {
        let mut message = Message::new(Kind::Offer, 0x1234_5678, Mac([2, 0, 0, 0, 0, 9]));
        message.yours = Ipv4Addr::new(10, 0, 0, 9);
        message
            .options
            .set_address(code::MASK, Ipv4Addr::new(255, 255, 255, 0));
        message
    }

    #[test]
    fn a_message_survives_writing_and_reading() {
        let mut message = offer();
        message.boot_file = "luc.efi".into();
        message.server_name = "boot".into();
        message.broadcast = true;
        let bytes = message.emit();
        assert!(bytes.len() >= MESSAGE_LEN_MIN);
        let again = Message::parse(&bytes).unwrap();
        message.options.set(code::MESSAGE_TYPE, [2]);
        assert_eq!(again, message);
        fuzz_message(&bytes);
    }

    #[test]
    fn an_option_in_parts_is_joined() {
        let mut message = offer();
        let long: Vec<u8> = (0..=255).cycle().take(600).collect();
        message.options.set(code::VENDOR_SPECIFIC, long.clone());
        let again = Message::parse(&message.emit()).unwrap();
        assert_eq!(
            again.options.bytes(code::VENDOR_SPECIFIC),
            Some(long.as_slice())
        );
    }

    /// Puts option fields where a server without room would.
    fn overloaded(which: &[u8], file: &[u8], name: &[u8]) -> Vec<u8> {
        let mut message = offer();
        message.options.set(code::OVERLOAD, which);
        let mut bytes = message.emit();
        bytes[BOOT_FILE][..file.len()].copy_from_slice(file);
        bytes[SERVER_NAME][..name.len()].copy_from_slice(name);
        bytes
    }

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn options_overflow_into_the_name_fields_as_option_52_says() {
        let (router, dns) = ([3, 4, 10, 0, 0, 1, 255], [6, 4, 10, 0, 0, 2, 255]);
        let nested = [52, 1, 3, 3, 4, 10, 0, 0, 1, 255];
        let broken = [3, 200, 10, 0, 0, 1, 255];
        let check = |which: &[u8], file: &[u8], name: &[u8], has_router, has_dns| {
            let message = Message::parse(&overloaded(which, file, name)).unwrap();
            assert_eq!(message.options.has(code::ROUTER), has_router, "{which:?}");
            assert_eq!(message.options.has(code::DNS), has_dns, "{which:?}");
            fuzz_message(&overloaded(which, file, name));
        };
        //    option 52  file     name   | router  dns
        check(&[1],      &router, &dns,    true,   false);
        check(&[2],      &router, &dns,    false,  true);
        check(&[3],      &router, &dns,    true,   true);
        check(&[0],      &router, &dns,    false,  false);
        check(&[7],      &router, &dns,    true,   true);  // unknown bits are nobody's
        check(&[],       &router, &dns,    false,  false);
        check(&[3, 3],   &router, &dns,    false,  false); // not one byte
        check(&[1],      &nested, &dns,    true,   false); // nested: no second round
        check(&[3],      &broken, &dns,    false,  true);
    }

    #[test]
    fn what_is_no_message_is_refused_with_a_reason() {
        let good = offer().emit();
        let bent = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            Message::parse(&bytes)
        };
        assert_eq!(Message::parse(&good[..200]), Err(BadMessage::Length(200)));
        assert_eq!(Message::parse(&[0; 2000]), Err(BadMessage::Length(2000)));
        assert_eq!(bent(236, 0), Err(BadMessage::Cookie));
        assert_eq!(bent(1, 6), Err(BadMessage::Hardware));
        assert_eq!(bent(2, 16), Err(BadMessage::Hardware));
        assert_eq!(bent(0, 1), Err(BadMessage::Kind));
        assert_eq!(bent(242, 99), Err(BadMessage::Kind));
    }
}
