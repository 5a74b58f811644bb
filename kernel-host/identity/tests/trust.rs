//! Whom to trust: revocations in any order, roots that follow each other, and time.
#![allow(clippy::unwrap_used)]

mod world;

use identity::admitter::AdmitEvent;
use identity::certificate::{GRACE_S, LIFETIME_S};
use identity::chain::Chain;
use identity::joiner::{FOUND_AFTER_MS, JoinState};
use identity::publication::{Publication, RightBody};
use identity::revocation::{Authority, Revocation, RevocationFields, Target};
use identity::ring::{Founder, Keys, News, SharedKeys, Standing, Verdict};
use identity::secret::SecretKey;
use identity::succession::Succession;
use overlay::Keyring;
use protocol::peer::admission::{Few, Refusal};
use protocol::peer::{Record, RecordKind};
use protocol::{Moment, NodeId, Timestamp};
use std::collections::BTreeSet;
use world::{
    DAY_MS, DAY_S, START_MS, TokenWish, World, machine, name, operator, record, revocation, secret,
};

const NOW_S: u64 = START_MS / 1000;

fn site(size: u64) -> (World, Vec<NodeId>) {
    let mut world = World::new();
    let token = world.founding("lyon");
    let mut nodes = vec![world.boot(1, "lyon", Some(token.clone()))];
    world.run(2 * FOUND_AFTER_MS, 500);
    for number in 2..=size {
        nodes.push(world.boot(number, "lyon", Some(token.clone())));
    }
    world.run(15_000, 500);
    assert!(nodes.iter().all(|node| world.keys(*node).can_issue()));
    (world, nodes)
}

/// A site's keys as its founder has them, without a world around.
fn founded(site: &'static str, number: u64, root: &SecretKey, now: Moment) -> (Keys, Chain) {
    let wish = TokenWish {
        number: 900 + number,
        ..TokenWish::founding(site)
    };
    let token = wish.by(root, NOW_S);
    let mut keys = Keys::new(secret(number), &name(site), &[root.public()]);
    let founder = Founder {
        name: &name("founder"),
        machine: machine(number),
        charter: secret(500 + number).seed(),
    };
    let chain = keys.found(now, &token, &founder).unwrap();
    (keys, chain)
}

fn records_of(chain: &Chain) -> [Record; 2] {
    let charter = RightBody::Charter(chain.grant.clone(), chain.charter.clone());
    [
        record(&Publication::of_right(&charter)),
        record(&Publication::of_certificate(&chain.certificate)),
    ]
}

/// All orders of `0..count`.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![Vec::new()];
    for next in 0..count {
        orders = orders
            .into_iter()
            .flat_map(|order: Vec<usize>| {
                (0..=order.len()).map(move |at| {
                    let mut longer = order.clone();
                    longer.insert(at, next);
                    longer
                })
            })
            .collect();
    }
    orders
}

fn revoke(target: Target, since_s: Option<u64>, by: (Authority, &SecretKey)) -> Revocation {
    revocation(target, since_s, NOW_S + 50, by)
}

