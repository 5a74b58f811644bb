//! Long packets and unfinished checksums: what is cut, what is refused, and what smoltcp reads.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use netcore::offload::{Abilities, BadOffload, Checked, Cut, NET_HEADER_LEN, Offload, Partial};
use netcore::packet::{BadPacket, Packet};
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpAddress, Ipv4Packet, Ipv6Packet, TcpPacket, UdpPacket,
};

/// A frame from 10.0.0.1 to 10.0.0.2 (or their IPv6 likes) with a pseudo-header sum, as Linux
/// hands it to its card.
fn long(is_v4: bool, is_tcp: bool, payload_len: usize) -> Vec<u8> {
    let mut transport = if is_tcp {
        let mut tcp = vec![0u8; 32];
        tcp[..4].copy_from_slice(&[0x30, 0x39, 0, 80]);
        tcp[4..8].copy_from_slice(&0xffff_f000u32.to_be_bytes()); // wraps on the way
        tcp[12] = 8 << 4;
        tcp[13] = 0x80 | 0x10 | 0x08 | 0x01; // CWR, ACK, PSH, FIN
        tcp[20..24].copy_from_slice(&[1, 1, 8, 10]);
        tcp
    } else {
        vec![0x30, 0x39, 0, 53, 0, 0, 0, 0]
    };
    transport.extend((0..payload_len).map(|at| (at * 7 % 251) as u8));
    if !is_tcp {
        let length = transport.len() as u16;
        transport[4..6].copy_from_slice(&length.to_be_bytes());
    }
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    let number = if is_tcp { 6u8 } else { 17 };
    let (source, target): (IpAddress, IpAddress);
    if is_v4 {
        frame.extend([8, 0]);
        let mut header = [0u8; 20];
        header[0] = 0x45;
        header[2..4].copy_from_slice(&((20 + transport.len()) as u16).to_be_bytes());
        header[4..6].copy_from_slice(&0xfffeu16.to_be_bytes());
        header[6] = 0x40;
        header[8] = 64;
        header[9] = number;
        header[12..].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        Ipv4Packet::new_unchecked(&mut header).fill_checksum();
        (source, target) = (IpAddress::v4(10, 0, 0, 1), IpAddress::v4(10, 0, 0, 2));
        frame.extend(header);
    } else {
        frame.extend([0x86, 0xdd]);
        let mut header = [0u8; 40];
        header[0] = 0x60;
        header[4..6].copy_from_slice(&(transport.len() as u16).to_be_bytes());
        header[6] = number;
        header[7] = 64;
        header[8] = 0xfd;
        header[23] = 1;
        header[24] = 0xfd;
        header[39] = 2;
        source = IpAddress::v6(0xfd00, 0, 0, 0, 0, 0, 0, 1);
        target = IpAddress::v6(0xfd00, 0, 0, 0, 0, 0, 0, 2);
        frame.extend(header);
    }
    let sum_at = if is_tcp { 16 } else { 6 };
    let pseudo = !netcore::ethernet::checksum(&[netcore::packet::Pseudo::new(
        source.into(),
        target.into(),
        number,
        transport.len(),
    )
    .bytes()]);
    transport[sum_at..sum_at + 2].copy_from_slice(&pseudo.to_be_bytes());
    frame.extend(transport);
    frame
}

fn offload(is_v4: bool, is_tcp: bool, size: Option<u16>) -> Offload {
    let kind = match (is_v4, is_tcp) {
        (_, false) => Cut::Udp,
        (true, true) => Cut::Tcp4,
        (false, true) => Cut::Tcp6,
    };
    Offload {
        partial: Some(Partial {
            start: if is_v4 { 34 } else { 54 },
            offset: if is_tcp { 16 } else { 6 },
        }),
        cut: size.map(|size| (kind, size)),
    }
}

/// Sequence number; FIN, PSH, CWR.
type Tcp = (i32, bool, bool, bool);

/// Payload and what TCP says, after smoltcp verified every checksum.
fn read(frame: &[u8]) -> (Vec<u8>, Option<Tcp>) {
    let ethernet = EthernetFrame::new_checked(frame).unwrap();
    let (source, target, body): (IpAddress, IpAddress, &[u8]) = match ethernet.ethertype() {
        EthernetProtocol::Ipv4 => {
            let ip = Ipv4Packet::new_checked(ethernet.payload()).unwrap();
            assert!(ip.verify_checksum());
            assert_eq!(usize::from(ip.total_len()), ethernet.payload().len());
            let payload = &ethernet.payload()[usize::from(ip.header_len())..];
            (ip.src_addr().into(), ip.dst_addr().into(), payload)
        }
        _ => {
            let ip = Ipv6Packet::new_checked(ethernet.payload()).unwrap();
            assert_eq!(ip.total_len(), ethernet.payload().len());
            let payload = &ethernet.payload()[40..];
            (ip.src_addr().into(), ip.dst_addr().into(), payload)
        }
    };
    if Packet::parse(frame).unwrap().ip().unwrap().protocol == 17 {
        let udp = UdpPacket::new_checked(body).unwrap();
        assert!(udp.verify_checksum(&source, &target));
        assert_eq!(usize::from(udp.len()), body.len());
        return (udp.payload().to_vec(), None);
    }
    let tcp = TcpPacket::new_checked(body).unwrap();
    assert!(tcp.verify_checksum(&source, &target));
    let flags = (tcp.seq_number().0, tcp.fin(), tcp.psh(), tcp.cwr());
    (tcp.payload().to_vec(), Some(flags))
}

