//! The serial port of a machine: every line kept, and everyone who waits for one woken.
//!
//! Does:      reads bytes as they come, cuts them into lines with the host's time, stores the
//!            raw bytes in a file, and answers "has there been a line like this?".
//! Does not:  interpret lines; `stages` does.
//! Bounds:    `LINES_MAX` lines in memory (the oldest go), `LINE_MAX` bytes a line, and
//!            `LOG_MAX` bytes in the file.
//! Trusts:    nobody: a machine prints any bytes, escape sequences included.
//! Start at:  `Serial::wait_for`.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A boot prints about 600 lines; a flood of a guest's console stays on the node.
const LINES_MAX: usize = 20_000;
/// Longer lines are cut: the longest kernel line has 1 kB.
const LINE_MAX: usize = 4096;
/// The raw log ends here; the rest is only in memory.
const LOG_MAX: usize = 64 * 1024 * 1024;
/// QEMU connects within a second; a busy host may need more.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);

/// A line, cleaned of escape sequences, with the time since the machine was switched on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How many lines came before.
    pub number: u64,
    /// Since `Serial::accept`.
    pub at: Duration,
    /// Without line end.
    pub text: String,
}

/// No line as wanted came in time; says what came instead.
#[derive(Debug, thiserror::Error)]
#[error(
    "no serial line with {wanted:?} within {waited:?}{}; the last one: {last:?}; all: {log}",
    if *.ended { " (it has ended)" } else { "" }
)]
pub struct NoSuchLine {
    /// What was waited for.
    pub wanted: String,
    /// For how long.
    pub waited: Duration,
    /// Whether the port is closed.
    pub ended: bool,
    /// The last line that came.
    pub last: String,
    /// The log's path.
    pub log: String,
}

/// Called with each line as it comes, on the reading thread.
pub type Observer = Box<dyn Fn(&Line) + Send>;

/// A serial port that is read by its own thread.
#[derive(Clone, Debug)]
pub struct Serial {
    shared: Arc<Shared>,
    log: PathBuf,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    started: Instant,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Line>,
    count: u64,
    partial: Vec<u8>,
    ended: bool,
}

impl Serial {
    /// Waits for QEMU to connect and starts to read. Time counts from `started`.
    pub fn accept(
        listener: &UnixListener,
        log: &Path,
        started: Instant,
        observer: Observer,
    ) -> io::Result<Self> {
        super::wait_readable(listener, CONNECT_TIMEOUT)?;
        let (stream, _) = listener.accept()?;
        Self::follow(stream, log, started, observer)
    }

