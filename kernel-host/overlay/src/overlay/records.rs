//! Records on their way through: from the wire into the store, from here to everybody.
//!
//! Does:      takes records in, tells the parts that live on them, passes them on only then; signs
//!            what is ours; keeps from a consumer what it failed on twice.
//! Does not:  judge (`store`).
//! Bounds:    `STRIKES_MAX` records under suspicion; beyond, the one with the least key is
//!            forgiven.
//! Trusts:    nobody.
//! Start at:  `Overlay::take`, `Overlay::publish`.

use super::journal::Happening;
use super::{Draft, NodeState, Overlay, Refused};
use crate::clock::AHEAD_MS_MAX;
use crate::context::Event;
use crate::directory::{Change, STALE_MS};
use crate::recon::home_of;
use crate::store::authority::{self, AuthorRule, Span};
use crate::store::{Entry, Outcome, Refusal, unsigned};
use protocol::peer::directory::DirectoryMessage;
use protocol::peer::members::Health;
use protocol::peer::recon::unpack;
use protocol::peer::{
    Channel, Contact, Life, Message, Realm, Record, RecordKey, RecordKind, SiteMembers, Stamp,
    Version,
};
use protocol::{Moment, NodeId, SiteId};
use std::rc::Rc;

/// So many new records of one bundle are named to neighbours. More are left to reconciliation.
const NAMED_MAX: usize = 32;
const STRIKES_MAX: usize = 256;
const STRIKES_OUT: u8 = 2;
/// Nodes of one foreign word about our site that are asked whether they are there; they tell us of
/// the others.
const UNKNOWN_MAX: usize = 3;
/// No machine boots as often: an accusation of such a life is a lie.
const BOOTS_MAX: u32 = 1 << 31;
/// Our own records that fade are repeated this often.
pub(super) const RENEW_MS: u64 = 240_000;

impl Overlay {
    /// Records that a neighbour sent because we lack them.
    pub(super) fn unpack(&mut self, now: Moment, from: Contact, bundle: &[u8]) {
        let mut news: Vec<(Record, Rc<[u8]>)> = Vec::new();
        let mut is_ahead = false;
        for bytes in unpack(bundle) {
            let Some(record) = Record::decode(bytes) else {
                self.counters.malformed += 1;
                continue;
            };
            let bytes: Rc<[u8]> = bytes.into();
            let mark = Entry::new(&record, Rc::clone(&bytes), 0).mark(&record.key);
            let has_waited = self.store.waits_for(record.author);
            let outcome = self.take(now, from, &record, Rc::clone(&bytes));
            match outcome {
                Outcome::Fresh => news.push((record, bytes)),
                // Which realms are ours may change at any moment.
                Outcome::Refused(Refusal::NotOurs) => {}
                Outcome::Older | Outcome::Refused(_) | Outcome::Doubtful => {
                    is_ahead |= outcome == Outcome::Refused(Refusal::Future);
                    self.recon.refuse(now.uptime_ms, mark);
                }
                // Its author's certificate may be among what nothing needed until now.
                Outcome::Waiting if !has_waited => self.recon.pardon(),
                Outcome::Known | Outcome::Waiting => {}
            }
        }
        if is_ahead {
            // Theirs or ours: whose clock is wrong?
            self.ask_time(now, from.node);
        }
        if news.is_empty() {
            return;
        }
        // A few go on by name; of many, sums tell sooner who lacks them.
        let is_crowd = news.len() > NAMED_MAX;
        for (record, bytes) in &news {
            let is_copy = matches!(record.key.realm, Realm::Site(_)) && from.site != self.me().site;
            if is_copy || !is_crowd {
                self.pass_on_copy(now, from, record, bytes);
            }
        }
        self.recon.learned(now.uptime_ms, from.node, is_crowd);
    }

    fn ask_time(&mut self, now: Moment, of: NodeId) {
        let wall = Stamp::from_wall(self.clock.wall(now));
        let ask = DirectoryMessage::Ask { number: 0, wall };
        let mut cx = self.core.context(now);
        cx.send(of, Channel::Datagram, Message::Directory(ask));
    }

    /// A peer says what time it is. If that makes us believe another one, what we refused for being
    /// ahead may be right.
    pub(super) fn hear_time(&mut self, now: Moment, from: NodeId, wall: Stamp) {
        let before = self.clock.wall(now);
        self.clock.hear(now, from, wall);
        let after = self.clock.wall(now);
        if after.unix_ms().abs_diff(before.unix_ms()) > AHEAD_MS_MAX {
            self.recon.pardon();
            self.recon.meet(now.uptime_ms, from);
        }
    }

