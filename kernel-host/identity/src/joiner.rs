//! A stranger that wants to become a node of its site.
//!
//! Does:      asks one node of the site after the other, for ever, slower and slower; founds the
//!            site when nobody of it can be heard and its token allows; says what a person can do.
//! Does not:  find nodes or make sessions: it is told of them.
//! Bounds:    `PEERS_MAX` nodes of the site, `OTHERS_MAX` of others; above, new ones are ignored:
//!            the known ones are asked again and again anyway.
//! Trusts:    a certificate only if its chain leads to a root of `Keys`.
//! Start at:  `Joiner::handle_timeout`.

use crate::chain::Chain;
use crate::desk::Desk;
use crate::publication::{GrantUse, Publication, RightBody};
use crate::request::{self, Applicant};
use crate::ring::{Founder, Keys, Standing};
use crate::secret::Seed;
use crate::token::Token;
use netcore::dice::Dice;
use protocol::peer::admission::{AdmissionMessage, ApprovalCode, Refusal};
use protocol::{Moment, NodeId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Nodes of the site that are asked in turn.
pub const PEERS_MAX: usize = 64;
/// Nodes of other sites that are counted, for the console.
pub const OTHERS_MAX: usize = 64;
/// How long a founder listens for others of its site, give or take a quarter.
pub const FOUND_AFTER_MS: u64 = 5_000;
/// How long an answer may take.
pub const ANSWER_MS: u64 = 3_000;
/// Asks without an answer after which a node is forgotten until a session stands anew.
const SILENT_ASKS_MAX: u32 = 3;
/// The first wait before the same node is asked again; doubled up to `AGAIN_MS_MAX`.
const AGAIN_MS: u64 = 1_000;
const AGAIN_MS_MAX: u64 = 60_000;
/// How often a stranger that waits for approval shows that it still does.
pub const WAITING_MS: u64 = 5_000;

/// How far it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinState {
    /// Nobody of the site has been heard; `founds` it if that stays so.
    Listening {
        founds: bool,
        others: usize,
    },
    Asking {
        node: NodeId,
    },
    /// A person has to approve it with this code.
    Waiting {
        code: ApprovalCode,
    },
    Refused(Refusal),
    Member,
}

impl JoinState {
    /// One line for the console.
    pub fn reason(&self) -> String {
        match self {
            Self::Listening { founds: true, .. } => {
                "listens for nodes of its site, and founds it when there are none".to_owned()
            }
            Self::Listening { others: 0, .. } => {
                "hears no other node, and holds no token that founds a site".to_owned()
            }
            Self::Listening { others, .. } => {
                format!("hears {others} nodes of other sites, and none of its own")
            }
            Self::Asking { node } => format!("asks {} to let it in", node.short()),
            Self::Waiting { code } => format!("waits for approval with the code {code}"),
            Self::Refused(refusal) => format!("is not let in: {refusal}"),
            Self::Member => "is a node of its site".to_owned(),
        }
    }

    /// What a person can do; empty if nothing.
    pub fn advice(&self) -> String {
        match self {
            Self::Listening { founds: false, .. } => {
                "Give it a founding token (luc token create --founds), or the address of a node of \
                 its site (luc.seeds=<address>), and check the site's name"
                    .to_owned()
            }
            Self::Waiting { code } => format!("On any node of the site: luc node approve {code}"),
            Self::Refused(refusal) => refusal.advice().to_owned(),
            Self::Listening { .. } | Self::Asking { .. } | Self::Member => String::new(),
        }
    }
}

/// What the caller should do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinOutput {
    Send {
        to: NodeId,
        message: Box<AdmissionMessage>,
    },
    /// The state changed: show it.
    State(JoinState),
    /// `Keys` has our chain now: save `Keys::saved`, and make sessions anew.
    Joined,
    /// For the records; a `GRANT_USE` also for our own `Admitter::handle_use`.
    Publish(Publication),
}

/// A node of our site that may let us in.
#[derive(Debug, Clone)]
struct Gatekeeper {
    again_ms: u64,
    /// `u64::MAX` would be never; it is asked for ever.
    due_ms: u64,
    silent_asks: u32,
}

/// The question that is open.
#[derive(Debug, Clone, Copy)]
struct Ask {
    number: u64,
    to: NodeId,
    until_ms: u64,
}

/// A stranger on its way in.
#[derive(Debug)]
pub struct Joiner {
    applicant: Applicant,
    charter: Seed,
    dice: Dice,
    gatekeepers: BTreeMap<NodeId, Gatekeeper>,
    others: BTreeSet<NodeId>,
    ask: Option<Ask>,
    /// When to found the site, if nobody of it is heard before.
    found_at_ms: Option<u64>,
    /// The site itself said that our token is not good: don't found it behind its back.
    is_barred: bool,
    state: JoinState,
    outputs: VecDeque<JoinOutput>,
}

