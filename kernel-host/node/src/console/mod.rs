//! One VM's console: what the guest wrote, who reads it, and who types.
//!
//! Does:      keeps the scrollback over restarts of the VM, hands the keyboard to one client,
//!            moves bytes between the guest's socket and the clients.
//! Does not:  speak WebSocket; `session` does.
//! Bounds:    `CONSOLE_SCROLLBACK_BYTES`, `CONSOLE_READERS_MAX`, `INPUT_MAX`, `NOTICES_MAX`.
//!            A guest waits for clients that read; a client that takes nothing for
//!            `session::PATIENCE_MS` is parted. Without clients a guest is read at `PACE`.
//! Trusts:    neither guests nor clients.
//! Start at:  `Console::attach`, then `pump`.

mod ring;
pub mod session;

use crate::bell::Bell;
use netio::executor::{Either, Handle, race};
use protocol::{ConsoleNotice, VmState, limits};
use ring::Ring;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

/// Typed bytes that wait for the guest. At it the client's connection fills and it waits.
const INPUT_MAX: usize = 4096;
/// Notices that wait for a slow client. At it the oldest goes: the newest state is what counts.
const NOTICES_MAX: usize = 16;
/// Bytes taken from a guest at once.
const PIECE_BYTES: usize = 8 * 1024;
/// A guest that floods is read at one piece in this time: 1 MiB/s, 90 times a fast serial line.
const PACE_MS: u64 = 8;

/// A client's number at this console.
pub type ClientId = u64;

/// No place for another client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

#[derive(Debug, Default)]
struct Client {
    /// The place of the next byte it gets.
    position: u64,
    notices: VecDeque<ConsoleNotice>,
}

/// See the module.
#[derive(Debug)]
pub struct Console {
    ring: RefCell<Ring>,
    clients: RefCell<BTreeMap<ClientId, Client>>,
    writer: Cell<Option<ClientId>>,
    numbered: Cell<ClientId>,
    input: RefCell<VecDeque<u8>>,
    /// A guest is there to take input.
    live: Cell<bool>,
    over: Cell<bool>,
    /// Something for clients: bytes, notices, room for input, the end.
    news: Bell,
    /// Something for the guest's side: input, room in the ring.
    wants: Bell,
}

impl Default for Console {
    fn default() -> Console {
        Console {
            ring: RefCell::new(Ring::new(limits::CONSOLE_SCROLLBACK_BYTES)),
            clients: RefCell::default(),
            writer: Cell::default(),
            numbered: Cell::default(),
            input: RefCell::default(),
            live: Cell::default(),
            over: Cell::default(),
            news: Bell::default(),
            wants: Bell::default(),
        }
    }
}

impl Console {
    /// All that is kept.
    #[must_use]
    pub fn scrollback(&self) -> Vec<u8> {
        self.ring.borrow().read(0, usize::MAX).1
    }

    /// How many bytes the guest ever wrote.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.ring.borrow().end()
    }

    /// Clients now.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients.borrow().len()
    }

    /// A new client. It gets the keyboard if that is free or if it takes it; the one who had it
    /// is told.
    ///
    /// # Errors
    /// When `CONSOLE_READERS_MAX` clients are there.
    pub fn attach(&self, since: Option<u64>, take: bool, state: VmState) -> Result<ClientId, Full> {
        if self.clients() >= limits::CONSOLE_READERS_MAX {
            return Err(Full);
        }
        let id = self.numbered.get() + 1;
        self.numbered.set(id);
        let writer = take || self.writer.get().is_none();
        if writer {
            if let Some(loser) = self.writer.replace(Some(id)) {
                self.notify(loser, &ConsoleNotice::Writer { yours: false });
            }
            // What the loser typed last is not the winner's.
            self.input.borrow_mut().clear();
        }
        let (position, _) = self.ring.borrow().read(since.unwrap_or(0), 0);
        self.clients.borrow_mut().insert(
            id,
            Client {
                position,
                ..Client::default()
            },
        );
        let clients = u32::try_from(self.clients()).unwrap_or(u32::MAX);
        self.notify(
            id,
            &ConsoleNotice::Attached {
                state,
                writer,
                from: position,
                clients,
            },
        );
        Ok(id)
    }

    /// A client is gone. The keyboard goes to the one who has been there longest.
    pub fn detach(&self, id: ClientId) {
        self.clients.borrow_mut().remove(&id);
        if self.writer.get() == Some(id) {
            let heir = self.clients.borrow().keys().next().copied();
            self.writer.set(heir);
            if let Some(heir) = heir {
                self.notify(heir, &ConsoleNotice::Writer { yours: true });
            }
        }
        self.wants.ring();
    }

    /// Tells every client.
    pub fn tell(&self, notice: &ConsoleNotice) {
        let ids: Vec<ClientId> = self.clients.borrow().keys().copied().collect();
        for id in ids {
            self.notify(id, notice);
        }
    }

    /// The VM is gone: every session ends.
    pub fn end(&self) {
        self.over.set(true);
        self.news.ring();
        self.wants.ring();
    }

    fn notify(&self, id: ClientId, notice: &ConsoleNotice) {
        if let Some(client) = self.clients.borrow_mut().get_mut(&id) {
            if client.notices.len() == NOTICES_MAX {
                client.notices.pop_front();
            }
            client.notices.push_back(notice.clone());
        }
        self.news.ring();
    }

    fn next_notice(&self, id: ClientId) -> Option<ConsoleNotice> {
        self.clients.borrow_mut().get_mut(&id)?.notices.pop_front()
    }

    /// The next bytes for a client; they count as taken.
    fn next_bytes(&self, id: ClientId, max: usize) -> Option<Vec<u8>> {
        let mut clients = self.clients.borrow_mut();
        let client = clients.get_mut(&id)?;
        let (from, bytes) = self.ring.borrow().read(client.position, max);
        client.position = from + bytes.len() as u64;
        self.wants.ring();
        (!bytes.is_empty()).then_some(bytes)
    }

    /// Takes typed bytes; returns how many. A client without the keyboard, or a guest that does
    /// not run, lets all of them vanish.
    fn type_in(&self, id: ClientId, bytes: &[u8]) -> usize {
        if self.writer.get() != Some(id) || !self.live.get() {
            return bytes.len();
        }
        let mut input = self.input.borrow_mut();
        let taken = bytes.len().min(INPUT_MAX - input.len());
        input.extend(&bytes[..taken]);
        drop(input);
        self.wants.ring();
        taken
    }

    /// Would the next piece push bytes out that a client has not seen?
    fn must_wait(&self) -> bool {
        let end = self.written() + PIECE_BYTES as u64;
        let clients = self.clients.borrow();
        let slowest = clients.values().map(|client| client.position).min();
        slowest.is_some_and(|position| end - position > limits::CONSOLE_SCROLLBACK_BYTES as u64)
    }
}

