//! One node among its peers: sessions, membership and the overlay as one machine.
//!
//! Does:      datagrams and messages in, what to send, save and say out; finds others by seeds and
//!            by calls into the local network; starts the overlay when this node is a member.
//! Does not:  do I/O (the rest of `peers`), or decide anything that its parts decide.
//! Bounds:    `HELLOS_PER_SECOND`, `HANDOVER_MS_MAX`, `carry::DRAFTS_MAX`; those of its parts.
//! Trusts:    its caller for the time and the seeds; sessions for who speaks.
//! Start at:  `Hub::handle_datagram`, `Hub::poll_wish`.

mod carry;
mod ledger;
mod mute;

use super::disk::DiskState;
use super::words;
use super::{PeersConfig, sight::Seen};
use identity::membership::{Membership, MembershipConfig};
use identity::publication::Publication;
use identity::ring::SharedKeys;
use identity::secret::{SecretKey, Seed};
use ledger::{Change, Ledger};
use mute::Mute;
use overlay::{Input, Overlay, Refused};
use protocol::peer::{Channel, Contact, Life, Message, site};
use protocol::{Hasher, Moment, Name, NodeId, SiteId};
use session::{Datagrams, Hello, Limits, Peer, Rng, Secret};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

/// Where the disk keeps what `Membership` saves.
pub(crate) const IDENTITY_KEY: &str = "identity";
/// Under which word people are told of the state disk.
pub(crate) const DISK_STAGE: &str = "disk";
/// Calls of others that make us open a session. More are not heard.
const HELLOS_PER_SECOND: u64 = 10;
/// Between two rounds of asking seeds and calling, while alone and later.
const CALL_MS: u64 = 2_000;
const CALL_AMONG_PEERS_MS: u64 = 30_000;
/// Others of the site get this long to take over what a node guards that says goodbye. What they
/// don't take waits for it to come back.
const HANDOVER_MS_MAX: u64 = 2_500;

/// What the I/O has to do, in this order.
#[derive(Debug)]
pub(crate) enum Wish {
    Datagram {
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    /// A message on a stream.
    Message {
        to: NodeId,
        address: SocketAddr,
        bytes: Vec<u8>,
    },
    /// To everybody on each link.
    Call(Hello),
    /// For the disk, with a number; `handle_disk` is told how far it is.
    Save {
        number: u64,
        key: String,
        value: Option<Vec<u8>>,
    },
    /// For the screens.
    Say {
        stage: &'static str,
        text: String,
    },
    /// Streams to this node, or to all, are of the past.
    Part(Option<NodeId>),
    /// This node may have restarted: what is said to it goes by a new stream.
    Renew(NodeId),
    Event(overlay::Event),
    Answer {
        ask: u64,
        answer: overlay::Answer,
    },
    /// We are a member now, or no longer.
    Membership(bool),
}

/// What was not done, and why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Messages while we are no member; by strangers that may not say them; that were refused.
    pub early: u64,
    pub from_strangers: u64,
    pub refused: u64,
    pub not_sent: u64,
    pub drafts_dropped: u64,
    pub hellos: u64,
    pub hellos_ignored: u64,
    /// What no datagram could have carried to its peer.
    pub by_stream: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Hub {
    me: NodeId,
    site: SiteId,
    site_name: Name,
    life: Life,
    keys: SharedKeys,
    datagrams: Datagrams,
    membership: Membership,
    overlay: Option<Overlay>,
    /// What the disk had for the overlay, or the last overlay left, until one starts.
    saved: Vec<(String, Vec<u8>)>,
    ledger: Ledger,
    mute: Mute,
    /// We have said goodbye; sessions end once all is said and handed over, or at this time.
    leaves_by_ms: Option<u64>,
    /// That has happened.
    has_gone: bool,
    rng: Rng,
    seeds: Vec<SocketAddr>,
    clusters: Vec<[u8; 8]>,
    address: Option<SocketAddr>,
    call_ms: u64,
    hellos_second: (u64, u64),
    drafts: VecDeque<Publication>,
    drafts_ms: u64,
    keys_changed: bool,
    crowd: words::Crowd,
    wishes: VecDeque<Wish>,
    counters: Counters,
}

impl Hub {
    pub fn new(now: Moment, config: PeersConfig) -> Self {
        let mut rng = Rng::from_seed(config.random);
        let secret = SecretKey::from_seed(&config.seed);
        let session_secret = Secret::new(*secret.session().reveal());
        let site_name = config.applicant.site.clone();
        let machine = config.applicant.machine;
        let mut saved = config.saved;
        let identity = saved.iter().position(|(key, _)| key == IDENTITY_KEY);
        let identity = identity.map(|at| saved.swap_remove(at).1);
        let clusters = config.roots.iter().map(|root| cluster_of(&root.0));
        let clusters = clusters.collect();
        let membership = Membership::new(
            now,
            MembershipConfig {
                secret,
                roots: config.roots,
                applicant: config.applicant,
                saved: identity,
                seed: seed_of(&mut rng),
                charter: Seed::new(rng.draw()),
            },
        );
        let keys = membership.keys();
        let me = keys.borrow().me();
        let mut hub = Self {
            me,
            site: site::id_of(&site_name),
            site_name,
            life: config.life,
            keys,
            datagrams: Datagrams::new(session_secret, rng.fork(), Limits::default()),
            membership,
            overlay: None,
            saved,
            ledger: Ledger::new(config.disk),
            mute: Mute::default(),
            leaves_by_ms: None,
            has_gone: false,
            rng,
            seeds: config.seeds,
            clusters,
            address: None,
            call_ms: now.uptime_ms,
            hellos_second: (0, 0),
            drafts: VecDeque::new(),
            drafts_ms: 0,
            keys_changed: false,
            crowd: words::Crowd::default(),
            wishes: VecDeque::new(),
            counters: Counters::default(),
        };
        match hub.membership.is_member() {
            true => hub.become_member(now),
            // What a list of machines needs: luc cluster admit.
            false => hub.wishes.push_back(Wish::Say {
                stage: "join",
                text: format!("this machine is {machine}"),
            }),
        }
        hub.settle(now);
        hub
    }

