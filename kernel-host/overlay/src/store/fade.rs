//! How records go: they fade, are forgotten, or lose their author.
//!
//! Does:      drops what its author no longer repeats, tombstones that everybody has seen, and all
//!            that a revoked node wrote.
//! Does not:  decide when: `Overlay` calls once in a while.
//! Bounds:    one pass over the kinds that fade and over the tombstones.
//! Trusts:    the directory for what each site has acknowledged.
//! Start at:  `Store::sweep`.

use super::authority::{AUTHORITY, AuthorRule, Span};
use super::{Entry, Store, authority};
use crate::clock::Clock;
use crate::context::{Context, Event};
use protocol::peer::{Realm, RecordKey, RecordKind, Stamp};
use protocol::{NodeId, SiteId, Timestamp};
use std::collections::BTreeSet;

/// Tombstones that wait for acknowledgements that the rule does not ask for (a test's switch).
const NO_HORIZON_MS: u64 = 5_000;
/// A tombstone that came late is kept so long at least, for the rest of the site.
const RIPEN_MS: u64 = 600_000;

impl Store {
    /// Sites whose realms we keep besides our own. Others' records are dropped.
    pub fn set_backed(&mut self, cx: &mut Context<'_>, backed: BTreeSet<SiteId>) {
        if self.backed == backed {
            return;
        }
        self.backed = backed;
        let gone: Vec<RecordKey> = self
            .realms()
            .filter(|(realm, _)| !self.keeps(*realm))
            .flat_map(|(realm, table)| keys_of(realm, table.iter().map(|(place, _)| *place)))
            .collect();
        for key in gone {
            self.remove(cx, &key);
        }
    }

    /// Drops what has faded, and tombstones that are older than `acknowledged` allows: a function
    /// of the realm, because its keepers must have seen them.
    pub fn sweep(
        &mut self,
        cx: &mut Context<'_>,
        clock: &Clock,
        acknowledged: impl Fn(Realm) -> Option<Stamp>,
    ) {
        self.drop_faded(cx, clock);
        self.move_horizon(cx, clock, acknowledged);
        let forgotten: Vec<RecordKey> = self
            .tombstones
            .iter()
            .filter(|key| self.is_past(cx, key))
            .copied()
            .collect();
        for key in forgotten {
            self.counters.forgotten += 1;
            self.remove(cx, &key);
            cx.out.events.push_back(Event::Forgotten(key));
        }
    }

    /// Tombstones written before the horizon are not taken in any more: nodes forget them at
    /// different moments, and must not get them back from each other.
    fn move_horizon(
        &mut self,
        cx: &Context<'_>,
        clock: &Clock,
        acknowledged: impl Fn(Realm) -> Option<Stamp>,
    ) {
        let wall_ms = clock.wall(cx.now).unix_ms();
        let aged_ms = wall_ms.saturating_sub(self.limits.tombstone_ms);
        let aged = Stamp::from_wall(Timestamp::from_unix_ms(aged_ms));
        for realm in self.realms_with_tombstones() {
            if let Some(seen) = acknowledged(realm) {
                let horizon = self.forgotten_before.entry(realm).or_default();
                *horizon = seen.min(aged).max(*horizon);
            }
        }
        let realms = &self.realms;
        self.forgotten_before
            .retain(|realm, _| realms.contains_key(realm));
    }

    fn is_past(&self, cx: &Context<'_>, key: &RecordKey) -> bool {
        let Some(entry) = self.find(key) else {
            return false;
        };
        let held_ms = cx.now_ms().saturating_sub(entry.heard_ms);
        if !self.rules.tombstone_horizon {
            return held_ms > NO_HORIZON_MS;
        }
        let horizon = self.forgotten_before.get(&key.realm);
        held_ms > self.limits.tombstone_ms.min(RIPEN_MS)
            && horizon.is_some_and(|at| entry.written < *at)
    }

    /// Kinds that fade go when their author has been silent; of each site the newest word stays,
    /// so that a lost site is still known.
    fn drop_faded(&mut self, cx: &mut Context<'_>, clock: &Clock) {
        let limit_ms = self.limits.fade_ms + self.limits.fade_ms / 2;
        let fading = || AUTHORITY.iter().filter(|row| row.span == Span::Fades);
        let mut gone: Vec<RecordKey> = Vec::new();
        for (realm, table) in &self.realms {
            for row in fading() {
                let old = table.of_kind(row.kind).filter(|(_, entry)| {
                    entry.author != cx.me && clock.age_ms(cx.now, entry.written) > limit_ms
                });
                let kept = |author: NodeId| {
                    let is_word = row.kind == RecordKind::SITE_MEMBERS;
                    is_word && self.is_last_word(cx, author)
                };
                let old = old.filter(|(_, entry)| !kept(entry.author));
                gone.extend(keys_of(*realm, old.map(|(place, _)| *place)));
            }
        }
        for key in gone {
            self.counters.faded += 1;
            self.remove(cx, &key);
        }
    }

