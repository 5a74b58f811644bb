//! The `luc` command as a person uses it, against one node.
//!
//! Does:      runs it, parses its JSON, and holds consoles open.
//! Does not:  know the API: what `luc` says is what counts.
//! Bounds:    `ANSWER_MAX` a command; a console lives as long as its owner.
//! Trusts:    nothing: exit codes and outputs are what scenarios check.
//! Start at:  `Luc::ask`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::machine::{Serial, command, spawn};
use crate::scenario::Problem;

/// One command: a node in emulation answers within seconds, an upload takes a minute.
const ANSWER_MAX: Duration = Duration::from_secs(300);
/// How often a running command is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The command, pointed at a node.
#[derive(Debug)]
pub struct Luc {
    program: PathBuf,
    node: String,
    logs: PathBuf,
    calls: AtomicUsize,
}

/// What a command said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its exit code; 255 when a signal ended it.
    pub code: i32,
    /// Data.
    pub stdout: String,
    /// Everything else.
    pub stderr: String,
}

impl Luc {
    /// `node` is `ADDRESS:PORT`, as `--via` takes it.
    #[must_use]
    pub fn new(program: &Path, node: &str, logs: &Path) -> Self {
        Self {
            program: program.to_owned(),
            node: node.to_owned(),
            logs: logs.to_owned(),
            calls: AtomicUsize::new(0),
        }
    }

    /// `ADDRESS:PORT` on this host.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Runs `luc` with these words, whatever comes of it.
    pub fn ask(&self, words: &[&str]) -> Result<Answer, Problem> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let file = |kind: &str| self.logs.join(format!("luc-{number}.{kind}.txt"));
        let (out, err) = (file("out"), file("err"));
        let mut luc = self.command(words);
        luc.stdin(Stdio::null())
            .stdout(std::fs::File::create(&out)?)
            .stderr(std::fs::File::create(&err)?);
        let mut child = spawn(luc)?;
        let deadline = Instant::now() + ANSWER_MAX;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                let text = format!("`luc {}` did not end in {ANSWER_MAX:?}", words.join(" "));
                return Err(Problem::Broken(text));
            }
            std::thread::sleep(LOOK_EVERY);
        };
        let read = |path: &Path| Ok::<_, io::Error>(lossy(&std::fs::read(path)?));
        Ok(Answer {
            code: status.code().unwrap_or(255),
            stdout: read(&out)?,
            stderr: read(&err)?,
        })
    }

    /// Runs it and demands success.
    pub fn run(&self, words: &[&str]) -> Result<String, Problem> {
        let answer = self.ask(words)?;
        if answer.code == 0 {
            return Ok(answer.stdout);
        }
        Err(Problem::Broken(format!(
            "`luc {}` ended with {}: {}",
            words.join(" "),
            answer.code,
            answer.stderr.trim()
        )))
    }

    /// Runs it with `-o json`, demands success, and parses.
    pub fn json(&self, words: &[&str]) -> Result<Value, Problem> {
        let text = self.run(&[words, &["-o", "json"]].concat())?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Opens a VM's console.
    pub fn console(&self, vm: &str) -> Result<Console, Problem> {
        self.console_since(vm, Instant::now())
    }

    /// The same, with the times of its lines counted from `zero`.
    pub fn console_since(&self, vm: &str, zero: Instant) -> Result<Console, Problem> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let mut luc = self.command(&["vm", "console", vm]);
        let errors = std::fs::File::create(self.logs.join(format!("console-{number}.err.txt")))?;
        luc.stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors);
        let mut child = spawn(luc)?;
        let stdout = child
            .stdout
            .take()
            .ok_or_else(|| Problem::broken("no console output"))?;
        let log = self.logs.join(format!("console-{number}.{vm}.txt"));
        let lines = Serial::follow(stdout, &log, zero, Box::new(|_| ()))?;
        let typing = child.stdin.take();
        Ok(Console {
            child,
            typing,
            lines,
        })
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut luc = command(&self.program);
        // `setpriv` runs it under its own name.
        luc.args(words)
            .env("LUC_VIA", &self.node)
            .env_remove("LUC_TIMEOUT");
        luc
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An open console. Dropping it detaches.
#[derive(Debug)]
pub struct Console {
    child: Child,
    typing: Option<ChildStdin>,
    lines: Serial,
}

impl Console {
    /// What the guest prints, scrollback included.
    #[must_use]
    pub fn lines(&self) -> &Serial {
        &self.lines
    }

    /// Types a line.
    pub fn type_line(&mut self, text: &str) -> io::Result<()> {
        let typing = self.typing.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        typing.write_all(text.as_bytes())?;
        typing.write_all(b"\n")?;
        typing.flush()
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.typing = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
