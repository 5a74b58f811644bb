//! Statements as the bodies of records, which prove themselves.
//!
//! Does:      certificates, rights, revocations and uses of tokens: realm, kind, subject, body.
//! Does not:  sign or store the record around them (`overlay` does).
//! Bounds:    `RIGHT_BYTES_MAX`, `CERTIFICATE_BYTES_MAX`, `REVOCATION_BYTES_MAX`.
//! Trusts:    nobody: `ring` judges what is decoded here.
//! Start at:  `Publication`.

use crate::armour::{self, BadText};
use crate::certificate::{CERTIFICATE_BYTES_MAX, Certificate};
use crate::chain::Chain;
use crate::charter::Charter;
use crate::grant::{Grant, GrantId, GrantRight};
use crate::revocation::{REVOCATION_BYTES_MAX, Revocation, Target};
use crate::secret::start_of_digest;
use crate::succession::Succession;
use protocol::peer::admission::MachineId;
use protocol::peer::{Realm, RecordKind};
use protocol::{NodeId, SiteId};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A record that a node should publish: everything but what the store adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    pub realm: Realm,
    pub kind: RecordKind,
    pub subject: [u8; 16],
    pub body: Vec<u8>,
}

impl Publication {
    fn of_cluster(kind: RecordKind, subject: [u8; 16], body: Vec<u8>) -> Self {
        Self {
            realm: Realm::Cluster,
            kind,
            subject,
            body,
        }
    }

    /// A charter, then a certificate that it proves.
    pub fn of_chain(chain: &Chain) -> [Self; 2] {
        let charter = RightBody::Charter(chain.grant.clone(), chain.charter.clone());
        [
            Self::of_right(&charter),
            Self::of_certificate(&chain.certificate),
        ]
    }

    pub fn of_certificate(certificate: &Certificate) -> Self {
        let subject = certificate.node().bytes();
        Self::of_cluster(RecordKind::CERTIFICATE, subject, certificate.encode())
    }

    pub fn of_revocation(revocation: &Revocation) -> Self {
        let (kind, subject) = match revocation.fields().target {
            Target::Site(site) => (RecordKind::SITE_RETIRED, site.bytes()),
            _ => (RecordKind::REVOCATION, revocation.id()),
        };
        Self::of_cluster(kind, subject, revocation.encode())
    }

    pub fn of_right(right: &RightBody) -> Self {
        Self::of_cluster(RecordKind::GRANT, right.subject(), right.encode())
    }

    /// One use of a counted token, told to the whole site.
    pub fn of_use(site: SiteId, one: &GrantUse) -> Self {
        Self {
            realm: Realm::Site(site),
            kind: RecordKind::GRANT_USE,
            subject: one.subject(),
            body: one.encode(),
        }
    }
}

/// How a word of the cluster's owner starts.
pub const WORD_PREFIX: &str = "luc-word-";

/// What the owner of the cluster signs at home, as text: a right or a revocation. No secret is in
/// it; it is told to any node, which tells all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    Right(RightBody),
    Revocation(Revocation),
}

impl Word {
    pub fn publication(&self) -> Publication {
        match self {
            Self::Right(right) => Publication::of_right(right),
            Self::Revocation(revocation) => Publication::of_revocation(revocation),
        }
    }
}

impl Word {
    /// What it says, for people.
    pub fn what(&self) -> String {
        match self {
            Self::Right(RightBody::Grant(grant)) => what_grant(grant),
            Self::Right(RightBody::Charter(grant, charter)) => {
                format!("{} of {}", charter.id(), site_of(grant))
            }
            Self::Right(RightBody::Succession(_)) => "a new root key follows the old".to_owned(),
            Self::Revocation(word) => match word.fields().target {
                Target::Node(node) => format!("takes {node} out for ever"),
                Target::Charter(charter) => format!("{charter} counts no more"),
                Target::Grant(grant) => format!("{grant} lets nobody in any more"),
                Target::Root(_) => "a root key that another follows counts no more".to_owned(),
                Target::Site(site) => format!("gives up {site} for good"),
            },
        }
    }
}

