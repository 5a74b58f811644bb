//! The I/O thread: doorbells, console, control channel; sleeps whenever nothing happens.
//!
//! Does:      serves queues, moves console bytes both ways, obeys the parent, notices the end.
//! Does not:  run vCPUs.
//! Bounds:    `INPUT_BYTES` of console input in hand; a queue gets one turn at a time; an idle
//!            machine causes no wake-up at all.
//! Trusts:    its parent to send well-formed requests; the guest for nothing.
//! Start at:  `IoLoop::run`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use virtio::{RECEIVE_QUEUE, TRANSMIT_QUEUE};

use crate::console_stream::Flushed;
use crate::control::{self, Counters, Event, Request};
use crate::legacy::End;
use crate::slots::CONSOLE_SLOT;
use crate::vm::Machine;

/// Console input read from the socket and not yet taken by the guest. The rest stays there.
const INPUT_BYTES: usize = 256;
/// Last words of a guest that ended: so long they may take to reach a slow reader.
const LAST_WORDS_MAX: Duration = Duration::from_secs(2);
/// Ready descriptors taken at once.
const BATCH: usize = 16;
/// Queue of the console that carries the guest's output.
const CONSOLE_OUTPUT: u16 = 1;
const CONSOLE_INPUT: u16 = 0;

/// Marks of packed tokens.
const DOORBELL: u64 = 1 << 32;
const WIRE: u64 = 1 << 33;

/// What a descriptor in epoll stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Control,
    Console,
    Burst,
    Wake,
    SerialDrained,
    Doorbell {
        slot: usize,
        queue: u16,
    },
    /// The other end of a network card.
    Wire {
        slot: usize,
    },
}

impl Token {
    fn pack(self) -> EventData {
        EventData::new_u64(match self {
            Self::Control => 0,
            Self::Console => 1,
            Self::Burst => 2,
            Self::Wake => 3,
            Self::SerialDrained => 4,
            Self::Doorbell { slot, queue } => DOORBELL | (slot as u64) << 16 | u64::from(queue),
            Self::Wire { slot } => WIRE | (slot as u64) << 16,
        })
    }

    fn unpack(data: EventData) -> Token {
        match data.u64() {
            0 => Self::Control,
            1 => Self::Console,
            2 => Self::Burst,
            3 => Self::Wake,
            4 => Self::SerialDrained,
            packed if packed & WIRE != 0 => Self::Wire {
                slot: (packed >> 16 & 0xffff) as usize,
            },
            packed => Self::Doorbell {
                slot: (packed >> 16 & 0xffff) as usize,
                queue: (packed & 0xffff) as u16,
            },
        }
    }
}

/// The thread's state.
pub(crate) struct IoLoop {
    machine: Machine,
    control: OwnedFd,
    console: OwnedFd,
    epoll: OwnedFd,
    input: [u8; INPUT_BYTES],
    /// The part of `input` that waits for the guest.
    waiting: std::ops::Range<usize>,
    taken: u64,
    /// The guest's virtio-console waits for room in the output.
    stalled: bool,
    /// Slots of network cards whose wire takes no more frames now, as bits.
    full: u64,
    /// The socket takes no more output now.
    blocked: bool,
    input_closed: bool,
    started: Instant,
}

impl IoLoop {
    /// Registers everything; nothing is running yet.
    pub(crate) fn new(machine: Machine, control: OwnedFd, console: OwnedFd) -> io::Result<IoLoop> {
        rustix::io::ioctl_fionbio(&console, true)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let add =
            |fd: BorrowedFd<'_>, token: Token| epoll::add(&epoll, fd, token.pack(), EventFlags::IN);
        add(control.as_fd(), Token::Control)?;
        add(console.as_fd(), Token::Console)?;
        add(machine.board.output.timer(), Token::Burst)?;
        add(borrow(&machine.board.wake), Token::Wake)?;
        add(borrow(&machine.board.serial_drained), Token::SerialDrained)?;
        for (slot, queue, fd) in machine.board.slots.doorbells() {
            add(borrow(fd), Token::Doorbell { slot, queue })?;
        }
        for (slot, fd) in &machine.board.wires {
            // Each edge is followed until the wire is empty, or the guest has no buffers; then its
            // next kick goes on. So nothing has to be asked anew, and a wire that is cut, or that
            // a guest doesn't listen to, wakes nobody.
            let flags = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
            let token = Token::Wire { slot: *slot };
            epoll::add(&epoll, fd, token.pack(), flags)?;
        }
        Ok(IoLoop {
            machine,
            control,
            console,
            epoll,
            input: [0; INPUT_BYTES],
            waiting: 0..0,
            taken: 0,
            stalled: false,
            full: 0,
            blocked: false,
            input_closed: false,
            started: Instant::now(),
        })
    }

