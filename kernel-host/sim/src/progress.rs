//! What a person sees while a simulation runs: one line that moves, how long it has taken and how
//! long it will take. Where stderr is a file, a line now and then.
//!
//! Only here does this crate look at a real clock; no decision depends on it.
//!
//! Start at:  `Progress`.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the line moves.
const REDRAW: Duration = Duration::from_millis(200);
/// The same in a file.
const REPEAT: Duration = Duration::from_secs(10);

/// A line on stderr.
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
        let pause = if self.is_terminal { REDRAW } else { REPEAT };
        if now.duration_since(self.drawn) < pause {
            return;
        }
        self.drawn = now;
        let seconds = now.duration_since(self.started).as_secs();
        let mut err = std::io::stderr();
        if self.is_terminal {
            self.has_line = true;
            let _ = write!(err, "\r\x1b[K{text}  [{seconds} s]");
        } else {
            let _ = writeln!(err, "{text}  [{seconds} s]");
        }
        let _ = err.flush();
    }

    /// The same for work of which `done` of `all` is done, with the time that is left if it goes on
    /// as it went since the last lap.
    pub fn show_part(&mut self, text: &str, done: u64, all: u64) {
        let passed = clock().duration_since(self.started).as_secs();
        let left = passed * all.saturating_sub(done) / done.max(1);
        self.show(&format!("{text}: {done} of {all}, {left} s to go"));
    }

    /// Follows work that tells virtual milliseconds done and to do.
    pub fn follow<T>(&mut self, text: &str, work: impl FnOnce(&mut dyn FnMut(u64, u64)) -> T) -> T {
        self.lap_ms();
        work(&mut |now, end| self.show_part(text, now / 1000, end / 1000))
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
