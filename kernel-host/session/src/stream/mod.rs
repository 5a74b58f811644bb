//! A session over a byte stream.
//!
//! Does:      the same handshake as over datagrams, then sealed frames, in order and each once; a
//!            first frame says what the stream is for: messages of the overlay, or HTTP.
//! Does not:  connect, time out (its owner closes it after `HANDSHAKE_MS` or when it idles), or
//!            understand HTTP.
//! Bounds:    `OUT_BYTES_MAX` on the way out, `IN_BYTES_MAX` on the way in; at these it takes no
//!            more, and so slows the other side down.
//! Trusts:    `Gate` to tell peers apart. A stream that was cut is told from one that was ended.
//! Start at:  `Stream::handle_bytes`, `Stream::wanted`.

mod frame;

use crate::crypto::{Rng, Secret};
use crate::datagrams::Reason;
use crate::gate::{Gate, PAYLOAD_BYTES_MAX, Peer, Refusal};
use crate::handshake::{BadHandshake, Channel, Handshake};
use frame::{FRAME_TEXT_MAX, Kind, Split};
use protocol::Moment;
use protocol::peer::{STREAM_MESSAGE_BYTES_MAX, SessionKey};
use std::collections::VecDeque;

/// A handshake that takes longer is given up by the stream's owner.
pub const HANDSHAKE_MS: u64 = 10_000;
/// Sealed bytes that wait to be written. At the limit `write` takes nothing more.
pub const OUT_BYTES_MAX: usize = 256 << 10;
/// Opened bytes that wait to be read. At the limit `handle_bytes` takes nothing more.
pub const IN_BYTES_MAX: usize = 256 << 10;

const PROLOGUE: &[u8] = b"luc stream 1\0";
/// What the initiator's first bytes are; the last is the version.
const GREETING: [u8; 4] = *b"luc\x01";

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Messages between nodes.
    Overlay,
    /// A request to the other side's API, as HTTP/1.1.
    Http,
}

impl Purpose {
    const fn number(self) -> u8 {
        match self {
            Self::Overlay => 1,
            Self::Http => 2,
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Overlay),
            2 => Some(Self::Http),
            _ => None,
        }
    }
}

/// What has become of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamEvent {
    /// The other side has proved itself, and the purpose is known.
    Established { peer: Peer, purpose: Purpose },
    /// The other side will say no more.
    Ended,
}

/// Why a stream is of no more use. What `wanted` still holds may be written before it is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("no session over the stream: {0}")]
    Refused(Reason),
    #[error("the other side does not speak as a node does")]
    Malformed,
    #[error("the stream's seal does not hold")]
    Seal,
}

/// There is no room for this now; nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream takes no more until the other side has read")]
pub struct Full;

#[derive(Debug)]
enum State {
    /// The responder waits for the first message, and then for the third.
    Waiting(Box<Handshake>),
    Proving(Box<Handshake>),
    /// The initiator waits for the second message.
    Answering(Box<Handshake>),
    /// The responder does not know yet what for.
    Unnamed(Sealed),
    Open(Sealed),
    Broken(Broken),
}

/// Both directions' numbers, and who is there.
#[derive(Debug)]
struct Sealed {
    channel: Channel,
    sent: u64,
    received: u64,
    peer: Peer,
}

/// A session over a byte stream.
#[derive(Debug)]
pub struct Stream {
    own_key: SessionKey,
    state: State,
    /// What the initiator asks for, and later what the stream is for.
    purpose: Option<Purpose>,
    /// Whether the initiator's greeting has come, or need not come.
    greeted: bool,
    /// Bytes of a frame that has not come whole.
    partial: Vec<u8>,
    text: VecDeque<u8>,
    out: Vec<u8>,
    /// How many of `out` were written.
    written: usize,
    events: VecDeque<StreamEvent>,
    finished: bool,
    ended: bool,
}

impl Stream {
    /// The side that connected.
    ///
    /// # Errors
    ///
    /// Never with a secret of 32 bytes; the handshake's library can't say so in a type.
    pub fn connect(secret: &Secret, rng: &mut Rng, purpose: Purpose) -> Result<Self, Broken> {
        let handshake = Handshake::initiator(secret, rng, PROLOGUE);
        let mut handshake = handshake.map_err(|BadHandshake| Broken::Malformed)?;
        let mut noise = Vec::new();
        handshake
            .write(&[], &mut noise)
            .map_err(|BadHandshake| Broken::Malformed)?;
        let mut stream = Self::new(secret, State::Answering(Box::new(handshake)));
        stream.purpose = Some(purpose);
        stream.out.extend_from_slice(&GREETING);
        frame::put(&noise, &mut stream.out);
        Ok(stream)
    }

    /// The side that was connected to.
    ///
    /// # Errors
    ///
    /// As `connect`.
    pub fn accept(secret: &Secret, rng: &mut Rng) -> Result<Self, Broken> {
        let handshake = Handshake::responder(secret, rng, PROLOGUE);
        let handshake = handshake.map_err(|BadHandshake| Broken::Malformed)?;
        Ok(Self::new(secret, State::Waiting(Box::new(handshake))))
    }