/// Moves bytes between one run's socket and the console until the guest's end closes.
pub async fn pump(
    executor: &Handle,
    console: &Console,
    guest: &UnixStream,
    first_output: impl FnOnce(),
) {
    console.live.set(true);
    match race(
        pump_output(executor, console, guest, first_output),
        pump_input(executor, console, guest),
    )
    .await
    {
        Either::Left(()) | Either::Right(()) => {}
    }
    console.live.set(false);
    console.input.borrow_mut().clear();
    console.news.ring();
}

async fn pump_output(
    executor: &Handle,
    console: &Console,
    guest: &UnixStream,
    first_output: impl FnOnce(),
) {
    let mut first_output = Some(first_output);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let seen = console.wants.rings();
        if console.must_wait() && !console.over.get() {
            console.wants.after(seen).await;
            continue;
        }
        let mut guest_reader = guest;
        match guest_reader.read(&mut piece) {
            Ok(0) => return,
            Ok(count) => {
                if let Some(tell) = first_output.take() {
                    tell();
                }
                console.ring.borrow_mut().push(&piece[..count]);
                console.news.ring();
                if count == piece.len() {
                    executor.sleep(PACE_MS).await;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if executor.readable(guest).await.is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

async fn pump_input(executor: &Handle, console: &Console, guest: &UnixStream) {
    loop {
        let seen = console.wants.rings();
        let pending: Vec<u8> = console.input.borrow().iter().copied().collect();
        if pending.is_empty() {
            console.wants.after(seen).await;
            continue;
        }
        let mut guest_writer = guest;
        match guest_writer.write(&pending) {
            Ok(count) => {
                // The keyboard may have changed hands meanwhile and the queue been cleared.
                let mut input = console.input.borrow_mut();
                let count = count.min(input.len());
                input.drain(..count);
                drop(input);
                console.news.ring();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if executor.writable(guest).await.is_err() {
                    return std::future::pending().await;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // The reading side sees the end, after the last bytes.
            Err(_) => return std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn notices(console: &Console, id: ClientId) -> Vec<ConsoleNotice> {
        std::iter::from_fn(|| console.next_notice(id)).collect()
    }

    #[test]
    fn the_keyboard_goes_to_the_first_then_to_who_takes_it_then_to_who_stays() {
        let console = Console::default();
        console.live.set(true);
        let first = console.attach(None, false, VmState::Running).unwrap();
        let second = console.attach(None, false, VmState::Running).unwrap();
        assert_eq!(console.type_in(second, b"no"), 2, "it vanishes");
        assert!(console.input.borrow().is_empty());
        assert_eq!(console.type_in(first, b"yes"), 3);
        let third = console.attach(None, true, VmState::Running).unwrap();
        assert!(
            console.input.borrow().is_empty(),
            "what the loser typed is gone"
        );
        assert_eq!(
            notices(&console, first)[1..],
            [ConsoleNotice::Writer { yours: false }]
        );
        console.detach(third);
        assert_eq!(
            notices(&console, first),
            [ConsoleNotice::Writer { yours: true }]
        );
        assert_eq!(
            notices(&console, second).len(),
            1,
            "only its own attachment"
        );
    }

    #[test]
    fn clients_beyond_the_limit_are_refused() {
        let console = Console::default();
        for _ in 0..limits::CONSOLE_READERS_MAX {
            console.attach(None, false, VmState::Running).unwrap();
        }
        assert_eq!(console.attach(None, true, VmState::Running), Err(Full));
    }

    #[test]
    fn a_client_gets_the_scrollback_from_where_it_left() {
        let console = Console::default();
        console.ring.borrow_mut().push(b"hello world");
        let id = console.attach(Some(6), false, VmState::Running).unwrap();
        assert_eq!(console.next_bytes(id, 100).unwrap(), b"world");
        assert_eq!(console.next_bytes(id, 100), None);
    }

    #[test]
    fn typed_bytes_beyond_the_limit_stay_with_the_client() {
        let console = Console::default();
        console.live.set(true);
        let id = console.attach(None, false, VmState::Running).unwrap();
        assert_eq!(console.type_in(id, &[b'x'; INPUT_MAX + 10]), INPUT_MAX);
        assert_eq!(console.type_in(id, b"y"), 0);
    }
}
