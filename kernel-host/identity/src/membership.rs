//! One node's whole way: a stranger, then a member, perhaps a stranger again.
//!
//! Does:      puts `Keys`, `Joiner` and `Admitter` together; a node drives this alone.
//! Does not:  make sessions (it is told of them) or keep records (it is handed those of tokens).
//! Bounds:    those of its parts; `STRANGERS_MAX` strangers whose addresses are remembered.
//! Trusts:    its caller for seeds, and for who is alive.
//! Start at:  `Membership::handle_message`.

use crate::admitter::{AdmitEvent, AdmitOutput, Admitter, Approval, Pending};
use crate::desk::{Desk, Sight};
use crate::joiner::{JoinOutput, JoinState, Joiner};
use crate::publication::{Publication, Word};
use crate::request::Applicant;
use crate::revocation::Revocation;
use crate::ring::{Keys, News, SharedKeys, Standing, Verdict};
use crate::secret::{SecretKey, Seed, node_id};
use netcore::dice::Dice;
use overlay::Keyring;
use protocol::peer::admission::{AdmissionMessage, ApprovalCode, Refusal};
use protocol::peer::{PublicKey, Record, RecordKind, SessionKey};
use protocol::{Moment, NodeId};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

/// Strangers that can be answered. Above, the one that was heard longest ago is forgotten: it asks
/// again.
pub const STRANGERS_MAX: usize = 512;

/// What a node knows of itself before it knows anybody.
#[derive(Debug)]
pub struct MembershipConfig {
    pub secret: SecretKey,
    /// The cluster's public roots; at most two are given to an image.
    pub roots: Vec<PublicKey>,
    /// Site, name, machine, and the token if there is one.
    pub applicant: Applicant,
    /// What `MemberOutput::Save` gave, from a disk.
    pub saved: Option<Vec<u8>>,
    /// Spreads retries.
    pub seed: u64,
    /// From which a charter's key is made, should this node found its site. Nobody may guess it.
    pub charter: Seed,
}

/// What the caller should do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberOutput {
    Send {
        to: NodeId,
        message: Box<AdmissionMessage>,
    },
    /// For the console: how far we have come.
    State(JoinState),
    /// We are a member now, or no longer: what a handshake shows is another. Make sessions anew.
    Changed {
        is_member: bool,
    },
    /// A record of ours. If the store has it already, nothing is to be done.
    Publish(Publication),
    /// For the disk, beside the node's seed.
    Save(Vec<u8>),
    Event(AdmitEvent),
    /// What changed among keys. After `News::Root`, records of rights that led nowhere may be
    /// learned again.
    News(News),
}

/// A node's membership.
#[derive(Debug)]
pub struct Membership {
    keys: SharedKeys,
    applicant: Applicant,
    charter: Seed,
    dice: Dice,
    joiner: Option<Joiner>,
    admitter: Admitter,
    /// Strangers by the id that their key gives, and where they were heard, and when.
    strangers: BTreeMap<NodeId, (SocketAddr, u64)>,
    outputs: VecDeque<MemberOutput>,
}

impl Membership {
    /// Takes back what a disk kept; what can't be used is ignored, and the node joins anew.
    pub fn new(now: Moment, config: MembershipConfig) -> Self {
        let mut keys = Keys::new(config.secret, &config.applicant.site, &config.roots);
        let mut dice = Dice::new(config.seed);
        let restored = config
            .saved
            .is_some_and(|saved| keys.restore(now, &saved).is_ok());
        let mut membership = Self {
            keys: SharedKeys::new(keys),
            admitter: Admitter::new(now, dice.next_u64()),
            applicant: config.applicant,
            charter: config.charter,
            dice,
            joiner: None,
            strangers: BTreeMap::new(),
            outputs: VecDeque::new(),
        };
        match restored {
            true => membership.publish_own(),
            false => membership.start_to_join(now),
        }
        membership
    }

    /// What others need to believe us, in the order in which they can.
    fn publish_own(&mut self) {
        let own = self.keys.borrow().own().map(Publication::of_chain);
        for publication in own.into_iter().flatten() {
            self.publish(publication);
        }
    }

    fn start_to_join(&mut self, now: Moment) {
        let joiner = Joiner::new(
            now,
            &mut self.keys.borrow_mut(),
            self.applicant.clone(),
            self.dice.next_u64(),
            self.charter.clone(),
        );
        self.outputs
            .push_back(MemberOutput::State(joiner.state().clone()));
        self.joiner = Some(joiner);
    }

    /// The keys, for the overlay and for handshakes.
    pub fn keys(&self) -> SharedKeys {
        self.keys.clone()
    }

    pub fn is_member(&self) -> bool {
        self.joiner.is_none() && self.keys.borrow().is_member()
    }

