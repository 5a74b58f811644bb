//! Who may write what, which record holds, and what a store does with records.
#![allow(clippy::unwrap_used)]

mod world;

use netcore::dice::Dice;
use overlay::clock::Clock;
use overlay::coordinates::Coordinates;
use overlay::store::{Limits, Outcome, Refusal, Store};
use overlay::{Context, Event, Keyring, Outbox, Rules};
use proptest::prelude::{ProptestConfig, any, prop, proptest};
use protocol::peer::{Realm, Record, RecordKey, RecordKind, Signature, Stamp, Version};
use protocol::{Moment, NodeId, Timestamp};
use std::collections::BTreeSet;
use world::{START_MS, Stamps, node_id, site_id};

const HOUR_MS: u64 = 3_600_000;

struct Bench {
    store: Store,
    clock: Clock,
    keyring: Stamps,
    dice: Dice,
    coordinates: Coordinates,
    out: Outbox,
    now_ms: u64,
}

impl Bench {
    fn new() -> Self {
        Self::with(Limits::USUAL, Rules::ALL)
    }

    fn with(limits: Limits, rules: Rules) -> Self {
        Self {
            store: Store::new(site_id(0), rules, limits),
            clock: Clock::default(),
            keyring: Stamps {
                me: node_id(0, 1),
                known: None,
                revoked: BTreeSet::new(),
            },
            dice: Dice::new(1),
            coordinates: Coordinates::new(),
            out: Outbox::default(),
            now_ms: 1000,
        }
    }

    fn now(&self) -> Moment {
        Moment {
            uptime_ms: self.now_ms,
            wall: Timestamp::from_unix_ms(START_MS + self.now_ms),
        }
    }

    fn context(&mut self) -> (&mut Store, &mut Clock, Context<'_>) {
        let now = self.now();
        let cx = Context {
            now,
            me: node_id(0, 1),
            site: site_id(0),
            dice: &mut self.dice,
            coordinates: &mut self.coordinates,
            keyring: &mut self.keyring,
            out: &mut self.out,
        };
        (&mut self.store, &mut self.clock, cx)
    }

    fn offer(&mut self, record: &Record) -> Outcome {
        let (store, clock, mut cx) = self.context();
        let outcome = store.offer(&mut cx, clock, record);
        self.store.check();
        outcome
    }

    /// Time passes, and everybody has acknowledged everything until a moment.
    fn sweep(&mut self, later_ms: u64, acknowledged_ms: Option<u64>) {
        self.now_ms += later_ms;
        let seen = acknowledged_ms.map(at);
        let (store, clock, mut cx) = self.context();
        store.sweep(&mut cx, clock, |_| seen);
        self.store.check();
    }
}

fn at(ms: u64) -> Stamp {
    Stamp::from_wall(Timestamp::from_unix_ms(START_MS + ms))
}

fn signed(mut record: Record) -> Record {
    let keyring = Stamps {
        me: record.author,
        known: None,
        revoked: BTreeSet::new(),
    };
    let bytes = record.encode();
    record.signature = keyring.sign(Record::signed_part(&bytes));
    record
}

fn vm(author: NodeId, epoch: u64, seq: u64, ended: bool, body: u8) -> Record {
    record(
        RecordKind::VM,
        Realm::Site(site_id(0)),
        author,
        Version { epoch, seq },
        ended,
        body,
    )
}

fn record(
    kind: RecordKind,
    realm: Realm,
    author: NodeId,
    version: Version,
    ended: bool,
    body: u8,
) -> Record {
    let subject = match kind {
        RecordKind::VM | RecordKind::GRANT | RecordKind(700) => [9; 16],
        _ => author.bytes(),
    };
    signed(Record {
        key: RecordKey {
            realm,
            kind,
            subject,
        },
        author,
        version,
        written: at(0),
        ended,
        body: vec![body; 20],
        signature: Signature([0; 64]),
    })
}

