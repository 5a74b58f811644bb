//! One VM program: started, watched through its output, timed.
//!
//! Does:      stamps the first byte, the guest's init, its token and the program's end.
//! Does not:  look at memory while it times; `footprint` does that in runs of its own.
//! Bounds:    `TIMEOUT` a run, `TAIL_MAX` bytes of output kept.
//! Trusts:    nothing of what the program or its guest prints.
//! Start at:  `Program::time`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use guest::bench::RUN;
use guest::{GUEST_LINE, TOKEN_LINE};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::procfs::{self, Spent};

/// A start takes 2 to 8 s in emulation; a host that is busy besides may need ten times that.
pub const TIMEOUT: Duration = Duration::from_secs(120);
/// Output kept to find marks in, and to show when something failed.
const TAIL_MAX: usize = 64 * 1024;
/// Lines shown of a program that failed.
const LINES_SHOWN: usize = 12;
/// What the program itself says, away from the guest's console.
const STDERR: &str = "/tmp/stderr";
/// What the guest said last, for `last_words`.
const STDOUT: &str = "/tmp/stdout";

/// A program that runs one VM with its console on standard output.
#[derive(Debug)]
pub struct Program<'a> {
    /// The plan's name for it.
    pub name: &'a str,
    path: &'a str,
    arguments: Vec<&'a str>,
}

/// When what was seen, since just before the program was started.
#[derive(Debug, Default)]
pub struct Stamps {
    output: Option<Duration>,
    init: Option<Duration>,
    /// The guest's own clock at its init, as it printed it.
    clock_ms: Option<u64>,
    /// The guest's token.
    pub token: Option<Duration>,
}

/// A program that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    output: ChildStdout,
    started: Instant,
    tail: Vec<u8>,
    /// What was seen so far.
    pub stamps: Stamps,
}

impl<'a> Program<'a> {
    pub fn new(name: &'a str, path: &'a str, arguments: &[&'a str]) -> Self {
        Self {
            name,
            path,
            arguments: arguments.to_vec(),
        }
    }

    /// Runs it to its end and says how long everything took.
    pub fn time(&self, pair: u64) -> Result<String, String> {
        let mut running = self.start()?;
        while running.read_some()? {}
        let (ended, status, spent) = running.finish()?;
        let stamps = &running.stamps;
        let (Some(init), Some(token)) = (stamps.init, stamps.token) else {
            return Err(format!("ended with {status} and without a token"));
        };
        if !status.success() {
            return Err(format!("ended with {status}"));
        }
        let us = |at: Duration| at.as_micros();
        Ok(format!(
            "{RUN} program={} pair={pair} output_us={} init_us={} token_us={} exit_us={} \
             clock_ms={} user_ms={} system_ms={} guest_ms={}",
            self.name,
            us(stamps.output.unwrap_or(init)),
            us(init),
            us(token),
            us(ended),
            stamps.clock_ms.unwrap_or_default(),
            spent.user_ms,
            spent.system_ms,
            spent.guest_ms,
        ))
    }

    /// Starts it.
    pub fn start(&self) -> Result<Running, String> {
        let failed = |source: io::Error| format!("starting {}: {source}", self.path);
        let errors = File::create(STDERR).map_err(failed)?;
        let _ = fs::remove_file(STDOUT);
        let mut command = Command::new(self.path);
        command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors);
        let started = Instant::now();
        let mut child = command.spawn().map_err(failed)?;
        let output = child.stdout.take().expect("its output was asked for");
        Ok(Running {
            child,
            output,
            started,
            tail: Vec::new(),
            stamps: Stamps::default(),
        })
    }
}

impl Running {
    /// Waits for more output; `false` at its end.
    pub fn read_some(&mut self) -> Result<bool, String> {
        let left = TIMEOUT.saturating_sub(self.started.elapsed());
        let mut fds = [PollFd::new(&self.output, PollFlags::IN)];
        let timeout = Timespec::try_from(left).map_err(|source| source.to_string())?;
        let ready = poll(&mut fds, Some(&timeout)).map_err(|source| source.to_string())?;
        if ready == 0 {
            self.keep_tail();
            return Err(format!("still runs after {} s", TIMEOUT.as_secs()));
        }
        let mut bytes = [0; 4096];
        let count = self
            .output
            .read(&mut bytes)
            .map_err(|source| source.to_string())?;
        let at = self.started.elapsed();
        if count > 0 {
            self.take(&bytes[..count], at);
        }
        Ok(count > 0)
    }

    /// The process, for a look at its memory.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn take(&mut self, bytes: &[u8], at: Duration) {
        let room = TAIL_MAX.saturating_sub(self.tail.len());
        self.tail.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let stamps = &mut self.stamps;
        stamps.output.get_or_insert(at);
        let text = String::from_utf8_lossy(&self.tail);
        if stamps.init.is_none() && text.contains(GUEST_LINE) {
            stamps.init = Some(at);
        }
        if stamps.token.is_none() && text.contains(TOKEN_LINE) {
            stamps.token = Some(at);
            stamps.clock_ms = guest_clock_ms(&text);
        }
    }

    /// Waits for the program's end.
    fn finish(&mut self) -> Result<(Duration, ExitStatus, Spent), String> {
        self.keep_tail();
        let spent = procfs::wait_and_look(self.child.id())?;
        let ended = self.started.elapsed();
        let status = self.child.wait().map_err(|source| source.to_string())?;
        Ok((ended, status, spent))
    }

    fn keep_tail(&self) {
        let _ = fs::write(STDOUT, &self.tail);
    }
}

/// The clock in `luc-guest[    1.234] init`.
fn guest_clock_ms(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once(GUEST_LINE)?;
    let (seconds, millis) = rest.split_once(']')?.0.trim().split_once('.')?;
    Some(seconds.parse::<u64>().ok()? * 1000 + millis.parse::<u64>().ok()?)
}

/// What the last program and its guest said last.
pub fn last_words() -> Vec<String> {
    let mut words = Vec::new();
    for path in [STDERR, STDOUT] {
        let bytes = fs::read(path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let skipped = lines.len().saturating_sub(LINES_SHOWN);
        words.extend(lines[skipped..].iter().map(|line| (*line).to_owned()));
    }
    words
}
