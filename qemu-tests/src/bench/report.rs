//! The report of `rig bench boot`: for programs as JSON, for people as a table with bars.
//!
//! Does:      holds what was measured, and draws it.
//! Does not:  judge; `limits` does.
//! Bounds:    `WIDTH` columns of bars.
//! Trusts:    the measurements.
//! Start at:  `Report`, then its `Display`.

use std::fmt;

use serde::Serialize;

use super::boots::{Boots, Stage};
use super::limits::Verdict;
use super::sample::Sample;
use super::sizes::Sizes;
use super::starts::{LUC, MICROVM, Program, Starts};

/// Columns of the longest bar.
const WIDTH: f64 = 40.0;

/// Everything that was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// How big the image is.
    pub image: Option<Sizes>,
    /// How a node boots.
    pub boot: Option<Boots>,
    /// How a VM starts.
    pub start: Option<Starts>,
    /// Limits and goals.
    pub verdicts: Vec<Verdict>,
    /// What could not be measured at all, and why.
    pub problems: Vec<String>,
}

impl Report {
    /// Every problem of every part.
    pub fn all_problems(&self) -> impl Iterator<Item = &String> {
        let boot = self.boot.iter().flat_map(|boot| &boot.problems);
        let start = self.start.iter().flat_map(|start| &start.problems);
        self.problems.iter().chain(boot).chain(start)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(image) = &self.image {
            draw_sizes(out, image)?;
        }
        if let Some(boot) = &self.boot {
            draw_boots(out, boot)?;
        }
        if let Some(start) = &self.start {
            draw_starts(out, start)?;
        }
        writeln!(out, "limits")?;
        for verdict in &self.verdicts {
            draw_verdict(out, verdict)?;
        }
        for problem in self.all_problems() {
            writeln!(out, "problem: {problem}")?;
        }
        Ok(())
    }
}

fn draw_sizes(out: &mut fmt::Formatter<'_>, image: &Sizes) -> fmt::Result {
    let Sizes {
        version,
        kernel,
        modules,
        ..
    } = image;
    writeln!(out, "image {version}: Linux {kernel}, {modules} modules")?;
    let all = || image.files.iter().chain(&image.parts);
    let most = all().map(|size| size.bytes).max().unwrap_or(1);
    for (indent, list) in [("", &image.files), ("  ", &image.parts)] {
        for size in list {
            let mega = mega(size.bytes);
            let name = format!("{indent}{}", size.name);
            let bar = bar(0.0, mega / self::mega(most.max(1)));
            writeln!(out, "  {name:<18} {mega:>9.2} MB  |{bar}")?;
        }
    }
    writeln!(out)
}

fn draw_boots(out: &mut fmt::Formatter<'_>, boot: &Boots) -> fmt::Result {
    writeln!(out, "boot in ms since the kernel's start: median (min-max)")?;
    let clocks = boot
        .luc
        .iter()
        .chain(&boot.bare)
        .map(|stage| stage.clock_ms.median);
    let most = clocks.fold(1.0, f64::max);
    for (name, stages) in [
        ("LUC OS", &boot.luc),
        ("bare kernel, trivial init", &boot.bare),
    ] {
        let runs = stages.first().map_or(0, |stage| stage.clock_ms.runs);
        writeln!(out, "  {name}, {runs} runs")?;
        for pair in stages.windows(2) {
            if let [before, stage] = pair {
                draw_stage(out, before, stage, most)?;
            }
        }
    }
    if let Some(ratio) = &boot.ready_ratio {
        writeln!(out, "  ready / bare init: {ratio:.2}")?;
    }
    if let Some(idle) = &boot.idle {
        let each: Vec<String> = idle
            .processes
            .iter()
            .map(|(name, bytes)| format!("{name} {:.1}", mega(*bytes)))
            .collect();
        let (sum, each) = (mega(idle.resident_bytes), each.join(", "));
        writeln!(out, "  resident when idle: {sum:.1} MB ({each})")?;
    }
    writeln!(out)
}

fn draw_stage(
    out: &mut fmt::Formatter<'_>,
    before: &Stage,
    stage: &Stage,
    most: f64,
) -> fmt::Result {
    let (from, to) = (before.clock_ms.median, stage.clock_ms.median);
    let bar = bar(from / most, to / most);
    let clock = format!("{:.0}", stage.clock_ms);
    writeln!(
        out,
        "    {:<10} {clock:>20} {:>+7.0}  |{bar}",
        stage.stage,
        to - from
    )
}