    /// Whether no other speaker of the author's site has a later word.
    fn is_last_word(&self, cx: &Context<'_>, author: NodeId) -> bool {
        let site = cx.keyring.site_of(author);
        let words = self.of_kind(Realm::Cluster, RecordKind::SITE_MEMBERS);
        let mut last: Option<&Entry> = None;
        for (_, entry) in words.filter(|(_, one)| cx.keyring.site_of(one.author) == site) {
            let is_later =
                last.is_none_or(|last| (entry.written, entry.author) > (last.written, last.author));
            if is_later {
                last = Some(entry);
            }
        }
        last.is_some_and(|last| last.author == author && !last.ended)
    }

    /// Drops what revoked nodes wrote, except what proves itself.
    pub(super) fn purge_revoked(&mut self, cx: &mut Context<'_>) {
        let mut authors: BTreeSet<NodeId> = BTreeSet::new();
        for (_, table) in self.realms() {
            authors.extend(table.iter().map(|(_, entry)| entry.author));
        }
        authors.retain(|author| cx.keyring.is_revoked(*author));
        if authors.is_empty() {
            return;
        }
        let mut gone: Vec<RecordKey> = Vec::new();
        for (realm, table) in &self.realms {
            let theirs = table.iter().filter(|((kind, _), entry)| {
                let row = authority::of(*kind);
                let proves_itself = row.author == AuthorRule::Proof && row.span == Span::Grows;
                authors.contains(&entry.author) && !proves_itself
            });
            gone.extend(keys_of(*realm, theirs.map(|(place, _)| *place)));
        }
        for key in gone {
            self.counters.revoked += 1;
            self.remove(cx, &key);
        }
    }

    /// Drops the certificates of nodes whose machine has come back under new keys more than once,
    /// but for those that something we keep still needs: whoever lacks that could not verify it.
    pub fn drop_replaced(&mut self, cx: &mut Context<'_>) {
        let certificates = self.of_kind(Realm::Cluster, RecordKind::CERTIFICATE);
        let nodes = certificates.map(|((_, subject), _)| NodeId::from_bytes(*subject));
        let mut spent: BTreeSet<NodeId> = nodes
            .filter(|node| cx.keyring.is_long_replaced(*node))
            .collect();
        if spent.is_empty() {
            return;
        }
        for (_, table) in self.realms() {
            for author in table
                .iter()
                .filter_map(|(place, entry)| needs(*place, entry))
            {
                spent.remove(&author);
            }
        }
        for node in spent {
            let key = RecordKey {
                realm: Realm::Cluster,
                kind: RecordKind::CERTIFICATE,
                subject: node.bytes(),
            };
            self.counters.faded += 1;
            self.remove(cx, &key);
        }
    }

    /// Whether something that we keep, or that waits, takes this node's certificate to be verified.
    pub(super) fn needs_certificate(&self, node: NodeId) -> bool {
        self.pen.has(node) || {
            let mut tables = self.realms().map(|(_, table)| table);
            tables.any(|table| {
                let mut authors = table.iter().filter_map(|(place, one)| needs(*place, one));
                authors.any(|author| author == node)
            })
        }
    }

    /// Forgets everything that others may have ended meanwhile: this node was away for too long.
    pub fn forget_mergeable(&mut self, cx: &mut Context<'_>) {
        let keep = |kind: RecordKind| {
            let row = authority::of(kind);
            row.author == AuthorRule::Proof || row.span == Span::Grows
        };
        let gone: Vec<RecordKey> = self
            .realms()
            .flat_map(|(realm, table)| keys_of(realm, table.iter().map(|(place, _)| *place)))
            .filter(|key| !keep(key.kind))
            .collect();
        for key in gone {
            self.remove(cx, &key);
        }
    }
}

/// Whose certificate it takes to verify a record. Certificates don't count: each is proved by its
/// site's charter, and a machine that comes back without a disk each day would keep the papers of
/// all its days by a chain of those who admitted it.
fn needs(place: super::table::Place, entry: &Entry) -> Option<NodeId> {
    (place.0 != RecordKind::CERTIFICATE).then_some(entry.author)
}

fn keys_of(
    realm: Realm,
    places: impl Iterator<Item = super::table::Place>,
) -> impl Iterator<Item = RecordKey> {
    places.map(move |(kind, subject)| RecordKey {
        realm,
        kind,
        subject,
    })
}
