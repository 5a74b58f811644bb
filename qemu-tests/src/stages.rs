//! Stages of a node's boot, read from its serial console.
//!
//! Does:      parses the console lines of `luc`, and makes a timeline of a boot.
//! Does not:  wait; `Serial` does.
//! Bounds:    as many stages as there are names.
//! Trusts:    the node's console, for what it is worth: it is the thing under test.
//! Start at:  `Report::parse`, `Timeline::of`.

use std::fmt;
use std::time::Duration;

use crate::machine::Line;

/// Begins each line of the node's program on a console.
pub const MARK: &str = "luc[";

/// A console line of the node's program: `luc[    1.234] ready http://10.0.0.5/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report<'a> {
    /// The kernel's clock.
    pub clock: Duration,
    /// The first word.
    pub stage: &'a str,
    /// The rest.
    pub text: &'a str,
}

impl<'a> Report<'a> {
    /// Reads a line; `None` for any other line.
    #[must_use]
    pub fn parse(line: &'a str) -> Option<Self> {
        let start = line.find(MARK)?;
        // `luc-guest[` ends in the same letters.
        if line[..start].ends_with(|letter: char| letter.is_alphanumeric() || letter == '-') {
            return None;
        }
        let (clock, rest) = line[start + MARK.len()..].split_once(']')?;
        let clock = Duration::try_from_secs_f64(clock.trim().parse().ok()?).ok()?;
        let rest = rest.trim();
        let (stage, text) = rest.split_once(' ').unwrap_or((rest, ""));
        Some(Self { clock, stage, text })
    }
}

/// When a machine reached what, since power-on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline(Vec<(String, Duration)>);

impl Timeline {
    /// The timeline of a node's boot: `firmware` begins at power-on, `kernel` when the kernel's
    /// clock started, `init`, `devices`, `network`, `address` and `ready` when their lines came.
    #[must_use]
    pub fn of(lines: &[Line]) -> Self {
        let mut timeline = Self::default();
        timeline.mark("firmware", Duration::ZERO);
        for line in lines {
            let Some(report) = Report::parse(&line.text) else {
                continue;
            };
            let known = ["init", "devices", "network", "address", "ready"];
            if !known.contains(&report.stage) || timeline.at(report.stage).is_some() {
                continue;
            }
            if report.stage == "init" {
                timeline.mark("kernel", line.at.saturating_sub(report.clock));
            }
            timeline.mark(report.stage, line.at);
        }
        timeline
    }

    /// Adds a stage.
    pub fn mark(&mut self, stage: &str, at: Duration) {
        self.0.push((stage.to_owned(), at));
    }

    /// When a stage was reached.
    #[must_use]
    pub fn at(&self, stage: &str) -> Option<Duration> {
        self.0
            .iter()
            .find(|(name, _)| name == stage)
            .map(|(_, at)| *at)
    }

    /// From one stage to another, if both were reached.
    #[must_use]
    pub fn between(&self, from: &str, to: &str) -> Option<Duration> {
        self.at(to)?.checked_sub(self.at(from)?)
    }

    /// All stages in order.
    #[must_use]
    pub fn stages(&self) -> &[(String, Duration)] {
        &self.0
    }
}

/// Columns of the picture's bars.
const BAR_WIDTH: usize = 40;

/// The timelines of several machines, drawn on one scale: when each stage begins, and how long it
/// lasts.
#[derive(Debug)]
pub struct Picture<'a>(pub &'a [(&'a str, Timeline)]);

impl fmt::Display for Picture<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ends = self
            .0
            .iter()
            .filter_map(|(_, timeline)| Some(timeline.0.last()?.1));
        let scale = ends.max().unwrap_or_default().as_secs_f64().max(0.001);
        for (name, timeline) in self.0 {
            writeln!(out, "{name}")?;
            for (at, (stage, from)) in timeline.0.iter().enumerate() {
                let to = timeline.0.get(at + 1).map_or(*from, |(_, to)| *to);
                let column = |at: &Duration| column(at.as_secs_f64() / scale);
                let (start, end) = (column(from), column(&to).max(column(from) + 1));
                let bar = format!("{}{}", " ".repeat(start), "#".repeat(end - start));
                let (begins, lasts) = (from.as_secs_f64(), to.saturating_sub(*from).as_secs_f64());
                writeln!(
                    out,
                    "  {stage:<14} {begins:>8.3} s  for {lasts:>7.3} s  |{bar}"
                )?;
            }
        }
        Ok(())
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of 40"
)]
fn column(share: f64) -> usize {
    (share.clamp(0.0, 1.0) * (BAR_WIDTH - 1) as f64) as usize
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Picture, Report, Timeline};
    use crate::machine::Line;
    use std::time::Duration;

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn a_report_is_told_from_other_lines() {
        let stage = |line| Report::parse(line).map(|report| (report.clock.as_millis(), report.stage, report.text));
        //               line                                      clock   stage    text
        assert_eq!(stage("luc[    1.234] ready http://10.0.0.5/"), Some((1234, "ready", "http://10.0.0.5/")));
        assert_eq!(stage("luc[   10.000] init"),                   Some((10_000, "init", "")));
        assert_eq!(stage("[2J luc[ 0.5] vm web running"),          Some((500, "vm", "web running")));
        assert_eq!(stage("luc-guest[ 1.0] init"),                  None);
        assert_eq!(stage("luc[x] ready"),                          None);
        assert_eq!(stage("luc[-1] ready"),                         None);
        assert_eq!(stage("[    0.000000] Linux version"),          None);
    }

    #[test]
    fn the_kernels_start_is_derived_from_its_clock_at_init() {
        let line = |at, text: &str| Line {
            number: 0,
            at: Duration::from_millis(at),
            text: text.into(),
        };
        let lines = [
            line(5000, "iPXE initialising devices"),
            line(9000, "luc[    2.500] init"),
            line(9900, "luc[    3.400] ready http://10.0.0.5/"),
            line(9950, "luc[    3.450] ready http://10.0.0.5/"),
        ];
        let timeline = Timeline::of(&lines);
        assert_eq!(timeline.at("kernel"), Some(Duration::from_millis(6500)));
        assert_eq!(
            timeline.between("kernel", "ready"),
            Some(Duration::from_millis(3400))
        );
        let names: Vec<_> = timeline
            .stages()
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(names, ["firmware", "kernel", "init", "ready"]);
        let picture = Picture(&[("n1", timeline)]).to_string();
        assert!(
            picture.lines().nth(4).unwrap().contains("9.900 s"),
            "{picture}"
        );
    }
}
