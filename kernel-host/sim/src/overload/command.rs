//! `cargo sim place`: the injector at several sizes, ours beside the central one.
//!
//! Does:      prints the seed and the command that repeats the run, then a table or JSON; compares
//!            with the promises.
//! Does not:  simulate; `super::run` does.
//! Bounds:    the sizes it is given.
//! Trusts:    the figures.
//! Start at:  `place`, `shortfalls`.

use super::{Figures, Scheduler, Setting, run};
use crate::command::print;
use crate::progress::Progress;
use std::fmt::Write as _;

/// Promises, in milliseconds.
const VIOLATION_MEAN_MS_MAX: u64 = 12_000;
const DECISION_MEAN_MS_MAX: u64 = 1_100;
const DECISION_P99_MS_MAX: u64 = 2_000;
/// Flat: no size may be worse than the smallest by more than this part of it.
const FLAT_PERMILLE: u64 = 150;

#[derive(Debug, clap::Args)]
pub struct Place {
    /// Sizes, with commas between them
    #[arg(long, value_delimiter = ',', default_values_t = [128, 512, 1024, 5000])]
    nodes: Vec<usize>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Virtual minutes; the first 5 are not measured
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// A node's line in MB/s
    #[arg(long, default_value_t = 125)]
    line: u64,
    /// Compare with the promises; exit 1 and name what falls short
    #[arg(long)]
    check: bool,
    #[arg(long)]
    json: bool,
}

/// Runs all sizes; `false` when a promise was not kept and `--check` asked for it.
pub fn place(asked: &Place) -> Result<bool, String> {
    let nodes: Vec<String> = asked.nodes.iter().map(ToString::to_string).collect();
    let again = format!(
        "cargo sim place --nodes {} --seed {} --minutes {} --line {}",
        nodes.join(","),
        asked.seed,
        asked.minutes,
        asked.line
    );
    if !asked.json {
        print(&format!("seed {}; replay: {again}\n", asked.seed));
    }
    let mut progress = Progress::on_stderr();
    let mut all = Vec::new();
    for nodes in &asked.nodes {
        for scheduler in [Scheduler::Ours, Scheduler::Central] {
            let setting = Setting {
                seed: asked.seed,
                nodes: *nodes,
                end_ms: asked.minutes * 60_000,
                line_bytes_ms: asked.line.max(1) * 1000,
                scheduler,
            };
            let text = format!("{nodes} nodes, {scheduler:?}, virtual seconds");
            progress.lap_ms();
            let tick = &mut |now_ms: u64| {
                progress.show_part(&text, now_ms / 1000, setting.end_ms / 1000);
            };
            all.push(run(setting, tick));
        }
    }
    progress.clear();
    let short = shortfalls(&all);
    match asked.json {
        true => {
            let json = serde_json::json!({ "figures": all, "short": short, "replay": again });
            print(&json.to_string());
        }
        false => print(&table(&all)),
    }
    if !asked.json {
        short
            .iter()
            .for_each(|said| print(&format!("falls short: {said}")));
    }
    Ok(!asked.check || short.is_empty())
}

fn seconds(ms: u64) -> String {
    format!("{}.{:02}", ms / 1000, ms % 1000 / 10)
}

fn table(all: &[Figures]) -> String {
    let mut out = String::from(
        "nodes  who      overloads  last mean/p99 s  decided mean/p99 s  foreseen  moves  group\n",
    );
    for figures in all {
        let who = match figures.scheduler {
            Scheduler::Ours => "ours",
            Scheduler::Central => "central",
        };
        let group = match figures.members_mean_milli {
            0 => "-".to_owned(),
            milli => format!("{}.{}", milli / 1000, milli % 1000 / 100),
        };
        let pair = |mean, p99| format!("{}/{}", seconds(mean), seconds(p99));
        let _ = writeln!(
            out,
            "{:>5}  {who:<7}  {:>9}  {:>15}  {:>18}  {:>8}  {:>5}  {group:>5}",
            figures.nodes,
            figures.violations,
            pair(figures.violation_mean_ms, figures.violation_p99_ms),
            pair(figures.decision_mean_ms, figures.decision_p99_ms),
            figures.foreseen,
            figures.migrations,
        );
    }
    out
}

/// What falls short of the promises; only our own scheduler is held to them.
pub fn shortfalls(all: &[Figures]) -> Vec<String> {
    let ours: Vec<&Figures> = all
        .iter()
        .filter(|figures| figures.scheduler == Scheduler::Ours)
        .collect();
    let first = ours.first().map_or(0, |figures| figures.violation_mean_ms);
    let flat = first + first * FLAT_PERMILLE / 1000;
    let mut short = Vec::new();
    for figures in ours {
        let mut check = |what: &str, value: u64, most: u64| {
            if value > most {
                let (value, most) = (seconds(value), seconds(most));
                let nodes = figures.nodes;
                short.push(format!(
                    "{nodes} nodes: {what}: {value} s, wanted at most {most} s"
                ));
            }
        };
        let mean_ms = figures.violation_mean_ms;
        check("mean overload", mean_ms, VIOLATION_MEAN_MS_MAX);
        check("mean overload, beside the smallest size", mean_ms, flat);
        check(
            "mean decision",
            figures.decision_mean_ms,
            DECISION_MEAN_MS_MAX,
        );
        check(
            "decision, p99",
            figures.decision_p99_ms,
            DECISION_P99_MS_MAX,
        );
        if figures.violations == 0 {
            short.push(format!("{} nodes: nothing was overloaded", figures.nodes));
        }
    }
    short
}
