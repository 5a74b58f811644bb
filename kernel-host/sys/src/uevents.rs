//! Uevents: the kernel's word that a device came or went.
//!
//! Does:      opens the netlink socket, reads and parses its datagrams.
//! Does not:  read udev's own messages, nor anything that a process sent.
//! Bounds:    `DATAGRAM_MAX` bytes; on overflow the caller is told to walk the devices again.
//! Trusts:    datagrams whose sender is the kernel (port 0).
//! Start at:  `Uevents::next`.

use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recvfrom, socket_with};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The kernel's own limit on one event is 2 KiB of variables.
const DATAGRAM_MAX: usize = 8192;

/// What happened to which device; only the fields that a node uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uevent {
    pub action: String,
    pub subsystem: String,
    pub device: String,
    pub modalias: Option<String>,
    pub interface: Option<String>,
}

/// One reading of the socket.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    Event(Uevent),
    /// The kernel dropped events: walk the devices again.
    Overflow,
    Empty,
}

/// The kernel's event socket.
#[derive(Debug)]
pub struct Uevents {
    socket: OwnedFd,
}

impl Uevents {
    /// Starts listening. Open before the coldplug walk: then nothing falls between the two.
    ///
    /// # Errors
    /// When the kernel has no netlink or refuses the group.
    pub fn open() -> io::Result<Uevents> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let kind = SocketType::DGRAM;
        let socket = socket_with(AddressFamily::NETLINK, kind, flags, Some(KOBJECT_UEVENT))?;
        bind(&socket, &SocketAddrNetlink::new(0, 1))?;
        Ok(Uevents { socket })
    }

    /// The next event from the kernel.
    ///
    /// # Errors
    /// When the socket breaks, which the kernel does not do to a living one.
    pub fn next(&self) -> io::Result<Next> {
        let mut datagram = [0; DATAGRAM_MAX];
        loop {
            match recvfrom(&self.socket, datagram.as_mut_slice(), RecvFlags::empty()) {
                Ok((read, _, sender)) => {
                    let kernel = sender
                        .and_then(|address| SocketAddrNetlink::try_from(address).ok())
                        .is_some_and(|address| address.pid() == 0);
                    if let Some(event) = kernel.then(|| parse(&datagram[..read])).flatten() {
                        return Ok(Next::Event(event));
                    }
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::NOBUFS) => return Ok(Next::Overflow),
                Err(rustix::io::Errno::AGAIN) => return Ok(Next::Empty),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for Uevents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Parses `add@/devices/...` followed by NUL-separated `KEY=value`.
#[must_use]
pub fn parse(datagram: &[u8]) -> Option<Uevent> {
    let mut parts = datagram.split(|byte| *byte == 0);
    let (action, device) = std::str::from_utf8(parts.next()?).ok()?.split_once('@')?;
    if action.is_empty() || !device.starts_with('/') {
        return None;
    }
    let mut event = Uevent {
        action: action.to_owned(),
        device: device.to_owned(),
        ..Uevent::default()
    };
    for part in parts {
        let Some((key, value)) = std::str::from_utf8(part)
            .ok()
            .and_then(|p| p.split_once('='))
        else {
            continue;
        };
        match key {
            "SUBSYSTEM" => value.clone_into(&mut event.subsystem),
            "MODALIAS" => event.modalias = Some(value.to_owned()),
            "INTERFACE" => event.interface = Some(value.to_owned()),
            _ => {}
        }
    }
    Some(event)
}

/// Fuzz entry: a parsed event has an action and a device path.
pub fn fuzz_uevent(data: &[u8]) {
    if let Some(event) = parse(data) {
        assert!(!event.action.is_empty() && event.device.starts_with('/'));
        assert!(event.action.len() + event.device.len() < data.len().max(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_device_tells_its_alias() {
        let event = parse(
            b"add@/devices/pci0000:00/virtio0\0ACTION=add\0SUBSYSTEM=virtio\0MODALIAS=virtio:d1\0",
        )
        .expect("well-formed");
        assert_eq!(
            (event.action.as_str(), event.subsystem.as_str()),
            ("add", "virtio")
        );
        assert_eq!(event.modalias.as_deref(), Some("virtio:d1"));
    }

    #[test]
    fn what_is_not_from_the_kernel_is_no_event() {
        for bytes in [
            &b"libudev\0\xfe\xed"[..],
            b"",
            b"@/x",
            b"add@relative\0",
            b"\xff@/\0",
        ] {
            assert_eq!(parse(bytes), None);
        }
    }
}
