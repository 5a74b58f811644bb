//! Old objects that nobody here remembers: their home site must vouch for them.
//!
//! Does:      asks nodes of the home site, or those that keep its copies if the home is ours; takes
//!            in what they send, drops what they do not know.
//! Does not:  look at the age of objects: `store` finds them too old.
//! Bounds:    `DOUBTS_MAX` objects.
//! Trusts:    nodes of the home site: one that was away for long asks before it speaks.
//! Start at:  `Doubts`.

use super::Overlay;
use super::journal::Happening;
use crate::context::Save;
use crate::recon::home_of;
use crate::store::save_key;
use protocol::Moment;
use protocol::peer::recon::ReconMessage;
use protocol::peer::{Channel, Contact, Record, RecordKey};
use std::collections::VecDeque;

/// Objects in doubt. At the limit the oldest goes; it comes again if anybody has it.
const DOUBTS_MAX: usize = 64;
const ASK_MS: u64 = 2_000;
/// So often nobody could be asked before an object of our own, in a site of one, is believed.
const ALONE_MAX: u8 = 5;

/// Objects in doubt.
#[derive(Debug, Default)]
pub struct Doubts {
    waiting: VecDeque<(Record, u8)>,
    next_ms: u64,
    /// We were away longer than tombstones live, and have not compared with anybody since.
    catching: bool,
}

impl Doubts {
    pub fn put(&mut self, now_ms: u64, record: &Record) {
        if self
            .waiting
            .iter()
            .any(|(known, _)| known.key == record.key)
        {
            return;
        }
        if self.waiting.len() == DOUBTS_MAX {
            self.waiting.pop_front();
        }
        if self.waiting.is_empty() {
            self.next_ms = now_ms;
        }
        self.waiting.push_back((record.clone(), 0));
    }

    pub fn settle(&mut self, key: &RecordKey) -> Option<Record> {
        let at = self
            .waiting
            .iter()
            .position(|(known, _)| known.key == *key)?;
        self.waiting.remove(at).map(|(record, _)| record)
    }

    pub const fn is_catching(&self) -> bool {
        self.catching
    }

    pub const fn set_catching(&mut self, catching: bool) {
        self.catching = catching;
    }

    pub fn next_timeout(&self) -> Option<u64> {
        (!self.waiting.is_empty()).then_some(self.next_ms)
    }

    pub fn memory_bytes(&self) -> usize {
        self.waiting
            .iter()
            .map(|(record, _)| record.body.len() + 200)
            .sum()
    }
}

impl Overlay {
    pub(super) fn ask_for_doubtful(&mut self, now: Moment) {
        self.doubts.next_ms = now.uptime_ms + self.core.dice.around(ASK_MS);
        let keys: Vec<(RecordKey, protocol::NodeId)> = self
            .doubts
            .waiting
            .iter()
            .map(|(one, _)| (one.key, one.author))
            .collect();
        for (key, author) in keys {
            let author_site = self.core.keyring.site_of(author);
            let Some(home) = home_of(&key, author_site) else {
                continue;
            };
            let keepers: Vec<_> = self.directory.backup_sites(home).collect();
            let is_ours = home == self.core.me.site;
            let keepers = keepers.into_iter().filter(|_| is_ours);
            let sites: Vec<_> = std::iter::once(home).chain(keepers).collect();
            let asked = sites
                .into_iter()
                .find_map(|site| self.someone_in(now, site));
            match asked {
                Some(to) => {
                    let mut cx = self.core.context(now);
                    crate::recon::send(&mut cx, to, Channel::Stream, ReconMessage::Ask { key });
                }
                None if is_ours => self.believe_alone(now, &key),
                None => {}
            }
        }
    }

    /// Nobody else is left who could know better.
    fn believe_alone(&mut self, now: Moment, key: &RecordKey) {
        let waiting = self
            .doubts
            .waiting
            .iter_mut()
            .find(|(one, _)| one.key == *key);
        let Some((_, tries)) = waiting else {
            return;
        };
        *tries = tries.saturating_add(1);
        if *tries < ALONE_MAX {
            return;
        }
        if let Some(record) = self.doubts.settle(key) {
            let mut cx = self.core.context(now);
            self.store.accept_vouched(&mut cx, &record);
            self.doubts.set_catching(false);
        }
    }

    /// A node of the home site, or one that keeps its copies, does not know the object.
    pub(super) fn disown(&mut self, now: Moment, from: Contact, key: &RecordKey) {
        let Some((record, _)) = self.doubts.waiting.iter().find(|(one, _)| one.key == *key) else {
            return;
        };
        let home = home_of(key, self.core.keyring.site_of(record.author));
        let is_keeper = home.is_some_and(|home| {
            home == from.site
                || self
                    .directory
                    .backup_sites(home)
                    .any(|site| site == from.site)
        });
        if !is_keeper {
            return;
        }
        self.doubts.settle(key);
        self.counters.ghosts += 1;
        let (kind, subject) = (key.kind.0, key.subject);
        self.journal.note(now, Happening::Ghost { kind, subject });
        let forget = Save {
            key: save_key(key),
            value: None,
        };
        self.core.outbox.saves.push_back(forget);
    }
}
