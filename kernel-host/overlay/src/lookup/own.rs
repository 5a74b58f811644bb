//! What this node itself has put into the table: it repeats it, so that it does not fade.
//!
//! Does:      signs entries and their successors; says which are due to be repeated: after a third
//!            of their life, and soon when they have other homes than before, as in a cut.
//! Does not:  survive a restart: whoever put something puts it again then.
//! Bounds:    `OWN_MAX` entries, ended ones included; more are refused.
//! Trusts:    its own clock as far as `Clock` does.
//! Start at:  `Own::write`.

use super::Desk;
use super::rank::Homes;
use super::shelf::{has_faded, lives_ms};
use protocol::SiteId;
use protocol::peer::lookup::{Entry, Key, LIVES_S_MAX, Value};
use protocol::peer::{Signature, Version};
use std::collections::{BTreeMap, BTreeSet};

/// Entries of one author, wherever in the cluster they are kept.
pub const OWN_MAX: usize = 1024;
/// An entry is repeated at a third of its life, and not less often than this: what its homes have
/// lost is back then.
const REPEAT_MS_MAX: u64 = 1_200_000;
/// One that reached too few homes is tried again after this.
pub const AGAIN_MS: u64 = 20_000;
/// One that has other homes than before reaches them within this.
const MOVED_MS: u64 = 5_000;
/// Keys whose homes are looked at in one step.
const LOOKS_MAX: usize = 256;

#[derive(Debug)]
struct Line {
    entry: Entry,
    next_ms: u64,
    /// Its homes when we last looked.
    homes: Vec<SiteId>,
}

/// Our entries by key.
#[derive(Debug, Default)]
pub struct Own {
    lines: BTreeMap<Key, Line>,
    due: BTreeSet<(u64, Key)>,
    seq: u64,
    /// The next key whose homes are looked at.
    cursor: Key,
}

impl Own {
    pub fn find(&self, key: Key) -> Option<&Entry> {
        Some(&self.lines.get(&key)?.entry)
    }

    pub fn has_room(&self, key: Key) -> bool {
        self.lines.len() < OWN_MAX || self.lines.contains_key(&key)
    }

    /// Writes what is under the key from now on; `None` ends it.
    pub fn write(
        &mut self,
        desk: &mut Desk<'_, '_>,
        key: Key,
        value: Option<Value>,
        lives_s: u32,
    ) -> Entry {
        let before = self.find(key).map(|entry| entry.lives_s);
        let lives_s = match value {
            Some(_) => lives_s,
            // Until the last copy of what it ends has faded, wherever that may be.
            None => before.unwrap_or(LIVES_S_MAX),
        };
        let ended = value.is_none();
        let entry = self.sign(desk, key, value.unwrap_or_default(), lives_s, ended);
        let wait_ms = if ended {
            lives_ms(&entry)
        } else {
            repeat_ms(desk, &entry)
        };
        self.put(entry.clone(), desk.cx.now_ms() + wait_ms);
        entry
    }

    fn sign(
        &mut self,
        desk: &mut Desk<'_, '_>,
        key: Key,
        value: Value,
        lives_s: u32,
        ended: bool,
    ) -> Entry {
        self.seq += 1;
        let mut entry = Entry {
            key,
            author: desk.cx.me,
            version: Version {
                epoch: desk.boots,
                seq: self.seq,
            },
            written: desk.clock.stamp(desk.cx.now),
            lives_s,
            ended,
            value,
            signature: Signature([0; 64]),
        };
        entry.signature = desk.cx.keyring.sign(&entry.signed_part());
        entry
    }

    fn put(&mut self, entry: Entry, next_ms: u64) {
        let key = entry.key;
        let old = self.lines.remove(&key);
        let homes = old.map_or_else(Vec::new, |old| {
            self.due.remove(&(old.next_ms, key));
            old.homes
        });
        let line = Line {
            entry,
            next_ms,
            homes,
        };
        self.lines.insert(key, line);
        self.due.insert((next_ms, key));
    }

    /// Looks at the homes of some keys: where new ones have come, they get the entry soon.
    pub fn look_for_homes(&mut self, desk: &mut Desk<'_, '_>) {
        let behind = self.lines.range(self.cursor..).map(|(key, _)| *key);
        let before = self.lines.range(..self.cursor).map(|(key, _)| *key);
        let some: Vec<Key> = behind.chain(before).take(LOOKS_MAX).collect();
        let next = some
            .last()
            .and_then(|last| self.lines.range(*last..).nth(1));
        self.cursor = next.map_or(Key::default(), |(key, _)| *key);
        for key in some {
            let homes = Homes::of(desk.atlas, key.bucket());
            let sites: Vec<SiteId> = homes.iter().map(|home| home.site).collect();
            let Some(line) = self.lines.get_mut(&key) else {
                continue;
            };
            let before = std::mem::replace(&mut line.homes, sites);
            let is_new = |site: &&SiteId| !before.is_empty() && !before.contains(site);
            if line.homes.iter().any(|site| is_new(&site)) {
                self.hurry(desk, key, MOVED_MS);
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Too few homes have it: it is repeated soon.
    pub fn hurry(&mut self, desk: &mut Desk<'_, '_>, key: Key, within_ms: u64) {
        let soon_ms = desk.cx.now_ms() + desk.cx.dice.around(within_ms);
        if let Some(line) = self.lines.get_mut(&key).filter(|one| one.next_ms > soon_ms) {
            self.due.remove(&(line.next_ms, key));
            line.next_ms = soon_ms;
            self.due.insert((soon_ms, key));
        }
    }

    /// The next entry that is due, signed anew. Ended ones are repeated as they are, and forgotten
    /// when what they ended has faded everywhere.
    pub fn repeat(&mut self, desk: &mut Desk<'_, '_>) -> Option<Entry> {
        let now_ms = desk.cx.now_ms();
        let (at_ms, key) = *self.due.first().filter(|(at, _)| *at <= now_ms)?;
        self.due.remove(&(at_ms, key));
        let old = self.lines.get(&key)?.entry.clone();
        if old.ended {
            if has_faded(desk.cx.now, desk.clock, &old) {
                self.lines.remove(&key);
                return None;
            }
            self.put(old.clone(), now_ms + lives_ms(&old));
            return Some(old);
        }
        let entry = self.sign(desk, key, old.value, old.lives_s, false);
        let wait_ms = repeat_ms(desk, &entry);
        self.put(entry.clone(), now_ms + wait_ms);
        Some(entry)
    }

    pub fn next_timeout(&self) -> Option<u64> {
        self.due.first().map(|(at, _)| *at)
    }

    pub fn memory_bytes(&self) -> usize {
        let lines = self.lines.values();
        lines.map(|line| line.entry.value.bytes().len() + 360).sum()
    }

    /// Panics if it is not in order.
    pub fn check(&self) {
        assert!(self.lines.len() <= OWN_MAX, "own entries");
        let due = self.lines.iter().map(|(key, line)| (line.next_ms, *key));
        assert_eq!(due.collect::<BTreeSet<_>>(), self.due, "own entries' times");
    }
}

fn repeat_ms(desk: &mut Desk<'_, '_>, entry: &Entry) -> u64 {
    let third_ms = (lives_ms(entry) / 3).min(REPEAT_MS_MAX);
    desk.cx.dice.around(third_ms * 4 / 5)
}
