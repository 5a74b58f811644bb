//! What nodes guess of distances that nobody measured.

#![allow(clippy::unwrap_used)]

use sim::Ours;
use sim::history::{History, Shape, Work};
use sim::machine::Note;
use sim::world::network::Weather;
use sim::world::{Watch, World};

const SITES: u16 = 10;
/// Below this sites are near: how near is lost in the jitter of the lines.
const NEAR_US: u64 = 20_000;

struct Nobody;

impl Watch<Ours> for Nobody {
    fn note(&mut self, _: &mut World<Ours>, _: u32, _: Note) {}
    fn wake(&mut self, _: &mut World<Ours>, _: u64) {}
    fn work(&mut self, _: &mut World<Ours>, _: &Work) {}
    fn power(&mut self, _: &mut World<Ours>, _: u32, _: bool) {}
}

/// Goal: after some minutes nodes know about how far all sites are, most of which they hold no link
/// to.
#[test]
fn guesses_of_round_trips_are_near_the_truth() {
    let history = History {
        seed: 4,
        safety_ms: 0,
        heal_ms: 0,
        shape: Shape {
            sites: vec![4; usize::from(SITES)],
            weather: Weather {
                far_us: 80_000,
                ..Weather::RAIN
            },
            start_ms: 1_000,
            spares: Vec::new(),
            diskless: Vec::new(),
            seeds: 2,
            beacons: true,
            asks_again: true,
            uptime_ms: 0,
        },
        acts: Vec::new(),
    };
    let mut world = World::<Ours>::new(&history);
    let (half, _) = errors_permille(&mut world, 10);
    assert!(half < 250, "{half}");
    let (half, most) = errors_permille(&mut world, 60);
    assert!(half < 100 && most < 200, "{half} {most}");
}

/// How far off guesses are after so many minutes: the median, and nine of ten.
fn errors_permille(world: &mut World<Ours>, minutes: u64) -> (u64, u64) {
    world.run(minutes * 60_000_000, &mut Nobody);
    let mut errors: Vec<u64> = Vec::new();
    for from in 0..SITES {
        let (overlay, now) = world.machine(u32::from(from) * 4).unwrap().overlay();
        for view in overlay.sites(now) {
            let to = world.ids.site_index(view.site).unwrap();
            assert_eq!(view.round_trip_us.is_none(), to == from, "{from} {to}");
            if let Some(guess) = view.round_trip_us {
                let there = world.network.distance_us(from, to);
                let truth = there + world.network.distance_us(to, from);
                errors.push(1000 * guess.abs_diff(truth) / truth.max(NEAR_US));
            }
        }
    }
    errors.sort_unstable();
    assert_eq!(errors.len(), usize::from(SITES * (SITES - 1)));
    let (half, most) = (errors[45], errors[81]);
    println!("after {minutes} min off by {half} thousandths (p50), {most} (p90)");
    (half, most)
}
