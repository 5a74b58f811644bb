//! TAP devices by name, as a network card's other end.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use virtio::NET_HEADER_BYTES;

use crate::control::{NicKind, NicSpec};

const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const TUNSETVNETHDRSZ: libc::c_ulong = 0x4004_54d8;
const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;
/// A name with its NUL (`IFNAMSIZ`), and the whole `ifreq` on 64-bit Linux.
const NAME_BYTES: usize = 16;
const IFREQ_BYTES: usize = 40;
/// Where the system doesn't tell.
const MTU_DEFAULT: u16 = 1500;

/// Opens the device; whoever has not made it before needs CAP_NET_ADMIN.
pub(super) fn open(name: &str) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")?;
    if name.is_empty() || name.len() >= NAME_BYTES {
        let text = "the name of a device has 1 to 15 bytes";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let mut request = [0u8; IFREQ_BYTES];
    request[..name.len()].copy_from_slice(name.as_bytes());
    let flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    request[NAME_BYTES..NAME_BYTES + 2].copy_from_slice(&flags.to_ne_bytes());
    // SAFETY: TUNSETIFF wants an open descriptor and reads and writes one `ifreq`.
    // - Descriptor: owned by `file`. Memory: `request` has the size of an `ifreq`.
    let ret = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF as _, request.as_mut_ptr()) };
    if ret != 0 {
        return Err(io::Error::last_os_error());
    }
    let size = libc::c_int::try_from(NET_HEADER_BYTES).unwrap_or(0);
    // SAFETY: TUNSETVNETHDRSZ wants an open descriptor and reads one `int`.
    // - Descriptor: owned by `file`. Memory: `size` lives until the call returns.
    let ret = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETVNETHDRSZ as _, &raw const size) };
    if ret != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file)
}

/// A card for the device of this name: the same name gives the same hardware address, so that a
/// guest that boots again is known to its network.
pub(super) fn spec(name: &str) -> NicSpec {
    // FNV-1a; the first byte says "given locally, one station's own".
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let [a, b, c, d, e, ..] = hash.to_be_bytes();
    let told = std::fs::read_to_string(format!("/sys/class/net/{name}/mtu"));
    let mtu = told.ok().and_then(|text| text.trim().parse().ok());
    NicSpec {
        kind: NicKind::Tap,
        mac: [0x02, a, b, c, d, e],
        mtu: mtu.unwrap_or(MTU_DEFAULT),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::process::Command;
    use std::sync::Arc;

    use rustix::thread::UnshareFlags;
    use virtio::{NET_HEADER_BYTES, Offloads, Wire};

    use super::{open, spec};
    use crate::control::NicKind;
    use crate::wire::FdWire;

    /// The kernel answers what a guest asks through the device: a frame behind a header of 12
    /// bytes, both ways, and it takes what the guest can do.
    #[test]
    fn the_kernel_behind_a_tap_device_answers_a_guest() {
        let root = rustix::process::geteuid().is_root();
        if !root || !std::path::Path::new("/dev/net/tun").exists() {
            println!("skipped: needs root and /dev/net/tun");
            return;
        }
        std::thread::spawn(ask_the_kernel).join().unwrap();
    }

    /// On a thread of its own, which moves into a fresh network namespace.
    fn ask_the_kernel() {
        // SAFETY: unshare(2) wants that no other code relies on the sharing of what is unshared.
        // - Only this thread leaves the network namespace, and it holds no socket.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
        let file = open("guest0").unwrap();
        for arguments in ["address add 10.9.0.1/24 dev guest0", "link set guest0 up"] {
            let status = Command::new("ip").args(arguments.split(' ')).status();
            assert!(status.unwrap().success(), "ip {arguments}");
        }
        let mut wire = FdWire::new(Arc::new(file.into()), NicKind::Tap);
        assert!(wire.try_guest_can(Offloads {
            checksum: true,
            tcp4: true,
            tcp6: true,
        }));
        let mut ask = vec![0; NET_HEADER_BYTES];
        ask.extend([0xff; 6]);
        ask.extend([2, 0, 0, 0, 0, 9, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        ask.extend([2, 0, 0, 0, 0, 9, 10, 9, 0, 2, 0, 0, 0, 0, 0, 0, 10, 9, 0, 1]);
        assert!(wire.send(&ask));
        let mut buffer = vec![0; 2048];
        for _ in 0..2000 {
            match wire.receive(&mut buffer) {
                // The kernel says other things too; this is the answer.
                Some(length) if buffer[12 + 12..12 + 14] == [8, 6] => {
                    assert_eq!(length, NET_HEADER_BYTES + 42);
                    assert_eq!(buffer[..10], [0; 10], "nothing is left to finish");
                    assert_eq!(buffer[12..18], [2, 0, 0, 0, 0, 9]);
                    assert_eq!(buffer[32..34], [0, 2], "a reply");
                    assert_eq!(buffer[40..44], [10, 9, 0, 1]);
                    return;
                }
                Some(_) => {}
                None => std::thread::sleep(std::time::Duration::from_millis(1)),
            }
        }
        panic!("the kernel did not answer");
    }

    #[test]
    fn a_name_gives_one_address() {
        assert_eq!(spec("tap0").mac, spec("tap0").mac);
        assert_ne!(spec("tap0").mac, spec("tap1").mac);
        assert_eq!(spec("tap0").mac[0], 2);
    }

    #[test]
    fn a_name_that_is_none_is_refused_in_words() {
        for name in ["", "sixteen-bytes-is"] {
            match open(name) {
                Err(error) if std::path::Path::new("/dev/net/tun").exists() => {
                    assert!(
                        error.to_string().contains("1 to 15") || error.raw_os_error().is_some()
                    );
                }
                other => assert!(other.is_err()),
            }
        }
    }
}
