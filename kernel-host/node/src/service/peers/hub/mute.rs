//! Peers that no datagram reaches: what would be a datagram goes by stream.
//!
//! Does:      remembers addresses where no handshake of datagrams was answered; sends by stream
//!            there, and tries datagrams again from time to time.
//! Does not:  try streams to who does not answer those either, but once in a long while: most such
//!            nodes are switched off.
//! Bounds:    `MUTE_MAX` addresses; for one more the one used longest ago is forgotten.
//! Trusts:    sessions for who does not answer.
//! Start at:  `Mute::way`.

use protocol::NodeId;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// A site behind a firewall that lets no UDP through has fewer nodes that we link to.
pub(super) const MUTE_MAX: usize = 64;
/// Between two attempts to get a datagram through.
pub(super) const RETRY_MS: u64 = 60_000;
/// After a stream could not be made either.
pub(super) const DEAF_MS: u64 = 300_000;

#[derive(Debug)]
struct Silence {
    node: Option<NodeId>,
    used_ms: u64,
    /// When a datagram is tried again, or, if it is deaf, a stream.
    retry_ms: u64,
    /// No stream can be made either.
    is_deaf: bool,
}

/// How something reaches an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Datagram,
    Stream,
    /// By stream, and it is time to see whether datagrams pass again.
    StreamAndTry,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Mute {
    silent: BTreeMap<SocketAddr, Silence>,
}

impl Mute {
    /// No handshake was answered there.
    pub fn unanswered(&mut self, now_ms: u64, address: SocketAddr) {
        if self.silent.contains_key(&address) {
            return;
        }
        if self.silent.len() >= MUTE_MAX {
            let oldest = self.silent.iter().min_by_key(|(_, one)| one.used_ms);
            if let Some(oldest) = oldest.map(|(address, _)| *address) {
                self.silent.remove(&oldest);
            }
        }
        let silence = Silence {
            node: None,
            used_ms: now_ms,
            retry_ms: now_ms + RETRY_MS,
            is_deaf: false,
        };
        self.silent.insert(address, silence);
    }

    /// A session of datagrams stands.
    pub fn answered(&mut self, address: SocketAddr) {
        self.silent.remove(&address);
    }

    /// No stream to this node could be made, or one broke.
    pub fn broken(&mut self, now_ms: u64, node: NodeId) {
        let silent = self.silent.values_mut();
        for one in silent.filter(|one| one.node == Some(node)) {
            one.is_deaf = true;
            one.retry_ms = now_ms + DEAF_MS;
        }
    }

    /// How a datagram for a node gets to its address now.
    pub fn way(&mut self, now_ms: u64, node: NodeId, address: SocketAddr) -> Way {
        let Some(silence) = self.silent.get_mut(&address) else {
            return Way::Datagram;
        };
        silence.used_ms = now_ms;
        silence.node = Some(node);
        let is_time = now_ms >= silence.retry_ms;
        if silence.is_deaf && !is_time {
            return Way::Datagram;
        }
        silence.is_deaf = false;
        if is_time {
            silence.retry_ms = now_ms + RETRY_MS;
            return Way::StreamAndTry;
        }
        Way::Stream
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn address(number: usize) -> SocketAddr {
        let port = u16::try_from(number).unwrap();
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    #[test]
    fn streams_take_over_and_datagrams_are_tried_again() {
        let mut mute = Mute::default();
        let node = NodeId::from_bytes([1; 16]);
        let way = |mute: &mut Mute, now_ms| mute.way(now_ms, node, address(1));
        assert_eq!(way(&mut mute, 0), Way::Datagram);
        mute.unanswered(0, address(1));
        assert_eq!(way(&mut mute, 1), Way::Stream);
        assert_eq!(way(&mut mute, RETRY_MS), Way::StreamAndTry);
        assert_eq!(way(&mut mute, RETRY_MS + 1), Way::Stream);
        // Nor does a stream reach it: it is probably switched off.
        mute.broken(RETRY_MS + 2, node);
        mute.unanswered(RETRY_MS + 3, address(1));
        assert_eq!(way(&mut mute, RETRY_MS + 4), Way::Datagram);
        let later_ms = RETRY_MS + 2 + DEAF_MS;
        assert_eq!(way(&mut mute, later_ms), Way::StreamAndTry);
        mute.answered(address(1));
        assert_eq!(way(&mut mute, later_ms + 1), Way::Datagram);
    }

    #[test]
    fn the_one_used_longest_ago_makes_room() {
        let mut mute = Mute::default();
        let node = NodeId::from_bytes([1; 16]);
        for number in 0..=MUTE_MAX {
            mute.unanswered(number as u64, address(number));
        }
        assert_eq!(mute.way(100, node, address(0)), Way::Datagram);
        assert_eq!(mute.way(100, node, address(1)), Way::Stream);
    }
}
