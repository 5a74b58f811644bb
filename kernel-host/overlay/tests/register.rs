//! Registers, guardians and leases, on a bad wire.
#![allow(clippy::unwrap_used)]

mod guards;

use guards::{Guards, swap, value};
use protocol::peer::register::{Outcome, Wish};

fn site_of(count: usize, seed: u64) -> Guards {
    let mut guards = Guards::new(seed);
    guards.add(1, count);
    guards.run(60_000);
    guards
}

#[test]
#[rustfmt::skip] // keeps the columns
fn a_site_has_as_many_guardians_as_its_size_asks_for() {
    //   nodes  guardians
    check_size(1,  1);
    check_size(2,  1);
    check_size(3,  3);
    check_size(7,  3);
    check_size(8,  5);
    check_size(12, 5);
}

fn check_size(nodes: usize, wanted: usize) {
    let guards = site_of(nodes, 7);
    for at in 0..nodes {
        assert_eq!(
            guards.guardians(at),
            guards.guardians(0),
            "one council of {nodes}"
        );
        assert!(
            guards.hosts[at].belief.is_some(),
            "host {at} of {nodes} has its lease"
        );
    }
    assert_eq!(guards.guardians(0).len(), wanted, "{nodes} nodes");
}

#[test]
fn what_is_swapped_is_read_from_anywhere() {
    let mut guards = site_of(5, 1);
    assert_eq!(guards.ask_now(0, 1, Wish::Look).1, looked(None));
    assert_eq!(guards.ask_now(1, 1, swap(None, 10)).1, Outcome::Done);
    assert_eq!(
        guards.ask_now(2, 1, swap(None, 11)).1,
        Outcome::Conflict(Some(value(10)))
    );
    assert_eq!(guards.ask_now(3, 1, swap(Some(10), 12)).1, Outcome::Done);
    for at in 0..5 {
        let Outcome::Value { value: held, .. } = guards.ask_now(at, 1, Wish::Look).1 else {
            panic!("no value");
        };
        assert_eq!(held, Some(value(12)));
    }
}

fn looked(held: Option<u64>) -> Outcome {
    Outcome::Value {
        value: held.map(value),
        age_ms: 0,
    }
}

/// Cuts all pairs of guardians that are not in `edges`; numbers are places in the council.
fn graph(guards: &mut Guards, edges: &[(usize, usize)]) -> Vec<usize> {
    let seats = guards.guardians(0);
    for a in 0..seats.len() {
        for b in 0..a {
            if !edges.contains(&(a, b)) && !edges.contains(&(b, a)) {
                guards.cut(seats[a], seats[b]);
            }
        }
    }
    seats
}

#[test]
#[rustfmt::skip] // keeps the columns
fn a_connected_majority_decides_on_any_graph() {
    check_graph("bridge",   &[(0, 1), (0, 2), (1, 2), (2, 3), (2, 4), (3, 4)]);
    check_graph("chain",    &[(0, 1), (1, 2), (2, 3), (3, 4)]);
    check_graph("two leaves", &[(0, 1), (0, 2), (1, 2), (0, 3), (1, 4)]);
    check_graph("star",     &[(0, 1), (0, 2), (0, 3), (0, 4)]);
    check_graph("majority", &[(0, 1), (0, 2), (1, 2)]);
}

fn check_graph(name: &str, edges: &[(usize, usize)]) {
    for seed in 0..20 {
        let mut guards = site_of(5, seed);
        for host in 0..3 {
            guards.add(1, 1);
            guards.run(1000 * host);
        }
        guards.run(60_000);
        let seats = graph(&mut guards, edges);
        assert_eq!(seats.len(), 5, "{name}");
        let mut held = None;
        for (round, at) in seats.iter().cycle().take(10).enumerate() {
            let is_linked = edges
                .iter()
                .any(|(a, b)| seats[*a] == *at || seats[*b] == *at);
            if !is_linked {
                continue;
            }
            let to = round as u64 + 1;
            let (ms, outcome) = guards.ask_now(*at, 1, swap(held, to));
            assert_eq!(
                outcome,
                Outcome::Done,
                "{name}, seed {seed}, seat {at}, {ms} ms"
            );
            held = Some(to);
        }
    }
}

