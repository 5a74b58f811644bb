//! A node among its peers: what carries the overlay over the network.
//!
//! Does:      one UDP port on each card for sealed datagrams and calls into the link, one TCP port
//!            for sealed streams; performs what `Hub` wants, in its order.
//! Does not:  exist on a node without a cluster, which runs alone as ever.
//! Bounds:    those of `hub`, `streams` and `netio`.
//! Trusts:    nobody on the wire; the disk for what it kept.
//! Start at:  `PeersConfig`, `Transport::new`, `serve`; for the rest of the node:
//!            `circle`.

mod circle;
mod config;
pub(super) mod disk;
mod hub;
pub(super) mod late;
mod pipe;
pub mod seeds;
mod sight;
mod streams;
mod words;

#[cfg(test)]
mod tests;

pub use config::PeersConfig;
pub(crate) use late::{Late, begin};

use super::{Clock, Node};
use crate::bell::Bell;
use disk::Keeper;
use hub::{DISK_STAGE, Hub, Wish};
use netio::executor::{Either, race};
use netio::host::{DirectUdp, HostStack};
use overlay::{Input, Overlay, Refused};
use protocol::{Moment, NodeId, SiteId};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::{Rc, Weak};
use streams::Lanes;

/// See the module.
#[derive(Debug)]
pub(crate) struct Transport {
    hub: RefCell<Hub>,
    clock: Clock,
    lanes: Lanes,
    keeper: Option<Keeper>,
    wires: RefCell<BTreeMap<String, Wire>>,
    bell: Bell,
    /// Rings when an event or an answer of the overlay waits in `news`.
    pub news_bell: Bell,
    news: RefCell<VecDeque<News>>,
    acting: Cell<bool>,
    unroutable: Cell<u64>,
    news_dropped: Cell<u64>,
}

/// What other services of the node want to know.
#[derive(Debug)]
pub(crate) enum News {
    Event(overlay::Event),
    #[allow(dead_code, reason = "for services that ask registers and the table")]
    Answer {
        ask: u64,
        answer: overlay::Answer,
    },
    Membership(bool),
}

/// News that nobody has read. One more drops the oldest, and readers look at the state itself.
const NEWS_MAX: usize = 4096;

/// One card.
#[derive(Debug)]
struct Wire {
    udp: Weak<DirectUdp>,
    stack: HostStack,
}

impl Transport {
    /// `keeper`: of the disk that the configuration names.
    pub fn new(clock: Clock, config: PeersConfig, keeper: Option<Keeper>) -> Self {
        Self {
            hub: RefCell::new(Hub::new(clock.now(), config)),
            clock,
            lanes: Lanes::default(),
            keeper,
            wires: RefCell::default(),
            bell: Bell::default(),
            news_bell: Bell::default(),
            news: RefCell::default(),
            acting: Cell::new(false),
            unroutable: Cell::new(0),
            news_dropped: Cell::new(0),
        }
    }

    /// This node, by its key.
    pub fn me(&self) -> NodeId {
        self.hub.borrow().me()
    }

    /// The site that this node belongs to, or wants to.
    pub fn site(&self) -> SiteId {
        self.hub.borrow().site()
    }

    /// The next thing that happened in the overlay; `news_bell` rings for it.
    pub fn poll_news(&self) -> Option<News> {
        self.news.borrow_mut().pop_front()
    }