#[test]
fn what_is_revoked_depends_on_the_set_and_not_on_its_order() {
    let (root, now) = (secret(0), World::new().now);
    let (keys, chain) = founded("lyon", 1, &root, now);
    let node = keys.me();
    let by_root = || (Authority::Root(root.public()), &root);
    let op = operator(None, 12, &root);
    let (op_secret, id) = (secret(12), op.id());
    let by_op = || (Authority::Operator(op.clone()), &op_secret);
    let elsewhere = operator(Some("nice"), 13, &root);
    let elsewhere_secret = secret(13);
    let by_elsewhere = || (Authority::Operator(elsewhere.clone()), &elsewhere_secret);
    let charter_secret = secret(501);
    let by_site = || {
        (
            Authority::Site(chain.grant.clone(), chain.charter.clone()),
            &charter_secret,
        )
    };
    let (grant, charter) = (chain.grant.id(), chain.charter.id());
    let spared = RevocationFields {
        target: Target::Grant(grant),
        since_s: None,
        spares: Few::new([charter]),
        made_s: NOW_S + 50,
        reason: Default::default(),
    };
    let spared = Revocation::sign(spared, by_root().0, &root);
    let spared_since = RevocationFields {
        since_s: Some(0),
        ..spared.fields().clone()
    };
    let spared_since = Revocation::sign(spared_since, by_root().0, &root);
    let other_root = secret(66);
    let by_stranger = (Authority::Root(other_root.public()), &other_root);
    #[rustfmt::skip] // keeps the columns
    let cases: Vec<(&str, Vec<Revocation>, bool)> = vec![
        // what came                                                                              | revoked
        ("nothing",                 vec![],                                                         false),
        ("node, by the root",       vec![revoke(Target::Node(node), None, by_root())],              true),
        ("node, by an operator",    vec![revoke(Target::Node(node), None, by_op())],                true),
        ("node, by its site",       vec![revoke(Target::Node(node), None, by_site())],              true),
        ("node, by the operator of another site", vec![revoke(Target::Node(node), None, by_elsewhere())], false),
        ("node, by another root",   vec![revoke(Target::Node(node), None, by_stranger)],            false),
        ("charter, by the root",    vec![revoke(Target::Charter(charter), None, by_root())],        true),
        ("charter, by an operator", vec![revoke(Target::Charter(charter), None, by_op())],          true),
        ("charter, by its site",    vec![revoke(Target::Charter(charter), None, by_site())],        false),
        ("token, by the root",      vec![revoke(Target::Grant(grant), None, by_root())],            true),
        ("token, its charter spared", vec![spared],                                                 false),
        ("token since ever, charter spared", vec![spared_since],                                    true),
        ("node and operator",       vec![revoke(Target::Node(node), None, by_op()),
                                         revoke(Target::Grant(id), Some(0), by_root())],            false),
        ("node, then the operator from later on", vec![revoke(Target::Node(node), None, by_op()),
                                         revoke(Target::Grant(id), Some(NOW_S + 90), by_root())],   true),
        ("node, operator by itself", vec![revoke(Target::Node(node), None, by_op()),
                                         revoke(Target::Grant(id), Some(0), by_op())],              true),
        ("node by its site, charter too", vec![revoke(Target::Node(node), None, by_site()),
                                         revoke(Target::Charter(charter), None, by_root())],        true),
        ("another node",            vec![revoke(Target::Node(NodeId::from_bytes([9; 16])), None, by_root())], false),
    ];
    for (case, revocations, revoked) in cases {
        let mut records: Vec<Record> = records_of(&chain).into();
        let of_op = RightBody::Grant(op.clone());
        records.push(record(&Publication::of_right(&of_op)));
        let revocations = revocations.iter();
        records.extend(revocations.map(|one| record(&Publication::of_revocation(one))));
        for order in orders(records.len()) {
            let mut keys = Keys::new(secret(77), &name("nice"), &[root.public()]);
            // What led nowhere at first is offered again, as reconciliation does.
            for at in order.iter().chain(&order) {
                keys.learn_record(now, &records[*at]);
            }
            let verdict = keys.verify_record(
                node,
                b"x",
                &secret(1).sign(identity::secret::Domain::Record, b"x"),
            );
            let wanted = if revoked {
                Verdict::Revoked
            } else {
                Verdict::Good
            };
            assert_eq!(verdict, wanted, "{case}, in the order {order:?}");
            // The same at the door.
            let payload = identity::chain::Credential::Member(Box::new(chain.clone())).encode();
            let session = secret(1).session().public();
            let peer = keys.check_peer(now, &session, &payload).unwrap();
            let stranger = peer.standing == Standing::Stranger;
            assert_eq!(stranger, revoked, "{case}, in the order {order:?}");
            assert_eq!(peer.refusal, revoked.then_some(Refusal::Revoked));
        }
    }
}

