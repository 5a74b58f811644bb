//! Which source is believed, why, and what happens when one lies or falls silent.
#![allow(clippy::unwrap_used)]

use energy::fusion::{Fusion, Host, Reason};
use energy::meter::{Class, Reading, SECOND, Uptime, Value, Zone};
use protocol::{Microjoules, Microwatts};

const W: u64 = 1_000_000;

/// A machine whose wall draws 40 W and 1.25 times what its packages do.
struct Rig {
    fusion: Fusion,
    now: u64,
}

impl Rig {
    fn new() -> Self {
        let mut rig = Self {
            fusion: Fusion::default(),
            now: SECOND,
        };
        let model = Microwatts::from_watts(500);
        assert_eq!(rig.fusion.host(Uptime(rig.now), model, Class::Guess), None);
        rig
    }

    /// A second; each source says what it is given.
    fn second(&mut self, packages: Option<u64>, platform: Option<u64>, wall: Option<u64>) -> Host {
        self.now += SECOND;
        let now = Uptime(self.now);
        let counter = |zone, watts: u64| {
            let value = Value::Counter {
                spent: Microjoules(watts * W),
                over_ns: SECOND,
            };
            Reading::new(zone, Class::Rapl, value)
        };
        let mut rapl = Vec::new();
        rapl.extend(platform.map(|watts| counter(Zone::Platform, watts)));
        if let Some(watts) = packages {
            // Two sockets and their memory: 9 of the sums, all counted; cores are inside.
            rapl.push(counter(Zone::Package(0), watts / 2));
            rapl.push(counter(Zone::Package(1), watts / 4));
            rapl.push(counter(Zone::Cores(0), watts / 3));
            rapl.push(counter(Zone::Dram(0), watts - watts / 2 - watts / 4));
        }
        self.fusion.told(now, 0, SECOND, &rapl);
        if let Some(watts) = wall {
            let value = Value::Gauge(Microwatts::from_watts(u32::try_from(watts).unwrap()));
            self.fusion.told(
                now,
                1,
                SECOND,
                &[Reading::new(Zone::Wall(0), Class::Wall, value)],
            );
        }
        self.fusion
            .host(now, Microwatts::from_watts(500), Class::Guess)
            .unwrap()
    }
}

fn watts(host: &Host) -> u64 {
    host.energy.over(host.over_ns).unwrap().0 / W
}

fn wall_of(packages: u64) -> u64 {
    40 + packages * 5 / 4
}

/// 6 and 9: what contains what is not added; memory is.
#[test]
fn the_best_source_is_taken_and_says_why() {
    let mut rig = Rig::new();
    let host = rig.second(None, None, None);
    assert_eq!(
        (watts(&host), host.reason, host.sigma_ppm),
        (500, Reason::Model, 300_000)
    );
    let host = rig.second(Some(90), None, None);
    assert_eq!((watts(&host), host.reason), (119, Reason::Packages));
    let host = rig.second(Some(90), Some(120), None);
    assert_eq!((watts(&host), host.reason), (120, Reason::Platform));
    let host = rig.second(Some(90), Some(120), Some(150));
    assert_eq!(
        (watts(&host), host.reason, host.class),
        (150, Reason::Meter, Class::Wall)
    );
    assert!(host.reason.to_string().contains("wall"));
}

#[test]
fn a_line_is_learnt_and_carries_on_when_the_wall_meter_falls_silent() {
    let mut rig = Rig::new();
    let load = |second: u64| 60 + (second * 53) % 150;
    for second in 0..600 {
        let packages = load(second);
        rig.second(Some(packages), None, Some(wall_of(packages)));
    }
    let host = rig.second(Some(200), None, Some(wall_of(200)));
    assert_eq!(host.reason, Reason::Shaped);
    assert!(
        watts(&host).abs_diff(wall_of(200)) <= wall_of(200) * 56 / 1000,
        "{}",
        watts(&host)
    );
    for _ in 0..5 {
        rig.second(Some(70), None, None);
    }
    let host = rig.second(Some(70), None, None);
    assert_eq!((host.reason, host.class), (Reason::Line, Class::Fitted));
    assert!(
        watts(&host).abs_diff(wall_of(70)) <= wall_of(70) * 56 / 1000,
        "{}",
        watts(&host)
    );
    assert!(!rig.fusion.alarm());
}

/// 20: ten times too much and a tenth are not believed where RAPL knows better.
#[test]
fn a_wall_meter_with_a_wrong_scale_is_not_believed() {
    for wrong in [2_500, 25] {
        let mut rig = Rig::new();
        for _ in 0..20 {
            let host = rig.second(Some(160), None, Some(wrong));
            assert_eq!(host.reason, Reason::Packages, "{wrong} W");
        }
        assert_eq!(rig.fusion.disbelieved, 20);
    }
}

#[test]
fn two_sources_that_differ_for_five_minutes_raise_the_alarm() {
    let mut rig = Rig::new();
    for _ in 0..299 {
        rig.second(None, Some(120), Some(150));
    }
    assert!(!rig.fusion.alarm());
    rig.second(None, Some(120), Some(150));
    rig.second(None, Some(120), Some(150));
    assert!(rig.fusion.alarm());
    rig.second(None, Some(140), Some(150));
    assert!(!rig.fusion.alarm(), "they agree again");
}

/// A counter that saw only a part of the interval does not stand for all of it.
#[test]
fn a_source_that_was_silent_for_most_of_an_interval_is_not_stretched() {
    let mut rig = Rig::new();
    rig.now += 9 * SECOND;
    let host = rig.second(None, Some(120), None);
    assert_eq!(host.reason, Reason::Model);
}