    /// What this node waits for before it is a member, or a whole one.
    pub fn waits_for(&self) -> Option<String> {
        let hub = self.hub.borrow();
        let membership = hub.membership();
        let advice = |state: &identity::joiner::JoinState| match state.advice() {
            advice if advice.is_empty() => state.reason(),
            advice => format!("{}. {advice}", state.reason()),
        };
        if !membership.is_member() {
            let state = membership.state();
            return Some(format!("membership: it {}", advice(&state)));
        }
        let trouble = hub.disk_trouble();
        trouble.map(|trouble| format!("its state disk {trouble}"))
    }

    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let hub = self.hub.borrow();
        let (own, sessions) = (hub.counters(), hub.session_counters());
        let (commits, waiting) = self.keeper.as_ref().map_or((0, 0), Keeper::figures);
        vec![
            ("peer_datagrams_sent", sessions.sent),
            ("peer_datagrams_received", sessions.received),
            ("peer_handshakes", sessions.established),
            ("peer_handshakes_unanswered", sessions.unanswered),
            ("peer_handshakes_refused", sessions.refused),
            ("peer_cookies_sent", sessions.cookies_sent),
            ("peer_bad_seals", sessions.bad_seal),
            ("peer_replays", sessions.replayed),
            ("peer_malformed", sessions.malformed),
            ("peer_messages_early", own.early),
            ("peer_messages_of_strangers", own.from_strangers),
            ("peer_messages_refused", own.refused),
            ("peer_messages_not_sent", own.not_sent),
            ("peer_datagrams_by_stream", own.by_stream),
            ("peer_hellos", own.hellos),
            ("peer_hellos_ignored", own.hellos_ignored),
            ("peer_unroutable", self.unroutable.get()),
            ("peer_lanes", self.lanes.count() as u64),
            ("peer_lanes_broken", self.lanes.broken.get()),
            ("peer_lanes_renewed", self.lanes.renewed.get()),
            ("peer_lane_messages_dropped", self.lanes.dropped.get()),
            ("peer_news_dropped", self.news_dropped.get()),
            ("peer_messages_held_dropped", hub.held_dropped()),
            ("state_disk_commits", commits),
            ("state_disk_waiting_bytes", waiting as u64),
            ("state_disk_stalled_ms", hub.disk_age_ms(self.clock.now())),
        ]
    }

    fn tell(&self, news: News) {
        let mut queue = self.news.borrow_mut();
        if queue.len() >= NEWS_MAX {
            queue.pop_front();
            self.news_dropped.set(self.news_dropped.get() + 1);
        }
        queue.push_back(news);
        drop(queue);
        self.news_bell.ring();
    }

    /// Sends a datagram by the card whose link or gateway leads there.
    fn send(&self, to: SocketAddr, bytes: &[u8]) {
        let sent = streams::v4(to).is_some_and(|to| {
            let wires = self.wires.borrow();
            let ports = || wires.values().filter_map(|wire| wire.udp.upgrade());
            let port = ports().find(|port| port.is_neighbour(*to.ip()));
            let port = port.or_else(|| ports().find(|port| port.reaches(*to.ip())));
            port.is_some_and(|port| port.send(bytes, to))
        });
        if !sent {
            self.unroutable.set(self.unroutable.get() + 1);
        }
    }

    fn call(&self, hello: session::Hello) {
        let wires = self.wires.borrow();
        for port in wires.values().filter_map(|wire| wire.udp.upgrade()) {
            port.send_to_all(&hello.encode());
        }
    }
}

impl Node {
    /// Tells all peers that this node goes.
    pub fn leave_peers(self: &Rc<Self>) {
        act(self, Hub::leave);
    }

    /// Looks into the overlay. `None`: this node is no member of a cluster.
    pub fn overlay<R>(&self, look: impl FnOnce(&Overlay, Moment) -> R) -> Option<R> {
        let hub = self.transport.as_ref()?.hub.borrow();
        hub.overlay().map(|overlay| look(overlay, self.now()))
    }

    /// Gives the overlay something to publish or to ask.
    ///
    /// # Errors
    ///
    /// Why it was refused; `None`: this node is no member of a cluster.
    pub fn tell_overlay(self: &Rc<Self>, input: Input<'_>) -> Result<(), Option<Refused>> {
        act(self, |hub, now| hub.tell(now, input)).unwrap_or(Err(None))
    }

    /// Asks the membership, such as for approving a stranger. `None`: this node has no cluster.
    pub fn ask_membership<R>(
        self: &Rc<Self>,
        ask: impl FnOnce(&mut identity::membership::Membership, Moment, &dyn identity::desk::Sight) -> R,
    ) -> Option<R> {
        act(self, |hub, now| {
            hub.ask_membership(now, |membership, sight| ask(membership, now, sight))
        })
    }

    /// The address by which peers reach this node has changed.
    pub fn tell_peers_address(self: &Rc<Self>) {
        let address = self.standing.borrow().first_address();
        act(self, |hub, now| hub.handle_address(now, address));
    }

    /// The DHCP server's option 43 may name nodes to ask.
    pub fn tell_peers_seeds(self: &Rc<Self>, vendor: &[u8]) {
        let seeds = seeds::of_lease(vendor);
        if self.transport.as_ref().is_none() {
            self.transport.note_seeds(&seeds);
        } else if !seeds.is_empty() {
            act(self, |hub, now| hub.handle_seeds(now, &seeds));
        }
    }
}

/// Does something with the hub, then what it wants.
fn act<R>(node: &Rc<Node>, f: impl FnOnce(&mut Hub, Moment) -> R) -> Option<R> {
    let peers = node.transport.as_ref()?;
    let result = f(&mut peers.hub.borrow_mut(), node.now());
    perform(node, peers);
    peers.bell.ring();
    Some(result)
}

