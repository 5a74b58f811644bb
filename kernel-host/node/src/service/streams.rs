//! Byte streams, wherever they lead: to clients over TCP, to other nodes through sessions.
//!
//! Does:      one shape for all that HTTP and consoles run on; carries bytes between two of them.
//! Does not:  know HTTP.
//! Bounds:    `PIECE_BYTES` each way between two streams; `STALL_MS` without progress of a write.
//! Trusts:    nobody.
//! Start at:  `Stream`.

use hyper::rt::{Read, ReadBuf, Write};
use netio::executor::Handle;
use netio::host::TcpStream;
use std::fmt::Debug;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Bytes that wait between two streams, each way.
const PIECE_BYTES: usize = 16 << 10;

/// A side that takes nothing for so long is gone.
const STALL_MS: u64 = 20_000;

/// A stream that HTTP can run on.
pub(crate) trait ByteStream: Read + Write + Unpin + Debug {
    /// Lets go at once of what the other side did not take.
    fn abort(&mut self) {}
}

impl ByteStream for TcpStream {
    fn abort(&mut self) {
        TcpStream::abort(self);
    }
}

/// See `ByteStream`.
pub(crate) type Stream = Box<dyn ByteStream>;

/// Reads what is there. `Ok(0)`: the other side writes no more.
pub(crate) fn poll_read_into(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    bytes: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(bytes);
    ready!(Pin::new(stream).poll_read(cx, buffer.unfilled()))?;
    Poll::Ready(Ok(buffer.filled().len()))
}

/// Bytes on their way in one direction.
struct Flow {
    bytes: Vec<u8>,
    written: usize,
    /// The reader's end of it was reached.
    ended: bool,
    /// The writer knows.
    closed: bool,
}

impl Flow {
    fn new(ahead: Vec<u8>) -> Self {
        Self {
            bytes: ahead,
            written: 0,
            ended: false,
            closed: false,
        }
    }

    fn is_waiting(&self) -> bool {
        self.written < self.bytes.len()
    }

    /// Moves what can be moved. Ready when the end has been passed on.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.is_waiting() {
                let rest = &self.bytes[self.written..];
                self.written += ready!(Pin::new(&mut *to).poll_write(cx, rest))?;
            } else if self.ended {
                if !self.closed {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.closed = true;
                }
                return Poll::Ready(Ok(()));
            } else {
                ready!(Pin::new(&mut *to).poll_flush(cx))?;
                self.bytes.resize(PIECE_BYTES, 0);
                let polled = poll_read_into(from, cx, &mut self.bytes);
                let count = if let Poll::Ready(Ok(count)) = &polled {
                    *count
                } else {
                    0
                };
                self.bytes.truncate(count);
                self.written = 0;
                self.ended = ready!(polled)? == 0;
            }
        }
    }
}

/// Carries bytes both ways until both sides ended, or one fails or takes nothing for too long.
pub(crate) async fn join(executor: &Handle, left: (Stream, Vec<u8>), right: (Stream, Vec<u8>)) {
    let ((mut left, from_left), (mut right, from_right)) = (left, right);
    let (mut to_right, mut to_left) = (Flow::new(from_left), Flow::new(from_right));
    loop {
        let mut moved = false;
        let before = (to_right.written, to_left.written);
        let turn = poll_fn(|cx| {
            let one = to_right.poll(cx, &mut left, &mut right);
            let other = to_left.poll(cx, &mut right, &mut left);
            moved = (to_right.written, to_left.written) != before;
            match (one, other) {
                (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => Poll::Ready(true),
                // A console that ended one way has nothing more to say the other way.
                (Poll::Ready(Ok(())), _) | (_, Poll::Ready(Ok(()))) => Poll::Ready(true),
                _ if moved => Poll::Ready(false),
                _ => Poll::Pending,
            }
        });
        let stuck = executor.timeout(STALL_MS, turn).await;
        let over = stuck.unwrap_or(to_right.is_waiting() || to_left.is_waiting());
        if over {
            return;
        }
    }
}

/// Two ends of one pipe in memory, for tests.
#[cfg(test)]
pub(crate) mod pipe {
    use super::{ByteStream, Stream, poll_read_into};
    use hyper::rt::{ReadBufCursor, Write as _};
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::future::poll_fn;
    use std::io;
    use std::pin::Pin;
    use std::rc::Rc;
    use std::task::{Context, Poll, Waker};

    const ROOM: usize = 64 << 10;

    #[derive(Debug, Default)]
    struct Way {
        bytes: VecDeque<u8>,
        over: bool,
        reader: Option<Waker>,
        writer: Option<Waker>,
    }

    #[derive(Debug)]
    struct End {
        reads: Rc<RefCell<Way>>,
        writes: Rc<RefCell<Way>>,
    }

    pub(crate) fn pair() -> (Stream, Stream) {
        let (one, two) = (Rc::<RefCell<Way>>::default(), Rc::<RefCell<Way>>::default());
        let left = End {
            reads: one.clone(),
            writes: two.clone(),
        };
        let right = End {
            reads: two,
            writes: one,
        };
        (Box::new(left), Box::new(right))
    }

    pub(crate) async fn write_all(stream: &mut Stream, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let wrote = poll_fn(|cx| Pin::new(&mut *stream).poll_write(cx, bytes)).await?;
            bytes = &bytes[wrote..];
        }
        Ok(())
    }

    pub(crate) async fn read_to_end(stream: &mut Stream) -> Vec<u8> {
        read_while(stream, |_| true).await
    }

    pub(crate) async fn read_until(stream: &mut Stream, wanted: &[u8]) -> Vec<u8> {
        let has = |seen: &[u8]| seen.windows(wanted.len()).any(|part| part == wanted);
        read_while(stream, |seen| !has(seen)).await
    }

    async fn read_while(stream: &mut Stream, on: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let mut seen = Vec::new();
        let mut piece = [0; 4096];
        while on(&seen) {
            let count = poll_fn(|cx| poll_read_into(stream, cx, &mut piece)).await;
            match count.unwrap_or(0) {
                0 => break,
                count => seen.extend_from_slice(&piece[..count]),
            }
        }
        seen
    }

    impl ByteStream for End {}

    impl Drop for End {
        fn drop(&mut self) {
            for way in [&self.reads, &self.writes] {
                let mut way = way.borrow_mut();
                way.over = true;
                let wakers = [way.reader.take(), way.writer.take()];
                drop(way);
                wakers.into_iter().flatten().for_each(Waker::wake);
            }
        }
    }

    impl hyper::rt::Read for End {
        fn poll_read(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            mut cursor: ReadBufCursor<'_>,
        ) -> Poll<io::Result<()>> {
            let mut way = self.reads.borrow_mut();
            if way.bytes.is_empty() && !way.over {
                way.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let count = way.bytes.len().min(cursor.remaining());
            let bytes: Vec<u8> = way.bytes.drain(..count).collect();
            cursor.put_slice(&bytes);
            way.writer.take().into_iter().for_each(Waker::wake);
            Poll::Ready(Ok(()))
        }
    }

    impl hyper::rt::Write for End {
        fn poll_write(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let mut way = self.writes.borrow_mut();
            if way.over {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let room = ROOM - way.bytes.len();
            if room == 0 {
                way.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let count = bytes.len().min(room);
            way.bytes.extend(&bytes[..count]);
            way.reader.take().into_iter().for_each(Waker::wake);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            let mut way = self.writes.borrow_mut();
            way.over = true;
            way.reader.take().into_iter().for_each(Waker::wake);
            Poll::Ready(Ok(()))
        }
    }
}
