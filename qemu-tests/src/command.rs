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

use crate::bench;
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

/// Which tests.
#[derive(Debug, clap::Args)]
struct Choice {
    /// Only tests and scenarios whose name contains this
    filter: Option<String>,
    /// Long scenarios too
    #[arg(long)]
    long: bool,
    /// Only scenarios: no format, lints or unit tests
    #[arg(long)]
    scenarios: bool,
    /// Take the node's image as it was built last, old or not
    #[arg(long)]
    as_built: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Boot two bare machines over the network into nodes, and run a guest on each
    Demo {
        /// Leave the nodes up, with a loopback URL for each, until Ctrl-C
        #[arg(long)]
        keep: bool,
        /// Take the node's image as it was built last, old or not
        #[arg(long)]
        as_built: bool,
    },
    /// Run every test there is: format, lints, unit tests, then each scenario in QEMU
    Test(Choice),
    /// Measure, always beside another program in the same run
    Bench {
        #[command(subcommand)]
        what: Bench,
    },
    /// List the scenarios and what each promises
    List,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Sizes, the stages of a boot beside a bare kernel, VM starts beside QEMU's microvm
    Boot(bench::BootArguments),
    /// The forecast of sunshine on public series, beside persistence and smart persistence
    Energy(bench::energy::EnergyArguments),
}

/// The whole command.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match &arguments.command {
        Command::List => {
            list();
            return ExitCode::SUCCESS;
        }
        Command::Bench {
            what: Bench::Energy(energy),
        } => return bench::energy::energy(energy), // no machine, no package
        _ => (),
    }
    if let Err(problem) = packages::ensure() {
        eprintln!("rig: {problem}");
        return ExitCode::from(EXIT_HOST);
    }
    let done = match arguments.command {
        Command::Demo { keep, as_built } => demonstrate(keep, as_built),
        Command::Test(choice) => test(&choice),
        Command::Bench {
            what: Bench::Boot(boot),
        } => return bench::boot(&boot),
        Command::List | Command::Bench { .. } => Ok(true),
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

fn demonstrate(keep: bool, as_built: bool) -> Result<bool, String> {
    // Before the first thread starts: all of them leave Ctrl-C to us then.
    let signals = keep
        .then(Signals::block)
        .transpose()
        .map_err(|error| chain(&error))?;
    let paths = Paths::discover().map_err(|error| chain(&error))?;
    let progress = Progress::on_stderr();
    let supplies = supplies(as_built, &paths, &progress)?;
    let folder = RunFolder::create(&paths.target).map_err(|error| chain(&error))?;
    probe::settle(&supplies.guest, &folder, &progress);
    let told = demo::run(&supplies, &folder, &progress, signals.as_ref());
    told.map(|()| true).map_err(|problem| problem.to_string())
}

fn supplies(as_built: bool, paths: &Paths, progress: &Progress) -> Result<Supplies, String> {
    let made = match as_built {
        true => Supplies::as_built(paths, progress),
        false => Supplies::build(paths, progress),
    };
    made.map_err(|error| chain(&error))
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
fn test(choice: &Choice) -> Result<bool, String> {
    let paths = Paths::discover().map_err(|error| chain(&error))?;
    let progress = Progress::on_stderr();
    let mut totals = Totals::default();
    if !choice.scenarios {
        totals.add(checks::run(
            &paths.workspace,
            choice.filter.as_deref(),
            &progress,
        ));
    }
    let chosen = choose(choice);
    if !chosen.is_empty() {
        totals.add(run_scenarios(&chosen, choice, &paths, &progress));
    }
    drop(progress);
    if let (Some(filter), true) = (&choice.filter, totals == Totals::default()) {
        return Err(format!(
            "no test or scenario is named like {filter:?}; see: cargo rig list"
        ));
    }
    println!("{}", totals.line());
    Ok(totals.failed == 0)
}

fn choose(choice: &Choice) -> Vec<Scenario> {
    let is_wanted = |scenario: &&Scenario| {
        let is_due = choice.long || !scenario.is_long;
        match choice.filter.as_deref() {
            Some(filter) => scenario.name == filter || is_due && scenario.name.contains(filter),
            None => is_due,
        }
    };
    scenarios::ALL.iter().filter(is_wanted).copied().collect()
}

fn run_scenarios(
    chosen: &[Scenario],
    choice: &Choice,
    paths: &Paths,
    progress: &Progress,
) -> Totals {
    let failed = |why: String| {
        let count = chosen.len();
        progress.say(&format!(
            "FAILED   {count} scenarios could not start: {why}"
        ));
        Totals {
            failed: count,
            ..Totals::default()
        }
    };
    let supplies = match supplies(choice.as_built, paths, progress) {
        Ok(supplies) => supplies,
        Err(problem) => return failed(problem),
    };
    match RunFolder::create(&paths.target) {
        Ok(folder) => {
            probe::settle(&supplies.guest, &folder, progress);
            run_all(chosen, &folder, &supplies, progress)
        }
        Err(problem) => failed(format!("making a folder for logs: {problem}")),
    }
}