/// Performs all wishes. One that makes the hub want more is followed by what it wants: the loop of
/// the outermost call does it.
fn perform(node: &Rc<Node>, peers: &Transport) {
    if peers.acting.replace(true) {
        return;
    }
    loop {
        // A binding of its own: the borrow must end before the wish is performed.
        let wish = peers.hub.borrow_mut().poll_wish();
        let Some(wish) = wish else { break };
        perform_one(node, peers, wish);
    }
    peers.acting.set(false);
    let waits_for = peers.waits_for();
    if node.standing.borrow_mut().set_joining(waits_for) {
        node.publish();
    }
}

fn perform_one(node: &Rc<Node>, peers: &Transport, wish: Wish) {
    match wish {
        Wish::Datagram { to, bytes } => peers.send(to, &bytes),
        Wish::Message { to, address, bytes } => streams::send(node, to, address, bytes),
        Wish::Call(hello) => peers.call(hello),
        Wish::Save { number, key, value } => {
            if let Some(keeper) = &peers.keeper {
                keeper.put(number, key, value);
            }
        }
        Wish::Say {
            stage: DISK_STAGE,
            text,
        } => {
            node.line(DISK_STAGE, &text);
            let name = node.standing.borrow().name().to_owned();
            node.saw("node", Some(peers.me()), &name, &text);
        }
        Wish::Say {
            stage: "joined",
            text,
        } => node.parent.stage("joined", &text),
        Wish::Say { stage, text } => node.line(stage, &text),
        Wish::Part(whom) => peers.lanes.part(whom),
        Wish::Renew(whom) => streams::renew(node, whom),
        Wish::Event(event) => peers.tell(News::Event(event)),
        Wish::Answer { ask, answer } => peers.tell(News::Answer { ask, answer }),
        Wish::Membership(is_member) => peers.tell(News::Membership(is_member)),
    }
}

/// Keeps the hub's deadlines.
pub(crate) async fn deadlines(node: Rc<Node>) {
    let Some(peers) = node.transport.as_ref() else {
        return;
    };
    perform(&node, peers); // what it wanted from the start
    loop {
        let seen = peers.bell.rings();
        let at_ms = peers.hub.borrow().next_timeout();
        if at_ms <= node.executor.now_ms() {
            act(&node, Hub::handle_timeout);
            continue;
        }
        let _rung = race(peers.bell.after(seen), node.executor.sleep_until(at_ms)).await;
    }
}

/// Serves peers on one card for as long as its stack lives.
///
/// # Errors
///
/// The port is taken, or the stack is gone.
pub(crate) async fn serve(node: Rc<Node>, nic: String, stack: HostStack) -> io::Result<()> {
    let peers = node.transport.there().await;
    let udp = Rc::new(DirectUdp::bind(&stack, session::PORT)?);
    let wire = Wire {
        udp: Rc::downgrade(&udp),
        stack: stack.clone(),
    };
    peers.wires.borrow_mut().insert(nic.clone(), wire);
    let _plugged = Plugged {
        node: node.clone(),
        nic,
    };
    let accept = streams::accept(node.clone(), stack);
    match race(receive(node.clone(), udp), accept).await {
        Either::Left(never) => match never {},
        Either::Right(result) => result,
    }
}

/// Forgets the card when its task ends, also by force.
struct Plugged {
    node: Rc<Node>,
    nic: String,
}

impl Drop for Plugged {
    fn drop(&mut self) {
        if let Some(peers) = self.node.transport.as_ref() {
            peers.wires.borrow_mut().remove(&self.nic);
        }
    }
}

async fn receive(node: Rc<Node>, udp: Rc<DirectUdp>) -> std::convert::Infallible {
    loop {
        let received = udp.receive().await;
        let from = SocketAddr::V4(received.from);
        act(&node, |hub, now| {
            hub.handle_datagram(now, from, &received.bytes)
        });
    }
}

/// The stack whose link or gateway leads to an address.
fn wire_to(node: &Node, to: Ipv4Addr) -> Option<HostStack> {
    let wires = node.transport.as_ref()?.wires.borrow();
    let ports = || {
        wires
            .values()
            .filter_map(|wire| Some((wire.udp.upgrade()?, wire)))
    };
    let near = ports().find(|(udp, _)| udp.is_neighbour(to));
    let wire = near.or_else(|| ports().find(|(udp, _)| udp.reaches(to)));
    wire.map(|(_, wire)| wire.stack.clone())
}
