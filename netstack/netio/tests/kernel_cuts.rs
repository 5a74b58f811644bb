//! Our segmenter against the kernel's: the same long packet, cut by both, byte for byte.
//!
//! A TAP device without offloads makes the kernel cut in software what we send on it. Needs root;
//! without it the test says why it is skipped.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};

use netcore::ethernet::checksum;
use netcore::offload::{Checked, NET_HEADER_LEN, Offload};
use netcore::packet::Pseudo;
use netio::frame::{AfPacket, AfPacketSettings, VNET_HEADER_LEN};

const INSIDE: &str = "LUC_TEST_INSIDE_NAMESPACE";

fn runs_outside(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    if !rustix::process::geteuid().is_root() || !std::path::Path::new("/dev/net/tun").exists() {
        println!("skipped: {name} needs root and /dev/net/tun");
        return true;
    }
    let status = Command::new("unshare")
        .arg("--net")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{name} failed inside its namespace");
    true
}

fn tap(name: &str) -> File {
    const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
    const IFF_TAP: u16 = 2;
    const IFF_NO_PI: u16 = 0x1000;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")
        .unwrap();
    let mut request = [0u8; 40];
    request[..name.len()].copy_from_slice(name.as_bytes());
    request[16..18].copy_from_slice(&(IFF_TAP | IFF_NO_PI).to_ne_bytes());
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which has 40 bytes; `request` has as many.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF as _, request.as_mut_ptr()) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    file
}

fn ip(arguments: &str) -> String {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "ip {arguments}");
    String::from_utf8(output.stdout).unwrap()
}

/// A long packet with only the sum of its pseudo header, as a guest's card gets it.
fn long(is_v4: bool, is_tcp: bool, payload_len: usize) -> Vec<u8> {
    let mut body = if is_tcp {
        let mut tcp = vec![0u8; 32];
        tcp[..8].copy_from_slice(&[0x30, 0x39, 0, 80, 0xff, 0xff, 0xf0, 0]);
        tcp[12..16].copy_from_slice(&[0x80, 0x99, 0x10, 0]); // CWR, ACK, PSH, FIN
        tcp[20..24].copy_from_slice(&[1, 1, 8, 10]);
        tcp
    } else {
        vec![0x30, 0x39, 0, 53, 0, 0, 0, 0]
    };
    body.extend((0..payload_len).map(|at| (at * 7 % 251) as u8));
    if !is_tcp {
        let length = body.len() as u16;
        body[4..6].copy_from_slice(&length.to_be_bytes());
    }
    let number = if is_tcp { 6 } else { 17 };
    let mut packet = if is_v4 {
        let mut header = vec![0x45, 0, 0, 0, 0xff, 0xfe, 0x40, 0, 64, number, 0, 0];
        header.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        header[2..4].copy_from_slice(&((20 + body.len()) as u16).to_be_bytes());
        let sum = checksum(&[&header]);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header
    } else {
        let mut header = vec![0x60, 0, 0, 0, 0, 0, number, 64];
        header.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        header.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        header[4..6].copy_from_slice(&(body.len() as u16).to_be_bytes());
        header
    };
    let address = |at: usize| -> std::net::IpAddr {
        if is_v4 {
            let octets: [u8; 4] = packet[at..at + 4].try_into().unwrap();
            octets.into()
        } else {
            let octets: [u8; 16] = packet[at..at + 16].try_into().unwrap();
            octets.into()
        }
    };
    let (source, target) = if is_v4 {
        (address(12), address(16))
    } else {
        (address(8), address(24))
    };
    let pseudo = !checksum(&[Pseudo::new(source, target, number, body.len()).bytes()]);
    let sum_at = if is_tcp { 16 } else { 6 };
    body[sum_at..sum_at + 2].copy_from_slice(&pseudo.to_be_bytes());
    let kind: [u8; 2] = if is_v4 { [8, 0] } else { [0x86, 0xdd] };
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    frame.extend(kind);
    frame.append(&mut packet);
    frame.append(&mut body);
    frame
}

fn header(is_v4: bool, is_tcp: bool, size: u16, ecn: bool) -> [u8; NET_HEADER_LEN] {
    let kind = match (is_v4, is_tcp) {
        (_, false) => 5,
        (true, true) => 1,
        (false, true) => 4,
    };
    let start = if is_v4 { 34u16 } else { 54 };
    let mut header = [0; NET_HEADER_LEN];
    header[0] = 1;
    header[1] = kind | if ecn { 0x80 } else { 0 };
    header[2..4].copy_from_slice(&(start + if is_tcp { 32 } else { 8 }).to_le_bytes());
    header[4..6].copy_from_slice(&size.to_le_bytes());
    header[6..8].copy_from_slice(&start.to_le_bytes());
    header[8..10].copy_from_slice(&(if is_tcp { 16u16 } else { 6 }).to_le_bytes());
    header
}

#[test]
fn the_kernel_cuts_as_we_do() {
    if runs_outside("the_kernel_cuts_as_we_do") {
        return;
    }
    let mut tap = tap("cut");
    // The kernel's own IPv6 would chatter on the device.
    let _ = std::fs::write("/proc/sys/net/ipv6/conf/cut/disable_ipv6", "1");
    ip("link set cut mtu 1400 txqueuelen 1000 up");
    let shown = ip("-o link show cut");
    let interface_index = shown.split(':').next().unwrap().trim().parse().unwrap();
    let mut card = AfPacket::open(AfPacketSettings {
        interface_index,
        vlan: None,
    })
    .unwrap();
    let mut compared = 0;
    for (is_v4, is_tcp) in [(true, true), (false, true), (true, false), (false, false)] {
        for (payload_len, size) in [(2000, 1000), (1001, 1000), (30_000, 1301), (4096, 512)] {
            let frame = long(is_v4, is_tcp, payload_len);
            let header = header(is_v4, is_tcp, size, is_tcp);
            let offload = Offload::parse(&header).unwrap();
            let ours: Vec<_> = Checked::new(&frame, offload).unwrap().segments().collect();
            let short: [u8; VNET_HEADER_LEN] = header[..VNET_HEADER_LEN].try_into().unwrap();
            card.send_with(short, &frame).unwrap();
            for (index, segment) in ours.iter().enumerate() {
                let place = format!("v4 {is_v4} tcp {is_tcp} {payload_len}/{size} #{index}");
                let theirs = next_of_ours(&mut tap, &place);
                assert_eq!(theirs, *segment, "{place}");
                compared += 1;
            }
        }
    }
    assert_eq!(card.counters().send_dropped, 0);
    println!("{compared} segments are the same");
    assert!(compared > 100);
}

/// The kernel's next frame from our test MAC.
fn next_of_ours(tap: &mut File, place: &str) -> Vec<u8> {
    let mut buffer = vec![0; 65_600];
    for _ in 0..2000 {
        match tap.read(&mut buffer) {
            Ok(length) if buffer[6..12] == [2, 0, 0, 0, 0, 1] => return buffer[..length].to_vec(),
            Ok(_) => {}
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(1)),
        }
    }
    panic!("the kernel sent nothing for {place}");
}
