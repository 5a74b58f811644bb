//! Whom this node trusts, and with what it signs.
//!
//! Does:      the node's own keys and chain; every certificate, grant and revocation that it knows;
//!            judges handshakes and signatures.
//! Does not:  speak: `joiner` and `admitter` do.
//! Bounds:    `table::CERTIFICATES_MAX`, `trust::GRANTS_MAX`, `revoked::REVOCATIONS_MAX`,
//!            `PROVEN_MAX`, `NEWS_MAX`; what happens at each is counted in `Counters`.
//! Trusts:    the roots that it was given.
//! Start at:  `Keys::check_peer`, then `keyring`.
//!
//! Time. A certificate that ended is never held against a node of our own site, or one that we knew
//! before: only revocation cuts. It counts when another site's node shows it to us for the first
//! time, and then `certificate::GRACE_S` after its end. A clock that is behind what a root wrote is
//! taken for wrong and that date is used.

mod keyring;
mod own;
mod peer;
mod revoked;
mod table;
mod trust;

pub use keyring::SharedKeys;
pub(crate) use own::Subject;
pub use own::{Founder, SavedError};
pub use peer::{Peer, Standing};
pub use revoked::REVOCATIONS_MAX;
pub use table::CERTIFICATES_MAX;
pub use trust::{ALL_CHARTERS_MAX, GRANTS_MAX, ROOTS_MAX};

use crate::chain::Chain;
use crate::charter::CharterId;
use crate::grant::{Grant, GrantId, GrantRight, Listed};
use crate::publication::RightBody;
use crate::revocation::Revocation;
use crate::secret::{SecretKey, SessionSecret, node_id};
use crate::statement::seconds;
use protocol::peer::PublicKey;
use protocol::peer::admission::{MachineId, Refusal};
use protocol::{Moment, Name, NodeId, SiteId};
use revoked::Revoked;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use table::{Entry, Table};
use trust::{Learned, Trust};

/// Signatures that need no second check. A record is seen about as often as a node has links;
/// 4,096 covers minutes. The oldest is forgotten, and checked again if it comes once more.
pub const PROVEN_MAX: usize = 4096;
/// News that the node has not yet read. The oldest is lost and counted: the state has it anyway.
pub const NEWS_MAX: usize = 256;

/// What changed among keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// A machine has a new key. The old node is gone for good: take it off every list at once.
    Replaced { old: NodeId, new: NodeId },
    /// Nothing that this node says counts any more.
    Revoked(NodeId),
    /// The revocation of this node no longer counts.
    Restored(NodeId),
    /// Our own certificate fell.
    WeAreRevoked,
    /// A root that follows ours, or that ours follows: records that led nowhere may now.
    Root(PublicKey),
    /// Our site has a charter whose secret we lack.
    Charter(CharterId),
}

/// What was refused for want of room, and how often work was saved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub certificates_over: u64,
    pub grants_over: u64,
    pub revocations_over: u64,
    pub news_lost: u64,
    pub proven_hits: u64,
    pub proven_misses: u64,
}

/// Keys and certificates of one node's world.
#[derive(Debug)]
pub struct Keys {
    secret: SecretKey,
    session: SessionSecret,
    me: NodeId,
    site: SiteId,
    own: Option<Chain>,
    /// Secrets of our site's charters.
    secrets: BTreeMap<CharterId, SecretKey>,
    trust: Trust,
    revoked: Revoked,
    table: Table,
    proven: BTreeSet<[u8; 16]>,
    proven_order: VecDeque<[u8; 16]>,
    news: VecDeque<News>,
    counters: Counters,
}

