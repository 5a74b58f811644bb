//! Where VMs go, and why, on small worlds made here.
#![allow(clippy::unwrap_used)]

use energy::green::state::{Now, Row};
use energy::green::{Bars, SiteState};
use placement::score::{Candidate, Cost, Need, Term, Unfit, rank};
use placement::why::explain;
use proptest::prelude::*;
use protocol::{ByteCount, Microwatts, NodeId, Policy, SiteId};

const FIRST: i64 = 1_900_000;

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

fn site(number: u8) -> SiteId {
    SiteId::from_bytes([number; 16])
}

fn need(policy: Policy) -> Need {
    Need {
        policy,
        power: Microwatts::from_watts(20),
        stay_s: 6 * 3600,
        from_slot: FIRST,
        sites: Vec::new(),
        apart_from: Vec::new(),
    }
}

fn candidate<'a>(number: u8, state: Option<&'a SiteState>) -> Candidate<'a> {
    Candidate {
        node: node(number),
        site: Some(site(number)),
        kvm: true,
        needs: ByteCount::mib(512),
        free: ByteCount::gib(4),
        fullness_permille: 400,
        rtt_us: Some(4_000),
        state,
        to_carry: ByteCount::ZERO,
        wake_uj: 0,
    }
}

/// A site that likely has this many watts over its draw of 100 W in each slot.
fn state(surplus: impl Fn(i64) -> u64, price_micro: u64) -> SiteState {
    let row = |slot: i64| {
        let watts = 100 + surplus(slot);
        let produced = Bars {
            point: watts * 1_300_000,
            q10: 0,
            q30: watts * 1_000_000,
            q50: watts * 1_300_000,
            q90: watts * 2_000_000,
        };
        Row {
            produced,
            carbon: Some(300_000),
            charge_permille: None,
        }
    };
    let is = Now {
        draw: Microwatts::from_watts(100),
        price_micro: Some(price_micro),
        ..Now::default()
    };
    let rows: Vec<Row> = (0..96).map(row).collect();
    SiteState::pack(FIRST, &rows, is)
}

