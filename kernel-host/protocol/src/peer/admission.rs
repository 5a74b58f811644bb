//! The messages of joining, renewal and approval.
//!
//! Does:      the words between a stranger and a node of a site, and between nodes of a site about
//!            certificates; refusals as sentences with advice.
//! Does not:  know what is inside grants and certificates (`identity` does).
//! Bounds:    each message fits a datagram; `CHAIN_BYTES_MAX`, `CHARTERS_MAX`.
//! Trusts:    nobody: a decoded message is well-formed, not true.
//! Start at:  `AdmissionMessage`, then `Refusal`.

use super::capped::Capped;
use super::{PublicKey, SessionKey, Signature};
use crate::{Name, NodeId};
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use std::fmt;

/// Bytes of a certificate with everything that proves it.
pub const CHAIN_BYTES_MAX: usize = 800;
/// Bytes of a token's grant, without its secret.
pub const TOKEN_GRANT_BYTES_MAX: usize = 288;
/// Bytes of the statement by which one root follows another.
pub const SUCCESSION_BYTES_MAX: usize = 256;
/// Bytes of a certificate alone.
pub const CERTIFICATE_BYTES_MAX: usize = 400;
/// Charters of one site: as many nodes may found it at the same moment.
pub const CHARTERS_MAX: usize = 8;

/// What a stranger and a node of a site say to each other, and nodes of a site about keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdmissionMessage {
    /// A stranger asks to become a node of the site.
    Join(Box<JoinRequest>),
    /// Somebody has to approve the stranger; its console shows the code that its key gives.
    Waiting { ask: u64 },
    /// No, and why.
    Refused { ask: u64, refusal: Refusal },
    /// Yes: the certificate with everything that proves it.
    Admitted {
        ask: u64,
        chain: Capped<CHAIN_BYTES_MAX>,
    },
    /// A node of the site wants this certificate made new; answered as a `Join` is.
    Renew {
        ask: u64,
        certificate: Capped<CERTIFICATE_BYTES_MAX>,
    },
    /// A node of the site lacks the secrets of these charters: starts of their digests.
    CharterAsk { lacking: Few<[u8; 16]> },
    /// The secrets that were asked for. Only between nodes of one site, only inside a session.
    CharterGive { secrets: Few<CharterSecret> },
    /// A node of the site was told to approve the stranger with this code.
    Approved { code: ApprovalCode },
}

/// What a stranger says of itself, and by what right it comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// Repeated in the answer.
    pub ask: u64,
    pub node: PublicKey,
    pub session: SessionKey,
    pub site: Name,
    pub name: Name,
    /// Tells machines apart across boots.
    pub machine: MachineId,
    pub right: Right,
    /// By the node's key, over all of the above and the asked node's id.
    pub proof: Signature,
}

/// By what right a stranger comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Right {
    /// It is on a list, or somebody will approve it.
    Known,
    /// It holds a token: the grant, a signature by the token's secret over the same bytes as
    /// `JoinRequest::proof`, and how the token's root follows an older one.
    Token {
        grant: Capped<TOKEN_GRANT_BYTES_MAX>,
        succession: Capped<SUCCESSION_BYTES_MAX>,
        proof: Signature,
    },
}

/// Tells machines apart: the start of a digest over the ids that their firmware and network
/// interfaces give.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MachineId(pub [u8; 16]);

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("machine-")?;
        crate::text::write_hex(f, &self.0)
    }
}

impl fmt::Debug for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for MachineId {
    type Err = crate::BadId;

    fn from_str(text: &str) -> Result<Self, crate::BadId> {
        text.strip_prefix("machine-")
            .and_then(crate::text::bytes_from_hex)
            .map(Self)
            .ok_or_else(|| crate::BadId {
                text: crate::limits::shortened(text, 64),
                prefix: "machine-",
            })
    }
}

/// The secret half of a charter's key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CharterSecret {
    pub charter: [u8; 16],
    pub seed: [u8; 32],
}

impl fmt::Debug for CharterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CharterSecret")
    }
}

/// At most `MAX` things; the count is checked before memory is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Few<T, const MAX: usize = CHARTERS_MAX>(Vec<T>);

impl<T, const MAX: usize> Default for Few<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> Few<T, MAX> {
    /// The first `MAX` of `items`.
    pub fn new(items: impl IntoIterator<Item = T>) -> Self {
        Self(items.into_iter().take(MAX).collect())
    }

    pub fn as_slice(&self) -> &[T] {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Few<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Items<T, const MAX: usize>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> serde::de::Visitor<'de> for Items<T, MAX> {
            type Value = Few<T, MAX>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX} things")
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut items: A,
            ) -> Result<Few<T, MAX>, A::Error> {
                let mut few = Few(Vec::new());
                while let Some(item) = items.next_element()? {
                    if few.0.len() == MAX {
                        return Err(A::Error::custom("too many"));
                    }
                    few.0.push(item);
                }
                Ok(few)
            }
        }
        input.deserialize_seq(Items(std::marker::PhantomData))
    }
}

/// What a stranger's console shows and a person types to let it in: the start of a digest of its
/// key as three words that can be spoken, such as `lusab-babad-gutih`.
///
/// 48 bits: whoever wants a key with a given code has to make more keys than the hour for which
/// a stranger waits leaves time for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ApprovalCode([u16; 3]);

const CONSONANTS: &[u8; 16] = b"bdfghjklmnprstvz";
const VOWELS: &[u8; 4] = b"aiou";

