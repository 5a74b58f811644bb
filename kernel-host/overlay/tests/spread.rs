//! Links and the tree in large clusters: who gets what, when, and what it costs.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

mod spread_world;

use spread_world::World;

#[derive(Debug)]
struct Spread {
    p99_ms: u64,
    max_ms: u64,
    missing_ppm: u64,
    copies_milli: u64,
    names_bytes_s: u64,
    names_plain_bytes_s: u64,
    links_bytes_s: u64,
    datagrams_s: u64,
}

/// What must hold at any size. Records missing: what is left to reconciliation.
impl Spread {
    fn check(&self, missing_ppm_max: u64) {
        assert!(self.p99_ms <= 1000 && self.max_ms <= 5000, "{self:?}");
        assert!(self.missing_ppm <= missing_ppm_max, "{self:?}");
        assert!(self.copies_milli <= 1500, "{self:?}");
        assert!(self.names_plain_bytes_s <= 1400, "{self:?}");
        assert!(self.names_bytes_s <= 3500, "{self:?}");
        assert!(self.datagrams_s <= 100, "{self:?}");
        assert!(self.links_bytes_s <= 300, "{self:?}");
    }
}

/// `rate` records a second for `seconds`, after the tree has settled; then `rest_ms` of rest.
fn measure(world: &mut World, rate: u64, seconds: u64, rest_ms: u64) -> Spread {
    let count = world.nodes.len();
    let settle = rate * 10;
    let mut mark = 1;
    for _ in 0..settle {
        world.publish((mark as usize * 7919) % count, mark, 300);
        mark += 1;
        world.run_ms(1000 / rate);
    }
    let (first, before) = (mark, world.bytes);
    let payloads = |world: &World| -> u64 {
        world
            .nodes
            .iter()
            .map(|node| node.tree.counters().payloads)
            .sum()
    };
    let named = |world: &World| -> u64 {
        world
            .nodes
            .iter()
            .map(|node| node.tree.counters().named)
            .sum()
    };
    let (payloads_before, named_before) = (payloads(world), named(world));
    let mut starts = Vec::new();
    for _ in 0..rate * seconds {
        starts.push(world.now_us);
        world.publish((mark as usize * 7919) % count, mark, 300);
        mark += 1;
        world.run_ms(1000 / rate);
    }
    world.run_ms(rest_ms);
    let (mut delays, mut missing) = (Vec::new(), 0);
    for node in &world.nodes {
        for (at, start) in starts.iter().enumerate() {
            match node.has.get(&(first + at as u64)) {
                Some(came) => delays.push((came - start) / 1000),
                None => missing += 1,
            }
        }
    }
    delays.sort_unstable();
    let (all, nodes) = ((delays.len() + missing) as u64, count as u64);
    Spread {
        p99_ms: delays[delays.len() * 99 / 100],
        max_ms: *delays.last().unwrap(),
        missing_ppm: missing as u64 * 1_000_000 / all,
        copies_milli: (payloads(world) - payloads_before) * 1000 / all,
        names_bytes_s: (world.bytes.names - before.names) / nodes / seconds,
        names_plain_bytes_s: (named(world) - named_before) * 8 / nodes / seconds,
        links_bytes_s: (world.bytes.greetings - before.greetings) / nodes / seconds,
        datagrams_s: (world.bytes.datagrams - before.datagrams) / nodes / seconds,
    }
}

/// Loss in millionths, records a second, millionths that reconciliation may have to bring.
const WEATHER: [(u64, u64, u64); 4] = [
    (0, 17, 0),
    (10_000, 17, 0),
    (10_000, 1, 0),
    (100_000, 17, 100),
];

#[test]
fn everybody_gets_every_record_mostly_once_and_soon() {
    for (loss_ppm, rate, missing_ppm_max) in WEATHER {
        let mut world = World::new(1, 40, 10, loss_ppm);
        world.run_ms(10_000);
        let spread = measure(&mut world, rate, 20, 3000);
        println!("400 nodes, {loss_ppm} ppm lost, {rate}/s: {spread:?}");
        spread.check(missing_ppm_max);
        assert_eq!(world.bytes.too_long, 0);
    }
}