#[test]
fn a_site_is_given_up_by_its_owner_or_by_itself_and_by_nobody_else() {
    let (root, now) = (secret(0), World::new().now);
    let (_, chain) = founded("lyon", 1, &root, now);
    let (_, other) = founded("nice", 2, &root, now);
    let target = Target::Site(protocol::peer::site::id_of(&name("lyon")));
    let by = |authority, key: &SecretKey| revoke(target, None, (authority, key));
    let of_site = |chain: &Chain, number: u64| {
        let authority = Authority::Site(chain.grant.clone(), chain.charter.clone());
        by(authority, &secret(500 + number))
    };
    let of_operator = |site: Option<&'static str>| {
        by(Authority::Operator(operator(site, 12, &root)), &secret(12))
    };
    let stranger = secret(66);
    let cases = [
        (
            "its owner",
            by(Authority::Root(root.public()), &root),
            Verdict::Good,
        ),
        ("its own charter", of_site(&chain, 1), Verdict::Good),
        ("an operator of all sites", of_operator(None), Verdict::Good),
        ("its operator", of_operator(Some("lyon")), Verdict::Good),
        (
            "another site's operator",
            of_operator(Some("nice")),
            Verdict::Bad,
        ),
        ("another site's charter", of_site(&other, 2), Verdict::Bad),
        (
            "a forger",
            by(Authority::Root(root.public()), &stranger),
            Verdict::Bad,
        ),
        (
            "another owner",
            by(Authority::Root(stranger.public()), &stranger),
            Verdict::UnknownAuthor,
        ),
    ];
    for (who, word, wanted) in cases {
        let mut keys = Keys::new(secret(77), &name("nice"), &[root.public()]);
        let publication = Publication::of_revocation(&word);
        assert_eq!(publication.kind, RecordKind::SITE_RETIRED);
        assert_eq!(
            keys.learn_record(now, &record(&publication)),
            wanted,
            "{who}"
        );
        // It says nothing about keys, nor about another site.
        let as_revocation = Publication {
            kind: RecordKind::REVOCATION,
            subject: word.id(),
            ..publication.clone()
        };
        assert_eq!(
            keys.learn_record(now, &record(&as_revocation)),
            Verdict::Bad,
            "{who}"
        );
        let elsewhere = Publication {
            subject: protocol::peer::site::id_of(&name("nice")).bytes(),
            ..publication
        };
        assert_eq!(
            keys.learn_record(now, &record(&elsewhere)),
            Verdict::Bad,
            "{who}"
        );
    }
    let cut = revoke(
        Target::Charter(chain.charter.id()),
        None,
        (Authority::Root(root.public()), &root),
    );
    let mut keys = Keys::new(secret(77), &name("nice"), &[root.public()]);
    for known in records_of(&chain) {
        keys.learn_record(now, &known);
    }
    assert_eq!(keys.learn_revocation(&cut), Verdict::Good);
    let late = record(&Publication::of_revocation(&of_site(&chain, 1)));
    assert_eq!(
        keys.learn_record(now, &late),
        Verdict::Bad,
        "a charter that fell"
    );
}

#[test]
fn a_revocation_needs_its_authors_signature() {
    let root = secret(0);
    let target = Target::Node(NodeId::from_bytes([5; 16]));
    let forged = revoke(target, None, (Authority::Root(root.public()), &secret(66)));
    let founding = TokenWish::founding("lyon").by(&root, NOW_S);
    // A token is no operator, and an operator may not revoke a root.
    let by_token = revoke(
        target,
        None,
        (Authority::Operator(founding.grant().clone()), &secret(900)),
    );
    let op = operator(None, 12, &root);
    let of_root = revoke(
        Target::Root(root.public()),
        None,
        (Authority::Operator(op), &secret(12)),
    );
    let mut keys = Keys::new(secret(77), &name("nice"), &[root.public()]);
    for bad in [forged, by_token, of_root] {
        assert_eq!(keys.learn_revocation(&bad), Verdict::Bad);
    }
    assert_eq!(keys.revocations().count(), 0);
}