fn draw_starts(out: &mut fmt::Formatter<'_>, start: &Starts) -> fmt::Result {
    let memory = start.guest_mib;
    writeln!(
        out,
        "VM start inside a node, {memory} MiB guest, in ms: median (min-max)"
    )?;
    let programs = || [(LUC, &start.luc), (MICROVM, &start.microvm)];
    let found = || {
        programs()
            .into_iter()
            .filter_map(|(name, program)| Some((name, program.as_ref()?)))
    };
    let most = found()
        .map(|(_, program)| program.exit_ms.median)
        .fold(1.0, f64::max);
    for (name, program) in found() {
        writeln!(out, "  {name}, {} runs", program.init_ms.runs)?;
        draw_program(out, program, most)?;
    }
    for (what, ratio) in [
        ("guest's init", start.init_ratio),
        ("end", start.exit_ratio),
    ] {
        if let Some(ratio) = ratio {
            writeln!(out, "  {LUC} / {MICROVM}, to the {what}: {ratio:.2}")?;
        }
    }
    writeln!(out)
}

fn draw_program(out: &mut fmt::Formatter<'_>, program: &Program, most: f64) -> fmt::Result {
    let before = program.init_ms.median - program.guest_clock_ms.median;
    let rows: [(&str, Sample, f64); 3] = [
        ("guest init", program.init_ms, 0.0),
        ("token", program.token_ms, program.init_ms.median),
        ("ended", program.exit_ms, program.token_ms.median),
    ];
    for (name, sample, from) in rows {
        let bar = bar(from / most, sample.median / most);
        let text = format!("{sample:.0}");
        writeln!(out, "    {name:<14} {text:>20}  |{bar}")?;
    }
    writeln!(
        out,
        "    before the guest's clock {before:.0}, by it {:.0}",
        program.guest_clock_ms
    )?;
    let [guest, own, kernel] = [
        program.guest_cpu_ms,
        program.program_cpu_ms,
        program.kernel_cpu_ms,
    ]
    .map(|s| s.median);
    writeln!(
        out,
        "    processor: guest {guest:.0}, program {own:.0}, kernel {kernel:.0}"
    )?;
    if let Some(held) = program.footprint {
        let (pss, rss, count) = (held.pss_kib, held.rss_kib, held.processes);
        writeln!(
            out,
            "    memory beyond the guest's: {pss} KiB ({rss} KiB resident) in {count} processes"
        )?;
    }
    Ok(())
}

pub(super) fn draw_verdict(out: &mut fmt::Formatter<'_>, verdict: &Verdict) -> fmt::Result {
    let word = match (verdict.kept, verdict.binding) {
        (true, _) => "ok",
        (false, true) => "SHORT",
        (false, false) => "goal",
    };
    let Verdict {
        what, limit, unit, ..
    } = verdict;
    let measured = verdict
        .measured
        .map_or("not measured".to_owned(), |value| format!("{value:.2}"));
    writeln!(
        out,
        "  {word:<6} {what}: {measured} of at most {limit} {unit}"
    )
}

#[expect(clippy::cast_precision_loss, reason = "sizes far below 2^52 bytes")]
fn mega(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// A bar between two shares of the whole width; never quite empty.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "shares of 40 columns"
)]
fn bar(from: f64, to: f64) -> String {
    let column = |share: f64| (share.clamp(0.0, 1.0) * WIDTH).round() as usize;
    let start = column(from).min(column(1.0) - 1);
    let end = column(to).max(start + 1);
    format!("{}{}", " ".repeat(start), "#".repeat(end - start))
}

#[cfg(test)]
mod tests {
    use super::{Report, bar};
    use crate::bench::boots::{Boots, Stage};
    use crate::bench::limits::judge;
    use crate::bench::sample::Sample;

    #[test]
    fn a_bar_shows_where_a_stage_begins_and_ends() {
        assert_eq!(bar(0.0, 0.5).len(), 20);
        assert_eq!(
            bar(0.5, 1.0),
            format!("{}{}", " ".repeat(20), "#".repeat(20))
        );
        assert_eq!(bar(1.0, 1.0).len(), 40); // too short to see is still drawn
        assert_eq!(bar(f64::NAN, 7.0).len(), 40);
    }

    #[test]
    fn a_report_is_json_for_programs_and_a_table_for_people() {
        let sample = |value| Sample::of(&[value, value + 100.0]).expect("two values");
        let stage = |stage: &str, at| Stage {
            stage: stage.to_owned(),
            clock_ms: sample(at),
            host_ms: sample(at),
        };
        let boot = Boots {
            luc: vec![
                stage("kernel", 0.0),
                stage("init", 1000.0),
                stage("ready", 3000.0),
            ],
            bare: vec![stage("kernel", 0.0), stage("init", 1000.0)],
            ready_ratio: Sample::of(&[2.0]),
            ..Boots::default()
        };
        let mut report = Report {
            boot: Some(boot),
            ..Report::default()
        };
        report.verdicts = judge(&report);
        let table = report.to_string();
        assert!(table.contains("  3050 (3000-3100)   +2000  |"), "{table}");
        assert!(
            table.contains("SHORT  size of the UKI: not measured of at most 32 MB"),
            "{table}"
        );
        let json = serde_json::to_value(&report).expect("a report is JSON");
        assert_eq!(json["boot"]["ready_ratio"]["median"], 2.0);
        assert_eq!(json["verdicts"][1]["kept"], true);
    }
}