fn site_of(grant: &Grant) -> String {
    let named = |site: &protocol::Name| format!("site {site}");
    grant.site().map_or_else(|| "all sites".to_owned(), named)
}

fn what_grant(grant: &Grant) -> String {
    let (id, site) = (grant.id(), site_of(grant));
    match &grant.fields().right {
        GrantRight::Token { .. } => format!("{id} is a token for {site}"),
        GrantRight::List { who, .. } => {
            format!("{id} lets {} machines into {site}", who.as_slice().len())
        }
        GrantRight::Operator { .. } => format!("{id} is an operator of {site}"),
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = match self {
            Self::Right(right) => [vec![0], right.encode()].concat(),
            Self::Revocation(revocation) => [vec![1], revocation.encode()].concat(),
        };
        f.write_str(&armour::write(WORD_PREFIX, &bytes))
    }
}

impl FromStr for Word {
    type Err = BadText;

    fn from_str(text: &str) -> Result<Self, BadText> {
        let bytes = armour::read(WORD_PREFIX, text)?;
        let word = match bytes.split_first() {
            Some((0, right)) => RightBody::decode(right).map(Self::Right),
            Some((1, revocation)) => revocation_in(revocation).map(Self::Revocation),
            _ => None,
        };
        word.ok_or(BadText::Content)
    }
}

/// The body of a `GRANT` record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RightBody {
    /// A token that founds, a list or an operator.
    Grant(Grant),
    /// A charter and the token that founded it.
    Charter(Grant, Charter),
    Succession(Succession),
}

/// Bytes of such a body: a full list.
const RIGHT_BYTES_MAX: usize = 8 << 10;

impl RightBody {
    /// The digest of all bytes: a grant with another root's endorsement is another record, so
    /// neither hides the other.
    pub fn subject(&self) -> [u8; 16] {
        start_of_digest(b"luc right\0", &self.encode())
    }

    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Grant(grant) => [vec![0], grant.encode()].concat(),
            Self::Charter(grant, charter) => [vec![1], grant.encode(), charter.encode()].concat(),
            Self::Succession(succession) => [vec![2], succession.encode()].concat(),
        }
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > RIGHT_BYTES_MAX {
            return None;
        }
        let (kind, rest) = bytes.split_first()?;
        match kind {
            0 => Grant::decode(rest).map(Self::Grant),
            1 => {
                let (grant, rest) = Grant::decode_start(rest)?;
                Some(Self::Charter(grant, Charter::decode(rest)?))
            }
            2 => Succession::decode(rest).map(Self::Succession),
            _ => None,
        }
    }
}

/// That a machine used a counted token. A machine that boots anew uses it no second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantUse {
    pub grant: GrantId,
    pub machine: MachineId,
    pub node: NodeId,
    pub count: u32,
    pub at_s: u64,
}

impl GrantUse {
    /// The use that this certificate makes of this token. `None`: it is no token.
    pub(crate) fn of(chain: &Chain, grant: &Grant) -> Option<Self> {
        let GrantRight::Token { count, .. } = grant.fields().right else {
            return None;
        };
        let fields = chain.certificate.fields();
        Some(Self {
            grant: grant.id(),
            machine: fields.machine,
            node: chain.certificate.node(),
            count,
            at_s: fields.issued_s,
        })
    }

    /// One per token and machine.
    pub fn subject(&self) -> [u8; 16] {
        start_of_digest(b"luc grant use\0", &[self.grant.0, self.machine.0].concat())
    }

    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![1]).unwrap_or_default()
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        crate::statement::read(bytes)
    }
}

/// The statement inside a record's body, by the record's kind.
pub(crate) fn certificate_in(body: &[u8]) -> Option<Certificate> {
    Some(body)
        .filter(|body| body.len() <= CERTIFICATE_BYTES_MAX)
        .and_then(Certificate::decode)
}

pub(crate) fn revocation_in(body: &[u8]) -> Option<Revocation> {
    Some(body)
        .filter(|body| body.len() <= REVOCATION_BYTES_MAX)
        .and_then(Revocation::decode)
}