#[test]
fn a_revoked_node_is_told_so_and_a_split_only_delays_it() {
    let (mut world, nodes) = site(4);
    world.island(&nodes[2..], 1);
    let root = world.root.clone();
    let stolen = nodes[3];
    let revoked = revoke(
        Target::Node(stolen),
        None,
        (Authority::Root(root.public()), &root),
    );
    world.revoke(nodes[0], &revoked);
    assert!(!world.keys(nodes[1]).is_neighbour(stolen));
    assert!(
        world.keys(nodes[2]).is_neighbour(stolen),
        "the other island has not heard"
    );
    world.heal();
    for node in &nodes {
        let told = world.nodes[node].news.iter();
        let wanted = if *node == stolen {
            News::WeAreRevoked
        } else {
            News::Revoked(stolen)
        };
        assert!(told.clone().any(|news| *news == wanted), "{node}");
    }
    assert!(!world.keys(stolen).is_member());
    // It asks for a new certificate, and to be let in again: no.
    let token = world.founding("lyon");
    let again = world.boot_with(4, 4, "lyon", Some(token), &[root.public()]);
    assert_eq!(again, stolen, "the same key");
    world.run(5_000, 500);
    assert_eq!(world.state(stolen), JoinState::Refused(Refusal::Revoked));
}

#[test]
fn what_a_stolen_node_let_in_falls_with_it_from_that_day_on() {
    let (mut world, nodes) = site(3);
    let thief = nodes[2];
    let alone = |world: &mut World, number| {
        let token = world.founding("lyon");
        let stranger = world.boot(number, "lyon", Some(token));
        world.island(&[thief, stranger], 1);
        world.run(5_000, 500);
        assert!(world.keys(stranger).is_member());
        world.heal();
        stranger
    };
    let honest = alone(&mut world, 10);
    world.advance(DAY_MS);
    let stolen_s = world.now_s();
    let evil = alone(&mut world, 11);
    let root = world.root.clone();
    let by = (Authority::Root(root.public()), &root);
    let revoked = revocation(Target::Node(thief), Some(stolen_s), stolen_s, by);
    world.revoke(nodes[0], &revoked);
    assert!(world.keys(nodes[1]).is_neighbour(honest));
    assert!(!world.keys(nodes[1]).is_neighbour(evil));
    assert!(!world.keys(nodes[1]).is_neighbour(thief));
}

#[test]
fn a_site_gets_a_new_charter_and_loses_the_old_one_without_losing_a_node() {
    let (mut world, nodes) = site(4);
    let wish = TokenWish {
        number: 980,
        ..TokenWish::founding("lyon")
    };
    let old = world.keys(nodes[0]).charters()[0];
    let sleeper = nodes[3];
    world.cut_power(sleeper);
    let nodes = &nodes[..3];
    world.advance(1000);
    let token = wish.by(&world.root, world.now_s());
    let founder = nodes[1];
    let chain = world.with(founder, |desk, _, _| {
        let founder = Founder {
            name: &name("n2"),
            machine: machine(2),
            charter: secret(5_000).seed(),
        };
        desk.keys.found(desk.now, &token, &founder).unwrap()
    });
    world.tell_right(
        founder,
        &RightBody::Charter(chain.grant.clone(), chain.charter.clone()),
    );
    world.publish(founder, &Publication::of_certificate(&chain.certificate));
    world.run(10_000, 500);
    for node in nodes {
        assert!(
            world.keys(*node).lacking().is_empty(),
            "the new secret came"
        );
    }
    let root = world.root.clone();
    let by = (Authority::Root(root.public()), &root);
    world.revoke(nodes[0], &revoke(Target::Charter(old), None, by));
    world.run(180_000, 5_000);
    for node in nodes {
        assert!(
            world.keys(*node).is_member(),
            "renewed itself under the new charter"
        );
        assert_eq!(world.keys(*node).charters(), [chain.charter.id()]);
        assert!(
            nodes
                .iter()
                .all(|other| world.keys(*node).is_neighbour(*other))
        );
    }
}

