//! Nodes that find their site, found it, or are kept out.

use super::super::hub::IDENTITY_KEY;
use super::town::{Town, address};
use super::{config, root, token};

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
