//! The checks that need no machine: format, lints, and every unit test of the workspace.
//!
//! Does:      runs cargo's own tools and counts what they say.
//! Does not:  parse compiler messages; they go to the person as they are.
//! Bounds:    one tool at a time.
//! Trusts:    cargo's exit codes, and the summary lines of its test runners.
//! Start at:  `run`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::progress::{Progress, Row};
use crate::scenario::Totals;

/// Runs format check, lints and tests. `filter` runs only the tests that contain it.
pub fn run(workspace: &Path, filter: Option<&str>, progress: &Progress) -> Totals {
    let mut totals = Totals::default();
    if filter.is_none() {
        totals.add(step(
            workspace,
            progress,
            "format",
            &["fmt", "--all", "--check"],
        ));
        let lints = [
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--",
            "--deny",
            "warnings",
        ];
        totals.add(step(workspace, progress, "lints", &lints));
    }
    totals.add(tests(workspace, filter, progress));
    totals
}

fn cargo(workspace: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Variables of the cargo that runs us describe our own package, not those under test.
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" {
            command.env_remove(name);
        }
    }
    command.current_dir(workspace).stdin(Stdio::null());
    command
}

fn step(workspace: &Path, progress: &Progress, name: &str, words: &[&str]) -> Totals {
    // No live row: cargo writes to the terminal itself.
    progress.say(&format!("running  {name}"));
    let status = cargo(workspace).args(words).status();
    if status.is_ok_and(|status| status.success()) {
        progress.say(&format!("ok       {name}"));
        return Totals {
            passed: 1,
            ..Totals::default()
        };
    }
    progress.say(&format!(
        "FAILED   {name}\n  again: cargo {}",
        words.join(" ")
    ));
    Totals {
        failed: 1,
        ..Totals::default()
    }
}

fn tests(workspace: &Path, filter: Option<&str>, progress: &Progress) -> Totals {
    let row = progress.row("tests");
    row.stage("building");
    let has_nextest = cargo(workspace)
        .args(["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    let mut command = cargo(workspace);
    if has_nextest {
        command.args(["nextest", "run", "--workspace", "--no-fail-fast"]);
        let level = if progress.is_live() { "pass" } else { "fail" };
        command.args(["--no-tests", "pass", "--status-level", level]);
        command.args(["--final-status-level", "fail", "--color", "never"]);
    } else {
        command.args(["test", "--workspace", "--no-fail-fast", "--color", "never"]);
    }
    command.args(filter);
    // Nextest reports on stderr, libtest on stdout.
    let (totals, succeeded) = if has_nextest {
        watch(
            command.stderr(Stdio::piped()),
            &row,
            progress,
            nextest_summary,
        )
    } else {
        watch(
            command.stdout(Stdio::piped()),
            &row,
            progress,
            libtest_summary,
        )
    };
    drop(row);
    let mut totals = totals;
    if !succeeded && totals.failed == 0 {
        totals.failed = 1; // did not even compile
    }
    let word = if totals.failed == 0 {
        "ok      "
    } else {
        "FAILED  "
    };
    progress.say(&format!("{word} tests: {}", totals.line()));
    totals
}

/// Runs a test runner: failures are shown, the rest moves the progress row.
fn watch(
    command: &mut Command,
    row: &Row,
    progress: &Progress,
    summary: fn(&str) -> Option<Totals>,
) -> (Totals, bool) {
    let mut totals = Totals::default();
    let Ok(mut child) = command.spawn() else {
        return (totals, false);
    };
    let pipe = child
        .stderr
        .take()
        .map(|pipe| Box::new(pipe) as Box<dyn std::io::Read>);
    let pipe = pipe.or_else(|| child.stdout.take().map(|pipe| Box::new(pipe) as Box<_>));
    let Some(pipe) = pipe else {
        return (totals, false);
    };
    for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        if let Some(part) = summary(&line) {
            totals.add(part);
        } else if is_noise(&line) {
            // A log does not want a line for each crate and each test.
            if progress.is_live() {
                row.stage(line.trim());
            }
        } else {
            progress.say(&line);
        }
    }
    (totals, child.wait().is_ok_and(|status| status.success()))
}

fn is_noise(line: &str) -> bool {
    let first = line.split_ascii_whitespace().next().unwrap_or("");
    let words = [
        "Compiling",
        "Finished",
        "Starting",
        "Running",
        "Doc-tests",
        "running",
        "Nextest",
        "Blocking",
        "Downloading",
        "Downloaded",
        "Updating",
        "Locking",
        "Summary",
        "PASS",
        "Fresh",
        "SLOW",
        "Dirty",
    ];
    let passed = line.starts_with("test ") && line.ends_with("... ok");
    first.is_empty() || passed || words.contains(&first) || first.chars().all(|c| c == '─')
}

/// `Summary [   0.057s] 16 tests run: 15 passed (1 slow), 1 failed, 2 skipped`.
fn nextest_summary(line: &str) -> Option<Totals> {
    let rest = line.trim_start().strip_prefix("Summary [")?;
    let (_, counts) = rest.split_once("run:")?;
    // What nextest skips was filtered out: not a test that this host can't run.
    Some(Totals {
        skipped: 0,
        ..counts_of(counts)
    })
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; ...`.
fn libtest_summary(line: &str) -> Option<Totals> {
    Some(counts_of(line.strip_prefix("test result: ")?))
}

fn counts_of(text: &str) -> Totals {
    let words: Vec<&str> = text
        .split([' ', ',', ';', '.'])
        .filter(|word| !word.is_empty())
        .collect();
    let count = |names: &[&str]| -> usize {
        let pairs = words.windows(2).filter(|pair| names.contains(&pair[1]));
        pairs.filter_map(|pair| pair[0].parse::<usize>().ok()).sum()
    };
    Totals {
        passed: count(&["passed"]),
        failed: count(&["failed", "timed"]),
        skipped: count(&["ignored"]),
    }
}

#[cfg(test)]
mod tests {
    use super::{libtest_summary, nextest_summary};
    use crate::scenario::Totals;

    #[test]
    fn both_runners_summaries_are_understood() {
        let line = "     Summary [   0.057s] 16 tests run: 15 passed (1 slow), 1 failed, 2 skipped";
        assert_eq!(
            nextest_summary(line),
            Some(Totals {
                passed: 15,
                failed: 1,
                skipped: 0
            })
        );
        let line = "test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out";
        assert_eq!(
            libtest_summary(line),
            Some(Totals {
                passed: 3,
                failed: 2,
                skipped: 1
            })
        );
        assert_eq!(
            nextest_summary("PASS [   0.004s] rig::tests::summary"),
            None
        );
    }
}