#[test]
fn a_site_renews_itself_for_400_days_and_takes_back_who_slept_through_them() {
    let (mut world, nodes) = site(4);
    let (sleeper, alone) = (nodes[3], nodes[2]);
    world.cut_power(sleeper);
    world.island(&[alone], 1);
    for _ in 0..400 {
        world.advance(DAY_MS);
        world.meet();
        for _ in 0..4 {
            world.work();
            world.advance(4_000);
        }
    }
    let renewed = |node: NodeId| {
        let events = world.nodes[&node].events.iter();
        events
            .filter(|event| matches!(event, AdmitEvent::Renewed { .. }))
            .count()
    };
    for node in &nodes[..3] {
        assert!(
            (25..=28).contains(&renewed(*node)),
            "{} renewals",
            renewed(*node)
        );
    }
    let by_others = world.nodes[&nodes[0]]
        .events
        .iter()
        .filter(|event| matches!(event, AdmitEvent::Renewed { by } if *by != nodes[0]));
    assert!(
        by_others.count() >= 25,
        "another node signs while one is there"
    );
    let root = world.root.public();
    world.reboot(sleeper, &[root]);
    world.meet();
    world.work();
    world.advance(3_000);
    world.work();
    let chain = world.keys(sleeper).own().unwrap();
    let now_s = world.now_s();
    assert_eq!(chain.certificate.expired_s(now_s), None, "renewed at once");
    assert!(world.keys(nodes[0]).is_neighbour(sleeper));
    assert!(world.keys(sleeper).is_neighbour(nodes[0]));
}

#[test]
#[rustfmt::skip] // keeps the columns
fn an_expired_certificate_is_held_against_strangers_of_other_sites_only() {
    // days since it ended, in its site, known before | let through
    let cases = [
        (0,   false, false, true),
        (1,   false, false, true),  // grace
        (29,  false, false, true),
        (31,  false, false, false),
        (31,  true,  false, true),  // its own site
        (400, true,  false, true),
        (400, false, true,  true),  // known before
        (400, false, false, false),
    ];
    let (root, start) = (secret(0), World::new().now);
    let (keys, _) = founded("lyon", 1, &root, start);
    let (session, payload) = (keys.session().public(), keys.payload());
    for (days, in_site, was_known, passes) in cases {
        let at = if in_site { "lyon" } else { "nice" };
        let mut other = Keys::new(secret(77), &name(at), &[root.public()]);
        if was_known {
            other.check_peer(start, &session, &payload).unwrap();
        }
        let wall_s = NOW_S + LIFETIME_S + days * DAY_S;
        let now = Moment { uptime_ms: 5, wall: Timestamp::from_unix_ms(wall_s * 1000) };
        let peer = other.check_peer(now, &session, &payload).unwrap();
        let refused = Refusal::CertificateExpired { ago_s: days * DAY_S };
        assert_eq!(peer.standing != Standing::Stranger, passes, "{days} days, {in_site}, {was_known}");
        assert_eq!(peer.refusal, (!passes).then_some(refused));
        assert!(days * DAY_S <= GRACE_S || in_site || was_known || !passes);
    }
}

