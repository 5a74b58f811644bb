//! `rig bench energy`: how wrong the forecast of sunshine is on public measurements.
//!
//! Does:      replays 15 German sites (a year of hours each) and a real inverter (15 weeks of
//!            quarter-hours) through the node's own feed and forecast, beside persistence and
//!            smart persistence in the same run; compares with the promises.
//! Does not:  keep the data: pip fetches it into the target folder.
//! Bounds:    the horizons of `HORIZONS`.
//! Trusts:    the measurements; their checksums are pip's.
//! Start at:  `energy`, then `score`.

mod data;

use std::fmt;
use std::process::ExitCode;

use energy::green::feed::Kind;
use energy::green::site::Foretold;
use energy::green::{DAY_SLOTS, SLOT_S};
use image_builder::Paths;
use serde::Serialize;

use super::limits::Verdict;
use crate::progress::Progress;
use crate::scenario::chain;
use data::Record;

/// What `cargo rig bench energy` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct EnergyArguments {
    /// Print JSON instead of the table
    #[arg(long)]
    json: bool,
    /// Exit with 1 when a limit is not kept, and name it
    #[arg(long)]
    check: bool,
}

/// Horizons in hours, and the most mean error in percent of the daytime mean that is promised.
const HORIZONS: [(i64, Option<f64>); 7] = [
    (1, Some(25.0)),
    (2, None),
    (3, None),
    (4, Some(40.0)),
    (6, None),
    (12, None),
    (24, Some(38.5)),
];
/// Nothing is scored while the envelope is learned.
const LEARNING_SLOTS: i64 = 14 * DAY_SLOTS as i64;

/// Errors at one horizon, in percent of the daytime mean.
#[derive(Clone, Debug, Serialize)]
struct Row {
    hours: i64,
    ours: f64,
    smart: f64,
    persistence: f64,
    /// How often truth was below the bar that says 3 times in 10.
    below_q30_percent: f64,
}

/// All horizons of one source of data.
#[derive(Clone, Debug, Serialize)]
struct Table {
    source: &'static str,
    rows: Vec<Row>,
}

#[derive(Clone, Debug, Serialize)]
struct Report {
    forecast: Vec<Table>,
    verdicts: Vec<Verdict>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    truth: f64,
    ours: f64,
    smart: f64,
    persistence: f64,
    below: f64,
    counted: f64,
}

/// Runs the benchmark: the report goes to stdout.
#[must_use]
pub fn energy(arguments: &EnergyArguments) -> ExitCode {
    let report = match run() {
        Ok(report) => report,
        Err(problem) => {
            eprintln!("rig: {problem}");
            return ExitCode::FAILURE;
        }
    };
    match serde_json::to_string_pretty(&report) {
        Ok(json) if arguments.json => println!("{json}"),
        _ => print!("{report}"),
    }
    let short = report
        .verdicts
        .iter()
        .filter(|verdict| verdict.falls_short());
    let count = short
        .inspect(|verdict| eprintln!("rig: falls short: {}", verdict.what))
        .count();
    match arguments.check && count > 0 {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}

fn run() -> Result<Report, String> {
    let paths = Paths::discover().map_err(|error| chain(&error))?;
    let progress = Progress::on_stderr();
    let folder = paths.target.join("bench-energy");
    let sources = data::fetch(&folder, &progress)?;
    let mut forecast = Vec::new();
    let mut verdicts = Vec::new();
    for (source, records) in &sources {
        progress.say(&format!("replaying {} series: {source}", records.len()));
        let rows = table(records)?;
        for (row, (_, limit)) in rows.iter().zip(HORIZONS) {
            if let Some(limit) = limit {
                let what = match row.hours {
                    1 => "mean error of the forecast 1 h ahead, of the daytime mean",
                    4 => "mean error of the forecast 4 h ahead, of the daytime mean",
                    _ => "mean error of the forecast 24 h ahead, of the daytime mean",
                };
                verdicts.push(Verdict::new(what, "%", limit, Some(row.ours)));
            }
        }
        forecast.push(Table { source, rows });
    }
    Ok(Report { forecast, verdicts })
}

/// All series of a source together.
fn table(records: &[Record]) -> Result<Vec<Row>, String> {
    let mut sums = [Sums::default(); HORIZONS.len()];
    for record in records {
        score(record, &mut sums)?;
    }
    let row = |(sums, (hours, _)): (Sums, (i64, Option<f64>))| Row {
        hours,
        ours: 100.0 * sums.ours / sums.truth,
        smart: 100.0 * sums.smart / sums.truth,
        persistence: 100.0 * sums.persistence / sums.truth,
        below_q30_percent: 100.0 * sums.below / sums.counted,
    };
    Ok(sums.into_iter().zip(HORIZONS).map(row).collect())
}

/// Replays one series: at each row, foretells what is known only later.
#[expect(clippy::cast_precision_loss, reason = "powers of one plant")]
fn score(record: &Record, sums: &mut [Sums; HORIZONS.len()]) -> Result<(), String> {
    let truths = record.truths()?;
    let first = truths.keys().next().copied().unwrap_or(0);
    let mut site = Foretold::new(record.kind(), record.span_s);
    record.play(&mut site, |site, end| {
        let now = end.slot();
        if now < first + LEARNING_SLOTS {
            return;
        }
        for (sums, (hours, _)) in sums.iter_mut().zip(HORIZONS) {
            let slot = now + hours * 3600 / SLOT_S;
            let Some(truth) = truths.get(&slot).copied() else {
                continue;
            };
            let series = site.feed.series();
            let [_, smart, persistence, _] = site.forecaster.ways(series, now, slot);
            let bars = site.bars(end, slot);
            if truth == 0 && smart == 0 {
                continue; // night
            }
            let off = |said: u64| said.abs_diff(truth) as f64;
            sums.truth += truth as f64;
            sums.ours += off(bars.point);
            sums.smart += off(smart);
            sums.persistence += off(persistence);
            sums.below += f64::from(u8::from(truth < bars.q30));
            sums.counted += 1.0;
        }
    })
}

impl Record {
    fn kind(&self) -> Kind {
        Kind::Solar {
            nameplate_uw: self.nameplate_uw,
            place: None, // the forecast has to find out by itself
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "Mean error of the forecast, in percent of the daytime mean:"
        )?;
        for table in &self.forecast {
            writeln!(out, "\n{}", table.source)?;
            writeln!(
                out,
                "  ahead    ours   smart persistence  persistence  truth below q30"
            )?;
            for row in &table.rows {
                writeln!(
                    out,
                    "  {:>3} h  {:>6.1}  {:>18.1}  {:>11.1}  {:>13.0} %",
                    row.hours, row.ours, row.smart, row.persistence, row.below_q30_percent
                )?;
            }
        }
        writeln!(out)?;
        let mut verdicts = self.verdicts.iter();
        verdicts.try_for_each(|verdict| super::report::draw_verdict(out, verdict))
    }
}
