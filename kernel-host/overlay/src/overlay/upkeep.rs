//! What is done once in a while: renewals, fading, forgetting; and the start from a disk.
//!
//! Does:      repeats our own records, sweeps the store, notes when we were last up; after a long
//!            absence starts from what peers hold; picks neighbours to compare with.
//! Does not:  run often: `PERIOD_MS`.
//! Bounds:    `CONTACTS_MAX` contacts of discovery.
//! Trusts:    its own disk for what was verified when it was written.
//! Start at:  `Overlay::upkeep`.

use super::Overlay;
use super::journal::Happening;
use crate::context::{Save, Verdict};
use crate::store::authority::{self, AuthorRule};
use protocol::peer::{Realm, Record, Stamp};
use protocol::{Moment, NodeId, SiteId, Timestamp};
use std::collections::BTreeSet;

pub(super) const PERIOD_MS: u64 = 30_000;
/// Sites that fell silent or came back are looked for not more often than this, for the journal.
const SITES_MS: u64 = 2_000;
/// Contacts from discovery; the oldest make room.
pub(super) const CONTACTS_MAX: usize = crate::links::STRANGERS_MAX;
/// With fewer links than this, contacts are compared with as well.
pub(super) const LINKS_ENOUGH: usize = 2;
/// Where the disk says when we were last up.
const SEEN_KEY: &str = "overlay/seen";
/// Room for clocks when an acknowledgement is held against a tombstone.
const MARGIN_MS: u64 = 120_000;

impl Overlay {
    pub(super) fn upkeep(&mut self, now: Moment) {
        self.upkeep_ms = now.uptime_ms + self.core.dice.around(PERIOD_MS);
        if self.clock.fall_back(now) {
            self.stamp_anew(now);
        }
        self.renew_own(now);
        self.bury_replaced(now);
        self.trim_gone(now);
        self.choose_neighbour(now);
        self.save_seen(now);
        let is_off = self.clock.is_off(now);
        if is_off != self.journal.clock_is_off {
            self.journal.clock_is_off = is_off;
            self.journal.note(now, Happening::Clock { is_off });
        }
        self.save_contacts(now);
        self.sweep(now);
    }

    /// Notes sites that fell silent, or came back, since the last look.
    pub(super) fn note_sites(&mut self, now: Moment) {
        self.sites_ms = now.uptime_ms + SITES_MS;
        let view = self.view(now);
        let spoke = |site: &SiteId| self.directory.has_spoken(*site);
        let silent = |site: &SiteId| !self.directory.is_reachable(&view, *site);
        let silent: BTreeSet<SiteId> = (self.directory.sites().filter(spoke))
            .filter(silent)
            .collect();
        let before = std::mem::replace(&mut self.journal.silent_sites, silent.clone());
        for site in silent.difference(&before).copied() {
            self.journal.note(now, Happening::SiteLost { site });
        }
        for site in before.difference(&silent).copied() {
            // What was retired, or forgotten, meanwhile is not back.
            if self.directory.is_reachable(&self.view(now), site) {
                self.journal.note(now, Happening::SiteBack { site });
            }
        }
    }

    pub(super) fn save_seen(&mut self, now: Moment) {
        let seen = self.clock.wall(now).unix_ms().to_le_bytes().to_vec();
        self.core.outbox.saves.push_back(Save {
            key: SEEN_KEY.to_owned(),
            value: Some(seen),
        });
    }

    /// Members whose machine has come back under a new key.
    fn bury_replaced(&mut self, now: Moment) {
        let replaced = |node: &&NodeId| self.core.keyring.is_replaced(**node);
        let replaced: Vec<NodeId> = self.members.keys().filter(replaced).copied().collect();
        for node in replaced {
            self.swim.replaced(&mut self.core.context(now), node);
        }
    }

    fn sweep(&mut self, now: Moment) {
        let own_site = self.core.me.site;
        let mut cluster: Option<Option<Stamp>> = None;
        let acknowledged = |realm: Realm| -> Option<Stamp> {
            let view = crate::directory::View {
                store: &self.store,
                clock: &self.clock,
                now,
            };
            let of = |site: SiteId| match site == own_site {
                true => Some(self.acknowledged),
                false => self.directory.acknowledged(&view, site),
            };
            let sites: Vec<SiteId> = match realm {
                Realm::Cluster => self.directory.sites().collect(),
                Realm::Site(home) => std::iter::once(home)
                    .chain(self.directory.backup_sites(home))
                    .collect(),
            };
            let least = sites.into_iter().map(of).min().flatten()?;
            let margin = least.wall().unix_ms().saturating_sub(MARGIN_MS);
            Some(Stamp::from_wall(Timestamp::from_unix_ms(margin)))
        };
        let mut known: std::collections::BTreeMap<Realm, Option<Stamp>> =
            std::collections::BTreeMap::new();
        for realm in self.store.realms_with_tombstones() {
            let seen = match realm {
                Realm::Cluster => *cluster.get_or_insert_with(|| acknowledged(realm)),
                Realm::Site(_) => acknowledged(realm),
            };
            known.insert(realm, seen);
        }
        let mut cx = self.core.context(now);
        self.store.sweep(&mut cx, &self.clock, |realm| {
            known.get(&realm).copied().flatten()
        });
        self.store.drop_replaced(&mut cx);
        self.directory.prune(&self.store);
    }

