//! Benchmarks: always a ratio against another program in the same run.
//!
//! Does:      measures sizes, boots, VM starts and forecasts; prints a table or JSON; checks the
//!            limits.
//! Does not:  fail on slow hosts: limits are ratios and sizes, never wall time.
//! Bounds:    one machine at a time, so that nothing disturbs what is measured but the host.
//! Trusts:    the clocks of host and machines.
//! Start at:  `boot`, `energy::energy`.

pub mod boots;
pub mod energy;
pub mod limits;
mod pack;
mod plan;
pub mod report;
pub mod sample;
pub mod sizes;
pub mod starts;

use std::process::ExitCode;
use std::time::Duration;

use clap::builder::RangedI64ValueParser;
use image_builder::Paths;

use crate::folders::RunFolder;
use crate::progress::Progress;
use crate::scenario::{Problem, Scenario, chain};
use crate::story::Story;
use crate::supplies::Supplies;

use report::Report;

/// What `cargo rig bench boot` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct BootArguments {
    /// Boots of each kind
    #[arg(long, default_value_t = 3, value_parser = up_to(boots::RUNS_MAX))]
    runs: u32,
    /// Pairs of VM starts
    #[arg(long, default_value_t = 5, value_parser = up_to(starts::PAIRS_MAX))]
    pairs: u32,
    /// Print JSON instead of the table
    #[arg(long)]
    json: bool,
    /// Exit with 1 when a limit is not kept, and name it
    #[arg(long)]
    check: bool,
}

fn up_to(max: u32) -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=i64::from(max))
}

/// A benchmark is told like a scenario, so that machines, wires and rows are the same.
const BOOT: Scenario = Scenario {
    name: "bench-boot",
    promise: "",
    limit: Duration::from_secs(6 * 3600),
    is_long: true,
    run: |_| Ok(()),
};

/// Runs the benchmark of the boot: the report goes to stdout.
#[must_use]
pub fn boot(arguments: &BootArguments) -> ExitCode {
    let report = match run(arguments) {
        Ok(report) => report,
        Err(problem) => {
            eprintln!("rig: {problem}");
            return ExitCode::FAILURE;
        }
    };
    if arguments.json {
        match serde_json::to_string_pretty(&report) {
            Ok(json) => println!("{json}"),
            Err(problem) => eprintln!("rig: {problem}"),
        }
    } else {
        print!("{report}");
    }
    if arguments.check && !holds(&report) {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn run(arguments: &BootArguments) -> Result<Report, String> {
    let paths = Paths::discover().map_err(|error| chain(&error))?;
    let progress = Progress::on_stderr();
    let supplies = Supplies::build(&paths, &progress).map_err(|error| chain(&error))?;
    let folder = RunFolder::create(&paths.target).map_err(|error| chain(&error))?;
    let (logs, sockets) = folder
        .scenario(0, BOOT.name)
        .map_err(|error| chain(&error))?;
    let mut story = Story::begin(&BOOT, logs, sockets, supplies, progress);
    let mut report = Report::default();
    report.image = kept(
        "image",
        sizes::measure(&paths).map_err(Problem::Broken),
        &mut report.problems,
    );
    report.boot = kept(
        "boot",
        boots::measure(&mut story, arguments.runs),
        &mut report.problems,
    );
    report.start = kept(
        "VM start",
        starts::measure(&mut story, arguments.pairs),
        &mut report.problems,
    );
    report.verdicts = limits::judge(&report);
    Ok(report)
}

/// A part that could not be measured leaves a problem, and the others run on.
fn kept<T>(part: &str, outcome: Result<T, Problem>, problems: &mut Vec<String>) -> Option<T> {
    outcome
        .map_err(|problem| problems.push(format!("{part}: {problem}")))
        .ok()
}

/// Says what falls short; a problem is no pass either.
fn holds(report: &Report) -> bool {
    let short: Vec<_> = report
        .verdicts
        .iter()
        .filter(|verdict| verdict.falls_short())
        .collect();
    for verdict in &short {
        let measured = verdict
            .measured
            .map_or("not measured".to_owned(), |value| format!("{value:.2}"));
        let (what, limit, unit) = (verdict.what, verdict.limit, verdict.unit);
        eprintln!("rig: falls short: {what}: {measured}, the limit is {limit} {unit}");
    }
    let problems = report.all_problems().count();
    if problems > 0 {
        eprintln!("rig: {problems} measurements failed; the report names them");
    }
    short.is_empty() && problems == 0
}
