//! Streams to peers: made when something is to be said, parted when nothing is.
//!
//! Does:      one lane for each peer, both ways, whoever connected; a lane that can't be made or
//!            breaks is told to the hub; a peer that may have restarted gets a new one, for what is
//!            written into its old one is lost; HTTP streams in (to the API) and out.
//! Does not:  repeat messages: the overlay does, or does not want them any more.
//! Bounds:    `LANES_MAX`, `BESIDE_MAX`, `INCOMING_MAX`, `QUEUE_MAX` messages and `QUEUE_BYTES_MAX`
//!            a lane. What is above is dropped and counted; a lane idle for `IDLE_MS` ends.
//! Trusts:    the gate; strangers get no stream.
//! Start at:  `send`, `accept`.

use super::pipe::{Door, PeerStream};
use super::{act, wire_to};
use crate::bell::Bell;
use crate::service::{Node, server};
use netio::executor::{Either, race};
use netio::host::{HostStack, TcpListener, TcpStream, tcp_connect};
use protocol::NodeId;
use session::stream::HANDSHAKE_MS;
use session::{Peer, Purpose};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

/// Peers with a lane. For one more, its message is dropped, and the peer counts as unreachable.
const LANES_MAX: usize = 96;
/// Lanes beside those that are written to: only read, until nothing comes. One more ends at once.
const BESIDE_MAX: usize = 96;
/// A lane beside another without a message for so long ends.
const BESIDE_MS: u64 = 5_000;
/// Two nodes may connect to each other at once; who connects so much later than the lane was made
/// has lost its end of it.
const AT_ONCE_MS: u64 = 5_000;
/// Streams that peers have opened, also those that shake hands still. More wait in the backlog.
const INCOMING_MAX: usize = 96;
const BACKLOG: usize = 16;
/// Messages that wait for a lane.
const QUEUE_MAX: usize = 256;
const QUEUE_BYTES_MAX: usize = 2 << 20;
/// A lane without a message for so long ends.
const IDLE_MS: u64 = 60_000;
/// TCP's own handshake; without an answer the peer is unreachable.
const CONNECT_MS: u64 = 4_000;
/// Nothing of what is written is taken for so long: the peer is gone.
const STALL_MS: u64 = 15_000;
const FULL_PAUSE_MS: u64 = 50;

/// Messages on their way to one peer.
#[derive(Debug, Default)]
struct Lane {
    queue: RefCell<VecDeque<Vec<u8>>>,
    bytes: Cell<usize>,
    bell: Bell,
    parting: Cell<bool>,
    /// Another lane is written to.
    beside: Cell<bool>,
    born_ms: u64,
}

/// All lanes.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    by_node: RefCell<BTreeMap<NodeId, Rc<Lane>>>,
    beside: RefCell<Vec<(NodeId, Weak<Lane>)>>,
    incoming: Cell<usize>,
    pub dropped: Cell<u64>,
    pub broken: Cell<u64>,
    pub renewed: Cell<u64>,
}

impl Lane {
    fn new(born_ms: u64) -> Rc<Self> {
        Rc::new(Self {
            born_ms,
            ..Self::default()
        })
    }

    fn part(&self) {
        self.parting.set(true);
        self.bell.ring();
    }

    /// `false`: it is full.
    fn push(&self, bytes: Vec<u8>) -> bool {
        let total = self.bytes.get() + bytes.len();
        if self.queue.borrow().len() >= QUEUE_MAX || total > QUEUE_BYTES_MAX {
            return false;
        }
        self.bytes.set(total);
        self.queue.borrow_mut().push_back(bytes);
        self.bell.ring();
        true
    }

    /// Moves queued messages into the stream while it has room.
    fn pour(&self, stream: &PeerStream) -> bool {
        let mut moved = false;
        let mut queue = self.queue.borrow_mut();
        while let Some(message) = queue.front() {
            if stream.put_message(message).is_err() {
                break;
            }
            self.bytes.set(self.bytes.get() - message.len());
            queue.pop_front();
            moved = true;
        }
        moved
    }
}

impl Lanes {
    fn find(&self, node: NodeId) -> Option<Rc<Lane>> {
        self.by_node.borrow().get(&node).cloned()
    }

    /// Whether the lane was the one that is written to.
    fn remove(&self, node: NodeId, lane: &Rc<Lane>) -> bool {
        let mut lanes = self.by_node.borrow_mut();
        let was = lanes.get(&node).is_some_and(|one| Rc::ptr_eq(one, lane));
        if was {
            lanes.remove(&node);
        }
        was
    }

    /// Ends the lanes of a node, or all: what their handshakes showed no longer holds.
    pub fn part(&self, node: Option<NodeId>) {
        let goes = |one: NodeId| node.is_none_or(|node| node == one);
        let mut lanes = self.by_node.borrow_mut();
        let parted = lanes.extract_if(.., |one, _| goes(*one));
        parted.for_each(|(_, lane)| lane.part());
        let beside = self.beside.borrow();
        let beside = beside.iter().filter(|(one, _)| goes(*one));
        beside
            .filter_map(|(_, lane)| lane.upgrade())
            .for_each(|lane| lane.part());
    }