    fn new(secret: &Secret, state: State) -> Self {
        Self {
            own_key: secret.public(),
            greeted: matches!(state, State::Answering(_)),
            state,
            purpose: None,
            partial: Vec::new(),
            text: VecDeque::new(),
            out: Vec::new(),
            written: 0,
            events: VecDeque::new(),
            finished: false,
            ended: false,
        }
    }

    /// Bytes have come. Says how many were taken: fewer than all while there is no room.
    ///
    /// # Errors
    ///
    /// The stream is of no more use: write what `wanted` holds, and close it.
    pub fn handle_bytes(
        &mut self,
        now: Moment,
        gate: &dyn Gate,
        bytes: &[u8],
    ) -> Result<usize, Broken> {
        let mut taken = 0;
        while taken < bytes.len() {
            if let State::Broken(broken) = self.state {
                return Err(broken);
            }
            if self.text.len() >= IN_BYTES_MAX {
                break;
            }
            let wanted = if self.greeted {
                frame::wanted(&self.partial)
            } else {
                GREETING.len() - self.partial.len()
            };
            let more = wanted.min(bytes.len() - taken);
            self.partial.extend_from_slice(&bytes[taken..taken + more]);
            taken += more;
            if more == wanted {
                self.handle_partial(now, gate);
            }
        }
        match self.state {
            State::Broken(broken) => Err(broken),
            _ => Ok(taken),
        }
    }

    /// Sealed bytes for the wire. Say by `wrote` how many it has taken.
    pub fn wanted(&self) -> &[u8] {
        &self.out[self.written..]
    }