    pub const fn me(&self) -> NodeId {
        self.me
    }

    pub const fn site(&self) -> SiteId {
        self.site
    }

    pub const fn overlay(&self) -> Option<&Overlay> {
        self.overlay.as_ref()
    }

    pub const fn membership(&self) -> &Membership {
        &self.membership
    }

    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    pub const fn session_counters(&self) -> &session::Counters {
        self.datagrams.counters()
    }

    pub fn gate(&self) -> SharedKeys {
        self.keys.clone()
    }

    /// Dice for a stream's handshake.
    pub fn fork_rng(&mut self) -> Rng {
        self.rng.fork()
    }

    pub fn secret(&self) -> Secret {
        Secret::new(*self.keys.borrow().session().reveal())
    }

    /// Where a node is, as far as sessions or the overlay know.
    pub fn address_of(&self, now: Moment, node: NodeId) -> Option<SocketAddr> {
        let overlay = || self.overlay.as_ref()?.address_of(now, node);
        self.datagrams.address_of(node).or_else(overlay)
    }

    pub fn poll_wish(&mut self) -> Option<Wish> {
        self.wishes.pop_front()
    }

    pub fn handle_datagram(&mut self, now: Moment, from: SocketAddr, bytes: &[u8]) {
        if let Some(hello) = Hello::decode(bytes) {
            self.hear_hello(now, SocketAddr::new(from.ip(), hello.port), hello);
        } else {
            let gate = self.gate();
            self.datagrams.handle_datagram(now, &gate, from, bytes);
        }
        self.settle(now);
    }

    /// A message on a stream, whose session proved the peer.
    pub fn handle_message(&mut self, now: Moment, peer: Peer, from: SocketAddr, bytes: &[u8]) {
        // If it was the peer who connected, the port is one of the moment.
        let known = peer.node().and_then(|node| self.address_of(now, node));
        let known = known.filter(|known| known.ip() == from.ip());
        let from = known.unwrap_or_else(|| SocketAddr::new(from.ip(), session::PORT));
        self.hear(now, peer, from, (Channel::Stream, bytes));
        self.settle(now);
    }