    /// From now on the lane is only read.
    fn put_beside(&self, node: NodeId, lane: &Rc<Lane>) {
        let mut beside = self.beside.borrow_mut();
        beside.retain(|(_, lane)| lane.strong_count() > 0);
        lane.beside.set(true);
        lane.bell.ring();
        if beside.len() < BESIDE_MAX {
            beside.push((node, Rc::downgrade(lane)));
        } else {
            lane.part();
        }
    }

    /// A stream that a peer has opened. It is written to, unless the one that is was made at the
    /// same time.
    fn take_in(&self, peer: NodeId, new: &Rc<Lane>) {
        let mut lanes = self.by_node.borrow_mut();
        let Some(old) = lanes.get(&peer) else {
            lanes.insert(peer, new.clone());
            return;
        };
        if new.born_ms < old.born_ms + AT_ONCE_MS {
            self.put_beside(peer, new);
            return;
        }
        let old = old.clone();
        lanes.insert(peer, new.clone());
        new.bytes.set(old.bytes.take());
        new.queue.swap(&old.queue);
        self.put_beside(peer, &old);
        self.renewed.set(self.renewed.get() + 1);
    }

    pub fn count(&self) -> usize {
        self.by_node.borrow().len()
    }
}

/// Sends a message to a peer, over the lane that there is or a new one.
pub(crate) fn send(node: &Rc<Node>, to: NodeId, address: SocketAddr, bytes: Vec<u8>) {
    let Some(peers) = node.transport.as_ref() else {
        return;
    };
    let lanes = &peers.lanes;
    if let Some(lane) = lanes.find(to) {
        if !lane.push(bytes) {
            lanes.dropped.set(lanes.dropped.get() + 1);
        }
        return;
    }
    let lane = Lane::new(node.executor.now_ms());
    let room = lanes.count() < LANES_MAX && lane.push(bytes);
    if room {
        lanes.by_node.borrow_mut().insert(to, lane.clone());
        let task = dial(node.clone(), to, address, lane.clone());
        if node.executor.spawn_detached(task).is_ok() {
            return;
        }
        lanes.remove(to, &lane);
    }
    lanes.dropped.set(lanes.dropped.get() + 1);
}

/// What is said to a peer from now on goes by a new lane. What waited goes first.
pub(crate) fn renew(node: &Rc<Node>, peer: NodeId) {
    let Some(peers) = node.transport.as_ref() else {
        return;
    };
    let (lanes, now_ms) = (&peers.lanes, node.executor.now_ms());
    let Some(old) = lanes.find(peer) else {
        return;
    };
    if now_ms < old.born_ms + AT_ONCE_MS {
        return; // as new as the session
    }
    lanes.remove(peer, &old);
    lanes.put_beside(peer, &old);
    lanes.renewed.set(lanes.renewed.get() + 1);
    let waiting = old.queue.take();
    old.bytes.set(0);
    let address = peers.hub.borrow().address_of(node.now(), peer);
    if let Some(address) = address {
        for bytes in waiting {
            send(node, peer, address, bytes);
        }
    }
}

async fn dial(node: Rc<Node>, to: NodeId, address: SocketAddr, lane: Rc<Lane>) {
    let result = match connect(&node, to, address, Purpose::Overlay).await {
        Ok(stream) => serve_lane(&node, to, &stream, &lane).await,
        Err(error) => Err(error),
    };
    end_lane(&node, to, &lane, result.is_err());
}

fn end_lane(node: &Rc<Node>, peer: NodeId, lane: &Rc<Lane>, broken: bool) {
    let Some(peers) = node.transport.as_ref() else {
        return;
    };
    let was_written = peers.lanes.remove(peer, lane);
    if broken && was_written {
        peers.lanes.broken.set(peers.lanes.broken.get() + 1);
        act(node, |hub, now| hub.handle_broken(now, peer));
    }
}

/// A stream to this very node.
async fn connect(
    node: &Rc<Node>,
    to: NodeId,
    address: SocketAddr,
    purpose: Purpose,
) -> io::Result<PeerStream> {
    let unreachable = || io::Error::from(io::ErrorKind::HostUnreachable);
    let SocketAddr::V4(target) = address else {
        return Err(unreachable());
    };
    let stack = wire_to(node, *target.ip()).ok_or_else(unreachable)?;
    let (executor, door) = (&node.executor, door(node).ok_or_else(unreachable)?);
    let tcp = executor.timeout(CONNECT_MS, tcp_connect(&stack, target));
    let tcp = tcp.await.map_err(io::Error::other)??;
    let stream = executor.timeout(HANDSHAKE_MS, PeerStream::connect(tcp, door, purpose));
    let stream = stream.await.map_err(io::Error::other)??;
    match stream.peer() {
        Peer::Node { node, .. } if node == to => Ok(stream),
        _ => Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("another node is at {address}"),
        )),
    }
}

fn door(node: &Node) -> Option<Door> {
    let mut hub = node.transport.as_ref()?.hub.borrow_mut();
    Some(Door {
        secret: hub.secret(),
        rng: hub.fork_rng(),
        gate: hub.gate(),
        clock: node.clock.clone(),
    })
}