    pub fn wrote(&mut self, bytes: usize) {
        self.written = (self.written + bytes).min(self.out.len());
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        } else if self.written >= OUT_BYTES_MAX / 2 {
            self.out.drain(..self.written);
            self.written = 0;
        }
    }

    pub fn poll_event(&mut self) -> Option<StreamEvent> {
        self.events.pop_front()
    }

    /// Whether anything may be sent.
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_)) && !self.finished
    }

    /// Whether the other side said that it is done, and all of it was read.
    pub fn is_at_end(&self) -> bool {
        self.ended && self.text.is_empty()
    }

    /// Sends a message, whole or not at all.
    ///
    /// # Errors
    ///
    /// No room, or the stream is not open.
    pub fn send_message(&mut self, message: &[u8]) -> Result<(), Full> {
        let length = u32::try_from(message.len()).map_err(|_| Full)?;
        let room = OUT_BYTES_MAX.saturating_sub(self.wanted().len());
        if !self.is_open()
            || message.len() > STREAM_MESSAGE_BYTES_MAX
            || frame::sealed_bytes(message.len() + 4) > room
        {
            return Err(Full);
        }
        let text = [&length.to_le_bytes(), message].concat();
        self.put_text(&text);
        Ok(())
    }

    /// The next whole message.
    ///
    /// # Errors
    ///
    /// The other side announces a message that is too long.
    pub fn poll_message(&mut self) -> Result<Option<Vec<u8>>, Broken> {
        let mut length = [0; 4];
        for (place, byte) in length.iter_mut().zip(&self.text) {
            *place = *byte;
        }
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if self.text.len() < 4 {
            return Ok(None);
        }
        if length > STREAM_MESSAGE_BYTES_MAX {
            return Err(self.breaks(Broken::Malformed));
        }
        if self.text.len() < 4 + length {
            return Ok(None);
        }
        Ok(Some(self.text.drain(..4 + length).skip(4).collect()))
    }

    /// Sends bytes; says how many there was room for.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let room = OUT_BYTES_MAX.saturating_sub(self.wanted().len());
        if !self.is_open() || room < frame::sealed_bytes(1) {
            return 0;
        }
        let most = room - frame::sealed_bytes(room).saturating_sub(room);
        let taken = bytes.len().min(most);
        self.put_text(&bytes[..taken]);
        taken
    }

    /// Takes bytes that came; says how many.
    pub fn read(&mut self, out: &mut [u8]) -> usize {
        let bytes = out.len().min(self.text.len());
        for (place, byte) in out.iter_mut().zip(self.text.drain(..bytes)) {
            *place = byte;
        }
        bytes
    }

    /// Says that no more will be sent.
    pub fn finish(&mut self) {
        if self.is_open() {
            self.put_frame(Kind::End, &[]);
            self.finished = true;
        }
    }

    fn breaks(&mut self, broken: Broken) -> Broken {
        self.state = State::Broken(broken);
        broken
    }

    fn put_text(&mut self, text: &[u8]) {
        for chunk in text.chunks(FRAME_TEXT_MAX) {
            self.put_frame(Kind::Bytes, chunk);
        }
    }

    fn put_frame(&mut self, kind: Kind, body: &[u8]) {
        if let State::Open(sealed) | State::Unnamed(sealed) = &mut self.state {
            let text = [&[kind as u8], body].concat();
            let mut frame = Vec::with_capacity(text.len() + 16);
            if sealed.channel.seal(sealed.sent, &text, &mut frame).is_ok() {
                sealed.sent += 1;
                frame::put(&frame, &mut self.out);
            }
        }
    }

    /// `partial` has what was wanted: the greeting, a frame's length, or a whole frame.
    fn handle_partial(&mut self, now: Moment, gate: &dyn Gate) {
        if !self.greeted {
            self.greeted = true;
            if self.partial != GREETING {
                self.state = State::Broken(Broken::Malformed);
            }
            self.partial.clear();
            return;
        }
        match frame::split(&self.partial) {
            Split::Incomplete => {}
            Split::Malformed => self.state = State::Broken(Broken::Malformed),
            Split::Frame(body) => {
                let body = body.to_vec();
                self.partial.clear();
                if let Err(broken) = self.handle_frame(now, gate, &body) {
                    self.state = State::Broken(broken);
                }
            }
        }
    }

    fn handle_frame(&mut self, now: Moment, gate: &dyn Gate, body: &[u8]) -> Result<(), Broken> {
        let placeholder = State::Broken(Broken::Malformed);
        match std::mem::replace(&mut self.state, placeholder) {
            State::Waiting(mut handshake) => {
                handshake.read(body).map_err(seal)?;
                self.put_handshake(&mut handshake, gate)?;
                self.state = State::Proving(handshake);
            }
            State::Answering(mut handshake) => {
                let payload = handshake.read(body).map_err(seal)?;
                let peer = self.judge(now, gate, &handshake, &payload)?;
                self.put_handshake(&mut handshake, gate)?;
                let purpose = self.purpose.ok_or(Broken::Malformed)?;
                self.state = State::Open(Sealed::new(*handshake, peer)?);
                self.put_frame(Kind::Purpose, &[purpose.number()]);
                self.events
                    .push_back(StreamEvent::Established { peer, purpose });
            }
            State::Proving(mut handshake) => {
                let payload = handshake.read(body).map_err(seal)?;
                let verdict = self.judge(now, gate, &handshake, &payload);
                let stranger = Peer::Stranger(handshake.their_key().map_err(seal)?);
                let peer = verdict.unwrap_or(stranger);
                self.state = State::Unnamed(Sealed::new(*handshake, peer)?);
                if let Err(Broken::Refused(Reason::Ours(refusal))) = verdict {
                    self.put_frame(Kind::Refused, &[refusal.number()]);
                }
                verdict?;
            }
            State::Unnamed(mut sealed) => {
                let text = sealed.open(body)?;
                let [kind, number] = text[..] else {
                    return Err(Broken::Malformed);
                };
                let purpose = Purpose::from_number(number);
                let purpose = purpose.filter(|_| kind == Kind::Purpose as u8);
                let purpose = purpose.ok_or(Broken::Malformed)?;
                let peer = sealed.peer;
                self.purpose = Some(purpose);
                self.state = State::Open(sealed);
                self.events
                    .push_back(StreamEvent::Established { peer, purpose });
            }
            State::Open(mut sealed) => {
                let text = sealed.open(body)?;
                self.state = State::Open(sealed);
                self.handle_text(&text)?;
            }
            State::Broken(broken) => return Err(broken),
        }
        Ok(())
    }

    fn handle_text(&mut self, text: &[u8]) -> Result<(), Broken> {
        match text {
            [kind, body @ ..] if *kind == Kind::Bytes as u8 && !self.ended => {
                self.text.extend(body);
                Ok(())
            }
            [kind] if *kind == Kind::End as u8 && !self.ended => {
                self.ended = true;
                self.events.push_back(StreamEvent::Ended);
                Ok(())
            }
            [kind, number] if *kind == Kind::Refused as u8 => Err(Broken::Refused(Reason::Theirs(
                Refusal::from_number(*number),
            ))),
            _ => Err(Broken::Malformed),
        }
    }

    fn put_handshake(&mut self, handshake: &mut Handshake, gate: &dyn Gate) -> Result<(), Broken> {
        let payload = gate.payload();
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Broken::Malformed);
        }
        let mut noise = Vec::new();
        handshake.write(&payload, &mut noise).map_err(seal)?;
        frame::put(&noise, &mut self.out);
        Ok(())
    }

    fn judge(
        &self,
        now: Moment,
        gate: &dyn Gate,
        handshake: &Handshake,
        payload: &[u8],
    ) -> Result<Peer, Broken> {
        let key = handshake.their_key().map_err(seal)?;
        if key == self.own_key {
            return Err(Broken::Refused(Reason::Oneself));
        }
        gate.check(now, &key, payload)
            .map_err(|refusal| Broken::Refused(Reason::Ours(refusal)))
    }
}

impl Sealed {
    fn new(handshake: Handshake, peer: Peer) -> Result<Self, Broken> {
        Ok(Self {
            channel: handshake.finish().map_err(seal)?,
            sent: 0,
            received: 0,
            peer,
        })
    }

    fn open(&mut self, sealed: &[u8]) -> Result<Vec<u8>, Broken> {
        let text = self.channel.open(self.received, sealed).map_err(seal)?;
        self.received += 1;
        Ok(text)
    }
}

const fn seal(_: BadHandshake) -> Broken {
    Broken::Seal
}
