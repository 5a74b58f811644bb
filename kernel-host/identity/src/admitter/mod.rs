//! A node of a site, at its door.
//!
//! Does:      lets strangers in by token, by list or by approval; renews certificates, its own too;
//!            shares charter secrets with the nodes of its site.
//! Does not:  tell a stranger anything but yes, wait, or why not.
//! Bounds:    `JOINS_PER_S` and `JOINS_BURST`, `PENDING_MAX`, `APPROVALS_MAX`, `uses::USES_MAX`;
//!            above, strangers are told to come again.
//! Trusts:    that `from` is the node it says: sessions prove it.
//! Start at:  `Admitter::handle_message`.

mod door;
mod upkeep;
mod uses;

pub use uses::{OverCount, USES_MAX};

use crate::chain::Chain;
use crate::desk::Desk;
use crate::publication::{GrantUse, Publication};
use netcore::dice::Dice;
use protocol::peer::admission::{AdmissionMessage, ApprovalCode, JoinRequest, MachineId, Refusal};
use protocol::peer::{Record, RecordKind};
use protocol::{Moment, Name, NodeId};
use std::collections::{BTreeMap, VecDeque};
use uses::Uses;

/// Requests looked at in a second; each costs about half a millisecond of signatures.
pub const JOINS_PER_S: u64 = 50;
/// Requests looked at at once after a quiet time.
pub const JOINS_BURST: u64 = 100;
/// Strangers that wait for approval. Above, they are told to come again.
pub const PENDING_MAX: usize = 256;
/// A stranger that was not heard for so long waits no more.
pub const PENDING_MS: u64 = 60_000;
/// A stranger waits at most so long; then its machine shows that nobody came.
pub const PENDING_MS_MAX: u64 = 3_600_000;
/// Approvals of strangers that have not asked here yet. Above, the oldest is forgotten.
pub const APPROVALS_MAX: usize = 64;
/// How long such an approval holds.
pub const APPROVAL_MS: u64 = 15 * 60_000;

/// Something for people to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdmitEvent {
    Admitted {
        node: NodeId,
        name: Name,
        replaces: Option<NodeId>,
    },
    /// A stranger waits for approval: told once per stranger.
    Waiting {
        node: NodeId,
        name: Name,
        code: ApprovalCode,
    },
    Refused {
        node: NodeId,
        refusal: Refusal,
    },
    /// A token let in more than it allows.
    OverCount(OverCount),
    /// Our certificate was renewed.
    Renewed {
        by: NodeId,
    },
}

/// What the caller should do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdmitOutput {
    Send {
        to: NodeId,
        message: Box<AdmissionMessage>,
    },
    Publish(Publication),
    Event(AdmitEvent),
    /// `Keys::saved` has something new for the disk.
    Save,
}

/// A stranger that waits for approval.
#[derive(Debug, Clone)]
pub struct Pending {
    pub node: NodeId,
    pub name: Name,
    /// What it says of its hardware.
    pub machine: MachineId,
    pub code: ApprovalCode,
    pub since_ms: u64,
    heard_ms: u64,
    request: JoinRequest,
}

/// What became of an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approval {
    /// It waited here and is let in.
    Admitted(NodeId),
    /// Nobody with this code waits here; the nodes of the site let it in when it asks.
    Noted,
}

/// What was turned away for want of room or time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AdmitCounters {
    pub admitted: u64,
    pub refused: u64,
    pub throttled: u64,
    pub pending_over: u64,
}

/// The door of a site, as one of its nodes keeps it.
#[derive(Debug)]
pub struct Admitter {
    dice: Dice,
    pending: BTreeMap<NodeId, Pending>,
    approvals: BTreeMap<ApprovalCode, u64>,
    uses: Uses,
    /// Thousandths of requests that may be looked at, and since when.
    allowance: (u64, u64),
    renewal: upkeep::Renewal,
    sharing: upkeep::Sharing,
    counters: AdmitCounters,
    outputs: VecDeque<AdmitOutput>,
}

impl Admitter {
    pub fn new(now: Moment, seed: u64) -> Self {
        Self {
            dice: Dice::new(seed),
            pending: BTreeMap::new(),
            approvals: BTreeMap::new(),
            uses: Uses::default(),
            allowance: (JOINS_BURST * 1000, now.uptime_ms),
            renewal: upkeep::Renewal::new(now),
            sharing: upkeep::Sharing::new(now),
            counters: AdmitCounters::default(),
            outputs: VecDeque::new(),
        }
    }

    pub fn poll_output(&mut self) -> Option<AdmitOutput> {
        self.outputs.pop_front()
    }

    pub const fn counters(&self) -> AdmitCounters {
        self.counters
    }

    /// Strangers that wait here.
    pub fn pending(&self) -> impl Iterator<Item = &Pending> {
        self.pending.values()
    }

