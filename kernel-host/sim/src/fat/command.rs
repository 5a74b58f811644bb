//! `cargo sim fat`: histories over whole nodes.

use super::{HOUSES_MAX, Outcome, Telling, run};
use crate::command::{print, seeds};
use crate::history::{History, draw};
use crate::progress::Progress;
use std::ops::Range;

/// See the module.
#[derive(Debug, clap::Args)]
pub struct Fat {
    /// Seeds, as first..last; the last is not run
    #[arg(long, default_value = "1..5", value_parser = seeds)]
    seeds: Range<u64>,
    /// Nodes, instead of 5 to 9
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=HOUSES_MAX as i64))]
    nodes: Option<u32>,
    /// Minutes in which things go wrong
    #[arg(long)]
    minutes: Option<u64>,
    /// Tell each second after the heal what the nodes do not agree on
    #[arg(long)]
    log: bool,
    /// A line of JSON for each seed
    #[arg(long)]
    json: bool,
}

/// The history that a seed gives whole nodes.
pub fn history_of(seed: u64, nodes: Option<u32>, minutes: Option<u64>) -> History {
    let wanted = draw::Wanted {
        nodes,
        sites: None,
        safety_ms: minutes.map(|minutes| minutes * 60_000),
        ..draw::Wanted::default()
    };
    draw::history_of(seed, wanted)
}

/// Runs what was asked for. `false`: something was broken.
///
/// # Errors
///
/// A sentence, when a town can't be built.
pub fn fat(asked: &Fat) -> Result<bool, String> {
    let Range { start, end } = asked.seeds.clone();
    if !asked.json {
        print(&format!("whole nodes, seeds {start}..{end}"));
    }
    let mut progress = Progress::on_stderr();
    let mut bad = 0_u64;
    for seed in start..end {
        let history = history_of(seed, asked.nodes, asked.minutes);
        let outcome = run(&history, &mut |telling| match telling {
            Telling::Second { now_ms, end_ms } => {
                let (now, end) = (now_ms / 1000, end_ms / 1000);
                progress.show(&format!(
                    "seed {seed}: {now} of {end} s, {bad} broken so far"
                ));
            }
            Telling::Differs { at_ms, what } if asked.log => {
                print(&format!("  {:>4} s: {what}", at_ms / 1000));
            }
            Telling::Differs { .. } => {}
        });
        let outcome = outcome.map_err(|error| format!("The town of seed {seed}: {error}"))?;
        progress.clear();
        bad += u64::from(!outcome.violations.is_empty());
        print(&told(seed, &history, &outcome, asked.json));
    }
    let seconds = progress.lap_ms() / 1000;
    if !asked.json {
        let histories = end.saturating_sub(start);
        print(&format!("{histories} histories, {bad} broken, {seconds} s"));
    }
    Ok(bad == 0)
}

fn told(seed: u64, history: &History, outcome: &Outcome, is_json: bool) -> String {
    let said: Vec<String> = outcome.violations.iter().map(ToString::to_string).collect();
    if is_json {
        let line = serde_json::json!({
            "seed": seed,
            "good": said.is_empty(),
            "violations": said,
            "one_view_ms": outcome.one_view_ms,
            "trace": format!("{:016x}", outcome.trace),
            "nodes": history.shape.hosts(),
            "done": outcome.done,
            "refused": outcome.refused,
            "unsure": outcome.unsure,
            "left_out": outcome.left_out,
        });
        return line.to_string();
    }
    let hosts = history.shape.hosts();
    let end = match outcome.one_view_ms {
        Some(ms) if said.is_empty() => format!("one view {ms} ms after the heal"),
        _ => "BROKEN".to_owned(),
    };
    let mut text = format!("seed {seed}: {hosts} nodes, {outcome}; {end}");
    for violation in said {
        text += &format!("\n  {violation}");
    }
    text
}
