//! The NIC as smoltcp sees it.
//!
//! Does:      lends smoltcp one received frame at a time and takes what it emits.
//! Does not:  decide which frames smoltcp sees; `inner` does, before it lends one.
//! Bounds:    `BACKLOG_MAX` frames wait for a full port. While any waits, smoltcp gets no new
//!            send token, so only answers to received frames can reach the maximum; they are
//!            dropped there and counted (`sends_dropped`).
//! Trusts:    smoltcp emits frames within the MTU.
//! Start at:  `Nic::fill`.

use std::collections::VecDeque;
use std::io;

use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

use crate::frame::{FRAME_LEN_MAX, FramePort};

/// Frames that wait until the port is writable again: one turn of answers.
const BACKLOG_MAX: usize = 64;

/// Length of an Ethernet header, which smoltcp counts into its MTU.
const ETHERNET_HEADER_LEN: usize = 14;

pub(super) struct Nic {
    /// The frame on loan to smoltcp is `buffer[..length]`; zero means none.
    buffer: Vec<u8>,
    length: usize,
    pub out: Outgoing,
    mtu: usize,
}

/// The sending half: the port, and frames that it did not take yet.
pub(super) struct Outgoing {
    port: Box<dyn FramePort>,
    backlog: VecDeque<Box<[u8]>>,
    scratch: Vec<u8>,
    /// Why the port is gone, once it is.
    pub failure: Option<io::Error>,
    pub sent: u64,
    pub dropped: u64,
}

impl Nic {
    pub fn new(port: Box<dyn FramePort>, mtu: u16) -> Nic {
        Nic {
            buffer: vec![0; FRAME_LEN_MAX],
            length: 0,
            mtu: usize::from(mtu) + ETHERNET_HEADER_LEN,
            out: Outgoing {
                port,
                backlog: VecDeque::new(),
                scratch: Vec::new(),
                failure: None,
                sent: 0,
                dropped: 0,
            },
        }
    }

    /// Takes the next frame from the port. False: none there, or the port is gone.
    pub fn fill(&mut self) -> bool {
        if self.out.failure.is_some() {
            return false;
        }
        match self.out.port.receive(&mut self.buffer) {
            Ok(length) => {
                self.length = length;
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => {
                self.out.failure = Some(error);
                false
            }
        }
    }

    /// The frame that smoltcp would get next.
    pub fn frame(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    /// Takes the frame away from smoltcp.
    pub fn discard(&mut self) {
        self.length = 0;
    }
}

impl Outgoing {
    /// Something waits for the port to become writable.
    pub fn is_blocked(&self) -> bool {
        self.failure.is_none() && (!self.backlog.is_empty() || self.port.is_flush_due())
    }

    pub fn send(&mut self, frame: &[u8]) {
        if self.failure.is_some() {
            self.dropped += 1;
        } else if !self.backlog.is_empty() || !self.offer(frame) {
            self.keep(frame);
        }
    }

    /// True: the port took the frame, or is gone.
    fn offer(&mut self, frame: &[u8]) -> bool {
        match self.port.send(frame) {
            Ok(()) => self.sent += 1,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) => self.failure = Some(error),
        }
        true
    }

    fn keep(&mut self, frame: &[u8]) {
        if self.backlog.len() >= BACKLOG_MAX {
            self.dropped += 1;
        } else {
            self.backlog.push_back(frame.into());
        }
    }

    /// Gives the port what it left behind.
    pub fn flush(&mut self) {
        while let Some(frame) = self.backlog.pop_front() {
            if !self.offer(&frame) {
                self.backlog.push_front(frame);
                break;
            }
        }
        if self.failure.is_none()
            && let Err(error) = self.port.flush()
        {
            self.failure = Some(error);
        }
    }
}

impl Device for Nic {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received<'_>, Sending<'_>)> {
        let length = std::mem::take(&mut self.length);
        if length == 0 {
            return None;
        }
        Some((Received(&self.buffer[..length]), Sending(&mut self.out)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Sending<'_>> {
        self.out
            .backlog
            .is_empty()
            .then_some(Sending(&mut self.out))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

pub(super) struct Received<'a>(&'a [u8]);

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

pub(super) struct Sending<'a>(&'a mut Outgoing);

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut frame = std::mem::take(&mut self.0.scratch);
        frame.clear();
        frame.resize(length, 0);
        let result = write(&mut frame);
        self.0.send(&frame);
        self.0.scratch = frame;
        result
    }
}
