//! RAPL on tapes: each test is a bug that another meter had in public.
//!
//! Numbers are those of the bug's family.
#![allow(clippy::unwrap_used)]

mod tape;

use energy::meter::bank::Health;
use energy::meter::hwmon::Hwmon;
use energy::meter::powercap::Powercap;
use energy::meter::{Fault, FileFault, MS, SECOND, Value, Zone};
use protocol::{Microjoules, Microwatts};
use tape::{Tape, energy, zone};

const INTEL: u64 = 262_143_328_850;
const AMD: u64 = 65_532_610_987;

/// Folders of a tree and the names in them.
type Folders = &'static [(&'static str, &'static str)];

fn rapl() -> Tape {
    Tape::new(Powercap::new())
}

fn package(range: u64, value: u64) -> Tape {
    let mut tape = rapl();
    zone(&mut tape, "intel-rapl:0", "package-0", range, value);
    tape
}

/// 1: the range can't be read.
#[test]
fn a_counter_without_a_range_is_a_gap_and_never_negative() {
    let mut tape = package(INTEL, 1_000);
    tape.lose(
        "/sys/class/powercap/intel-rapl:0/max_energy_range_uj",
        FileFault::Absent,
    );
    tape.seconds(2);
    energy(&mut tape, "intel-rapl:0", 500);
    tape.seconds(1);
    assert_eq!(tape.spent.get(&Zone::Package(0)), None);
    assert!(tape.gaps[&Zone::Package(0)] >= SECOND);
}

/// 2: each zone wraps with its own range, alone and together.
#[test]
fn zones_wrap_alone_and_together() {
    for (package_wraps, dram_wraps) in [(true, false), (false, true), (true, true)] {
        let start = |wraps: bool, range: u64| if wraps { range - 10_000_000 } else { 5_000_000 };
        let (mut cpu, mut dram) = (start(package_wraps, INTEL), start(dram_wraps, AMD));
        let mut tape = package(INTEL, cpu);
        zone(&mut tape, "intel-rapl:0:0", "dram", AMD, dram);
        tape.play();
        for _ in 0..3 {
            cpu = (cpu + 40_000_000) % INTEL;
            dram = (dram + 6_000_000) % AMD;
            energy(&mut tape, "intel-rapl:0", cpu);
            energy(&mut tape, "intel-rapl:0:0", dram);
            tape.seconds(1);
        }
        assert_eq!(tape.spent[&Zone::Package(0)], 120_000_000);
        assert_eq!(tape.spent[&Zone::Dram(0)], 18_000_000);
        assert!(tape.gaps.is_empty());
    }
}

/// 3: a small range at high power for a day.
#[test]
fn a_day_at_280_watts_with_a_small_range_is_counted_exactly() {
    let mut tape = package(AMD, 17);
    tape.play();
    let mut value: u64 = 17;
    for _ in 0..86_400 {
        value = (value + 280_000_000) % AMD;
        energy(&mut tape, "intel-rapl:0", value);
        tape.pass(SECOND);
    }
    assert_eq!(tape.spent[&Zone::Package(0)], 86_400 * 280_000_000);
    assert!(tape.gaps.is_empty());
}

/// 4: stalled for longer than the counter's range.
#[test]
fn a_stall_of_twenty_minutes_is_a_gap_of_its_length() {
    let mut tape = package(AMD, 0);
    tape.seconds(1);
    energy(&mut tape, "intel-rapl:0", 9_000_000);
    tape.pass(1_200 * SECOND);
    assert_eq!(
        tape.value(Zone::Package(0)),
        Some(Value::Gap {
            over_ns: 1_200 * SECOND
        })
    );
    energy(&mut tape, "intel-rapl:0", 99_000_000);
    tape.seconds(1);
    assert_eq!(
        tape.spent[&Zone::Package(0)],
        90_000_000,
        "it goes on from there"
    );
}

/// 5: a reset, a suspended machine, and a clock that stands still or goes back.
#[test]
fn a_reset_at_any_sample_costs_one_gap_and_no_panic() {
    for at in 1..6 {
        let mut tape = package(INTEL, 100_000_000_000);
        tape.play();
        let mut value: u64 = 100_000_000_000;
        for second in 1..8 {
            value = if second == at { 3 } else { value + 50_000_000 };
            energy(&mut tape, "intel-rapl:0", value);
            tape.seconds(1);
        }
        assert_eq!(tape.spent[&Zone::Package(0)], 6 * 50_000_000);
        assert_eq!(tape.gaps[&Zone::Package(0)], SECOND);
    }
}

/// 5: looks that are no time apart say nothing, and a clock that went back costs a gap.
#[test]
fn a_clock_that_goes_back_gives_no_energy() {
    let mut tape = package(INTEL, 0);
    tape.seconds(1);
    tape.now.0 -= 900 * MS;
    energy(&mut tape, "intel-rapl:0", 10_000_000);
    tape.play();
    assert_eq!(
        tape.spent.get(&Zone::Package(0)),
        None,
        "not due before its time"
    );
    tape.seconds(2);
    assert!(tape.spent[&Zone::Package(0)] <= 10_000_000);
}

