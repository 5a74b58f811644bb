//! QEMU's control socket: JSON lines over a unix socket.
//!
//! Does:      accepts QEMU's connection, runs commands, skips events.
//! Does not:  know the commands' meaning; `Machine` does.
//! Bounds:    `LINE_MAX` bytes a line, `LINES_MAX` lines until an answer, `ANSWER_TIMEOUT`.
//! Trusts:    QEMU, but not that it answers.
//! Start at:  `Qmp::accept`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use serde_json::{Value, json};

/// An answer is below 1 kB, except for queries that we don't use.
const LINE_MAX: u64 = 1024 * 1024;
/// Events between a command and its answer: a reset makes about ten.
const LINES_MAX: usize = 1000;
/// QEMU answers in milliseconds, unless the host is drowned in work.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection to one QEMU.
#[derive(Debug)]
pub struct Qmp {
    reader: BufReader<UnixStream>,
}

impl Qmp {
    /// Waits for QEMU to connect, and agrees on the protocol.
    pub fn accept(listener: &UnixListener) -> io::Result<Self> {
        super::wait_readable(listener, ANSWER_TIMEOUT)?;
        let (stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let mut qmp = Self {
            reader: BufReader::new(stream),
        };
        qmp.read_line()?; // the greeting
        qmp.run("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs a command and returns its answer.
    pub fn run(&mut self, command: &str, arguments: Value) -> io::Result<Value> {
        let request = json!({"execute": command, "arguments": arguments});
        let stream = self.reader.get_mut();
        stream.write_all(format!("{request}\n").as_bytes())?;
        for _ in 0..LINES_MAX {
            let mut answer = self.read_line()?;
            if let Some(problem) = answer.get("error") {
                return Err(io::Error::other(format!("QMP {command}: {problem}")));
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
        }
        Err(io::Error::other(format!(
            "QMP {command}: {LINES_MAX} lines and no answer"
        )))
    }

    fn read_line(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        let count = (&mut self.reader).take(LINE_MAX).read_line(&mut line)?;
        if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "QEMU closed its QMP socket",
            ));
        }
        serde_json::from_str(&line).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Qmp;
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn an_answer_is_found_behind_events_and_an_error_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("qmp");
        let listener = UnixListener::bind(&path).unwrap();
        let qemu = std::thread::spawn(move || {
            let mut stream = UnixStream::connect(path).unwrap();
            stream.write_all(b"{\"QMP\": {}}\n").unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            for answer in [
                "{\"return\": {}}\n",
                "{\"event\": \"RESET\"}\n{\"return\": {\"status\": \"running\"}}\n",
                "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\n",
            ] {
                lines.next().unwrap().unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let mut qmp = Qmp::accept(&listener).unwrap();
        let status = qmp.run("query-status", serde_json::json!({})).unwrap();
        assert_eq!(status["status"], "running");
        let problem = qmp.run("nonsense", serde_json::json!({})).unwrap_err();
        assert!(problem.to_string().contains("nonsense"), "{problem}");
        qemu.join().unwrap();
    }
}