#[test]
#[rustfmt::skip] // keeps the columns
fn only_those_may_write_a_kind_whom_the_table_names() {
    let (here, there) = (node_id(0, 1), node_id(1, 1));
    let (ours, cluster) = (Realm::Site(site_id(0)), Realm::Cluster);
    //     kind                      realm    author  about    may
    allowed(RecordKind::SITE_MEMBERS, cluster, there,  there,  true);
    allowed(RecordKind::SITE_MEMBERS, cluster, there,  here,   false);
    allowed(RecordKind::SITE_MEMBERS, ours,    here,   here,   false);
    allowed(RecordKind::SITE_LOAD,    cluster, there,  there,  true);
    allowed(RecordKind::NODE_CARD,    ours,    here,   here,   true);
    allowed(RecordKind::NODE_CARD,    ours,    there,  there,  false);
    allowed(RecordKind::NODE_CARD,    cluster, here,   here,   false);
    allowed(RecordKind::VM,           ours,    here,   there,  true);
    allowed(RecordKind::VM,           ours,    there,  there,  false);
    allowed(RecordKind::VM,           cluster, here,   here,   false);
    allowed(RecordKind::IMAGES,       ours,    here,   here,   true);
    allowed(RecordKind::IMAGES,       ours,    here,   there,  false);
    allowed(RecordKind::CAPACITY,     ours,    here,   here,   true);
    allowed(RecordKind::GRANT_USE,    ours,    here,   there,  true);
    allowed(RecordKind::GRANT_USE,    ours,    there,  there,  false);
    allowed(RecordKind::CERTIFICATE,  cluster, there,  there,  true);
    allowed(RecordKind::GRANT,        cluster, there,  here,   true);
    allowed(RecordKind::REVOCATION,   ours,    here,   here,   false);
    allowed(RecordKind(700),          cluster, there,  here,   true);
    allowed(RecordKind(700),          ours,    there,  here,   false);
}

fn allowed(kind: RecordKind, realm: Realm, author: NodeId, about: NodeId, may: bool) {
    let mut bench = Bench::new();
    let mut offered = record(kind, realm, author, Version { epoch: 1, seq: 1 }, false, 1);
    offered.key.subject = about.bytes();
    let outcome = bench.offer(&signed(offered));
    let expected = if may {
        Outcome::Fresh
    } else {
        Outcome::Refused(Refusal::Authority)
    };
    assert_eq!(outcome, expected, "{kind:?} {realm:?} by {author}");
}

#[test]
#[rustfmt::skip] // keeps the columns
fn of_two_records_of_one_vm_the_right_one_holds() {
    let (a, b) = (node_id(0, 1), node_id(0, 2));
    //    old                    new                     new holds
    order(vm(a, 1, 1, false, 1), vm(a, 1, 2, false, 2),  true);
    order(vm(a, 1, 2, false, 1), vm(a, 1, 1, false, 2),  false);
    order(vm(a, 1, 9, false, 1), vm(b, 2, 1, false, 2),  true);  // the epoch fences
    order(vm(b, 2, 1, false, 1), vm(a, 1, 99, false, 2), false);
    order(vm(a, 2, 1, false, 1), vm(a, 1, 1, true, 2),   true);  // deleted, whoever says so
    order(vm(a, 1, 5, true, 1),  vm(b, 9, 1, false, 2),  false); // stays deleted
    order(vm(a, 1, 5, true, 1),  vm(a, 1, 6, true, 2),   true);
}

fn order(old: Record, new: Record, new_holds: bool) {
    let mut bench = Bench::new();
    assert_eq!(bench.offer(&old), Outcome::Fresh);
    let expected = if new_holds {
        Outcome::Fresh
    } else {
        Outcome::Older
    };
    assert_eq!(bench.offer(&new), expected, "{old:?} {new:?}");
    let mut other_way = Bench::new();
    other_way.offer(&new);
    other_way.offer(&old);
    let realm = old.key.realm;
    let sum = |bench: &Bench| bench.store.table(realm).unwrap().sum();
    assert_eq!(sum(&bench), sum(&other_way), "both orders end the same");
}

#[test]
fn what_is_not_signed_by_its_author_is_refused() {
    let mut bench = Bench::new();
    let mut forged = vm(node_id(0, 1), 1, 1, false, 1);
    forged.body[0] ^= 1;
    assert_eq!(bench.offer(&forged), Outcome::Refused(Refusal::Signature));
}

#[test]
fn a_stamp_from_the_future_is_refused_and_counted() {
    let mut bench = Bench::new();
    let mut early = vm(node_id(0, 1), 1, 1, false, 1);
    early.written = at(62_000);
    assert_eq!(
        bench.offer(&signed(early)),
        Outcome::Refused(Refusal::Future)
    );
    assert_eq!(bench.store.counters().refused_future, 1);
}

