//! The commands of `cargo sim`.
//!
//! Does:      reads arguments, prints the seed and the command that repeats a run first, shows
//!            progress, saves what failed in its smallest form.
//! Does not:  decide anything about a run.
//! Bounds:    one run at a time.
//! Trusts:    the person at the keyboard.
//! Start at:  `main`.

use crate::Ours;
use crate::alone::Alone;
use crate::checks::{Limits, Outcome, judge_and_tell};
use crate::flat::Flat;
use crate::history::{History, draw, shrink};
use crate::measure::{Figures, Programme, measure, measure_and_keep};
use crate::ordeal;
use crate::progress::Progress;
use crate::report::{FLAT_NODES_MAX, FLAT_SETTLE_MS_MAX, Report, SIZES, programme};
use crate::scenarios::{SCENARIOS, Scenario, named};
use crate::sealed::Sealed;
use clap::{Parser, Subcommand};
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where failing histories are kept: the tests run all of them.
const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/regressions");

/// The simulator: thousands of nodes, virtual time, faults drawn before the run.
#[derive(Debug, Parser)]
#[command(
    name = "sim",
    bin_name = "cargo sim",
    after_help = "Example: cargo sim run --seeds 1..100\n\
Exit: 0 all held, 1 something was broken or falls short, 2 wrong usage"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What runs on the hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// Our own
    Overlay,
    /// Our own behind real sessions
    Sealed,
    /// Our failure detector alone: give it one site
    Swim,
    /// Flat SWIM from the `foca` crate, the yardstick
    Foca,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::Sealed => "sealed",
            Self::Swim => "swim",
            Self::Foca => "foca",
        }
    }

    fn measure(self, programme: Programme, progress: &mut Progress) -> Figures {
        let name = self.name();
        progress.follow(&self.text(programme.nodes), |tick| match self {
            Self::Overlay => measure::<Ours>(name, programme, tick),
            Self::Sealed => measure::<Sealed<Ours>>(name, programme, tick),
            Self::Swim => measure::<Alone>(name, programme, tick),
            // It gets all the time that it needs: a cluster that is half joined compares with
            // nothing.
            Self::Foca => {
                let programme = Programme {
                    settle_max_ms: FLAT_SETTLE_MS_MAX,
                    ..programme
                };
                measure::<Flat>(name, programme, tick)
            }
        })
    }

    /// What progress says of it.
    fn text(self, nodes: u32) -> String {
        format!("{}, {nodes} nodes, virtual seconds", self.name())
    }

    fn judge(self, history: &History, limits: Limits) -> Outcome {
        self.tell(history, limits, None)
    }

    fn tell(self, history: &History, limits: Limits, tell: Option<fn(&str)>) -> Outcome {
        let flat = Limits {
            has_records: false,
            ..limits
        };
        match self {
            Self::Overlay => judge_and_tell::<Ours>(history, limits, tell),
            Self::Sealed => judge_and_tell::<Sealed<Ours>>(history, limits, tell),
            Self::Swim => judge_and_tell::<Alone>(history, flat, tell),
            Self::Foca => judge_and_tell::<Flat>(history, flat, tell),
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run random histories and check them
    Run(Run),
    /// Run a named scenario, all that contain the name, or `list` them
    Scenario {
        name: String,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Those that take minutes too
        #[arg(long)]
        long: bool,
        #[arg(long)]
        json: bool,
        #[arg(long, value_enum, default_value_t = Kind::Overlay)]
        machine: Kind,
    },
    /// Run a saved history once more
    Replay {
        file: PathBuf,
        /// Tell everything that nodes find out
        #[arg(long)]
        log: bool,
        #[arg(long, value_enum, default_value_t = Kind::Overlay)]
        machine: Kind,
    },
    /// Run random histories over whole nodes: host stack, sessions, overlay, disk
    Fat(crate::fat::command::Fat),
    /// Overloads of VMPlaceS at many sizes: our scheduler beside a central one
    Place(crate::overload::command::Place),
    /// Print the history of a seed, for `replay`
    Draw { seed: u64 },
    /// Measure clusters of many sizes, ours beside flat SWIM; write tables and pictures
    Report(Measure),
}

#[derive(Debug, clap::Args)]
struct Run {
    /// Seeds, as first..last; the last is not run
    #[arg(long, default_value = "1..101", value_parser = seeds)]
    seeds: Range<u64>,
    /// Nodes, instead of 5 to 9
    #[arg(long)]
    nodes: Option<u32>,
    /// Sites, instead of 2 or 3
    #[arg(long)]
    sites: Option<u16>,
    /// Minutes in which things go wrong
    #[arg(long)]
    minutes: Option<u64>,
    /// Disks are copied too: two machines with one key
    #[arg(long)]
    clones: bool,
    #[arg(long)]
    json: bool,
    #[arg(long, value_enum, default_value_t = Kind::Overlay)]
    machine: Kind,
}

#[derive(Debug, clap::Args)]
struct Measure {
    /// Sizes, with commas between them
    #[arg(long, value_delimiter = ',', default_values_t = SIZES)]
    nodes: Vec<u32>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seconds of quiet time that are measured
    #[arg(long, default_value_t = 60)]
    quiet: u64,
    /// Compare with the targets; exit 1 and name what falls short
    #[arg(long)]
    check: bool,
    /// Only our own machine
    #[arg(long)]
    alone: bool,
    /// One site of this size: our failure detector beside foca
    #[arg(long)]
    site: bool,
    /// Minutes that splits last; also lets each size lose half of its nodes, and restart
    #[arg(long, value_name = "MINUTES")]
    ordeals: Option<u64>,
    /// All ordeals befall the one cluster that was measured, one after the other, instead of a
    /// fresh one each: at thousands of nodes a start takes as long as an hour of quiet
    #[arg(long, requires = "ordeals", conflicts_with = "site")]
    one_world: bool,
    #[arg(long)]
    json: bool,
    /// Folder for tables and pictures, written anew after each part
    #[arg(long)]
    out: Option<PathBuf>,
}

pub(crate) fn seeds(text: &str) -> Result<Range<u64>, String> {
    let parse = |number: &str| number.parse::<u64>().map_err(|error| error.to_string());
    match text.split_once("..") {
        Some((first, last)) => Ok(parse(first)?..parse(last)?),
        None => parse(text).map(|seed| seed..seed + 1),
    }
}

/// Reads the arguments and does what they say.
pub fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run(run) => run_seeds(&run),
        Command::Scenario {
            name,
            seed,
            long,
            json,
            machine,
        } => {
            let chosen = chosen(&name, long);
            chosen.and_then(|chosen| scenarios(&chosen, seed, json, machine))
        }
        Command::Replay { file, log, machine } => replay(&file, log, machine),
        Command::Fat(asked) => crate::fat::command::fat(&asked),
        Command::Place(asked) => crate::overload::command::place(&asked),
        Command::Draw { seed } => {
            print(&draw::history(seed).to_toml().unwrap_or_default());
            Ok(true)
        }
        Command::Report(measure) => report(&measure),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(said) => {
            let _ = writeln!(std::io::stderr(), "{said}");
            ExitCode::from(2)
        }
    }
}

