//! This node's own chain, and the charter secrets that it holds.
//!
//! Does:      founds a site, adopts a certificate, issues certificates, saves and restores.
//! Does not:  decide whom to admit (`admitter`).
//! Bounds:    `CHARTERS_MAX` secrets.
//! Trusts:    what it saved itself, as far as it proves itself.
//! Start at:  `Keys::issue`.

use super::{Keys, SecretKey};
use crate::certificate::{Certificate, CertificateFields, LIFETIME_S};
use crate::chain::Chain;
use crate::charter::{Charter, CharterFields, CharterId};
use crate::grant::{Grant, GrantId};
use crate::publication::RightBody;
use crate::revocation::{Authority, Revocation, RevocationFields, Target};
use crate::secret::{Seed, node_id};
use crate::succession::Succession;
use crate::token::Token;
use protocol::peer::admission::{
    CHAIN_BYTES_MAX, CHARTERS_MAX, CharterSecret, Few, MachineId, Refusal, SUCCESSION_BYTES_MAX,
};
use protocol::peer::capped::Capped;
use protocol::peer::{PublicKey, SessionKey};
use protocol::{Moment, Name, NodeId};
use serde::{Deserialize, Serialize};

/// What a disk keeps beside the node's secret; the rest comes back with the records.
#[derive(Serialize, Deserialize)]
struct Saved {
    version: u8,
    chain: Capped<CHAIN_BYTES_MAX>,
    secrets: Few<CharterSecret>,
    successions: Few<Capped<SUCCESSION_BYTES_MAX>>,
}

/// Why saved keys are of no use. The node joins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SavedError {
    #[error("the saved keys can't be read")]
    Malformed,
    #[error("the saved certificate is of another key, site or root than this node is given")]
    Foreign,
}

impl Keys {
    /// Our certificate with all that proves it. `None`: we are a stranger.
    pub const fn own(&self) -> Option<&Chain> {
        self.own.as_ref()
    }

    /// Whether our certificate counts; a node that was revoked may still have one.
    pub fn is_member(&self) -> bool {
        self.own.is_some() && self.is_neighbour(self.me)
    }

    /// Forgets our certificate: others say that it fell, and nobody who could prove it talks to us.
    /// What follows is a `Joiner`, which may be let in anew if it was the charter that fell.
    pub fn resign(&mut self) {
        self.own = None;
    }

    /// Founds the site: makes its charter and our certificate under it. Renewing a site's charter
    /// is the same: another founding token, given to a member.
    ///
    /// # Errors
    /// The token may not found this site.
    pub fn found(
        &mut self,
        now: Moment,
        token: &Token,
        who: &Founder<'_>,
    ) -> Result<Chain, Refusal> {
        let grant = self.trusted_token(now, token)?;
        if !grant.founds() {
            return Err(Refusal::WrongPurpose);
        }
        let made_s = self.now_s(now);
        let charter_secret = SecretKey::from_seed(&who.charter);
        let fields = CharterFields {
            key: charter_secret.public(),
            grant: grant.id(),
            founder: self.secret.public(),
            made_s,
        };
        let charter = Charter::sign(fields, token.secret());
        if self.trust.charters.len() >= super::ALL_CHARTERS_MAX
            || self.charters().len() >= CHARTERS_MAX
        {
            return Err(Refusal::TooManyFounders);
        }
        let subject = Subject {
            node: self.secret.public(),
            session: self.session.public(),
            name: who.name.clone(),
            machine: who.machine,
            admitted_s: self.admitted_s(self.me, now),
            grant: Some(grant.id()),
            replaces: None,
        };
        let fields = subject.fields(made_s, charter.id(), self.secret.public());
        let certificate = Certificate::sign(fields, &charter_secret, &self.secret);
        self.secrets.insert(charter.id(), charter_secret);
        let chain = Chain {
            grant,
            charter,
            certificate,
        };
        self.adopt(now, chain.clone())?;
        Ok(chain)
    }

    /// A token for this site by a root that we trust, or that its succession leads us to.
    fn trusted_token(&mut self, now: Moment, token: &Token) -> Result<Grant, Refusal> {
        if let Some(succession) = token.succession() {
            let succession = RightBody::Succession(succession.clone());
            self.learn_right(&succession);
        }
        let grant = self.proved(token.grant()).ok_or(Refusal::UnknownRoot)?;
        self.check_grant(&grant, now)?;
        match grant.site_id() == Some(self.site) {
            true => Ok(grant),
            false => Err(Refusal::WrongPurpose),
        }
    }

