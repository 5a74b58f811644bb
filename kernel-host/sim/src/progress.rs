//! What a person sees while a simulation runs: one line that moves, and how long it has taken.
//!
//! Only here does this crate look at a real clock; no decision depends on it.
//!
//! Start at:  `Progress`.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the line moves.
const REDRAW: Duration = Duration::from_millis(200);

/// A line on stderr, if that is a terminal.
#[derive(Debug)]
pub struct Progress {
    is_terminal: bool,
    started: Instant,
    drawn: Instant,
    has_line: bool,
}

impl Progress {
    #[must_use]
    pub fn on_stderr() -> Self {
        let now = clock();
        Self {
            is_terminal: std::io::stderr().is_terminal(),
            started: now,
            drawn: now,
            has_line: false,
        }
    }

    /// Shows what goes on, at most five times a second.
    pub fn show(&mut self, text: &str) {
        let now = clock();
        if !self.is_terminal || now.duration_since(self.drawn) < REDRAW {
            return;
        }
        self.drawn = now;
        self.has_line = true;
        let seconds = now.duration_since(self.started).as_secs();
        let _ = write!(std::io::stderr(), "\r\x1b[K{text}  [{seconds} s]");
        let _ = std::io::stderr().flush();
    }

    /// Takes the line away.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.has_line) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }

    /// Milliseconds since the start, or since the last call of this.
    pub fn lap_ms(&mut self) -> u64 {
        let now = clock();
        let lap = now.duration_since(self.started);
        self.started = now;
        u64::try_from(lap.as_millis()).unwrap_or(u64::MAX)
    }
}

#[allow(clippy::disallowed_methods)] // people wait in real time
fn clock() -> Instant {
    Instant::now()
}
