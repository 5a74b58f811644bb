//! What no longer counts.
//!
//! Does:      keeps every revocation for ever and works out which of them count. The result depends
//!            on the set alone, not on the order in which it came: roots first, then operators that
//!            no root revoked, then sites whose charter nobody above revoked.
//! Does not:  forget.
//! Bounds:    `REVOCATIONS_MAX`; one above is refused, counted and told.
//! Trusts:    `Trust` for who is a root and what it vouches for.
//! Start at:  `Revoked::weigh`.

use super::trust::{Learned, Trust};
use crate::charter::{Charter, CharterId};
use crate::grant::{Grant, GrantId, GrantRight};
use crate::revocation::{Authority, Revocation, Target};
use protocol::peer::PublicKey;
use protocol::{NodeId, SiteId};
use std::collections::BTreeMap;

/// Revocations of a cluster's whole life: nodes are revoked when they are stolen, not when they
/// are switched off.
pub const REVOCATIONS_MAX: usize = 2048;

/// How far an authority reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Cluster,
    Site(SiteId),
}

impl Scope {
    fn covers(self, site: Option<SiteId>) -> bool {
        match self {
            Self::Cluster => true,
            Self::Site(own) => site == Some(own),
        }
    }
}

/// One revocation that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    scope: Scope,
    since_s: Option<u64>,
    spares: Vec<CharterId>,
}

#[derive(Debug, Default)]
pub(super) struct Revoked {
    all: BTreeMap<[u8; 16], Kept>,
    rules: BTreeMap<Target, Vec<Rule>>,
}

/// A revocation, and its author's grant with those endorsements alone that were checked.
#[derive(Debug)]
struct Kept {
    revocation: Revocation,
    grant: Option<Grant>,
}

impl Revoked {
    /// Takes one in; call `weigh` when it was new.
    pub fn learn(&mut self, revocation: &Revocation, trust: &Trust) -> Learned {
        let id = revocation.id();
        if self.all.contains_key(&id) {
            return Learned::Known;
        }
        let (rooted, grant) = match revocation.authority() {
            Authority::Root(root) => (trust.roots.contains(root), None),
            Authority::Operator(grant) | Authority::Site(grant, _) => {
                let proved = grant.endorsed_by_any(&trust.roots);
                (proved.is_some(), proved)
            }
        };
        if !rooted {
            return Learned::Unrooted;
        }
        if !revocation.is_signed() || !is_within_authority(revocation) {
            return Learned::Bad;
        }
        if self.all.len() >= REVOCATIONS_MAX {
            return Learned::Full;
        }
        let revocation = revocation.clone();
        self.all.insert(id, Kept { revocation, grant });
        Learned::New
    }

    /// Whether this word, that a site is given up, is by somebody who may say so now.
    pub fn judge_retirement(&self, word: &Revocation, trust: &Trust) -> Learned {
        let Target::Site(site) = word.fields().target else {
            return Learned::Bad;
        };
        let made_s = word.fields().made_s;
        let counts = match word.authority() {
            Authority::Root(root) if !trust.roots.contains(root) => return Learned::Unrooted,
            Authority::Root(root) => !self.is_root_cut(root, made_s),
            Authority::Operator(grant) | Authority::Site(grant, _) => {
                let Some(grant) = grant.endorsed_by_any(&trust.roots) else {
                    return Learned::Unrooted;
                };
                let covers = grant.site_id().is_none_or(|own| own == site);
                covers
                    && match word.authority() {
                        Authority::Site(_, charter) => {
                            self.root_of(&grant, trust).is_some()
                                && !self.is_charter(charter, &grant)
                        }
                        _ => self.may_still(&grant, made_s, trust),
                    }
            }
        };
        match counts && word.is_signed() && is_within_authority(word) {
            true => Learned::Known,
            false => Learned::Bad,
        }
    }

    /// Works out anew what counts; says whether that may change who is revoked.
    pub fn weigh(&mut self, trust: &Trust) -> bool {
        let before = std::mem::take(&mut self.rules);
        let all = std::mem::take(&mut self.all);
        self.weigh_roots(&all, trust);
        self.weigh_operators(&all, trust);
        self.weigh_sites(&all, trust);
        self.all = all;
        // Once a root is retired, whoever else vouches for a grant matters too.
        let by_root = |target: &Target| matches!(target, Target::Root(_));
        before != self.rules || self.rules.keys().any(by_root)
    }

    /// Roots revoke anything. A root that others follow is judged after those.
    fn weigh_roots(&mut self, all: &BTreeMap<[u8; 16], Kept>, trust: &Trust) {
        let mut roots = trust.roots.clone();
        roots.sort_by_key(|root| {
            let followers = trust.roots.iter().filter(|new| trust.follows(new, root));
            (followers.count(), *root)
        });
        for root in &roots {
            for Kept { revocation, .. } in all.values() {
                if revocation.authority() != &Authority::Root(*root) {
                    continue;
                }
                let allowed = match revocation.fields().target {
                    Target::Root(old) => trust.follows(root, &old),
                    _ => true,
                };
                if allowed && !self.is_root_cut(root, revocation.fields().made_s) {
                    self.add(revocation, Scope::Cluster);
                }
            }
        }
    }