/// 6 and 8: the platform's zone stands apart, the mapped twin counts only where it is alone.
#[test]
fn psys_and_twins_are_told_apart_by_name() {
    let trees: [(Folders, &[Zone]); 4] = [
        (
            &[
                ("intel-rapl:0", "psys"),
                ("intel-rapl:1", "package-0"),
                ("intel-rapl:1:0", "core"),
            ],
            &[Zone::Platform, Zone::Package(0), Zone::Cores(0)],
        ),
        (&[("intel-rapl-mmio:0", "package-0")], &[Zone::Package(0)]),
        (
            &[
                ("intel-rapl:0", "package-0"),
                ("intel-rapl-mmio:0", "package-0"),
            ],
            &[Zone::Package(0)],
        ),
        (
            &[
                ("intel-rapl:1", "psys"),
                ("intel-rapl:2", "package-0"),
                ("intel-rapl:0", "package-1"),
                ("intel-rapl:0:0", "dram"),
                ("intel-rapl:2:0", "dram"),
            ],
            &[
                Zone::Platform,
                Zone::Package(0),
                Zone::Package(1),
                Zone::Dram(0),
                Zone::Dram(1),
            ],
        ),
    ];
    for (folders, zones) in trees {
        let mut tape = rapl();
        for (folder, name) in folders {
            zone(&mut tape, folder, name, INTEL, 0);
        }
        tape.play();
        for (at, (folder, _)) in folders.iter().enumerate() {
            // Different everywhere, so that no two look like one counter.
            energy(&mut tape, folder, 10_000_000 * (at as u64 + 1));
        }
        tape.seconds(1);
        assert_eq!(tape.zones(), zones, "{folders:?}");
    }
}

/// 6: of a package and its mapped twin the first is read, whatever the twin says.
#[test]
fn the_mapped_twin_is_not_added() {
    let mut tape = package(INTEL, 0);
    zone(&mut tape, "intel-rapl-mmio:0", "package-0", INTEL, 0);
    tape.play();
    energy(&mut tape, "intel-rapl:0", 30_000_000);
    energy(&mut tape, "intel-rapl-mmio:0", 31_000_000);
    tape.seconds(1);
    assert_eq!(tape.spent[&Zone::Package(0)], 30_000_000);
}

/// 7: dies that show one counter are one meter; dies with counters of their own are added.
#[test]
fn mirrored_dies_count_once_and_real_ones_twice() {
    for (step_of_second, total) in [(68_000_000, 68_000_000), (40_000_000, 108_000_000)] {
        let mut tape = rapl();
        let folders = ["intel-rapl:0", "intel-rapl:1"];
        for (die, folder) in folders.iter().enumerate() {
            // A second die of its own stands elsewhere: it has counted since the start too.
            let value = if total == 68_000_000 {
                0
            } else {
                die as u64 * 7_000_000_000
            };
            zone(
                &mut tape,
                folder,
                &format!("package-0-die-{die}"),
                INTEL,
                value,
            );
        }
        tape.play();
        let start: Vec<u64> = match total {
            68_000_000 => vec![0, 0],
            _ => vec![0, 7_000_000_000],
        };
        for second in 1..=20 {
            energy(&mut tape, folders[0], start[0] + second * 68_000_000);
            energy(&mut tape, folders[1], start[1] + second * step_of_second);
            tape.seconds(1);
        }
        assert_eq!(tape.spent[&Zone::Package(0)], 20 * total);
    }
}

/// 7: two sockets under equal load stay two.
#[test]
fn two_sockets_with_equal_counters_stay_two() {
    let mut tape = rapl();
    zone(&mut tape, "intel-rapl:0", "package-0", INTEL, 0);
    zone(&mut tape, "intel-rapl:1", "package-1", INTEL, 0);
    tape.play();
    for second in 1..=20 {
        energy(&mut tape, "intel-rapl:0", second * 68_000_000);
        energy(&mut tape, "intel-rapl:1", second * 68_000_000);
        tape.seconds(1);
    }
    assert_eq!(tape.spent[&Zone::Package(0)], 20 * 68_000_000);
    assert_eq!(tape.spent[&Zone::Package(1)], 20 * 68_000_000);
}

/// 9: memory has a zone and a unit of its own.
#[test]
fn memory_is_read_beside_its_package_with_its_own_unit() {
    let mut tape = package(INTEL, 0);
    zone(&mut tape, "intel-rapl:0:0", "dram", AMD, AMD - 1);
    tape.play();
    energy(&mut tape, "intel-rapl:0", 50_000_000);
    energy(&mut tape, "intel-rapl:0:0", 9_999_999);
    tape.seconds(1);
    assert_eq!(tape.spent[&Zone::Package(0)], 50_000_000);
    assert_eq!(tape.spent[&Zone::Dram(0)], 10_000_000);
}

