//! Signed, versioned facts.
//!
//! Does:      one form for every fact that spreads: who says what about whom, how new it is; bodies
//!            of unknown kinds are kept and passed on unread.
//! Does not:  sign or verify (`identity`), or know what a body means (each kind's own module).
//! Bounds:    `RECORD_BODY_BYTES_MAX`.
//! Trusts:    nobody: a decoded record is well-formed, not true.
//! Start at:  `Record`.

use super::{Signature, Stamp};
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