    /// One record, by whatever way it came. The caller passes it on if it is `Fresh`.
    pub(super) fn take(
        &mut self,
        now: Moment,
        from: Contact,
        record: &Record,
        bytes: Rc<[u8]>,
    ) -> Outcome {
        self.counters.payloads_received += 1;
        let before = self.site_before(now, record);
        let mut cx = self.core.context(now);
        let mut outcome = self
            .store
            .offer_encoded(&mut cx, &mut self.clock, record, bytes);
        if outcome == Outcome::Doubtful {
            let author_site = self.core.keyring.site_of(record.author);
            if home_of(&record.key, author_site) == Some(from.site) {
                let mut cx = self.core.context(now);
                let is_good = self.store.accept_vouched(&mut cx, record);
                self.doubts.settle(&record.key);
                outcome = if is_good {
                    Outcome::Fresh
                } else {
                    Outcome::Known
                };
            } else {
                self.doubts.put(now.uptime_ms, record);
            }
        }
        if outcome == Outcome::Fresh {
            self.stored(now, record, &before);
            self.free(now, from, record);
        }
        outcome
    }

    /// What was known until now of the members of a site, if this is a word about them: by the
    /// same speaker, or else by others. Nothing: it is the first.
    fn site_before(&self, now: Moment, record: &Record) -> Vec<(NodeId, Health)> {
        if record.key.kind != RecordKind::SITE_MEMBERS {
            return Vec::new();
        }
        let body = self.store.find(&record.key).filter(|entry| !entry.ended);
        if let Some(body) = body.map(Entry::body) {
            let lines = SiteMembers::lines(body);
            return lines.map(|line| (line.node, line.health)).collect();
        }
        match self.core.keyring.site_of(record.author) {
            Some(site) => self.directory.health(&self.view(now), site),
            None => Vec::new(),
        }
    }

    /// Records that waited for this one.
    fn free(&mut self, now: Moment, from: Contact, learned: &Record) {
        let freed = self.store.freed(learned);
        self.take_freed(now, from, freed);
    }

    pub(super) fn take_freed(&mut self, now: Moment, from: Contact, freed: Vec<Record>) {
        for record in freed {
            let bytes: Rc<[u8]> = record.encode().into();
            if self.take(now, from, &record, bytes) == Outcome::Fresh {
                self.recon.learned(now.uptime_ms, from.node, true);
            }
        }
    }

    /// A record is kept: whoever lives on it is told.
    fn stored(&mut self, now: Moment, record: &Record, before: &[(NodeId, Health)]) {
        let cx = self.core.context(now);
        let changes = self.directory.learn(&cx, record);
        for change in changes {
            self.directory_changed(now, change, record, before);
        }
        let me = self.core.me.node;
        let is_word = [RecordKind::SITE_MEMBERS, RecordKind::SITE_LOAD].contains(&record.key.kind);
        if record.author == me && is_word && !record.ended {
            self.directory.speech.has_old_word(now.uptime_ms);
        }
        if record.key.kind == RecordKind::NODE_CARD
            && self.directory.speech.is_speaker()
            && self.usage().differs_from(&self.directory.speech.said)
        {
            self.directory.speech.load_changed(now.uptime_ms);
        }
        if self.is_poison(record) {
            self.counters.poisoned += 1;
            return;
        }
        self.core
            .outbox
            .events
            .push_back(Event::Stored(Box::new(record.clone())));
    }

    fn directory_changed(
        &mut self,
        now: Moment,
        change: Change,
        record: &Record,
        before: &[(NodeId, Health)],
    ) {
        match change {
            Change::NewSite(_) => self.backups_changed(now),
            Change::Retired(site) => {
                self.journal.note(now, Happening::SiteRetired { site });
                self.backups_changed(now);
            }
            Change::Members(site) if site != self.core.me.site => {
                self.note_far_changes(now, site, record, before);
            }
            Change::Members(_) => self.join_unknown(now, record),
            Change::Accused(life) => self.answer_accusation(now, life),
            Change::CalledLost => self.directory.speech.load_changed(now.uptime_ms),
        }
    }

    /// Another speaker of our site has members whom we have never met: where nodes of a site don't
    /// hear each other's calls, that is how its parts find each other.
    fn join_unknown(&mut self, now: Moment, record: &Record) {
        if record.author == self.core.me.node || record.ended {
            return;
        }
        self.doubt_speaker(now, record);
        let lines = SiteMembers::lines(&record.body);
        let there = lines.filter(|line| line.health == Health::Alive);
        let unknown: Vec<Contact> = there
            .filter(|line| !self.members.contains_key(&line.node))
            .map(|line| Contact {
                node: line.node,
                site: self.core.me.site,
                address: line.address,
            })
            .filter(|one| one.node != self.core.me.node)
            .take(UNKNOWN_MAX)
            .collect();
        for contact in unknown {
            self.swim.join(&mut self.core.context(now), contact);
        }
    }

