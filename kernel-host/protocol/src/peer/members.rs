//! The body of `SITE_MEMBERS`: who is in a site, as its speaker sees it.
//!
//! Start at:  `SiteMembers`.

use super::Life;
use super::admission::Few;
use crate::{Name, NodeId, SiteId};
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};

/// Nodes in one record: what a stream's message holds with room to spare.
pub const MEMBERS_MAX: usize = 1024;

/// What a site says of one of its nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberLine {
    pub node: NodeId,
    pub address: SocketAddr,
    pub life: Life,
    pub health: Health,
}

/// Whether a node is there. Later versions may know more, which we read as `Other`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    Alive,
    Dead,
    Left,
    Other(u8),
}

/// Who is in a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteMembers {
    pub site: SiteId,
    /// The speaker's own life: only an accusation that knows it takes the word from it.
    pub life: Life,
    /// Sorted by node; the dead are those that died lately.
    pub members: Few<MemberLine, MEMBERS_MAX>,
    pub site_name: Name,
}

impl SiteMembers {
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(
            self,
            Vec::with_capacity(96 + 40 * self.members.as_slice().len()),
        )
        .unwrap_or_default()
    }

    /// Fields of later versions, which stand behind ours, are ignored.
    pub fn decode(body: &[u8]) -> Option<Self> {
        let (members, _later) = postcard::take_from_bytes::<Self>(body).ok()?;
        let nodes = members.members.as_slice();
        nodes
            .is_sorted_by(|a, b| a.node < b.node)
            .then_some(members)
    }

    /// The lines of a body one by one, without taking memory; ends where it is malformed.
    pub fn lines(body: &[u8]) -> impl Iterator<Item = MemberLine> {
        let head = postcard::take_from_bytes::<(SiteId, Life, u32)>(body).ok();
        let (count, mut rest) = head.map_or((0, &[][..]), |((_, _, count), rest)| (count, rest));
        let count = usize::try_from(count).unwrap_or(0).min(MEMBERS_MAX);
        (0..count).map_while(move |_| {
            let (line, after) = postcard::take_from_bytes(rest).ok()?;
            rest = after;
            Some(line)
        })
    }

    pub fn find(&self, node: NodeId) -> Option<&MemberLine> {
        let members = self.members.as_slice();
        let at = members.binary_search_by_key(&node, |line| line.node).ok()?;
        members.get(at)
    }
}

impl Health {
    const fn number(self) -> u8 {
        match self {
            Self::Alive => 0,
            Self::Dead => 1,
            Self::Left => 2,
            Self::Other(number) => number,
        }
    }
}

impl Serialize for Health {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        self.number().serialize(out)
    }
}

impl<'de> Deserialize<'de> for Health {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Ok(match u8::deserialize(input)? {
            0 => Self::Alive,
            1 => Self::Dead,
            2 => Self::Left,
            number => Self::Other(number),
        })
    }
}
