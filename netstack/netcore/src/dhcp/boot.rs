//! What a booting firmware is told.
//!
//! Does:      recognises PXE, UEFI HTTP and iPXE clients by their options, and picks the file or
//!            URL for each.
//! Does not:  serve the file.
//! Bounds:    the names in `BootFiles`.
//! Trusts:    nothing; who claims to be a firmware gets a file name, nothing more.
//! Start at:  `Firmware::of`, then `BootFiles::answer`.

use std::net::Ipv4Addr;

use super::message::Message;
use super::options::{Options, code};

const PXE_CLASS: &str = "PXEClient";
const HTTP_CLASS: &str = "HTTPClient";

/// PXE's discovery control: "ask no boot servers, take the file in this offer".
const TAKE_THIS_FILE: [u8; 4] = [6, 1, 8, code::END];

/// A type byte and a UUID (RFC 4578); PXE wants it back.
const MACHINE_ID_LEN_MAX: usize = 17;

/// Who is booting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// iPXE: speaks HTTP and takes a script.
    Ipxe,
    /// BIOS PXE on x86.
    Bios,
    /// UEFI PXE on x86-64.
    Uefi,
    /// UEFI HTTP boot on x86-64.
    UefiHttp,
    /// A firmware whose processor we have no image for.
    Foreign,
}

/// What each kind of firmware gets. Names are TFTP paths; URLs hold literal addresses, because
/// firmwares forget their DNS server (ipxe#1316).
#[derive(Debug, Clone)]
pub struct BootFiles {
    /// Where the TFTP server is.
    pub tftp_server: Ipv4Addr,
    /// For BIOS: iPXE, `undionly.kpxe`.
    pub bios_file: String,
    /// For UEFI: the UKI itself, or `snponly.efi`.
    pub uefi_file: String,
    /// For iPXE: the URL of a script.
    pub script_url: String,
    /// For UEFI HTTP boot: the URL of the UKI.
    pub http_url: String,
}

/// Boot options for one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootAnswer {
    pub file: String,
    /// Also where the file is a URL: an iPXE that is told no server takes the offer for one that
    /// needs another question to port 4011, and waits 15 s for that answer.
    pub next_server: Ipv4Addr,
    /// Whether `file` is a TFTP path.
    pub by_tftp: bool,
    pub options: Options,
}

impl Firmware {
    /// `None`: an ordinary DHCP client.
    pub fn of(message: &Message) -> Option<Firmware> {
        let class = message.options.text(code::VENDOR_CLASS).unwrap_or_default();
        let is_ipxe = message.options.has(code::IPXE)
            || message
                .options
                .bytes(code::USER_CLASS)
                .is_some_and(is_ipxe_class);
        if is_ipxe {
            return Some(Firmware::Ipxe);
        }
        if !class.starts_with(PXE_CLASS) && !class.starts_with(HTTP_CLASS) {
            return None;
        }
        let number = message
            .options
            .number16(code::ARCHITECTURE)
            .or_else(|| named(class));
        Some(match number {
            Some(0) => Firmware::Bios,
            Some(7 | 9) => Firmware::Uefi,
            Some(16) => Firmware::UefiHttp,
            _ => Firmware::Foreign,
        })
    }
}

/// User class as plain text, or as RFC 3004 wants it: with a length before it.
fn is_ipxe_class(bytes: &[u8]) -> bool {
    matches!(bytes, b"iPXE" | [4, b'i', b'P', b'X', b'E', ..])
}

/// The architecture in a class like `PXEClient:Arch:00007:UNDI:003016`.
fn named(class: &str) -> Option<u16> {
    let mut parts = class.split(':');
    parts.find(|part| *part == "Arch")?;
    parts.next()?.parse().ok()
}

impl BootFiles {
    /// `None`: nothing for this one.
    pub fn answer(&self, firmware: Firmware, request: &Message) -> Option<BootAnswer> {
        let (file, class, by_tftp) = match firmware {
            Firmware::Ipxe => (&self.script_url, PXE_CLASS, false),
            Firmware::Bios => (&self.bios_file, PXE_CLASS, true),
            Firmware::Uefi => (&self.uefi_file, PXE_CLASS, true),
            Firmware::UefiHttp => (&self.http_url, HTTP_CLASS, false),
            Firmware::Foreign => return None,
        };
        let mut options = Options::default();
        // Without its own class echoed, a firmware takes the offer for an ordinary one.
        options.set(code::VENDOR_CLASS, class);
        // Some firmwares read on until a NUL.
        options.set(code::BOOT_FILE, format!("{file}\0"));
        if by_tftp {
            options.set(code::TFTP_SERVER_NAME, self.tftp_server.to_string());
        }
        if class == PXE_CLASS {
            options.set(code::VENDOR_SPECIFIC, TAKE_THIS_FILE);
        }
        let id = request.options.bytes(code::MACHINE_ID);
        if let Some(id) = id.filter(|id| id.len() <= MACHINE_ID_LEN_MAX) {
            options.set(code::MACHINE_ID, id);
        }
        Some(BootAnswer {
            file: file.clone(),
            next_server: self.tftp_server,
            by_tftp,
            options,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::Kind;
    use super::*;
    use crate::ethernet::Mac;

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn a_firmware_is_known_by_what_it_says() {
        let check = |class: &str, architecture: Option<u16>, user: &[u8], ipxe: bool, expected| {
            let mut message = Message::new(Kind::Discover, 1, Mac([2, 0, 0, 0, 0, 1]));
            if !class.is_empty() { message.options.set(code::VENDOR_CLASS, class); }
            if let Some(number) = architecture { message.options.set(code::ARCHITECTURE, number.to_be_bytes()); }
            if !user.is_empty() { message.options.set(code::USER_CLASS, user); }
            if ipxe { message.options.set(code::IPXE, [1, 1, 1]); }
            assert_eq!(Firmware::of(&message), expected, "{class} {architecture:?}");
        };
        use Firmware::{Bios, Foreign, Ipxe, Uefi, UefiHttp};
        //    class                        93         77           175
        check("PXEClient:Arch:00000:UNDI", Some(0),   b"",         false, Some(Bios));
        check("PXEClient:Arch:00007:UNDI", Some(7),   b"",         false, Some(Uefi));
        check("PXEClient:Arch:00009:UNDI", Some(9),   b"",         false, Some(Uefi));
        check("PXEClient:Arch:00007:UNDI", None,      b"",         false, Some(Uefi));
        check("HTTPClient:Arch:00016:UNDI", Some(16), b"",         false, Some(UefiHttp));
        check("PXEClient:Arch:00011:UNDI", Some(11),  b"",         false, Some(Foreign));
        check("PXEClient",                 None,      b"",         false, Some(Foreign));
        check("PXEClient:Arch:00000:UNDI", Some(0),   b"iPXE",     false, Some(Ipxe));
        check("PXEClient:Arch:00007:UNDI", Some(7),   b"\x04iPXE", false, Some(Ipxe));
        check("",                          None,      b"",         true,  Some(Ipxe));
        check("udhcp 1.36",                None,      b"",         false, None);
        check("",                          Some(0),   b"",         false, None);
    }
}
