//! The sites of the cluster, and who is in them, from what their speakers say.
//!
//! Does:      the alive node with the lowest id of a site speaks for it; the far view joins the
//!            words of all speakers that count; backup sites watch each other's sites.
//! Does not:  keep lists of its own: it reads the records in the store, and keeps an index of them.
//! Bounds:    `SITES_MAX` sites, `WORDS_MAX` speakers each; beyond, new ones are not listed
//!            (`overrun` +1).
//! Trusts:    a speaker about its own site. A false word is undone by the accused (`accused`).
//! Start at:  `Directory::words`, then `speak`, `watch`.

pub mod backups;
pub mod speak;
mod views;
pub mod watch;

use crate::clock::Clock;
use crate::context::Context;
use crate::coordinates::Coordinates;
use crate::store::{Entry, Store};
use backups::Backups;
use protocol::peer::load::Usage;
use protocol::peer::{
    Coordinate, Life, Realm, Record, RecordKey, RecordKind, SiteLoad, SiteMembers, Stamp,
};
use protocol::peer::{Version, members::Health};
use protocol::{Moment, NodeId, SiteId};
use std::collections::{BTreeMap, BTreeSet};

const SITES_MAX: usize = 1024;
const WORDS_MAX: usize = 16;
/// A word that was not renewed for so long does not count any more, while another does.
pub const STALE_MS: u64 = 150_000;
/// How far clocks may be apart when a word's own age is judged.
const SKEW_MS: u64 = 60_000;

/// What one speaker says, in short.
#[derive(Debug, Clone)]
struct Word {
    speaker: NodeId,
    life: Life,
    members: Version,
    /// Its latest renewal: when it was written, and when it came.
    written: Stamp,
    heard_ms: u64,
    ended: bool,
    usage: Usage,
    alive: u32,
    lost: Vec<SiteId>,
    /// When `lost` was written.
    lost_written: Stamp,
    /// The members that its latest load spoke of.
    load_members: Version,
    acknowledged: Stamp,
    place: Coordinate,
}

#[derive(Debug, Default)]
struct Site {
    words: Vec<Word>,
    backups: Backups,
    is_retired: bool,
}

/// What a record changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A site that was not known.
    NewSite(SiteId),
    /// A site's members changed.
    Members(SiteId),
    Retired(SiteId),
    /// Another speaker of our site says that we are dead, or that our site is lost.
    Accused(Life),
    /// A watcher says that our site is lost.
    CalledLost,
}

/// An index of the words of all sites.
#[derive(Debug)]
pub struct Directory {
    me: NodeId,
    site: SiteId,
    sites: BTreeMap<SiteId, Site>,
    pub speech: speak::Speech,
    pub watching: watch::Watching,
    pub overrun: u64,
}

impl Directory {
    pub fn new(me: NodeId, site: SiteId, now_ms: u64) -> Self {
        let mut directory = Self {
            me,
            site,
            sites: BTreeMap::new(),
            speech: speak::Speech::new(now_ms),
            watching: watch::Watching::default(),
            overrun: 0,
        };
        directory.add_site(site);
        directory
    }

    /// Every site that is not retired keeps its place, whether it answers or not.
    pub fn sites(&self) -> impl Iterator<Item = SiteId> {
        let known = self.sites.iter().filter(|(_, site)| !site.is_retired);
        known.map(|(id, _)| *id)
    }

    pub fn backup_sites(&self, site: SiteId) -> impl Iterator<Item = SiteId> {
        self.sites
            .get(&site)
            .into_iter()
            .flat_map(|site| site.backups.sites())
    }

    /// Sites whose records we keep, besides our own.
    pub fn backed(&self) -> BTreeSet<SiteId> {
        let ours = |site: &Site| !site.is_retired && site.backups.contains(self.site);
        self.sites
            .iter()
            .filter(|(_, site)| ours(site))
            .map(|(id, _)| *id)
            .collect()
    }

    /// Whether any word of the site has come; our own needs none.
    pub fn has_spoken(&self, site: SiteId) -> bool {
        site == self.site
            || self
                .sites
                .get(&site)
                .is_some_and(|known| !known.words.is_empty())
    }

    /// A site that somebody mentioned. `false`: it was known, or there are too many.
    pub fn add_site(&mut self, new: SiteId) -> bool {
        if self.sites.contains_key(&new) {
            return false;
        }
        if self.sites.len() == SITES_MAX {
            self.overrun += 1;
            return false;
        }
        let mut site = Site::default();
        for (id, other) in self.sites.iter_mut().filter(|(_, other)| !other.is_retired) {
            other.backups.consider(*id, new);
            site.backups.consider(new, *id);
        }
        self.sites.insert(new, site);
        true
    }

