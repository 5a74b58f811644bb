//! How strangers become nodes, and why some don't.
#![allow(clippy::unwrap_used)]

mod world;

use identity::admitter::{AdmitEvent, Approval, JOINS_BURST, PENDING_MAX};
use identity::grant::{Grant, GrantFields, GrantRight, Listed};
use identity::joiner::{FOUND_AFTER_MS, JoinOutput, JoinState, Joiner};
use identity::publication::RightBody;
use identity::request::Applicant;
use identity::ring::{News, Standing};
use identity::token::Token;
use protocol::NodeId;
use protocol::peer::admission::{AdmissionMessage, ApprovalCode, Few, Refusal};
use world::{DAY_S, START_MS, TokenWish, World, machine, name, secret};

const NOW_S: u64 = START_MS / 1000;

/// A site of `size` nodes, one founder and others by its token.
fn site(size: u64) -> (World, Vec<NodeId>) {
    let mut world = World::new();
    let token = world.founding("lyon");
    let mut nodes = vec![world.boot(1, "lyon", Some(token.clone()))];
    world.run(2 * FOUND_AFTER_MS, 500);
    for number in 2..=size {
        nodes.push(world.boot(number, "lyon", Some(token.clone())));
    }
    world.run(5_000, 500);
    for node in &nodes {
        assert!(world.keys(*node).is_member(), "{:?}", world.state(*node));
        assert!(world.keys(*node).can_issue(), "the charter's secret came");
    }
    (world, nodes)
}

#[test]
fn a_founding_token_makes_a_site_of_one_and_lets_others_in() {
    let (world, nodes) = site(5);
    for node in &nodes {
        assert_eq!(world.keys(*node).charters().len(), 1);
        assert_eq!(world.keys(*node).certificates(), 5);
        for other in &nodes {
            assert!(world.keys(*node).is_neighbour(*other));
        }
    }
    assert!(world.longest <= protocol::peer::DATAGRAM_BYTES_MAX);
}

#[test]
fn nobody_founds_a_site_without_a_founding_token() {
    let mut world = World::new();
    let plain = TokenWish {
        founds: false,
        ..TokenWish::founding("lyon")
    };
    let token = plain.by(&world.root, NOW_S);
    let with = world.boot(1, "lyon", Some(token));
    let without = world.boot(2, "lyon", None);
    world.run(600_000, 5_000);
    for node in [with, without] {
        let state = world.state(node);
        assert_eq!(
            state,
            JoinState::Listening {
                founds: false,
                others: 0
            }
        );
        assert!(state.advice().contains("--founds"), "{}", state.advice());
        assert!(!world.keys(node).is_member());
    }
}

#[test]
fn founders_who_do_not_hear_each_other_end_with_united_charters() {
    let mut world = World::new();
    let token = world.founding("lyon");
    let nodes: Vec<NodeId> = (1..=3)
        .map(|n| world.boot(n, "lyon", Some(token.clone())))
        .collect();
    for (island, node) in nodes.iter().enumerate() {
        world.island(&[*node], u32::try_from(island).unwrap());
    }
    world.run(2 * FOUND_AFTER_MS, 500);
    for node in &nodes {
        assert_eq!(world.keys(*node).charters().len(), 1);
    }
    world.heal();
    world.run(10_000, 500);
    let charters = world.keys(nodes[0]).charters();
    assert_eq!(charters.len(), 3);
    for node in &nodes {
        assert_eq!(world.keys(*node).charters(), charters);
        assert!(
            world.keys(*node).lacking().is_empty(),
            "each has all secrets"
        );
        assert!(
            nodes
                .iter()
                .all(|other| world.keys(*node).is_neighbour(*other))
        );
    }
    // Each of them can let a stranger in, and the others believe it.
    let stranger = world.boot(9, "lyon", Some(token));
    world.island(&nodes[1..], 7);
    world.run(5_000, 500);
    assert!(world.keys(stranger).is_member());
    world.heal();
    assert!(
        nodes
            .iter()
            .all(|other| world.keys(*other).is_neighbour(stranger))
    );
}

