//! The transport, which comes later than the node: it needs the key, and that may lie on a disk.
//!
//! Does:      lets network and API start before it is known who this node is; then brings the
//!            transport up with what came meanwhile.
//! Does not:  change who the node is once it has been said.
//! Bounds:    `SEEDS_MAX` seeds that DHCP named meanwhile.
//! Trusts:    `disk::search`.
//! Start at:  `begin`.

use super::disk::{self, Keeper};
use super::{PeersConfig, Transport, act, circle, config, deadlines};
use crate::arguments::SEEDS_MAX;
use crate::bell::Bell;
use crate::service::Node;
use protocol::NodeId;
use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Late {
    transport: OnceCell<Transport>,
    /// It is known who this node is, or that this will take long.
    is_decided: Cell<bool>,
    bell: Bell,
    seeds: RefCell<Vec<SocketAddr>>,
}

impl Late {
    /// `None`: not yet, or the node runs alone.
    pub fn as_ref(&self) -> Option<&Transport> {
        self.transport.get()
    }

    /// The transport comes only once.
    pub fn set(&self, transport: Transport) {
        let _second = self.transport.set(transport);
        self.decide();
    }

    /// Lets those go on who wait for `decided`.
    pub fn decide(&self) {
        self.is_decided.set(true);
        self.bell.ring();
    }

    /// Until the node may show itself.
    pub async fn decided(&self) {
        loop {
            let seen = self.bell.rings();
            if self.is_decided.get() {
                return;
            }
            self.bell.after(seen).await;
        }
    }

    /// Until there is a transport; on a node that runs alone for ever.
    pub async fn there(&self) -> &Transport {
        loop {
            let seen = self.bell.rings();
            if let Some(transport) = self.as_ref() {
                return transport;
            }
            self.bell.after(seen).await;
        }
    }

    /// Seeds that are named before anybody can ask them.
    pub fn note_seeds(&self, seeds: &[SocketAddr]) {
        let mut noted = self.seeds.borrow_mut();
        for seed in seeds {
            if noted.len() < SEEDS_MAX && !noted.contains(seed) {
                noted.push(*seed);
            }
        }
    }
}

/// Finds out who this node is; then its life among peers. On a node without a cluster it ends at
/// once.
pub(crate) async fn begin(node: Rc<Node>) {
    if !PeersConfig::is_wanted(&node.arguments) {
        node.transport.decide();
        return;
    }
    let own = match make(&node).await {
        Ok((transport, own)) => {
            be(&node, transport.me());
            node.transport.set(transport);
            own
        }
        Err(error) => {
            node.line("error", &format!("this node runs alone: {error}"));
            node.standing.borrow_mut().set_joining(None);
            node.publish();
            node.transport.decide();
            return;
        }
    };
    let seeds = node.transport.seeds.take();
    act(&node, |hub, now| hub.handle_seeds(now, &seeds));
    node.tell_peers_address();
    for started in [
        node.executor.spawn_detached(circle::follow(node.clone())),
        node.executor.spawn_detached(keep(node.clone())),
        node.executor.spawn_detached(disk::watch(node.clone(), own)),
    ] {
        if let Err(error) = started {
            panic!("the node can't live among its peers: {error}");
        }
    }
    deadlines(node).await;
}

async fn make(node: &Rc<Node>) -> Result<(Transport, Option<String>), String> {
    PeersConfig::check(&node.arguments)?;
    let kept = disk::search(node, config::random()?).await?;
    let (config, store) = PeersConfig::of(&node.arguments, kept)?;
    let own = config.disk.clone();
    let keeper = store
        .map(Keeper::start)
        .transpose()
        .map_err(|error| format!("no thread for the state disk: {error}"))?;
    Ok((Transport::new(node.clock.clone(), config, keeper), own))
}

/// From now on the node is known by its key. What it ran before under another name goes with it.
pub(crate) fn be(node: &Rc<Node>, id: NodeId) {
    node.facts.id.set(id);
    node.cloud.borrow_mut().rename(id);
}

/// Tells the hub how far the disk is. On a node without one it ends at once.
pub(crate) async fn keep(node: Rc<Node>) {
    let Some(keeper) = node
        .transport
        .as_ref()
        .and_then(|peers| peers.keeper.as_ref())
    else {
        return;
    };
    loop {
        let (kept, state) = keeper.news().await;
        act(&node, |hub, now| hub.handle_disk(now, kept, state));
    }
}

impl Node {
    /// After `leave_peers`: waits until the site guards without this node and all that was to be
    /// kept is on the disk, but not longer than this.
    pub async fn until_gone(&self, limit_ms: u64) {
        let Some(peers) = self.transport.as_ref() else {
            return;
        };
        let gone = async {
            loop {
                let seen = peers.bell.rings();
                if peers.hub.borrow().has_gone() {
                    return;
                }
                peers.bell.after(seen).await;
            }
        };
        let _slow = self.executor.timeout(limit_ms, gone).await;
    }
}