    fn retire(&mut self, gone: SiteId) -> bool {
        self.add_site(gone);
        let Some(site) = self.sites.get_mut(&gone) else {
            return false;
        };
        if std::mem::replace(&mut site.is_retired, true) {
            return false;
        }
        let alive: Vec<SiteId> = self.sites().collect();
        for (id, site) in self
            .sites
            .iter_mut()
            .filter(|(_, one)| one.backups.contains(gone))
        {
            site.backups = Backups::default();
            alive.iter().for_each(|keeper| {
                site.backups.consider(*id, *keeper);
            });
        }
        true
    }

    /// A record of a kind that is ours came, is good and new. `changes` are in order.
    pub fn learn(&mut self, cx: &Context<'_>, record: &Record) -> Vec<Change> {
        match record.key.kind {
            RecordKind::SITE_MEMBERS => self.learn_members(cx, record),
            RecordKind::SITE_LOAD => self.learn_load(cx, record),
            RecordKind::SITE_RETIRED => {
                let site = SiteId::from_bytes(record.key.subject);
                let is_new = self.retire(site);
                is_new
                    .then_some(Change::Retired(site))
                    .into_iter()
                    .collect()
            }
            RecordKind::CERTIFICATE => {
                self.silence_replaced(cx, NodeId::from_bytes(record.key.subject));
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// A certificate may say that a machine has a new key: what it said under the old one, of
    /// itself and of others, counts no more.
    fn silence_replaced(&mut self, cx: &Context<'_>, newcomer: NodeId) {
        let site = cx.keyring.site_of(newcomer);
        for word in site
            .and_then(|site| self.sites.get_mut(&site))
            .into_iter()
            .flat_map(|site| &mut site.words)
        {
            word.ended |= cx.keyring.is_replaced(word.speaker);
        }
    }

    fn word(&mut self, cx: &Context<'_>, record: &Record) -> Option<(SiteId, &mut Word, bool)> {
        let (speaker, written) = (record.author, record.written);
        let id = cx.keyring.site_of(speaker)?;
        let is_new = self.add_site(id);
        let site = self.sites.get_mut(&id)?;
        let at = site.words.iter().position(|word| word.speaker == speaker);
        let at = match at {
            Some(at) => at,
            None => {
                // What was written last counts: old words come again from whoever kept them.
                if site.words.len() == WORDS_MAX {
                    let oldest = (0..WORDS_MAX).min_by_key(|at| site.words[*at].written)?;
                    if site.words[oldest].written >= written {
                        return None;
                    }
                    site.words.remove(oldest);
                }
                site.words.push(Word::of(speaker));
                site.words.len() - 1
            }
        };
        Some((id, &mut site.words[at], is_new))
    }

    fn learn_members(&mut self, cx: &Context<'_>, record: &Record) -> Vec<Change> {
        let now_ms = cx.now_ms();
        let (me, ours) = (self.me, self.site);
        let said = SiteMembers::decode(&record.body);
        let Some((site, word, is_new)) = self.word(cx, record) else {
            return Vec::new();
        };
        word.members = record.version;
        word.written = word.written.max(record.written);
        if word.load_members == record.version {
            // The load came first, which repeats these members.
            word.written = word.written.max(word.lost_written);
        }
        word.heard_ms = now_ms;
        let is_replaced = cx.keyring.is_replaced(record.author);
        word.ended = record.ended || said.is_none() || is_replaced;
        let mut changes = Vec::new();
        if is_new {
            changes.push(Change::NewSite(site));
        }
        if let Some(said) = &said {
            word.life = said.life;
            let alive = |line: &&protocol::peer::MemberLine| line.health == Health::Alive;
            let count = said.members.as_slice().iter().filter(alive).count();
            word.alive = u32::try_from(count).unwrap_or(u32::MAX);
            let of_us = said
                .find(me)
                .filter(|_| site == ours && record.author != me);
            if let Some(line) = of_us.filter(|line| line.health == Health::Dead) {
                changes.push(Change::Accused(line.life));
            }
        }
        changes.push(Change::Members(site));
        self.watching.heard_word(site, record.written);
        changes
    }

    fn learn_load(&mut self, cx: &Context<'_>, record: &Record) -> Vec<Change> {
        let (now_ms, ours) = (cx.now_ms(), self.site);
        let Some(load) = SiteLoad::decode(&record.body).filter(|_| !record.ended) else {
            return Vec::new();
        };
        let Some((site, word, is_new)) = self.word(cx, record) else {
            return Vec::new();
        };
        // Until the members that it speaks of have come, it says nothing about them.
        if word.members == load.members {
            word.written = word.written.max(record.written);
            word.heard_ms = now_ms;
        }
        word.usage = load.usage;
        word.lost = load.lost.as_slice().to_vec();
        word.lost_written = record.written;
        word.load_members = load.members;
        word.acknowledged = load.acknowledged;
        word.place = load.place;
        let mut changes = Vec::new();
        if is_new {
            changes.push(Change::NewSite(site));
        }
        if word.lost.contains(&ours) && site != ours {
            changes.push(Change::CalledLost);
        }
        self.watching.heard_word(site, record.written);
        changes
    }

    /// A speaker's record is gone from the store.
    pub fn forget(&mut self, cx: &Context<'_>, key: &RecordKey) {
        if key.kind != RecordKind::SITE_MEMBERS {
            return;
        }
        let speaker = NodeId::from_bytes(key.subject);
        let site = cx
            .keyring
            .site_of(speaker)
            .and_then(|site| self.sites.get_mut(&site));
        if let Some(site) = site {
            site.words.retain(|word| word.speaker != speaker);
        }
    }

    /// Drops words whose records the store no longer has.
    pub fn prune(&mut self, store: &Store) {
        for site in self.sites.values_mut() {
            site.words
                .retain(|word| members_of(store, word.speaker).is_some());
        }
    }

    /// The words about a site that count: renewed lately, by speakers whom no other word that
    /// counts calls dead, and who need not leave the word to another. Without any fresh word the
    /// latest one counts, stale as it is.
    fn words<'a>(&'a self, view: &View<'a>, site: SiteId) -> Vec<&'a Word> {
        let Some(site) = self.sites.get(&site) else {
            return Vec::new();
        };
        let mut words: Vec<&Word> = site.words.iter().filter(|word| !word.ended).collect();
        let fresh = |word: &&Word| word.is_fresh(view);
        if words.iter().any(fresh) {
            words.retain(fresh);
        } else {
            let last = words.iter().map(|word| (word.written, word.speaker)).max();
            words.retain(|word| last == Some((word.written, word.speaker)));
        }
        if words.len() > 1 {
            let all = words.clone();
            words.retain(|word| !all.iter().any(|other| overrules(view, other, word)));
            if words.is_empty() {
                // Each overruled by another, in a ring: a site that speaks is never without a word.
                words.extend(
                    all.into_iter()
                        .max_by_key(|word| (word.written, word.speaker)),
                );
            }
        }
        words
    }
}

/// What reading the directory takes besides itself.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub store: &'a Store,
    pub clock: &'a Clock,
    pub now: Moment,
}

impl Word {
    fn of(speaker: NodeId) -> Self {
        Self {
            speaker,
            life: Life::default(),
            members: Version::default(),
            written: Stamp::default(),
            heard_ms: 0,
            ended: true,
            usage: Usage::default(),
            alive: 0,
            lost: Vec::new(),
            lost_written: Stamp::default(),
            load_members: Version::default(),
            acknowledged: Stamp::default(),
            place: Coordinates::new().place(),
        }
    }

    fn is_fresh(&self, view: &View<'_>) -> bool {
        view.now.uptime_ms.saturating_sub(self.heard_ms) < STALE_MS
            && view.clock.age_ms(view.now, self.written) < STALE_MS + SKEW_MS
    }
}

fn members_of(store: &Store, speaker: NodeId) -> Option<&Entry> {
    store.find(&RecordKey {
        realm: Realm::Cluster,
        kind: RecordKind::SITE_MEMBERS,
        subject: speaker.bytes(),
    })
}

/// Whether `other`'s word takes the word from `word`'s speaker: it says that the speaker is dead,
/// and knows its latest life; or that it is alive, and `other` has the lower id and was not called
/// dead by it. Two that call each other dead both count until one of them answers: the later word
/// wins.
fn overrules(view: &View<'_>, other: &Word, word: &Word) -> bool {
    if other.speaker == word.speaker {
        return false;
    }
    let Some(line) = line_about(view.store, other.speaker, word.speaker) else {
        return false;
    };
    let knows_life = line.life >= word.life;
    let back = line_about(view.store, word.speaker, other.speaker);
    let is_disputed =
        back.is_some_and(|line| line.health != Health::Alive && line.life >= other.life);
    match line.health {
        // One that said goodbye renews its word until its power goes: its heir's word counts.
        Health::Alive if is_disputed => false,
        Health::Alive => knows_life && other.speaker < word.speaker && other.written > word.written,
        _ if !knows_life => false,
        _ => !is_disputed || (other.written, other.speaker) > (word.written, word.speaker),
    }
}

/// What a speaker says of a node.
fn line_about(store: &Store, speaker: NodeId, node: NodeId) -> Option<protocol::peer::MemberLine> {
    let entry = members_of(store, speaker)?;
    SiteMembers::lines(entry.body()).find(|line| line.node == node)
}
