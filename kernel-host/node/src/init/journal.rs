//! What happened, for the people at the consoles: the timeline and the last lines.
//!
//! Does:      keeps the boot's marks, formats console lines, remembers the last of them.
//! Does not:  write to a console; PID 1 takes the lines from here.
//! Bounds:    `MARKS_MAX`, `LINES_MAX`; the oldest line goes first, later marks are dropped.
//! Trusts:    nothing: every text is made safe for a console.
//! Start at:  `Journal::line`.

use crate::supervision::{Mark, console_text};
use std::collections::VecDeque;

/// Steps of a boot; there are about six. Restarts of the node add none.
const MARKS_MAX: usize = 32;
/// Lines kept for the status page.
const LINES_MAX: usize = 32;

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub at_ms: u64,
    pub stage: String,
    pub text: String,
}

/// The timeline and the last lines.
#[derive(Debug, Default)]
pub struct Journal {
    marks: Vec<Mark>,
    lines: VecDeque<Line>,
}

impl Journal {
    /// Notes a step of the boot (the first time it happens) and its line.
    pub fn stage(&mut self, at_ms: u64, stage: &str, text: &str) -> String {
        let stage = console_text(stage);
        let known = self.marks.iter().any(|mark| mark.stage == stage);
        if !known && self.marks.len() < MARKS_MAX {
            self.marks.push(Mark {
                stage: stage.clone(),
                at_ms,
            });
        }
        self.line(at_ms, &stage, text)
    }

    /// Notes a line; returns it as the consoles show it.
    pub fn line(&mut self, at_ms: u64, stage: &str, text: &str) -> String {
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        let line = Line {
            at_ms,
            stage: console_text(stage),
            text: console_text(text),
        };
        let shown = format!("luc[{}] {} {}", seconds(at_ms), line.stage, line.text);
        self.lines.push_back(line);
        shown.trim_end().to_owned()
    }

    #[must_use]
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// The last lines, the oldest first.
    pub fn lines(&self) -> impl DoubleEndedIterator<Item = &Line> {
        self.lines.iter()
    }
}

/// Milliseconds as the kernel's log shows time: `    1.234`.
#[must_use]
pub fn seconds(at_ms: u64) -> String {
    format!("{:>5}.{:03}", at_ms / 1000, at_ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_kernels_clock_a_stage_and_a_text() {
        let mut journal = Journal::default();
        let line = journal.stage(1234, "ready", "http://192.0.2.7/");
        assert_eq!(line, "luc[    1.234] ready http://192.0.2.7/");
        assert_eq!(journal.line(61_005, "reboot", ""), "luc[   61.005] reboot");
        assert_eq!(
            journal.line(1, "vm", "a\x1b[2J\nb"),
            "luc[    0.001] vm a [2J b"
        );
    }

    #[test]
    fn a_step_enters_the_timeline_once_and_lines_stay_bounded() {
        let mut journal = Journal::default();
        for at_ms in 0..1000 {
            journal.stage(at_ms, "address", "192.0.2.7/24");
            journal.stage(at_ms, &format!("step {at_ms}"), "");
        }
        let addresses = journal
            .marks()
            .iter()
            .filter(|mark| mark.stage == "address");
        assert_eq!(addresses.map(|mark| mark.at_ms).collect::<Vec<_>>(), [0]);
        assert_eq!(journal.marks().len(), MARKS_MAX);
        assert_eq!(journal.lines().count(), LINES_MAX);
    }
}
