//! The guest's output on its way to the console socket.
//!
//! Does:      collects bytes of both consoles and tells the I/O thread once per burst.
//! Does not:  drop anything while a reader exists: a full buffer makes the 8250's vCPU wait and
//!            leaves virtio-console buffers with the guest.
//! Bounds:    `BUFFER_BYTES`, and what the socket holds.
//! Trusts:    the reader of the socket to read some day; a guest that floods only stops itself.
//! Start at:  `Output::push`, `Output::flush`.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::net::SendFlags;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// Output that waits for the socket. At the limit the guest waits.
const BUFFER_BYTES: usize = 16 << 10;
/// Bytes are sent at the latest so long after the first one came, so that a line is one packet
/// for the reader and not eighty.
const BURST_NS: i64 = 2_000_000;

/// Shared by vCPUs (writers) and the I/O thread.
#[derive(Debug)]
pub(crate) struct Output {
    state: Mutex<State>,
    room: Condvar,
    timer: OwnedFd,
    waits: AtomicU64,
    total: AtomicU64,
}

#[derive(Debug)]
struct State {
    bytes: VecDeque<u8>,
    /// The reader is gone: bytes go nowhere.
    closed: bool,
    /// Whether the I/O thread already knows that bytes wait.
    told: bool,
}

/// How far `flush` came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Nothing is left.
    All,
    /// The socket is full: try again when it's writable.
    Blocked,
    /// The reader is gone.
    Closed,
}

impl Output {
    pub(crate) fn new() -> io::Result<Output> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Output {
            state: Mutex::new(State {
                bytes: VecDeque::with_capacity(BUFFER_BYTES * 2),
                closed: false,
                told: false,
            }),
            room: Condvar::new(),
            timer: timerfd_create(TimerfdClockId::Monotonic, flags)?,
            waits: AtomicU64::new(0),
            total: AtomicU64::new(0),
        })
    }

    /// Readable when it's time to flush.
    pub(crate) fn timer(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }

    /// Times a vCPU waited, and bytes that went through.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (
            self.waits.load(Ordering::Relaxed),
            self.total.load(Ordering::Relaxed),
        )
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks a vCPU until a byte of its 8250 has room.
    pub(crate) fn wait_for_room(&self) {
        let mut state = self.lock();
        if state.bytes.len() >= BUFFER_BYTES && !state.closed {
            self.waits.fetch_add(1, Ordering::Relaxed);
        }
        while state.bytes.len() >= BUFFER_BYTES && !state.closed {
            state = self
                .room
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes bytes. Callers asked for room before; several vCPUs may overshoot by a byte each,
    /// for which the buffer has space.
    pub(crate) fn push(&self, bytes: &[u8]) {
        let mut state = self.lock();
        self.total.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if state.closed || bytes.is_empty() {
            return;
        }
        state.bytes.extend(bytes);
        if !state.told {
            state.told = true;
            self.arm();
        }
    }

    /// Room for virtio-console.
    pub(crate) fn free(&self) -> usize {
        let state = self.lock();
        if state.closed {
            BUFFER_BYTES
        } else {
            BUFFER_BYTES.saturating_sub(state.bytes.len())
        }
    }

    fn arm(&self) {
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let due = Timespec {
            tv_sec: 0,
            tv_nsec: BURST_NS,
        };
        let spec = Itimerspec {
            it_interval: zero,
            it_value: due,
        };
        // It fails for a bad descriptor or time only, and both are constant here.
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &spec);
    }

    /// Sends what waits, as far as the socket takes it.
    pub(crate) fn flush(&self, socket: BorrowedFd<'_>) -> Flushed {
        let mut state = self.lock();
        while !state.bytes.is_empty() && !state.closed {
            let (front, _) = state.bytes.as_slices();
            match rustix::net::send(socket, front, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => {
                    state.bytes.drain(..sent);
                    self.room.notify_all();
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Flushed::Blocked,
                Err(_) => {
                    state.closed = true;
                    state.bytes.clear();
                    self.room.notify_all();
                }
            }
        }
        state.told = false;
        if state.closed {
            Flushed::Closed
        } else {
            Flushed::All
        }
    }
}

/// The 8250's side.
#[derive(Debug)]
pub(crate) struct SerialWriter(pub(crate) Arc<Output>);

impl io::Write for SerialWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// virtio-console's side.
#[derive(Debug)]
pub(crate) struct ConsoleSink {
    pub(crate) output: Arc<Output>,
    /// Set when the guest writes: from then on input goes to virtio-console.
    pub(crate) used: Arc<std::sync::atomic::AtomicBool>,
}

impl virtio::Sink for ConsoleSink {
    fn room(&self) -> usize {
        self.output.free()
    }

    fn push(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.used.store(true, Ordering::Relaxed);
        }
        self.output.push(bytes);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::time::Duration;

    use super::{BUFFER_BYTES, Flushed, Output};

    #[test]
    fn a_flood_waits_for_its_reader_and_loses_nothing() {
        const FLOOD_BYTES: usize = 1 << 20;
        let output = Arc::new(Output::new().unwrap());
        let (ours, mut reader) = UnixStream::pair().unwrap();
        let guest = {
            let output = Arc::clone(&output);
            std::thread::spawn(move || {
                for at in 0..FLOOD_BYTES {
                    output.wait_for_room();
                    output.push(&[at.to_le_bytes()[0]]);
                }
            })
        };
        while output.flush(ours.as_fd()) != Flushed::Blocked {}
        std::thread::sleep(Duration::from_millis(100));
        assert!(!guest.is_finished(), "the guest waits for the reader");
        assert_eq!(output.free(), 0);
        let mut seen = 0;
        let mut buffer = vec![0; 4096];
        while seen < FLOOD_BYTES {
            output.flush(ours.as_fd());
            let len = reader.read(&mut buffer).unwrap();
            let in_order = (seen..)
                .zip(&buffer[..len])
                .all(|(at, byte)| at.to_le_bytes()[0] == *byte);
            assert!(in_order);
            seen += len;
            while output.free() == BUFFER_BYTES && !guest.is_finished() {
                std::thread::yield_now();
            }
        }
        guest.join().unwrap();
        assert!(output.counts().0 > 0, "waits are counted");
    }

    #[test]
    fn without_a_reader_the_guest_does_not_wait() {
        let output = Output::new().unwrap();
        let (ours, reader) = UnixStream::pair().unwrap();
        drop(reader);
        output.push(b"x");
        assert_eq!(output.flush(ours.as_fd()), Flushed::Closed);
        for _ in 0..2 * BUFFER_BYTES {
            output.wait_for_room();
            output.push(b"x");
        }
    }
}