#[test]
#[rustfmt::skip] // keeps the columns
fn a_wrong_clock_stops_no_site() {
    let cases = [
        ("1970",        0,                    true),
        ("ten years on", 10 * 365 * DAY_S,    true),
    ];
    for (case, shift_s, works) in cases {
        let mut world = World::new();
        let wall_s = if shift_s == 0 { 0 } else { NOW_S + shift_s };
        world.now.wall = Timestamp::from_unix_ms(wall_s * 1000);
        let token = world.founding("lyon");
        let first = world.boot(1, "lyon", Some(token.clone()));
        world.run(2 * FOUND_AFTER_MS, 500);
        let second = world.boot(2, "lyon", Some(token));
        world.run(5_000, 500);
        assert_eq!(world.keys(first).is_member() && world.keys(second).is_member(), works, "{case}");
        let issued_s = world.keys(second).own().unwrap().certificate.fields().issued_s;
        assert!(issued_s >= NOW_S, "{case}: not before the root's own date");
        // The clock jumps to the right time, or back: nobody is cut off, and renewal goes on.
        world.now.wall = Timestamp::from_unix_ms(START_MS);
        world.advance(20 * DAY_MS);
        world.meet();
        world.run(120_000, 3_000);
        assert!(world.keys(first).is_neighbour(second) && world.keys(second).is_neighbour(first));
        let again_s = world.keys(second).own().unwrap().certificate.fields().issued_s;
        assert!(again_s > issued_s, "{case}: renewed, and the renewed one counts");
    }
}

/// Bug family 12: a root changes while a third of the nodes is off for 90 days; then those come
/// back in a site that nothing else reaches, and a new machine joins there.
#[test]
fn a_cut_off_site_that_slept_through_a_change_of_root_can_still_grow() {
    for retires in [false, true] {
        let (mut world, nodes) = site(6);
        let (old, new) = (world.root.clone(), secret(8));
        let sleepers = [nodes[4], nodes[5]];
        for sleeper in sleepers {
            world.cut_power(sleeper);
        }
        // The change: a new root follows the old one and vouches for what it granted.
        let succession = Succession::sign(&old, &new, world.now_s());
        world.tell_right(nodes[0], &RightBody::Succession(succession.clone()));
        let mut grant = world.keys(nodes[0]).own().unwrap().grant.clone();
        grant.endorse(&new);
        world.tell_right(nodes[0], &RightBody::Grant(grant));
        if retires {
            let by = (Authority::Root(new.public()), &new);
            let retired = revocation(Target::Root(old.public()), Some(0), world.now_s(), by);
            world.revoke(nodes[0], &retired);
        }
        for node in &nodes[..4] {
            assert!(
                world.keys(*node).is_member(),
                "retires {retires}: the new root vouches"
            );
            assert_eq!(world.keys(*node).roots().len(), 2);
        }
        world.advance(90 * DAY_MS);
        world.run(200_000, 4_000);
        // The sleepers wake up with what they knew, and nobody else in reach.
        for sleeper in sleepers {
            world.reboot(sleeper, &[old.public()]);
        }
        world.island(&sleepers, 1);
        world.meet();
        world.run(120_000, 3_000);
        for sleeper in sleepers {
            let keys = world.keys(sleeper);
            assert!(keys.is_member() && keys.roots().len() == 1);
            let expired = keys.own().unwrap().certificate.expired_s(world.now_s());
            assert_eq!(expired, None, "they renewed each other");
        }
        // A new machine with a new image, which knows the new root only, and a new token.
        let wish = TokenWish {
            founds: false,
            number: 990,
            succession: Some(succession.clone()),
            ..TokenWish::founding("lyon")
        };
        let token = wish.by(&new, world.now_s());
        let newcomer = world.boot_with(70, 70, "lyon", Some(token), &[new.public()]);
        world.island(&[newcomer], 1);
        world.run(10_000, 500);
        assert!(
            world.keys(newcomer).is_member(),
            "{:?}",
            world.state(newcomer)
        );
        // And after the heal all is one.
        world.heal();
        world.run(200_000, 4_000);
        let all: BTreeSet<NodeId> = world.on().into_iter().collect();
        assert_eq!(all.len(), 7);
        for node in &all {
            for other in &all {
                assert!(world.keys(*node).is_neighbour(*other), "retires {retires}");
            }
        }
    }
}

