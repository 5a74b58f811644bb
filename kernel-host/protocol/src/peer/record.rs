//! Signed, versioned facts.
//!
//! Does:      one form for every fact that spreads: who says what about whom, how new it is; bodies
//!            of unknown kinds are kept and passed on unread.
//! Does not:  sign or verify (`identity`), or know what a body means (each kind's own module).
//! Bounds:    `RECORD_BODY_BYTES_MAX`.
//! Trusts:    nobody: a decoded record is well-formed, not true.
//! Start at:  `Record`.

use super::{RECORD_BODY_BYTES_MAX, Signature, Stamp};
use crate::{NodeId, SiteId};
use serde::{Deserialize, Serialize};

/// Who keeps a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Realm {
    /// Every node.
    Cluster,
    /// Every node of this site, and of the sites that keep its copies.
    Site(SiteId),
}

/// What a record is about; the numbers are for ever. Others are kept and passed on unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordKind(pub u16);

/// Which of two records of one key is newer: the larger; the epoch fences old owners.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    pub epoch: u64,
    pub seq: u64,
}

/// What makes two records statements about the same thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RecordKey {
    pub realm: Realm,
    pub kind: RecordKind,
    /// The bytes of a `NodeId`, `VmId`, `SiteId` or the start of a digest, by kind.
    pub subject: [u8; 16],
}

/// A fact, signed by its author.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub key: RecordKey,
    pub author: NodeId,
    pub version: Version,
    pub written: Stamp,
    /// The thing is gone, and stays gone: a tombstone.
    pub ended: bool,
    pub body: Vec<u8>,
    pub signature: Signature,
}

/// Bytes of a signature, which ends an encoded record.
const SIGNATURE_BYTES: usize = 64;

/// Bytes of a record before its body and after it, at most.
pub const RECORD_OVERHEAD_BYTES_MAX: usize = 160;

/// Bytes of an encoded record.
pub const RECORD_BYTES_MAX: usize = RECORD_BODY_BYTES_MAX + RECORD_OVERHEAD_BYTES_MAX;

impl Record {
    /// The bytes that travel and are kept. The signature is the last 64.
    pub fn encode(&self) -> Vec<u8> {
        let room = Vec::with_capacity(self.body.len() + RECORD_OVERHEAD_BYTES_MAX);
        postcard::to_extend(self, room).unwrap_or_default()
    }

    /// A record that uses all these bytes, with a body that is not too long.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > RECORD_BYTES_MAX {
            return None;
        }
        let (record, rest) = postcard::take_from_bytes::<Self>(bytes).ok()?;
        let is_whole = rest.is_empty() && record.body.len() <= RECORD_BODY_BYTES_MAX;
        is_whole.then_some(record)
    }

    /// What is signed of an encoded record: all but the signature.
    pub fn signed_part(encoded: &[u8]) -> &[u8] {
        &encoded[..encoded.len().saturating_sub(SIGNATURE_BYTES)]
    }
}

impl Serialize for RecordKind {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(out)
    }
}

impl<'de> Deserialize<'de> for RecordKind {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        u16::deserialize(input).map(Self)
    }
}

/// The kinds known to this version.
impl RecordKind {
    /// A node's own card; site realm; subject: the node. Body: `NodeCard` of `overlay`.
    pub const NODE_CARD: Self = Self(1);
    /// Who is in a site, as its speaker sees it; cluster realm; subject: the speaker.
    pub const SITE_MEMBERS: Self = Self(2);
    /// What a site has and uses; cluster realm; subject: the speaker.
    pub const SITE_LOAD: Self = Self(3);
    /// A site that is given up; cluster realm; grow-only; subject: the site. Proves itself.
    pub const SITE_RETIRED: Self = Self(4);
    /// A node's certificate; cluster realm; subject: the node. Proves itself.
    pub const CERTIFICATE: Self = Self(16);
    /// A right signed by the cluster's root: token, list or charter. Proves itself.
    pub const GRANT: Self = Self(17);
    /// A key that is no longer trusted; cluster realm; grow-only. Proves itself.
    pub const REVOCATION: Self = Self(18);
    /// One use of a counted right; site realm; grow-only; subject: start of a digest.
    pub const GRANT_USE: Self = Self(19);
    /// A virtual machine; site realm of its host; subject: the VM. Body: `cloud`'s.
    pub const VM: Self = Self(32);
    /// Which images a node holds; site realm; subject: the node. Body: `cloud`'s.
    pub const IMAGES: Self = Self(33);
    /// What a node's VMs and images leave free; site realm; subject: the node. Body: `cloud`'s.
    pub const CAPACITY: Self = Self(34);
}