    /// A stream to this node could not be made, or broke.
    pub fn handle_broken(&mut self, now: Moment, peer: NodeId) {
        self.mute.broken(now.uptime_ms, peer);
        let channel = Channel::Stream;
        self.tell_overlay(now, Input::Unreachable { peer, channel });
        self.settle(now);
    }

    /// Our own address in the underlay is another.
    pub fn handle_address(&mut self, now: Moment, address: Option<IpAddr>) {
        let address = address.map(|ip| SocketAddr::new(ip, session::PORT));
        if self.address != address {
            self.address = address;
            if let Some(address) = address {
                self.tell_overlay(now, Input::Address(address));
                self.call_ms = now.uptime_ms;
            }
        }
        self.settle(now);
    }

    /// Seeds that came later: by DHCP.
    pub fn handle_seeds(&mut self, now: Moment, seeds: &[SocketAddr]) {
        for seed in seeds {
            let room = self.seeds.len() < crate::arguments::SEEDS_MAX;
            if room && !self.seeds.contains(seed) {
                self.seeds.push(*seed);
                self.call_ms = now.uptime_ms;
            }
        }
        self.settle(now);
    }

    /// Something for the overlay by this node's own services.
    ///
    /// # Errors
    ///
    /// Why the overlay refused it; `None`: we are no member.
    pub fn tell(&mut self, now: Moment, input: Input<'_>) -> Result<(), Option<Refused>> {
        let result = match &mut self.overlay {
            Some(overlay) => overlay.handle_input(now, input).map_err(Some),
            None => Err(None),
        };
        self.settle(now);
        result
    }

