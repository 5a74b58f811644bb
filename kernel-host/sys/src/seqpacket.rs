//! Control sockets between our own processes: whole messages, in order, never merged.
//!
//! Does:      makes pairs; sends and receives one message.
//! Does not:  know the messages; `node::supervision` does.
//! Bounds:    `MESSAGE_MAX`; the kernel's socket buffer bounds what waits.
//! Trusts:    the kernel to keep message borders; the content is the caller's to check.
//! Start at:  `pair`.

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// The longest control message.
pub const MESSAGE_MAX: usize = 64 * 1024;

/// Two connected ends, both closed on exec and non-blocking.
///
/// # Errors
/// When no descriptor is left.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags,
        None,
    )?)
}

/// One reading of the socket.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    Message(Vec<u8>),
    Empty,
    /// The other end is closed.
    End,
}

/// Sends one message; `WouldBlock` when the reader is behind.
///
/// # Errors
/// When the socket is full, the other end is gone, or the message is too long.
pub fn send_message(socket: impl AsFd, message: &[u8]) -> io::Result<()> {
    if message.len() > MESSAGE_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "control message too long",
        ));
    }
    send(socket, message, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one message.
///
/// # Errors
/// When the socket breaks.
pub fn receive_message(socket: impl AsFd) -> io::Result<Received> {
    let mut message = vec![0; MESSAGE_MAX];
    loop {
        match recv(&socket, message.as_mut_slice(), RecvFlags::empty()) {
            Ok((0, _)) | Err(rustix::io::Errno::CONNRESET) => return Ok(Received::End),
            Ok((read, _)) => {
                message.truncate(read);
                return Ok(Received::Message(message));
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Ok(Received::Empty),
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn messages_keep_their_borders_and_the_end_is_seen() {
        let (a, b) = pair().unwrap();
        send_message(&a, b"one").unwrap();
        send_message(&a, b"two").unwrap();
        assert_eq!(
            receive_message(&b).unwrap(),
            Received::Message(b"one".to_vec())
        );
        assert_eq!(
            receive_message(&b).unwrap(),
            Received::Message(b"two".to_vec())
        );
        assert_eq!(receive_message(&b).unwrap(), Received::Empty);
        drop(a);
        assert_eq!(receive_message(&b).unwrap(), Received::End);
    }
}