/// What a stranger is told, by what it holds.
#[test]
#[rustfmt::skip] // keeps the columns
fn every_refusal_says_why_and_what_to_do() {
    let base = || TokenWish { number: 950, ..TokenWish::founding("lyon") };
    let by_root = |wish: TokenWish| wish.by(&secret(0), NOW_S);
    let cases: Vec<(&str, &str, Option<Token>, JoinState, &str)> = vec![
        ("no token",            "lyon",  None,
            JoinState::Waiting { code: ApprovalCode::of(&secret(50).public()) },                        "luc node approve"),
        ("another root",        "lyon",  Some(base().by(&secret(66), NOW_S)),
            JoinState::Refused(Refusal::UnknownRoot),                                                    "luc cluster show"),
        ("another site's",      "lyon",  Some(by_root(TokenWish { site: "nice", ..base() })),
            JoinState::Refused(Refusal::WrongSite { granted: name("nice"), asked: name("lyon") }),       "--site"),
        ("expired",             "lyon",  Some(by_root(TokenWish { expires_s: Some(NOW_S - 100), ..base() })),
            JoinState::Refused(Refusal::Expired { ago_s: 117 }),                                         "--expires"),
        ("used up",             "lyon",  Some(by_root(TokenWish { count: 0, ..base() })),
            JoinState::Refused(Refusal::UsedUp { count: 0 }),                                            "--count"),
    ];
    for (case, at, token, state, advice) in cases {
        let (mut world, nodes) = site(1);
        let stranger = world.boot(50, at, token);
        world.run(2_000, 500);
        match (&state, world.state(stranger)) {
            (JoinState::Refused(Refusal::Expired { .. }), JoinState::Refused(Refusal::Expired { ago_s })) => {
                assert!((100..200).contains(&ago_s), "{case}: {ago_s}");
            }
            (wanted, found) => assert_eq!(&found, wanted, "{case}"),
        }
        assert!(state.advice().contains(advice), "{case}: {}", state.advice());
        assert!(!state.reason().is_empty());
        assert!(!world.keys(stranger).is_member(), "{case}");
        assert!(!world.keys(nodes[0]).is_neighbour(stranger), "{case}");
        // It learned nobody but the node that it asked, whose handshake it had to check.
        assert!(world.keys(stranger).certificates() <= 1, "{case}");
        assert_eq!(world.keys(stranger).charters().len(), 1, "{case}");
        assert_eq!(world.keys(stranger).lacking().len(), 1, "{case}: and no secret");
    }
}

#[test]
fn a_stranger_whose_own_roots_differ_refuses_the_site_itself() {
    let (mut world, _) = site(1);
    let token = world.founding("lyon");
    let stranger = world.boot_with(50, 50, "lyon", Some(token), &[secret(66).public()]);
    world.run(2_000, 500);
    assert_eq!(
        world.state(stranger),
        JoinState::Refused(Refusal::UnknownRoot)
    );
}

#[test]
fn a_request_works_at_the_asked_node_only() {
    let (mut world, nodes) = site(2);
    let stranger = world.boot(50, "lyon", Some(world.founding("lyon")));
    world.advance(500);
    world.shake(stranger, nodes[0]);
    // The letter to the first node arrives at the second, and another sender repeats it.
    let mut request = None;
    world.with(stranger, |desk, _, joiner| {
        joiner.as_mut().unwrap().handle_timeout(desk);
        while let Some(output) = joiner.as_mut().unwrap().poll_output() {
            if let JoinOutput::Send { message, .. } = output {
                request = Some(*message);
            }
        }
    });
    let request = request.unwrap();
    for (at, from) in [(nodes[1], stranger), (nodes[0], nodes[1])] {
        let before = world.keys(at).certificates();
        world.with(at, |desk, admitter, _| {
            admitter.handle_message(desk, from, request.clone())
        });
        let refused = |event: &AdmitEvent| {
            matches!(
                event,
                AdmitEvent::Refused {
                    refusal: Refusal::BadProof,
                    ..
                }
            )
        };
        assert!(world.nodes[&at].events.iter().any(refused));
        assert_eq!(world.keys(at).certificates(), before);
    }
}

#[test]
fn a_list_lets_in_machines_and_nodes_that_stand_on_it() {
    let (mut world, nodes) = site(2);
    let by_key = identity::secret::node_id(&secret(52).public());
    let fields = GrantFields {
        key: secret(960).public(),
        made_s: NOW_S,
        expires_s: Some(NOW_S + DAY_S),
        right: GrantRight::List {
            site: name("lyon"),
            who: Few::new([Listed::Machine(machine(51)), Listed::Node(by_key)]),
        },
    };
    let list = RightBody::Grant(Grant::sign(fields, &world.root));
    world.tell_right(nodes[0], &list);
    let strangers: Vec<NodeId> = (51..=53).map(|n| world.boot(n, "lyon", None)).collect();
    world.run(5_000, 500);
    assert!(world.keys(strangers[0]).is_member());
    assert!(world.keys(strangers[1]).is_member());
    assert!(matches!(
        world.state(strangers[2]),
        JoinState::Waiting { .. }
    ));
}

