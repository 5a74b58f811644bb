//! Our failure detector beside foca's, in the same world: same weather, same seed, same victims.
#![allow(clippy::unwrap_used)]

use sim::alone::Alone;
use sim::flat::Flat;
use sim::measure::{Figures, Programme, measure};
use sim::world::network::Weather;

fn programme(nodes: u32, loss_percent: u32) -> Programme {
    Programme {
        seed: 7,
        nodes,
        sites: 1,
        weather: Weather {
            loss_ppm: loss_percent * 10_000,
            ..Weather::RAIN
        },
        start_ms: 5000,
        settle_ms: 30_000,
        settle_max_ms: 30_000,
        quiet_ms: 120_000,
        victims: if nodes > 50 { 8 } else { 12 },
        records: 0,
    }
}

fn row(figures: &Figures, loss: u32) {
    println!(
        "{:<6} {:>4} nodes {loss:>2} % loss: dead in site p50/p99/max {}/{}/{} ms, \
         false dead/suspected {}/{}, {} B/s, {} kB",
        figures.machine,
        figures.nodes,
        figures.dead_in_site.p50,
        figures.dead_in_site.p99,
        figures.dead_in_site.max,
        figures.false_deaths,
        figures.false_suspicions,
        figures.bytes_out_per_node_s,
        figures.memory_mean / 1000
    );
}

#[test]
fn ours_is_as_fast_as_foca_and_accuses_fewer() {
    let mut suspected = (0, 0);
    for nodes in [20, 100] {
        for loss in [1, 5, 10] {
            let programme = programme(nodes, loss);
            let ours = measure::<Alone>("ours", programme, &mut |_, _| {});
            let theirs = measure::<Flat>("foca", programme, &mut |_, _| {});
            row(&ours, loss);
            row(&theirs, loss);
            assert_eq!(ours.false_deaths, 0);
            assert!(ours.dead_in_site.p99 <= theirs.dead_in_site.p99);
            assert!(loss > 1 || ours.dead_in_site.p99 <= 5000);
            assert!(ours.false_suspicions <= theirs.false_suspicions);
            suspected.0 += ours.false_suspicions;
            suspected.1 += theirs.false_suspicions;
        }
    }
    assert!(suspected.0 < suspected.1, "{suspected:?}");
}
