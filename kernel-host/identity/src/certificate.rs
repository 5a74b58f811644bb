//! Certificates: who is a node of which site, in whose name, for how long.
//!
//! Does:      binds a node's key, session key, name and machine to a charter; says who admitted it,
//!            by what right, and whom it replaces.
//! Does not:  end anything: a certificate that expired is renewed, never held against a member.
//! Bounds:    `CERTIFICATE_BYTES_MAX`.
//! Trusts:    nobody: `is_from` checks both signatures.
//! Start at:  `Certificate`.

use crate::charter::{Charter, CharterId};
use crate::grant::GrantId;
use crate::secret::{Domain, SecretKey, is_signed, node_id};
use crate::statement;
pub use protocol::peer::admission::CERTIFICATE_BYTES_MAX;
use protocol::peer::admission::MachineId;
use protocol::peer::capped::Capped;
use protocol::peer::{PublicKey, SessionKey, Signature};
use protocol::{Name, NodeId};
use serde::{Deserialize, Serialize};

/// How long a certificate is good for strangers. Renewed at half of it.
pub const LIFETIME_S: u64 = 30 * 86_400;
/// For this much longer another site still takes the certificate of a node that it sees for the
/// first time. In its own site, and where it is known, a certificate never ends.
pub const GRACE_S: u64 = LIFETIME_S;
const STATEMENT_BYTES_MAX: usize = CERTIFICATE_BYTES_MAX - 130;

/// What a certificate says. Its site is that of its charter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateFields {
    pub node: PublicKey,
    pub session: SessionKey,
    pub name: Name,
    pub machine: MachineId,
    /// When the node was first let in; renewals keep it.
    pub admitted_s: u64,
    pub issued_s: u64,
    pub expires_s: u64,
    /// By what right it came. `None`: somebody approved it.
    pub grant: Option<GrantId>,
    pub charter: CharterId,
    /// The same machine under an earlier key, which is gone for good.
    pub replaces: Option<NodeId>,
    /// Who let it in or renewed it last.
    pub admitter: PublicKey,
}

/// A certificate, signed by its site's charter and by the node that issued it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    fields: CertificateFields,
    statement: Vec<u8>,
    by_charter: Signature,
    by_admitter: Signature,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    statement: Capped<STATEMENT_BYTES_MAX>,
    by_charter: Signature,
    by_admitter: Signature,
}

impl Certificate {
    pub fn sign(fields: CertificateFields, charter: &SecretKey, admitter: &SecretKey) -> Self {
        let statement = statement::write(&fields);
        Self {
            by_charter: charter.sign(Domain::Certificate, &statement),
            by_admitter: admitter.sign(Domain::Certificate, &statement),
            fields,
            statement,
        }
    }

    /// Whether it is of this charter, and signed by it and by the node that it says issued it.
    pub fn is_from(&self, charter: &Charter) -> bool {
        let signed = |key: &PublicKey, signature: &Signature| {
            is_signed(Domain::Certificate, key, &self.statement, signature)
        };
        self.fields.charter == charter.id()
            && signed(&charter.fields().key, &self.by_charter)
            && signed(&self.fields.admitter, &self.by_admitter)
    }

    pub const fn fields(&self) -> &CertificateFields {
        &self.fields
    }

    pub fn node(&self) -> NodeId {
        node_id(&self.fields.node)
    }

    /// Seconds since it ended. `None`: it still holds.
    pub const fn expired_s(&self, now_s: u64) -> Option<u64> {
        if now_s <= self.fields.expires_s {
            return None;
        }
        Some(now_s - self.fields.expires_s)
    }

    /// Whether half of its time is over.
    pub const fn is_due(&self, now_s: u64) -> bool {
        let fields = &self.fields;
        let half_s = fields.expires_s.saturating_sub(fields.issued_s) / 2;
        now_s >= fields.issued_s.saturating_add(half_s)
    }

    pub fn encode(&self) -> Vec<u8> {
        let wire = Wire {
            statement: Capped::new(self.statement.clone()).unwrap_or_default(),
            by_charter: self.by_charter,
            by_admitter: self.by_admitter,
        };
        postcard::to_extend(&wire, Vec::new()).unwrap_or_default()
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (wire, _later) = postcard::take_from_bytes::<Wire>(bytes).ok()?;
        let statement = wire.statement.bytes().to_vec();
        Some(Self {
            fields: statement::read(&statement)?,
            statement,
            by_charter: wire.by_charter,
            by_admitter: wire.by_admitter,
        })
    }
}
