//! What this node holds of the cluster's records.
//!
//! Does:      judges a record (realm, authority, order, age, signature) before it is kept or passed
//!            on; keeps it in the form in which it travels; ends, fades and forgets.
//! Does not:  send anything (`recon`, `tree`) or read bodies, but of what proves itself.
//! Bounds:    `Limits::bytes_max`: three quarters full, unknown kinds are refused; full, everything
//!            but revocations and certificates is (`refused_full`).
//! Trusts:    nobody: a record is what its signature and the table `authority::AUTHORITY` allow.
//! Start at:  `Store::offer`.

pub mod authority;
mod fade;
pub mod order;
pub mod pen;
pub mod table;

use crate::clock::Clock;
use crate::context::{Context, Save, Verdict};
use crate::rules::Rules;
use authority::{AuthorRule, Authority, CLASSES, Span};
use order::{Rank, wins};
use pen::Pen;
use protocol::peer::recon::Mark;
use protocol::peer::{Realm, Record, RecordKey, RecordKind, Signature, Stamp, Version};
use protocol::{Moment, NodeId, SiteId};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
pub use table::{Entry, Table};
use table::{Place, place_of};

/// What a node keeps, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all records and their indices.
    pub bytes_max: usize,
    /// A tombstone is kept at least so long; a node that was away longer starts anew.
    pub tombstone_ms: u64,
    /// A record that fades is refused when it is older than this, and dropped half of it later.
    pub fade_ms: u64,
}

impl Limits {
    pub const USUAL: Self = Self {
        bytes_max: 6 << 20,
        tombstone_ms: 24 * 3_600_000,
        fade_ms: 600_000,
    };
}

/// What became of a record that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was new, and it is kept.
    Fresh,
    /// We had this very one.
    Known,
    /// We have a newer one.
    Older,
    /// It waits for its author's certificate.
    Waiting,
    /// It is older than the horizon and unknown here: its home site must vouch for it.
    Doubtful,
    Refused(Refusal),
}

/// Why a record was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Another realm's.
    NotOurs,
    /// Its author may not say this, or it is too large.
    Authority,
    Signature,
    /// Its author's right was taken away.
    Revoked,
    /// Its stamp lies in the future.
    Future,
    /// It has faded.
    Faded,
    Full,
}

/// What happened to records so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub fresh: u64,
    pub known: u64,
    pub older: u64,
    pub waiting: u64,
    pub doubtful: u64,
    pub refused_authority: u64,
    pub refused_signature: u64,
    pub refused_revoked: u64,
    pub refused_future: u64,
    pub refused_faded: u64,
    pub refused_full: u64,
    pub forgotten: u64,
    pub faded: u64,
    pub revoked: u64,
}

/// Records by realm.
#[derive(Debug)]
pub struct Store {
    site: SiteId,
    rules: Rules,
    limits: Limits,
    realms: BTreeMap<Realm, Table>,
    /// Sites whose realms we keep a copy of.
    backed: BTreeSet<SiteId>,
    tombstones: BTreeSet<RecordKey>,
    /// Tombstones of a realm that were written before this are forgotten everywhere, or soon.
    forgotten_before: BTreeMap<Realm, Stamp>,
    pen: Pen,
    bytes: usize,
    counters: Counters,
}

impl Store {
    pub fn new(site: SiteId, rules: Rules, limits: Limits) -> Self {
        Self {
            site,
            rules,
            limits,
            realms: BTreeMap::new(),
            backed: BTreeSet::new(),
            tombstones: BTreeSet::new(),
            forgotten_before: BTreeMap::new(),
            pen: Pen::default(),
            bytes: 0,
            counters: Counters::default(),
        }
    }

    /// Whether we keep this realm's records.
    pub fn keeps(&self, realm: Realm) -> bool {
        match realm {
            Realm::Cluster => true,
            Realm::Site(site) => site == self.site || self.backed.contains(&site),
        }
    }

    pub fn realms(&self) -> impl Iterator<Item = (Realm, &Table)> {
        self.realms.iter().map(|(realm, table)| (*realm, table))
    }

    pub fn table(&self, realm: Realm) -> Option<&Table> {
        self.realms.get(&realm)
    }

    pub fn find(&self, key: &RecordKey) -> Option<&Entry> {
        self.realms.get(&key.realm)?.find(&place_of(key))
    }