    /// A message from a stranger, or from a node of our site.
    pub fn handle_message(&mut self, desk: &mut Desk<'_>, from: NodeId, message: AdmissionMessage) {
        match message {
            AdmissionMessage::Join(request) => self.handle_join(desk, from, *request),
            AdmissionMessage::Renew { ask, certificate } => {
                self.handle_renew(desk, from, ask, certificate.bytes());
            }
            // All other words are between nodes of our site.
            _ if !desk.keys.is_neighbour(from) => {}
            AdmissionMessage::Admitted { ask, chain } => {
                self.handle_renewed(desk, from, ask, Chain::decode(chain.bytes()));
            }
            AdmissionMessage::Refused { ask, .. } => self.renewal.handle_refused(from, ask),
            AdmissionMessage::CharterAsk { lacking } => {
                self.handle_charter_ask(desk, from, lacking.as_slice());
            }
            AdmissionMessage::CharterGive { secrets } => {
                self.handle_charter_give(desk, secrets.as_slice());
            }
            AdmissionMessage::Approved { code } => {
                self.approve_here(desk, code);
            }
            AdmissionMessage::Waiting { .. } => {}
        }
    }

    /// A `GRANT_USE` record that the store verified, ours or another node's.
    pub fn handle_use(&mut self, record: &Record) {
        if !record.ended {
            self.learn_use(record.key.kind, record.key.subject, &record.body);
        }
    }

    /// A record that we publish ourselves.
    pub fn handle_publication(&mut self, publication: &Publication) {
        self.learn_use(publication.kind, publication.subject, &publication.body);
    }

    fn learn_use(&mut self, kind: RecordKind, subject: [u8; 16], body: &[u8]) {
        if kind != RecordKind::GRANT_USE {
            return;
        }
        let one = GrantUse::decode(body);
        let one = one.filter(|one| one.subject() == subject);
        if let Some(over) = one.and_then(|one| self.uses.learn(&one)) {
            self.event(AdmitEvent::OverCount(over));
        }
    }

    /// A person says yes to the stranger with this code. The whole site is told, since the stranger
    /// may ask any of its nodes.
    pub fn approve(&mut self, desk: &mut Desk<'_>, code: ApprovalCode) -> Approval {
        for to in desk.sight.neighbours() {
            self.send(to, AdmissionMessage::Approved { code });
        }
        self.approve_here(desk, code)
    }

    fn approve_here(&mut self, desk: &mut Desk<'_>, code: ApprovalCode) -> Approval {
        let waiting = self
            .pending
            .iter()
            .find(|(_, pending)| pending.code == code);
        let Some((node, _)) = waiting.map(|(node, pending)| (*node, pending)) else {
            self.note_approval(desk.now, code);
            return Approval::Noted;
        };
        let Some(pending) = self.pending.remove(&node) else {
            return Approval::Noted;
        };
        let answer = self.admit(desk, &pending.request, None);
        self.answer(node, &pending.request, answer);
        Approval::Admitted(node)
    }

    fn note_approval(&mut self, now: Moment, code: ApprovalCode) {
        if self.approvals.len() >= APPROVALS_MAX && !self.approvals.contains_key(&code) {
            let oldest = self.approvals.iter().min_by_key(|(_, until_ms)| **until_ms);
            if let Some(code) = oldest.map(|(code, _)| *code) {
                self.approvals.remove(&code);
            }
        }
        self.approvals.insert(code, now.uptime_ms + APPROVAL_MS);
    }

    /// Time passed. Early or repeated calls are harmless.
    pub fn handle_timeout(&mut self, desk: &mut Desk<'_>) {
        let now_ms = desk.now.uptime_ms;
        self.approvals.retain(|_, until_ms| *until_ms > now_ms);
        self.sweep_pending(now_ms);
        self.follow_ourselves(desk);
        self.renew_ours(desk);
        self.ask_for_secrets(desk);
    }

    fn sweep_pending(&mut self, now_ms: u64) {
        let gone = |pending: &Pending| {
            now_ms >= pending.heard_ms + PENDING_MS || now_ms >= pending.since_ms + PENDING_MS_MAX
        };
        let overdue = self.pending.values().filter(|pending| gone(pending));
        let overdue: Vec<(NodeId, u64)> = overdue
            .map(|pending| (pending.node, pending.request.ask))
            .collect();
        for (node, ask) in overdue {
            self.pending.remove(&node);
            let refusal = Refusal::NotApproved;
            self.send(node, AdmissionMessage::Refused { ask, refusal });
        }
    }

    /// When `handle_timeout` is due, in milliseconds of uptime.
    pub fn next_timeout(&self) -> Option<u64> {
        let heard = self
            .pending
            .values()
            .map(|one| one.heard_ms + PENDING_MS)
            .min();
        let due = [
            Some(self.renewal.due_ms()),
            Some(self.sharing.due_ms()),
            heard,
        ];
        due.into_iter().flatten().min()
    }

    pub fn memory_bytes(&self) -> usize {
        self.pending.len() * (size_of::<Pending>() + 1200) + self.uses.memory_bytes()
    }

    fn send(&mut self, to: NodeId, message: AdmissionMessage) {
        let message = Box::new(message);
        self.outputs.push_back(AdmitOutput::Send { to, message });
    }

    fn event(&mut self, event: AdmitEvent) {
        self.outputs.push_back(AdmitOutput::Event(event));
    }
}
