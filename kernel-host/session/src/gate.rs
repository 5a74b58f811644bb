//! Who may have a session, as this crate sees it.
//!
//! Does not:  know certificates: `Gate` is implemented over `identity`.
//! Start at:  `Gate`.

use protocol::peer::SessionKey;
use protocol::{Moment, NodeId, SiteId};

/// Bytes that a gate may put into a handshake.
pub const PAYLOAD_BYTES_MAX: usize = 1024;

/// Who is at the other end of a session. Its key was proved; the rest is what the gate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// A node of the cluster.
    Node { node: NodeId, site: SiteId },
    /// Somebody without a certificate. Only messages of admission may pass.
    Stranger(SessionKey),
}

impl Peer {
    pub const fn node(&self) -> Option<NodeId> {
        match self {
            Self::Node { node, .. } => Some(*node),
            Self::Stranger(_) => None,
        }
    }
}

/// Decides who may have a session, and says what we show of ourselves.
pub trait Gate {
    /// What we show: our certificate with its proofs, or nothing while we have none. At most
    /// `PAYLOAD_BYTES_MAX`; a longer one fails the handshake.
    fn payload(&self) -> Vec<u8>;

    /// Who it is that has proved `key` and shows `payload`.
    ///
    /// # Errors
    ///
    /// Why it gets no session; the other side is told.
    fn check(&self, now: Moment, key: &SessionKey, payload: &[u8]) -> Result<Peer, Refusal>;
}

macro_rules! refusals {
    ($($number:literal $name:ident: $text:literal, $advice:literal;)+) => {
        /// Why somebody gets no session. The numbers travel, and are for ever.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Refusal {
            $(#[doc = $text] $name,)+
            /// For a reason that only a later version knows.
            Other(u8),
        }

        impl Refusal {
            pub const fn number(self) -> u8 {
                match self { $(Self::$name => $number,)+ Self::Other(number) => number }
            }

            pub const fn from_number(number: u8) -> Self {
                match number { $($number => Self::$name,)+ other => Self::Other(other) }
            }

            /// What whoever runs the refused node can do about it.
            pub const fn advice(self) -> &'static str {
                match self {
                    $(Self::$name => $advice,)+
                    Self::Other(_) => "Boot it with the image that its peers run.",
                }
            }
        }

        impl std::fmt::Display for Refusal {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $(Self::$name => f.write_str($text),)+
                    Self::Other(number) => write!(f, "reason {number}, of a later version"),
                }
            }
        }
    };
}

refusals! {
    1 OtherCluster: "it belongs to another cluster",
        "Compare luc.root of both nodes.";
    2 Revoked: "its right was taken away",
        "If that was a mistake, let it join again with a new token and a new key.";
    3 Malformed: "its certificate cannot be read",
        "Boot it with the image that its peers run.";
    4 Expired: "its certificate ran out",
        "It is renewed by any node of its own site; see whether it reaches one.";
    5 OtherKey: "its certificate is for another key",
        "Its state disk may be a copy of another node's: give it a disk of its own.";
    6 NoStrangers: "strangers are not served now",
        "Try again in a minute, or ask another node.";
}
