//! The Ethernet of a town: one link for all houses, whose paths delay, double and lose frames.
//!
//! Does:      takes frames from each house's card and brings them to the house that they are for;
//!            calls to everybody stay in the site, but for questions of ARP.
//! Does not:  decide what becomes of a frame: `Paths` does. There is no router: all addresses are
//!            neighbours.
//! Bounds:    `FLYING_MAX` frames on their way; one more is dropped and counted.
//! Trusts:    the paths; a house may send any bytes.
//! Start at:  `Street::plug`.

use crate::bell::Bell;
use netio::executor::{Handle, race};
use netio::frame::{FRAME_LEN_MAX, FramePort, Mac, WirePort};
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::rc::Rc;

/// Frames on their way.
const FLYING_MAX: usize = 16_384;
const ETHERNET_BYTES: usize = 14;
const ARP: [u8; 2] = [8, 6];
const IPV4: [u8; 2] = [8, 0];
const TCP: u8 = 6;

/// What becomes of frames between houses.
pub trait Paths {
    /// After how many microseconds a frame comes; none: it is lost; two: it comes twice.
    fn fate(&mut self, now_ms: u64, letter: Letter) -> [Option<u64>; 2];
}

/// The outside of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Letter {
    pub from: usize,
    pub to: usize,
    pub bytes: usize,
    pub kind: LetterKind,
}

/// What is in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetterKind {
    Datagram,
    Stream,
    /// ARP, and what is not IPv4.
    Other,
}

impl LetterKind {
    fn of(frame: &[u8]) -> Self {
        let protocol = frame.get(ETHERNET_BYTES + 9);
        match frame.get(12..ETHERNET_BYTES) {
            Some(kind) if kind == IPV4 && protocol == Some(&TCP) => Self::Stream,
            Some(kind) if kind == IPV4 => Self::Datagram,
            _ => Self::Other,
        }
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    due_ms: u64,
    number: u64,
    to: usize,
    frame: Vec<u8>,
}

/// See the module.
pub(super) struct Street {
    paths: RefCell<Box<dyn Paths>>,
    /// The site of each house.
    sites: Vec<usize>,
    /// The far ends of the cards of houses that have power, and the number of each plug.
    ports: RefCell<Vec<Option<(u64, WirePort)>>>,
    plugs: Cell<u64>,
    flying: RefCell<BinaryHeap<Reverse<Flight>>>,
    bell: Bell,
    carried: Cell<u64>,
    pub dropped: Cell<u64>,
    trace: Cell<u64>,
}

/// The card of a house.
pub(super) fn mac(house: usize) -> Mac {
    let [.., high, low] = house.to_be_bytes();
    Mac([2, 0x1c, 0, 0, high, low])
}

impl Street {
    pub fn new(sites: Vec<usize>, paths: Box<dyn Paths>) -> Self {
        Self {
            paths: RefCell::new(paths),
            ports: RefCell::new(sites.iter().map(|_| None).collect()),
            sites,
            plugs: Cell::default(),
            flying: RefCell::default(),
            bell: Bell::default(),
            carried: Cell::default(),
            dropped: Cell::default(),
            trace: Cell::new(0xcbf2_9ce4_8422_2325),
        }
    }

    /// A number that is equal for two runs if every frame came at the same time with the same
    /// bytes.
    pub fn trace(&self) -> u64 {
        self.trace.get()
    }

    /// What the house's card is plugged into.
    ///
    /// # Errors
    ///
    /// The process is out of descriptors or tasks.
    pub fn plug(self: &Rc<Self>, executor: &Handle, house: usize) -> io::Result<WirePort> {
        let (near, far) = WirePort::pair()?;
        let readiness = far.readiness().try_clone_to_owned()?;
        let plug = self.plugs.get() + 1;
        self.plugs.set(plug);
        self.ports.borrow_mut()[house] = Some((plug, far));
        let (street, handle) = (self.clone(), executor.clone());
        let read = async move {
            let mut frame = vec![0; FRAME_LEN_MAX];
            while street.empty(&handle, (house, plug), &mut frame) {
                if handle.readable(&readiness).await.is_err() {
                    return;
                }
            }
        };
        executor.spawn_detached(read).map_err(io::Error::other)?;
        Ok(near)
    }

    /// Takes all that a card has sent. `false`: it was pulled out.
    fn empty(&self, handle: &Handle, (house, plug): (usize, u64), frame: &mut [u8]) -> bool {
        loop {
            let received = match &mut self.ports.borrow_mut()[house] {
                Some((number, port)) if *number == plug => port.receive(frame),
                _ => return false,
            };
            match received {
                Ok(length) => self.take(handle.now_ms(), house, &frame[..length]),
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }

    pub fn unplug(&self, house: usize) {
        self.ports.borrow_mut()[house] = None;
    }

    fn take(&self, now_ms: u64, from: usize, frame: &[u8]) {
        let Some((&to, rest)) = frame.split_first_chunk::<6>() else {
            return;
        };
        let kind = rest.get(6..8).unwrap_or_default();
        let is_for_all = to[0] & 1 == 1;
        for house in 0..self.sites.len() {
            let hears = self.sites[house] == self.sites[from] || kind == ARP;
            let is_meant = mac(house).0 == to || (is_for_all && hears);
            if house != from && is_meant {
                let letter = Letter {
                    from,
                    to: house,
                    bytes: frame.len(),
                    kind: LetterKind::of(frame),
                };
                let fate = self.paths.borrow_mut().fate(now_ms, letter);
                for us in fate.into_iter().flatten() {
                    self.send_off(now_ms + us.div_ceil(1000), house, frame);
                }
            }
        }
    }

    fn send_off(&self, due_ms: u64, to: usize, frame: &[u8]) {
        let mut flying = self.flying.borrow_mut();
        if flying.len() >= FLYING_MAX {
            self.dropped.set(self.dropped.get() + 1);
            return;
        }
        self.carried.set(self.carried.get() + 1);
        flying.push(Reverse(Flight {
            due_ms,
            number: self.carried.get(),
            to,
            frame: frame.to_vec(),
        }));
        self.bell.ring();
    }

    /// Brings what is due, for ever.
    pub async fn deliver(self: Rc<Self>, executor: Handle) {
        loop {
            let seen = self.bell.rings();
            self.bring(executor.now_ms());
            let next = self.flying.borrow().peek().map(|Reverse(one)| one.due_ms);
            let rung = self.bell.after(seen);
            match next {
                Some(at_ms) => drop(race(rung, executor.sleep_until(at_ms)).await),
                None => drop(rung.await),
            }
        }
    }

    fn bring(&self, now_ms: u64) {
        let mut flying = self.flying.borrow_mut();
        while flying
            .peek()
            .is_some_and(|Reverse(one)| one.due_ms <= now_ms)
            && let Some(Reverse(flight)) = flying.pop()
        {
            let mut ports = self.ports.borrow_mut();
            let sent = ports[flight.to].as_mut().is_some_and(|(_, port)| {
                let sent = port.send(&flight.frame);
                sent.and_then(|()| port.flush()).is_ok()
            });
            if sent {
                self.mark(now_ms, flight.to, &flight.frame);
            } else {
                self.dropped.set(self.dropped.get() + 1);
            }
        }
    }

    /// FNV-1a.
    fn mark(&self, now_ms: u64, to: usize, frame: &[u8]) {
        let mut trace = self.trace.get();
        let head = [now_ms.to_be_bytes(), (to as u64).to_be_bytes()].concat();
        for byte in head.iter().chain(frame) {
            trace = (trace ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.trace.set(trace);
    }
}
