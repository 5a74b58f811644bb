//! Certificates that are made new, and charter secrets that spread in the site.
//!
//! Does:      renews at half time by another node of the site, and by itself when no other answers:
//!            a site of one renews itself for ever. Asks neighbours for secrets that it lacks.
//! Does not:  stop anything when a certificate ends.
//! Bounds:    one open question at a time.
//! Trusts:    nodes of the same site whose certificates count.
//! Start at:  `Admitter::renew_ours`.

use super::{AdmitEvent, AdmitOutput, Admitter, Publication};
use crate::certificate::{Certificate, LIFETIME_S};
use crate::chain::Chain;
use crate::desk::Desk;
use crate::ring::Subject;
use overlay::Verdict;
use protocol::peer::admission::{AdmissionMessage, CharterSecret, Few, Refusal};
use protocol::peer::capped::Capped;
use protocol::{Moment, NodeId};

/// How often it is looked whether renewal is due.
const LOOK_MS: u64 = 60_000;
/// How long a neighbour may take.
const ANSWER_MS: u64 = 3_000;
/// Neighbours asked in vain before it is done alone.
const TRIES_MAX: u32 = 3;
/// The first wait before secrets are asked for again; doubled up to `LOOK_MS`.
const SHARE_MS: u64 = 1_000;

/// Our certificate's renewal.
#[derive(Debug)]
pub(super) struct Renewal {
    ask: Option<(u64, NodeId)>,
    tries: u32,
    due_ms: u64,
    /// Since when we have this certificate: a clock that stands still must not keep it for ever.
    held_since_ms: u64,
}

impl Renewal {
    pub const fn new(now: Moment) -> Self {
        Self {
            ask: None,
            tries: 0,
            due_ms: now.uptime_ms,
            held_since_ms: now.uptime_ms,
        }
    }

    pub const fn due_ms(&self) -> u64 {
        self.due_ms
    }

    /// The next neighbour is asked when the time for this answer is over.
    pub fn handle_refused(&mut self, from: NodeId, ask: u64) {
        if self.ask == Some((ask, from)) {
            self.ask = None;
        }
    }

    fn finish(&mut self, now: Moment) {
        *self = Self {
            due_ms: now.uptime_ms + LOOK_MS,
            ..Self::new(now)
        };
    }
}

/// The search for charter secrets that we lack.
#[derive(Debug)]
pub(super) struct Sharing {
    due_ms: u64,
    again_ms: u64,
}

impl Sharing {
    pub const fn new(now: Moment) -> Self {
        Self {
            due_ms: now.uptime_ms,
            again_ms: SHARE_MS,
        }
    }

    pub const fn due_ms(&self) -> u64 {
        self.due_ms
    }
}

impl Admitter {
    /// Who founds a site asks nobody, so nobody says for it that its machine was another node
    /// before. When that node's certificate comes, it says so itself: otherwise the old one would
    /// haunt others' lists for as long as its last words count. Only the later of two says it, and
    /// only of one that nobody sees.
    pub(super) fn follow_ourselves(&mut self, desk: &mut Desk<'_>) {
        let Some(own) = desk.keys.own().filter(|_| desk.keys.can_issue()) else {
            return;
        };
        let fields = own.certificate.fields();
        if fields.replaces.is_some() {
            return;
        }
        let (me, admitted_s) = (own.certificate.node(), fields.admitted_s);
        let is_past = |node: &NodeId| {
            *node != me
                && desk.keys.admitted_s(*node, desk.now) < admitted_s
                && !desk.sight.is_alive(*node)
        };
        let earlier = desk.keys.nodes_of(fields.machine);
        let Some(replaces) = earlier.into_iter().find(is_past) else {
            return;
        };
        let subject = Subject {
            replaces: Some(replaces),
            ..Subject::of(fields)
        };
        if let Some(chain) = desk.keys.issue(desk.now, subject) {
            self.take_renewed(desk, chain);
        }
    }

    /// Asks a neighbour to renew our certificate if it is time; after `TRIES_MAX`, does it alone.
    pub(super) fn renew_ours(&mut self, desk: &mut Desk<'_>) {
        let now_ms = desk.now.uptime_ms;
        if now_ms < self.renewal.due_ms {
            return;
        }
        let held_ms = now_ms.saturating_sub(self.renewal.held_since_ms);
        let is_due = desk.keys.is_due(desk.now) || held_ms >= LIFETIME_S * 1000 / 2;
        let Some(own) = desk.keys.own().filter(|_| is_due) else {
            self.renewal.due_ms = now_ms + LOOK_MS;
            return;
        };
        let certificate = Capped::new(own.certificate.encode()).unwrap_or_default();
        let neighbours = desk.sight.neighbours();
        if neighbours.is_empty() || self.renewal.tries >= TRIES_MAX || !desk.keys.is_member() {
            return self.renew_alone(desk);
        }
        let at = usize::try_from(self.dice.below(neighbours.len() as u64)).unwrap_or(0);
        let (ask, to) = (self.dice.next_u64(), neighbours[at]);
        self.renewal.ask = Some((ask, to));
        self.renewal.tries += 1;
        self.renewal.due_ms = now_ms + ANSWER_MS;
        self.send(to, AdmissionMessage::Renew { ask, certificate });
    }