    /// Whether this very version of a record is here, whatever its realm.
    pub fn holds(&self, mark: Mark) -> bool {
        let tables = self.realms.values();
        let mut classes = tables.flat_map(|table| (0..CLASSES).map(move |class| (table, class)));
        classes.any(|(table, class)| table.holds(class, mark))
    }

    pub fn of_kind(
        &self,
        realm: Realm,
        kind: RecordKind,
    ) -> impl Iterator<Item = (&Place, &Entry)> {
        self.realms
            .get(&realm)
            .into_iter()
            .flat_map(move |table| table.of_kind(kind))
    }

    pub fn realms_with_tombstones(&self) -> BTreeSet<Realm> {
        self.tombstones.iter().map(|key| key.realm).collect()
    }

    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    pub const fn bytes(&self) -> usize {
        self.bytes + self.pen.bytes()
    }

    /// Judges a record that came from elsewhere, and keeps it if it is good and new.
    pub fn offer(&mut self, cx: &mut Context<'_>, clock: &mut Clock, record: &Record) -> Outcome {
        let bytes: Rc<[u8]> = record.encode().into();
        self.offer_encoded(cx, clock, record, bytes)
    }

    /// The same, for a record that is at hand in its encoded form too.
    pub fn offer_encoded(
        &mut self,
        cx: &mut Context<'_>,
        clock: &mut Clock,
        record: &Record,
        bytes: Rc<[u8]>,
    ) -> Outcome {
        let outcome = self.judge(cx, clock, record, &bytes);
        self.count(outcome);
        match outcome {
            Outcome::Fresh => {
                clock.observe(record.written);
                self.keep(cx, record, bytes);
            }
            Outcome::Waiting => self.pen.put(record.clone()),
            _ => {}
        }
        outcome
    }

    /// The cheap questions come first; the signature is checked last.
    fn judge(&self, cx: &mut Context<'_>, clock: &Clock, record: &Record, bytes: &[u8]) -> Outcome {
        let row = authority::of(record.key.kind);
        if !self.keeps(record.key.realm) {
            return Outcome::Refused(Refusal::NotOurs);
        }
        let rank = Rank::of(record);
        let held = self.find(&record.key);
        if let Some(held) = held {
            if held.rank() == rank {
                return Outcome::Known;
            }
            if !wins(row, self.rules, &rank, &held.rank()) {
                return Outcome::Older;
            }
        }
        if clock.is_ahead(cx.now, record.written) {
            return Outcome::Refused(Refusal::Future);
        }
        if row.span == Span::Fades && clock.age_ms(cx.now, record.written) > self.limits.fade_ms {
            return Outcome::Refused(Refusal::Faded);
        }
        let subject = NodeId::from_bytes(record.key.subject);
        if record.key.kind == RecordKind::CERTIFICATE
            && cx.keyring.is_long_replaced(subject)
            && !self.needs_certificate(subject)
        {
            return Outcome::Refused(Refusal::Revoked);
        }
        let horizon = self.forgotten_before.get(&record.key.realm);
        if record.ended && held.is_none() && horizon.is_some_and(|at| record.written < *at) {
            return Outcome::Refused(Refusal::Faded);
        }
        if let Some(refused) = verify(cx, row, record, bytes) {
            return refused;
        }
        if !row.permits(record, cx.keyring.site_of(record.author)) {
            return Outcome::Refused(Refusal::Authority);
        }
        let age_ms = clock.age_ms(cx.now, record.written);
        let is_object = row.author == AuthorRule::Owner && !record.ended;
        let horizon = self.rules.tombstone_horizon;
        if horizon && is_object && held.is_none() && age_ms > self.limits.tombstone_ms {
            return Outcome::Doubtful;
        }
        if self.is_full_for(row, record.body.len()) {
            return Outcome::Refused(Refusal::Full);
        }
        Outcome::Fresh
    }

    /// Takes in a record whose home site vouches for it, however old it is.
    pub fn accept_vouched(&mut self, cx: &mut Context<'_>, record: &Record) -> bool {
        let bytes: Rc<[u8]> = record.encode().into();
        let row = authority::of(record.key.kind);
        let is_good = self.keeps(record.key.realm)
            && self.find(&record.key).is_none()
            && verify(cx, row, record, &bytes).is_none()
            && row.permits(record, cx.keyring.site_of(record.author))
            && !self.is_full_for(row, record.body.len());
        if is_good {
            self.keep(cx, record, bytes);
        }
        is_good
    }

