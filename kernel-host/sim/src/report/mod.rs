//! Measures clusters of many sizes, ours and flat SWIM side by side; tables, pictures, verdict.
//!
//! Does:      the programme of `measure` for each size and machine; compares with `TARGETS`.
//! Does not:  measure by itself (`measure`) or test (`checks`).
//! Bounds:    the sizes it is given.
//! Trusts:    `measure`.
//! Start at:  `Report::shortfalls`, then the table `TARGETS`.

pub mod plot;

use crate::measure::{Figures, Programme};
use crate::ordeal::Survival;
use crate::world::network::Weather;
use plot::{Chart, Series};
use serde::Serialize;
use std::fmt::Write as _;

/// Sizes of a report; sites hold 20 nodes.
pub const SIZES: [u32; 7] = [50, 100, 200, 500, 1000, 2000, 5000];
/// foca's work grows with the square of the size: beyond this a report would take hours.
pub const FLAT_NODES_MAX: u32 = 2000;
/// The longest that foca is given to let all find all.
pub const FLAT_SETTLE_MS_MAX: u64 = 900_000;
const NODES_PER_SITE: u32 = 20;

/// A promise: its name, where it is read, its limit, its unit.
#[derive(Debug)]
pub struct Target {
    pub name: &'static str,
    pub read: fn(&Figures) -> u64,
    pub limit: u64,
    pub unit: &'static str,
}

/// What the overlay must reach at 5,000 nodes and 1 % loss.
#[rustfmt::skip]
pub const TARGETS: [Target; 8] = [
    Target { name: "dead known in its site, p99",     read: |f| f.dead_in_site.p99,      limit: 5000,      unit: "ms" },
    Target { name: "dead known everywhere, p99",      read: |f| f.dead_everywhere.p99,   limit: 8000,      unit: "ms" },
    Target { name: "false deaths",                    read: |f| f.false_deaths,          limit: 0,         unit: "" },
    Target { name: "broadcast known everywhere, p99", read: |f| f.spread.p99,            limit: 1000,      unit: "ms" },
    Target { name: "payloads per node needed",        read: |f| f.copies_milli,          limit: 1500,      unit: "/1000" },
    Target { name: "records that never came",         read: |f| f.missed,                limit: 0,         unit: "" },
    Target { name: "sent per node, mean",             read: |f| f.bytes_out_per_node_s,  limit: 10_000,    unit: "B/s" },
    Target { name: "memory per node, largest",        read: |f| f.memory_max,            limit: 8 << 20,   unit: "B" },
];

/// What to measure at a size.
pub fn programme(seed: u64, nodes: u32, quiet_ms: u64) -> Programme {
    Programme {
        seed,
        nodes,
        sites: u16::try_from(nodes.div_ceil(NODES_PER_SITE)).unwrap_or(u16::MAX),
        weather: Weather::RAIN,
        start_ms: 1_000,
        settle_ms: 30_000,
        settle_max_ms: 30_000,
        quiet_ms,
        victims: 20,
        records: 20,
    }
}

/// All that was measured, of all machines and sizes.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub figures: Vec<Figures>,
    pub survivals: Vec<Survival>,
}

impl Report {
    /// What falls short of the targets, one sentence each; only our own machine is held to them.
    pub fn shortfalls(&self) -> Vec<String> {
        let ours = self
            .figures
            .iter()
            .filter(|figures| figures.machine == "overlay");
        let mut short = Vec::new();
        for figures in ours {
            for target in &TARGETS {
                let value = (target.read)(figures);
                if value > target.limit {
                    short.push(format!(
                        "{} nodes: {}: {value} {unit}, wanted at most {} {unit}",
                        figures.nodes,
                        target.name,
                        target.limit,
                        unit = target.unit
                    ));
                }
            }
        }
        for survival in self.survivals.iter().filter(|survival| !survival.is_good()) {
            short.push(format!("{} nodes: {survival}", survival.nodes));
        }
        short
    }