    /// A speaker of our site of whose life we know nothing: its word counts elsewhere while it is
    /// fresh, for only a word of ours could say that it is gone.
    fn doubt_speaker(&mut self, now: Moment, record: &Record) {
        let speaker = record.author;
        let is_there = self
            .members
            .get(&speaker)
            .is_some_and(|one| one.state.is_there());
        let is_over = self.core.keyring.is_replaced(speaker);
        let is_fresh = !is_over && self.clock.age_ms(now, record.written) < STALE_MS;
        let mut lines = SiteMembers::lines(&record.body);
        let line = lines.find(|line| line.node == speaker && line.health == Health::Alive);
        if let Some(line) = line.filter(|_| is_fresh && !is_there) {
            let contact = Contact {
                node: speaker,
                site: self.core.me.site,
                address: line.address,
            };
            self.swim
                .doubt(&mut self.core.context(now), contact, line.life);
        }
    }

    /// Another speaker of our site holds us for dead: only a later life answers that.
    pub(super) fn answer_accusation(&mut self, now: Moment, accused: Life) {
        let is_possible = accused.boots() < BOOTS_MAX;
        if is_possible && accused >= self.life && self.directory.speech.is_speaker() {
            let life = self.life.after(accused);
            self.core.outbox.events.push_back(Event::Reborn { life });
            self.life = life;
            self.directory.speech.changed(now.uptime_ms);
        }
    }

    /// Which sites keep what changed.
    pub(super) fn backups_changed(&mut self, now: Moment) {
        self.replan_soon(now);
        let backed = self.directory.backed();
        let mut cx = self.core.context(now);
        self.store.set_backed(&mut cx, backed);
        self.watch(now);
    }

    /// Lines for the journal: a site that is new here, and who is new, gone or back in a known one.
    fn note_far_changes(
        &mut self,
        now: Moment,
        site: SiteId,
        record: &Record,
        before: &[(NodeId, Health)],
    ) {
        let lines = SiteMembers::lines(&record.body).filter(|_| !record.ended);
        if before.is_empty() {
            let alive = lines.filter(|line| line.health == Health::Alive).count();
            if alive > 0 {
                let alive = u32::try_from(alive).unwrap_or(u32::MAX);
                self.journal.note(now, Happening::SiteFound { site, alive });
            }
            return;
        }
        for line in lines {
            let was = before.iter().find(|(node, _)| *node == line.node);
            let was = was.map(|(_, health)| *health);
            if was == Some(line.health) || was.is_none() && line.health != Health::Alive {
                continue;
            }
            let node = line.node;
            let what = match line.health {
                Health::Alive => Happening::NodeAlive { node, site },
                Health::Left => Happening::NodeLeft { node, site },
                Health::Dead | Health::Other(_) => Happening::NodeDead { node, site },
            };
            self.journal.note(now, what);
        }
    }

    /// Writes a record in our name and spreads it.
    ///
    /// # Errors
    ///
    /// Why it was not written. Nothing was changed.
    pub(super) fn publish(&mut self, now: Moment, draft: Draft) -> Result<(), Refused> {
        let record = self.sign(now, draft)?;
        let before = self.site_before(now, &record);
        let mut cx = self.core.context(now);
        self.store
            .keep_own(&mut cx, &record)
            .map_err(|refusal| match refusal {
                Refusal::Full => Refused::Full,
                _ => Refused::Authority,
            })?;
        let row = authority::of(record.key.kind);
        let is_word = [RecordKind::SITE_MEMBERS, RecordKind::SITE_LOAD].contains(&record.key.kind);
        if row.span == Span::Fades && !is_word {
            self.renewals
                .insert(record.key, now.uptime_ms + self.core.dice.around(RENEW_MS));
        }
        let cx = self.core.context(now);
        let changes = self.directory.learn(&cx, &record);
        for change in changes {
            self.directory_changed(now, change, &record, &before);
        }
        self.spread(now, &record);
        Ok(())
    }

    /// Tells everybody who keeps the realm.
    pub(super) fn spread(&mut self, now: Moment, record: &Record) {
        if let Realm::Site(home) = record.key.realm {
            self.push_to_keepers(now, home, record);
        }
        self.pass_on_own(now, record);
    }

    /// One node of each site that keeps copies gets the record and spreads it there.
    fn push_to_keepers(&mut self, now: Moment, home: SiteId, record: &Record) {
        let keepers: Vec<SiteId> = self.directory.backup_sites(home).collect();
        for site in keepers {
            let Some(to) = self.someone_in(now, site) else {
                continue;
            };
            let mut packer = protocol::peer::recon::Packer::default();
            if packer.add(&record.encode()) {
                let mut cx = self.core.context(now);
                let channel = protocol::peer::Channel::Datagram;
                crate::recon::send(&mut cx, to, channel, packer.finish());
            }
        }
    }