    fn is_full_for(&self, row: &Authority, body_bytes: usize) -> bool {
        let after = self.bytes() + body_bytes + table::ENTRY_BYTES;
        match row.class {
            0 | 1 => after > self.limits.bytes_max + self.limits.bytes_max / 8,
            2 | 3 => after > self.limits.bytes_max,
            _ => after > self.limits.bytes_max / 4 * 3,
        }
    }

    fn count(&mut self, outcome: Outcome) {
        let counters = &mut self.counters;
        *match outcome {
            Outcome::Fresh => &mut counters.fresh,
            Outcome::Known => &mut counters.known,
            Outcome::Older => &mut counters.older,
            Outcome::Waiting => &mut counters.waiting,
            Outcome::Doubtful => &mut counters.doubtful,
            Outcome::Refused(Refusal::NotOurs | Refusal::Authority) => {
                &mut counters.refused_authority
            }
            Outcome::Refused(Refusal::Signature) => &mut counters.refused_signature,
            Outcome::Refused(Refusal::Revoked) => &mut counters.refused_revoked,
            Outcome::Refused(Refusal::Future) => &mut counters.refused_future,
            Outcome::Refused(Refusal::Faded) => &mut counters.refused_faded,
            Outcome::Refused(Refusal::Full) => &mut counters.refused_full,
        } += 1;
    }

    /// Keeps a record of our own, which we have just signed.
    pub fn keep_own(&mut self, cx: &mut Context<'_>, record: &Record) -> Result<(), Refusal> {
        let row = authority::of(record.key.kind);
        if !self.keeps(record.key.realm) || !row.permits(record, Some(cx.site)) {
            return Err(Refusal::Authority);
        }
        if row.author == AuthorRule::Proof && cx.keyring.learn(cx.now, record) != Verdict::Good {
            return Err(Refusal::Signature);
        }
        if self.is_full_for(row, record.body.len()) {
            return Err(Refusal::Full);
        }
        self.keep(cx, record, record.encode().into());
        Ok(())
    }

    /// Whether a record of ours with these properties would replace what is held.
    pub fn would_win(&self, record: &Record) -> bool {
        let row = authority::of(record.key.kind);
        self.find(&record.key)
            .is_none_or(|held| wins(row, self.rules, &Rank::of(record), &held.rank()))
    }

    fn keep(&mut self, cx: &mut Context<'_>, record: &Record, bytes: Rc<[u8]>) {
        if authority::of(record.key.kind).span != Span::Fades {
            let value = Some(bytes.to_vec());
            cx.out.saves.push_back(Save {
                key: save_key(&record.key),
                value,
            });
        }
        self.insert(record, bytes, cx.now_ms());
        if record.key.kind == RecordKind::REVOCATION {
            self.purge_revoked(cx);
        }
    }

    fn insert(&mut self, record: &Record, bytes: Rc<[u8]>, heard_ms: u64) {
        let was_ended = self.find(&record.key).is_some_and(|one| one.ended);
        if record.ended {
            self.tombstones.insert(record.key);
        } else if was_ended {
            self.tombstones.remove(&record.key);
        }
        let table = self.realms.entry(record.key.realm).or_default();
        let before = table.bytes();
        table.insert(place_of(&record.key), Entry::new(record, bytes, heard_ms));
        self.bytes = self.bytes - before + table.bytes();
    }

    /// Records of ours whose stamps lie too far ahead for others to take them.
    pub fn written_ahead(&self, clock: &Clock, now: Moment, me: NodeId) -> Vec<Record> {
        let rows = self.realms.values().flat_map(Table::iter);
        let ours = rows
            .map(|(_, entry)| entry)
            .filter(|entry| entry.author == me);
        let ahead = ours.filter(|entry| clock.is_ahead(now, entry.written));
        ahead.filter_map(Entry::record).collect()
    }