/// A stream on which this node's API answers as HTTP/1.1, for forwarded requests.
///
/// # Errors
///
/// The node is not known, or can't be reached.
pub(crate) async fn open_http(node: &Rc<Node>, to: NodeId) -> io::Result<PeerStream> {
    let peers = node.transport.as_ref();
    let address = peers.and_then(|peers| peers.hub.borrow().address_of(node.now(), to));
    let address = address.ok_or_else(|| {
        let text = format!("no address of {} is known", to.short());
        io::Error::new(io::ErrorKind::NotFound, text)
    })?;
    connect(node, to, address, Purpose::Http).await
}

/// A place among the streams that peers opened; free again when dropped.
struct Place(Rc<Node>);

impl Place {
    fn take(node: &Rc<Node>) -> Option<Place> {
        let incoming = &node.transport.as_ref()?.lanes.incoming;
        (incoming.get() < INCOMING_MAX).then(|| {
            incoming.set(incoming.get() + 1);
            Place(node.clone())
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(peers) = self.0.transport.as_ref() {
            peers.lanes.incoming.set(peers.lanes.incoming.get() - 1);
        }
    }
}

/// Takes the streams of peers on one card for as long as its stack lives.
pub(crate) async fn accept(node: Rc<Node>, stack: HostStack) -> io::Result<()> {
    let mut listener = TcpListener::bind(&stack, session::PORT, BACKLOG)?;
    loop {
        let Some(place) = Place::take(&node) else {
            node.executor.sleep(FULL_PAUSE_MS).await;
            continue;
        };
        let tcp = listener.accept().await?;
        // At the executor's limit the stream is dropped, and its peer tries again.
        let _full = node
            .executor
            .spawn_detached(welcome(node.clone(), tcp, place));
    }
}

async fn welcome(node: Rc<Node>, tcp: TcpStream, place: Place) {
    let Some(door) = door(&node) else { return };
    let shaken = node
        .executor
        .timeout(HANDSHAKE_MS, PeerStream::accept(tcp, door))
        .await;
    let Ok(Ok(stream)) = shaken else { return };
    let Peer::Node { node: peer, .. } = stream.peer() else {
        return; // strangers say what they have to say in datagrams
    };
    match stream.purpose() {
        Purpose::Http => server::serve_peer(node.clone(), Box::new(stream)).await,
        Purpose::Overlay => {
            let lane = Lane::new(node.executor.now_ms());
            if let Some(peers) = node.transport.as_ref() {
                peers.lanes.take_in(peer, &lane);
            }
            let result = serve_lane(&node, peer, &stream, &lane).await;
            end_lane(&node, peer, &lane, result.is_err());
        }
    }
    drop(place);
}

/// What happened on a lane.
enum Turn {
    Message(Vec<u8>),
    /// Another lane is written to from now on.
    Beside,
    End,
}

/// Moves messages both ways until one side ends, or nothing moves.
async fn serve_lane(
    node: &Rc<Node>,
    peer: NodeId,
    stream: &PeerStream,
    lane: &Lane,
) -> io::Result<()> {
    let mut is_beside = false;
    loop {
        let waits = !lane.queue.borrow().is_empty();
        let limit_ms = match (waits, is_beside) {
            (true, _) => STALL_MS,
            (false, true) => BESIDE_MS,
            (false, false) => IDLE_MS,
        };
        let turn = poll_fn(|cx| poll_lane(stream, lane, is_beside, cx));
        match race(turn, node.executor.sleep(limit_ms)).await {
            Either::Left(Ok(Turn::Message(bytes))) => {
                let (from, whom) = (stream.address(), stream.peer());
                act(node, |hub, now| hub.handle_message(now, whom, from, &bytes));
            }
            Either::Left(Ok(Turn::Beside)) => is_beside = true,
            Either::Left(Ok(Turn::End)) => return Ok(()),
            Either::Left(Err(error)) => return Err(error),
            Either::Right(()) if lane.queue.borrow().is_empty() => {
                stream.finish();
                return Ok(());
            }
            Either::Right(()) => {
                let text = format!("{} takes nothing", peer.short());
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
        }
    }
}

fn poll_lane(
    stream: &PeerStream,
    lane: &Lane,
    is_beside: bool,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Turn>> {
    lane.bell.register(cx.waker());
    loop {
        if lane.parting.get() {
            return Poll::Ready(Ok(Turn::End));
        }
        if lane.beside.get() && !is_beside {
            return Poll::Ready(Ok(Turn::Beside));
        }
        let poured = lane.pour(stream);
        match stream.poll_message(cx) {
            Poll::Ready(Ok(Some(message))) => return Poll::Ready(Ok(Turn::Message(message))),
            Poll::Ready(Ok(None)) => return Poll::Ready(Ok(Turn::End)),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending if poured => {}
            Poll::Pending => return Poll::Pending,
        }
    }
}

/// The address as TCP wants it.
pub(crate) const fn v4(address: SocketAddr) -> Option<SocketAddrV4> {
    match address {
        SocketAddr::V4(address) => Some(address),
        SocketAddr::V6(_) => None,
    }
}
