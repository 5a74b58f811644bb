//! The thread that carries a wire's frames.
//!
//! Does:      accepts connections, reads frames, asks switch and lanes, and writes what is due.
//! Does not:  decide anything about frames itself.
//! Bounds:    see `wire`; one read a port and turn, so that no port starves the others.
//! Trusts:    nobody on its ports.
//! Start at:  `Carrier::run`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, mpsc};
use std::time::{Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;

use super::framing::{Reassembler, append_frame};
use super::link::Lane;
use super::pcap::Capture;
use super::switch::{PortNumber, Switch, Targets};
use super::{Command, Counters, Direction, IN_FLIGHT_MAX, OUT_MAX};

/// One read: enough for 40 full frames.
const READ_SIZE: usize = 64 * 1024;

/// Everything the thread owns.
#[derive(Debug)]
pub(super) struct Carrier {
    wake: Arc<OwnedFd>,
    orders: mpsc::Receiver<Command>,
    capture: Capture,
    counters: Arc<Counters>,
    seed: u64,
    started: Instant,
    ports: Vec<PortState>,
    switch: Switch,
    in_flight: BinaryHeap<Reverse<Flight>>,
    flights: u64,
}

#[derive(Debug)]
struct PortState {
    listener: UnixListener,
    stream: Option<UnixStream>,
    incoming: Reassembler,
    outgoing: Vec<u8>,
    /// What the machine sends.
    from_machine: Lane,
    /// What the machine receives.
    to_machine: Lane,
}

/// A frame under way; equal times keep the order of arrival.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    due_us: u64,
    number: u64,
    to: PortNumber,
    frame: Vec<u8>,
}

impl Carrier {
    pub(super) fn new(
        wake: Arc<OwnedFd>,
        orders: mpsc::Receiver<Command>,
        capture: Capture,
        counters: Arc<Counters>,
        seed: u64,
    ) -> Self {
        Self {
            wake,
            orders,
            capture,
            counters,
            seed,
            started: Instant::now(),
            ports: Vec::new(),
            switch: Switch::default(),
            in_flight: BinaryHeap::new(),
            flights: 0,
        }
    }

    /// Carries until told to stop.
    pub(super) fn run(mut self) {
        loop {
            let ready = match self.wait() {
                Ok(ready) => ready,
                Err(problem) => {
                    eprintln!("wire: waiting failed, the wire ends: {problem}");
                    return;
                }
            };
            if ready[0] && self.obey().is_err() {
                break;
            }
            for (port, _) in ready[1..].iter().enumerate().filter(|(_, ready)| **ready) {
                self.serve(port);
            }
            self.deliver_due();
            self.write_all_ports();
        }
        if let Err(problem) = self.capture.flush() {
            eprintln!("wire: the capture is incomplete: {problem}");
        }
        if self.capture.left_out() > 0 {
            eprintln!(
                "wire: {} frames did not fit into the capture",
                self.capture.left_out()
            );
        }
    }

