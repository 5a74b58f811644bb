//! The failure detector of a site, measured: how fast, how right, how dear.
#![allow(clippy::unwrap_used)]

mod site;

use site::{Site, id};

/// p50, p99 and max.
fn spread(mut values: Vec<u64>) -> (u64, u64, u64) {
    values.sort_unstable();
    let at = |percent: usize| values[(values.len() * percent).div_ceil(100).max(1) - 1];
    (at(50), at(99), at(100))
}

/// Kills nodes one by one, and says when the others knew.
fn detection(seed: u64, loss: u64, count: usize, rounds: u64) -> (Vec<u64>, usize) {
    let (mut times, mut false_deaths) = (Vec::new(), 0);
    for round in 0..rounds {
        let mut site = Site::grown(seed * 1000 + round, loss, count);
        let more = site.dice.below(2000);
        site.run_ms(5000 + more);
        let began = site.now_ms();
        let victim = site.crash(1);
        site.run_ms(20_000);
        let knew = site.death_times(victim, began);
        assert_eq!(knew.len(), count - 1, "all know, each once");
        times.extend(knew);
        false_deaths += site.false_deaths();
    }
    (times, false_deaths)
}

#[test]
fn a_death_is_known_in_the_site_within_five_seconds() {
    println!("others loss%   p50   p99   max ms  false deaths");
    for (count, rounds) in [(2, 100), (5, 60), (20, 30), (100, 6)] {
        for loss in [0, 1, 5] {
            let (times, false_deaths) = detection(1, loss, count, rounds);
            let (p50, p99, max) = spread(times);
            println!("{count:6} {loss:5} {p50:5} {p99:5} {max:5}     {false_deaths}");
            assert_eq!(false_deaths, 0);
            assert!(
                loss > 1 || p99 <= 5000,
                "{count} nodes, {loss} % loss: {p99} ms"
            );
        }
    }
}

#[test]
fn an_hour_of_bad_weather_kills_nobody() {
    for (count, loss) in [(2, 5), (20, 1), (20, 5), (20, 10), (100, 1)] {
        let minutes = if count == 100 { 10 } else { 60 };
        let mut site = Site::grown(9, loss, count);
        let before: u64 = site.running().map(|(_, node)| node.bytes_out).sum();
        site.run_ms(minutes * 60_000);
        let bytes: u64 = site.running().map(|(_, node)| node.bytes_out).sum();
        let rate = (bytes - before) / count as u64 / (minutes * 60);
        println!(
            "{count} nodes, {loss} % loss, {minutes} min: {rate} B/s a node, {} suspected, {} dead",
            site.suspected().len(),
            site.false_deaths()
        );
        assert_eq!(site.false_deaths(), 0);
        assert!(loss > 1 || rate <= 1000, "{rate} B/s");
    }
}

#[test]
fn a_member_takes_less_than_200_bytes() {
    for count in [20, 100] {
        let site = Site::grown(3, 0, count);
        let bytes = site.node(0).swim.memory_bytes();
        println!("{count} members: {bytes} bytes");
        assert!(bytes < 2000 + 200 * count, "{bytes}");
    }
    assert_ne!(id(0), id(1));
}