pub(crate) fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// The history of a seed, of the size that was asked for.
fn history_of(run: &Run, seed: u64) -> History {
    let wanted = draw::Wanted {
        nodes: run.nodes,
        sites: run.sites,
        safety_ms: run.minutes.map(|minutes| minutes * 60_000),
        clones: run.clones,
    };
    draw::history_of(seed, wanted)
}

fn run_seeds(run: &Run) -> Result<bool, String> {
    let Range { start, end } = run.seeds.clone();
    let mut options = String::new();
    for (name, value) in [
        ("nodes", run.nodes.map(u64::from)),
        ("sites", run.sites.map(u64::from)),
        ("minutes", run.minutes),
    ] {
        if let Some(value) = value {
            options += &format!(" --{name} {value}");
        }
    }
    if !run.json {
        print(&format!(
            "seeds {start}..{end}  replay one: cargo sim run --seeds SEED{options}"
        ));
    }
    let mut progress = Progress::on_stderr();
    let (mut bad, mut virtual_ms, mut events, mut slowest) = (0_u64, 0, 0, 0);
    for seed in start..end {
        progress.show(&format!("seed {seed} of {end}, {bad} broken"));
        let history = history_of(run, seed);
        let outcome = run.machine.judge(&history, Limits::OVERLAY);
        virtual_ms += outcome.virtual_ms;
        events += outcome.counts.events;
        slowest = slowest.max(outcome.one_view_ms.unwrap_or(u64::MAX));
        bad += u64::from(!outcome.is_good());
        if run.json {
            print(&line_of_json(&seed.to_string(), &outcome));
        } else if !outcome.is_good() {
            progress.clear();
            let saved = told_and_saved(run.machine, seed, history, &outcome);
            print(&saved?);
        }
    }
    progress.clear();
    let real_ms = progress.lap_ms().max(1);
    if !run.json {
        print(&format!(
            "{} histories, {bad} broken; {} virtual minutes, {events} events, {} x real time; \
             slowest heal {slowest} ms",
            end.saturating_sub(start),
            virtual_ms / 60_000,
            virtual_ms / real_ms
        ));
    }
    Ok(bad == 0)
}

