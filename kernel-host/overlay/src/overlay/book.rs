//! Where peers are, and how much each may be sent.
//!
//! Does:      remembers the latest proved source address of a peer; a bucket of bytes per peer for
//!            control traffic, and one for repairs of all.
//! Does not:  decide whom to speak to.
//! Bounds:    `PEERS_MAX`; beyond, whoever was used longest ago is forgotten.
//! Trusts:    sessions for source addresses.
//! Start at:  `Book::allow`.

use core::net::SocketAddr;
use protocol::NodeId;
use protocol::peer::Channel;
use std::collections::BTreeMap;

const PEERS_MAX: usize = 512;
/// Control bytes a second that one peer may be sent, and how many may come at once.
const BYTES_PER_S: u64 = 64 << 10;
const BURST_BYTES: u64 = 128 << 10;
/// The same for streams to one peer, which carry repairs.
const REPAIR_BYTES_PER_S: u64 = 512 << 10;
const REPAIR_BURST_BYTES: u64 = 1 << 20;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    bytes: u64,
    filled_ms: u64,
}

impl Bucket {
    fn take(&mut self, now_ms: u64, rate: u64, burst: u64, bytes: u64) -> bool {
        let gained = now_ms.saturating_sub(self.filled_ms).saturating_mul(rate) / 1000;
        if gained > 0 {
            self.bytes = self.bytes.saturating_add(gained).min(burst);
            self.filled_ms = now_ms;
        }
        let allowed = self.bytes >= bytes;
        if allowed {
            self.bytes -= bytes;
        }
        allowed
    }
}

#[derive(Debug, Clone, Copy)]
struct Peer {
    address: Option<SocketAddr>,
    used_ms: u64,
    control: Bucket,
    repair: Bucket,
}

/// Addresses and buckets of peers.
#[derive(Debug, Default)]
pub struct Book {
    peers: BTreeMap<NodeId, Peer>,
}

impl Book {
    fn peer(&mut self, now_ms: u64, node: NodeId) -> &mut Peer {
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&node) {
            let oldest = self.peers.iter().min_by_key(|(_, peer)| peer.used_ms);
            if let Some(oldest) = oldest.map(|(node, _)| *node) {
                self.peers.remove(&oldest);
            }
        }
        let full = |bytes| Bucket {
            bytes,
            filled_ms: now_ms,
        };
        let peer = self.peers.entry(node).or_insert(Peer {
            address: None,
            used_ms: now_ms,
            control: full(BURST_BYTES),
            repair: full(REPAIR_BURST_BYTES),
        });
        peer.used_ms = now_ms;
        peer
    }

    /// A session proved that `node` is behind this address.
    pub fn heard(&mut self, now_ms: u64, node: NodeId, address: SocketAddr) {
        self.peer(now_ms, node).address = Some(address);
    }

    pub fn address(&self, node: NodeId) -> Option<SocketAddr> {
        self.peers.get(&node)?.address
    }

    /// The address does not work any more.
    pub fn forget(&mut self, node: NodeId) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.address = None;
        }
    }

    /// Whether so many bytes may go to this peer now.
    pub fn allow(&mut self, now_ms: u64, node: NodeId, channel: Channel, bytes: usize) -> bool {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let peer = self.peer(now_ms, node);
        match channel {
            Channel::Datagram => peer.control.take(now_ms, BYTES_PER_S, BURST_BYTES, bytes),
            Channel::Stream => {
                let (rate, burst) = (REPAIR_BYTES_PER_S, REPAIR_BURST_BYTES);
                peer.repair.take(now_ms, rate, burst, bytes)
            }
        }
    }

    pub fn memory_bytes(&self) -> usize {
        self.peers.len() * (std::mem::size_of::<Peer>() + 32)
    }
}
