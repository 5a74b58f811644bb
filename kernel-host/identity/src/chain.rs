//! What a node shows in a handshake: everything from a root down to its own key.
//!
//! Does:      a chain of grant, charter and certificate; a stranger's hello; their bytes.
//! Does not:  judge them (`ring`).
//! Bounds:    `CHAIN_BYTES_MAX`, with every name as long as names get.
//! Trusts:    nobody.
//! Start at:  `Credential`.

use crate::certificate::Certificate;
use crate::charter::Charter;
use crate::grant::Grant;
use crate::secret::{Domain, SecretKey, is_signed, node_id};
use protocol::NodeId;
use protocol::peer::admission::CHAIN_BYTES_MAX;
use protocol::peer::capped::Capped;
use protocol::peer::{PublicKey, SessionKey, Signature};

/// A certificate with all that proves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    pub grant: Grant,
    pub charter: Charter,
    pub certificate: Certificate,
}

impl Chain {
    /// Whether each link signed the next. The root above is for the caller to check.
    pub fn links(&self) -> bool {
        self.charter.is_from(&self.grant) && self.certificate.is_from(&self.charter)
    }

    pub fn encode(&self) -> Vec<u8> {
        [
            self.grant.encode(),
            self.charter.encode(),
            self.certificate.encode(),
        ]
        .concat()
    }

    /// As a message carries it. `None`: its grant is too long to be a founding token.
    pub fn encode_capped(&self) -> Option<Capped<CHAIN_BYTES_MAX>> {
        Capped::new(self.encode())
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > CHAIN_BYTES_MAX {
            return None;
        }
        let (grant, rest) = Grant::decode_start(bytes)?;
        let (charter, rest) = Charter::decode_start(rest)?;
        Some(Self {
            grant,
            charter,
            certificate: Certificate::decode(rest)?,
        })
    }
}

/// What a handshake carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A stranger: its key, and that key's signature over its session key.
    Hello { node: PublicKey, proof: Signature },
    /// A member.
    Member(Box<Chain>),
}

impl Credential {
    /// A stranger's hello.
    pub fn hello(secret: &SecretKey) -> Self {
        Self::Hello {
            node: secret.public(),
            proof: secret.sign(Domain::Hello, &secret.session().public().0),
        }
    }

    /// The node that a hello proves for this session key.
    pub(crate) fn proved_hello(
        node: &PublicKey,
        proof: &Signature,
        session: &SessionKey,
    ) -> Option<NodeId> {
        is_signed(Domain::Hello, node, &session.0, proof).then(|| node_id(node))
    }

    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello { node, proof } => [&[0], node.0.as_slice(), &proof.0].concat(),
            Self::Member(chain) => [vec![1], chain.encode()].concat(),
        }
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        match kind {
            0 => {
                let (node, proof) = rest.split_first_chunk::<32>()?;
                Some(Self::Hello {
                    node: PublicKey(*node),
                    proof: Signature(proof.try_into().ok()?),
                })
            }
            1 => Chain::decode(rest).map(|chain| Self::Member(Box::new(chain))),
            _ => None,
        }
    }
}
