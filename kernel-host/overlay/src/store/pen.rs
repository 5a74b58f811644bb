//! Records that can't be judged yet: their author's certificate is still on its way.
//!
//! Start at:  `Pen`.

use protocol::NodeId;
use protocol::peer::Record;
use std::collections::VecDeque;

/// Records that wait. At the limit the oldest goes; reconciliation brings it again.
const WAITING_MAX: usize = 64;
/// Bytes of their bodies.
const WAITING_BYTES_MAX: usize = 128 << 10;

#[derive(Debug, Default)]
pub struct Pen {
    waiting: VecDeque<Record>,
    bytes: usize,
    pub dropped: u64,
}

impl Pen {
    pub fn put(&mut self, record: Record) {
        if self
            .waiting
            .iter()
            .any(|other| other.signature == record.signature)
        {
            return;
        }
        self.bytes += record.body.len();
        self.waiting.push_back(record);
        while self.waiting.len() > WAITING_MAX || self.bytes > WAITING_BYTES_MAX {
            let Some(oldest) = self.waiting.pop_front() else {
                break;
            };
            self.bytes -= oldest.body.len();
            self.dropped += 1;
        }
    }

    pub fn has(&self, author: NodeId) -> bool {
        self.waiting.iter().any(|one| one.author == author)
    }

    /// All of this author, who is known now.
    pub fn take(&mut self, author: NodeId) -> Vec<Record> {
        let (free, rest) = self.waiting.drain(..).partition(|one| one.author == author);
        self.waiting = rest;
        let free: VecDeque<Record> = free;
        self.bytes -= free.iter().map(|one| one.body.len()).sum::<usize>();
        free.into()
    }

    /// Everything: something was learned that may vouch for any of them.
    pub fn take_all(&mut self) -> Vec<Record> {
        self.bytes = 0;
        std::mem::take(&mut self.waiting).into()
    }

    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}