#[test]
fn a_root_is_retired_only_by_one_that_follows_it() {
    let (old, new) = (secret(0), secret(8));
    let succession = RightBody::Succession(Succession::sign(&old, &new, NOW_S));
    let (_, chain) = founded("lyon", 1, &old, World::new().now);
    let payload = identity::chain::Credential::Member(Box::new(chain)).encode();
    for (by, target, holds) in [(&old, &new, true), (&new, &old, false), (&old, &old, true)] {
        let mut keys = Keys::new(secret(77), &name("nice"), &[old.public()]);
        keys.learn_right(&succession);
        let authority = (Authority::Root(by.public()), by);
        keys.learn_revocation(&revoke(Target::Root(target.public()), None, authority));
        let session = secret(1).session().public();
        let peer = keys
            .check_peer(World::new().now, &session, &payload)
            .unwrap();
        assert_eq!(peer.standing != Standing::Stranger, holds);
    }
    // A thief of the old root can't make itself the successor's successor for others' roots.
    let mut keys = Keys::new(secret(77), &name("nice"), &[new.public()]);
    let foreign = Succession::sign(&secret(66), &secret(67), NOW_S);
    assert_eq!(
        keys.learn_right(&RightBody::Succession(foreign)),
        Verdict::UnknownAuthor
    );
}

#[test]
fn the_overlay_gets_its_verdicts() {
    let (root, now) = (secret(0), World::new().now);
    let (mine, _) = founded("lyon", 1, &root, now);
    let (theirs, chain) = founded("nice", 2, &root, now);
    let mut mine = SharedKeys::new(mine);
    let theirs = SharedKeys::new(theirs);
    let them = theirs.borrow().me();
    let signature = theirs.sign(b"a fact");
    assert_eq!(
        mine.verify(them, b"a fact", &signature),
        Verdict::UnknownAuthor
    );
    assert_eq!(mine.site_of(them), None);
    let [charter, certificate] = records_of(&chain);
    assert_eq!(
        mine.learn(now, &certificate),
        Verdict::UnknownAuthor,
        "its charter comes first"
    );
    assert_eq!(mine.learn(now, &charter), Verdict::Good);
    assert_eq!(mine.learn(now, &certificate), Verdict::Good);
    assert_eq!(
        mine.site_of(them),
        Some(protocol::peer::site::id_of(&name("nice")))
    );
    for _ in 0..3 {
        assert_eq!(mine.verify(them, b"a fact", &signature), Verdict::Good);
    }
    assert_eq!(mine.verify(them, b"a lie", &signature), Verdict::Bad);
    assert_eq!(mine.borrow().counters().proven_hits, 2, "two were free");
    let me = mine.borrow().me();
    assert_eq!(mine.verify(me, b"own", &mine.sign(b"own")), Verdict::Good);
    // Records that say other than what they prove.
    let wrong: [fn(&mut Record); 4] = [
        |record| record.key.subject = [0; 16],
        |record| record.ended = true,
        |record| record.key.kind = protocol::peer::RecordKind::VM,
        |record| record.body.truncate(20),
    ];
    for break_it in wrong {
        let mut record = certificate.clone();
        break_it(&mut record);
        assert_eq!(mine.learn(now, &record), Verdict::Bad);
    }
}

#[test]
fn a_torn_save_changes_nothing() {
    let (root, now) = (secret(0), World::new().now);
    let (mut founder, _) = founded("lyon", 1, &root, now);
    let saved = founder.saved().unwrap();
    assert!(saved.len() < 900, "{} bytes", saved.len());
    for length in 0..saved.len() {
        let mut keys = Keys::new(secret(1), &name("lyon"), &[root.public()]);
        assert!(keys.restore(now, &saved[..length]).is_err());
        assert!(keys.own().is_none() && keys.lacking().is_empty());
    }
    assert!(founder.restore(now, &saved[..50]).is_err() && founder.is_member());
    // Another node's, another site's or another root's is of no use.
    for (number, site, root) in [
        (2, "lyon", &root),
        (1, "nice", &root),
        (1, "lyon", &secret(9)),
    ] {
        let mut keys = Keys::new(secret(number), &name(site), &[root.public()]);
        assert!(keys.restore(now, &saved).is_err());
        assert!(keys.own().is_none());
    }
}