#[test]
fn one_way_links_do_not_stop_a_majority() {
    for seed in 0..20 {
        let mut guards = site_of(9, seed);
        let seats = guards.guardians(0);
        // Two can speak but not hear, or hear but not speak.
        for other in 0..9 {
            guards.blocked.insert((seats[0], other));
            guards.blocked.insert((other, seats[1]));
        }
        let mut held = None;
        for (to, at) in (1..).zip(&seats[2..]) {
            let outcome = guards.ask_now(*at, 1, swap(held, to)).1;
            assert_eq!(outcome, Outcome::Done, "seed {seed}, seat {at}");
            held = Some(to);
        }
        for at in &seats[..2] {
            let outcome = guards.ask_now(*at, 1, swap(held, 99)).1;
            assert!(
                matches!(outcome, Outcome::Refused | Outcome::Unsure),
                "{outcome:?}"
            );
        }
    }
}

#[test]
fn a_guardian_that_is_silent_for_a_minute_is_not_missed() {
    for seed in 0..10 {
        let mut guards = site_of(8, seed);
        let seats = guards.guardians(0);
        guards.pause(seats[0], 60_000);
        let mut held = None;
        for to in 1..12 {
            let at = seats[1 + usize::try_from(to).unwrap() % 4];
            let (ms, outcome) = guards.ask_now(at, 1, swap(held, to));
            assert_eq!(outcome, Outcome::Done, "seed {seed}");
            assert!(ms < 1000, "{ms} ms");
            held = Some(to);
            guards.run(4000);
        }
    }
}

#[test]
fn a_dead_guardian_is_replaced_and_nothing_is_lost() {
    let mut guards = site_of(5, 3);
    assert_eq!(guards.ask_now(0, 1, swap(None, 1)).1, Outcome::Done);
    for _ in 0..4 {
        let seats = guards.guardians(0);
        let dead = *seats.iter().find(|seat| **seat != 0).unwrap();
        guards.crash(dead);
        guards.run(20_000);
        assert!(
            guards.guardians(0).contains(&dead),
            "a short outage moves nothing"
        );
        guards.run(40_000);
        assert!(!guards.guardians(0).contains(&dead));
        guards.boot(dead);
        guards.run(10_000);
    }
    for at in 0..5 {
        let outcome = guards.ask_now(at, 1, swap(Some(9), 1)).1;
        assert_eq!(outcome, Outcome::Conflict(Some(value(1))), "host {at}");
    }
}

#[test]
fn a_site_of_two_has_a_third_guardian_next_door() {
    let mut guards = Guards::new(5);
    guards.add(1, 2);
    guards.add(2, 3);
    guards.run(20_000);
    guards.set_neighbour(0, 3);
    guards.set_neighbour(1, 3);
    guards.run(60_000);
    let mut seats = guards.guardians(0);
    seats.sort_unstable();
    assert_eq!(seats, [0, 1, 3]);
    assert_eq!(guards.ask_now(0, 1, swap(None, 1)).1, Outcome::Done);
    guards.crash(0);
    guards.run(60_000);
    assert_eq!(guards.ask_now(1, 1, swap(Some(1), 2)).1, Outcome::Done);
    assert_eq!(guards.taken, 1, "the lease of the dead host was ended");
    assert!(guards.violations.is_empty());
}

#[test]
fn a_guardian_that_forgot_does_not_vote() {
    let mut guards = site_of(4, 9);
    let seats = guards.guardians(0);
    assert_eq!(guards.ask_now(0, 1, swap(None, 1)).1, Outcome::Done);
    // The same key, but its registers are gone.
    guards.crash(seats[1]);
    guards.hosts[seats[1]].disk.clear();
    guards.boot(seats[1]);
    guards.run(3000);
    assert!(!guards.machine(seats[1]).is_guardian());
    guards.run(60_000);
    let again = guards.guardians(0);
    assert_eq!(again.len(), 3);
    assert!(again.iter().all(|seat| guards.machine(*seat).is_guardian()));
    let outcome = guards.ask_now(2, 1, Wish::Look).1;
    let Outcome::Value { value: held, .. } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(held, Some(value(1)));
}

#[test]
fn a_site_that_lost_all_disks_begins_anew_once_the_old_nodes_are_known_gone() {
    let mut guards = site_of(3, 4);
    for at in 0..3 {
        guards.crash(at);
        guards.lose_disk(at, true);
    }
    for at in 0..3 {
        guards.boot(at);
    }
    guards.run(60_000);
    assert_eq!(guards.guardians(0).len(), 3);
    assert_eq!(guards.ask_now(0, 1, swap(None, 1)).1, Outcome::Done);
    // One survivor of three: the others came back as new nodes.
    guards.crash(1);
    guards.crash(2);
    guards.lose_disk(1, true);
    guards.lose_disk(2, true);
    guards.boot(1);
    guards.boot(2);
    guards.run(60_000);
    assert_eq!(guards.guardians(0).len(), 3);
    let ask = guards.ask_now(1, 1, Wish::Look).1;
    assert!(matches!(ask, Outcome::Value { .. }), "{ask:?}");
}

