//! One console session: the loop between terminal, node and signals.
//!
//! Does:      waits for whichever speaks first and passes bytes on; ends in exactly one way.
//! Does not:  interpret what the guest prints, or open connections again.
//! Bounds:    one message and one read of the terminal at a time; a slow terminal slows the guest.
//! Trusts:    the node for its notices; the guest's bytes reach the terminal as they are.
//! Start at:  `Session::run`.

use super::{
    DETACH,
    finder::Finder,
    socket::{Socket, lost},
};
use crate::{Streams, client::NodeAddress, wait::Patience};
use protocol::{Code, ConsoleNotice, Problem, VmState, limits};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use std::{
    io::ErrorKind,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};
use tungstenite::{Error, Message};

/// Bytes read from the terminal at once.
const INPUT_BYTES_MAX: usize = 4096;

#[derive(Debug)]
pub(super) struct Options {
    pub read_only: bool,
    pub until: Option<String>,
    pub quiet: bool,
    pub signals: Option<BorrowedFd<'static>>,
    pub interactive: bool,
}

/// How a session ended.
#[derive(Debug)]
pub(super) enum End {
    Detached,
    /// The text of `--for` appeared.
    Found,
    /// By the node, with the VM's last known state.
    Closed(Option<VmState>),
    Signal,
}

pub(super) struct Session<'a> {
    socket: Socket,
    options: Options,
    streams: &'a mut Streams,
    finder: Option<Finder>,
    state: Option<VmState>,
    /// Somebody else has the keyboard.
    watching: bool,
    /// Bytes wait in the socket; no more input until they are gone.
    clogged: bool,
    input_open: bool,
}

/// What was ready.
#[derive(Debug, Default)]
struct Ready {
    node: bool,
    input: bool,
    signal: bool,
}

impl<'a> Session<'a> {
    pub fn new(socket: Socket, options: Options, streams: &'a mut Streams) -> Self {
        let finder = options.until.as_deref().map(Finder::new);
        // Who only watches has nothing to say, but may detach.
        let input_open = streams.input.is_some() && (options.interactive || !options.read_only);
        let (watching, clogged) = (options.read_only, false);
        Self {
            socket,
            options,
            streams,
            finder,
            state: None,
            watching,
            clogged,
            input_open,
        }
    }

    pub fn run(mut self, patience: Option<&Patience>) -> Result<End, Problem> {
        // What came together with the handshake is here already and wakes no poll.
        if let Some(end) = self.hear()? {
            return Ok(end);
        }
        loop {
            let left = patience.map(Patience::left);
            if let (Some(patience), Some(Duration::ZERO)) = (patience, left) {
                let wanted = self.options.until.as_deref().unwrap_or("");
                let wanted = format!("the console to show `{}`", limits::shortened(wanted, 60));
                return Err(patience.over(&wanted, "everything above"));
            }
            let ready = self.wait(left)?;
            if ready.signal {
                return Ok(End::Signal);
            }
            if ready.node
                && let Some(end) = self.hear()?
            {
                return Ok(end);
            }
            if ready.input
                && let Some(end) = self.speak()?
            {
                return Ok(end);
            }
        }
    }

    fn lost(&self, error: &impl std::fmt::Display) -> Problem {
        let peer = self.socket.get_ref().peer_addr();
        let node = peer.map(|peer| NodeAddress::new(peer.ip().to_string(), peer.port()));
        lost(&node.unwrap_or_else(|_| NodeAddress::new("?", 80)), error)
    }