    /// Waits for a command, a port, or the next frame that is due. The first answer is the
    /// command's; the others are the ports' in order.
    fn wait(&mut self) -> rustix::io::Result<Vec<bool>> {
        let timeout = self.in_flight.peek().map(|Reverse(next)| {
            let us = next.due_us.saturating_sub(self.now_us());
            let seconds = i64::try_from(us / 1_000_000).unwrap_or(i64::MAX);
            Timespec {
                tv_sec: seconds,
                tv_nsec: (us % 1_000_000 * 1000).cast_signed(),
            }
        });
        let mut fds = vec![PollFd::from_borrowed_fd(self.wake.as_fd(), PollFlags::IN)];
        for port in &self.ports {
            fds.push(match &port.stream {
                None => PollFd::from_borrowed_fd(port.listener.as_fd(), PollFlags::IN),
                Some(stream) if port.outgoing.is_empty() => {
                    PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::IN)
                }
                Some(stream) => {
                    PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::IN | PollFlags::OUT)
                }
            });
        }
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(problem) => return Err(problem),
        }
        Ok(fds.iter().map(|fd| !fd.revents().is_empty()).collect())
    }

    /// Performs the commands; an error means stop.
    fn obey(&mut self) -> Result<(), ()> {
        let mut ignored = [0; 8];
        let _ = rustix::io::read(&*self.wake, &mut ignored);
        loop {
            match self.orders.try_recv() {
                Ok(Command::AddPort(listener)) => self.add_port(listener),
                Ok(Command::Set {
                    port,
                    direction,
                    link,
                }) => {
                    let Some(port) = self.ports.get_mut(port) else {
                        continue;
                    };
                    if direction != Direction::In {
                        port.from_machine.set(link);
                    }
                    if direction != Direction::Out {
                        port.to_machine.set(link);
                    }
                }
                Err(mpsc::TryRecvError::Empty) => return Ok(()),
                Ok(Command::Stop) | Err(mpsc::TryRecvError::Disconnected) => return Err(()),
            }
        }
    }

    fn add_port(&mut self, listener: UnixListener) {
        let seed = self.seed.wrapping_add(self.ports.len() as u64 * 2);
        self.ports.push(PortState {
            listener,
            stream: None,
            incoming: Reassembler::default(),
            outgoing: Vec::new(),
            from_machine: Lane::new(seed),
            to_machine: Lane::new(seed.wrapping_add(1)),
        });
    }

    /// Accepts at a port, or reads once from it.
    fn serve(&mut self, number: PortNumber) {
        let port = &mut self.ports[number];
        let Some(stream) = &mut port.stream else {
            if let Ok((stream, _)) = port.listener.accept() {
                port.stream = stream.set_nonblocking(true).is_ok().then_some(stream);
            }
            return;
        };
        let mut bytes = vec![0; READ_SIZE];
        match stream.read(&mut bytes) {
            Ok(0) => port.disconnect(),
            Ok(count) => {
                port.incoming.push(&bytes[..count]);
                self.take_frames(number);
            }
            Err(problem) if problem.kind() == ErrorKind::WouldBlock => {}
            Err(problem) if problem.kind() == ErrorKind::Interrupted => {}
            Err(_) => port.disconnect(),
        }
    }

    fn take_frames(&mut self, number: PortNumber) {
        loop {
            match self.ports[number].incoming.next_frame() {
                Ok(Some(frame)) => self.carry(number, &frame),
                Ok(None) => return,
                Err(_) => {
                    self.counters.broken.fetch_add(1, Relaxed);
                    self.ports[number].disconnect();
                    return;
                }
            }
        }
    }

    /// Sends a frame on its way through both lanes.
    fn carry(&mut self, from: PortNumber, frame: &[u8]) {
        self.counters.frames.fetch_add(1, Relaxed);
        if let Err(problem) = self.capture.record(SystemTime::now(), frame) {
            eprintln!("wire: writing the capture: {problem}");
        }
        let now = self.now_us();
        let Ok(at_switch) = self.ports[from].from_machine.arrival(now, frame.len()) else {
            self.counters.dropped.fetch_add(1, Relaxed);
            return;
        };
        match self.switch.targets(from, frame) {
            Targets::None => {}
            Targets::One(to) => self.launch(to, at_switch, frame),
            Targets::Others => {
                for to in (0..self.ports.len()).filter(|to| *to != from) {
                    self.launch(to, at_switch, frame);
                }
            }
        }
    }

    fn launch(&mut self, to: PortNumber, at_switch: u64, frame: &[u8]) {
        let arrival = self.ports[to].to_machine.arrival(at_switch, frame.len());
        let room = self.in_flight.len() < IN_FLIGHT_MAX;
        match arrival {
            Ok(due_us) if room => {
                self.flights += 1;
                let flight = Flight {
                    due_us,
                    number: self.flights,
                    to,
                    frame: frame.to_vec(),
                };
                self.in_flight.push(Reverse(flight));
            }
            _ => {
                self.counters.dropped.fetch_add(1, Relaxed);
            }
        }
    }

    fn deliver_due(&mut self) {
        let now = self.now_us();
        while self
            .in_flight
            .peek()
            .is_some_and(|Reverse(next)| next.due_us <= now)
        {
            let Some(Reverse(flight)) = self.in_flight.pop() else {
                return;
            };
            let port = &mut self.ports[flight.to];
            let room = port.outgoing.len() + flight.frame.len() <= OUT_MAX;
            if port.stream.is_some() && room && append_frame(&mut port.outgoing, &flight.frame) {
                self.counters.delivered.fetch_add(1, Relaxed);
            } else {
                self.counters.dropped.fetch_add(1, Relaxed);
            }
        }
    }

    fn write_all_ports(&mut self) {
        for port in self
            .ports
            .iter_mut()
            .filter(|port| !port.outgoing.is_empty())
        {
            port.write();
        }
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

impl PortState {
    fn write(&mut self) {
        let Some(stream) = &mut self.stream else {
            return self.outgoing.clear();
        };
        match stream.write(&self.outgoing) {
            Ok(count) => {
                self.outgoing.drain(..count);
            }
            Err(problem) if problem.kind() == ErrorKind::WouldBlock => {}
            Err(problem) if problem.kind() == ErrorKind::Interrupted => {}
            Err(_) => self.disconnect(),
        }
    }

    /// The NIC left; another may connect.
    fn disconnect(&mut self) {
        self.stream = None;
        self.incoming = Reassembler::default();
        self.outgoing.clear();
    }
}
