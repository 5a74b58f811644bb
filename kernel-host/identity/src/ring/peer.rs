//! Who is at the other end of a session.
//!
//! Does:      judges what a handshake showed; takes certificates into the table.
//! Does not:  make the handshake (`session`).
//! Bounds:    those of `Keys`; what proves nothing leaves no trace.
//! Trusts:    that the handshake proved the session key.
//! Start at:  `Keys::check_peer`.

use super::{Entry, Keys, Learned, News, entry_holds, table::digest_of};
use crate::certificate::{Certificate, GRACE_S};
use crate::chain::{Chain, Credential};
use crate::secret::node_id;
use overlay::Verdict;
use protocol::peer::admission::Refusal;
use protocol::peer::{PublicKey, SessionKey};
use protocol::{Moment, NodeId, SiteId};

/// What a peer may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// A node of this site: anything.
    Certified(SiteId),
    /// Messages of admission only.
    Stranger,
}

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub node: NodeId,
    pub key: PublicKey,
    pub standing: Standing,
    /// Why a node that showed a genuine certificate is a stranger nevertheless.
    pub refusal: Option<Refusal>,
}

impl Keys {
    /// What we show in a handshake: our chain, or a stranger's hello while none of ours counts.
    pub fn payload(&self) -> Vec<u8> {
        match self.own.as_ref().filter(|_| self.is_member()) {
            Some(chain) => Credential::Member(Box::new(chain.clone())).encode(),
            None => Credential::hello(&self.secret).encode(),
        }
    }

    /// Judges what a peer showed in a handshake that proved `session`. What a good chain teaches
    /// is kept.
    ///
    /// # Errors
    /// The peer proved nothing: no session.
    pub fn check_peer(
        &mut self,
        now: Moment,
        session: &SessionKey,
        payload: &[u8],
    ) -> Result<Peer, Refusal> {
        match Credential::decode(payload).ok_or(Refusal::BadProof)? {
            Credential::Hello { node, proof } => {
                let id = Credential::proved_hello(&node, &proof, session);
                Ok(Peer {
                    node: id.ok_or(Refusal::BadProof)?,
                    key: node,
                    standing: Standing::Stranger,
                    refusal: None,
                })
            }
            Credential::Member(chain) => self.check_chain(now, session, &chain),
        }
    }

    fn check_chain(
        &mut self,
        now: Moment,
        session: &SessionKey,
        chain: &Chain,
    ) -> Result<Peer, Refusal> {
        let fields = chain.certificate.fields();
        if fields.session != *session {
            return Err(Refusal::BadProof);
        }
        let node = node_id(&fields.node);
        let known = self.table.find(node).map(|entry| entry.digest);
        let was_known = known.is_some();
        let proved = match known == Some(digest_of(&chain.certificate)) {
            true => self.known_chain(&chain.certificate),
            false => None,
        };
        let chain = &proved.map_or_else(|| self.prove(chain), Ok)?;
        let site = chain.grant.site_id().ok_or(Refusal::BadProof)?;
        let standing = self.standing(now, node, chain, site, was_known);
        if standing.is_ok() {
            self.learn_chain(chain, now);
        }
        Ok(Peer {
            node,
            key: fields.node,
            standing: standing
                .as_ref()
                .map_or(Standing::Stranger, |()| Standing::Certified(site)),
            refusal: standing.err(),
        })
    }

    /// A certificate that was proved before, under the charter and grant that proved it: what is
    /// shown beside it this time proves nothing.
    fn known_chain(&self, certificate: &Certificate) -> Option<Chain> {
        let (charter, grant) = self.trust.charter(certificate.fields().charter)?;
        Some(Chain {
            grant: grant.clone(),
            charter: charter.clone(),
            certificate: certificate.clone(),
        })
    }

    /// The chain, if it hangs together and on roots of ours, with their endorsements alone.
    fn prove(&self, chain: &Chain) -> Result<Chain, Refusal> {
        if !chain.links() {
            return Err(Refusal::BadProof);
        }
        Ok(Chain {
            grant: self.proved(&chain.grant).ok_or(Refusal::UnknownRoot)?,
            ..chain.clone()
        })
    }

    /// What a proved chain is worth now.
    fn standing(
        &self,
        now: Moment,
        node: NodeId,
        chain: &Chain,
        site: SiteId,
        was_known: bool,
    ) -> Result<(), Refusal> {
        let entry = Entry::new(&chain.certificate, site);
        let by_right = |right| self.revoked.is_admitted_by(right, entry.admitted_s, site);
        if self.revoked.root_of(&chain.grant, &self.trust).is_none() {
            return Err(Refusal::UnknownRoot);
        }
        if self.revoked.is_charter(&chain.charter, &chain.grant)
            || self.revoked.is_node(node, site)
            || self.revoked.is_issuer(entry.admitter, entry.issued_s, site)
            || entry.grant.is_some_and(by_right)
        {
            return Err(Refusal::Revoked);
        }
        let expired_s = chain.certificate.expired_s(self.now_s(now));
        match expired_s {
            Some(ago_s) if site != self.site && !was_known && ago_s > GRACE_S => {
                Err(Refusal::CertificateExpired { ago_s })
            }
            _ => Ok(()),
        }
    }

    /// Keeps what a proved chain says.
    pub(crate) fn learn_chain(&mut self, chain: &Chain, now: Moment) {
        let charter = self.trust.learn_charter(&chain.grant, &chain.charter);
        if charter == Learned::New {
            let id = chain.charter.id();
            if self.trust.site_of(id) == Some(self.site) && !self.secrets.contains_key(&id) {
                self.tell(News::Charter(id));
            }
            self.weigh();
        }
        if matches!(charter, Learned::New | Learned::Known) {
            self.insert(&chain.certificate, now);
        }
    }

    /// Takes in a certificate whose charter may be known.
    pub fn learn_certificate(&mut self, certificate: &Certificate, now: Moment) -> Verdict {
        let node = certificate.node();
        let known = self.table.find(node).map(|entry| entry.digest);
        if known != Some(digest_of(certificate)) {
            let Some((charter, _)) = self.trust.charter(certificate.fields().charter) else {
                return Verdict::UnknownAuthor;
            };
            if !certificate.is_from(charter) {
                return Verdict::Bad;
            }
            if !self.insert(certificate, now) {
                self.counters.certificates_over += 1;
                return Verdict::Bad;
            }
        }
        match self.table.find(node) {
            Some(entry) if entry.revoked => Verdict::Revoked,
            _ => Verdict::Good,
        }
    }

    /// Puts a proved certificate into the table, unless a newer one is there.
    fn insert(&mut self, certificate: &Certificate, now: Moment) -> bool {
        let node = certificate.node();
        let Some(site) = self.trust.site_of(certificate.fields().charter) else {
            return false;
        };
        let mut entry = Entry::new(certificate, site);
        entry.revoked = !entry_holds(&self.trust, &self.revoked, node, &entry);
        if let Some(old) = self.table.find(node) {
            // One that counts goes before one that was revoked, then the later one; of one second
            // the larger digest, so that all nodes choose the same.
            let order = |entry: &Entry| (!entry.revoked, entry.issued_s, entry.digest);
            if order(&entry) <= order(old) {
                return true;
            }
        }
        let replaces = entry.replaces;
        if !self.table.insert(node, entry, self.now_s(now)) {
            return false;
        }
        if node == self.me {
            self.adopt_renewed(certificate);
        }
        if let Some(old) = replaces.filter(|old| self.table.successor(*old) == Some(node)) {
            self.tell(News::Replaced { old, new: node });
        }
        true
    }
}
