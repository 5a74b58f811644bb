//! DHCP's options.
//!
//! Does:      walks an option field, joins options that came in parts (RFC 3396), reads and writes
//!            typed values.
//! Does not:  know which message they belong to.
//! Bounds:    the message that they came in; a part is at most 255 bytes.
//! Trusts:    nothing: a length beyond the field ends the walk and is noted.
//! Start at:  `Options::absorb`, `Options::emit`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// The numbers of the options that we read or write.
pub mod code {
    pub const PAD: u8 = 0;
    pub const MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const DNS: u8 = 6;
    pub const HOST_NAME: u8 = 12;
    pub const DOMAIN: u8 = 15;
    pub const MTU: u8 = 26;
    pub const NTP: u8 = 42;
    pub const VENDOR_SPECIFIC: u8 = 43;
    pub const REQUESTED_ADDRESS: u8 = 50;
    pub const LEASE_TIME: u8 = 51;
    pub const OVERLOAD: u8 = 52;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER_ID: u8 = 54;
    pub const PARAMETER_LIST: u8 = 55;
    pub const MESSAGE: u8 = 56;
    pub const MESSAGE_LEN_MAX: u8 = 57;
    pub const RENEWAL_TIME: u8 = 58;
    pub const REBINDING_TIME: u8 = 59;
    pub const VENDOR_CLASS: u8 = 60;
    pub const CLIENT_ID: u8 = 61;
    pub const TFTP_SERVER_NAME: u8 = 66;
    pub const BOOT_FILE: u8 = 67;
    pub const USER_CLASS: u8 = 77;
    pub const ARCHITECTURE: u8 = 93;
    pub const MACHINE_ID: u8 = 97;
    pub const IPXE: u8 = 175;
    pub const END: u8 = 255;
}

/// Bytes that one part of an option carries.
const PART_LEN_MAX: usize = 255;

/// Options by number, each with its joined value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    values: BTreeMap<u8, Vec<u8>>,
}

impl Options {
    /// Adds what stands in one option field. False: the field ended in the middle of an option;
    /// what came before it is kept, because real servers pad carelessly.
    pub fn absorb(&mut self, mut field: &[u8]) -> bool {
        loop {
            match field {
                [] | [code::END, ..] => return true,
                [code::PAD, rest @ ..] => field = rest,
                [_] => return false,
                [number, length, rest @ ..] => {
                    let Some((value, rest)) = rest.split_at_checked(usize::from(*length)) else {
                        return false;
                    };
                    self.values
                        .entry(*number)
                        .or_default()
                        .extend_from_slice(value);
                    field = rest;
                }
            }
        }
    }

    /// Appends all options but `END`: the message type first, as old clients expect it.
    pub fn emit(&self, into: &mut Vec<u8>) {
        let (first, rest): (Vec<_>, Vec<_>) = self
            .values
            .iter()
            .partition(|(number, _)| **number == code::MESSAGE_TYPE);
        for (number, value) in first.into_iter().chain(rest) {
            if value.is_empty() {
                into.extend_from_slice(&[*number, 0]);
            }
            for part in value.chunks(PART_LEN_MAX) {
                into.push(*number);
                into.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
                into.extend_from_slice(part);
            }
        }
    }

    pub fn bytes(&self, number: u8) -> Option<&[u8]> {
        self.values.get(&number).map(Vec::as_slice)
    }

    pub fn has(&self, number: u8) -> bool {
        self.values.contains_key(&number)
    }

    pub fn byte(&self, number: u8) -> Option<u8> {
        match self.bytes(number)? {
            [value] => Some(*value),
            _ => None,
        }
    }

    /// The first of a list of 16-bit numbers.
    pub fn number16(&self, number: u8) -> Option<u16> {
        Some(u16::from_be_bytes(*self.bytes(number)?.first_chunk()?))
    }

    pub fn number32(&self, number: u8) -> Option<u32> {
        let value: [u8; 4] = self.bytes(number)?.try_into().ok()?;
        Some(u32::from_be_bytes(value))
    }

    pub fn address(&self, number: u8) -> Option<Ipv4Addr> {
        self.addresses(number).first().copied()
    }

    /// A list of addresses; a remainder of one to three bytes is not an address.
    pub fn addresses(&self, number: u8) -> Vec<Ipv4Addr> {
        let (chunks, _) = self.bytes(number).unwrap_or_default().as_chunks::<4>();
        chunks.iter().copied().map(Ipv4Addr::from).collect()
    }

    /// Text without the NUL that some servers append. `None`: absent, empty or not UTF-8.
    pub fn text(&self, number: u8) -> Option<&str> {
        let text = std::str::from_utf8(self.bytes(number)?)
            .ok()?
            .trim_end_matches('\0');
        (!text.is_empty()).then_some(text)
    }

    pub fn set(&mut self, number: u8, value: impl Into<Vec<u8>>) {
        self.values.insert(number, value.into());
    }

    pub fn set_address(&mut self, number: u8, address: Ipv4Addr) {
        self.set(number, address.octets());
    }

    /// Writes a list; an empty one leaves the option out.
    pub fn set_addresses(&mut self, number: u8, addresses: &[Ipv4Addr]) {
        if !addresses.is_empty() {
            let bytes: Vec<u8> = addresses
                .iter()
                .flat_map(|address| address.octets())
                .collect();
            self.set(number, bytes);
        }
    }

    pub fn set_number32(&mut self, number: u8, value: u32) {
        self.set(number, value.to_be_bytes());
    }

    /// Takes over all of `other`; its values win.
    pub fn join(&mut self, other: &Options) {
        self.values.extend(
            other
                .values
                .iter()
                .map(|(number, value)| (*number, value.clone())),
        );
    }

    pub fn remove(&mut self, number: u8) {
        self.values.remove(&number);
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}
