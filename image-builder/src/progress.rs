//! What a person sees while the builder works.
//!
//! Does:      prints steps on stderr; on a terminal a running step rewrites its own line.
//! Does not:  decide anything, or write to stdout, which belongs to results.
//! Bounds:    one line at a time; a running step is redrawn at most `REDRAWS_PER_SECOND_MAX` times.
//! Trusts:    nothing.
//! Start at:  `Progress::stderr`.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// Redraws of a running step. Ten a second look alive and cost nothing.
const REDRAWS_PER_SECOND_MAX: u32 = 10;
/// Width of a bar in characters.
const BAR_CHARACTERS: usize = 24;

/// A listener for steps.
#[derive(Debug)]
pub struct Progress {
    heard: bool,
    terminal: bool,
    since: Instant,
    drawn: Option<Instant>,
}

impl Progress {
    /// Tells a person, on stderr.
    pub fn stderr() -> Progress {
        let terminal = stderr().is_terminal();
        Progress {
            heard: true,
            terminal,
            since: Instant::now(),
            drawn: None,
        }
    }

    /// Tells nobody.
    pub fn silent() -> Progress {
        Progress {
            heard: false,
            terminal: false,
            since: Instant::now(),
            drawn: None,
        }
    }

    /// One finished or started step, on a line of its own.
    pub fn step(&mut self, text: &str) {
        if self.heard {
            self.clear();
            eprintln!("image {:6.1} s  {text}", self.since.elapsed().as_secs_f32());
        }
    }

    /// How far a long step is. Shown only on a terminal, so that logs stay short.
    pub fn part(&mut self, text: &str, done: u64, total: u64) {
        let gap = Duration::from_secs(1) / REDRAWS_PER_SECOND_MAX;
        if !self.terminal || self.drawn.is_some_and(|at| at.elapsed() < gap) {
            return;
        }
        self.drawn = Some(Instant::now());
        let since = self.since.elapsed().as_secs_f32();
        eprint!(
            "\r\x1b[Kimage {since:6.1} s  {text} {} {}",
            bar(done, total),
            megabytes(done)
        );
        let _ = stderr().flush();
    }

    fn clear(&mut self) {
        if self.terminal && self.drawn.take().is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

/// A bar that is full when `done` reaches `total`.
pub fn bar(done: u64, total: u64) -> String {
    let width = BAR_CHARACTERS as u64;
    let full = if total == 0 {
        0
    } else {
        (done.min(total) * width).div_ceil(total)
    };
    let full = usize::try_from(full).unwrap_or(BAR_CHARACTERS);
    format!("{}{}", "█".repeat(full), "░".repeat(BAR_CHARACTERS - full))
}

/// `12.3 MB`, in millions of bytes, as the limits are stated.
pub fn megabytes(bytes: u64) -> String {
    let tenths = (bytes + 50_000) / 100_000;
    if tenths == 0 && bytes > 0 {
        return format!("{:.1} kB", bytes as f64 / 1000.0);
    }
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_shows_something_for_every_part_and_is_full_only_at_the_end() {
        let full = |done, total| bar(done, total).chars().filter(|c| *c == '█').count();
        assert_eq!(
            [
                full(0, 9),
                full(1, 10_000),
                full(9, 9),
                full(10, 9),
                full(1, 0)
            ],
            [0, 1, 24, 24, 0]
        );
    }

    #[test]
    fn sizes_are_in_the_units_of_the_limits() {
        assert_eq!(
            [megabytes(0), megabytes(900), megabytes(32_000_000)],
            ["0.0 MB", "0.9 kB", "32.0 MB"]
        );
    }
}