#[test]
fn a_person_approves_on_any_node_of_the_site() {
    for early in [false, true] {
        let (mut world, nodes) = site(3);
        let code = ApprovalCode::of(&secret(50).public());
        let stranger = world.boot(50, "lyon", None);
        if !early {
            world.run(3_000, 500);
            assert_eq!(world.state(stranger), JoinState::Waiting { code });
            assert!(world.state(stranger).reason().contains(&code.to_string()));
        }
        // The node that is told is hardly the one that the stranger asked.
        let told = world.with(nodes[2], |desk, admitter, _| admitter.approve(desk, code));
        world.settle();
        world.run(10_000, 500);
        assert!(world.keys(stranger).is_member(), "early {early}, {told:?}");
        assert!(early || told != Approval::Admitted(nodes[0]));
    }
}

#[test]
fn the_code_of_another_lets_nobody_in() {
    let (mut world, nodes) = site(1);
    let stranger = world.boot(50, "lyon", None);
    let code = ApprovalCode::of(&secret(51).public());
    world.with(nodes[0], |desk, admitter, _| admitter.approve(desk, code));
    world.run(20_000, 500);
    assert!(matches!(world.state(stranger), JoinState::Waiting { .. }));
    world.run(3_700_000, 20_000);
    let refused = JoinState::Refused(Refusal::NotApproved);
    let state = world.state(stranger);
    assert!(
        state == refused || matches!(state, JoinState::Waiting { .. }),
        "{state:?}"
    );
}

#[test]
fn a_counted_token_lets_in_as_many_machines_as_it_says_and_reboots_are_free() {
    let (mut world, _) = site(2);
    let wish = TokenWish {
        founds: false,
        count: 2,
        number: 970,
        ..TokenWish::founding("lyon")
    };
    let wish = TokenWish {
        expires_s: Some(NOW_S + DAY_S),
        ..wish
    };
    let token = wish.by(&world.root, NOW_S);
    let mut joined: Vec<NodeId> = (50..53)
        .map(|n| world.boot(n, "lyon", Some(token.clone())))
        .collect();
    world.run(10_000, 500);
    let in_ = |world: &World, nodes: &[NodeId]| {
        nodes
            .iter()
            .filter(|node| world.keys(**node).is_member())
            .count()
    };
    assert_eq!(in_(&world, &joined), 2);
    joined.retain(|node| world.keys(*node).is_member());
    // A machine without a disk boots anew: a new key, the same machine, no new use.
    let old = joined[0];
    let on_machine = world.nodes[&old].number;
    let roots = [world.root.public()];
    let again = world.boot_with(80, on_machine, "lyon", Some(token.clone()), &roots);
    world.run(2_000, 500);
    let alive = JoinState::Refused(Refusal::MachineAlive { node: old });
    assert_eq!(
        world.state(again),
        alive,
        "as long as its old self is not known to be dead"
    );
    world.cut_power(old);
    world.advance(2 * DAY_S * 1000);
    // The token ended meanwhile, for machines that never came.
    world.run(70_000, 500);
    assert!(world.keys(again).is_member(), "{:?}", world.state(again));
    for node in world.on() {
        if world.keys(node).is_member() {
            assert_eq!(world.keys(node).successor(old), Some(again));
            let told = News::Replaced { old, new: again };
            assert!(node == again || world.nodes[&node].news.contains(&told));
        }
    }
}

#[test]
fn two_islands_over_the_count_are_told_of_after_the_heal() {
    let (mut world, nodes) = site(4);
    let wish = TokenWish {
        founds: false,
        count: 2,
        number: 970,
        ..TokenWish::founding("lyon")
    };
    let token = wish.by(&world.root, NOW_S);
    let strangers: Vec<NodeId> = (50..54)
        .map(|n| world.boot(n, "lyon", Some(token.clone())))
        .collect();
    let half = [nodes[2], nodes[3], strangers[2], strangers[3]];
    world.island(&half, 1);
    world.run(10_000, 500);
    for stranger in &strangers {
        assert!(
            world.keys(*stranger).is_member(),
            "each island counts alone"
        );
    }
    let over = |world: &World, node: NodeId| {
        let events = world.nodes[&node].events.iter();
        let over = events.filter_map(|event| match event {
            AdmitEvent::OverCount(over) => Some((over.used, over.surplus.len())),
            _ => None,
        });
        over.collect::<Vec<_>>()
    };
    assert!(nodes.iter().all(|node| over(&world, *node).is_empty()));
    world.heal();
    for node in &nodes {
        let told = over(&world, *node);
        assert_eq!(told.last(), Some(&(4, 2)), "{told:?}");
        assert!(told.len() <= 2, "once for each size: {told:?}");
    }
    for stranger in &strangers {
        assert!(
            world.keys(*stranger).is_member(),
            "and nobody is thrown out"
        );
    }
    let late = world.boot(60, "lyon", Some(token));
    world.run(5_000, 500);
    assert_eq!(
        world.state(late),
        JoinState::Refused(Refusal::UsedUp { count: 2 })
    );
}