    /// The same for any stream of lines, such as the output of a process.
    pub fn follow(
        stream: impl Read + Send + 'static,
        log: &Path,
        started: Instant,
        observer: Observer,
    ) -> io::Result<Self> {
        let file = File::create(log)?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            started,
        });
        let serial = Self {
            shared: Arc::clone(&shared),
            log: log.to_owned(),
        };
        std::thread::Builder::new()
            .name("serial".to_owned())
            .spawn(move || shared.read_all(stream, file, &observer))?;
        Ok(serial)
    }

    /// Waits until a line with `wanted` in it has come, now or earlier: asking late is harmless.
    pub fn wait_for(&self, wanted: &str, timeout: Duration) -> Result<Line, NoSuchLine> {
        self.wait_for_after(0, wanted, timeout)
    }

    /// The same, for lines from number `from` on.
    pub fn wait_for_after(
        &self,
        from: u64,
        wanted: &str,
        timeout: Duration,
    ) -> Result<Line, NoSuchLine> {
        let deadline = Instant::now() + timeout;
        let mut state = self.shared.lock();
        loop {
            let fresh = state.lines.iter().filter(|line| line.number >= from);
            if let Some(line) = fresh.into_iter().find(|line| line.text.contains(wanted)) {
                return Ok(line.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.ended {
                return Err(NoSuchLine {
                    wanted: wanted.to_owned(),
                    waited: timeout.saturating_sub(left),
                    ended: state.ended,
                    last: state
                        .lines
                        .back()
                        .map(|line| line.text.clone())
                        .unwrap_or_default(),
                    log: self.log.display().to_string(),
                });
            }
            let woken = self.shared.changed.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How many lines have come.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.shared.lock().count
    }

    /// The last `count` lines.
    #[must_use]
    pub fn last(&self, count: usize) -> Vec<Line> {
        let state = self.shared.lock();
        let skipped = state.lines.len().saturating_sub(count);
        state.lines.iter().skip(skipped).cloned().collect()
    }

    /// All lines that contain `part`.
    #[must_use]
    pub fn all_with(&self, part: &str) -> Vec<Line> {
        let state = self.shared.lock();
        state
            .lines
            .iter()
            .filter(|line| line.text.contains(part))
            .cloned()
            .collect()
    }

    /// Where the raw bytes are kept.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_all(&self, mut stream: impl Read, mut log: File, observer: &Observer) {
        let mut bytes = vec![0; 16 * 1024];
        let mut logged = 0;
        loop {
            let count = match stream.read(&mut bytes) {
                Ok(count) => count,
                Err(problem) if problem.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => 0,
            };
            let mut state = self.lock();
            let seen = state.count;
            if count == 0 {
                state.end_line(self.started.elapsed());
                state.ended = true;
                self.changed.notify_all();
                return;
            }
            state.take(&bytes[..count], self.started.elapsed());
            let fresh: Vec<Line> = state
                .lines
                .iter()
                .rev()
                .take_while(|line| line.number >= seen)
                .cloned()
                .collect();
            drop(state);
            self.changed.notify_all();
            fresh.iter().rev().for_each(observer);
            if logged < LOG_MAX && log.write_all(&bytes[..count]).is_ok() {
                logged += count;
            }
        }
    }
}

impl State {
    fn take(&mut self, bytes: &[u8], at: Duration) {
        for byte in bytes {
            match byte {
                b'\n' => self.end_line(at),
                b'\r' => {}
                _ if self.partial.len() < LINE_MAX => self.partial.push(*byte),
                _ => {}
            }
        }
    }

    fn end_line(&mut self, at: Duration) {
        let text = without_escapes(&String::from_utf8_lossy(&self.partial));
        self.partial.clear();
        if text.trim().is_empty() {
            return;
        }
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(Line {
            number: self.count,
            at,
            text,
        });
        self.count += 1;
    }
}

/// Removes terminal control sequences, which firmware prints in plenty.
fn without_escapes(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(letter) = rest.next() {
        match letter {
            '\u{1b}' => {
                // CSI: ESC [ parameters final; other sequences are ESC and one letter.
                if rest.next() == Some('[') {
                    rest.by_ref()
                        .find(|end| ('\u{40}'..='\u{7e}').contains(end));
                }
            }
            '\t' => clean.push(' '),
            _ if letter.is_control() => {}
            _ => clean.push(letter),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Serial, without_escapes};
    use std::io::Write;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::time::{Duration, Instant};

    const LONG: Duration = Duration::from_secs(20);

    fn port(folder: &std::path::Path) -> (UnixStream, Serial) {
        let path = folder.join("serial");
        let listener = UnixListener::bind(&path).unwrap();
        let machine = UnixStream::connect(path).unwrap();
        (
            machine,
            Serial::accept(
                &listener,
                &folder.join("log"),
                Instant::now(),
                Box::new(|_| ()),
            )
            .unwrap(),
        )
    }

    #[test]
    fn a_line_is_found_before_and_after_it_came() {
        let folder = tempfile::tempdir().unwrap();
        let (mut machine, serial) = port(folder.path());
        machine.write_all(b"one\r\ntwo\r\nthr").unwrap();
        assert_eq!(serial.wait_for("two", LONG).unwrap().number, 1);
        assert_eq!(serial.wait_for("one", LONG).unwrap().number, 0);
        let waiter = serial.clone();
        let waiting = std::thread::spawn(move || waiter.wait_for("three", LONG).unwrap());
        machine.write_all(b"ee\nfour\n").unwrap();
        assert_eq!(waiting.join().unwrap().number, 2);
        serial.wait_for("four", LONG).unwrap();
        assert_eq!(
            std::fs::read(folder.path().join("log")).unwrap(),
            b"one\r\ntwo\r\nthree\nfour\n"
        );
    }

    #[test]
    fn a_machine_that_ended_keeps_nobody_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let (mut machine, serial) = port(folder.path());
        machine.write_all(b"last words").unwrap();
        drop(machine);
        let problem = serial.wait_for("never", LONG).unwrap_err();
        assert!(problem.ended);
        assert_eq!(problem.last, "last words");
    }

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn terminal_noise_is_removed() {
        //          raw                                  clean
        assert_eq!(without_escapes("\u{1b}[2J\u{1b}[01;01Hiso"), "iso");
        assert_eq!(without_escapes("a\tb\u{7}c"),               "a bc");
        assert_eq!(without_escapes("\u{1b}=plain"),             "plain");
        assert_eq!(without_escapes("cut \u{1b}["),              "cut ");
    }
}