    fn sign(&mut self, now: Moment, draft: Draft) -> Result<Record, Refused> {
        let row = authority::of(draft.kind);
        let me = self.core.me.node;
        let key = RecordKey {
            realm: draft.realm,
            kind: draft.kind,
            subject: draft.subject,
        };
        if draft.body.len() > row.body_max {
            return Err(Refused::Authority);
        }
        let held = self.store.find(&key);
        if self.doubts.is_catching() && row.author == AuthorRule::Owner {
            return Err(Refused::Catching);
        }
        if row.author == AuthorRule::Member && self.clock.is_off(now) {
            return Err(Refused::Clock);
        }
        let version = next_version(row.author, self.life, draft.epoch, held);
        let written = self.clock.stamp(now);
        let mut record = unsigned(key, me, version, written, draft.ended, draft.body);
        let bytes = record.encode();
        record.signature = self.core.keyring.sign(Record::signed_part(&bytes));
        if row.span != Span::Grows && !self.store.would_win(&record) {
            return Err(Refused::Fenced);
        }
        Ok(record)
    }

    /// Repeats our own records that would fade.
    pub(super) fn renew_own(&mut self, now: Moment) {
        let due = self.renewals.iter().filter(|(_, at)| **at <= now.uptime_ms);
        let due: Vec<RecordKey> = due.map(|(key, _)| *key).collect();
        for key in due {
            self.renewals.remove(&key);
            let Some(entry) = self.store.find(&key).filter(|one| !one.ended) else {
                continue;
            };
            let draft = Draft {
                realm: key.realm,
                kind: key.kind,
                subject: key.subject,
                epoch: 0,
                ended: false,
                body: entry.body().to_vec(),
            };
            let _ = self.publish(now, draft);
        }
    }

    /// What we wrote with a clock that ran ahead is refused by everybody: it is said again.
    pub(super) fn stamp_anew(&mut self, now: Moment) {
        for record in self
            .store
            .written_ahead(&self.clock, now, self.core.me.node)
        {
            let draft = Draft {
                realm: record.key.realm,
                kind: record.key.kind,
                subject: record.key.subject,
                epoch: record.version.epoch,
                ended: record.ended,
                body: record.body,
            };
            let _ = self.publish(now, draft);
        }
    }

    /// A consumer failed on a record.
    pub(super) fn strike(&mut self, now: Moment, key: &RecordKey) {
        let Some(version) = self.store.find(key).map(|entry| entry.version) else {
            return;
        };
        let (of, strikes) = self.strikes.entry(*key).or_insert((version, 0));
        if *of != version {
            (*of, *strikes) = (version, 0);
        }
        *strikes = strikes.saturating_add(1);
        if *strikes == STRIKES_OUT {
            let (kind, subject) = (key.kind.0, key.subject);
            self.journal.note(now, Happening::Poison { kind, subject });
        }
        if self.strikes.len() > STRIKES_MAX {
            self.strikes.pop_first();
        }
    }

    fn is_poison(&self, record: &Record) -> bool {
        self.strikes
            .get(&record.key)
            .is_some_and(|(of, strikes)| *of == record.version && *strikes >= STRIKES_OUT)
    }

    /// Somebody there who may answer.
    pub(super) fn someone_in(&mut self, now: Moment, site: SiteId) -> Option<NodeId> {
        let nodes: Vec<NodeId> = if site == self.core.me.site {
            let there = self
                .members
                .iter()
                .filter(|(_, one)| one.state == NodeState::Alive);
            there.map(|(node, _)| *node).collect()
        } else {
            let known = self.contacts.iter().filter(|one| one.site == site);
            let mut nodes = self.directory.targets(&self.view(now), site);
            nodes.extend(known.map(|one| one.node));
            nodes
        };
        let at = self.core.dice.below(nodes.len() as u64);
        nodes.get(usize::try_from(at).unwrap_or(0)).copied()
    }
}

fn next_version(rule: AuthorRule, life: Life, epoch: u64, held: Option<&Entry>) -> Version {
    let held = held.map(|entry| entry.version).unwrap_or_default();
    let epoch = match rule {
        // Our own word: a later boot's is newer, whatever is left of the earlier one.
        AuthorRule::Subject => held.epoch.max(u64::from(life.boots())),
        _ => epoch,
    };
    let seq = if epoch == held.epoch { held.seq } else { 0 };
    Version {
        epoch,
        seq: seq.saturating_add(1),
    }
}