#[test]
fn two_foundings_that_meet_become_one_and_epochs_rise() {
    for seed in 0..10 {
        let mut guards = Guards::new(seed);
        guards.add(1, 6);
        for a in 0..3 {
            for b in 3..6 {
                guards.cut(a, b);
            }
        }
        guards.run(60_000);
        let before: Vec<u64> = guards
            .hosts
            .iter()
            .map(|host| host.belief.unwrap().0)
            .collect();
        assert_ne!(guards.guardians(0), guards.guardians(4));
        guards.blocked.clear();
        guards.run(60_000);
        for (at, before) in before.iter().enumerate() {
            assert_eq!(guards.guardians(at), guards.guardians(0), "seed {seed}");
            let epoch = guards.hosts[at].belief.unwrap().0;
            assert!(epoch >= *before, "seed {seed}");
        }
        let risen = (0..6).filter(|at| guards.hosts[*at].belief.unwrap().0 > before[*at]);
        assert_eq!(risen.count(), 3, "one side takes its leases anew");
        assert!(guards.violations.is_empty(), "{:?}", guards.violations);
    }
}

#[test]
fn a_paused_host_sees_its_lease_lost_before_it_acts() {
    let mut guards = site_of(5, 2);
    let (held, _) = guards.hosts[3].belief.unwrap();
    guards.pause(3, 90_000);
    guards.run(90_001);
    let now_ms = guards.uptime_ms(3);
    assert_eq!(guards.machine(3).lease().valid_until(now_ms), None);
    assert_eq!(guards.taken, 1);
    guards.run(5000);
    let (again, _) = guards.hosts[3].belief.unwrap();
    assert!(
        again > held + 1,
        "{held} was ended, then taken anew as {again}"
    );
    assert!(guards.violations.is_empty());
}

/// Cuts, crashes and pauses while clocks drift by up to 1 %: leases ended too early, and ended.
fn lease_chaos(seeds: std::ops::Range<u64>, has_margin: bool) -> (Vec<String>, u64) {
    let (mut violations, mut taken) = (Vec::new(), 0);
    for seed in seeds {
        let mut guards = Guards::new(seed);
        guards.rules.lease_margin = has_margin;
        guards.add(1, 5);
        for host in &mut guards.hosts {
            host.drift_ppm = [-10_000, 10_000, 0][usize::try_from(seed).unwrap() % 3];
        }
        guards.hosts[0].drift_ppm = 10_000;
        guards.run(30_000);
        for _ in 0..3 {
            let at = usize::try_from(guards.dice.below(5)).unwrap();
            match guards.dice.below(3) {
                0 => guards.pause(at, 30_000),
                _ => (0..5)
                    .filter(|other| *other != at)
                    .for_each(|other| guards.cut(at, other)),
            }
            guards.run(30_000);
            guards.blocked.clear();
            guards.run(10_000);
        }
        taken += guards.taken;
        violations.append(&mut guards.violations);
    }
    (violations, taken)
}

#[test]
fn a_lease_is_ended_only_when_its_holder_knows_it() {
    let (violations, taken) = lease_chaos(0..150, true);
    assert!(violations.is_empty(), "{violations:?}");
    assert!(taken > 200, "{taken}");
}

#[test]
fn without_its_margin_a_lease_is_ended_too_early_and_that_is_seen() {
    let (violations, _) = lease_chaos(0..20, false);
    assert!(!violations.is_empty());
}

#[test]
fn a_lease_costs_little() {
    for nodes in [3, 8, 20] {
        let mut guards = site_of(nodes, 1);
        let before: u64 = guards.hosts.iter().map(|host| host.wire_out).sum();
        guards.run(300_000);
        let after: u64 = guards.hosts.iter().map(|host| host.wire_out).sum();
        let rate = (after - before) / 300 / nodes as u64;
        println!("{nodes} nodes: {rate} B/s each, with UDP, IP and the session's part");
        assert!(rate <= 300, "{nodes} nodes: {rate} B/s");
    }
}
