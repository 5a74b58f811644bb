//! Keeps the node process alive and knows whether it is well.
//!
//! Does:      starts it with its control socket, receives what it says, restarts it with back-off.
//! Does not:  interpret its standing; PID 1's loop does.
//! Bounds:    one process; `SILENCE_MAX_MS` without a heartbeat, then it is killed.
//! Trusts:    nothing it says beyond the message types.
//! Start at:  `Supervisor::start`, then `Supervisor::ended`.

use super::backoff::Backoff;
use crate::supervision::{ToInit, ToNode, Welcome, decode, encode};
use std::io;
use std::os::fd::OwnedFd;
use sys::cgroups::Group;
use sys::processes::{Exit, Process, start_role};
use sys::seqpacket::{Received, pair, receive_message, send_message};

/// Heartbeats come every 5 s. A starved virtual machine may miss ten; a dead loop misses all.
const SILENCE_MAX_MS: u64 = 60_000;
/// The argument that picks the node process.
const ROLE: &str = "node-run";

/// The node process and its history.
#[derive(Debug, Default)]
pub struct Supervisor {
    running: Option<Running>,
    backoff: Backoff,
    start_at_ms: Option<u64>,
    restarts: u32,
    last_end: Option<String>,
    last_words: Option<String>,
}

#[derive(Debug)]
struct Running {
    process: Process,
    socket: OwnedFd,
    started_ms: u64,
    heard_ms: u64,
}

impl Supervisor {
    /// Starts the process; it learns what happened before it.
    ///
    /// # Errors
    /// When there is no memory, process or descriptor left; the next try is planned.
    pub fn start(&mut self, now_ms: u64, group: &Group, welcome: Welcome) -> io::Result<()> {
        let start = || -> io::Result<Running> {
            let (ours, theirs) = pair()?;
            let process = start_role(&[ROLE], theirs)?;
            // Outside its group it would run unlimited, which is still better than not at all.
            let _ = group.adopt(process.pid);
            Ok(Running {
                process,
                socket: ours,
                started_ms: now_ms,
                heard_ms: now_ms,
            })
        };
        self.start_at_ms = None;
        match start() {
            Ok(running) => {
                self.running = Some(running);
                let (restarts, last_end) = (self.restarts, self.last_end.clone());
                self.tell(&ToNode::Welcome(Welcome {
                    restarts,
                    last_end,
                    ..welcome
                }));
                Ok(())
            }
            Err(error) => {
                self.start_at_ms = Some(now_ms + self.backoff.after_end(0));
                Err(error)
            }
        }
    }

    /// The control socket, to be watched after each start.
    #[must_use]
    pub fn socket(&self) -> Option<&OwnedFd> {
        self.running.as_ref().map(|running| &running.socket)
    }

    /// Is this child the node process?
    #[must_use]
    pub fn is(&self, pid: u32) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.process.pid == pid)
    }

    /// Sends a message. One that does not fit is dropped: the process is behind by hundreds of
    /// messages then, and the silence limit will catch it.
    pub fn tell(&self, message: &ToNode) {
        if let (Some(running), Ok(bytes)) = (&self.running, encode(message)) {
            let _ = send_message(&running.socket, &bytes);
        }
    }

    /// What the process said since the last call.
    pub fn hear(&mut self, now_ms: u64) -> Vec<ToInit> {
        let mut heard = Vec::new();
        let Some(running) = &mut self.running else {
            return heard;
        };
        while let Ok(Received::Message(bytes)) = receive_message(&running.socket) {
            running.heard_ms = now_ms;
            match decode::<ToInit>(&bytes) {
                Some(ToInit::Panicked(words)) => self.last_words = Some(words),
                Some(message) => heard.push(message),
                None => {}
            }
        }
        heard
    }

    /// The process has ended: plans the next start; the sentence for the journal.
    pub fn ended(&mut self, now_ms: u64, exit: Exit) -> String {
        let lived_ms = self
            .running
            .take()
            .map_or(0, |running| now_ms.saturating_sub(running.started_ms));
        let wait_ms = self.backoff.after_end(lived_ms);
        self.start_at_ms = Some(now_ms + wait_ms);
        self.restarts = self.restarts.saturating_add(1);
        let words = self
            .last_words
            .take()
            .map(|words| format!(": {words}"))
            .unwrap_or_default();
        let end = format!("node process ended with {exit}{words}");
        self.last_end = Some(end.clone());
        format!("{end}; its VMs are stopped; next start in {wait_ms} ms")
    }

    /// Is a start due?
    #[must_use]
    pub fn start_is_due(&self, now_ms: u64) -> bool {
        self.running.is_none() && self.start_at_ms.is_none_or(|at_ms| at_ms <= now_ms)
    }

    /// Kills a process that went silent; the sentence for the journal.
    pub fn end_silence(&mut self, now_ms: u64) -> Option<String> {
        let running = self.running.as_mut()?;
        if now_ms.saturating_sub(running.heard_ms) < SILENCE_MAX_MS {
            return None;
        }
        // Give the kill a full silence of its own before it is tried again.
        running.heard_ms = now_ms;
        let _ = running.process.kill();
        Some(format!(
            "node process was silent for {} s: killed",
            SILENCE_MAX_MS / 1000
        ))
    }

    /// Is the process well enough to feed the watchdog? A restart counts as well until it fails
    /// for as long as a silence.
    #[must_use]
    pub fn is_well(&self, now_ms: u64) -> bool {
        match &self.running {
            Some(running) => now_ms.saturating_sub(running.heard_ms) < SILENCE_MAX_MS,
            None => self
                .start_at_ms
                .is_none_or(|at_ms| now_ms < at_ms + SILENCE_MAX_MS),
        }
    }

    /// When `start_is_due` or `end_silence` may have something to do.
    #[must_use]
    pub fn next_timeout_ms(&self) -> Option<u64> {
        match &self.running {
            Some(running) => Some(running.heard_ms + SILENCE_MAX_MS),
            None => self.start_at_ms,
        }
    }
}