#[test]
fn a_record_waits_for_its_authors_certificate() {
    let mut bench = Bench::new();
    bench.keyring.known = Some(BTreeSet::new());
    let author = node_id(0, 3);
    assert_eq!(bench.offer(&vm(author, 1, 1, false, 1)), Outcome::Waiting);
    let version = Version { epoch: 1, seq: 1 };
    let certificate = record(
        RecordKind::CERTIFICATE,
        Realm::Cluster,
        author,
        version,
        false,
        0,
    );
    assert_eq!(bench.offer(&certificate), Outcome::Fresh);
    let freed = bench.store.freed(&certificate);
    assert_eq!(freed.len(), 1);
    assert_eq!(bench.offer(&freed[0]), Outcome::Fresh);
}

#[test]
fn the_pen_is_bounded() {
    let mut bench = Bench::new();
    bench.keyring.known = Some(BTreeSet::new());
    for number in 0..200 {
        bench.offer(&vm(node_id(0, number), 1, 1, false, number));
    }
    assert!(bench.store.bytes() <= 200 << 10);
}

#[test]
fn a_revocation_takes_what_the_node_wrote() {
    let mut bench = Bench::new();
    let bad = node_id(0, 4);
    assert_eq!(bench.offer(&vm(bad, 1, 1, false, 1)), Outcome::Fresh);
    let version = Version { epoch: 0, seq: 1 };
    let mut revoked = record(
        RecordKind::REVOCATION,
        Realm::Cluster,
        node_id(0, 1),
        version,
        false,
        0,
    );
    revoked.key.subject = bad.bytes();
    assert_eq!(bench.offer(&signed(revoked)), Outcome::Fresh);
    assert!(bench.store.find(&vm(bad, 1, 1, false, 1).key).is_none());
    assert_eq!(
        bench.offer(&vm(bad, 1, 2, false, 1)),
        Outcome::Refused(Refusal::Revoked)
    );
}

#[test]
#[rustfmt::skip] // keeps the columns
fn a_tombstone_goes_only_after_the_horizon_and_when_all_have_seen_it() {
    //        rule   age           seen by all until   goes
    forgotten(true,  25 * HOUR_MS, Some(HOUR_MS),      true);
    forgotten(true,  25 * HOUR_MS, None,               false);
    forgotten(true,  25 * HOUR_MS, Some(0),            false);
    forgotten(true,  23 * HOUR_MS, Some(23 * HOUR_MS), false);
    forgotten(false, 6_000,        None,               true);
}

fn forgotten(rule: bool, age_ms: u64, seen_ms: Option<u64>, goes: bool) {
    let rules = Rules {
        tombstone_horizon: rule,
        ..Rules::ALL
    };
    let mut bench = Bench::with(Limits::USUAL, rules);
    let tombstone = vm(node_id(0, 1), 1, 2, true, 0);
    assert_eq!(bench.offer(&tombstone), Outcome::Fresh);
    bench.sweep(age_ms, seen_ms);
    assert_eq!(bench.store.find(&tombstone.key).is_none(), goes);
    let told = bench
        .out
        .events
        .iter()
        .any(|event| *event == Event::Forgotten(tombstone.key));
    assert_eq!(told, goes);
}

#[test]
fn an_unknown_object_from_before_the_horizon_is_not_taken_in() {
    let mut bench = Bench::new();
    bench.now_ms += 25 * HOUR_MS;
    let old = vm(node_id(0, 1), 1, 1, false, 1);
    assert_eq!(bench.offer(&old), Outcome::Doubtful);
    let (store, _, mut cx) = bench.context();
    assert!(store.accept_vouched(&mut cx, &old));
}

#[test]
fn what_nobody_repeats_fades() {
    let mut bench = Bench::new();
    let version = Version { epoch: 1, seq: 1 };
    let ours = Realm::Site(site_id(0));
    let card = record(
        RecordKind::NODE_CARD,
        ours,
        node_id(0, 2),
        version,
        false,
        1,
    );
    assert_eq!(bench.offer(&card), Outcome::Fresh);
    bench.sweep(500_000, None);
    assert!(bench.store.find(&card.key).is_some());
    bench.sweep(500_000, None);
    assert!(bench.store.find(&card.key).is_none());
    assert_eq!(bench.offer(&card), Outcome::Refused(Refusal::Faded));
}