impl Joiner {
    /// `seed` spreads retries; `charter` is the secret of the site's charter should we found it.
    /// `keys` learns how the token's root follows an older one, which the site may still have.
    pub fn new(
        now: Moment,
        keys: &mut Keys,
        applicant: Applicant,
        seed: u64,
        charter: Seed,
    ) -> Self {
        let token = applicant.token.as_ref();
        if let Some(succession) = token.and_then(Token::succession) {
            keys.learn_right(&RightBody::Succession(succession.clone()));
        }
        let mut dice = Dice::new(seed);
        let founds = applicant
            .token
            .as_ref()
            .is_some_and(|token| token.grant().founds());
        let found_at_ms = founds.then(|| now.uptime_ms + dice.around(FOUND_AFTER_MS));
        Self {
            applicant,
            charter,
            dice,
            gatekeepers: BTreeMap::new(),
            others: BTreeSet::new(),
            ask: None,
            found_at_ms,
            is_barred: false,
            state: JoinState::Listening { founds, others: 0 },
            outputs: VecDeque::new(),
        }
    }

    pub const fn state(&self) -> &JoinState {
        &self.state
    }

    pub fn poll_output(&mut self) -> Option<JoinOutput> {
        self.outputs.pop_front()
    }

    /// A session to this node stands, and its handshake proved this.
    pub fn handle_peer(&mut self, desk: &Desk<'_>, node: NodeId, standing: Standing) {
        let site = desk.keys.site();
        match standing {
            Standing::Certified(theirs) if theirs == site => {
                if self.gatekeepers.len() < PEERS_MAX || self.gatekeepers.contains_key(&node) {
                    self.gatekeepers.entry(node).or_insert(Gatekeeper {
                        again_ms: AGAIN_MS,
                        due_ms: desk.now.uptime_ms,
                        silent_asks: 0,
                    });
                }
            }
            Standing::Certified(_) => {
                if self.others.len() < OTHERS_MAX {
                    self.others.insert(node);
                }
            }
            Standing::Stranger => {}
        }
        self.show();
    }

    /// The session to this node ended, or can't be made.
    pub fn handle_gone(&mut self, desk: &Desk<'_>, node: NodeId) {
        self.others.remove(&node);
        self.forget(desk.now, node);
        self.show();
    }

    fn forget(&mut self, now: Moment, node: NodeId) {
        if self.ask.is_some_and(|ask| ask.to == node) {
            self.ask = None;
        }
        let had = self.gatekeepers.remove(&node).is_some();
        if had && self.gatekeepers.is_empty() && self.found_at_ms.is_some() {
            self.found_at_ms = Some(now.uptime_ms + self.dice.around(FOUND_AFTER_MS));
        }
    }

    /// A handshake failed because the other's chain leads to no root of ours, or another reason.
    pub fn handle_foreign(&mut self, refusal: Refusal) {
        if self.gatekeepers.is_empty() {
            self.enter(JoinState::Refused(refusal));
        }
    }

    pub fn handle_message(&mut self, desk: &mut Desk<'_>, from: NodeId, message: AdmissionMessage) {
        let Some(ask) = self.ask.filter(|ask| ask.to == from) else {
            return;
        };
        let now_ms = desk.now.uptime_ms;
        match message {
            AdmissionMessage::Admitted { ask: number, chain } if number == ask.number => {
                let chain = Chain::decode(chain.bytes()).ok_or(Refusal::BadProof);
                let adopted = chain.and_then(|chain| {
                    desk.keys.adopt(desk.now, chain.clone())?;
                    Ok(chain)
                });
                match adopted {
                    Ok(chain) => self.finish(&chain),
                    Err(refusal) => self.refused(desk, from, refusal),
                }
            }
            AdmissionMessage::Refused {
                ask: number,
                refusal,
            } if number == ask.number => {
                self.refused(desk, from, refusal);
            }
            AdmissionMessage::Waiting { ask: number } if number == ask.number => {
                // The answer may still come to this very question, so it stays open.
                self.ask = Some(Ask {
                    until_ms: now_ms + WAITING_MS,
                    ..ask
                });
                if let Some(gatekeeper) = self.gatekeepers.get_mut(&from) {
                    gatekeeper.silent_asks = 0;
                    gatekeeper.again_ms = 0;
                }
                let code = ApprovalCode::of(&desk.keys.secret().public());
                self.enter(JoinState::Waiting { code });
            }
            _ => {}
        }
    }

    fn refused(&mut self, desk: &Desk<'_>, from: NodeId, refusal: Refusal) {
        self.ask = None;
        let now_ms = desk.now.uptime_ms;
        if let Some(gatekeeper) = self.gatekeepers.get_mut(&from) {
            gatekeeper.silent_asks = 0;
            let wait_ms = match refusal {
                Refusal::Busy { retry_ms } => u64::from(retry_ms).min(AGAIN_MS_MAX),
                _ => gatekeeper.again_ms,
            };
            gatekeeper.due_ms = now_ms + self.dice.around(wait_ms.max(AGAIN_MS));
            gatekeeper.again_ms = (gatekeeper.again_ms * 2).clamp(AGAIN_MS, AGAIN_MS_MAX);
        }
        self.is_barred |= !refusal.passes();
        self.enter(JoinState::Refused(refusal));
    }

