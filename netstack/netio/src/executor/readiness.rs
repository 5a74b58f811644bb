//! Readiness of file descriptors.
//!
//! Does:      arms epoll once per wait and wakes the waiting task when the kernel reports the fd.
//! Does not:  promise that the next read succeeds: a wake may be spurious, so callers keep their
//!            descriptors non-blocking and ask again on `WouldBlock`.
//! Bounds:    one entry per descriptor that somebody waits for, so at most `RLIMIT_NOFILE`.
//! Trusts:    the kernel. Entries are one-shot: a stale one fires at most once, into nothing.
//! Start at:  `Sources::wait`.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::task::Waker;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Read,
    Write,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    direction: Direction,
    waker: Waker,
}

#[derive(Default, Debug)]
pub(super) struct Sources {
    waiting: BTreeMap<RawFd, Vec<Waiter>>,
    numbers: u64,
}

impl Sources {
    /// Registers a wait and arms the kernel. The number names the wait for `is_waiting`.
    pub fn wait(
        &mut self,
        epoll: &OwnedFd,
        fd: BorrowedFd<'_>,
        direction: Direction,
        waker: &Waker,
    ) -> rustix::io::Result<u64> {
        self.numbers += 1;
        let waiter = Waiter {
            number: self.numbers,
            direction,
            waker: waker.clone(),
        };
        self.waiting.entry(fd.as_raw_fd()).or_default().push(waiter);
        match self.arm(epoll, fd) {
            Ok(()) => Ok(self.numbers),
            Err(errno) => {
                self.forget(fd.as_raw_fd(), self.numbers);
                Err(errno)
            }
        }
    }

    fn arm(&self, epoll: &OwnedFd, fd: BorrowedFd<'_>) -> rustix::io::Result<()> {
        let mut flags = EventFlags::ONESHOT | EventFlags::RDHUP;
        for waiter in self.waiting.get(&fd.as_raw_fd()).into_iter().flatten() {
            flags |= match waiter.direction {
                Direction::Read => EventFlags::IN,
                Direction::Write => EventFlags::OUT,
            };
        }
        let data = EventData::new_u64(u64::from(fd.as_raw_fd().unsigned_abs()));
        match epoll::modify(epoll, fd, data, flags) {
            Err(Errno::NOENT) => epoll::add(epoll, fd, data, flags),
            other => other,
        }
    }

    /// Still waiting? Then the waker is renewed. False: the event came.
    pub fn is_waiting(&mut self, fd: RawFd, number: u64, waker: &Waker) -> bool {
        let found = self
            .waiting
            .get_mut(&fd)
            .and_then(|all| all.iter_mut().find(|w| w.number == number));
        match found {
            Some(waiter) => {
                waiter.waker.clone_from(waker);
                true
            }
            None => false,
        }
    }

    /// Ends a wait that nobody needs any more. The kernel's entry fires once more at most.
    pub fn forget(&mut self, fd: RawFd, number: u64) {
        if let Some(all) = self.waiting.get_mut(&fd) {
            all.retain(|w| w.number != number);
            if all.is_empty() {
                self.waiting.remove(&fd);
            }
        }
    }

    /// The kernel reported `fd`. Everybody on it is woken: a one-shot entry is now disarmed, and
    /// who still wants to wait arms it again.
    pub fn fire(&mut self, fd: RawFd) {
        for waiter in self.waiting.remove(&fd).into_iter().flatten() {
            waiter.waker.wake();
        }
    }
}
