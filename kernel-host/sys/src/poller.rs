//! A small event loop's heart: which of these descriptors can be read?
//!
//! Does:      epoll with one number per source and a deadline.
//! Does not:  own the sources, nor call anybody back.
//! Bounds:    `READY_MAX` events per round; the rest come in the next.
//! Trusts:    the kernel.
//! Start at:  `Poller::wait`.

use rustix::event::{Timespec, epoll};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Events taken per round.
const READY_MAX: usize = 32;

/// The set of watched descriptors.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    /// An empty set.
    ///
    /// # Errors
    /// When the kernel has no descriptor left.
    pub fn new() -> io::Result<Poller> {
        Ok(Poller {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        })
    }

    /// Watches a source for reading, under a number of the caller's choice.
    ///
    /// # Errors
    /// When the kernel can't poll it.
    pub fn watch(&self, source: impl AsFd, number: u64) -> io::Result<()> {
        let data = epoll::EventData::new_u64(number);
        Ok(epoll::add(
            &self.epoll,
            source,
            data,
            epoll::EventFlags::IN,
        )?)
    }

    /// Forgets a source.
    ///
    /// # Errors
    /// When it was not watched.
    pub fn forget(&self, source: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, source)?)
    }

    /// Sleeps until a source is ready or the time is over; the numbers of the ready ones.
    ///
    /// # Errors
    /// When the set itself broke, which is a bug of ours.
    pub fn wait(&self, limit: Option<Duration>) -> io::Result<Vec<u64>> {
        let limit = limit.map(|limit| Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(limit.subsec_nanos()),
        });
        let mut ready = Vec::with_capacity(READY_MAX);
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut ready),
            limit.as_ref(),
        ) {
            Ok(_) => Ok(ready
                .iter()
                .map(|event: &epoll::Event| event.data.u64())
                .collect()),
            Err(rustix::io::Errno::INTR) => Ok(Vec::new()),
            Err(errno) => Err(errno.into()),
        }
    }
}