    pub fn state(&self) -> JoinState {
        self.joiner
            .as_ref()
            .map_or(JoinState::Member, |joiner| joiner.state().clone())
    }

    /// Strangers that wait here for approval.
    pub fn pending(&self) -> impl Iterator<Item = &Pending> {
        self.admitter.pending()
    }

    pub fn poll_output(&mut self) -> Option<MemberOutput> {
        self.outputs.pop_front()
    }

    /// A session to this node stands; its handshake proved this.
    pub fn handle_peer(
        &mut self,
        now: Moment,
        sight: &dyn Sight,
        node: NodeId,
        standing: Standing,
    ) {
        self.work(now, sight, |desk, joiner, _| {
            if let Some(joiner) = joiner {
                joiner.handle_peer(desk, node, standing);
            }
        });
    }

    /// The session to this node ended, or can't be made.
    pub fn handle_gone(&mut self, now: Moment, sight: &dyn Sight, node: NodeId) {
        self.work(now, sight, |desk, joiner, _| {
            if let Some(joiner) = joiner {
                joiner.handle_gone(desk, node);
            }
        });
    }

    /// We refused a peer's handshake: its chain leads to no root of ours, for example.
    pub fn handle_foreign(&mut self, now: Moment, sight: &dyn Sight, refusal: Refusal) {
        self.work(now, sight, |_, joiner, _| {
            if let Some(joiner) = joiner {
                joiner.handle_foreign(refusal);
            }
        });
    }

    /// A node of our site says that our certificate fell. Only such a node is believed, and all
    /// that follows is that we ask to be let in again.
    pub fn handle_cut(&mut self, now: Moment, by: NodeId) {
        let is_believed = self.joiner.is_none() && self.keys.borrow().is_neighbour(by);
        if is_believed {
            self.leave(now);
        }
    }

    fn leave(&mut self, now: Moment) {
        self.keys.borrow_mut().resign();
        self.outputs
            .push_back(MemberOutput::Changed { is_member: false });
        self.start_to_join(now);
    }

    /// A message from a stranger at an address, whose handshake proved this session key. `None`: it
    /// is none that a stranger may send.
    pub fn handle_stranger(
        &mut self,
        now: Moment,
        sight: &dyn Sight,
        (session, address): (SessionKey, SocketAddr),
        message: AdmissionMessage,
    ) -> Option<NodeId> {
        let AdmissionMessage::Join(request) = &message else {
            return None;
        };
        if request.session != session {
            return None;
        }
        let node = node_id(&request.node);
        self.remember(now, node, address);
        self.handle_message(now, sight, node, message);
        Some(node)
    }

    fn remember(&mut self, now: Moment, node: NodeId, address: SocketAddr) {
        if self.strangers.len() >= STRANGERS_MAX && !self.strangers.contains_key(&node) {
            let oldest = self
                .strangers
                .iter()
                .min_by_key(|(_, (_, heard_ms))| *heard_ms);
            if let Some(oldest) = oldest.map(|(node, _)| *node) {
                self.strangers.remove(&oldest);
            }
        }
        self.strangers.insert(node, (address, now.uptime_ms));
    }

    /// Where a stranger was heard last, to whom something is sent.
    pub fn address_of(&self, stranger: NodeId) -> Option<SocketAddr> {
        self.strangers.get(&stranger).map(|(address, _)| *address)
    }

    /// A message from a node whose session proved that it is `from`.
    pub fn handle_message(
        &mut self,
        now: Moment,
        sight: &dyn Sight,
        from: NodeId,
        message: AdmissionMessage,
    ) {
        self.work(now, sight, |desk, joiner, admitter| match joiner {
            Some(joiner) => joiner.handle_message(desk, from, message),
            None => admitter.handle_message(desk, from, message),
        });
    }

    /// A verified record that the store has, ours or another's. All but uses of tokens are learned
    /// through `SharedKeys`.
    pub fn handle_record(&mut self, now: Moment, sight: &dyn Sight, record: &Record) {
        if record.key.kind == RecordKind::GRANT_USE {
            self.work(now, sight, |_, _, admitter| admitter.handle_use(record));
        }
    }

    /// A person says yes to the stranger with this code. `None`: we are a stranger ourselves.
    pub fn approve(
        &mut self,
        now: Moment,
        sight: &dyn Sight,
        code: ApprovalCode,
    ) -> Option<Approval> {
        self.work(now, sight, |desk, joiner, admitter| {
            joiner.is_none().then(|| admitter.approve(desk, code))
        })
    }

