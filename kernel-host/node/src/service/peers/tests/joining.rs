//! Nodes that find their site, found it, or are kept out.

use super::super::hub::IDENTITY_KEY;
use super::town::{Town, address};
use super::{config, root, token};
use overlay::{Draft, Input, NodeState};
use protocol::peer::{Realm, RecordKind};

/// Goal: the holder of a founding token founds its site; others of the site find it by its calls,
/// a node of another site by a seed; all become members.
#[test]
fn nodes_found_a_site_and_join_it() {
    let mut town = Town::new();
    town.boot(1, 1, config(1, "paris", Some(token(1, "paris", true)), &[]));
    town.run_s(10);
    assert!(town.is_member(1));
    assert!(town.has_said(1, "site paris as node-"));
    town.boot(
        2,
        1,
        config(2, "paris", Some(token(1, "paris", false)), &[]),
    );
    town.run_s(5);
    assert!(town.is_member(2), "{:?}", town.said);
    let lyon = config(3, "lyon", Some(token(1, "lyon", true)), &[address(1)]);
    town.boot(3, 2, lyon);
    town.run_s(15);
    assert!(town.is_member(3), "{:?}", town.said);
    assert!(town.has_said(1, "let in paris-2"));
}

#[test]
fn who_has_no_right_waits_for_approval_and_says_how() {
    let mut town = Town::new();
    town.boot(1, 1, config(1, "paris", Some(token(1, "paris", true)), &[]));
    town.run_s(8);
    town.boot(2, 1, config(2, "paris", None, &[]));
    town.run_s(8);
    assert!(!town.is_member(2));
    assert!(town.has_said(2, "luc node approve "), "{:?}", town.said);
    let now = town.now();
    let code = town.hub(1).membership().pending().next().unwrap().code;
    let approval = town.hub(1).ask_membership(now, |membership, sight| {
        membership.approve(now, sight, code)
    });
    assert!(approval.is_some());
    town.collect(1);
    town.run_s(8);
    assert!(town.is_member(2), "{:?}", town.said);
}

#[test]
fn a_node_of_another_cluster_gets_nothing_and_is_told_why() {
    let mut town = Town::new();
    town.boot(1, 1, config(1, "paris", Some(token(1, "paris", true)), &[]));
    town.run_s(8);
    let mut other = config(2, "paris", Some(token(2, "paris", false)), &[address(1)]);
    other.roots = vec![root(2).public()];
    town.boot(2, 1, other);
    town.run_s(8);
    assert!(!town.is_member(2));
    assert!(
        town.has_said(2, "root key that nobody here knows"),
        "{:?}",
        town.said
    );
    let counters = *town.hub(1).counters();
    assert!(counters.hellos > 0 && counters.hellos_ignored == counters.hellos);
}

/// Goal: where UDP stops passing and TCP passes, two sites stay in view of each other, and what one
/// writes is at the other at once, not only when sets of records are compared; when UDP passes
/// again, it is used again.
#[test]
fn where_no_datagram_passes_streams_carry_the_overlay() {
    let mut town = Town::new();
    town.boot(1, 1, config(1, "paris", Some(token(1, "paris", true)), &[]));
    town.run_s(10);
    let lyon = config(2, "lyon", Some(token(1, "lyon", true)), &[address(1)]);
    town.boot(2, 2, lyon);
    town.run_s(30);
    assert!(town.is_member(2), "{:?}", town.said);
    town.udp_is_blocked = true;
    town.run_s(180);
    assert!(town.hub(1).counters().by_stream > 0);
    for (number, other) in [(1, 2), (2, 1)] {
        let (now, other) = (town.now(), town.hub(other).me());
        let view = town.hub(number).overlay().unwrap().node(now, other);
        let state = view.map(|view| view.state);
        assert_eq!(state, Some(NodeState::Alive), "node {number}");
    }
    for subject in 0..5 {
        let draft = Draft {
            realm: Realm::Cluster,
            kind: RecordKind(40_000),
            subject: [subject; 16],
            epoch: 0,
            ended: false,
            body: vec![subject; 10],
        };
        let now = town.now();
        let published = town.hub(1).tell(now, Input::Publish(draft));
        assert_eq!(published, Ok(()));
        town.collect(1);
        town.run_s(1);
        let overlay = town.hub(2).overlay().unwrap();
        let held = overlay.records(Realm::Cluster, RecordKind(40_000)).count();
        assert_eq!(held, usize::from(subject) + 1);
    }
    town.udp_is_blocked = false;
    town.run_s(120);
    let by_stream = town.hub(1).counters().by_stream;
    town.run_s(60);
    assert_eq!(town.hub(1).counters().by_stream, by_stream);
}

#[test]
fn a_member_with_a_disk_is_one_again_without_asking() {
    let mut town = Town::new();
    town.boot(1, 1, config(1, "paris", Some(token(1, "paris", true)), &[]));
    town.run_s(8);
    let saved = town.saved[&1].clone();
    assert!(saved.iter().any(|(key, _)| key == IDENTITY_KEY));
    town.hubs.remove(&1);
    let mut again = config(1, "paris", None, &[]);
    again.saved = saved;
    town.boot(1, 1, again);
    assert!(town.is_member(1));
}

/// Goal: a guardian that says goodbye stays until another guards in its place, and no longer; the
/// last node of a site, whose place nobody can take, goes at once.
#[test]
fn who_says_goodbye_hands_over_what_it_guards() {
    let mut town = Town::new();
    town.boot(1, 1, config(1, "paris", Some(token(1, "paris", true)), &[]));
    town.run_s(15);
    for number in 2..=4 {
        let right = Some(token(1, "paris", false));
        town.boot(number, 1, config(number, "paris", right, &[]));
    }
    town.run_s(40);
    let guards = |town: &Town, number: u8| {
        let overlay = town.hubs[&number].overlay().unwrap();
        overlay.registers().is_guardian()
    };
    let guardians: Vec<u8> = (1..=4).filter(|one| guards(&town, *one)).collect();
    let idle: Vec<u8> = (1..=4).filter(|one| !guards(&town, *one)).collect();
    assert_eq!((guardians.len(), idle.len()), (3, 1));
    let (goer, heir, now) = (guardians[0], idle[0], town.now());
    town.hub(goer).leave(now);
    assert!(!town.hub(goer).has_gone());
    town.collect(goer);
    town.run_s(2);
    assert!(town.hub(goer).has_gone());
    assert!(!guards(&town, goer) && guards(&town, heir));
    town.hubs.remove(&goer);

    let last = heir;
    for other in (1..=4).filter(|one| *one != goer && *one != last) {
        let now = town.now();
        town.hub(other).leave(now);
        town.collect(other);
        town.run_s(3);
        assert!(town.hub(other).has_gone());
        town.hubs.remove(&other);
    }
    let now = town.now();
    town.hub(last).leave(now);
    town.collect(last);
    town.write(last);
    assert!(town.hub(last).has_gone());
}