/// Why a text is no approval code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no approval code: wanted three words such as lusab-babad-gutih")]
pub struct BadApprovalCode {
    pub text: String,
}

impl ApprovalCode {
    /// The code of the stranger with this key.
    pub fn of(key: &PublicKey) -> Self {
        let mut hasher = crate::Hasher::new();
        hasher.update(b"luc approval\0");
        hasher.update(&key.0);
        let digest = hasher.finish().bytes();
        let word = |at: usize| u16::from_be_bytes([digest[at], digest[at + 1]]);
        Self([word(0), word(2), word(4)])
    }
}

impl fmt::Display for ApprovalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, word) in self.0.into_iter().enumerate() {
            let consonant = |shift: u16| char::from(CONSONANTS[usize::from(word >> shift & 15)]);
            let vowel = |shift: u16| char::from(VOWELS[usize::from(word >> shift & 3)]);
            let dash = if at > 0 { "-" } else { "" };
            write!(f, "{dash}{}{}", consonant(12), vowel(10))?;
            write!(f, "{}{}{}", consonant(6), vowel(4), consonant(0))?;
        }
        Ok(())
    }
}

impl fmt::Debug for ApprovalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The 16 bits of a word of five letters.
fn word_of(text: &str) -> Option<u16> {
    let letters: [u8; 5] = text.as_bytes().try_into().ok()?;
    let place = |set: &[u8], letter: u8| set.iter().position(|&known| known == letter);
    let mut word = 0;
    for (at, letter) in letters.into_iter().enumerate() {
        let (set, bits): (&[u8], u32) = match at % 2 {
            0 => (CONSONANTS, 4),
            _ => (VOWELS, 2),
        };
        word = word << bits | u16::try_from(place(set, letter)?).ok()?;
    }
    Some(word)
}

impl std::str::FromStr for ApprovalCode {
    type Err = BadApprovalCode;

    /// Takes what people write when they hear it: capitals, spaces for dashes.
    fn from_str(text: &str) -> Result<Self, BadApprovalCode> {
        let bad = || BadApprovalCode {
            text: crate::limits::shortened(text, 40),
        };
        let heard = text.trim().to_ascii_lowercase();
        let mut words = heard
            .split(['-', ' '])
            .filter(|word| !word.is_empty())
            .map(word_of);
        let mut next = || words.next().flatten().ok_or_else(bad);
        let code = Self([next()?, next()?, next()?]);
        match words.next() {
            None => Ok(code),
            Some(_) => Err(bad()),
        }
    }
}

/// Why somebody is not let in. The stranger's console prints `reason` and `advice`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    #[error("the request does not prove what it says")]
    BadProof,
    #[error("the right to join comes from a root key that nobody here knows")]
    UnknownRoot,
    #[error("the token is for site {granted}, and this is site {asked}")]
    WrongSite { granted: Name, asked: Name },
    #[error("the token is for another purpose")]
    WrongPurpose,
    #[error("the token expired {ago_s} seconds ago")]
    Expired { ago_s: u64 },
    #[error("the token was for {count} machines, and as many have used it")]
    UsedUp { count: u32 },
    #[error("the token was revoked")]
    TokenRevoked,
    #[error("this node was revoked")]
    Revoked,
    #[error("a machine with the same hardware ids is in the cluster and alive: {node}")]
    MachineAlive { node: NodeId },
    #[error("the site is busy with others who want to join")]
    Busy { retry_ms: u32 },
    #[error("this node has not yet got the keys with which it could admit others")]
    NotReady,
    #[error("the certificate expired {ago_s} seconds ago, too long for another site to trust it")]
    CertificateExpired { ago_s: u64 },
    #[error("the site has more founders than a site can have")]
    TooManyFounders,
    #[error("nobody approved it in time")]
    NotApproved,
}

impl Refusal {
    /// What the person in front of the machine can do.
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::BadProof => "Boot it again; if that does not help, its image is damaged",
            Self::UnknownRoot => {
                "The machine and the site belong to different clusters: give both the roots of one \
                 (`luc cluster show` prints luc.root=...)"
            }
            Self::WrongSite { .. } => {
                "Make a token for this site: luc token create --key cluster.key --site <site>"
            }
            Self::WrongPurpose => "Use a token that `luc token create` made",
            Self::Expired { .. } => {
                "Make a new one: luc token create --key cluster.key --site <site> --expires 7d; or \
                 set the clock of the node that refused"
            }
            Self::UsedUp { .. } => {
                "Make another: luc token create --key cluster.key --site <site> --count <machines>"
            }
            Self::TokenRevoked => "Ask whoever revoked it for another token",
            Self::Revoked => {
                "If it should be a node again, delete its state disk and boot it with a token"
            }
            Self::MachineAlive { .. } => {
                "Wait until the other is known to be off; two machines with one UUID and the same \
                 network addresses can't both join"
            }
            Self::Busy { .. } | Self::NotReady => "It asks again by itself",
            Self::CertificateExpired { .. } => {
                "Connect it to its own site, which renews it, or give it a new token"
            }
            Self::TooManyFounders => "Nothing: it joins the founded site by itself",
            Self::NotApproved => "Approve it on any node of the site with the code that it shows",
        }
    }

    /// Whether asking another node of the site, or the same later, may help without a person.
    pub const fn passes(&self) -> bool {
        matches!(
            self,
            Self::Busy { .. }
                | Self::NotReady
                | Self::MachineAlive { .. }
                | Self::TooManyFounders
                | Self::NotApproved
        )
    }
}