    pub(crate) fn machine_mut(&mut self) -> &mut Machine {
        &mut self.machine
    }

    /// Runs until the machine ends.
    pub(crate) fn run(&mut self) -> io::Result<End> {
        self.started = Instant::now();
        let mut ready = Vec::with_capacity(BATCH);
        loop {
            ready.clear();
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut ready),
                None,
            ) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &ready {
                self.handle(Token::unpack(event.data), event.flags)?;
            }
            if let Some(end) = self.machine.board.bus.power.ended() {
                return Ok(end);
            }
        }
    }

    fn handle(&mut self, token: Token, flags: EventFlags) -> io::Result<()> {
        match token {
            Token::Control => self.obey(),
            Token::Console => {
                if flags.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR) {
                    self.flush()?;
                }
                if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                    self.read_input()?;
                }
                Ok(())
            }
            Token::Burst => {
                drain(self.machine.board.output.timer());
                self.flush()
            }
            Token::Wake => {
                drain(borrow(&self.machine.board.wake));
                self.report_first_touch();
                Ok(())
            }
            Token::SerialDrained => {
                drain(borrow(&self.machine.board.serial_drained));
                self.deliver_input()
            }
            Token::Doorbell { slot, queue } => self.serve(slot, queue),
            Token::Wire { slot } => {
                if flags.contains(EventFlags::OUT) && self.full & 1 << slot != 0 {
                    self.serve(slot, TRANSMIT_QUEUE)?;
                }
                self.serve(slot, RECEIVE_QUEUE)
            }
        }
    }

    /// The guest posted something. A doorbell is quieted before its queue is looked at.
    fn serve(&mut self, slot: usize, queue: u16) -> io::Result<()> {
        let slots = Arc::clone(&self.machine.board.slots);
        let Some((_, _, doorbell)) = slots
            .doorbells()
            .find(|(s, q, _)| (*s, *q) == (slot, queue))
        else {
            return Ok(());
        };
        drain(borrow(doorbell));
        if slot == CONSOLE_SLOT && queue == CONSOLE_INPUT {
            return self.deliver_input();
        }
        let turn = slots.serve(slot, queue);
        if turn.again {
            let _ = doorbell.write(1); // after the others have had their turn
        }
        if slot == CONSOLE_SLOT {
            self.stalled = turn.stalled;
        } else if queue == TRANSMIT_QUEUE {
            self.full &= !(1 << slot);
            self.full |= u64::from(turn.stalled) << slot;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.machine.board.output.flush(self.console.as_fd());
        let blocked = flushed == Flushed::Blocked;
        if blocked != self.blocked {
            self.blocked = blocked;
            self.watch_console()?;
        }
        if !blocked && self.stalled {
            self.stalled = false;
            self.serve(CONSOLE_SLOT, CONSOLE_OUTPUT)?;
        }
        // The guest wrote, so it may have changed which console takes input.
        self.deliver_input()
    }

    /// Listens for what can be used: input while there's room, room while there's output.
    fn watch_console(&self) -> io::Result<()> {
        let mut flags = EventFlags::empty();
        if self.waiting.is_empty() && !self.input_closed {
            flags |= EventFlags::IN;
        }
        if self.blocked {
            flags |= EventFlags::OUT;
        }
        if flags.is_empty() {
            // A closed peer is reported without being asked for; once is enough.
            flags = EventFlags::ET;
        }
        epoll::modify(&self.epoll, &self.console, Token::Console.pack(), flags)?;
        Ok(())
    }

    fn read_input(&mut self) -> io::Result<()> {
        if !self.waiting.is_empty() || self.input_closed {
            return Ok(());
        }
        match rustix::net::recv(&self.console, &mut self.input[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => {
                self.input_closed = true;
                self.watch_console()
            }
            Ok((len, _)) => {
                self.waiting = 0..len;
                self.deliver_input()
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(_) => {
                self.input_closed = true;
                self.watch_console()
            }
        }
    }

    /// Gives waiting input to the console that the guest used last.
    fn deliver_input(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let bytes = &self.input[self.waiting.clone()];
        let taken = if self.machine.board.console_used.load(Ordering::Relaxed) {
            let mut console = self
                .machine
                .board
                .console
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let (taken, service) = console.accept(bytes, &self.machine.memory);
            self.machine.board.slots.finish(&*console, service);
            taken
        } else {
            self.machine.board.bus.serial.accept(bytes)
        };
        self.taken += taken as u64;
        self.waiting.start += taken;
        // With nothing in hand, listen to the socket again; otherwise stop listening.
        self.watch_console()
    }

    fn obey(&mut self) -> io::Result<()> {
        match control::recv_request(self.control.as_fd()) {
            Ok(Some((Request::PowerButton, _))) => self.machine.board.bus.power.press_button(),
            Ok(Some((Request::Reset, _))) => self.machine.board.bus.power.end(End::Reset),
            // A parent that is gone can't want the VM any more.
            Ok(Some((Request::Kill, _)) | None) => self.machine.board.bus.power.end(End::Killed),
            Ok(Some((Request::Start(_), _))) => {
                self.tell(&Event::Warning("A second Start was ignored".to_owned()));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                self.tell(&Event::Warning(format!("A request was ignored: {error}")));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn report_first_touch(&self) {
        if self
            .machine
            .board
            .bus
            .touched
            .swap(false, Ordering::Acquire)
        {
            let since = self.started.elapsed().as_micros();
            let first_exit_us = u64::try_from(since).unwrap_or(u64::MAX);
            self.tell(&Event::Running { first_exit_us });
        }
    }

    /// Events are few; a parent that doesn't read them is gone or stuck, and the VM goes on.
    pub(crate) fn tell(&self, event: &Event) {
        let _ = control::send_event(self.control.as_fd(), event);
    }

    /// Sends what the guest said last. The vCPUs stand still.
    pub(crate) fn send_last_words(&self) {
        let deadline = Instant::now() + LAST_WORDS_MAX;
        while self.machine.board.output.flush(self.console.as_fd()) == Flushed::Blocked {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let Ok(timeout) = Timespec::try_from(left) else {
                return;
            };
            let mut polled = [PollFd::new(&self.console, PollFlags::OUT)];
            let _ = rustix::event::poll(&mut polled, Some(&timeout));
        }
    }

    pub(crate) fn counters(&self) -> Counters {
        let (console_waits, console_out) = self.machine.board.output.counts();
        let (requests, bad_requests) = self.machine.board.slots.counts();
        Counters {
            exits: self.machine.board.bus.accesses.load(Ordering::Relaxed),
            unclaimed: self.machine.board.bus.unclaimed.load(Ordering::Relaxed),
            console_out,
            console_in: self.taken,
            console_waits,
            requests,
            bad_requests,
        }
    }
}

/// Event descriptors of `vmm-sys-util` as borrowed ones.
fn borrow(fd: &vmm_sys_util::eventfd::EventFd) -> BorrowedFd<'_> {
    // SAFETY: `borrow_raw` wants a descriptor that stays open for the borrow's life.
    // - The result borrows `fd`, which owns and therefore keeps open its descriptor.
    unsafe { BorrowedFd::borrow_raw(std::os::fd::AsRawFd::as_raw_fd(fd)) }
}

/// Empties an eventfd or timerfd; both are non-blocking.
fn drain(fd: BorrowedFd<'_>) {
    let _ = rustix::io::read(fd, &mut [0u8; 8][..]);
}