    /// Something for the membership: an approval, or a word of the cluster's owner.
    pub fn ask_membership<R>(
        &mut self,
        now: Moment,
        ask: impl FnOnce(&mut Membership, &Seen<'_>) -> R,
    ) -> R {
        let sight = Seen::new(self.overlay.as_ref(), now);
        let answer = ask(&mut self.membership, &sight);
        self.settle(now);
        answer
    }

    /// Says goodbye to everybody, and lets others of the site guard what this node guards.
    pub fn leave(&mut self, now: Moment) {
        self.tell_overlay(now, Input::Leave);
        self.leaves_by_ms = Some(now.uptime_ms + HANDOVER_MS_MAX);
        self.settle(now);
    }

    /// After a goodbye: whether everything of it is said and done, so that the power may go off.
    pub fn has_gone(&self) -> bool {
        self.has_gone && !self.ledger.waits()
    }

    /// The disk has kept everything up to a number, or has trouble.
    pub fn handle_disk(&mut self, now: Moment, kept: u64, state: DiskState) {
        let change = self.ledger.handle_disk(now.uptime_ms, kept, state);
        self.disk_changed(now, change);
        self.settle(now);
    }

    fn disk_changed(&mut self, now: Moment, change: Change) {
        if let Some(text) = change.say {
            let stage = DISK_STAGE;
            self.wishes.push_back(Wish::Say { stage, text });
        }
        if let Some(is_fenced) = change.fence
            && self.overlay.is_some()
        {
            self.tell_overlay(now, Input::Fence(is_fenced));
        }
    }

    /// What is wrong with the disk, in words.
    pub fn disk_trouble(&self) -> Option<&str> {
        self.ledger.trouble()
    }

    /// For how long the disk has kept nothing of what it was given.
    pub fn disk_age_ms(&self, now: Moment) -> u64 {
        self.ledger.age_ms(now.uptime_ms)
    }

    /// Messages that would have waited for the disk, and were too many.
    pub const fn held_dropped(&self) -> u64 {
        self.ledger.held_dropped
    }

    pub fn handle_timeout(&mut self, now: Moment) {
        self.datagrams.handle_timeout(now);
        if due(self.membership.next_timeout(), now) {
            let sight = Seen::new(self.overlay.as_ref(), now);
            self.membership.handle_timeout(now, &sight);
        }
        if let Some(overlay) = &mut self.overlay {
            overlay.handle_timeout(now);
        }
        let change = self.ledger.handle_timeout(now.uptime_ms);
        self.disk_changed(now, change);
        if now.uptime_ms >= self.call_ms {
            self.call(now);
        }
        self.settle(now);
    }

    pub fn next_timeout(&self) -> u64 {
        let parts = [
            self.datagrams.next_timeout(),
            self.membership.next_timeout(),
            self.overlay.as_ref().and_then(Overlay::next_timeout),
            (!self.drafts.is_empty()).then_some(self.drafts_ms),
            self.crowd.due_ms(),
            self.ledger.next_timeout(),
            self.leaves_by_ms
                .filter(|_| !self.has_gone && self.ledger.is_idle()),
        ];
        let parts = parts.into_iter().flatten();
        parts.fold(self.call_ms, u64::min)
    }

    /// Asks the seeds, and calls into the links.
    fn call(&mut self, now: Moment) {
        let own = self.address;
        for seed in &self.seeds {
            if Some(*seed) != own {
                let _busy = self.datagrams.open(now, *seed); // the next round asks again
            }
        }
        if let Some(address) = own {
            for cluster in &self.clusters {
                let port = address.port();
                let cluster = *cluster;
                self.wishes.push_back(Wish::Call(Hello { cluster, port }));
            }
        }
        let nodes = self.datagrams.peers().filter_map(|(peer, _)| peer.node());
        let alone = !self.membership.is_member() || nodes.count() == 0;
        let wait_ms = if alone { CALL_MS } else { CALL_AMONG_PEERS_MS };
        self.call_ms = now.uptime_ms + wait_ms;
    }

    /// Somebody on the link calls: perhaps a node of our cluster.
    fn hear_hello(&mut self, now: Moment, from: SocketAddr, hello: Hello) {
        self.counters.hellos += 1;
        let second = now.uptime_ms / 1000;
        if self.hellos_second.0 != second {
            self.hellos_second = (second, 0);
        }
        let ours = self.clusters.contains(&hello.cluster) && Some(from) != self.address;
        if !ours || self.hellos_second.1 >= HELLOS_PER_SECOND {
            self.counters.hellos_ignored += 1;
            return;
        }
        self.hellos_second.1 += 1;
        let _busy = self.datagrams.open(now, from); // it calls again
    }

    fn tell_overlay(&mut self, now: Moment, input: Input<'_>) {
        match &mut self.overlay {
            Some(overlay) => {
                if overlay.handle_input(now, input).is_err() {
                    self.counters.refused += 1;
                }
            }
            None => self.counters.early += 1,
        }
    }

    fn hear(
        &mut self,
        now: Moment,
        peer: Peer,
        from: SocketAddr,
        (channel, bytes): (Channel, &[u8]),
    ) {
        let admission = match Message::kind_of(bytes) {
            Some(Message::ADMISSION) => match Message::decode(channel, bytes) {
                Ok(Message::Admission(message)) => Some(message),
                _ => {
                    self.counters.refused += 1;
                    return;
                }
            },
            _ => None,
        };
        let sight = Seen::new(self.overlay.as_ref(), now);
        match (peer, admission) {
            (Peer::Stranger(key), Some(message)) => {
                let heard = self
                    .membership
                    .handle_stranger(now, &sight, (key, from), message);
                self.counters.from_strangers += u64::from(heard.is_none());
            }
            (Peer::Stranger(_), None) => self.counters.from_strangers += 1,
            (Peer::Node { node, .. }, Some(message)) => {
                self.membership.handle_message(now, &sight, node, message);
            }
            (Peer::Node { node, site }, None) => {
                let address = from;
                let from = Contact {
                    node,
                    site,
                    address,
                };
                let input = Input::Message {
                    from,
                    channel,
                    bytes,
                };
                self.tell_overlay(now, input);
            }
        }
    }
}

fn due(at_ms: Option<u64>, now: Moment) -> bool {
    at_ms.is_some_and(|at_ms| now.uptime_ms >= at_ms)
}

fn seed_of(rng: &mut Rng) -> u64 {
    u64::from(rng.next_u32()) << 32 | u64::from(rng.next_u32())
}

/// What a hello says of its cluster.
fn cluster_of(root: &[u8; 32]) -> [u8; 8] {
    let mut hasher = Hasher::new();
    hasher.update(b"luc hello\0");
    hasher.update(root);
    let mut start = [0; 8];
    start.copy_from_slice(&hasher.finish().bytes()[..8]);
    start
}
