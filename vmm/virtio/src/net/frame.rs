//! The header before each frame, checked against what the guest negotiated.

use crate::device::Memory;
use crate::net::Offloads;
use crate::ring::Chain;

/// The header of the standard, with the number of buffers, which virtio 1 always has.
pub const NET_HEADER_BYTES: usize = 12;
/// The longest packet of IP behind an Ethernet header with a tag.
pub const FRAME_BYTES_MAX: usize = 65_535 + 18;
/// An Ethernet header; a shorter frame says nothing.
const FRAME_BYTES_MIN: usize = 14;

const NEEDS_CHECKSUM: u8 = 1;
const CHECKSUM_IS_VALID: u8 = 2;
const WHOLE: u8 = 0;
const TCP_4: u8 = 1;
const TCP_6: u8 = 4;

/// Why the guest's chain is not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadFrame {
    /// The chain itself can't be used.
    Chain,
    /// Too short for its headers, or longer than any frame.
    Length,
    /// The header asks for what was not negotiated.
    Header,
}

/// Copies header and frame out of guest memory, once: what was checked is what is sent. Returns
/// their length in `into`, which has room for the longest.
pub(super) fn parse(
    chain: &Chain,
    memory: &Memory,
    host: Offloads,
    into: &mut [u8],
) -> Result<usize, BadFrame> {
    if chain.fault().is_some() {
        return Err(BadFrame::Chain);
    }
    let limits = NET_HEADER_BYTES + FRAME_BYTES_MIN..=NET_HEADER_BYTES + FRAME_BYTES_MAX;
    let length = usize::try_from(chain.readable_len()).map_err(|_| BadFrame::Length)?;
    if !limits.contains(&length) {
        return Err(BadFrame::Length);
    }
    if chain.copy_out(memory, 0, &mut into[..length]) != length {
        return Err(BadFrame::Chain);
    }
    let header = &mut into[..NET_HEADER_BYTES];
    if !allows(host, header) {
        return Err(BadFrame::Header);
    }
    header[0] &= NEEDS_CHECKSUM;
    header[10..].fill(0);
    Ok(length)
}

/// Makes a packet from outside fit for the guest. False: it asks the guest for what it can't do.
pub(super) fn fit(packet: &mut [u8], guest: Offloads) -> bool {
    if packet.len() < NET_HEADER_BYTES + FRAME_BYTES_MIN {
        return false;
    }
    let header = &mut packet[..NET_HEADER_BYTES];
    if !guest.checksum {
        header[0] &= !CHECKSUM_IS_VALID;
    }
    header[0] &= NEEDS_CHECKSUM | CHECKSUM_IS_VALID;
    allows(guest, header)
}

fn allows(offloads: Offloads, header: &[u8]) -> bool {
    let checksum = header[0] & NEEDS_CHECKSUM == 0 || offloads.checksum;
    let has_checksum = header[0] & NEEDS_CHECKSUM != 0;
    checksum
        && match header[1] {
            WHOLE => true,
            TCP_4 => offloads.tcp4 && has_checksum,
            TCP_6 => offloads.tcp6 && has_checksum,
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::{NET_HEADER_BYTES, fit};
    use crate::net::Offloads;

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn a_guest_only_gets_what_it_can_finish() {
        let sum = Offloads { checksum: true, tcp4: false, tcp6: false };
        let all = Offloads { checksum: true, tcp4: true, tcp6: true };
        let check = |flags, kind, offloads, expected| {
            let mut packet = [0; NET_HEADER_BYTES + 14];
            (packet[0], packet[1]) = (flags, kind);
            assert_eq!(fit(&mut packet, offloads), expected, "{flags} {kind} {offloads:?}");
            packet[0]
        };
        let none = Offloads::default();
        //    flags kind offloads passes
        check(0,    0,   none,    true);
        check(1,    0,   none,    false);
        check(1,    0,   sum,     true);
        check(1,    1,   sum,     false);
        check(1,    1,   all,     true);
        check(1,    4,   all,     true);
        check(0,    1,   all,     false); // long without a checksum to complete
        check(1,    3,   all,     false); // UDP in fragments
        check(1,    0x81, all,    false); // a congestion mark that nobody negotiated
        assert_eq!(check(0xfe, 0, none, true), 0, "unknown flags go nowhere");
        assert_eq!(check(0xfe, 0, sum, true), 2, "a verified checksum is worth telling");
        assert!(!fit(&mut [0; NET_HEADER_BYTES + 13], all));
    }
}