fn first(policy: Policy, candidates: &[Candidate<'_>]) -> u8 {
    rank(&need(policy), candidates).costs[0].node.bytes()[0]
}

/// Goal: site A has the users, site B the sun. As B's surplus grows, a green VM goes to B at the
/// watts that it needs; a near one stays whatever shines.
#[test]
fn the_place_changes_where_the_surplus_covers_the_vm() {
    let dark = state(|_| 0, 150_000);
    let places = |policy| -> Vec<u8> {
        (0..10)
            .map(|watts| {
                let bright = state(|_| watts, 150_000);
                let far = Candidate {
                    rtt_us: Some(25_000),
                    ..candidate(2, Some(&bright))
                };
                first(policy, &[candidate(1, Some(&dark)), far])
            })
            .collect()
    };
    // 15 ms too far and 6 ms of the near ones cost 15.12 W. A watt of surplus saves a watt of a
    // grid with 300 g, 0.63 of the world's, and counts tenfold: B wins from 2.4 W on.
    assert_eq!(places(Policy::Green), [1, 1, 1, 2, 2, 2, 2, 2, 2, 2]);
    assert_eq!(places(Policy::Near), [1; 10]);
}

#[test]
fn each_policy_has_its_own_best_node() {
    let bright = state(|_| 200, 400_000);
    let cheap = state(|_| 0, 20_000);
    let dear = state(|_| 0, 400_000);
    let near = Candidate {
        rtt_us: Some(300),
        fullness_permille: 800,
        ..candidate(1, Some(&dear))
    };
    let green = Candidate {
        rtt_us: Some(20_000),
        ..candidate(2, Some(&bright))
    };
    let empty = Candidate {
        rtt_us: Some(30_000),
        fullness_permille: 50,
        ..candidate(3, Some(&dear))
    };
    let low = Candidate {
        rtt_us: Some(30_000),
        ..candidate(4, Some(&cheap))
    };
    let all = [near, green, empty, low];
    assert_eq!(first(Policy::Near, &all), 1);
    assert_eq!(first(Policy::Green, &all), 2);
    assert_eq!(first(Policy::Spread, &all), 3);
    // Power that is left over costs nothing; without it the low price wins.
    assert_eq!(first(Policy::Cheap, &all), 2);
    assert_eq!(first(Policy::Cheap, &[near, empty, low]), 4);
}

#[test]
fn pins_come_before_any_price_and_say_what_is_wrong() {
    let full = Candidate {
        free: ByteCount::mib(100),
        ..candidate(1, None)
    };
    let plain = Candidate {
        kvm: false,
        ..candidate(2, None)
    };
    let all = [full, plain, candidate(3, None), candidate(4, None)];
    let strict = Need {
        sites: vec![site(1), site(2), site(3)],
        apart_from: vec![node(3)],
        ..need(Policy::Near)
    };
    let ranking = rank(&strict, &all);
    assert!(ranking.costs.is_empty());
    let no_room = Unfit::NoRoom {
        needs: ByteCount::mib(512),
        free: ByteCount::mib(100),
    };
    let why = [
        (node(1), no_room),
        (node(2), Unfit::NoKvm),
        (node(3), Unfit::Apart),
        (node(4), Unfit::OtherSite),
    ];
    assert_eq!(ranking.unfit, why);
    let told = explain(&ranking, |node| format!("n{}", node.bytes()[0]));
    assert_eq!(
        told[..2],
        [
            "No node can run it.",
            "Not n1: no room: 512 MiB needed, 100 MiB free."
        ]
    );
}

#[test]
fn a_choice_is_told_in_words() {
    let bright = state(|slot| if slot < 10 { 200 } else { 0 }, 150_000);
    let dark = state(|_| 0, 150_000);
    let all = [
        candidate(1, Some(&bright)),
        candidate(2, Some(&dark)),
        Candidate {
            rtt_us: Some(90_000),
            ..candidate(3, Some(&bright))
        },
    ];
    let ranking = rank(&need(Policy::Green), &all);
    let told = explain(&ranking, |node| format!("n{}", node.bytes()[0]));
    assert_eq!(
        told,
        [
            "n1: costs the least of 3 that can run it.",
            "Renewable power is left over for it there for 2 h 30 min of the next 6 h.",
            "Not n2: it would draw more from the grid (+1 MJ).",
            "Not n3: it is farther from its users (+1 MJ).",
        ]
    );
}

/// 4 GiB over a wide network at 3.15 uJ/bit take 108 kJ; twice that is what 20 W of green power
/// give in 3 hours.
#[test]
fn a_move_pays_only_when_it_saves_twice_its_cost() {
    let dark = state(|_| 0, 150_000);
    let worth = |green_slots: i64, gib: u64| {
        let bright = state(|slot| if slot < green_slots { 200 } else { 0 }, 150_000);
        let there = Candidate {
            to_carry: ByteCount::gib(gib),
            ..candidate(2, Some(&bright))
        };
        let ranking = rank(&need(Policy::Near), &[candidate(1, Some(&dark)), there]);
        let cost = |number| {
            ranking
                .costs
                .iter()
                .find(|cost| cost.node == node(number))
                .unwrap()
        };
        Cost::is_worth_moving(cost(1), cost(2))
    };
    assert!(worth(24, 4)); // 273 kJ of a grid with 0.63 of the world's carbon
    assert!(!worth(12, 4)); // 136 kJ
    assert!(!worth(24, 16));
    assert!(worth(12, 1));
    assert!(!worth(0, 0));
}

proptest! {
    /// The order does not depend on the order of the candidates, and no term ever wraps.
    #[test]
    fn all_nodes_agree(seeds in prop::collection::vec(any::<(u8, u16, u32, u64, u64)>(), 1..20)) {
        let bright = state(|slot| slot.unsigned_abs() % 40, 90_000);
        let made = |(number, fullness, rtt, carry, wake): &(u8, u16, u32, u64, u64)| Candidate {
            fullness_permille: u64::from(*fullness),
            rtt_us: Some(*rtt),
            to_carry: ByteCount::bytes(*carry),
            wake_uj: *wake,
            ..candidate(*number, Some(&bright))
        };
        let mut all: Vec<_> = seeds.iter().map(made).collect();
        all.dedup_by_key(|candidate| candidate.node);
        let mut wide = need(Policy::Green);
        (wide.power, wide.stay_s) = (Microwatts(u64::MAX), u32::MAX);
        let one = rank(&wide, &all);
        all.reverse();
        let two = rank(&wide, &all);
        let totals = |costs: &[Cost]| costs.iter().map(Cost::total).collect::<Vec<_>>();
        prop_assert_eq!(totals(&one.costs), totals(&two.costs));
        prop_assert!(one.costs.iter().all(|cost| cost.total() >= cost.weighed(Term::Moving)));
        prop_assert!(one.costs.is_sorted_by_key(Cost::total));
    }
}
