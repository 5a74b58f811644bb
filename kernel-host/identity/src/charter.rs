//! Charters: what makes some nodes a site of the cluster.
//!
//! The first node of a site signs one with its founding token's secret. The secret half of the
//! charter's key is shared by all nodes of the site, so each of them can admit and renew others.
//!
//! Start at:  `Charter`.

use crate::grant::{Grant, GrantId, digest_id};
use crate::secret::{Domain, SecretKey, is_signed, start_of_digest};
use crate::statement;
use protocol::peer::capped::Capped;
use protocol::peer::{PublicKey, Signature};
use serde::{Deserialize, Serialize};
use std::fmt;

digest_id!(
    /// Names a charter: the start of a digest of what was signed.
    CharterId,
    "charter-"
);

/// Bytes of a charter's statement.
const STATEMENT_BYTES_MAX: usize = 160;

/// What a charter says. Its site is that of its grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CharterFields {
    pub key: PublicKey,
    /// The founding token.
    pub grant: GrantId,
    /// The node that made it.
    pub founder: PublicKey,
    pub made_s: u64,
}

/// A charter, signed by the secret of its founding token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charter {
    fields: CharterFields,
    statement: Vec<u8>,
    signature: Signature,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    statement: Capped<STATEMENT_BYTES_MAX>,
    signature: Signature,
}

impl Charter {
    pub fn sign(fields: CharterFields, token: &SecretKey) -> Self {
        let statement = statement::write(&fields);
        let signature = token.sign(Domain::Charter, &statement);
        Self {
            fields,
            statement,
            signature,
        }
    }

    /// Whether this grant may found a site, and its secret signed this charter.
    pub fn is_from(&self, grant: &Grant) -> bool {
        grant.founds()
            && self.fields.grant == grant.id()
            && is_signed(
                Domain::Charter,
                &grant.fields().key,
                &self.statement,
                &self.signature,
            )
    }

    pub fn id(&self) -> CharterId {
        CharterId(start_of_digest(b"luc charter id\0", &self.statement))
    }

    pub const fn fields(&self) -> &CharterFields {
        &self.fields
    }

    pub fn encode(&self) -> Vec<u8> {
        let wire = Wire {
            statement: Capped::new(self.statement.clone()).unwrap_or_default(),
            signature: self.signature,
        };
        postcard::to_extend(&wire, Vec::new()).unwrap_or_default()
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        Self::decode_start(bytes).map(|(charter, _)| charter)
    }

    /// Reads a charter from the start of `bytes`; gives the rest back.
    pub(crate) fn decode_start(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (wire, rest) = postcard::take_from_bytes::<Wire>(bytes).ok()?;
        let statement = wire.statement.bytes().to_vec();
        let charter = Self {
            fields: statement::read(&statement)?,
            statement,
            signature: wire.signature,
        };
        Some((charter, rest))
    }
}
