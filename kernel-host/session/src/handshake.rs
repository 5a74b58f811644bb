//! One run of the Noise handshake XX, and the sealed channel that comes of it.
//!
//! Start at:  `Handshake`. Source: The Noise Protocol Framework, revision 34.

use crate::crypto::{self, Rng, Secret, TAG_BYTES};
use crate::gate::PAYLOAD_BYTES_MAX;
use crate::packet::INDEX_BYTES;
use protocol::peer::SessionKey;

const NOISE: &str = "Noise_XX_25519_ChaChaPoly_SHA256";
/// Bytes of the first message without payload: an ephemeral key.
pub(crate) const FIRST_BYTES: usize = 32;
/// Bytes of the second message beside its payload: an ephemeral key, a sealed static key, a tag.
pub(crate) const SECOND_BYTES: usize = 32 + 32 + 2 * TAG_BYTES;
/// Bytes of the third message beside its payload.
pub(crate) const THIRD_BYTES: usize = 32 + 2 * TAG_BYTES;
/// The longest message: the second, with a number before the payload.
pub(crate) const MESSAGE_BYTES_MAX: usize = SECOND_BYTES + INDEX_BYTES + PAYLOAD_BYTES_MAX;

/// Bytes that are no handshake message, or not by whom they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the handshake message does not hold")]
pub(crate) struct BadHandshake;

impl From<snow::Error> for BadHandshake {
    fn from(_: snow::Error) -> Self {
        Self // what exactly failed is nobody's business but ours, and we can't act on it
    }
}

#[derive(Debug)]
pub(crate) struct Handshake(snow::HandshakeState);

impl Handshake {
    pub(crate) fn initiator(
        secret: &Secret,
        rng: &mut Rng,
        prologue: &[u8],
    ) -> Result<Self, BadHandshake> {
        let builder = Self::builder(rng)?;
        let builder = builder.local_private_key(secret.bytes())?;
        Ok(Self(builder.prologue(prologue)?.build_initiator()?))
    }

    pub(crate) fn responder(
        secret: &Secret,
        rng: &mut Rng,
        prologue: &[u8],
    ) -> Result<Self, BadHandshake> {
        let builder = Self::builder(rng)?;
        let builder = builder.local_private_key(secret.bytes())?;
        Ok(Self(builder.prologue(prologue)?.build_responder()?))
    }

    fn builder<'a>(rng: &mut Rng) -> Result<snow::Builder<'a>, BadHandshake> {
        let params = NOISE.parse()?;
        Ok(snow::Builder::with_resolver(
            params,
            crypto::resolver(rng.fork()),
        ))
    }

    /// Appends our next message to `out`.
    pub(crate) fn write(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), BadHandshake> {
        let mut message = [0; MESSAGE_BYTES_MAX + TAG_BYTES]; // `snow` wants room for one tag more
        let bytes = self.0.write_message(payload, &mut message)?;
        out.extend_from_slice(&message[..bytes]);
        Ok(())
    }

    /// Takes in their next message; gives its payload. After a bad second message a good one can
    /// still be read; after a bad third one, none.
    pub(crate) fn read(&mut self, message: &[u8]) -> Result<Vec<u8>, BadHandshake> {
        let mut payload = vec![0; message.len()];
        let bytes = self.0.read_message(message, &mut payload)?;
        payload.truncate(bytes);
        Ok(payload)
    }

    pub(crate) fn their_key(&self) -> Result<SessionKey, BadHandshake> {
        let key = self.0.get_remote_static().ok_or(BadHandshake)?;
        key.try_into().map(SessionKey).map_err(|_| BadHandshake)
    }

    pub(crate) fn finish(self) -> Result<Channel, BadHandshake> {
        Ok(Channel(self.0.into_stateless_transport_mode()?))
    }
}

/// Seals and opens texts by number; the caller never uses a number twice.
#[derive(Debug)]
pub(crate) struct Channel(snow::StatelessTransportState);

impl Channel {
    /// Appends the sealed `text` to `out`.
    pub(crate) fn seal(
        &self,
        number: u64,
        text: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), BadHandshake> {
        let start = out.len();
        out.resize(start + text.len() + TAG_BYTES, 0);
        self.0.write_message(number, text, &mut out[start..])?;
        Ok(())
    }

    pub(crate) fn open(&self, number: u64, sealed: &[u8]) -> Result<Vec<u8>, BadHandshake> {
        let mut text = vec![0; sealed.len().saturating_sub(TAG_BYTES)];
        self.0.read_message(number, sealed, &mut text)?;
        Ok(text)
    }
}
