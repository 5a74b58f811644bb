//! What one guardian has promised and accepted.
//!
//! Does:      votes as a CASPaxos acceptor; each vote is put among the savings before its answer.
//! Does not:  know who is a guardian, or count votes.
//! Bounds:    `SLOTS_MAX` registers of a site; beyond, new ones are refused (`Vote::Full`).
//! Trusts:    the disk for what was saved.
//! Start at:  `Table::prepare`. Source: Rystsov, "CASPaxos", 2018.

use crate::context::{Context, Save};
use protocol::SiteId;
use protocol::peer::admission::Few;
use protocol::peer::register::{Accepted, Ballot, Entry, PAGE_ENTRIES_MAX, RegisterKey, Written};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Bound;

/// Registers of one site: about a megabyte with the longest values.
pub const SLOTS_MAX: usize = 2048;
/// Start of the keys of our savings.
pub const SAVED_AT: &str = "register/slot/";

#[derive(Debug, Clone, Default)]
struct Slot {
    promised: Option<Ballot>,
    accepted: Option<(Ballot, Written)>,
    since_ms: u64,
}

/// A slot on the disk.
#[derive(Debug, Serialize, Deserialize)]
pub struct SavedSlot {
    pub site: SiteId,
    key: RegisterKey,
    promised: Option<Ballot>,
    accepted: Option<(Ballot, Written)>,
}

/// A guardian's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vote {
    Promised(Option<Accepted>),
    Accepted,
    Late(Ballot),
    Full,
}

/// The registers of one site, as one of its guardians holds them.
#[derive(Debug)]
pub struct Table {
    site: SiteId,
    slots: BTreeMap<RegisterKey, Slot>,
}

impl Slot {
    fn seen(&self, now_ms: u64) -> Option<Accepted> {
        let (ballot, written) = self.accepted.clone()?;
        let age_ms = now_ms.saturating_sub(self.since_ms);
        Some(Accepted {
            ballot,
            written,
            age_ms,
        })
    }

    /// What was written again keeps its age: its writer spoke when it first came.
    fn take(&mut self, since_ms: u64, ballot: Ballot, written: Written) {
        let is_same = self
            .accepted
            .as_ref()
            .is_some_and(|(_, old)| old.tag == written.tag);
        if !is_same {
            self.since_ms = since_ms;
        }
        self.accepted = Some((ballot, written));
    }
}

impl Table {
    pub const fn new(site: SiteId) -> Self {
        Self {
            site,
            slots: BTreeMap::new(),
        }
    }

    pub fn look(&self, now_ms: u64, key: &RegisterKey) -> Option<Accepted> {
        self.slots.get(key)?.seen(now_ms)
    }

    fn has_room(&self, key: &RegisterKey) -> bool {
        self.slots.len() < SLOTS_MAX || self.slots.contains_key(key)
    }

    pub fn prepare(&mut self, cx: &mut Context<'_>, key: RegisterKey, ballot: Ballot) -> Vote {
        if !self.has_room(&key) {
            return Vote::Full;
        }
        let slot = self.slots.entry(key).or_default();
        if let Some(promised) = slot.promised.filter(|promised| *promised > ballot) {
            return Vote::Late(promised);
        }
        let is_new = slot.promised != Some(ballot);
        slot.promised = Some(ballot);
        let seen = slot.seen(cx.now_ms());
        if is_new {
            self.save(cx, key);
        }
        Vote::Promised(seen)
    }

    pub fn accept(
        &mut self,
        cx: &mut Context<'_>,
        key: RegisterKey,
        ballot: Ballot,
        written: Written,
        next: Option<Ballot>,
    ) -> Vote {
        if !self.has_room(&key) {
            return Vote::Full;
        }
        let slot = self.slots.entry(key).or_default();
        if slot
            .accepted
            .as_ref()
            .is_some_and(|(held, _)| *held == ballot)
        {
            return Vote::Accepted;
        }
        if let Some(promised) = slot.promised.filter(|promised| *promised > ballot) {
            return Vote::Late(promised);
        }
        slot.promised = Some(next.map_or(ballot, |next| next.max(ballot)));
        slot.take(cx.now_ms(), ballot, written);
        self.save(cx, key);
        Vote::Accepted
    }

