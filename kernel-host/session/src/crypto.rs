//! The primitives under the handshake, and random bytes from a seed.
//!
//! Does:      gives `snow` X25519, ChaCha20-Poly1305 and SHA-256 from the crates that the rest of
//!            the tree uses. Its own resolver would bring an older generation of each beside them.
//! Does not:  implement a primitive, or ask the system for randomness.
//! Bounds:    none that grow.
//! Trusts:    the caller for a seed that nobody can guess.
//! Start at:  `resolver`, `Rng`.

use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce, Tag};
use protocol::peer::SessionKey;
use sha2::{Digest, Sha256};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use std::fmt;
use zeroize::Zeroizing;

/// Bytes that a sealed text is longer than its plain text.
pub const TAG_BYTES: usize = 16;

/// The X25519 secret that a node's sessions prove.
#[derive(Clone)]
pub struct Secret(Zeroizing<[u8; 32]>);

impl Secret {
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub fn public(&self) -> SessionKey {
        SessionKey(public_of(&self.0))
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

fn public_of(secret: &[u8; 32]) -> [u8; 32] {
    let secret = x25519_dalek::StaticSecret::from(*secret);
    x25519_dalek::PublicKey::from(&secret).to_bytes()
}

/// Random bytes that nobody can guess who does not know the seed. Each draw replaces the state, so
/// that a state that leaks tells nothing of earlier draws.
#[derive(Clone)]
pub struct Rng(Zeroizing<[u8; 32]>);

impl Rng {
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(Zeroizing::new(seed))
    }

    pub fn draw(&mut self) -> [u8; 32] {
        let step = |tag: &[u8]| -> [u8; 32] {
            Sha256::new()
                .chain_update(tag)
                .chain_update(*self.0)
                .finalize()
                .into()
        };
        let (drawn, next) = (step(b"luc drawn\0"), step(b"luc next\0"));
        *self.0 = next;
        drawn
    }

    pub fn fork(&mut self) -> Self {
        Self(Zeroizing::new(self.draw()))
    }

    pub fn next_u32(&mut self) -> u32 {
        let [a, b, c, d, ..] = self.draw();
        u32::from_le_bytes([a, b, c, d])
    }

    /// `value`, up to a quarter more or less.
    pub fn around(&mut self, value: u64) -> u64 {
        value - value / 4 + u64::from(self.next_u32()) % (value / 2 + 1)
    }
}

impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rng")
    }
}

impl Random for Rng {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), snow::Error> {
        for chunk in out.chunks_mut(32) {
            chunk.copy_from_slice(&self.draw()[..chunk.len()]);
        }
        Ok(())
    }
}

/// The first bytes of HMAC-SHA256.
pub(crate) fn short_mac(key: &[u8; 32], bytes: &[u8]) -> [u8; 16] {
    let mut out = [0; 32];
    Sha::default().hmac(key, bytes, &mut out);
    let mut short = [0; 16];
    short.copy_from_slice(&out[..16]);
    short
}

/// Whether two secrets are equal, in a time that does not depend on where they differ.
pub(crate) fn equal(left: &[u8; 16], right: &[u8; 16]) -> bool {
    let differences = left.iter().zip(right).fold(0, |sum, (a, b)| sum | (a ^ b));
    std::hint::black_box(differences) == 0
}

/// What one handshake computes with; its dice come from `seed`.
pub(crate) fn resolver(seed: Rng) -> Box<dyn CryptoResolver + Send> {
    Box::new(Resolver { seed })
}

struct Resolver {
    seed: Rng,
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(self.seed.clone()))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| Box::<X25519>::default() as _)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        matches!(choice, HashChoice::SHA256).then(|| Box::<Sha>::default() as _)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        matches!(choice, CipherChoice::ChaChaPoly).then(|| Box::<ChaChaPoly>::default() as _)
    }
}

#[derive(Default)]
struct X25519 {
    secret: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, secret: &[u8]) {
        self.secret.copy_from_slice(secret);
        self.public = public_of(&self.secret);
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        rng.try_fill_bytes(&mut *self.secret)?;
        self.public = public_of(&self.secret);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &*self.secret
    }

    /// A public key that gives a shared secret which does not depend on ours is refused.
    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let public: [u8; 32] = public
            .get(..32)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(snow::Error::Dh)?;
        let shared = x25519_dalek::StaticSecret::from(*self.secret)
            .diffie_hellman(&x25519_dalek::PublicKey::from(public));
        if !shared.was_contributory() {
            return Err(snow::Error::Dh);
        }
        out.get_mut(..32)
            .ok_or(snow::Error::Dh)?
            .copy_from_slice(shared.as_bytes());
        Ok(())
    }
}

#[derive(Default)]
struct Sha(Sha256);

impl Hash for Sha {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0 = Sha256::new();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        let sum: [u8; 32] = self.0.finalize_reset().into();
        out[..32].copy_from_slice(&sum);
    }
}

#[derive(Default)]
struct ChaChaPoly {
    key: Zeroizing<[u8; 32]>,
}

impl ChaChaPoly {
    fn cipher(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new(&Key::from(*self.key))
    }

    /// Noise, 12.3: 32 zero bits, then the counter, little-endian.
    fn nonce(counter: u64) -> Nonce {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&counter.to_le_bytes());
        Nonce::from(nonce)
    }
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        *self.key = *key;
    }

    fn encrypt(&self, counter: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let bytes = plaintext.len();
        let (text, tag_place) = out.split_at_mut(bytes);
        text.copy_from_slice(plaintext);
        let tag = self
            .cipher()
            .encrypt_inout_detached(&Self::nonce(counter), authtext, InOutBuf::from(text))
            .expect("a message is far shorter than the cipher's limit of 256 GiB");
        tag_place[..TAG_BYTES].copy_from_slice(&tag);
        bytes + TAG_BYTES
    }

    fn decrypt(
        &self,
        counter: u64,
        authtext: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, snow::Error> {
        let bytes = ciphertext
            .len()
            .checked_sub(TAG_BYTES)
            .ok_or(snow::Error::Decrypt)?;
        let (text, tag) = ciphertext.split_at(bytes);
        let tag = Tag::try_from(tag).map_err(|_| snow::Error::Decrypt)?;
        let out = out.get_mut(..bytes).ok_or(snow::Error::Decrypt)?;
        out.copy_from_slice(text);
        self.cipher()
            .decrypt_inout_detached(&Self::nonce(counter), authtext, InOutBuf::from(out), &tag)
            .map_err(|_| snow::Error::Decrypt)?;
        Ok(bytes)
    }
}
