//! The rig's commands, and what each is made of.
//!
//! Does:      one table of arguments; the order of steps of each command; exit codes.
//! Does not:  know scenarios or checks.
//! Bounds:    none of its own.
//! Trusts:    the person at the keyboard.
//! Start at:  `main`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use image_builder::Paths;
use sys::signals::Signals;

use crate::checks;
use crate::demo;
use crate::folders::RunFolder;
use crate::packages;
use crate::probe;
use crate::progress::Progress;
use crate::scenario::{Scenario, Totals, chain, run_all};
use crate::scenarios;
use crate::supplies::Supplies;

/// Exit code when the host lacks something that only a person can add.
const EXIT_HOST: u8 = 2;

/// Machines on a wire: the demonstration, every test, and the benchmarks of LUC OS.
#[derive(Debug, Parser)]
#[command(
    name = "rig",
    bin_name = "cargo rig",
    after_help = "Exit: 0 done, 1 something failed, \
2 wrong usage, or this host lacks a package (the line that installs it is printed)"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Boot two bare machines over the network into nodes, and run a guest on each
    Demo {
        /// Leave the nodes up, with a loopback URL for each, until Ctrl-C
        #[arg(long)]
        keep: bool,
    },
    /// Run every test there is: format, lints, unit tests, then each scenario in QEMU
    Test {
        /// Only tests and scenarios whose name contains this
        filter: Option<String>,
        /// Long scenarios too
        #[arg(long)]
        long: bool,
        /// Only scenarios: no format, lints or unit tests
        #[arg(long)]
        scenarios: bool,
    },
    /// List the scenarios and what each promises
    List,
}

/// The whole command.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Command::List = arguments.command {
        list();
        return ExitCode::SUCCESS;
    }
    if let Err(problem) = packages::ensure() {
        eprintln!("rig: {problem}");
        return ExitCode::from(EXIT_HOST);
    }
    let done = match arguments.command {
        Command::Demo { keep } => demonstrate(keep),
        Command::Test {
            filter,
            long,
            scenarios,
        } => test(filter.as_deref(), long, scenarios),
        Command::List => Ok(true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("rig: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn demonstrate(keep: bool) -> Result<bool, String> {
    // Before the first thread starts: all of them leave Ctrl-C to us then.
    let signals = keep
        .then(Signals::block)
        .transpose()
        .map_err(|error| chain(&error))?;
    let paths = Paths::discover().map_err(|error| chain(&error))?;
    let progress = Progress::on_stderr();
    let supplies = Supplies::build(&paths, &progress).map_err(|error| chain(&error))?;
    let folder = RunFolder::create(&paths.target).map_err(|error| chain(&error))?;
    probe::settle(&supplies.guest, &folder, &progress);
    let told = demo::run(&supplies, &folder, &progress, signals.as_ref());
    told.map(|()| true).map_err(|problem| problem.to_string())
}

fn list() {
    for scenario in scenarios::ALL {
        let long = if scenario.is_long {
            " (with --long)"
        } else {
            ""
        };
        println!("{:<24} {}{long}", scenario.name, scenario.promise);
    }
}

/// Runs checks and scenarios; the closing line goes to stdout.
fn test(filter: Option<&str>, long: bool, scenarios_only: bool) -> Result<bool, String> {
    let paths = Paths::discover().map_err(|error| chain(&error))?;
    let progress = Progress::on_stderr();
    let mut totals = Totals::default();
    if !scenarios_only {
        totals.add(checks::run(&paths.workspace, filter, &progress));
    }
    let chosen = choose(filter, long);
    if !chosen.is_empty() {
        totals.add(run_scenarios(&chosen, &paths, &progress));
    }
    drop(progress);
    if filter.is_some() && totals == Totals::default() {
        return Err(format!(
            "no test or scenario is named like {filter:?}; see: cargo rig list"
        ));
    }
    println!("{}", totals.line());
    Ok(totals.failed == 0)
}

fn choose(filter: Option<&str>, long: bool) -> Vec<Scenario> {
    let wanted = |scenario: &&Scenario| match filter {
        Some(filter) => {
            scenario.name.contains(filter) && (long || !scenario.is_long || filter == scenario.name)
        }
        None => long || !scenario.is_long,
    };
    scenarios::ALL.iter().filter(wanted).copied().collect()
}

fn run_scenarios(chosen: &[Scenario], paths: &Paths, progress: &Progress) -> Totals {
    let failed = |why: String| {
        progress.say(&format!(
            "FAILED   {} scenarios could not start: {why}",
            chosen.len()
        ));
        Totals {
            failed: chosen.len(),
            ..Totals::default()
        }
    };
    let supplies = match Supplies::build(paths, progress) {
        Ok(supplies) => supplies,
        Err(problem) => return failed(chain(&problem)),
    };
    match RunFolder::create(&paths.target) {
        Ok(folder) => {
            probe::settle(&supplies.guest, &folder, progress);
            run_all(chosen, &folder, &supplies, progress)
        }
        Err(problem) => failed(format!("making a folder for logs: {problem}")),
    }
}