    /// Takes a chain as our own.
    ///
    /// # Errors
    /// It is not for us, or leads to no root of ours.
    pub fn adopt(&mut self, now: Moment, chain: Chain) -> Result<(), Refusal> {
        let fields = chain.certificate.fields();
        let ours = fields.node == self.secret.public()
            && fields.session == self.session.public()
            && chain.grant.site_id() == Some(self.site);
        if !ours || !chain.links() {
            return Err(Refusal::BadProof);
        }
        let grant = self.proved(&chain.grant).ok_or(Refusal::UnknownRoot)?;
        if self.revoked.root_of(&grant, &self.trust).is_none() {
            return Err(Refusal::UnknownRoot);
        }
        let chain = Chain { grant, ..chain };
        self.own = Some(chain.clone());
        self.learn_chain(&chain, now);
        match self.is_member() {
            true => Ok(()),
            false => Err(Refusal::Revoked),
        }
    }

    /// Our certificate came back newer than what we have: somebody renewed it.
    pub(super) fn adopt_renewed(&mut self, certificate: &Certificate) {
        let Some((charter, grant)) = self.trust.charter(certificate.fields().charter) else {
            return;
        };
        self.own = Some(Chain {
            grant: grant.clone(),
            charter: charter.clone(),
            certificate: certificate.clone(),
        });
    }

    /// The charter under which we sign: the latest that counts and whose secret we hold; of one
    /// second the lowest, so that nodes tend to choose the same.
    fn signing_charter(&self) -> Option<(&Charter, &Grant, &SecretKey)> {
        let held = self
            .secrets
            .iter()
            .filter(|(id, _)| self.charter_holds(**id));
        let held = held.filter_map(|(id, secret)| {
            let (charter, grant) = self.trust.charter(*id)?;
            Some((charter, grant, secret))
        });
        held.max_by_key(|(charter, _, _)| {
            (charter.fields().made_s, std::cmp::Reverse(charter.id()))
        })
    }

    /// Whether we hold the secret of a charter that counts.
    pub fn can_sign(&self) -> bool {
        self.signing_charter().is_some()
    }

    /// Whether we could issue certificates.
    pub fn can_issue(&self) -> bool {
        self.is_member() && self.signing_charter().is_some()
    }

    /// Issues a certificate and keeps it. `None`: we hold no charter's secret yet.
    pub(crate) fn issue(&mut self, now: Moment, subject: Subject) -> Option<Chain> {
        // Later than what it follows, whatever the clock says: the later one counts.
        let follows = self.table.find(node_id(&subject.node));
        let follows_s = follows.map_or(0, |old| old.issued_s.saturating_add(1));
        let issued_s = self.now_s(now).max(follows_s);
        let (charter, grant, secret) = self.signing_charter()?;
        let fields = subject.fields(issued_s, charter.id(), self.secret.public());
        let chain = Chain {
            certificate: Certificate::sign(fields, secret, &self.secret),
            grant: grant.clone(),
            charter: charter.clone(),
        };
        self.learn_chain(&chain, now);
        Some(chain)
    }

    /// The word that takes a node's right away, by our site's charter: nodes of other sites count
    /// it only for nodes of this one. `None`: we hold no charter's secret.
    pub fn revocation_of(&self, now: Moment, node: NodeId, reason: &str) -> Option<Revocation> {
        let (charter, grant, secret) = self.signing_charter()?;
        let fields = RevocationFields {
            target: Target::Node(node),
            since_s: None,
            spares: Few::default(),
            made_s: self.now_s(now),
            reason: Capped::new(reason.as_bytes().to_vec()).unwrap_or_default(),
        };
        let authority = Authority::Site(grant.clone(), charter.clone());
        Some(Revocation::sign(fields, authority, secret))
    }

    /// Whether our certificate should be made new: half its time is over, or it fell with its
    /// charter while another charter stands.
    pub fn is_due(&self, now: Moment) -> bool {
        let Some(chain) = &self.own else { return false };
        chain.certificate.is_due(self.now_s(now))
            || (!self.charter_holds(chain.charter.id()) && self.signing_charter().is_some())
    }

