//! `SharedKeys` at the door of every session.
//!
//! Start at:  `impl Gate for SharedKeys`.

use crate::chain::Credential;
use crate::ring::{SharedKeys, Standing};
use protocol::Moment;
use protocol::peer::SessionKey;
use protocol::peer::admission::Refusal;
use session::{Gate, Peer};

impl Gate for SharedKeys {
    fn payload(&self) -> Vec<u8> {
        self.borrow().payload()
    }

    /// A node whose genuine certificate does not count is refused with the reason; as a stranger,
    /// with a hello, it may ask to be let in again.
    fn check(
        &self,
        now: Moment,
        key: &SessionKey,
        payload: &[u8],
    ) -> Result<Peer, session::Refusal> {
        let judged = self.borrow_mut().check_peer(now, key, payload);
        let peer = judged.map_err(|refusal| match is_of_another_key(key, payload) {
            true => session::Refusal::OtherKey,
            false => told(&refusal),
        })?;
        match (peer.standing, peer.refusal) {
            (Standing::Certified(site), _) => Ok(Peer::Node {
                node: peer.node,
                site,
            }),
            (Standing::Stranger, None) => Ok(Peer::Stranger(*key)),
            (Standing::Stranger, Some(refusal)) => Err(told(&refusal)),
        }
    }
}

/// Whether a certificate is shown by somebody who has another session key: a copied disk.
fn is_of_another_key(key: &SessionKey, payload: &[u8]) -> bool {
    match Credential::decode(payload) {
        Some(Credential::Member(chain)) => chain.certificate.fields().session != *key,
        _ => false,
    }
}

/// As sessions tell it to the other side.
const fn told(refusal: &Refusal) -> session::Refusal {
    match refusal {
        Refusal::UnknownRoot => session::Refusal::OtherCluster,
        Refusal::Revoked => session::Refusal::Revoked,
        Refusal::CertificateExpired { .. } => session::Refusal::Expired,
        _ => session::Refusal::Malformed,
    }
}

/// What a session's refusal means to somebody who wants to join.
pub const fn heard(refusal: session::Refusal) -> Refusal {
    match refusal {
        session::Refusal::OtherCluster => Refusal::UnknownRoot,
        session::Refusal::Revoked => Refusal::Revoked,
        session::Refusal::Expired => Refusal::CertificateExpired { ago_s: 0 },
        session::Refusal::NoStrangers => Refusal::Busy { retry_ms: 0 },
        session::Refusal::Malformed | session::Refusal::OtherKey | session::Refusal::Other(_) => {
            Refusal::BadProof
        }
    }
}
