//! ARP where smoltcp is silent (RFC 5227).
//!
//! Does:      answers probes for our address, which smoltcp drops because their sender has none
//!            yet; defends the address when somebody else claims it.
//! Does not:  give the address up: whoever can send an ARP frame could take it from us. It counts
//!            (`address_conflicts`), and an operator sees it.
//! Bounds:    one defence in `DEFEND_MS`.
//! Trusts:    nothing in the frame.
//! Start at:  `Guard::answer`.

use std::net::Ipv4Addr;

use netcore::ethernet::{Mac, arp_announcement};
use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame};
use smoltcp::wire::{EthernetProtocol, EthernetRepr};

/// Between two defences (RFC 5227's `DEFEND_INTERVAL`): two hosts that both insist stay quiet.
const DEFEND_MS: u64 = 10_000;

#[derive(Debug, Default)]
pub(super) struct Guard {
    defended_ms: Option<u64>,
    pub conflicts: u64,
}

impl Guard {
    /// The frame to send because of this one, if any.
    pub fn answer(
        &mut self,
        frame: &[u8],
        (mac, address): (Mac, Ipv4Addr),
        now_ms: u64,
    ) -> Option<Vec<u8>> {
        let ethernet = EthernetFrame::new_checked(frame).ok()?;
        if ethernet.ethertype() != EthernetProtocol::Arp {
            return None;
        }
        let packet = ArpPacket::new_checked(ethernet.payload()).ok()?;
        let ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: sender,
            source_protocol_addr: claimed,
            target_protocol_addr: asked,
            ..
        } = ArpRepr::parse(&packet).ok()?
        else {
            return None;
        };
        if sender.0 == mac.0 || !sender.is_unicast() {
            return None; // our own frame that came back through a loop is no conflict
        }
        if claimed == address {
            self.conflicts += 1;
            let due = self.defended_ms.is_none_or(|ms| now_ms >= ms + DEFEND_MS);
            self.defended_ms = if due { Some(now_ms) } else { self.defended_ms };
            return due.then(|| arp_announcement(mac, address));
        }
        let probe = operation == ArpOperation::Request && claimed.is_unspecified();
        (probe && asked == address).then(|| reply(mac, address, sender))
    }
}

/// "That address is here", to a station that has none.
fn reply(mac: Mac, address: Ipv4Addr, to: EthernetAddress) -> Vec<u8> {
    let arp = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: EthernetAddress(mac.0),
        source_protocol_addr: address,
        target_hardware_addr: to,
        target_protocol_addr: Ipv4Addr::UNSPECIFIED,
    };
    let ethernet = EthernetRepr {
        src_addr: EthernetAddress(mac.0),
        dst_addr: to,
        ethertype: EthernetProtocol::Arp,
    };
    let mut bytes = vec![0; ethernet.buffer_len() + arp.buffer_len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    ethernet.emit(&mut frame);
    arp.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    bytes
}

/// Fuzz target: no frame brings more than one answer, and never one to ourselves.
pub fn fuzz_arp(data: &[u8]) {
    let us = (Mac([2, 0, 0, 0, 0, 1]), Ipv4Addr::new(10, 0, 0, 1));
    let mut guard = Guard::default();
    let first = guard.answer(data, us, 0);
    if let Some(answer) = &first {
        assert!(
            guard.answer(answer, us, 1).is_none(),
            "an answer is not answered"
        );
    }
    if guard.conflicts > 0 {
        assert!(guard.answer(data, us, 1).is_none(), "one defence at a time");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: (Mac, Ipv4Addr) = (Mac([2, 0, 0, 0, 0, 1]), Ipv4Addr::new(10, 0, 0, 1));

    fn request(sender: [u8; 6], claimed: [u8; 4], asked: [u8; 4]) -> Vec<u8> {
        let mut frame = arp_announcement(Mac(sender), asked.into());
        frame[28..32].copy_from_slice(&claimed);
        frame
    }

    #[test]
    fn a_probe_for_our_address_is_answered_and_others_are_not() {
        let mut guard = Guard::default();
        let probe = request([2, 0, 0, 0, 0, 9], [0; 4], [10, 0, 0, 1]);
        let answer = guard.answer(&probe, US, 0).expect("a probe is answered");
        assert_eq!(answer[..6], [2, 0, 0, 0, 0, 9]);
        assert_eq!(answer[28..32], [10, 0, 0, 1]);
        let other = request([2, 0, 0, 0, 0, 9], [0; 4], [10, 0, 0, 2]);
        assert_eq!(guard.answer(&other, US, 0), None);
        let ordinary = request([2, 0, 0, 0, 0, 9], [10, 0, 0, 9], [10, 0, 0, 1]);
        assert_eq!(guard.answer(&ordinary, US, 0), None, "smoltcp answers that");
    }

    #[test]
    fn a_claim_on_our_address_is_countered_once_in_ten_seconds() {
        let mut guard = Guard::default();
        let claim = request([2, 0, 0, 0, 0, 9], [10, 0, 0, 1], [10, 0, 0, 1]);
        assert!(guard.answer(&claim, US, 0).is_some());
        assert!(guard.answer(&claim, US, 9_999).is_none());
        assert!(guard.answer(&claim, US, 10_000).is_some());
        assert_eq!(guard.conflicts, 3);
        let own = request(US.0.0, [10, 0, 0, 1], [10, 0, 0, 1]);
        assert_eq!(
            guard.answer(&own, US, 30_000),
            None,
            "a looped-back frame is our own"
        );
        assert_eq!(guard.conflicts, 3);
    }
}
