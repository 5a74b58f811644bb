//! Whether a stranger comes in.
//!
//! Does:      cheap checks before dear ones: rate, then signatures, then rights.
//! Does not:  reveal members, records or secrets.
//! Bounds:    those of `Admitter`.
//! Trusts:    nothing in a request but what a signature proves; a machine id is a claim, which a
//!            list may take for enough.
//! Start at:  `Admitter::handle_join`.

use super::{
    AdmitEvent, Admitter, GrantUse, JOINS_BURST, JOINS_PER_S, PENDING_MAX, Pending, Publication,
};
use crate::chain::Chain;
use crate::desk::Desk;
use crate::grant::{Grant, GrantId, GrantRight, Listed};
use crate::publication::RightBody;
use crate::request::{has_secret, is_genuine};
use crate::ring::Subject;
use crate::succession::Succession;
use protocol::peer::admission::{AdmissionMessage, ApprovalCode, JoinRequest, Refusal, Right};
use protocol::peer::site;
use protocol::{Moment, NodeId};

/// When a stranger that is turned away for lack of time should come again.
const BUSY_MS: u64 = 2_000;

/// By what right a stranger comes in.
#[derive(Debug)]
enum Pass {
    /// Nobody needs to ask: it was let in before, or a person or a list said so.
    Free(Option<GrantId>),
    Token(Grant),
    /// A person has to say yes.
    Ask,
}

impl Admitter {
    pub(super) fn handle_join(&mut self, desk: &mut Desk<'_>, from: NodeId, request: JoinRequest) {
        if !self.may_look(desk.now) {
            self.counters.throttled += 1;
            let refusal = self.busy();
            return self.send(
                from,
                AdmissionMessage::Refused {
                    ask: request.ask,
                    refusal,
                },
            );
        }
        let answer = match self.pass(desk, from, &request) {
            Err(refusal) => Err(refusal),
            Ok(Pass::Ask) => return self.let_wait(desk, from, request),
            Ok(Pass::Free(grant)) => self.admit(desk, &request, grant),
            Ok(Pass::Token(grant)) => self.admit_by_token(desk, &request, &grant),
        };
        self.answer(from, &request, answer);
    }

    fn busy(&mut self) -> Refusal {
        let retry_ms = u32::try_from(self.dice.around(BUSY_MS)).unwrap_or(u32::MAX);
        Refusal::Busy { retry_ms }
    }

    /// Whether there is time for one more request.
    fn may_look(&mut self, now: Moment) -> bool {
        let (left, since_ms) = self.allowance;
        let passed_ms = now.uptime_ms.saturating_sub(since_ms);
        let left = left.saturating_add(passed_ms.saturating_mul(JOINS_PER_S));
        let left = left.min(JOINS_BURST * 1000);
        let may = left >= 1000;
        self.allowance = (if may { left - 1000 } else { left }, now.uptime_ms);
        may
    }

    /// By what right this request comes in, if by any.
    fn pass(
        &mut self,
        desk: &mut Desk<'_>,
        from: NodeId,
        request: &JoinRequest,
    ) -> Result<Pass, Refusal> {
        let us = desk.keys.me();
        if !is_genuine(request, from, us) {
            return Err(Refusal::BadProof);
        }
        let own_site = self.own_site(desk).ok_or(Refusal::NotReady)?;
        if site::id_of(&request.site) != desk.keys.site() {
            return Err(Refusal::WrongSite {
                granted: request.site.clone(),
                asked: own_site,
            });
        }
        if desk.keys.is_node_revoked(from) {
            return Err(Refusal::Revoked);
        }
        if !desk.keys.can_issue() {
            return Err(Refusal::NotReady);
        }
        if let Some(grant) = desk.keys.right_of(from) {
            return Ok(Pass::Free(grant));
        }
        match &request.right {
            Right::Token {
                grant,
                succession,
                proof,
            } => {
                if let Some(succession) = Succession::decode(succession.bytes()) {
                    desk.keys.learn_right(&RightBody::Succession(succession));
                }
                let grant = Grant::decode(grant.bytes()).ok_or(Refusal::BadProof)?;
                let key = grant.fields().key;
                let has_secret = || has_secret(request, &key, proof, us);
                self.token_pass(desk, grant, &has_secret, request)
            }
            Right::Known => Ok(self.known_pass(desk, from, request)),
        }
    }

    fn own_site(&self, desk: &Desk<'_>) -> Option<protocol::Name> {
        desk.keys.own()?.grant.site().cloned()
    }