#[test]
#[ignore = "5,000 nodes: minutes"]
fn everybody_of_5000_gets_every_record_mostly_once_and_soon() {
    for (loss_ppm, rate, missing_ppm_max) in WEATHER {
        let mut world = World::new(1, 250, 20, loss_ppm);
        world.run_ms(10_000);
        let spread = measure(&mut world, rate, 5, 3000);
        println!("5000 nodes, {loss_ppm} ppm lost, {rate}/s: {spread:?}");
        spread.check(missing_ppm_max);
    }
}

/// More names at once than one datagram holds: each site speaks after all were restarted.
#[test]
fn three_hundred_records_at_once_reach_everybody() {
    let mut world = World::new(2, 10, 10, 10_000);
    world.run_ms(10_000);
    (1..=300).for_each(|mark| world.publish(0, mark, 300));
    world.run_ms(10_000);
    let held: usize = world.nodes.iter().map(|node| node.has.len()).sum();
    assert_eq!((held, world.bytes.too_long), (300 * 100, 0));
}

#[test]
fn a_record_of_60_kib_reaches_everybody() {
    let mut world = World::new(3, 10, 10, 10_000);
    world.run_ms(10_000);
    world.publish(0, 1, 60 << 10);
    world.run_ms(5000);
    assert!(world.nodes.iter().all(|node| node.has.contains_key(&1)));
}

fn changes(world: &World) -> u64 {
    world.nodes.iter().map(|node| node.view_changes).sum()
}

fn is_one(world: &World) -> bool {
    let (part, all) = world.largest_part();
    part == all
}

/// Runs until all are one again; the seconds it took.
fn seconds_to_one(world: &mut World, most: u64) -> u64 {
    for second in 1..=most {
        world.run_ms(1000);
        if is_one(world) {
            return second;
        }
    }
    panic!("{:?} after {most} s", world.largest_part());
}

#[test]
fn a_cut_of_any_share_and_length_heals_and_then_nothing_changes() {
    //  every nth site is cut off for so long
    for (nth, cut_s) in [(2, 60), (100, 60), (2, 3600), (100, 3600)] {
        let mut world = World::new(1, 200, 3, 10_000);
        world.run_ms(30_000);
        for (site, island) in world.islands.iter_mut().enumerate() {
            *island = u8::from(site % nth == 0);
        }
        world.run_ms(cut_s * 1000);
        assert!(!is_one(&world));
        world.islands.fill(0);
        let took_s = seconds_to_one(&mut world, 10);
        world.run_ms(60_000);
        let (before, nodes) = (changes(&world), world.nodes.len() as u64);
        world.run_ms(60_000);
        let changes = changes(&world) - before;
        println!("1/{nth} for {cut_s} s: healed in {took_s} s, {changes} changes of {nodes}");
        assert!(changes < nodes / 10, "{changes} view changes in a minute");
    }
}

#[test]
fn all_links_cut_for_an_hour_come_back_without_seeds() {
    let mut world = World::new(1, 50, 4, 10_000);
    world.run_ms(30_000);
    for (site, island) in world.islands.iter_mut().enumerate() {
        *island = u8::try_from(site).unwrap();
    }
    let greetings = world.bytes.greetings;
    world.run_ms(3_600_000);
    let bytes_s = (world.bytes.greetings - greetings) / 200 / 3600;
    assert!(bytes_s <= 300, "{bytes_s} B/s while cut");
    world.islands.fill(0);
    println!(
        "{bytes_s} B/s while cut; back in {} s",
        seconds_to_one(&mut world, 10)
    );
}

#[test]
fn half_of_all_nodes_switched_off_leaves_one_part() {
    let mut world = World::new(1, 250, 20, 10_000);
    world.run_ms(30_000);
    for at in 0..world.nodes.len() {
        world.nodes[at].is_up = (at * 2_654_435_761) >> 7 & 1 == 0;
    }
    let (part, all) = world.largest_part();
    println!("{part} of {all} before any repair");
    assert!(part * 100 >= all * 98);
    world.run_ms(5000);
    world.plan(); // by now failure detectors have told who is gone
    seconds_to_one(&mut world, 25);
}
