//! Secret keys, made from seeds that come from outside, and what they sign.
//!
//! Does:      Ed25519 and X25519; a signature holds for one purpose only (`Domain`); ids of keys.
//! Does not:  make randomness, or show a secret in a log.
//! Bounds:    none that grow.
//! Trusts:    the caller for 32 bytes that nobody can guess.
//! Start at:  `SecretKey`.

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use protocol::peer::admission::MachineId;
use protocol::peer::{PublicKey, SessionKey, Signature};
use protocol::{Hasher, NodeId};
use std::fmt;
use zeroize::Zeroizing;

/// 32 bytes from which a key is made; they leave memory with their owner.
#[derive(Clone, PartialEq, Eq)]
pub struct Seed(Zeroizing<[u8; 32]>);

impl Seed {
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for whoever keeps or sends them.
    pub fn reveal(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed")
    }
}

/// What a signature is for. None holds for another purpose, whatever the bytes look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    Record,
    Grant,
    Charter,
    Certificate,
    Revocation,
    Succession,
    Join,
    Hello,
}

impl Domain {
    const fn tag(self) -> &'static [u8] {
        match self {
            Self::Record => b"luc record\0",
            Self::Grant => b"luc grant\0",
            Self::Charter => b"luc charter\0",
            Self::Certificate => b"luc certificate\0",
            Self::Revocation => b"luc revocation\0",
            Self::Succession => b"luc succession\0",
            Self::Join => b"luc join\0",
            Self::Hello => b"luc hello\0",
        }
    }

    fn message(self, bytes: &[u8]) -> Vec<u8> {
        [self.tag(), bytes].concat()
    }
}

/// An Ed25519 secret: of the root, a grant, a charter or a node.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    pub fn from_seed(seed: &Seed) -> Self {
        Self(SigningKey::from_bytes(seed.reveal()))
    }

    pub fn seed(&self) -> Seed {
        Seed::new(self.0.to_bytes())
    }

    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    pub fn sign(&self, domain: Domain, bytes: &[u8]) -> Signature {
        Signature(self.0.sign(&domain.message(bytes)).to_bytes())
    }

    /// The X25519 secret of this node's sessions. It follows from the node's key, so that a disk
    /// keeps one secret; past sessions stay secret by their ephemeral keys.
    pub fn session(&self) -> SessionSecret {
        let mut hasher = Hasher::new();
        hasher.update(b"luc session\0");
        hasher.update(self.0.as_bytes());
        SessionSecret(Seed::new(hasher.finish().bytes()))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey of {:?}", self.public())
    }
}

/// An X25519 secret.
#[derive(Debug, Clone)]
pub struct SessionSecret(Seed);

impl SessionSecret {
    /// The bytes, for the handshake.
    pub fn reveal(&self) -> &[u8; 32] {
        self.0.reveal()
    }

    pub fn public(&self) -> SessionKey {
        let secret = x25519_dalek::StaticSecret::from(*self.0.reveal());
        SessionKey(x25519_dalek::PublicKey::from(&secret).to_bytes())
    }
}

/// Whether `key` signed `bytes` for this purpose. Weak keys and malleable signatures are no.
pub fn is_signed(domain: Domain, key: &PublicKey, bytes: &[u8], signature: &Signature) -> bool {
    let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
    VerifyingKey::from_bytes(&key.0).is_ok_and(|key| {
        key.verify_strict(&domain.message(bytes), &signature)
            .is_ok()
    })
}

/// The id of the node with this key.
pub fn node_id(key: &PublicKey) -> NodeId {
    NodeId::from_bytes(start_of_digest(b"luc node\0", &key.0))
}

/// The id of a machine across boots, from what its firmware and network interfaces say of
/// themselves. `None`: they say nothing that tells it from others.
pub fn machine_id(smbios_uuid: Option<[u8; 16]>, macs: &[[u8; 6]]) -> Option<MachineId> {
    let says_something = |bytes: &[u8]| !bytes.iter().all(|&b| b == 0 || b == 0xff);
    let uuid = smbios_uuid.filter(|uuid| says_something(uuid));
    let mut macs: Vec<[u8; 6]> = macs.to_vec();
    macs.retain(|mac| says_something(mac));
    macs.sort_unstable();
    macs.dedup();
    if uuid.is_none() && macs.is_empty() {
        return None;
    }
    let uuid = uuid.unwrap_or_default();
    let bytes = [uuid.as_slice(), macs.as_flattened()].concat();
    Some(MachineId(start_of_digest(b"luc machine\0", &bytes)))
}

/// The first 16 bytes of a digest.
pub(crate) fn start_of_digest(tag: &[u8], bytes: &[u8]) -> [u8; 16] {
    let mut hasher = Hasher::new();
    hasher.update(tag);
    hasher.update(bytes);
    let mut start = [0; 16];
    start.copy_from_slice(&hasher.finish().bytes()[..16]);
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_purpose_its_key_and_its_bytes_only() {
        let (one, other) = (Seed::new([1; 32]), Seed::new([2; 32]));
        let (one, other) = (SecretKey::from_seed(&one), SecretKey::from_seed(&other));
        let signature = one.sign(Domain::Grant, b"bytes");
        let mut forged = signature;
        forged.0[63] ^= 1;
        let holds = |domain, key: &SecretKey, bytes: &[u8], signature| {
            is_signed(domain, &key.public(), bytes, signature)
        };
        assert!(holds(Domain::Grant, &one, b"bytes", &signature));
        assert!(!holds(Domain::Charter, &one, b"bytes", &signature));
        assert!(!holds(Domain::Grant, &other, b"bytes", &signature));
        assert!(!holds(Domain::Grant, &one, b"byteS", &signature));
        assert!(!holds(Domain::Grant, &one, b"bytes", &forged));
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let key = SecretKey::from_seed(&Seed::new([7; 32]));
        let shown = format!("{key:?} {:?} {:?}", key.seed(), key.session());
        assert!(
            !shown.contains("0707") && !shown.contains("7, 7"),
            "{shown}"
        );
    }

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn a_machine_is_known_by_its_uuid_and_its_interfaces_in_any_order() {
        let (a, b, zero) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], [0; 6]);
        let uuid = Some([3; 16]);
        assert_eq!(machine_id(uuid, &[a, b]), machine_id(uuid, &[b, a, a, zero]));
        assert_ne!(machine_id(uuid, &[a]),    machine_id(uuid, &[b]));
        assert_ne!(machine_id(uuid, &[a]),    machine_id(None, &[a]));
        assert_eq!(machine_id(None, &[a]),    machine_id(Some([0; 16]), &[a]));
        assert_eq!(machine_id(None, &[a]),    machine_id(Some([0xff; 16]), &[a]));
        assert_eq!(machine_id(None, &[zero]), None);
    }
}