    /// Our records and a peer's were equal: what everybody had said by then has reached us.
    pub(super) fn settle(&mut self, now: Moment) {
        let wall = Stamp::from_wall(self.clock.wall(now));
        let heard = self.directory.heard_from_all().unwrap_or(wall).min(wall);
        self.acknowledged = self.acknowledged.max(heard);
        self.doubts.set_catching(false);
    }

    /// What the disk held. After a long absence all that others may have ended is forgotten; our
    /// own objects are asked for at their home.
    pub(super) fn restore(&mut self, now: Moment, saved: Vec<(String, Vec<u8>)>) {
        let mut seen: Option<u64> = None;
        let mut records = Vec::new();
        for (key, value) in saved {
            if key == SEEN_KEY {
                seen = value.as_slice().try_into().ok().map(u64::from_le_bytes);
            } else if self.restore_contact(now, &key, &value) {
                continue;
            } else if key.starts_with("record/")
                && let Some(record) = Record::decode(&value)
            {
                records.push((record, value));
            }
        }
        // Certificates and rights first, as in a heal.
        records.sort_by_key(|(record, _)| authority::of(record.key.kind).class);
        self.learn_restored(now, &records);
        for (record, bytes) in records {
            self.restore_one(now, &record, &bytes);
        }
        let away_ms = seen.map(|seen| now.wall.unix_ms().abs_diff(seen));
        let is_long = away_ms.is_some_and(|away| away > self.store.limits().tombstone_ms);
        if is_long && self.rules.tombstone_horizon {
            self.start_anew(now);
        }
        self.backups_changed(now);
    }

    /// Proofs rest on each other, and a disk has no order: those that rest on others are shown
    /// again until a round teaches nothing. Who misses one here never gets it again: the store has
    /// it, and the author's other records would wait for it.
    fn learn_restored(&mut self, now: Moment, records: &[(Record, Vec<u8>)]) {
        let proofs = records.iter().map(|(record, _)| record);
        let is_proof = |record: &&Record| {
            let row = authority::of(record.key.kind);
            row.author == AuthorRule::Proof
        };
        let mut left: Vec<&Record> = proofs.filter(is_proof).collect();
        loop {
            let before = left.len();
            left.retain(|record| self.core.keyring.learn(now, record) == Verdict::UnknownAuthor);
            if left.is_empty() || left.len() == before {
                return;
            }
        }
    }

    fn restore_one(&mut self, now: Moment, record: &Record, bytes: &[u8]) {
        if self.store.restore(now, bytes).is_some() {
            if let Realm::Site(site) = record.key.realm {
                self.directory.add_site(site);
            }
            let cx = self.core.context(now);
            self.directory.learn(&cx, record);
        }
    }

    fn start_anew(&mut self, now: Moment) {
        self.journal.note(now, Happening::StartedAnew);
        let own: Vec<Record> = self
            .store
            .realms()
            .flat_map(|(_, table)| table.iter())
            .filter(|((kind, _), one)| {
                one.author == self.core.me.node
                    && authority::of(*kind).author == AuthorRule::Owner
                    && !one.ended
            })
            .filter_map(|(_, one)| one.record())
            .collect();
        let mut cx = self.core.context(now);
        self.store.forget_mergeable(&mut cx);
        self.doubts.set_catching(true);
        own.iter()
            .for_each(|record| self.doubts.put(now.uptime_ms, record));
    }

    pub(super) fn compare_with_neighbours(&mut self, now: Moment) {
        let neighbours = self.comparable(now);
        let mut cx = self.core.context(now);
        self.recon
            .handle_timeout(&mut cx, &self.store, &self.clock, &neighbours);
    }

    /// With whom we compare: links, and now and then somebody who keeps the same copies.
    fn comparable(&mut self, now: Moment) -> Vec<NodeId> {
        let mut nodes: Vec<NodeId> = self.links.neighbours().map(|(node, _)| node).collect();
        if nodes.len() < LINKS_ENOUGH {
            nodes.extend(self.contacts.iter().map(|contact| contact.node));
        }
        let backed = self.directory.backed().into_iter();
        let sites: Vec<SiteId> = self
            .directory
            .backup_sites(self.core.me.site)
            .chain(backed)
            .collect();
        if !sites.is_empty() {
            let at = usize::try_from(self.core.dice.below(sites.len() as u64)).unwrap_or(0);
            nodes.extend(sites.get(at).and_then(|site| self.someone_in(now, *site)));
        }
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }
}