    fn token_pass(
        &self,
        desk: &Desk<'_>,
        grant: Grant,
        has_secret: &dyn Fn() -> bool,
        request: &JoinRequest,
    ) -> Result<Pass, Refusal> {
        let GrantRight::Token { site, count, .. } = grant.fields().right.clone() else {
            return Err(Refusal::WrongPurpose);
        };
        let grant = desk.keys.proved(&grant).ok_or(Refusal::UnknownRoot)?;
        if !has_secret() {
            return Err(Refusal::BadProof);
        }
        if site != request.site {
            return Err(Refusal::WrongSite {
                granted: site,
                asked: request.site.clone(),
            });
        }
        match desk.keys.check_grant(&grant, desk.now) {
            // The date is for machines that never came: one without a disk must be able to boot.
            Err(Refusal::Expired { .. }) if self.uses.knows(grant.id(), request.machine) => {}
            other => other?,
        }
        match self.uses.allows(grant.id(), request.machine, count) {
            true => Ok(Pass::Token(grant)),
            false => Err(Refusal::UsedUp { count }),
        }
    }

    fn known_pass(&mut self, desk: &Desk<'_>, from: NodeId, request: &JoinRequest) -> Pass {
        let who = [Listed::Node(from), Listed::Machine(request.machine)];
        if let Some(list) = desk.keys.listed(who, desk.now) {
            return Pass::Free(Some(list.id()));
        }
        let code = ApprovalCode::of(&request.node);
        match self.approvals.remove(&code) {
            Some(until_ms) if until_ms > desk.now.uptime_ms => Pass::Free(None),
            _ => Pass::Ask,
        }
    }

    fn let_wait(&mut self, desk: &Desk<'_>, from: NodeId, request: JoinRequest) {
        let (ask, now_ms) = (request.ask, desk.now.uptime_ms);
        let known = self.pending.get(&from).map(|pending| pending.since_ms);
        if known.is_none() && self.pending.len() >= PENDING_MAX {
            self.counters.pending_over += 1;
            let refusal = self.busy();
            return self.send(from, AdmissionMessage::Refused { ask, refusal });
        }
        let pending = Pending {
            node: from,
            name: request.name.clone(),
            machine: request.machine,
            code: ApprovalCode::of(&request.node),
            since_ms: known.unwrap_or(now_ms),
            heard_ms: now_ms,
            request,
        };
        if known.is_none() {
            self.event(AdmitEvent::Waiting {
                node: from,
                name: pending.name.clone(),
                code: pending.code,
            });
        }
        self.pending.insert(from, pending);
        self.send(from, AdmissionMessage::Waiting { ask });
    }

    fn admit_by_token(
        &mut self,
        desk: &mut Desk<'_>,
        request: &JoinRequest,
        grant: &Grant,
    ) -> Result<Chain, Refusal> {
        if self.uses.is_full() {
            return Err(self.busy());
        }
        let chain = self.admit(desk, request, Some(grant.id()))?;
        let Some(one) = GrantUse::of(&chain, grant) else {
            return Err(Refusal::WrongPurpose);
        };
        if let Some(over) = self.uses.learn(&one) {
            self.event(AdmitEvent::OverCount(over));
        }
        let publication = Publication::of_use(desk.keys.site(), &one);
        self.outputs
            .push_back(super::AdmitOutput::Publish(publication));
        Ok(chain)
    }

    /// Issues the certificate, unless the machine is here and alive under another key.
    pub(super) fn admit(
        &mut self,
        desk: &mut Desk<'_>,
        request: &JoinRequest,
        grant: Option<GrantId>,
    ) -> Result<Chain, Refusal> {
        let node = crate::secret::node_id(&request.node);
        let mut earlier = desk.keys.nodes_of(request.machine);
        earlier.retain(|other| *other != node);
        if let Some(alive) = earlier.iter().find(|other| desk.sight.is_alive(**other)) {
            return Err(Refusal::MachineAlive { node: *alive });
        }
        let replaces = earlier.first().copied();
        let subject = Subject {
            node: request.node,
            session: request.session,
            name: request.name.clone(),
            machine: request.machine,
            admitted_s: desk.keys.admitted_s(node, desk.now),
            grant,
            replaces,
        };
        let chain = desk
            .keys
            .issue(desk.now, subject)
            .ok_or(Refusal::NotReady)?;
        self.counters.admitted += 1;
        self.event(AdmitEvent::Admitted {
            node,
            name: request.name.clone(),
            replaces,
        });
        Ok(chain)
    }

    pub(super) fn answer(
        &mut self,
        to: NodeId,
        request: &JoinRequest,
        answer: Result<Chain, Refusal>,
    ) {
        let ask = request.ask;
        let chain = answer.and_then(|chain| chain.encode_capped().ok_or(Refusal::NotReady));
        match chain {
            Ok(chain) => {
                self.pending.remove(&to);
                self.send(to, AdmissionMessage::Admitted { ask, chain });
            }
            Err(refusal) => {
                self.counters.refused += 1;
                if !refusal.passes() {
                    let refusal = refusal.clone();
                    self.event(AdmitEvent::Refused { node: to, refusal });
                }
                self.send(to, AdmissionMessage::Refused { ask, refusal });
            }
        }
    }
}