#[test]
fn five_thousand_joins_in_a_minute_stay_small() {
    let (mut world, nodes) = site(2);
    let before_ms = world.now.uptime_ms;
    let token = world.founding("lyon");
    let token = TokenWish {
        count: 10_000,
        number: 971,
        ..TokenWish::founding("lyon")
    }
    .by(&world.root, token.grant().fields().made_s);
    let door = nodes[0];
    let (mut admitted, mut busy) = (0, 0);
    for number in 0..5_000_u64 {
        // A stranger without a world of its own: only its first letter.
        let us = world.keys(door).me();
        let applicant = Applicant {
            site: name("lyon"),
            name: name("storm"),
            machine: machine(10_000 + number),
            token: (number % 2 == 0).then(|| token.clone()),
        };
        let letter = letter(&applicant, 10_000 + number, us, &mut world);
        let from = identity::secret::node_id(&secret(10_000 + number).public());
        world.with(door, |desk, admitter, _| {
            admitter.handle_message(desk, from, letter);
            let counters = admitter.counters();
            (admitted, busy) = (
                counters.admitted,
                counters.throttled + counters.pending_over,
            );
        });
        if number % 83 == 82 {
            world.advance(1_000);
        }
    }
    let minute_ms = world.now.uptime_ms - before_ms;
    assert!((55_000..65_000).contains(&minute_ms));
    let node = &world.nodes[&door];
    let bytes = node.keys.memory_bytes() + node.admitter.memory_bytes();
    println!("admitted {admitted}, told to come again {busy}, {bytes} bytes");
    assert!(bytes < 8 << 20, "{bytes} bytes");
    assert!(admitted > 1_000 && busy > 1_000);
    assert!(node.admitter.pending().count() <= PENDING_MAX);
    assert!(admitted <= JOINS_BURST + 60 * identity::admitter::JOINS_PER_S + 2);
}

/// The first letter of a stranger to `us`.
fn letter(applicant: &Applicant, number: u64, us: NodeId, world: &mut World) -> AdmissionMessage {
    use identity::desk::{Desk, Sight};
    #[derive(Debug)]
    struct Blind;
    impl Sight for Blind {
        fn is_alive(&self, _node: NodeId) -> bool {
            false
        }
        fn neighbours(&self) -> Vec<NodeId> {
            Vec::new()
        }
    }
    let roots = [world.root.public()];
    let mut keys = identity::ring::Keys::new(secret(number), &applicant.site, &roots);
    let now = world.now;
    let charter = secret(number).seed();
    let mut joiner = Joiner::new(now, &mut keys, applicant.clone(), number, charter);
    let mut desk = Desk {
        now,
        keys: &mut keys,
        sight: &Blind,
    };
    let site = protocol::peer::site::id_of(&applicant.site);
    joiner.handle_peer(&desk, us, Standing::Certified(site));
    joiner.handle_timeout(&mut desk);
    while let Some(output) = joiner.poll_output() {
        if let JoinOutput::Send { message, .. } = output {
            return *message;
        }
    }
    panic!("it asks at once");
}

#[test]
fn a_stranger_asks_for_ever_slower_and_slower() {
    let (mut world, _) = site(1);
    let stranger = world.boot(
        50,
        "lyon",
        Some(
            TokenWish {
                count: 0,
                number: 950,
                ..TokenWish::founding("lyon")
            }
            .by(&secret(0), NOW_S),
        ),
    );
    world.run(60_000, 500);
    let in_a_minute = world.nodes[&stranger].sent;
    world.run(3_600_000, 5_000);
    let in_an_hour = world.nodes[&stranger].sent - in_a_minute;
    assert!((4..=8).contains(&in_a_minute), "{in_a_minute}");
    assert!((45..=100).contains(&in_an_hour), "{in_an_hour}");
    assert!(!world.keys(stranger).is_member());
}
