//! A connection of this node's API: TCP, or a sealed stream of a peer.
//!
//! Start at:  `Link`.

use super::peers::PeerStream;
use hyper::rt::{Read, ReadBufCursor, Write};
use netio::host::TcpStream;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Either kind; both read and write alike.
#[derive(Debug)]
pub(crate) enum Link {
    Tcp(TcpStream),
    Peer(Box<PeerStream>),
}

impl From<TcpStream> for Link {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

impl From<PeerStream> for Link {
    fn from(stream: PeerStream) -> Self {
        Self::Peer(Box::new(stream))
    }
}

impl Link {
    pub fn poll_read_into(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_into(cx, buffer),
            Self::Peer(stream) => stream.poll_read_into(cx, buffer),
        }
    }

    pub fn poll_write_from(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => stream.poll_write_from(cx, bytes),
            Self::Peer(stream) => stream.poll_write_from(cx, bytes),
        }
    }

    /// Sends what is buffered as far as it goes.
    pub fn poll_flushed(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) => Poll::Ready(Ok(())),
            Self::Peer(stream) => stream.poll_flushed(cx),
        }
    }

    /// Breaks the connection at once, for both sides.
    pub fn abort(&self) {
        match self {
            Self::Tcp(stream) => stream.abort(),
            Self::Peer(stream) => stream.abort(),
        }
    }
}

impl Read for Link {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, cursor),
            Self::Peer(stream) => Pin::new(&mut **stream).poll_read(cx, cursor),
        }
    }
}

impl Write for Link {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_from(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flushed(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Peer(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}