/// What stands beside a certificate in a handshake is a claim, also when the certificate is known.
#[test]
fn a_known_certificate_is_judged_by_what_proved_it_once() {
    let (root, now) = (secret(0), World::new().now);
    let (keys, chain) = founded("lyon", 1, &root, now);
    let (_, elsewhere) = founded("nice", 2, &root, now);
    let session = keys.session().public();
    let mut other = Keys::new(secret(77), &name("nice"), &[root.public()]);
    other.check_peer(now, &session, &keys.payload()).unwrap();
    let shown = Chain {
        certificate: chain.certificate.clone(),
        ..elsewhere
    };
    let payload = identity::chain::Credential::Member(Box::new(shown)).encode();
    let lyon = protocol::peer::site::id_of(&name("lyon"));
    let peer = other.check_peer(now, &session, &payload).unwrap();
    assert_eq!(
        peer.standing,
        Standing::Certified(lyon),
        "not of the site that it shows"
    );
    let by = (Authority::Root(root.public()), &root);
    other.learn_revocation(&revoke(Target::Charter(chain.charter.id()), None, by));
    let peer = other.check_peer(now, &session, &payload).unwrap();
    assert_eq!(
        peer.refusal,
        Some(Refusal::Revoked),
        "and not under the charter that it shows"
    );
}

/// An endorsement names its root by the start of its key, which anybody can write.
#[test]
fn a_retired_roots_grant_is_not_saved_by_an_endorsement_that_nobody_made() {
    let (old, new, now) = (secret(0), secret(8), World::new().now);
    let (_, chain) = founded("lyon", 1, &old, now);
    let forger = secret(66);
    let mut grant = chain.grant.clone();
    grant.endorse(&forger);
    // The forger's endorsement, dressed up as the new root's.
    let bytes = grant.encode();
    let (from, to) = (&forger.public().0[..8], &new.public().0[..8]);
    let at = bytes.windows(8).position(|window| window == from).unwrap();
    let dressed = [&bytes[..at], to, &bytes[at + 8..]].concat();
    let dressed = identity::grant::Grant::decode(&dressed).unwrap();
    let shown = Chain {
        grant: dressed.clone(),
        ..chain.clone()
    };
    let payload = identity::chain::Credential::Member(Box::new(shown)).encode();
    let session = secret(1).session().public();
    let mut keys = Keys::new(secret(77), &name("nice"), &[old.public(), new.public()]);
    keys.learn_right(&RightBody::Succession(Succession::sign(&old, &new, NOW_S)));
    let by = (Authority::Root(new.public()), &new);
    keys.learn_revocation(&revoke(Target::Root(old.public()), Some(0), by));
    let peer = keys.check_peer(now, &session, &payload).unwrap();
    assert_eq!(peer.refusal, Some(Refusal::UnknownRoot));
    // The same for an operator's word.
    let mut op = operator(None, 12, &old);
    op.endorse(&forger);
    let bytes = op.encode();
    let at = bytes.windows(8).position(|window| window == from).unwrap();
    let op =
        identity::grant::Grant::decode(&[&bytes[..at], to, &bytes[at + 8..]].concat()).unwrap();
    let victim = NodeId::from_bytes([5; 16]);
    let word = revoke(
        Target::Node(victim),
        None,
        (Authority::Operator(op), &secret(12)),
    );
    keys.learn_revocation(&word);
    assert!(
        !keys.is_node_revoked(victim),
        "its operator's root is retired"
    );
}