    /// Takes in what another guardian had accepted, as if its writer had sent it to us.
    pub fn merge(&mut self, now_ms: u64, entry: Entry) {
        let theirs = entry.accepted;
        if !self.has_room(&entry.key) || entry.key == RegisterKey::Council {
            return;
        }
        let slot = self.slots.entry(entry.key).or_default();
        let is_newer = slot
            .accepted
            .as_ref()
            .is_none_or(|(ballot, _)| *ballot < theirs.ballot);
        if is_newer {
            let since_ms = now_ms.saturating_sub(theirs.age_ms);
            slot.take(since_ms, theirs.ballot, theirs.written);
        }
    }

    /// What is accepted behind a key, in order, and whether that is all.
    pub fn page(
        &self,
        now_ms: u64,
        behind: Option<RegisterKey>,
    ) -> (Few<Entry, PAGE_ENTRIES_MAX>, bool) {
        let from = behind.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self
            .slots
            .range((from, Bound::Unbounded))
            .filter(|(key, _)| **key != RegisterKey::Council)
            .filter_map(|(key, slot)| {
                let accepted = slot.seen(now_ms)?;
                Some(Entry {
                    key: *key,
                    accepted,
                })
            });
        let entries = Few::new(rest.by_ref().take(PAGE_ENTRIES_MAX));
        (entries, rest.next().is_none())
    }

    /// The decision about the next council belongs to one council alone.
    pub fn forget_council(&mut self, cx: &mut Context<'_>) {
        if self.slots.remove(&RegisterKey::Council).is_some() {
            self.save(cx, RegisterKey::Council);
        }
    }

    pub fn clear(&mut self, cx: &mut Context<'_>) {
        let keys: Vec<RegisterKey> = std::mem::take(&mut self.slots).into_keys().collect();
        for key in keys {
            self.save(cx, key);
        }
    }

    pub fn save_all(&self, cx: &mut Context<'_>) {
        for key in self.slots.keys() {
            self.save(cx, *key);
        }
    }

    fn save(&self, cx: &mut Context<'_>, key: RegisterKey) {
        let value = self.slots.get(&key).and_then(|slot| {
            let saved = SavedSlot {
                site: self.site,
                key,
                promised: slot.promised,
                accepted: slot.accepted.clone(),
            };
            postcard::to_extend(&saved, Vec::new()).ok()
        });
        let name = saved_name(self.site, &key);
        cx.out.saves.push_back(Save { key: name, value });
    }

    pub fn restore(&mut self, now_ms: u64, saved: SavedSlot) {
        let slot = Slot {
            promised: saved.promised,
            accepted: saved.accepted,
            since_ms: now_ms,
        };
        self.slots.insert(saved.key, slot);
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// About how many bytes the slots take, values included.
    pub fn memory_bytes(&self) -> usize {
        let one = std::mem::size_of::<(RegisterKey, Slot)>();
        let value = |slot: &Slot| {
            let accepted = slot.accepted.as_ref();
            accepted.map_or(0, |(_, written)| written.value.bytes().len())
        };
        self.slots.values().map(|slot| one + value(slot)).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

fn saved_name(site: SiteId, key: &RegisterKey) -> String {
    let mut name = format!("{SAVED_AT}{site}/");
    for byte in postcard::to_extend(key, Vec::new()).unwrap_or_default() {
        let _ = write!(name, "{byte:02x}");
    }
    name
}

/// A slot that was saved. `None`: the bytes are none.
pub fn read_saved(bytes: &[u8]) -> Option<SavedSlot> {
    postcard::from_bytes(bytes).ok()
}