    fn finish(&mut self, chain: &Chain) {
        self.ask = None;
        self.gatekeepers.clear();
        self.state = JoinState::Member;
        self.outputs.push_back(JoinOutput::State(JoinState::Member));
        self.outputs.push_back(JoinOutput::Joined);
        for publication in Publication::of_chain(chain) {
            self.outputs.push_back(JoinOutput::Publish(publication));
        }
    }

    /// Time passed: gives up on an answer, asks the next node, or founds the site.
    pub fn handle_timeout(&mut self, desk: &mut Desk<'_>) {
        if self.state == JoinState::Member {
            return;
        }
        let now_ms = desk.now.uptime_ms;
        if let Some(ask) = self.ask.filter(|ask| ask.until_ms <= now_ms) {
            self.ask = None;
            self.count_silence(desk.now, ask.to);
        }
        if self.ask.is_none() {
            match self.next_gatekeeper(now_ms) {
                Some((node, due_ms)) if due_ms <= now_ms => self.ask(desk, node),
                Some(_) => {}
                None if self.found_at_ms.is_some_and(|at_ms| at_ms <= now_ms) => self.found(desk),
                None => self.show(),
            }
        }
    }

    /// Whom to ask next, and when: any of those that are due, so that a storm of strangers spreads
    /// over the site.
    fn next_gatekeeper(&mut self, now_ms: u64) -> Option<(NodeId, u64)> {
        let waiting = self
            .gatekeepers
            .iter()
            .map(|(node, one)| (*node, one.due_ms));
        let due = waiting.clone().filter(|(_, due_ms)| *due_ms <= now_ms);
        let pick = self.dice.below(due.clone().count() as u64);
        let picked = due.clone().nth(usize::try_from(pick).unwrap_or(0));
        picked.or_else(|| waiting.min_by_key(|(_, due_ms)| *due_ms))
    }

    fn count_silence(&mut self, now: Moment, node: NodeId) {
        let Some(gatekeeper) = self.gatekeepers.get_mut(&node) else {
            return;
        };
        // One that let us wait for approval is asked on without pause.
        gatekeeper.due_ms = now.uptime_ms + self.dice.around(gatekeeper.again_ms);
        gatekeeper.again_ms = (gatekeeper.again_ms * 2).clamp(AGAIN_MS, AGAIN_MS_MAX);
        gatekeeper.silent_asks += 1;
        if gatekeeper.silent_asks > SILENT_ASKS_MAX {
            self.forget(now, node);
        }
    }

    fn ask(&mut self, desk: &Desk<'_>, node: NodeId) {
        let number = self.dice.next_u64();
        self.ask = Some(Ask {
            number,
            to: node,
            until_ms: desk.now.uptime_ms + ANSWER_MS,
        });
        let request = request::sign(&self.applicant, desk.keys.secret(), node, number);
        self.outputs.push_back(JoinOutput::Send {
            to: node,
            message: Box::new(AdmissionMessage::Join(Box::new(request))),
        });
        // What the last answer said stays on the console until the next.
        if matches!(self.state, JoinState::Listening { .. }) {
            self.enter(JoinState::Asking { node });
        }
    }

    fn found(&mut self, desk: &mut Desk<'_>) {
        self.found_at_ms = None;
        let Some(token) = self.applicant.token.as_ref().filter(|_| !self.is_barred) else {
            return;
        };
        let founder = Founder {
            name: &self.applicant.name,
            machine: self.applicant.machine,
            charter: self.charter.clone(),
        };
        match desk.keys.found(desk.now, token, &founder) {
            Ok(chain) => {
                // The founder is the first machine that its token let in.
                let used = GrantUse::of(&chain, &chain.grant);
                self.finish(&chain);
                if let Some(used) = used {
                    let used = Publication::of_use(desk.keys.site(), &used);
                    self.outputs.push_back(JoinOutput::Publish(used));
                }
            }
            Err(refusal) => {
                self.is_barred = true;
                self.enter(JoinState::Refused(refusal));
            }
        }
    }

    /// Without anybody to ask, says for what it listens; a refusal stays until then.
    fn show(&mut self) {
        let stays = match &self.state {
            JoinState::Refused(_) => true,
            JoinState::Member => return,
            _ => !self.gatekeepers.is_empty(),
        };
        if !stays {
            let state = JoinState::Listening {
                founds: self.found_at_ms.is_some(),
                others: self.others.len(),
            };
            self.enter(state);
        }
    }

    fn enter(&mut self, state: JoinState) {
        if self.state != state {
            self.state = state.clone();
            self.outputs.push_back(JoinOutput::State(state));
        }
    }

    /// When `handle_timeout` is due, in milliseconds of uptime.
    pub fn next_timeout(&self) -> Option<u64> {
        if self.state == JoinState::Member {
            return None;
        }
        match self.ask {
            Some(ask) => Some(ask.until_ms),
            None => match self.gatekeepers.values().map(|one| one.due_ms).min() {
                Some(due_ms) => Some(due_ms),
                None => self.found_at_ms,
            },
        }
    }
}
