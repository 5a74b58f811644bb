//! Network cards as the kernel shows them.
//!
//! Does:      lists Ethernet cards with what a technician asks first; switches one on.
//! Does not:  give any card an address; the kernel never has one.
//! Bounds:    `NICS_MAX`; cards beyond it are not listed.
//! Trusts:    /sys/class/net.
//! Start at:  `list`.

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Cards that a node serves. Servers have up to 8; the rest are virtual functions.
pub const NICS_MAX: usize = 16;
/// `ARPHRD_ETHER`.
const ETHERNET: &str = "1";

/// One Ethernet card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    pub name: String,
    pub index: u32,
    pub mac: [u8; 6],
    pub mtu: u32,
    /// `None` while the card is switched off: it can't tell.
    pub carrier: Option<bool>,
    pub driver: String,
    /// A management controller's own USB port: never our way out.
    pub management: bool,
}

/// The Ethernet cards, by kernel index, so in the order of discovery.
///
/// # Errors
/// When /sys/class/net can't be read.
pub fn list() -> io::Result<Vec<Nic>> {
    list_below(Path::new("/sys/class/net"))
}

fn list_below(folder: &Path) -> io::Result<Vec<Nic>> {
    let mut nics = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        // A card may vanish between listing and reading: then it is not there.
        if let Some(nic) = read_nic(&entry?.path()) {
            nics.push(nic);
        }
    }
    nics.sort_by_key(|nic: &Nic| nic.index);
    nics.truncate(NICS_MAX);
    Ok(nics)
}

fn read_nic(folder: &Path) -> Option<Nic> {
    let read = |name: &str| crate::read_attribute(folder.join(name)).ok();
    // Bridges, tunnels and the loopback have no device behind them.
    if read("type")? != ETHERNET || !folder.join("device").exists() {
        return None;
    }
    let driver = std::fs::read_link(folder.join("device/driver"))
        .ok()
        .and_then(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .unwrap_or_default();
    Some(Nic {
        name: folder.file_name()?.to_str()?.to_owned(),
        index: read("ifindex")?.parse().ok()?,
        mac: parse_mac(&read("address")?)?,
        mtu: read("mtu")?.parse().ok()?,
        carrier: read("carrier").map(|text| text == "1"),
        management: matches!(driver.as_str(), "cdc_ether" | "cdc_eem" | "rndis_host"),
        driver,
    })
}

/// Parses `aa:bb:cc:dd:ee:ff`, with `-` as well.
#[must_use]
pub fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut mac {
        let part = parts.next()?;
        if part.len() != 2 || !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

/// Formats as `aa:bb:cc:dd:ee:ff`.
#[must_use]
pub fn format_mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Switches a card on, with the kernel's IPv6 off first so that it sends nothing by itself.
///
/// # Errors
/// When the card is gone or its driver refuses (a missing firmware file, for example).
pub fn switch_on(name: &str) -> io::Result<()> {
    // The default is off already; this covers cards that were there before PID 1 set it.
    let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let mut request = interface_request(name)?;
    flags_call(&socket, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: reading a union field wants it initialised with a value of this type.
    // - SIOCGIFFLAGS succeeded, and it fills `ifru_flags`.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    let up = flag(libc::IFF_UP);
    if flags & up != 0 {
        return Ok(());
    }
    request.ifr_ifru.ifru_flags = flags | up;
    flags_call(&socket, libc::SIOCSIFFLAGS, &mut request)
}

fn flag(flag: i32) -> i16 {
    i16::try_from(flag).expect("IFF_UP is 1")
}

fn flags_call(
    socket: &impl AsRawFd,
    call: libc::Ioctl,
    request: &mut libc::ifreq,
) -> io::Result<()> {
    // SAFETY: ioctl(2) wants an open descriptor and, for these two calls, a live `ifreq`.
    // - Descriptor: borrowed from its owner for the call.
    // - `request`: a unique reference, NUL-terminated name; the kernel writes within the struct.
    let ret = unsafe { libc::ioctl(socket.as_raw_fd(), call, std::ptr::from_mut(request)) };
    if ret < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn interface_request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: zeroed() wants a type for which all zero bytes are a value.
    // - `ifreq` is integers and a union of integers, addresses and pointers: zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() || name.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "network device name",
        ));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_mac_reads_back_as_written() {
        assert_eq!(
            parse_mac("52:54:00:0a:0B:ff"),
            Some([0x52, 0x54, 0, 0x0a, 0x0b, 0xff])
        );
        assert_eq!(
            parse_mac("52-54-00-0a-0b-ff"),
            parse_mac("52:54:00:0a:0b:ff")
        );
        assert_eq!(
            format_mac([0x52, 0x54, 0, 0x0a, 0x0b, 0xff]),
            "52:54:00:0a:0b:ff"
        );
        for wrong in [
            "",
            "52:54:00:0a:0b",
            "52:54:00:0a:0b:ff:00",
            "+1:54:00:0a:0b:ff",
            "5254",
        ] {
            assert_eq!(parse_mac(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_ethernet_cards_with_a_device_are_listed_in_order_of_discovery() {
        let net = tempfile::tempdir().unwrap();
        let add = |name: &str, kind: &str, index: &str, device: bool| {
            let folder = net.path().join(name);
            std::fs::create_dir_all(&folder).unwrap();
            if device {
                std::fs::create_dir(folder.join("device")).unwrap();
            }
            let files = [
                ("type", kind),
                ("ifindex", index),
                ("mtu", "1500"),
                ("address", "02:00:00:00:00:01"),
            ];
            for (file, text) in files {
                std::fs::write(folder.join(file), format!("{text}\n")).unwrap();
            }
        };
        add("lo", "772", "1", false);
        add("eth1", "1", "3", true);
        add("eth0", "1", "2", true);
        add("dummy0", "1", "4", false);
        let names: Vec<_> = list_below(net.path())
            .unwrap()
            .into_iter()
            .map(|n| n.name)
            .collect();
        assert_eq!(names, ["eth0", "eth1"]);
    }
}