/// Shrinks what failed, saves it, and says so.
fn told_and_saved(
    machine: Kind,
    seed: u64,
    history: History,
    outcome: &Outcome,
) -> Result<String, String> {
    let mut said = format!("seed {seed} BROKEN\n");
    for violation in &outcome.violations {
        said += &format!("  {violation}\n");
    }
    let Some(first) = outcome.violations.first() else {
        return Ok(said);
    };
    let rule = first.rule;
    let mut fails = |history: &History| {
        let outcome = machine.judge(history, Limits::OVERLAY);
        outcome
            .violations
            .iter()
            .any(|violation| violation.rule == rule)
    };
    let small = shrink::shrink(history, &mut fails);
    let folder = Path::new(REGRESSIONS);
    let path = folder.join(format!("seed-{seed}-{}.toml", rule.to_lowercase()));
    let text = small
        .to_toml()
        .ok_or("The history has a number that TOML can't hold.")?;
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&path, text))
        .map_err(|error| format!("Saving {}: {error}", path.display()))?;
    said += &format!(
        "  {} deeds and {} hosts are enough for {rule}: cargo sim replay {}",
        small.acts.len(),
        small.shape.hosts(),
        path.display()
    );
    Ok(said)
}

fn line_of_json(name: &str, outcome: &Outcome) -> String {
    let violations: Vec<String> = outcome
        .violations
        .iter()
        .map(|violation| violation.to_string())
        .collect();
    serde_json::json!({
        "name": name,
        "good": outcome.is_good(),
        "violations": violations,
        "more_violations": outcome.more_violations,
        "trace": format!("{:016x}", outcome.trace),
        "one_view_ms": outcome.one_view_ms,
        "virtual_ms": outcome.virtual_ms,
        "events": outcome.counts.events,
        "messages": outcome.counts.messages,
        "memory_max": outcome.memory_max,
        "done": outcome.done,
        "refused": outcome.refused,
        "unsure": outcome.unsure,
    })
    .to_string()
}

/// The scenarios that a name stands for; `list` prints all and stands for none.
fn chosen(name: &str, long: bool) -> Result<Vec<&'static Scenario>, String> {
    if name == "list" {
        for row in SCENARIOS {
            let long = if row.is_long { " (long)" } else { "" };
            print(&format!(
                "{:>2}  {:<18} {}{long}",
                row.family, row.name, row.says
            ));
        }
        return Ok(Vec::new());
    }
    if let Some(one) = named(name) {
        return Ok(vec![one]);
    }
    let rows = SCENARIOS
        .iter()
        .filter(|row| (long || !row.is_long) && (name == "all" || row.name.contains(name)));
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return Err(format!(
            "No scenario is named `{name}`: cargo sim scenario list"
        ));
    }
    Ok(rows)
}

fn scenarios(chosen: &[&Scenario], seed: u64, json: bool, machine: Kind) -> Result<bool, String> {
    let mut all_good = true;
    for row in chosen {
        if !json {
            print(&format!(
                "{} seed={seed}  replay: cargo sim scenario {} --seed {seed}",
                row.name, row.name
            ));
        }
        let mut clock = Progress::on_stderr();
        let outcome = machine.judge(&(row.make)(seed), row.limits);
        all_good &= outcome.is_good();
        if json {
            print(&line_of_json(row.name, &outcome));
        } else {
            print(&told(&outcome, clock.lap_ms()));
        }
    }
    Ok(all_good)
}

