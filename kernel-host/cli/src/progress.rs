//! Progress of something long, on the error stream.
//!
//! Does:      redraws one line on a terminal; elsewhere stays silent.
//! Start at:  `Progress`.

use crate::Streams;
use protocol::ByteCount;
use std::time::{Duration, Instant};

/// Redrawn at most this often.
const REDRAW: Duration = Duration::from_millis(100);

/// Bytes on their way.
#[derive(Debug)]
pub(crate) struct Progress {
    label: String,
    total: u64,
    started: Instant,
    /// What was there before, and does not count for the speed.
    before: u64,
    drawn: Option<Instant>,
    visible: bool,
}

impl Progress {
    pub fn new(label: String, total: u64, before: u64, quiet: bool, streams: &Streams) -> Self {
        let visible = streams.errors_is_terminal && !quiet;
        Self {
            label,
            total,
            started: Instant::now(),
            before,
            drawn: None,
            visible,
        }
    }

    pub fn at(&mut self, done: u64, streams: &mut Streams) {
        let due = self.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW) || done == self.total;
        if !self.visible || !due {
            return;
        }
        self.drawn = Some(Instant::now());
        let percent = done.saturating_mul(100) / self.total.max(1);
        let ms = u64::try_from(self.started.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        let speed = done.saturating_sub(self.before).saturating_mul(1000) / ms;
        let (done, total) = (
            ByteCount::bytes(done).human(),
            ByteCount::bytes(self.total).human(),
        );
        let speed = ByteCount::bytes(speed).human();
        let line = format!(
            "\r\x1b[K{}  {percent} %  {done} of {total}  {speed}/s",
            self.label
        );
        drop(
            streams
                .errors
                .write_all(line.as_bytes())
                .and_then(|()| streams.errors.flush()),
        );
    }

    /// Leaves the line free for what comes next.
    pub fn clear(self, streams: &mut Streams) {
        if self.drawn.is_some() {
            drop(
                streams
                    .errors
                    .write_all(b"\r\x1b[K")
                    .and_then(|()| streams.errors.flush()),
            );
        }
    }
}
