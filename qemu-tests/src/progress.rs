//! What a person sees while the rig works.
//!
//! Does:      on a terminal one live line for each thing that goes on, with its stage and
//!            seconds, and finished lines above; elsewhere a plain line for each change.
//! Does not:  write to stdout, which is for results.
//! Bounds:    `ROWS_MAX` live rows; text is cut at the terminal's width.
//! Trusts:    what it prints: callers clean lines that machines wrote.
//! Start at:  `Progress::row`.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Two scenarios with a few machines each; more rows would push the rest off the screen.
const ROWS_MAX: usize = 12;
/// How often the seconds on a terminal move.
const REDRAW: Duration = Duration::from_millis(250);

/// The display; clones are the same display.
#[derive(Clone, Debug)]
pub struct Progress(Arc<Mutex<Display>>);

#[derive(Debug)]
struct Display {
    is_terminal: bool,
    started: Instant,
    rows: Vec<RowState>,
    next_id: u64,
    drawn: usize,
}

#[derive(Debug)]
struct RowState {
    id: u64,
    name: String,
    stage: String,
    since: Instant,
}

/// A live row. It vanishes when dropped.
#[derive(Debug)]
pub struct Row {
    progress: Progress,
    id: u64,
    name: String,
}

impl Progress {
    /// A display on stderr.
    #[must_use]
    pub fn on_stderr() -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let display = Display {
            is_terminal,
            started: Instant::now(),
            rows: Vec::new(),
            next_id: 0,
            drawn: 0,
        };
        let shared = Arc::new(Mutex::new(display));
        if is_terminal {
            let weak = Arc::downgrade(&shared);
            std::thread::spawn(move || keep_drawing(&weak));
        }
        Self(shared)
    }

    /// Whether rows are redrawn in place.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.lock().is_terminal
    }

    /// Adds a row for something that goes on.
    #[must_use]
    pub fn row(&self, name: &str) -> Row {
        let mut display = self.lock();
        let id = display.next_id;
        display.next_id += 1;
        let state = RowState {
            id,
            name: name.into(),
            stage: String::new(),
            since: Instant::now(),
        };
        display.rows.push(state);
        Row {
            progress: self.clone(),
            id,
            name: name.to_owned(),
        }
    }

    /// Prints a line that stays.
    pub fn say(&self, line: &str) {
        let mut display = self.lock();
        display.erase();
        if display.is_terminal {
            eprintln!("{line}");
        } else {
            eprintln!("[{:7.1} s] {line}", display.started.elapsed().as_secs_f64());
        }
        display.draw();
    }

    fn lock(&self) -> MutexGuard<'_, Display> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Row {
    /// Says what goes on now; the same again changes nothing.
    pub fn stage(&self, stage: &str) {
        let mut display = self.progress.lock();
        let Some(row) = display.rows.iter_mut().find(|row| row.id == self.id) else {
            return;
        };
        if row.stage == stage {
            return;
        }
        stage.clone_into(&mut row.stage);
        row.since = Instant::now();
        if display.is_terminal {
            display.erase();
            display.draw();
        } else {
            let at = display.started.elapsed().as_secs_f64();
            eprintln!("[{at:7.1} s] {}: {stage}", self.name);
        }
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        let mut display = self.progress.lock();
        display.erase();
        display.rows.retain(|row| row.id != self.id);
        display.draw();
    }
}

impl Display {
    /// Moves back over the live rows.
    fn erase(&mut self) {
        if self.drawn > 0 {
            eprint!("\x1b[{}A\x1b[J", self.drawn);
            self.drawn = 0;
        }
    }

    fn draw(&mut self) {
        if !self.is_terminal {
            return;
        }
        let width = terminal_width();
        for row in self.rows.iter().take(ROWS_MAX) {
            let seconds = row.since.elapsed().as_secs();
            let text = format!("  {:<28} {seconds:>4} s  {}", row.name, row.stage);
            let cut: String = text.chars().take(width).collect();
            eprintln!("{cut}");
            self.drawn += 1;
        }
        let _ = std::io::stderr().flush();
    }
}

fn keep_drawing(display: &Weak<Mutex<Display>>) {
    loop {
        std::thread::sleep(REDRAW);
        let Some(display) = display.upgrade() else {
            return;
        };
        let mut display = display.lock().unwrap_or_else(PoisonError::into_inner);
        display.erase();
        display.draw();
    }
}

fn terminal_width() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stderr());
    // The last column stays free: a full line would wrap on some terminals.
    size.map_or(79, |size| usize::from(size.ws_col.max(20)) - 1)
}