/// 10 and 16: no zones at all, and files that nobody may read, are told as what they are.
#[test]
fn an_empty_or_locked_tree_is_a_reason_and_not_zero() {
    let mut tape = rapl();
    tape.play();
    assert!(
        matches!(tape.fault(), Some(Fault::Absent { .. })),
        "{:?}",
        tape.fault()
    );
    let mut tape = package(INTEL, 0);
    tape.lose(
        "/sys/class/powercap/intel-rapl:0/energy_uj",
        FileFault::Forbidden,
    );
    tape.play();
    assert!(
        matches!(tape.fault(), Some(Fault::Forbidden { .. })),
        "{:?}",
        tape.fault()
    );
    assert!(tape.readings.is_empty());
    // It stays quiet about it: asked less and less often.
    tape.seconds(600);
    assert!(tape.meter.counts().rounds < 15, "{:?}", tape.meter.counts());
    assert_eq!(tape.meter.health(), Health::Quarantined);
}

/// 12: a torn or empty text is a gap.
#[test]
fn a_torn_read_is_a_gap_and_no_spike() {
    let mut tape = package(INTEL, 1_000_000_000);
    zone(&mut tape, "intel-rapl:1", "package-1", INTEL, 0);
    tape.play();
    for text in ["", "10000", "1000200\u{0}00", "-5"] {
        energy(&mut tape, "intel-rapl:1", 0);
        tape.put("/sys/class/powercap/intel-rapl:0/energy_uj", text);
        tape.seconds(1);
        let power = tape.value(Zone::Package(0)).and_then(Value::power);
        assert!(power.is_none(), "{text:?} gave {power:?}");
    }
}

/// 16: a package is unplugged and comes back.
#[test]
fn an_unplugged_package_leaves_the_others_counting() {
    let mut tape = package(INTEL, 0);
    zone(&mut tape, "intel-rapl:1", "package-1", INTEL, 5_000_000_000);
    tape.play();
    for second in 1..=10 {
        energy(&mut tape, "intel-rapl:0", second * 30_000_000);
        if second == 3 {
            tape.files.retain(|path, _| !path.contains("rapl:1/"));
        }
        tape.seconds(1);
    }
    assert_eq!(tape.spent[&Zone::Package(0)], 10 * 30_000_000);
    zone(&mut tape, "intel-rapl:1", "package-1", INTEL, 6_000_000_000);
    tape.seconds(400);
    energy(&mut tape, "intel-rapl:1", 6_020_000_000);
    tape.seconds(1);
    assert!(
        tape.zones().contains(&Zone::Package(1)),
        "found at the next look"
    );
}

/// 19: all ones are no power, and a sensor that fails is left alone for longer and longer.
#[test]
fn a_sensor_without_a_value_is_none_and_is_left_alone() {
    let folder = "/sys/class/hwmon/hwmon3";
    let mut tape = Tape::new(Hwmon::new());
    tape.put(&format!("{folder}/name"), "power_meter");
    tape.put("/sys/class/hwmon/hwmon0/name", "coretemp");
    tape.put("/sys/class/hwmon/hwmon1/name", "amdgpu");
    tape.put("/sys/class/hwmon/hwmon1/power1_average", "40000000");
    for nothing in ["4294967295000", "4294967295", "2147483647", "4294967295999"] {
        tape.put(&format!("{folder}/power1_average"), nothing);
        tape.pass(600 * SECOND);
        assert!(tape.readings.is_empty(), "{nothing}: {:?}", tape.readings);
    }
    tape.lose(&format!("{folder}/power1_average"), FileFault::Broken);
    let before = tape.meter.counts().rounds;
    tape.seconds(3_600);
    assert!(
        tape.meter.counts().rounds - before <= 8,
        "{:?}",
        tape.meter.counts()
    );
    tape.put(&format!("{folder}/power1_average"), "250000000");
    tape.put(&format!("{folder}/power1_average_interval"), "1000");
    tape.seconds(1_300);
    let value = Value::Average {
        power: Microwatts::from_watts(250),
        window_ns: SECOND,
    };
    assert_eq!(
        tape.value(Zone::Board(0)),
        Some(value),
        "believed again after good rounds"
    );
    assert_eq!(
        tape.zones(),
        [Zone::Board(0)],
        "a graphics card is not the machine"
    );
}

/// 11: what a counter told over a time is a power of its own type.
#[test]
fn energy_over_time_is_power() {
    let value = Value::Counter {
        spent: Microjoules(90_000_000),
        over_ns: 3 * SECOND,
    };
    assert_eq!(value.power(), Some(Microwatts::from_watts(30)));
    assert_eq!(Value::Gap { over_ns: SECOND }.power(), None);
}
