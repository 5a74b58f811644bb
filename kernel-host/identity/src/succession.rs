//! One root follows another.
//!
//! Both sign it, so whoever knows either of them then trusts both: a node that slept through the
//! change learns the new root from the old, and one that was built later learns the old from the
//! new. The old one ends when the new one revokes it.
//!
//! Start at:  `Succession`.

use crate::secret::{Domain, SecretKey, is_signed, start_of_digest};
use crate::statement;
use protocol::peer::capped::Capped;
use protocol::peer::{PublicKey, Signature};
use serde::{Deserialize, Serialize};

const STATEMENT_BYTES_MAX: usize = 96;

/// What a succession says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuccessionFields {
    pub old: PublicKey,
    pub new: PublicKey,
    pub made_s: u64,
}

/// That one root follows another, signed by both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Succession {
    fields: SuccessionFields,
    statement: Vec<u8>,
    by_old: Signature,
    by_new: Signature,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    statement: Capped<STATEMENT_BYTES_MAX>,
    by_old: Signature,
    by_new: Signature,
}

impl Succession {
    pub fn sign(old: &SecretKey, new: &SecretKey, made_s: u64) -> Self {
        let fields = SuccessionFields {
            old: old.public(),
            new: new.public(),
            made_s,
        };
        let statement = statement::write(&fields);
        Self {
            by_old: old.sign(Domain::Succession, &statement),
            by_new: new.sign(Domain::Succession, &statement),
            fields,
            statement,
        }
    }

    /// Whether both roots signed it.
    pub fn is_signed(&self) -> bool {
        let signed =
            |key, signature| is_signed(Domain::Succession, key, &self.statement, signature);
        self.fields.old != self.fields.new
            && signed(&self.fields.old, &self.by_old)
            && signed(&self.fields.new, &self.by_new)
    }

    pub const fn fields(&self) -> &SuccessionFields {
        &self.fields
    }

    /// Names it, for records.
    pub fn id(&self) -> [u8; 16] {
        start_of_digest(b"luc succession id\0", &self.statement)
    }

    pub fn encode(&self) -> Vec<u8> {
        let wire = Wire {
            statement: Capped::new(self.statement.clone()).unwrap_or_default(),
            by_old: self.by_old,
            by_new: self.by_new,
        };
        postcard::to_extend(&wire, Vec::new()).unwrap_or_default()
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (wire, _later) = postcard::take_from_bytes::<Wire>(bytes).ok()?;
        let statement = wire.statement.bytes().to_vec();
        Some(Self {
            fields: statement::read(&statement)?,
            statement,
            by_old: wire.by_old,
            by_new: wire.by_new,
        })
    }
}
