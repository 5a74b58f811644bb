//! Cuts one checked frame into the frames that go on a wire.

use super::{Checked, Cut};
use crate::ethernet::{HEADER_LEN, checksum};
use crate::packet::{Fragment, Pseudo, protocol, tcp_flag};

/// The frames of one checked frame, in order, each with complete checksums.
#[derive(Debug)]
pub struct Segments<'a> {
    checked: Checked<'a>,
    /// Where the next piece of the payload begins; `None`: all is said.
    next_at: Option<usize>,
    index: u16,
}

impl<'a> Segments<'a> {
    pub(super) fn new(checked: Checked<'a>) -> Segments<'a> {
        Segments {
            checked,
            next_at: Some(checked.payload_at),
            index: 0,
        }
    }

    fn whole(&mut self) -> Vec<u8> {
        self.next_at = None;
        let mut frame = self.checked.packet.bytes().to_vec();
        if let Some(partial) = self.checked.offload.partial {
            let start = usize::from(partial.start);
            let at = start + usize::from(partial.offset);
            let mut sum = checksum(&[&frame[start..]]);
            let ip = self.checked.packet.ip();
            if sum == 0 && ip.is_some_and(|ip| ip.protocol == protocol::UDP) {
                sum = 0xffff; // zero would say that there is none
            }
            frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        frame
    }

    fn piece(&mut self, kind: Cut, size: usize, at: usize) -> Option<Vec<u8>> {
        let ip = self.checked.packet.ip()?;
        let bytes = self.checked.packet.bytes();
        let until = (at + size).min(ip.end);
        let is_last = until == ip.end;
        self.next_at = (!is_last).then_some(until);
        let headers_len = self.checked.payload_at;
        let mut frame = Vec::with_capacity(headers_len + until - at);
        frame.extend_from_slice(&bytes[..headers_len]);
        frame.extend_from_slice(&bytes[at..until]);
        let transport_at = ip.transport_at;
        let sum_at = match kind {
            Cut::Udp => {
                let length = u16::try_from(frame.len() - transport_at).ok()?;
                frame[transport_at + 4..transport_at + 6].copy_from_slice(&length.to_be_bytes());
                transport_at + 6
            }
            Cut::Tcp4 | Cut::Tcp6 => {
                let done = u32::try_from(at - headers_len).ok()?;
                dress_tcp(&mut frame[transport_at..], done, is_last);
                transport_at + 16
            }
        };
        dress_ip(&mut frame, ip.is_v4(), self.index)?;
        self.index = self.index.wrapping_add(1);
        frame[sum_at..sum_at + 2].copy_from_slice(&[0, 0]);
        let transport_len = frame.len() - transport_at;
        let pseudo = Pseudo::new(ip.source, ip.target, ip.protocol, transport_len);
        let sum = match checksum(&[pseudo.bytes(), &frame[transport_at..]]) {
            0 if kind == Cut::Udp => 0xffff,
            sum => sum,
        };
        frame[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
        debug_assert_eq!(ip.fragment, Fragment::Whole);
        Some(frame)
    }
}

impl Iterator for Segments<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let at = self.next_at?;
        match self.checked.offload.cut {
            None => Some(self.whole()),
            Some((kind, size)) => self.piece(kind, usize::from(size), at),
        }
    }
}

/// Only the first segment tells that the window shrank, only the last one ends or pushes.
fn dress_tcp(tcp: &mut [u8], done: u32, is_last: bool) {
    let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]).wrapping_add(done);
    tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
    if !is_last {
        tcp[13] &= !(tcp_flag::FIN | tcp_flag::PSH);
    }
    if done != 0 {
        tcp[13] &= !tcp_flag::CWR;
    }
}

/// Lengths, and in IPv4 a name for each packet and its checksum.
fn dress_ip(frame: &mut [u8], is_v4: bool, index: u16) -> Option<()> {
    let packet = &mut frame[HEADER_LEN..];
    if is_v4 {
        let header_len = usize::from(packet[0] & 0x0f) * 4;
        let total_len = u16::try_from(packet.len()).ok()?;
        let id = u16::from_be_bytes([packet[4], packet[5]]).wrapping_add(index);
        packet[2..4].copy_from_slice(&total_len.to_be_bytes());
        packet[4..6].copy_from_slice(&id.to_be_bytes());
        packet[10..12].copy_from_slice(&[0, 0]);
        let sum = checksum(&[&packet[..header_len]]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    } else {
        let payload_len = u16::try_from(packet.len() - 40).ok()?;
        packet[4..6].copy_from_slice(&payload_len.to_be_bytes());
    }
    Some(())
}
