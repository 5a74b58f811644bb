//! Revocations: trust that was taken away, for ever.
//!
//! Does:      says what, since when, by whom; carries its author's own right along, so that it can
//!            be judged by a node that knows nothing but a root.
//! Does not:  undo others: a revocation by somebody who is revoked later stops counting instead.
//! Bounds:    `REVOCATION_BYTES_MAX`, `REASON_BYTES_MAX`.
//! Trusts:    nobody: `ring` weighs the authority.
//! Start at:  `RevocationFields`.

use crate::charter::{Charter, CharterId};
use crate::grant::{Grant, GrantId};
use crate::secret::{Domain, SecretKey, is_signed, start_of_digest};
use crate::statement;
use protocol::peer::admission::Few;
use protocol::peer::capped::Capped;
use protocol::peer::{PublicKey, Signature};
use protocol::{NodeId, SiteId};
use serde::{Deserialize, Serialize};

/// Bytes of a reason in words.
pub const REASON_BYTES_MAX: usize = 120;
const STATEMENT_BYTES_MAX: usize = 360;
/// Bytes of an author's right: a founding grant and a charter.
const AUTHORITY_BYTES_MAX: usize = 640;
/// Bytes of a revocation.
pub const REVOCATION_BYTES_MAX: usize = STATEMENT_BYTES_MAX + AUTHORITY_BYTES_MAX + 72;

/// What is no longer trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Target {
    /// This node. With `since_s`, also nodes that it let in or renewed from then on.
    Node(NodeId),
    /// Every certificate under this charter. The site's nodes need others, under another charter.
    Charter(CharterId),
    /// A token, list or operator: it lets nobody in and revokes nothing any more. Charters that it
    /// founded fall, unless spared; nodes that it let in from `since_s` on fall.
    Grant(GrantId),
    /// A root that another follows: what it signed from `since_s` on.
    Root(PublicKey),
    /// A site that is given up for good: nobody waits for it, or keeps its things. It takes no key
    /// away, so it stands in a record of its own kind.
    Site(SiteId),
}

/// What a revocation says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationFields {
    pub target: Target,
    /// Zero: from the beginning.
    pub since_s: Option<u64>,
    pub spares: Few<CharterId>,
    pub made_s: u64,
    /// UTF-8, for people.
    pub reason: Capped<REASON_BYTES_MAX>,
}

/// Who revokes, with what proves its right to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authority {
    /// May revoke anything; a root only if it follows it.
    Root(PublicKey),
    /// May revoke nodes, charters and tokens, and give up sites: its own or all.
    Operator(Grant),
    /// The nodes of a site together: may revoke nodes of the site, and give it up.
    Site(Grant, Charter),
}

impl Authority {
    const fn key(&self) -> &PublicKey {
        match self {
            Self::Root(key) => key,
            Self::Operator(grant) => &grant.fields().key,
            Self::Site(_, charter) => &charter.fields().key,
        }
    }

    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Root(key) => [&[0], key.0.as_slice()].concat(),
            Self::Operator(grant) => [vec![1], grant.encode()].concat(),
            Self::Site(grant, charter) => [vec![2], grant.encode(), charter.encode()].concat(),
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        match kind {
            0 => rest.try_into().ok().map(|key| Self::Root(PublicKey(key))),
            1 => Grant::decode(rest).map(Self::Operator),
            2 => {
                let (grant, rest) = Grant::decode_start(rest)?;
                Some(Self::Site(grant, Charter::decode(rest)?))
            }
            _ => None,
        }
    }
}

/// A revocation, signed by whoever has the authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    fields: RevocationFields,
    statement: Vec<u8>,
    authority: Authority,
    signature: Signature,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    statement: Capped<STATEMENT_BYTES_MAX>,
    authority: Capped<AUTHORITY_BYTES_MAX>,
    signature: Signature,
}

impl Revocation {
    /// `secret` is the one of the authority's key.
    pub fn sign(fields: RevocationFields, authority: Authority, secret: &SecretKey) -> Self {
        let statement = statement::write(&fields);
        Self {
            signature: secret.sign(Domain::Revocation, &statement),
            fields,
            statement,
            authority,
        }
    }

    /// Whether the authority that it names signed it. What that is worth, `ring` weighs.
    pub fn is_signed(&self) -> bool {
        is_signed(
            Domain::Revocation,
            self.authority.key(),
            &self.statement,
            &self.signature,
        )
    }

    pub const fn fields(&self) -> &RevocationFields {
        &self.fields
    }

    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Whether it is about a site and not about a key.
    pub const fn gives_up_a_site(&self) -> bool {
        matches!(self.fields.target, Target::Site(_))
    }

    /// Names it, for records; two authorities' revocations of one thing differ.
    pub fn id(&self) -> [u8; 16] {
        let bytes = [self.authority.key().0.as_slice(), &self.statement].concat();
        start_of_digest(b"luc revocation id\0", &bytes)
    }

    pub fn encode(&self) -> Vec<u8> {
        let wire = Wire {
            statement: Capped::new(self.statement.clone()).unwrap_or_default(),
            authority: Capped::new(self.authority.encode()).unwrap_or_default(),
            signature: self.signature,
        };
        postcard::to_extend(&wire, Vec::new()).unwrap_or_default()
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (wire, _later) = postcard::take_from_bytes::<Wire>(bytes).ok()?;
        let statement = wire.statement.bytes().to_vec();
        Some(Self {
            fields: statement::read(&statement)?,
            authority: Authority::decode(wire.authority.bytes())?,
            statement,
            signature: wire.signature,
        })
    }
}
