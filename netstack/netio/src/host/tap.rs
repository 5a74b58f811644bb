//! Taps: whole frames of one UDP port, past smoltcp.
//!
//! Does:      gives a DHCP client the replies that come before it has an address, even when the
//!            server sends them to the address it only offers.
//! Does not:  copy: a tapped frame never reaches smoltcp.
//! Bounds:    `TAPS_MAX` taps, as many frames each as it was made for; at the limit the oldest
//!            frame is dropped and counted.
//! Trusts:    nothing; the reader parses the frame again.
//! Start at:  `Taps::take`.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use netcore::ethernet::Datagram;

/// Taps on one stack: DHCP client, DHCP server, proxy DHCP, and one to spare.
const TAPS_MAX: usize = 4;

/// Frames that wait for a reader by default. A LAN with ten DHCP servers answers with ten.
pub(super) const FRAMES_MAX: usize = 32;

#[derive(Debug)]
struct Queue {
    port: u16,
    frames: VecDeque<Box<[u8]>>,
    frames_max: usize,
    dropped: u64,
    waker: Option<Waker>,
}

#[derive(Default)]
pub(super) struct Taps {
    queues: Vec<Rc<RefCell<Queue>>>,
}

/// Receives the frames of one UDP port. Dropping it gives the port back to the stack.
#[derive(Debug)]
pub struct UdpTap {
    queue: Rc<RefCell<Queue>>,
}

impl Taps {
    /// `None`: the port is tapped already, or `TAPS_MAX` are.
    pub fn add(&mut self, port: u16, frames_max: usize) -> Option<UdpTap> {
        self.queues.retain(|queue| Rc::strong_count(queue) > 1);
        let taken = self.queues.iter().any(|queue| queue.borrow().port == port);
        if taken || self.queues.len() >= TAPS_MAX {
            return None;
        }
        let queue = Queue {
            port,
            frames: VecDeque::new(),
            frames_max,
            dropped: 0,
            waker: None,
        };
        let queue = Rc::new(RefCell::new(queue));
        self.queues.push(Rc::clone(&queue));
        Some(UdpTap { queue })
    }

    /// True: a tap took the frame.
    pub fn take(&mut self, frame: &[u8]) -> bool {
        if self.queues.is_empty() {
            return false;
        }
        let Some(datagram) = Datagram::parse(frame) else {
            return false;
        };
        let found = self.queues.iter().find(|queue| {
            queue.borrow().port == datagram.target_port && Rc::strong_count(queue) > 1
        });
        let Some(queue) = found else { return false };
        let mut queue = queue.borrow_mut();
        if queue.frames.len() >= queue.frames_max {
            queue.frames.pop_front();
            queue.dropped += 1;
        }
        queue.frames.push_back(frame.into());
        if let Some(waker) = queue.waker.take() {
            waker.wake();
        }
        true
    }
}

impl UdpTap {
    /// The next frame, whole. It is a valid UDP datagram; `Datagram::parse` reads it.
    pub async fn receive(&self) -> Box<[u8]> {
        poll_fn(|cx| {
            let mut queue = self.queue.borrow_mut();
            if let Some(frame) = queue.frames.pop_front() {
                return Poll::Ready(frame);
            }
            queue.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Frames dropped because nobody read them in time.
    pub fn dropped(&self) -> u64 {
        self.queue.borrow().dropped
    }
}