    /// One row for each machine and size.
    pub fn table(&self) -> String {
        let mut out = String::from(
            "machine  nodes  joined s  in site p50/p99 ms  everywhere p50/p99 ms  \
             spread p50/p99 ms  copies  missed  false dead/susp.  sent B/s mean/max  \
             memory kB  steps/s\n",
        );
        for f in &self.figures {
            let _ = writeln!(
                out,
                "{:<8} {:>5}  {:>8}  {:>18}  {:>21}  {:>17}  {:>6}  {:>6}  {:>16}  {:>17}  \
                 {:>9}  {:>7}",
                f.machine,
                f.nodes,
                tenths(f.joined_ms),
                format!("{}/{}", f.dead_in_site.p50, f.dead_in_site.p99),
                format!("{}/{}", f.dead_everywhere.p50, f.dead_everywhere.p99),
                format!("{}/{}", f.spread.p50, f.spread.p99),
                format!(
                    "{}.{:02}",
                    f.copies_milli / 1000,
                    f.copies_milli % 1000 / 10
                ),
                f.missed,
                format!("{}/{}", f.false_deaths, f.false_suspicions),
                format!("{}/{}", f.bytes_out_per_node_s, f.bytes_out_max_per_s),
                f.memory_max >> 10,
                f.steps_per_node_s,
            );
        }
        for survival in &self.survivals {
            let verdict = if survival.is_good() { "good" } else { "SHORT" };
            let _ = writeln!(out, "{:>5} nodes, {survival}: {verdict}", survival.nodes);
        }
        out
    }

    /// File names and pictures.
    pub fn pictures(&self) -> Vec<(&'static str, String)> {
        let chart = |title: &str, y_label: &str, is_log: bool| Chart {
            title: title.to_owned(),
            x_label: "nodes".to_owned(),
            y_label: y_label.to_owned(),
            is_log,
            ..Chart::default()
        };
        let mut detection = chart("A dead node is known", "seconds after its death", false);
        detection.targets = vec![
            ("promised in its site".to_owned(), 5.0),
            ("promised everywhere".to_owned(), 8.0),
        ];
        let (ours, flat) = ("overlay", "foca");
        self.lines(&mut detection, "in its site, p99", ours, &|f| {
            seconds(f.dead_in_site.p99)
        });
        self.lines(&mut detection, "everywhere, p99", ours, &|f| {
            seconds(f.dead_everywhere.p99)
        });
        self.lines(&mut detection, "flat SWIM (foca), p99", flat, &|f| {
            seconds(f.dead_everywhere.p99)
        });
        let mut spread = chart("A record is everywhere", "seconds", false);
        spread.targets = vec![("promised, p99".to_owned(), 1.0)];
        self.lines(&mut spread, "p50", ours, &|f| seconds(f.spread.p50));
        self.lines(&mut spread, "p99", ours, &|f| seconds(f.spread.p99));
        self.lines(&mut spread, "latest", ours, &|f| seconds(f.spread.max));
        let mut traffic = chart("Sent by a node, quiet cluster", "bytes per second", true);
        traffic.targets = vec![("promised, mean".to_owned(), 10_000.0)];
        self.lines(&mut traffic, "mean", ours, &|f| {
            pixels(f.bytes_out_per_node_s)
        });
        self.lines(&mut traffic, "busiest", ours, &|f| {
            pixels(f.bytes_out_max_per_s)
        });
        self.lines(&mut traffic, "flat SWIM (foca), mean", flat, &|f| {
            pixels(f.bytes_out_per_node_s)
        });
        let mut memory = chart("Memory of a node", "kB", true);
        memory.targets = vec![("promised, largest".to_owned(), 8192.0)];
        self.lines(&mut memory, "mean", ours, &|f| pixels(f.memory_mean >> 10));
        self.lines(&mut memory, "largest", ours, &|f| {
            pixels(f.memory_max >> 10)
        });
        self.lines(&mut memory, "flat SWIM (foca), mean", flat, &|f| {
            pixels(f.memory_mean >> 10)
        });
        vec![
            ("detection.svg", detection.svg()),
            ("spread.svg", spread.svg()),
            ("traffic.svg", traffic.svg()),
            ("memory.svg", memory.svg()),
        ]
    }

    fn lines(&self, chart: &mut Chart, name: &str, machine: &str, read: &dyn Fn(&Figures) -> f64) {
        let of_machine = self
            .figures
            .iter()
            .filter(|figures| figures.machine == machine);
        let points: Vec<(f64, f64)> = of_machine
            .map(|figures| (f64::from(figures.nodes), read(figures)))
            .collect();
        if !points.is_empty() {
            chart.series.push(Series {
                name: name.to_owned(),
                points,
                is_dashed: machine != "overlay",
            });
        }
    }
}

#[allow(clippy::cast_precision_loss)] // pixels
fn pixels(value: u64) -> f64 {
    value as f64
}

fn seconds(ms: u64) -> f64 {
    pixels(ms) / 1000.0
}

fn tenths(ms: u64) -> String {
    format!("{}.{}", ms / 1000, ms % 1000 / 100)
}
