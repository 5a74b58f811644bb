//! One client at a console, over WebSocket.
//!
//! Does:      binary messages are console bytes both ways; text messages to the client are
//!            notices. Back-pressure both ways: nothing is queued beyond one message.
//! Does not:  keep anything after it ends; a client comes back with the place it had reached.
//! Bounds:    `CONSOLE_MESSAGE_BYTES_MAX` per message in, `PIECE_BYTES` out; `PATIENCE_MS` without
//!            the client taking anything.
//! Trusts:    nobody.
//! Start at:  `serve`.

use super::{ClientId, Console, PIECE_BYTES};
use crate::service::streams::{Stream, poll_read_into};
use hyper::rt::Write as _;
use netio::executor::{Handle, Sleep};
use protocol::limits;
use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

/// A client that takes nothing for so long is parted, so that its guest can go on.
pub const PATIENCE_MS: u64 = 5_000;

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client said goodbye, or vanished.
    ClientLeft,
    /// It did not take its bytes in time.
    TooSlow,
    /// It sent something that is no console input.
    Nonsense,
    /// The VM is gone.
    VmGone,
}

/// A stream as tungstenite wants it: it says `WouldBlock`, and the task is woken later.
#[derive(Debug)]
pub(crate) struct Pipe {
    stream: Stream,
    waker: Waker,
}

impl Pipe {
    pub(crate) fn new(stream: Stream) -> Pipe {
        Pipe {
            stream,
            waker: Waker::noop().clone(),
        }
    }

    /// Whom to wake when the connection moves again.
    pub(crate) fn set_waker(&mut self, waker: &Waker) {
        self.waker.clone_from(waker);
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let cx = &mut Context::from_waker(&self.waker);
        blocking(poll_read_into(&mut self.stream, cx, buffer))
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let cx = &mut Context::from_waker(&self.waker);
        blocking(Pin::new(&mut self.stream).poll_write(cx, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        let cx = &mut Context::from_waker(&self.waker);
        blocking(Pin::new(&mut self.stream).poll_flush(cx))
    }
}

fn blocking<T>(polled: Poll<io::Result<T>>) -> io::Result<T> {
    match polled {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

struct Session {
    socket: WebSocket<Pipe>,
    console: Rc<Console>,
    client: ClientId,
    executor: Handle,
    /// Typed bytes that the console did not take yet.
    input: Vec<u8>,
    /// Runs while the client does not take what was written.
    patience: Option<Pin<Box<Sleep>>>,
    closing: bool,
}

/// Serves an attached client on an upgraded connection until one side ends it.
pub async fn serve(
    executor: Handle,
    console: Rc<Console>,
    client: ClientId,
    stream: Stream,
    read_ahead: Vec<u8>,
) -> End {
    let config = WebSocketConfig::default()
        .max_message_size(Some(limits::CONSOLE_MESSAGE_BYTES_MAX))
        .max_frame_size(Some(limits::CONSOLE_MESSAGE_BYTES_MAX))
        .read_buffer_size(4096)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * PIECE_BYTES + limits::CONSOLE_MESSAGE_BYTES_MAX);
    let pipe = Pipe::new(stream);
    let socket = WebSocket::from_partially_read(pipe, read_ahead, Role::Server, Some(config));
    let mut session = Session {
        socket,
        console: console.clone(),
        client,
        executor,
        input: Vec::new(),
        patience: None,
        closing: false,
    };
    let end = poll_fn(|cx| session.turn(cx)).await;
    console.detach(client);
    match end {
        // Bytes that nobody takes must not hold the socket for longer.
        End::TooSlow => session.socket.get_mut().stream.abort(),
        End::Nonsense => session.close(CloseCode::Unsupported, "only binary messages"),
        End::VmGone => session.close(CloseCode::Away, "the VM is deleted"),
        End::ClientLeft => {}
    }
    end
}

impl Session {
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.socket.get_mut().set_waker(cx.waker());
        self.console.news.register(cx.waker());
        loop {
            let moved = self
                .take_input()
                .and_then(|taken| Ok(self.give_output()? | taken));
            match moved {
                Ok(true) => {}
                Ok(false) => break,
                Err(end) => return Poll::Ready(end),
            }
        }
        if self.console.over.get() && self.patience.is_none() {
            return Poll::Ready(End::VmGone);
        }
        match self
            .patience
            .as_mut()
            .map(|patience| patience.as_mut().poll(cx))
        {
            Some(Poll::Ready(())) => Poll::Ready(End::TooSlow),
            _ => Poll::Pending,
        }
    }

    /// From the client towards the guest; true if something moved.
    fn take_input(&mut self) -> Result<bool, End> {
        if !self.input.is_empty() {
            let taken = self.console.type_in(self.client, &self.input);
            self.input.drain(..taken);
            return Ok(taken > 0);
        }
        match self.socket.read() {
            Ok(Message::Binary(bytes)) => {
                self.input.extend_from_slice(&bytes);
                Ok(true)
            }
            Ok(Message::Text(_) | Message::Frame(_)) => Err(End::Nonsense),
            Ok(Message::Ping(_) | Message::Pong(_)) => Ok(true),
            Ok(Message::Close(_)) => {
                // The answer is queued already; flushing it is all that is left.
                self.closing = true;
                Ok(true)
            }
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(_) => Err(End::ClientLeft),
        }
    }

    /// From the console to the client; true if something moved.
    fn give_output(&mut self) -> Result<bool, End> {
        if !self.flushed()? {
            return Ok(false);
        }
        if self.closing {
            return Err(End::ClientLeft);
        }
        let message = if let Some(notice) = self.console.next_notice(self.client) {
            // Our own type always serialises.
            Message::text(serde_json::to_string(&notice).unwrap_or_default())
        } else if let Some(bytes) = self.console.next_bytes(self.client, PIECE_BYTES) {
            Message::binary(bytes)
        } else {
            return Ok(false);
        };
        match self.socket.write(message) {
            Ok(()) => Ok(true),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            Err(_) => Err(End::ClientLeft),
        }
    }

    /// Has the connection taken everything written so far?
    fn flushed(&mut self) -> Result<bool, End> {
        match self.socket.flush() {
            Ok(()) => {
                self.patience = None;
                Ok(true)
            }
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                if self.patience.is_none() {
                    self.patience = Some(Box::pin(self.executor.sleep(PATIENCE_MS)));
                }
                Ok(false)
            }
            Err(_) => Err(End::ClientLeft),
        }
    }

    fn close(&mut self, code: CloseCode, reason: &'static str) {
        // If it does not fit any more, the closing connection says enough.
        let _ = self.socket.close(Some(CloseFrame {
            code,
            reason: reason.into(),
        }));
        let _ = self.socket.flush();
    }
}