fn told(outcome: &Outcome, real_ms: u64) -> String {
    let view = match outcome.one_view_ms {
        Some(ms) => format!("one view after {ms} ms"),
        None => "no common view".to_owned(),
    };
    let mut said = format!(
        "  {}: {view}; {} virtual s in {real_ms} ms, {} events, {} messages, trace {:016x}; orders \
         {} done, {} refused, {} unsure",
        if outcome.is_good() { "good" } else { "BROKEN" },
        outcome.virtual_ms / 1000,
        outcome.counts.events,
        outcome.counts.messages,
        outcome.trace,
        outcome.done,
        outcome.refused,
        outcome.unsure
    );
    for violation in &outcome.violations {
        said += &format!("\n  {violation}");
    }
    if outcome.more_violations > 0 {
        said += &format!("\n  and {} more", outcome.more_violations);
    }
    said
}

fn replay(file: &Path, log: bool, machine: Kind) -> Result<bool, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("Reading {}: {error}", file.display()))?;
    let history = History::from_toml(&text)
        .map_err(|error| format!("{} is no history: {error}", file.display()))?;
    print(&format!(
        "seed={}  replay: cargo sim replay {}",
        history.seed,
        file.display()
    ));
    for act in &history.acts {
        print(&format!("  {:>8} ms  {:?}", act.at_ms, act.deed));
    }
    let mut clock = Progress::on_stderr();
    let outcome = machine.tell(&history, Limits::OVERLAY, log.then_some(print));
    print(&told(&outcome, clock.lap_ms()));
    Ok(outcome.is_good())
}

fn report(wanted: &Measure) -> Result<bool, String> {
    print(&format!(
        "seed={0}  replay: cargo sim report --seed {0}",
        wanted.seed
    ));
    let mut report = Report::default();
    let mut progress = Progress::on_stderr();
    for nodes in &wanted.nodes {
        measure_size(wanted, *nodes, &mut report, &mut progress)?;
    }
    progress.clear();
    print(&report.table());
    if wanted.json {
        print(&serde_json::to_string(&report).unwrap_or_default());
    }
    let shortfalls = report.shortfalls();
    if wanted.check {
        shortfalls
            .iter()
            .for_each(|short| print(&format!("short: {short}")));
    }
    Ok(!wanted.check || shortfalls.is_empty())
}

/// All that is wanted of one size. Files hold what is known so far: a long run may be cut short.
fn measure_size(
    wanted: &Measure,
    nodes: u32,
    report: &mut Report,
    progress: &mut Progress,
) -> Result<(), String> {
    let write = |report: &Report| match &wanted.out {
        Some(folder) => {
            write_out(report, folder).map_err(|error| format!("{}: {error}", folder.display()))
        }
        None => Ok(()),
    };
    let mut programme = programme(wanted.seed, nodes, wanted.quiet * 1000);
    let sites = programme.sites;
    let mut kinds = vec![Kind::Overlay, Kind::Foca];
    if wanted.site {
        programme.sites = 1;
        kinds[0] = Kind::Swim;
    }
    kinds.retain(|kind| *kind != Kind::Foca || !wanted.alone && nodes <= FLAT_NODES_MAX);
    let mut world = None;
    for kind in kinds {
        let figures = if kind == Kind::Overlay && wanted.one_world {
            let (figures, kept) = progress.follow(&kind.text(nodes), |tick| {
                measure_and_keep::<Ours>(kind.name(), programme, tick)
            });
            world = Some(kept);
            figures
        } else {
            kind.measure(programme, progress)
        };
        report.figures.push(figures);
        write(report)?;
    }
    let split_ms = wanted.ordeals.map(|minutes| minutes * 60_000);
    let ordeals = split_ms.map(|ms| match wanted.one_world {
        true => ordeal::in_a_row(ms),
        false => ordeal::all(ms),
    });
    for ordeal in ordeals.into_iter().flatten() {
        let text = format!("{ordeal}, {nodes} nodes, virtual seconds");
        let survival = progress.follow(&text, |tick| match &mut world {
            Some(world) => ordeal::endure(world, wanted.seed, ordeal, tick),
            None => ordeal::survive::<Ours>(wanted.seed, nodes, sites, ordeal, tick),
        });
        report.survivals.push(survival);
        write(report)?;
    }
    Ok(())
}

fn write_out(report: &Report, folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("report.txt"), report.table())?;
    let json = serde_json::to_string_pretty(report).unwrap_or_default();
    std::fs::write(folder.join("report.json"), json)?;
    for (name, picture) in report.pictures() {
        std::fs::write(folder.join(name), picture)?;
    }
    Ok(())
}
