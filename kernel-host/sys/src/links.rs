//! Link changes: a network device came, went, or its cable did.
//!
//! Does:      becomes readable when any network device changed.
//! Does not:  parse what changed: the reader looks at `nics::list` again, so that a lost message
//!            costs nothing.
//! Bounds:    one datagram buffer.
//! Trusts:    the kernel; a forged message only makes us look once more.
//! Start at:  `LinkChanges::clear`.

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// `RTMGRP_LINK`.
const LINK_GROUP: u32 = 1;

/// The kernel's link notification socket.
#[derive(Debug)]
pub struct LinkChanges {
    socket: OwnedFd,
}

impl LinkChanges {
    /// Starts listening.
    ///
    /// # Errors
    /// When the kernel refuses the socket.
    pub fn open() -> io::Result<LinkChanges> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // No protocol number is number 0, which is NETLINK_ROUTE.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, LINK_GROUP))?;
        Ok(LinkChanges { socket })
    }

    /// Forgets all notifications so far; true if there was one, or if some were lost.
    #[must_use]
    pub fn clear(&self) -> bool {
        let mut any = false;
        let mut datagram = [0_u8; 4096];
        loop {
            match recv(&self.socket, datagram.as_mut_slice(), RecvFlags::empty()) {
                Ok(_) | Err(rustix::io::Errno::NOBUFS) => any = true,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return any,
            }
        }
    }
}

impl AsFd for LinkChanges {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
