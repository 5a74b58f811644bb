//! Which of two records of one key holds: a total order, so that all nodes end with the same.
//!
//! Start at:  `wins`.

use super::authority::{AuthorRule, Authority, Span};
use crate::rules::Rules;
use protocol::NodeId;
use protocol::peer::{Signature, Version};

/// What the order looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rank<'a> {
    pub version: Version,
    pub author: NodeId,
    pub ended: bool,
    pub signature: &'a [u8],
}

impl<'a> Rank<'a> {
    pub fn of(record: &'a protocol::peer::Record) -> Self {
        let Signature(signature) = &record.signature;
        Self {
            version: record.version,
            author: record.author,
            ended: record.ended,
            signature,
        }
    }
}

/// Whether `new` replaces `old`. Equal ones do not.
pub fn wins(row: &Authority, rules: Rules, new: &Rank<'_>, old: &Rank<'_>) -> bool {
    match row.author {
        // Deleted stays deleted, whoever says so; then the epoch fences old owners. Two owners of
        // one epoch should not be; should they, the larger id holds everywhere.
        AuthorRule::Owner => {
            let fence = |rank: &Rank<'_>| match rules.epoch_check {
                true => (rank.version.epoch, Some(rank.author)),
                false => (0, None),
            };
            let key = |rank: &Rank<'_>| (rank.ended, fence(rank), rank.version.seq);
            (key(new), new.signature) > (key(old), old.signature)
        }
        // The lowest signature stands for "the first", which nobody can know.
        _ if row.span == Span::Grows => (new.author, new.signature) < (old.author, old.signature),
        _ => (new.version, new.signature) > (old.version, old.signature),
    }
}
