//! What a scenario acts through: machines, wires and time, with everything cleaned up after.
//!
//! Does:      switches machines on with a live progress row each, and knows how much time is left.
//! Does not:  decide what is right; scenarios do.
//! Bounds:    every wait ends at the scenario's limit.
//! Trusts:    scenarios.
//! Start at:  `Story::power_on`.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::machine::{Folders, Line, Machine, Serial, Shape};
use crate::progress::{Progress, Row};
use crate::scenario::{Problem, Scenario};
use crate::stages::Report;
use crate::supplies::Supplies;

/// One scenario's world.
#[derive(Debug)]
pub struct Story {
    name: &'static str,
    ends: Instant,
    logs: PathBuf,
    sockets: PathBuf,
    supplies: Supplies,
    progress: Progress,
    serials: Mutex<Vec<(String, Serial)>>,
}

impl Story {
    /// An empty world.
    #[must_use]
    pub fn begin(
        scenario: &Scenario,
        logs: PathBuf,
        sockets: PathBuf,
        supplies: Supplies,
        progress: Progress,
    ) -> Self {
        let ends = Instant::now() + scenario.limit;
        Self {
            name: scenario.name,
            ends,
            logs,
            sockets,
            supplies,
            progress,
            serials: Mutex::default(),
        }
    }

    /// What was built for this run.
    #[must_use]
    pub fn supplies(&self) -> &Supplies {
        &self.supplies
    }

    /// Time until the scenario's limit: the timeout of every wait that is not a claim itself.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }

    /// A progress row of this scenario.
    #[must_use]
    pub fn row(&self, part: &str) -> Row {
        self.progress.row(&format!("{} {part}", self.name))
    }

    /// Prints a line that stays.
    pub fn say(&self, text: &str) {
        self.progress.say(&format!("{}: {text}", self.name));
    }

    /// Where files of this scenario go.
    #[must_use]
    pub fn folders(&self) -> Folders<'_> {
        Folders {
            sockets: &self.sockets,
            logs: &self.logs,
        }
    }

    /// Switches a machine on; its console moves a progress row.
    pub fn power_on(&self, shape: Shape) -> Result<Machine, Problem> {
        let row = Arc::new(self.row(&shape.name));
        row.stage("waiting for a boot slot");
        let watcher = Arc::clone(&row);
        let observer = move |line: &Line| show(&watcher, line);
        let machine = Machine::start(shape, self.folders(), Box::new(observer))?;
        row.stage("firmware");
        let serial = (machine.name().to_owned(), machine.serial().clone());
        self.serials
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(serial);
        Ok(machine)
    }

    /// For a failed scenario: the last lines of each machine, and where everything is.
    #[must_use]
    pub fn clues(&self, lines: usize) -> String {
        let mut text = String::new();
        let serials = self.serials.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, serial) in serials.iter() {
            let _ = writeln!(text, "  {name}, last of its serial port:");
            for line in serial.last(lines) {
                let _ = writeln!(text, "    {:8.3} {}", line.at.as_secs_f64(), line.text);
            }
        }
        let _ = writeln!(text, "  logs and captures: {}", self.logs.display());
        text
    }

    /// Writes a file beside the logs.
    pub fn keep(&self, name: &str, content: &str) -> std::io::Result<()> {
        fs::write(self.logs.join(name), content)
    }
}

/// Moves a progress row by what a machine prints.
fn show(row: &Row, line: &Line) {
    if let Some(report) = Report::parse(&line.text) {
        row.stage(format!("{} {}", report.stage, report.text).trim());
    } else if let Some(bench) = guest::bench::Fields::parse(&line.text) {
        row.stage(&format!("{} {}", bench.kind, bench.text()));
    } else if line.text.contains("Linux version") {
        row.stage("kernel");
    } else if line.text.contains("iPXE initialising") || line.text.contains(">>Start PXE") {
        row.stage("firmware: network boot");
    }
}