    /// Operators revoke all but operators, unless a root revoked them before they wrote it.
    fn weigh_operators(&mut self, all: &BTreeMap<[u8; 16], Kept>, trust: &Trust) {
        let mut counting = Vec::new();
        for Kept { revocation, grant } in all.values() {
            let (Authority::Operator(_), Some(grant)) = (revocation.authority(), grant) else {
                continue;
            };
            let may_target = match revocation.fields().target {
                Target::Grant(id) => trust
                    .grants
                    .get(&id)
                    .is_none_or(|grant| !is_operator(grant)),
                _ => true,
            };
            if may_target && self.may_still(grant, revocation.fields().made_s, trust) {
                let scope = grant.site_id().map_or(Scope::Cluster, Scope::Site);
                counting.push((revocation, scope));
            }
        }
        // Only now, so that no operator's word decides about another's.
        for (revocation, scope) in counting {
            self.add(revocation, scope);
        }
    }

    /// Sites revoke their nodes, unless somebody above revoked their charter.
    fn weigh_sites(&mut self, all: &BTreeMap<[u8; 16], Kept>, trust: &Trust) {
        let mut counting = Vec::new();
        for Kept { revocation, grant } in all.values() {
            let (Authority::Site(_, charter), Some(grant)) = (revocation.authority(), grant) else {
                continue;
            };
            let holds = self.root_of(grant, trust).is_some() && !self.is_charter(charter, grant);
            if let Some(site) = grant.site_id().filter(|_| holds) {
                counting.push((revocation, Scope::Site(site)));
            }
        }
        for (revocation, scope) in counting {
            self.add(revocation, scope);
        }
    }

    fn add(&mut self, revocation: &Revocation, scope: Scope) {
        let fields = revocation.fields();
        self.rules.entry(fields.target).or_default().push(Rule {
            scope,
            since_s: fields.since_s,
            spares: fields.spares.as_slice().to_vec(),
        });
    }

    fn rules(&self, target: Target, site: Option<SiteId>) -> impl Iterator<Item = &Rule> {
        let rules = self.rules.get(&target).map_or(&[][..], Vec::as_slice);
        rules.iter().filter(move |rule| rule.scope.covers(site))
    }

    /// Whether what `root` wrote at `made_s` no longer counts.
    fn is_root_cut(&self, root: &PublicKey, made_s: u64) -> bool {
        self.rules(Target::Root(*root), None)
            .any(|rule| rule.since_s.unwrap_or(0) <= made_s)
    }

    /// Whether an operator may still have written something at `made_s`.
    fn may_still(&self, operator: &Grant, made_s: u64, trust: &Trust) -> bool {
        let mut cut = self.rules(Target::Grant(operator.id()), operator.site_id());
        self.root_of(operator, trust).is_some()
            && !cut.any(|rule| rule.since_s.unwrap_or(0) <= made_s)
    }

    /// A root that vouches for this grant and may. Every endorsement of the grant was checked
    /// before; if it is known under more, those count too.
    pub fn root_of(&self, grant: &Grant, trust: &Trust) -> Option<PublicKey> {
        let grant = trust.grants.get(&grant.id()).unwrap_or(grant);
        let made_s = grant.fields().made_s;
        let mut roots = trust.roots.iter();
        let may = |root: &&PublicKey| grant.names_root(root) && !self.is_root_cut(root, made_s);
        roots.find(may).copied()
    }

    pub fn is_charter(&self, charter: &Charter, grant: &Grant) -> bool {
        let (id, site) = (charter.id(), grant.site_id());
        let mut by_grant = self.rules(Target::Grant(grant.id()), site);
        self.rules(Target::Charter(id), site).next().is_some()
            || by_grant.any(|rule| !rule.spares.contains(&id))
    }

    /// Whether this right lets nobody in any more.
    pub fn is_grant(&self, grant: &Grant) -> bool {
        let mut rules = self.rules(Target::Grant(grant.id()), grant.site_id());
        rules.next().is_some()
    }

    /// Whether a node falls that came by this right at this time.
    pub fn is_admitted_by(&self, grant: GrantId, admitted_s: u64, site: SiteId) -> bool {
        self.rules(Target::Grant(grant), Some(site))
            .any(|rule| rule.since_s.is_some_and(|since_s| since_s <= admitted_s))
    }

    pub fn is_node(&self, node: NodeId, site: SiteId) -> bool {
        let mut rules = self.rules(Target::Node(node), Some(site));
        rules.next().is_some()
    }

    /// Whether a certificate falls that this node issued at this time.
    pub fn is_issuer(&self, admitter: NodeId, issued_s: u64, site: SiteId) -> bool {
        self.rules(Target::Node(admitter), Some(site))
            .any(|rule| rule.since_s.is_some_and(|since_s| since_s <= issued_s))
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Revocation> {
        self.all.values().map(|kept| &kept.revocation)
    }
}

const fn is_operator(grant: &Grant) -> bool {
    matches!(grant.fields().right, GrantRight::Operator { .. })
}

/// Whether this kind of author may revoke this kind of thing at all.
fn is_within_authority(revocation: &Revocation) -> bool {
    let target = &revocation.fields().target;
    match revocation.authority() {
        Authority::Root(_) => true,
        Authority::Operator(grant) => is_operator(grant) && !matches!(target, Target::Root(_)),
        Authority::Site(grant, charter) => {
            let is_within = match target {
                Target::Node(_) => true,
                Target::Site(site) => grant.site_id() == Some(*site),
                _ => false,
            };
            charter.is_from(grant) && is_within
        }
    }
}
