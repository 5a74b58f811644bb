//! A wire: Ethernet frames over a unix stream socket, framed as QEMU's `-netdev stream` does it.
//!
//! Does:      a big-endian 32-bit length before each frame, both ways; listens, connects, pairs.
//! Does not:  delay, drop or reorder; the rig's switch does.
//! Bounds:    `FRAME_LEN_MAX` a frame, `QUEUED_LEN_MAX` bytes waiting to be written. A full queue
//!            refuses the next frame with `WouldBlock`, so the sender keeps it.
//! Trusts:    nobody: a length of zero or above the maximum ends the wire with `InvalidData`.
//! Start at:  `WirePort::receive`.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use super::{FRAME_LEN_MAX, FramePort};

const LENGTH_LEN: usize = 4;

/// Bytes that may wait for the socket: four of the longest frames, 170 of the usual ones.
const QUEUED_LEN_MAX: usize = 256 * 1024;

/// Room for reading: one longest frame and as much again, so that one read takes many short ones.
const READ_LEN: usize = 2 * (FRAME_LEN_MAX + LENGTH_LEN);

/// One end of a wire.
#[derive(Debug)]
pub struct WirePort {
    stream: UnixStream,
    incoming: Vec<u8>,
    /// The unread part of `incoming`.
    start: usize,
    end: usize,
    outgoing: Vec<u8>,
    /// How much of `outgoing` is written already.
    written: usize,
}

impl WirePort {
    /// Takes a connected stream socket and makes it non-blocking.
    pub fn new(stream: UnixStream) -> io::Result<WirePort> {
        stream.set_nonblocking(true)?;
        Ok(WirePort {
            stream,
            incoming: vec![0; READ_LEN],
            start: 0,
            end: 0,
            outgoing: Vec::new(),
            written: 0,
        })
    }

    /// Connects to a listening switch or QEMU (`server=on`).
    pub fn connect(path: impl AsRef<Path>) -> io::Result<WirePort> {
        WirePort::new(UnixStream::connect(path)?)
    }

    /// Two ends of a new wire.
    pub fn pair() -> io::Result<(WirePort, WirePort)> {
        let (left, right) = UnixStream::pair()?;
        Ok((WirePort::new(left)?, WirePort::new(right)?))
    }

    /// The next whole frame among the bytes that were read, as a range of `incoming`.
    fn next_frame(&mut self) -> io::Result<Option<std::ops::Range<usize>>> {
        let unread = &self.incoming[self.start..self.end];
        let Some(prefix) = unread.first_chunk::<LENGTH_LEN>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
        if length == 0 || length > FRAME_LEN_MAX {
            let text = format!("a frame on the wire claims {length} bytes of {FRAME_LEN_MAX}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        if unread.len() < LENGTH_LEN + length {
            return Ok(None);
        }
        let begin = self.start + LENGTH_LEN;
        self.start = begin + length;
        Ok(Some(begin..begin + length))
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 && self.end == self.incoming.len() {
            self.incoming.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        match self.stream.read(&mut self.incoming[self.end..]) {
            Ok(0) => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the wire was cut",
            )),
            Ok(count) => {
                self.end += count;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(cut_or(error)),
        }
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the wire was cut")
}

/// Reading and writing learn of the far end's death in different words.
fn cut_or(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => cut(),
        _ => error,
    }
}

impl FramePort for WirePort {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(range) = self.next_frame()? {
                let frame = &self.incoming[range];
                buffer[..frame.len()].copy_from_slice(frame);
                return Ok(frame.len());
            }
            self.fill()?;
        }
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        if frame.is_empty() || frame.len() > FRAME_LEN_MAX {
            return Ok(()); // our own stack never makes one; nothing could carry it
        }
        if self.outgoing.len() - self.written + LENGTH_LEN + frame.len() > QUEUED_LEN_MAX {
            self.flush()?;
            if self.is_flush_due() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        let length = u32::try_from(frame.len()).unwrap_or(0).to_be_bytes();
        self.outgoing.extend_from_slice(&length);
        self.outgoing.extend_from_slice(frame);
        Ok(())
    }

    fn is_flush_due(&self) -> bool {
        self.written < self.outgoing.len()
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.is_flush_due() {
            match self.stream.write(&self.outgoing[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.outgoing.drain(..self.written);
                    self.written = 0;
                    return Ok(());
                }
                Err(error) => return Err(cut_or(error)),
            }
        }
        self.outgoing.clear();
        self.written = 0;
        Ok(())
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Waits for the far ends of wires, for example for QEMU's `-netdev stream,server=off`.
#[derive(Debug)]
pub struct WireListener {
    listener: UnixListener,
}

impl WireListener {
    /// Binds a new socket file. An old file at that path is an error of the caller's.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<WireListener> {
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(WireListener { listener })
    }

    /// `WouldBlock`: nobody is waiting; ask again when readable.
    pub fn accept(&self) -> io::Result<WirePort> {
        let (stream, _) = self.listener.accept()?;
        WirePort::new(stream)
    }
}

impl AsFd for WireListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl From<WirePort> for OwnedFd {
    fn from(port: WirePort) -> OwnedFd {
        port.stream.into()
    }
}

/// Fuzz target: any bytes on a wire become frames within bounds, or an error; never a panic.
pub fn fuzz_wire(data: &[u8]) {
    let Ok((mut far, near)) = UnixStream::pair() else {
        return;
    };
    let Ok(mut port) = WirePort::new(near) else {
        return;
    };
    let sent = data.len().min(64 * 1024);
    if far.write_all(&data[..sent]).is_err() {
        return;
    }
    drop(far);
    let mut buffer = vec![0; FRAME_LEN_MAX];
    let mut taken = 0;
    while let Ok(length) = port.receive(&mut buffer) {
        assert!(
            (1..=FRAME_LEN_MAX).contains(&length),
            "a frame has a length"
        );
        taken += LENGTH_LEN + length;
    }
    assert!(taken <= sent, "no frame was invented");
}
