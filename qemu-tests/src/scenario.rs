//! What a scenario is, and the machinery that runs many.
//!
//! Does:      runs scenarios two at a time, each with a time limit, and says for each whether
//!            its promise was kept, and if not, where to look.
//! Does not:  know any scenario; `scenarios::ALL` lists them.
//! Bounds:    `AT_ONCE` scenarios at a time; a scenario that ignores its limit is given up
//!            `GRACE` later.
//! Trusts:    scenarios to wait through `Story`, which knows the limit.
//! Start at:  `Scenario`, `run_all`.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use crate::folders::RunFolder;
use crate::progress::Progress;
use crate::story::Story;
use crate::supplies::Supplies;

/// One per processor of the smallest host that we test on.
const AT_ONCE: usize = 2;
/// Every wait of a scenario ends at its limit; what then remains is cleaning up.
const GRACE: Duration = Duration::from_secs(60);
/// Serial lines shown of each machine of a failed scenario.
const LINES_SHOWN: usize = 15;

/// A promise and the story that proves it.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// What `cargo rig test NAME` selects.
    pub name: &'static str,
    /// The promise, as a sentence.
    pub promise: &'static str,
    /// How long it may take on a slow host; it never proves anything by time.
    pub limit: Duration,
    /// Only runs with `--long`.
    pub is_long: bool,
    /// The story.
    pub run: fn(&mut Story) -> Outcome,
}

/// Kept, or why not.
pub type Outcome = Result<(), Problem>;

/// Why a promise was not proven.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Something else happened.
    #[error("{0}")]
    Broken(String),
    /// This host can't run the scenario.
    #[error("skipped: {0}")]
    Skipped(String),
}

impl Problem {
    /// The promise is broken.
    pub fn broken(text: impl Into<String>) -> Self {
        Self::Broken(text.into())
    }
}

macro_rules! broken_by {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for Problem {
            fn from(error: $error) -> Self {
                Self::Broken(chain(&error))
            }
        }
    )*};
}
broken_by!(
    std::io::Error,
    crate::machine::MachineError,
    crate::machine::NoSuchLine,
    serde_json::Error
);

/// An error with its sources, printed once.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

/// Fails the scenario unless the condition holds.
#[macro_export]
macro_rules! demand {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err($crate::scenario::Problem::Broken(format!($($text)+)));
        }
    };
}

/// Totals for the closing line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Promises kept, tests passed.
    pub passed: usize,
    /// The others.
    pub failed: usize,
    /// What this host can't run.
    pub skipped: usize,
}

impl Totals {
    /// Adds another set.
    pub fn add(&mut self, other: Totals) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// The closing line: `N passed, N failed`, and `, N skipped` when there are any.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = format!("{} passed, {} failed", self.passed, self.failed);
        if self.skipped > 0 {
            line.push_str(&format!(", {} skipped", self.skipped));
        }
        line
    }
}

/// Runs scenarios and reports each.
pub fn run_all(
    scenarios: &[Scenario],
    folder: &RunFolder,
    supplies: &Supplies,
    progress: &Progress,
) -> Totals {
    let queue: Mutex<VecDeque<(usize, Scenario)>> =
        Mutex::new(scenarios.iter().copied().enumerate().collect());
    let totals = Mutex::new(Totals::default());
    let next = || {
        queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((number, scenario)) = next() {
                    let one = run_one(number, scenario, folder, supplies, progress);
                    totals
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .add(one);
                }
            });
        }
    });
    totals.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn run_one(
    number: usize,
    scenario: Scenario,
    folder: &RunFolder,
    supplies: &Supplies,
    progress: &Progress,
) -> Totals {
    let started = Instant::now();
    let (outcome, clues) = match folder.scenario(number, scenario.name) {
        Ok((logs, sockets)) => {
            let story = Story::begin(&scenario, logs, sockets, supplies.clone(), progress.clone());
            run_guarded(scenario, story)
        }
        Err(problem) => (Err(problem.into()), String::new()),
    };
    let took = started.elapsed().as_secs_f64();
    let name = scenario.name;
    match outcome {
        Ok(()) => {
            progress.say(&format!(
                "ok       {took:6.1} s  {name}: {}",
                scenario.promise
            ));
            Totals {
                passed: 1,
                ..Totals::default()
            }
        }
        Err(Problem::Skipped(why)) => {
            progress.say(&format!("skipped  {took:6.1} s  {name}: {why}"));
            Totals {
                skipped: 1,
                ..Totals::default()
            }
        }
        Err(Problem::Broken(why)) => {
            let promise = scenario.promise;
            progress.say(&format!(
                "FAILED   {took:6.1} s  {name}: {promise}\n  why: {why}\n{clues}  \
                 again: cargo rig test {name}"
            ));
            Totals {
                failed: 1,
                ..Totals::default()
            }
        }
    }
}

/// Runs a story on its own thread, so that neither a panic nor a hang ends the others.
fn run_guarded(scenario: Scenario, mut story: Story) -> (Outcome, String) {
    let (report, result) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let outcome = (scenario.run)(&mut story);
        let clues = if outcome.is_err() {
            story.clues(LINES_SHOWN)
        } else {
            String::new()
        };
        drop(story); // ends machines, servers and wires
        let _ = report.send((outcome, clues));
    });
    match result.recv_timeout(scenario.limit + GRACE) {
        Ok(pair) => pair,
        Err(mpsc::RecvTimeoutError::Timeout) => {
            let text = format!(
                "still busy {GRACE:?} after its limit of {:?}",
                scenario.limit
            );
            (Err(Problem::Broken(text)), String::new())
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            let text = match thread.join() {
                Err(panic) => panic_text(panic.as_ref()),
                Ok(()) => "ended without an outcome".to_owned(),
            };
            (Err(Problem::Broken(text)), String::new())
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!(
        "the scenario panicked: {}",
        text.unwrap_or("without a text")
    )
}

#[cfg(test)]
mod tests {
    use super::Totals;

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn the_closing_line_has_one_form() {
        let line = |passed, failed, skipped| Totals { passed, failed, skipped }.line();
        //              passed failed skipped
        assert_eq!(line(3,     0,     0), "3 passed, 0 failed");
        assert_eq!(line(3,     1,     2), "3 passed, 1 failed, 2 skipped");
    }
}