    fn renew_alone(&mut self, desk: &mut Desk<'_>) {
        let Some(own) = desk.keys.own() else { return };
        let subject = Subject::of(own.certificate.fields());
        self.renewal.finish(desk.now);
        if let Some(chain) = desk.keys.issue(desk.now, subject) {
            self.take_renewed(desk, chain);
        }
    }

    fn take_renewed(&mut self, desk: &mut Desk<'_>, chain: Chain) {
        let by = crate::secret::node_id(&chain.certificate.fields().admitter);
        let publication = Publication::of_certificate(&chain.certificate);
        if desk.keys.adopt(desk.now, chain).is_ok() {
            self.outputs.push_back(AdmitOutput::Publish(publication));
            self.outputs.push_back(AdmitOutput::Save);
            self.event(AdmitEvent::Renewed { by });
        }
    }

    pub(super) fn handle_renewed(
        &mut self,
        desk: &mut Desk<'_>,
        from: NodeId,
        ask: u64,
        chain: Option<Chain>,
    ) {
        if self.renewal.ask != Some((ask, from)) {
            return;
        }
        if let Some(chain) = chain {
            self.renewal.finish(desk.now);
            self.take_renewed(desk, chain);
        }
    }

    /// A node of our site wants its certificate made new. How old it is does not matter.
    pub(super) fn handle_renew(
        &mut self,
        desk: &mut Desk<'_>,
        from: NodeId,
        ask: u64,
        certificate: &[u8],
    ) {
        let renewed = self.renew(desk, from, certificate);
        let chain = renewed.and_then(|chain| chain.encode_capped().ok_or(Refusal::NotReady));
        let message = match chain {
            Ok(chain) => AdmissionMessage::Admitted { ask, chain },
            Err(refusal) => AdmissionMessage::Refused { ask, refusal },
        };
        self.send(from, message);
    }

    fn renew(
        &mut self,
        desk: &mut Desk<'_>,
        from: NodeId,
        certificate: &[u8],
    ) -> Result<Chain, Refusal> {
        let certificate = Certificate::decode(certificate).ok_or(Refusal::BadProof)?;
        if certificate.node() != from {
            return Err(Refusal::BadProof);
        }
        match desk.keys.learn_certificate(&certificate, desk.now) {
            Verdict::Good => {}
            Verdict::Revoked => return Err(Refusal::Revoked),
            Verdict::Bad => return Err(Refusal::BadProof),
            Verdict::UnknownAuthor => return Err(Refusal::NotReady),
        }
        if !desk.keys.is_neighbour(from) {
            return Err(Refusal::BadProof);
        }
        if !desk.keys.can_issue() {
            return Err(Refusal::NotReady);
        }
        let subject = Subject::of(certificate.fields());
        desk.keys.issue(desk.now, subject).ok_or(Refusal::NotReady)
    }

    pub(super) fn ask_for_secrets(&mut self, desk: &Desk<'_>) {
        let now_ms = desk.now.uptime_ms;
        if now_ms < self.sharing.due_ms {
            return;
        }
        let lacking = desk.keys.lacking();
        let neighbours = desk.sight.neighbours();
        if lacking.is_empty() || neighbours.is_empty() {
            self.sharing = Sharing::new(desk.now);
            self.sharing.due_ms = now_ms
                + if lacking.is_empty() {
                    LOOK_MS
                } else {
                    SHARE_MS
                };
            return;
        }
        let at = usize::try_from(self.dice.below(neighbours.len() as u64)).unwrap_or(0);
        let lacking = Few::new(lacking.into_iter().map(|id| id.0));
        self.send(neighbours[at], AdmissionMessage::CharterAsk { lacking });
        self.sharing.due_ms = now_ms + self.dice.around(self.sharing.again_ms);
        self.sharing.again_ms = (self.sharing.again_ms * 2).min(LOOK_MS);
    }

    /// Our certificate fell with its charter: look for another at once.
    pub fn handle_fall(&mut self, now: Moment) {
        self.renewal = Renewal {
            held_since_ms: self.renewal.held_since_ms,
            ..Renewal::new(now)
        };
    }

    /// Our site has a charter that is new to us: ask for its secret at once.
    pub fn handle_charter(&mut self, now: Moment) {
        self.sharing = Sharing::new(now);
    }

    pub(super) fn handle_charter_ask(
        &mut self,
        desk: &Desk<'_>,
        from: NodeId,
        lacking: &[[u8; 16]],
    ) {
        let secrets = desk.keys.secrets_of(lacking);
        if !secrets.is_empty() && desk.keys.is_member() {
            let secrets = Few::new(secrets);
            self.send(from, AdmissionMessage::CharterGive { secrets });
        }
    }

    pub(super) fn handle_charter_give(&mut self, desk: &mut Desk<'_>, secrets: &[CharterSecret]) {
        let mut learned = 0;
        for secret in secrets {
            learned += u32::from(desk.keys.learn_secret(secret));
        }
        if learned > 0 {
            self.outputs.push_back(AdmitOutput::Save);
        }
    }
}
