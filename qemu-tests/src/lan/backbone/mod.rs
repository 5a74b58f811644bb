//! The network between sites: a router with a leg in each LAN.
//!
//! Does:      carries IPv4 between LANs; each ordered pair of them is a path with its own delay,
//!            loss, rate and cut.
//! Does not:  decide about frames (`router`), or carry broadcasts: a LAN ends at it.
//! Bounds:    `IN_FLIGHT_MAX` frames under way; beyond, they are dropped.
//! Trusts:    nobody on the LANs.
//! Start at:  `Backbone::start`.

mod router;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

use netio::frame::{FRAME_LEN_MAX, FramePort, WirePort};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::OwnedFd;

use self::router::{Leaving, Router};
use super::Lan;
use crate::scenario::Problem;
use crate::wire::Link;

const IN_FLIGHT_MAX: usize = 20_000;
/// Frames taken from one leg before the others get their turn.
const BURST_MAX: usize = 64;
const SEED: u64 = 20_260_102;

/// A running backbone. Dropping it cuts all sites off.
#[derive(Debug)]
pub struct Backbone {
    orders: Option<mpsc::Sender<Order>>,
    wake: Arc<OwnedFd>,
    legs: usize,
    thread: Option<JoinHandle<()>>,
}

/// A path that changes.
#[derive(Debug)]
struct Order {
    from: usize,
    to: usize,
    link: Link,
}

impl Backbone {
    /// Joins LANs; every path between them begins as `link`.
    pub fn start(lans: &mut [Lan], link: Link) -> Result<Self, Problem> {
        let subnets: Vec<_> = lans.iter().map(|lan| lan.subnet).collect();
        let mut legs = Vec::new();
        for lan in lans {
            legs.push(WirePort::connect(&lan.add_port()?.path)?);
        }
        let count = legs.len();
        let mut router = Router::new(&subnets, SEED);
        for (from, to) in pairs(count) {
            router.set_path(from, to, link);
        }
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let wake = Arc::new(eventfd(0, flags).map_err(io::Error::from)?);
        let (orders, inbox) = mpsc::channel();
        let mut traffic = Traffic {
            router,
            legs,
            inbox,
            wake: Arc::clone(&wake),
            started: Instant::now(),
            in_flight: BinaryHeap::new(),
            flights: 0,
        };
        let thread = std::thread::Builder::new()
            .name("backbone".to_owned())
            .spawn(move || {
                if let Err(problem) = traffic.run() {
                    eprintln!("rig: the backbone broke: {problem}");
                }
            })?;
        Ok(Self {
            orders: Some(orders),
            wake,
            legs: count,
            thread: Some(thread),
        })
    }

    /// Changes the path from one LAN to another, by their order at the start; one way only.
    pub fn set_path(&self, from: usize, to: usize, link: Link) {
        if let Some(orders) = &self.orders {
            let _ = orders.send(Order { from, to, link }); // a broken backbone has said so
            let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
        }
    }

    /// Changes every path between one of `these` LANs and one of the others, both ways.
    pub fn set_around(&self, these: &[usize], link: Link) {
        for (from, to) in pairs(self.legs) {
            if these.contains(&from) != these.contains(&to) {
                self.set_path(from, to, link);
            }
        }
    }
}

impl Drop for Backbone {
    fn drop(&mut self) {
        self.orders = None;
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Every ordered pair of different numbers below `count`.
fn pairs(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).flat_map(move |from| {
        (0..count)
            .filter(move |to| *to != from)
            .map(move |to| (from, to))
    })
}

/// What the thread owns.
struct Traffic {
    router: Router,
    legs: Vec<WirePort>,
    inbox: mpsc::Receiver<Order>,
    wake: Arc<OwnedFd>,
    started: Instant,
    in_flight: BinaryHeap<Reverse<Flight>>,
    flights: u64,
}

/// A frame under way; equal times keep the order of arrival.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    due_us: u64,
    number: u64,
    side: usize,
    frame: Vec<u8>,
}

impl Traffic {
    /// Carries until the backbone is dropped or a wire ends.
    fn run(&mut self) -> io::Result<()> {
        let mut frame = vec![0; FRAME_LEN_MAX];
        loop {
            self.wait()?;
            loop {
                match self.inbox.try_recv() {
                    Ok(order) => self.router.set_path(order.from, order.to, order.link),
                    Err(mpsc::TryRecvError::Empty) => break,
                    Err(mpsc::TryRecvError::Disconnected) => return Ok(()),
                }
            }
            for side in 0..self.legs.len() {
                self.receive(side, &mut frame)?;
            }
            self.deliver_due()?;
        }
    }

    fn wait(&self) -> io::Result<()> {
        let timeout = self.in_flight.peek().map(|Reverse(next)| {
            let us = next.due_us.saturating_sub(self.now_us());
            Timespec {
                tv_sec: i64::try_from(us / 1_000_000).unwrap_or(i64::MAX),
                tv_nsec: (us % 1_000_000 * 1000).cast_signed(),
            }
        });
        let mut fds = vec![PollFd::from_borrowed_fd(self.wake.as_fd(), PollFlags::IN)];
        fds.extend(self.legs.iter().map(|leg| {
            let writes = if leg.is_flush_due() {
                PollFlags::OUT
            } else {
                PollFlags::empty()
            };
            PollFd::from_borrowed_fd(leg.readiness(), PollFlags::IN | writes)
        }));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {
                let _ = rustix::io::read(&*self.wake, &mut [0; 8]);
                Ok(())
            }
            Err(problem) => Err(problem.into()),
        }
    }

    fn receive(&mut self, side: usize, frame: &mut [u8]) -> io::Result<()> {
        for _ in 0..BURST_MAX {
            let length = match self.legs[side].receive(frame) {
                Ok(length) => length,
                Err(nothing) if nothing.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(problem) => return Err(problem),
            };
            let now_us = self.now_us();
            for leaving in self.router.handle_frame(now_us, side, &frame[..length]) {
                self.launch(leaving);
            }
        }
        // What is left must wake us again at once.
        rustix::io::write(&*self.wake, &1_u64.to_ne_bytes())?;
        Ok(())
    }

    fn launch(&mut self, leaving: Leaving) {
        if self.in_flight.len() < IN_FLIGHT_MAX {
            self.flights += 1;
            self.in_flight.push(Reverse(Flight {
                due_us: leaving.due_us,
                number: self.flights,
                side: leaving.side,
                frame: leaving.frame,
            }));
        }
    }

    fn deliver_due(&mut self) -> io::Result<()> {
        let now_us = self.now_us();
        while let Some(Reverse(next)) = self.in_flight.peek()
            && next.due_us <= now_us
        {
            let Some(Reverse(flight)) = self.in_flight.pop() else {
                break;
            };
            match self.legs[flight.side].send(&flight.frame) {
                // A leg that takes no more loses the frame, as a full queue does.
                Err(full) if full.kind() == io::ErrorKind::WouldBlock => {}
                other => other?,
            }
        }
        for leg in self.legs.iter_mut().filter(|leg| leg.is_flush_due()) {
            leg.flush()?;
        }
        Ok(())
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}