    /// All records that a disk should hold.
    pub fn saved(&self) -> impl Iterator<Item = (String, Vec<u8>)> {
        let tables = self.realms.iter();
        let rows = tables.flat_map(|(realm, table)| table.iter().map(|row| (*realm, row)));
        let lasting = rows.filter(|(_, ((kind, _), _))| authority::of(*kind).span != Span::Fades);
        lasting.map(|(realm, ((kind, subject), entry))| {
            let key = RecordKey {
                realm,
                kind: *kind,
                subject: *subject,
            };
            (save_key(&key), entry.bytes().to_vec())
        })
    }

    /// Takes in what the disk held. It was verified when it was written.
    pub fn restore(&mut self, now: Moment, bytes: &[u8]) -> Option<Record> {
        let record = Record::decode(bytes)?;
        if !self.would_win(&record) {
            return None;
        }
        self.insert(&record, bytes.into(), now.uptime_ms);
        Some(record)
    }

    fn remove(&mut self, cx: &mut Context<'_>, key: &RecordKey) -> Option<Entry> {
        let table = self.realms.get_mut(&key.realm)?;
        let before = table.bytes();
        let entry = table.remove(&place_of(key))?;
        self.bytes = self.bytes - before + table.bytes();
        if table.is_empty() {
            self.realms.remove(&key.realm);
        }
        self.tombstones.remove(key);
        if authority::of(key.kind).span != Span::Fades {
            cx.out.saves.push_back(Save {
                key: save_key(key),
                value: None,
            });
        }
        Some(entry)
    }

    /// Whether a record of this author waits for its certificate.
    pub fn waits_for(&self, author: NodeId) -> bool {
        self.pen.has(author)
    }

    /// Records that waited and can be judged now.
    pub fn freed(&mut self, learned: &Record) -> Vec<Record> {
        match learned.key.kind {
            RecordKind::CERTIFICATE => self.pen.take(NodeId::from_bytes(learned.key.subject)),
            RecordKind::GRANT => self.pen.take_all(),
            _ => Vec::new(),
        }
    }

    /// Records of this author that waited for its certificate.
    pub fn freed_of(&mut self, author: NodeId) -> Vec<Record> {
        self.pen.take(author)
    }

    /// Panics if something does not fit together.
    pub fn check(&self) {
        self.realms
            .iter()
            .for_each(|(realm, table)| table.check(*realm));
        let bytes: usize = self.realms.values().map(Table::bytes).sum();
        assert_eq!(bytes, self.bytes, "bytes of the store");
        assert!(
            self.bytes <= self.limits.bytes_max / 8 * 10,
            "the store is too large"
        );
        for key in &self.tombstones {
            assert!(
                self.find(key).is_some_and(|one| one.ended),
                "{key:?} is no tombstone"
            );
        }
    }
}

/// The name of a record on the disk.
pub fn save_key(key: &RecordKey) -> String {
    use std::fmt::Write;
    let mut name = String::from("record/");
    let _ = match key.realm {
        Realm::Cluster => write!(name, "cluster"),
        Realm::Site(site) => write!(name, "{site}"),
    };
    let _ = write!(name, "/{}/", key.kind.0);
    key.subject.iter().for_each(|byte| {
        let _ = write!(name, "{byte:02x}");
    });
    name
}

/// `None`: the record is by its author, or proves itself.
fn verify(cx: &mut Context<'_>, row: &Authority, record: &Record, bytes: &[u8]) -> Option<Outcome> {
    let outcome = |verdict| match verdict {
        Verdict::Good => None,
        Verdict::Bad => Some(Outcome::Refused(Refusal::Signature)),
        Verdict::UnknownAuthor => Some(Outcome::Waiting),
        Verdict::Revoked => Some(Outcome::Refused(Refusal::Revoked)),
    };
    if row.author == AuthorRule::Proof {
        let learned = outcome(cx.keyring.learn(cx.now, record));
        if learned.is_some() || row.span == Span::Grows {
            return learned;
        }
    }
    let signed = Record::signed_part(bytes);
    outcome(cx.keyring.verify(record.author, signed, &record.signature))
}

/// A record as it is signed: with an empty signature behind it.
pub fn unsigned(
    key: RecordKey,
    author: NodeId,
    version: Version,
    written: Stamp,
    ended: bool,
    body: Vec<u8>,
) -> Record {
    Record {
        key,
        author,
        version,
        written,
        ended,
        body,
        signature: Signature([0; 64]),
    }
}