    /// Charters of our site that count, and whose secret we lack.
    pub fn lacking(&self) -> Vec<CharterId> {
        let mut charters = self.charters();
        charters.retain(|id| !self.secrets.contains_key(id));
        charters.truncate(CHARTERS_MAX);
        charters
    }

    /// The secrets that we hold of these charters, for another node of our site.
    pub(crate) fn secrets_of(&self, lacking: &[[u8; 16]]) -> Vec<CharterSecret> {
        let held = |id: &[u8; 16]| {
            let secret = self.secrets.get(&CharterId(*id))?;
            Some(CharterSecret {
                charter: *id,
                seed: *secret.seed().reveal(),
            })
        };
        lacking.iter().filter_map(held).collect()
    }

    /// Takes in a charter's secret, if it is the secret of a charter of our site.
    pub(crate) fn learn_secret(&mut self, secret: &CharterSecret) -> bool {
        let id = CharterId(secret.charter);
        let key = SecretKey::from_seed(&Seed::new(secret.seed));
        let fits = self.trust.site_of(id) == Some(self.site)
            && (self.trust.charters.get(&id))
                .is_some_and(|charter| charter.fields().key == key.public());
        if !fits || self.secrets.contains_key(&id) {
            return false;
        }
        // Charters of a site are bounded, so their secrets are.
        self.secrets.insert(id, key);
        true
    }

    /// What a disk should keep, besides the node's seed.
    pub fn saved(&self) -> Option<Vec<u8>> {
        let chain = self.own.as_ref()?.encode_capped()?;
        let successions = self.trust.successions.iter();
        let held: Vec<[u8; 16]> = self.secrets.keys().map(|id| id.0).collect();
        let saved = Saved {
            version: 1,
            chain,
            secrets: Few::new(self.secrets_of(&held)),
            successions: Few::new(successions.filter_map(|one| Capped::new(one.encode()))),
        };
        postcard::to_extend(&saved, Vec::new()).ok()
    }

    /// Takes back what a disk kept. Neither an old date nor a changed name matters.
    ///
    /// # Errors
    /// Nothing was taken; the node has to join.
    pub fn restore(&mut self, now: Moment, bytes: &[u8]) -> Result<(), SavedError> {
        let (saved, _later) =
            postcard::take_from_bytes::<Saved>(bytes).map_err(|_| SavedError::Malformed)?;
        let chain = Chain::decode(saved.chain.bytes()).ok_or(SavedError::Malformed)?;
        let successions = saved.successions.as_slice().iter();
        for one in successions.filter_map(|one| Succession::decode(one.bytes())) {
            self.learn_right(&RightBody::Succession(one));
        }
        self.adopt(now, chain).map_err(|_| SavedError::Foreign)?;
        for secret in saved.secrets.as_slice() {
            self.learn_secret(secret);
        }
        Ok(())
    }
}

/// Who founds a site.
#[derive(Debug)]
pub struct Founder<'a> {
    pub name: &'a Name,
    pub machine: MachineId,
    /// From which the charter's key is made.
    pub charter: Seed,
}

/// For whom a certificate is issued.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub node: PublicKey,
    pub session: SessionKey,
    pub name: Name,
    pub machine: MachineId,
    pub admitted_s: u64,
    pub grant: Option<GrantId>,
    pub replaces: Option<NodeId>,
}

impl Subject {
    /// The one of an earlier certificate.
    pub fn of(fields: &CertificateFields) -> Self {
        Self {
            node: fields.node,
            session: fields.session,
            name: fields.name.clone(),
            machine: fields.machine,
            admitted_s: fields.admitted_s,
            grant: fields.grant,
            replaces: fields.replaces,
        }
    }

    fn fields(self, issued_s: u64, charter: CharterId, admitter: PublicKey) -> CertificateFields {
        CertificateFields {
            node: self.node,
            session: self.session,
            name: self.name,
            machine: self.machine,
            admitted_s: self.admitted_s,
            issued_s,
            expires_s: issued_s.saturating_add(LIFETIME_S),
            grant: self.grant,
            charter,
            replaces: self.replaces,
            admitter,
        }
    }
}
