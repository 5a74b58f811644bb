//! The other end of a network card: a descriptor that carries packets.
//!
//! Does:      reads and writes one packet a call: a TAP device, or a `SOCK_SEQPACKET` socket to a
//!            switch. Both carry the virtio-net header of 12 bytes before each frame.
//! Does not:  open anything, or look into packets.
//! Bounds:    no memory of its own; what the other end doesn't take now waits in the guest's ring.
//! Trusts:    the other end for nothing but ending: once it is gone, frames of the guest vanish.
//! Start at:  `FdWire`.
//!
//! What the guest can finish is told to the other end when its driver starts: to a TAP by an
//! ioctl, to a switch by a packet of `ABILITIES_BYTES`, which no frame with its header is.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use virtio::{Offloads, Wire};

use crate::control::NicKind;

/// Length of the packet that tells what the guest can do: a byte of bits (checksums 1, TCP over
/// IPv4 2, over IPv6 4), then zeroes.
pub const ABILITIES_BYTES: usize = 8;

/// `TUNSETOFFLOAD` and its bits.
pub(crate) const TUNSETOFFLOAD: u64 = 0x4004_54d0;
const TUN_F_CSUM: u64 = 1;
const TUN_F_TSO4: u64 = 2;
const TUN_F_TSO6: u64 = 4;

/// A descriptor as a wire.
#[derive(Debug)]
pub(crate) struct FdWire {
    fd: Arc<OwnedFd>,
    kind: NicKind,
}

impl FdWire {
    /// The descriptor must not block.
    pub(crate) fn new(fd: Arc<OwnedFd>, kind: NicKind) -> FdWire {
        FdWire { fd, kind }
    }

    /// Tells the other end what the guest can finish. False: it can't be told, or refuses, and
    /// goes on with frames that need nothing.
    pub(crate) fn try_guest_can(&mut self, offloads: Offloads) -> bool {
        let bits = (u64::from(offloads.checksum) * TUN_F_CSUM)
            | (u64::from(offloads.tcp4) * TUN_F_TSO4)
            | (u64::from(offloads.tcp6) * TUN_F_TSO6);
        match self.kind {
            NicKind::Tap => {
                // SAFETY: TUNSETOFFLOAD takes an open descriptor and a number, and no memory.
                // - Descriptor: owned by `self.fd`. On another kind of file it gives an error.
                let ret = unsafe { libc::ioctl(self.fd.as_raw_fd(), TUNSETOFFLOAD as _, bits) };
                ret == 0
            }
            NicKind::Socket => {
                let mut packet = [0; ABILITIES_BYTES];
                packet[0] = bits.to_le_bytes()[0];
                rustix::io::write(&*self.fd, &packet).is_ok()
            }
        }
    }
}

impl Wire for FdWire {
    fn receive(&mut self, into: &mut [u8]) -> Option<usize> {
        loop {
            match rustix::io::read(&*self.fd, &mut *into) {
                Ok(0) => return None, // the other end is gone
                Ok(length) => return Some(length),
                Err(Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }

    fn send(&mut self, packet: &[u8]) -> bool {
        loop {
            match rustix::io::write(&*self.fd, packet) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return false,
                // Refused (a header that contradicts its frame), or the other end is gone.
                Ok(_) | Err(_) => return true,
            }
        }
    }

    fn guest_can(&mut self, offloads: Offloads) {
        self.try_guest_can(offloads);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use virtio::{Offloads, Wire};

    use super::{ABILITIES_BYTES, FdWire};
    use crate::control::NicKind;

    #[test]
    fn packets_keep_their_bounds_and_a_full_socket_is_told() {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let mut wire = FdWire::new(Arc::new(ours), NicKind::Socket);
        wire.guest_can(Offloads {
            checksum: true,
            tcp4: false,
            tcp6: true,
        });
        let mut buffer = [0; 4096];
        assert_eq!(rustix::io::read(&theirs, &mut buffer), Ok(ABILITIES_BYTES));
        assert_eq!(buffer[..ABILITIES_BYTES], [5, 0, 0, 0, 0, 0, 0, 0]);
        for len in [26, 1500, 2000] {
            rustix::io::write(&theirs, &vec![1; len]).unwrap();
        }
        for len in [26, 1500, 2000] {
            assert_eq!(wire.receive(&mut buffer), Some(len));
        }
        assert_eq!(wire.receive(&mut buffer), None);
        let taken = (0..10_000).take_while(|_| wire.send(&[2; 1000])).count();
        assert!(taken > 0 && taken < 10_000);
        rustix::io::read(&theirs, &mut buffer).unwrap();
        assert!(
            wire.send(&[2; 1000]),
            "one was taken, so there is room again"
        );
        drop(theirs);
        assert!(wire.send(&[2; 1000]), "nobody is there: it vanishes");
        assert_eq!(wire.receive(&mut buffer), None);
    }
}
