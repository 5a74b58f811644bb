//! Who may have a session, as `identity` judges it.
//!
//! Start at:  `NodeGate`.

use identity::ring::{SharedKeys, Standing};
use protocol::Moment;
use protocol::peer::SessionKey;
use protocol::peer::admission;
use session::{Gate, Peer, Refusal};

/// The node's keys at the door of its sessions.
#[derive(Debug, Clone)]
pub(crate) struct NodeGate {
    keys: SharedKeys,
}

impl NodeGate {
    pub fn new(keys: SharedKeys) -> Self {
        Self { keys }
    }
}

impl Gate for NodeGate {
    fn payload(&self) -> Vec<u8> {
        self.keys.borrow().payload()
    }

    /// A node whose certificate fell is refused, so that it learns of it and comes back as the
    /// stranger that it is.
    fn check(&self, now: Moment, key: &SessionKey, payload: &[u8]) -> Result<Peer, Refusal> {
        let peer = self.keys.borrow_mut().check_peer(now, key, payload);
        let peer = peer.map_err(|refusal| in_words_of_sessions(&refusal))?;
        match (peer.standing, peer.refusal) {
            (Standing::Certified(site), _) => Ok(Peer::Node {
                node: peer.node,
                site,
            }),
            (Standing::Stranger, None) => Ok(Peer::Stranger(*key)),
            (Standing::Stranger, Some(refusal)) => Err(in_words_of_sessions(&refusal)),
        }
    }
}

fn in_words_of_sessions(refusal: &admission::Refusal) -> Refusal {
    match refusal {
        admission::Refusal::UnknownRoot => Refusal::OtherCluster,
        admission::Refusal::Revoked | admission::Refusal::TokenRevoked => Refusal::Revoked,
        admission::Refusal::CertificateExpired { .. } | admission::Refusal::Expired { .. } => {
            Refusal::Expired
        }
        _ => Refusal::Malformed,
    }
}

/// The way back, for the console.
pub(crate) const fn in_words_of_admission(refusal: Refusal) -> admission::Refusal {
    match refusal {
        Refusal::OtherCluster => admission::Refusal::UnknownRoot,
        Refusal::Revoked => admission::Refusal::Revoked,
        Refusal::Expired => admission::Refusal::CertificateExpired { ago_s: 0 },
        _ => admission::Refusal::BadProof,
    }
}