#[test]
fn of_a_lost_site_the_last_word_stays() {
    let mut bench = Bench::new();
    let version = Version { epoch: 1, seq: 1 };
    let word = |number| {
        let author = node_id(1, number);
        record(
            RecordKind::SITE_MEMBERS,
            Realm::Cluster,
            author,
            version,
            false,
            1,
        )
    };
    let mut later = word(2);
    later.written = at(500);
    let later = signed(later);
    assert_eq!(bench.offer(&word(1)), Outcome::Fresh);
    assert_eq!(bench.offer(&later), Outcome::Fresh);
    bench.sweep(24 * HOUR_MS, None);
    assert!(bench.store.find(&word(1).key).is_none());
    assert!(bench.store.find(&later.key).is_some());
}

#[test]
fn a_full_store_refuses_and_stays_whole() {
    let limits = Limits {
        bytes_max: 20_000,
        ..Limits::USUAL
    };
    let mut bench = Bench::with(limits, Rules::ALL);
    let version = Version { epoch: 1, seq: 1 };
    let strange = |subject: u8| {
        let mut one = record(
            RecordKind(700),
            Realm::Cluster,
            node_id(0, 1),
            version,
            false,
            subject,
        );
        one.key.subject = [subject; 16];
        signed(one)
    };
    let outcomes: Vec<Outcome> = (0..100).map(|at| bench.offer(&strange(at))).collect();
    assert_eq!(outcomes[99], Outcome::Refused(Refusal::Full));
    assert!(bench.store.bytes() <= 15_000);
    // There is still room for what must come through.
    let revoked = record(
        RecordKind::REVOCATION,
        Realm::Cluster,
        node_id(0, 9),
        version,
        false,
        0,
    );
    assert_eq!(bench.offer(&revoked), Outcome::Fresh);
}

/// Records of a few keys by a few authors, drawn by chance.
fn drawn(dice: (u8, u8, u8, u8, u8)) -> Record {
    let (kind, author, epoch, seq, rest) = dice;
    let author = node_id(0, author % 3 + 1);
    let version = Version {
        epoch: u64::from(epoch % 3),
        seq: u64::from(seq % 3),
    };
    let ours = Realm::Site(site_id(0));
    let ended = rest % 4 == 0;
    match kind % 4 {
        0 => record(RecordKind::VM, ours, author, version, ended, rest),
        1 => record(RecordKind::NODE_CARD, ours, author, version, ended, rest),
        2 => record(
            RecordKind::GRANT,
            Realm::Cluster,
            author,
            version,
            false,
            rest,
        ),
        _ => record(
            RecordKind(700),
            Realm::Cluster,
            author,
            version,
            ended,
            rest,
        ),
    }
}

fn sums(bench: &Bench) -> Vec<(Realm, protocol::peer::recon::Sum)> {
    bench
        .store
        .realms()
        .map(|(realm, table)| (realm, table.sum()))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Commutative, associative and idempotent: any order, any repetition, one result.
    #[test]
    fn merging_is_a_union_whatever_the_order(
        records in prop::collection::vec(any::<(u8, u8, u8, u8, u8)>(), 1..24),
        order in prop::collection::vec(any::<usize>(), 0..48),
    ) {
        let records: Vec<Record> = records.into_iter().map(drawn).collect();
        let mut straight = Bench::new();
        records.iter().for_each(|one| { straight.offer(one); });
        let mut mixed = Bench::new();
        order.iter().for_each(|at| { mixed.offer(&records[at % records.len()]); });
        records.iter().rev().for_each(|one| { mixed.offer(one); });
        records.iter().for_each(|one| { mixed.offer(one); });
        assert_eq!(sums(&straight), sums(&mixed));
    }

    /// Whatever comes after a tombstone of a VM, it never lives again.
    #[test]
    fn a_deleted_vm_stays_deleted(
        records in prop::collection::vec(any::<(u8, u8, u8, u8)>(), 1..40),
    ) {
        let mut bench = Bench::new();
        let mut is_deleted = false;
        for (author, epoch, seq, rest) in records {
            let one = drawn((0, author, epoch, seq, rest));
            let outcome = bench.offer(&one);
            is_deleted |= one.ended && outcome == Outcome::Fresh;
            let held = bench.store.find(&one.key).unwrap();
            assert!(!is_deleted || held.ended);
        }
    }
}
