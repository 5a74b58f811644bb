//! A connection that its peer must keep moving.
//!
//! Does:      passes hyper's reads and writes on; a write that makes no progress for
//!            `STALL_MS` fails, which ends the connection.
//! Does not:  limit reads: hyper's header limit and the body's limit do.
//! Bounds:    one timer while a write waits.
//! Trusts:    nobody: a peer that closes its window would hold its place for ever.
//! Start at:  `Watched::poll_write`.

use super::streams::Stream;
use hyper::rt::{Read, ReadBufCursor, Write};
use netio::executor::{Handle, Sleep};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A reader that takes nothing for so long is gone.
const STALL_MS: u64 = 20_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Watched {
    stream: Stream,
    executor: Handle,
    stall: Option<Pin<Box<Sleep>>>,
}

impl Watched {
    pub fn new(stream: Stream, executor: Handle) -> Watched {
        Watched {
            stream,
            executor,
            stall: None,
        }
    }

    pub fn into_stream(self) -> Stream {
        self.stream
    }
}

impl Read for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl Write for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if let Poll::Ready(result) = Pin::new(&mut this.stream).poll_write(cx, bytes) {
            this.stall = None;
            return Poll::Ready(result);
        }
        let executor = &this.executor;
        let stall = this
            .stall
            .get_or_insert_with(|| Box::pin(executor.sleep(STALL_MS)));
        stall
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
