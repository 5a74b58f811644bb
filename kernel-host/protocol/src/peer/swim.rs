//! The messages of the failure detector of a site.
//!
//! Does:      probes, their answers, and facts about who is there.
//! Does not:  say which fact is newer or what follows from it (`overlay::swim`).
//! Bounds:    `RUMOURS_MAX` facts beside a probe, `STATE_FACTS_MAX` in a message on a stream;
//!            lives of more than `BOOTS_MAX` boots are refused.
//! Trusts:    nobody: counts are checked before memory is taken.
//! Start at:  `SwimMessage`.

use super::Life;
use super::admission::Few;
use super::coordinate::Coordinate;
use crate::NodeId;
use core::net::SocketAddr;
use serde::{Deserialize, Deserializer, Serialize, de::Error};

/// Facts in one datagram: the longest still fit `DATAGRAM_BYTES_MAX`.
pub const RUMOURS_MAX: usize = 20;
/// Facts in one message on a stream: the longest still fit `STREAM_MESSAGE_BYTES_MAX`.
pub const STATE_FACTS_MAX: usize = 1200;
/// Accusers that a suspicion names; more would not shorten it.
pub const ACCUSERS_MAX: usize = 3;
/// No machine boots as often: a node can always answer an accusation with a higher life.
pub const BOOTS_MAX: u32 = 1 << 31;

/// Which run of a node speaks: two machines with one key differ in the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Own {
    #[serde(deserialize_with = "possible_life")]
    pub life: Life,
    /// Drawn at each start.
    pub instance: u32,
    pub address: SocketAddr,
}

/// The start of an accuser's id: enough to count independent ones.
pub type Accuser = u32;

/// What is said about a node. Of two facts about one life the later in this list holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Claim {
    /// It is there, by its own word.
    Alive { instance: u32, address: SocketAddr },
    /// It did not answer these.
    Suspect { by: Few<Accuser, ACCUSERS_MAX> },
    /// It did not refute a suspicion in time.
    Dead,
    /// It said goodbye.
    Left,
}

/// What is said about one life of one node of the site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    pub node: NodeId,
    #[serde(deserialize_with = "possible_life")]
    pub life: Life,
    pub claim: Claim,
}

/// Facts that travel with a datagram, the most urgent first.
pub type Rumours = Few<Fact, RUMOURS_MAX>;

fn possible_life<'de, D: Deserializer<'de>>(input: D) -> Result<Life, D::Error> {
    let life = Life::deserialize(input)?;
    if life.boots() >= BOOTS_MAX {
        return Err(D::Error::custom("nobody boots so often"));
    }
    Ok(life)
}

/// What two nodes say to each other about who is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SwimMessage {
    /// Are you there?
    Ping {
        seq: u32,
        own: Own,
        /// Of the sender's list of who is there: different lists are compared.
        digest: u32,
        /// Answer on the stream that this came by.
        by_stream: bool,
        rumours: Rumours,
    },
    /// I am.
    Ack {
        seq: u32,
        own: Own,
        digest: u32,
        rumours: Rumours,
        /// Where the sender is.
        place: Coordinate,
    },
    /// Is `target` there? I can't reach it.
    PingFor {
        seq: u32,
        target: NodeId,
        rumours: Rumours,
    },
    /// It answered me, or not yet: the second says nothing against it, but that I am there.
    AckFor {
        seq: u32,
        reached: bool,
        rumours: Rumours,
    },
    /// News, outside any probe.
    Gossip { own: Own, rumours: Rumours },
    /// All that the sender knows, in one or several of these; each stands for itself.
    State {
        own: Own,
        /// Set on the first: tell me all that you know.
        is_asking: bool,
        facts: Few<Fact, STATE_FACTS_MAX>,
    },
}