    fn wait(&self, left: Option<Duration>) -> Result<Ready, Problem> {
        let mut wanted = PollFlags::IN;
        if self.clogged {
            wanted |= PollFlags::OUT;
        }
        let mut fds = vec![PollFd::new(self.socket.get_ref(), wanted)];
        let signals = self.options.signals.map(|signals| {
            fds.push(PollFd::from_borrowed_fd(signals, PollFlags::IN));
            fds.len() - 1
        });
        let listening = self.input_open && !self.clogged;
        let input = self
            .streams
            .input
            .as_ref()
            .filter(|_| listening)
            .map(|input| {
                fds.push(PollFd::from_borrowed_fd(input.as_fd(), PollFlags::IN));
                fds.len() - 1
            });
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(crate::local(format!("poll: {error}"), "Report this bug")),
        }
        let ready = |at: Option<usize>| at.is_some_and(|at| !fds[at].revents().is_empty());
        Ok(Ready {
            node: ready(Some(0)),
            input: ready(input),
            signal: ready(signals),
        })
    }

    /// Takes everything the node said.
    fn hear(&mut self) -> Result<Option<End>, Problem> {
        self.flush()?;
        loop {
            match self.socket.read() {
                Ok(Message::Binary(bytes)) => {
                    if self.print(&bytes)? {
                        drop(self.socket.close(None));
                        drop(self.socket.flush());
                        return Ok(Some(End::Found));
                    }
                }
                Ok(Message::Text(text)) => self.notice(text.as_str()),
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(Error::Io(error)) if error.kind() == ErrorKind::Interrupted => {}
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => return self.closed(),
                Err(error) => return Err(self.lost(&error)),
            }
        }
    }

    fn closed(&self) -> Result<Option<End>, Problem> {
        match &self.options.until {
            None => Ok(Some(End::Closed(self.state))),
            Some(text) => Err(Problem::new(
                Code::NotReached,
                format!(
                    "The console closed without `{}`",
                    limits::shortened(text, 60)
                ),
                "Read what it said: luc vm log NAME",
            )),
        }
    }

    /// `true` if the text of `--for` is complete.
    fn print(&mut self, bytes: &[u8]) -> Result<bool, Problem> {
        let output = &mut self.streams.output;
        match output.write_all(bytes).and_then(|()| output.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                return Err(crate::local(
                    format!("Writing the console's output failed: {error}"),
                    "Check where it goes",
                ));
            }
            Err(_) => return Ok(true), // the reader went away and wants no more
            Ok(()) => {}
        }
        Ok(self
            .finder
            .as_mut()
            .is_some_and(|finder| finder.feed(bytes)))
    }

    fn notice(&mut self, text: &str) {
        let Ok(notice) = serde_json::from_str(text) else {
            return;
        };
        let was_watching = self.watching;
        match notice {
            ConsoleNotice::Attached { state, writer, .. } => {
                self.state = Some(state);
                self.watching = self.options.read_only || !writer;
                if self.watching && !self.options.read_only {
                    self.tell("Somebody else has the keyboard; you only watch. Take it: --take");
                }
            }
            ConsoleNotice::Writer { yours } => {
                self.watching = self.options.read_only || !yours;
                if self.watching != was_watching {
                    let line = match self.watching {
                        true => "Somebody took the keyboard; you only watch now.",
                        false => "The keyboard is yours now.",
                    };
                    self.tell(line);
                }
            }
            ConsoleNotice::State { state, reason } => {
                self.state = Some(state);
                let reason = reason.map_or(String::new(), |reason| format!(": {reason}"));
                self.tell(&format!("The VM is {state}{reason}"));
            }
        }
    }

    /// A line on a terminal that is raw.
    fn tell(&mut self, line: &str) {
        if !self.options.quiet && (self.options.interactive || self.streams.errors_is_terminal) {
            let line = limits::shortened(line, 400);
            drop(write!(self.streams.errors, "\r\n[luc: {line}]\r\n"));
        }
    }

    /// Passes on what was typed.
    fn speak(&mut self) -> Result<Option<End>, Problem> {
        let mut buffer = [0; INPUT_BYTES_MAX];
        let Some(input) = &self.streams.input else {
            return Ok(None);
        };
        let count = match rustix::io::read(input, &mut buffer) {
            Ok(count) => count,
            Err(Errno::INTR | Errno::AGAIN) => return Ok(None),
            // A terminal that hung up.
            Err(_) if self.options.interactive => return Ok(Some(End::Signal)),
            Err(_) => 0,
        };
        if count == 0 {
            self.input_open = false;
            return Ok(self.options.interactive.then_some(End::Detached));
        }
        let typed = &buffer[..count];
        let detach = typed.iter().position(|byte| *byte == DETACH);
        let detach = detach.filter(|_| self.options.interactive);
        let typed = &typed[..detach.unwrap_or(count)];
        if !typed.is_empty() && !self.watching {
            let message = Message::Binary(typed.to_vec().into());
            match self.socket.write(message) {
                Ok(()) => self.flush()?,
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    self.clogged = true;
                }
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => return self.closed(),
                Err(error) => return Err(self.lost(&error)),
            }
        }
        if detach.is_some() {
            drop(self.socket.close(None));
            drop(self.socket.flush());
            return Ok(Some(End::Detached));
        }
        Ok(None)
    }

    fn flush(&mut self) -> Result<(), Problem> {
        match self.socket.flush() {
            Ok(()) => self.clogged = false,
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => self.clogged = true,
            // The next read says how it ended.
            Err(Error::ConnectionClosed | Error::AlreadyClosed) => self.clogged = false,
            Err(error) => return Err(self.lost(&error)),
        }
        Ok(())
    }
}