    /// A word of the cluster's owner, told to this node: judges it, and publishes it if it is good.
    pub fn tell(&mut self, now: Moment, sight: &dyn Sight, word: &Word) -> Verdict {
        let verdict = self.work(now, sight, |desk, _, _| match word {
            Word::Right(right) => desk.keys.learn_right(right),
            Word::Revocation(word) if word.gives_up_a_site() => desk.keys.judge_retirement(word),
            Word::Revocation(revocation) => desk.keys.learn_revocation(revocation),
        });
        if verdict == Verdict::Good {
            self.publish(word.publication());
        }
        verdict
    }

    /// The word by which our site takes a node of its own out for ever; `tell` makes it count.
    /// `None`: the node is none of our site, or we hold no charter's secret.
    pub fn revocation_of(&self, now: Moment, node: NodeId, reason: &str) -> Option<Revocation> {
        let keys = self.keys.borrow();
        let is_ours = self.keys.site_of(node) == Some(keys.site());
        keys.revocation_of(now, node, reason)
            .filter(|_| is_ours && self.is_member())
    }

    /// Time passed, or `SharedKeys` learned something. Early or repeated calls are harmless.
    pub fn handle_timeout(&mut self, now: Moment, sight: &dyn Sight) {
        self.work(now, sight, |desk, joiner, admitter| match joiner {
            Some(joiner) => joiner.handle_timeout(desk),
            None => admitter.handle_timeout(desk),
        });
    }

    /// When `handle_timeout` is due, in milliseconds of uptime.
    pub fn next_timeout(&self) -> Option<u64> {
        match &self.joiner {
            Some(joiner) => joiner.next_timeout(),
            None => self.admitter.next_timeout(),
        }
    }

    /// About how many bytes all of it takes.
    pub fn memory_bytes(&self) -> usize {
        let keys = self.keys.borrow().memory_bytes();
        keys + self.admitter.memory_bytes() + self.strangers.len() * 120
    }

    fn work<R>(
        &mut self,
        now: Moment,
        sight: &dyn Sight,
        f: impl FnOnce(&mut Desk<'_>, &mut Option<Joiner>, &mut Admitter) -> R,
    ) -> R {
        let result = {
            let keys = &mut *self.keys.borrow_mut();
            let mut desk = Desk { now, keys, sight };
            f(&mut desk, &mut self.joiner, &mut self.admitter)
        };
        self.take_joiner();
        self.take_admitter();
        self.take_news(now);
        result
    }

    fn take_joiner(&mut self) {
        let mut is_done = false;
        while let Some(output) = self.joiner.as_mut().and_then(Joiner::poll_output) {
            match output {
                JoinOutput::Send { to, message } => {
                    self.outputs.push_back(MemberOutput::Send { to, message });
                }
                JoinOutput::State(state) => self.outputs.push_back(MemberOutput::State(state)),
                JoinOutput::Joined => {
                    is_done = true;
                    self.save();
                    self.outputs
                        .push_back(MemberOutput::Changed { is_member: true });
                }
                JoinOutput::Publish(publication) => self.publish(publication),
            }
        }
        if is_done {
            self.joiner = None;
        }
    }

    /// A record of ours; the store need not tell us of it.
    fn publish(&mut self, publication: Publication) {
        self.admitter.handle_publication(&publication);
        self.outputs.push_back(MemberOutput::Publish(publication));
    }

    fn take_admitter(&mut self) {
        while let Some(output) = self.admitter.poll_output() {
            match output {
                AdmitOutput::Send { to, message } => {
                    self.outputs.push_back(MemberOutput::Send { to, message });
                }
                AdmitOutput::Publish(publication) => {
                    self.outputs.push_back(MemberOutput::Publish(publication));
                }
                AdmitOutput::Event(event) => self.outputs.push_back(MemberOutput::Event(event)),
                AdmitOutput::Save => self.save(),
            }
        }
    }

    fn save(&mut self) {
        if let Some(saved) = self.keys.borrow().saved() {
            self.outputs.push_back(MemberOutput::Save(saved));
        }
    }

    fn take_news(&mut self, now: Moment) {
        loop {
            let news = self.keys.borrow_mut().poll_news();
            let Some(news) = news else { return };
            match news {
                News::Charter(_) => self.admitter.handle_charter(now),
                News::WeAreRevoked if self.joiner.is_none() => self.fall(now),
                _ => {}
            }
            self.outputs.push_back(MemberOutput::News(news));
        }
    }

    /// Our certificate fell. If it was its charter and we hold another's secret, we sign ourselves
    /// a new one; else we are a stranger.
    fn fall(&mut self, now: Moment) {
        let can_stay = {
            let keys = self.keys.borrow();
            !keys.is_node_revoked(keys.me()) && keys.can_sign()
        };
        match can_stay {
            true => self.admitter.handle_fall(now),
            false => self.leave(now),
        }
    }
}
