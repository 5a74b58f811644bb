//! A call into the local network: "nodes of this cluster, here I am".
//!
//! Does:      says which cluster (the start of a digest) and at which port; whoever hears it may
//!            open a session to where it came from.
//! Does not:  say who calls, or prove anything: it is a hint, and costs its hearer one handshake
//!            at most.
//! Start at:  `Hello`.

use crate::packet::{HELLO, VERSION};

/// `{a7, version, port:2, cluster:8}`, sent to everybody on a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// The start of a digest of the cluster's root key.
    pub cluster: [u8; 8],
    /// Where the caller's sessions are served.
    pub port: u16,
}

impl Hello {
    pub fn encode(&self) -> [u8; 12] {
        let mut out = [0; 12];
        let [low, high] = self.port.to_le_bytes();
        out[..4].copy_from_slice(&[HELLO, VERSION, low, high]);
        out[4..].copy_from_slice(&self.cluster);
        out
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let [HELLO, VERSION, low, high, cluster @ ..] = bytes else {
            return None;
        };
        let port = u16::from_le_bytes([*low, *high]);
        (port != 0).then_some(Self {
            cluster: cluster.try_into().ok()?,
            port,
        })
    }
}
