//! What a node saw happen, for those who want to follow.
//!
//! Does:      keeps the newest events and counts all; a reader that was away hears how many it
//!            missed.
//! Bounds:    `limits::EVENTS_MAX`; at it the oldest is forgotten.
//! Start at:  `Events::add`.

use protocol::{Event, EventPage, NodeId, Timestamp, limits};
use std::collections::VecDeque;

/// The newest events of a node.
#[derive(Debug, Default)]
pub struct Events {
    kept: VecDeque<Event>,
    told: u64,
}

impl Events {
    pub fn add(
        &mut self,
        at: Timestamp,
        kind: &'static str,
        node: Option<NodeId>,
        subject: &str,
        text: &str,
    ) {
        self.told += 1;
        if self.kept.len() == limits::EVENTS_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(Event {
            seq: self.told,
            at,
            kind: kind.to_owned(),
            node,
            subject: limits::shortened(subject, limits::NODE_NAME_CHARS_MAX),
            text: limits::shortened(text, limits::REASON_CHARS_MAX),
        });
    }

    /// The number of the newest; 0 if there is none yet.
    pub const fn newest(&self) -> u64 {
        self.told
    }

    /// What came after `after`. A number from before the node's last start counts as 0.
    pub fn after(&self, after: u64) -> EventPage {
        let after = if after > self.told { 0 } else { after };
        let oldest = self.kept.front().map_or(self.told + 1, |event| event.seq);
        let items = self.kept.iter().filter(|event| event.seq > after);
        let items: Vec<Event> = items
            .take(limits::PAGE_ITEMS_MAX as usize)
            .cloned()
            .collect();
        EventPage {
            next: items.last().map_or(after, |event| event.seq),
            missed: oldest.saturating_sub(after + 1),
            items,
        }
    }
}