impl Keys {
    /// A node that trusts these roots and belongs, or wants to belong, to this site.
    pub fn new(secret: SecretKey, site: &Name, roots: &[PublicKey]) -> Self {
        Self {
            session: secret.session(),
            me: node_id(&secret.public()),
            secret,
            site: protocol::peer::site::id_of(site),
            own: None,
            secrets: BTreeMap::new(),
            trust: Trust::new(roots),
            revoked: Revoked::default(),
            table: Table::default(),
            proven: BTreeSet::new(),
            proven_order: VecDeque::new(),
            news: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    pub const fn me(&self) -> NodeId {
        self.me
    }

    pub const fn site(&self) -> SiteId {
        self.site
    }

    pub const fn secret(&self) -> &SecretKey {
        &self.secret
    }

    pub const fn session(&self) -> &SessionSecret {
        &self.session
    }

    pub fn roots(&self) -> &[PublicKey] {
        &self.trust.roots
    }

    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// What changed since this was asked last; ask until `None`.
    pub fn poll_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// The wall clock, but not earlier than what a root wrote.
    pub fn now_s(&self, now: Moment) -> u64 {
        seconds(now.wall).max(self.trust.floor_s)
    }

    pub fn certificates(&self) -> usize {
        self.table.len()
    }

    pub fn revocations(&self) -> impl Iterator<Item = &Revocation> {
        self.revoked.iter()
    }

    pub fn is_known(&self, node: NodeId) -> bool {
        self.table.find(node).is_some()
    }

    /// The node's key, from its certificate.
    pub fn key_of(&self, node: NodeId) -> Option<PublicKey> {
        self.table.find(node).map(|entry| entry.key)
    }

    /// The public half of the key with which the node makes sessions.
    pub fn session_key_of(&self, node: NodeId) -> Option<protocol::peer::SessionKey> {
        self.table.find(node).map(|entry| entry.session)
    }

    /// Until when the node's certificate is good for strangers.
    pub fn expires(&self, node: NodeId) -> Option<protocol::Timestamp> {
        let entry = self.table.find(node)?;
        let ms = entry.expires_s.saturating_mul(1000);
        Some(protocol::Timestamp::from_unix_ms(ms))
    }

    /// When the node was first let in; now, if it never was.
    pub(crate) fn admitted_s(&self, node: NodeId, now: Moment) -> u64 {
        let found = self.table.find(node);
        found.map_or_else(|| self.now_s(now), |entry| entry.admitted_s)
    }

    /// By what right a node of our site came. `None`: it is none, or its right fell.
    pub(crate) fn right_of(&self, node: NodeId) -> Option<Option<GrantId>> {
        let neighbour = self.table.find(node).filter(|_| self.is_neighbour(node));
        neighbour.map(|entry| entry.grant)
    }

    /// Whether this very node was revoked for our site; not one whose charter or token fell, which
    /// may come back by another.
    pub fn is_node_revoked(&self, node: NodeId) -> bool {
        self.revoked.is_node(node, self.site)
    }

    /// Whether this node has a certificate of our site that counts.
    pub fn is_neighbour(&self, node: NodeId) -> bool {
        let found = self.table.find(node);
        found.is_some_and(|entry| entry.site == self.site && !entry.revoked)
    }

    /// Who has this machine's place now, if the machine has another key since.
    pub fn successor(&self, old: NodeId) -> Option<NodeId> {
        self.table.successor(old)
    }

    /// The nodes that this machine is or was, none of which was replaced; the latest first.
    pub(crate) fn nodes_of(&self, machine: MachineId) -> Vec<NodeId> {
        let nodes = self.table.nodes_of(machine);
        let mut nodes: Vec<NodeId> = nodes
            .filter(|node| self.table.successor(*node).is_none())
            .collect();
        let issued_s = |node: &NodeId| self.table.find(*node).map_or(0, |entry| entry.issued_s);
        nodes.sort_by_key(|node| std::cmp::Reverse((issued_s(node), *node)));
        nodes
    }

    /// Charters of our site that count.
    pub fn charters(&self) -> Vec<CharterId> {
        let all = self.trust.charters.keys().copied();
        all.filter(|id| self.trust.site_of(*id) == Some(self.site) && self.charter_holds(*id))
            .collect()
    }

    fn charter_holds(&self, id: CharterId) -> bool {
        self.trust.charter(id).is_some_and(|(charter, grant)| {
            !self.revoked.is_charter(charter, grant)
                && self.revoked.root_of(grant, &self.trust).is_some()
        })
    }

    /// Takes in a grant, charter or succession.
    pub fn learn_right(&mut self, right: &RightBody) -> Verdict {
        let learned = match right {
            RightBody::Grant(grant) => self.trust.learn_grant(grant),
            RightBody::Charter(grant, charter) => self.trust.learn_charter(grant, charter),
            RightBody::Succession(succession) => self.trust.learn_succession(succession),
        };
        if learned == Learned::New {
            match right {
                RightBody::Charter(_, charter) => {
                    let id = charter.id();
                    if self.trust.site_of(id) == Some(self.site) && !self.secrets.contains_key(&id)
                    {
                        self.tell(News::Charter(id));
                    }
                }
                RightBody::Succession(succession) => {
                    self.tell(News::Root(succession.fields().old));
                    self.tell(News::Root(succession.fields().new));
                }
                RightBody::Grant(_) => {}
            }
            self.weigh();
        }
        self.verdict(learned)
    }

    pub fn learn_revocation(&mut self, revocation: &Revocation) -> Verdict {
        let learned = self.revoked.learn(revocation, &self.trust);
        if learned == Learned::New {
            self.weigh();
        }
        if learned == Learned::Full {
            self.counters.revocations_over += 1;
        }
        self.verdict(learned)
    }

    /// Judges the word that a site is given up. Nothing is kept: the overlay's directory does.
    pub fn judge_retirement(&mut self, word: &Revocation) -> Verdict {
        let learned = self.revoked.judge_retirement(word, &self.trust);
        self.verdict(learned)
    }

    fn verdict(&mut self, learned: Learned) -> Verdict {
        match learned {
            Learned::New | Learned::Known => Verdict::Good,
            Learned::Unrooted => Verdict::UnknownAuthor,
            Learned::Bad => Verdict::Bad,
            Learned::Full => {
                self.counters.grants_over += 1;
                Verdict::Bad
            }
        }
    }

    /// Works out anew who is revoked, after a right or a revocation came. As long as nothing was
    /// ever revoked, nobody is.
    fn weigh(&mut self) {
        if self.revoked.len() == 0 || !self.revoked.weigh(&self.trust) {
            return;
        }
        let mut changed = Vec::new();
        let (trust, revoked) = (&self.trust, &self.revoked);
        for (node, entry) in self.table.iter_mut() {
            let is_revoked = !entry_holds(trust, revoked, *node, entry);
            if is_revoked != entry.revoked {
                entry.revoked = is_revoked;
                changed.push((*node, is_revoked));
            }
        }
        for (node, is_revoked) in changed {
            match is_revoked {
                true if node == self.me => self.tell(News::WeAreRevoked),
                true => self.tell(News::Revoked(node)),
                false => self.tell(News::Restored(node)),
            }
        }
    }

    fn tell(&mut self, news: News) {
        if self.news.len() >= NEWS_MAX {
            self.news.pop_front();
            self.counters.news_lost += 1;
        }
        self.news.push_back(news);
    }

    /// Whether a token or list lets this machine in now; for `Admitter`.
    pub(crate) fn check_grant(&self, grant: &Grant, now: Moment) -> Result<(), Refusal> {
        if self.revoked.root_of(grant, &self.trust).is_none() {
            return Err(Refusal::UnknownRoot);
        }
        if self.revoked.is_grant(grant) {
            return Err(Refusal::TokenRevoked);
        }
        let now_s = self.now_s(now);
        match grant.fields().expires_s {
            Some(expires_s) if expires_s < now_s => Err(Refusal::Expired {
                ago_s: now_s - expires_s,
            }),
            _ => Ok(()),
        }
    }

    /// The grant with those endorsements alone that roots of ours made, and the known ones.
    pub(crate) fn proved(&self, grant: &Grant) -> Option<Grant> {
        let mut proved = grant.endorsed_by_any(&self.trust.roots)?;
        if let Some(known) = self.trust.grants.get(&grant.id()) {
            proved.absorb(known, &self.trust.roots);
        }
        Some(proved)
    }

    /// The first list of our site on which this machine or node stands.
    pub(crate) fn listed(&self, who: [Listed; 2], now: Moment) -> Option<&Grant> {
        self.trust.grants.values().find(|grant| {
            let GrantRight::List { who: listed, .. } = &grant.fields().right else {
                return false;
            };
            grant.site_id() == Some(self.site)
                && listed.as_slice().iter().any(|one| who.contains(one))
                && self.check_grant(grant, now).is_ok()
        })
    }

    /// About how many bytes all of it takes.
    pub fn memory_bytes(&self) -> usize {
        self.table.memory_bytes()
            + self.trust.grants.len() * (size_of::<Grant>() + 400)
            + self.trust.charters.len() * 400
            + self.revoked.len() * 600
            + self.proven.len() * 48
    }
}

/// Whether a certificate counts, as far as revocations say.
fn entry_holds(trust: &Trust, revoked: &Revoked, node: NodeId, entry: &Entry) -> bool {
    let Some((charter, grant)) = trust.charter(entry.charter) else {
        return false;
    };
    let by_right = |right| revoked.is_admitted_by(right, entry.admitted_s, entry.site);
    revoked.root_of(grant, trust).is_some()
        && !revoked.is_charter(charter, grant)
        && !revoked.is_node(node, entry.site)
        && !revoked.is_issuer(entry.admitter, entry.issued_s, entry.site)
        && !entry.grant.is_some_and(by_right)
}

pub use overlay::Verdict;