#[test]
fn smoltcp_reads_every_segment_and_the_whole_is_what_was_sent() {
    for is_v4 in [true, false] {
        for is_tcp in [true, false] {
            for (payload_len, size) in [(1, 1380), (1380, 1380), (1381, 1380), (60_000, 1321)] {
                let frame = long(is_v4, is_tcp, payload_len);
                let checked = Checked::new(&frame, offload(is_v4, is_tcp, Some(size))).unwrap();
                let segments: Vec<_> = checked.segments().collect();
                assert_eq!(segments.len(), payload_len.div_ceil(usize::from(size)));
                let mut whole = Vec::new();
                for (index, segment) in segments.iter().enumerate() {
                    let (payload, tcp) = read(segment);
                    let is_last = index + 1 == segments.len();
                    if let Some((sequence, fin, psh, cwr)) = tcp {
                        let expected = 0xffff_f000u32.wrapping_add(whole.len() as u32);
                        assert_eq!(sequence, expected.cast_signed());
                        assert_eq!((fin, psh, cwr), (is_last, is_last, index == 0));
                    }
                    whole.extend(payload);
                }
                let sent: Vec<u8> = (0..payload_len).map(|at| (at * 7 % 251) as u8).collect();
                assert!(whole == sent, "v4 {is_v4} tcp {is_tcp} {payload_len}");
            }
        }
    }
}

#[test]
fn an_unfinished_checksum_is_finished() {
    for is_v4 in [true, false] {
        for is_tcp in [true, false] {
            let frame = long(is_v4, is_tcp, 333);
            let checked = Checked::new(&frame, offload(is_v4, is_tcp, None)).unwrap();
            let segments: Vec<_> = checked.segments().collect();
            assert_eq!(segments.len(), 1);
            assert_eq!(read(&segments[0]).0.len(), 333);
        }
    }
}

#[test]
#[rustfmt::skip] // keeps the columns
fn a_lying_header_is_refused() {
    let tcp = long(true, true, 3000);
    let partial = |start, offset| Offload { partial: Some(Partial { start, offset }), cut: None };
    let cut = |start, kind, size| Offload {
        partial: Some(Partial { start, offset: 16 }), cut: Some((kind, size)),
    };
    let judged = |frame: &[u8], offload| Checked::new(frame, offload).map(|_| ());
    //                                            the checksum would overwrite
    assert_eq!(judged(&tcp, partial(34, 0)),      Err(BadOffload::Place)); // the source port
    assert_eq!(judged(&tcp, partial(34, 2)),      Err(BadOffload::Place)); // the target port
    assert_eq!(judged(&tcp, partial(34, 13)),     Err(BadOffload::Place)); // the flags
    assert_eq!(judged(&tcp, partial(0, 6)),       Err(BadOffload::Place)); // the source MAC
    assert_eq!(judged(&tcp, partial(14, 12)),     Err(BadOffload::Place)); // the source address
    assert_eq!(judged(&tcp, partial(65535, 65535)), Err(BadOffload::Place));
    assert_eq!(judged(&tcp, partial(3065, 0)),    Err(BadOffload::Place)); // beyond the end
    assert_eq!(judged(&tcp, partial(60, 16)),     Ok(())); // a tunnel's payload is the guest's own
    assert_eq!(judged(&tcp, cut(34, Cut::Tcp6, 1000)), Err(BadOffload::NotThatKind));
    assert_eq!(judged(&tcp, cut(34, Cut::Udp, 1000)),  Err(BadOffload::NotThatKind));
    assert_eq!(judged(&tcp, cut(60, Cut::Tcp4, 1000)), Err(BadOffload::Place));
    assert_eq!(judged(&tcp, cut(34, Cut::Tcp4, 1)),    Err(BadOffload::TooMany));
    assert_eq!(judged(&tcp, cut(34, Cut::Tcp4, 3)),    Ok(()));
    let mut fragment = tcp.clone();
    fragment[20] = 0x20;
    fragment[24..26].copy_from_slice(&[0, 0]);
    let sum = netcore::ethernet::checksum(&[&fragment[14..34]]);
    fragment[24..26].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(judged(&fragment, cut(34, Cut::Tcp4, 1000)), Err(BadOffload::NotThatKind));
    assert_eq!(judged(&tcp[..200], cut(34, Cut::Tcp4, 1000)),
               Err(BadOffload::Packet(BadPacket::IpHeader)));

    let header = |flags, kind, size: u16| {
        let mut header = [0u8; NET_HEADER_LEN];
        (header[0], header[1]) = (flags, kind);
        header[4..6].copy_from_slice(&size.to_le_bytes());
        Offload::parse(&header)
    };
    assert_eq!(header(1, 1, 0),    Err(BadOffload::NoSize));
    assert_eq!(header(0, 1, 1000), Err(BadOffload::NoChecksum));
    assert_eq!(header(1, 3, 1000), Err(BadOffload::Kind(3))); // UDP fragments
    assert_eq!(header(1, 0x7f, 1), Err(BadOffload::Kind(0x7f)));
    assert!(header(1, 0x81, 1000).is_ok()); // with the congestion mark
}

#[test]
fn a_receiver_is_only_given_what_it_can_finish() {
    let whole = Offload::default();
    let partial = offload(true, true, None);
    let long = offload(true, true, Some(1000));
    let checksum = Abilities {
        checksum: true,
        ..Abilities::default()
    };
    for (abilities, expected) in [
        (Abilities::default(), [true, false, false]),
        (checksum, [true, true, false]),
        (Abilities::ALL, [true, true, true]),
    ] {
        assert_eq!(
            [whole, partial, long].map(|offload| abilities.can(offload)),
            expected
        );
    }
}
