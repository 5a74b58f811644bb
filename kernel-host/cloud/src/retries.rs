//! Idempotency keys: the same request sent twice is done once.
//!
//! Does:      remembers the answer of each key for a while; spots a key used for something else.
//! Does not:  remember refusals: they changed nothing, so trying again is right.
//! Bounds:    `RETRY_KEYS_MAX` keys for `RETRY_KEY_LIFE_MS`; at the maximum the oldest goes.
//! Start at:  `Retries::find`.

use crate::Refusal;
use protocol::{Answer, Digest, RetryKey, limits};
use std::collections::VecDeque;

#[derive(Debug)]
struct Remembered {
    key: RetryKey,
    fingerprint: Digest,
    answer: Answer,
    until_ms: u64,
}

/// Oldest first, so also in the order in which they expire.
#[derive(Debug, Default)]
pub(crate) struct Retries {
    known: VecDeque<Remembered>,
}

impl Retries {
    /// The answer given before, if this very request was answered before.
    pub fn find(&self, key: &RetryKey, fingerprint: &Digest) -> Result<Option<Answer>, Refusal> {
        match self.known.iter().find(|known| known.key == *key) {
            None => Ok(None),
            Some(known) if known.fingerprint == *fingerprint => Ok(Some(known.answer.clone())),
            Some(_) => Err(Refusal::KeyReused {
                key: key.to_string(),
            }),
        }
    }

    /// Keeps an answer. Returns how many older ones had to go for it.
    pub fn keep(&mut self, now_ms: u64, key: RetryKey, fingerprint: Digest, answer: Answer) -> u64 {
        let full = self.known.len() >= limits::RETRY_KEYS_MAX;
        if full {
            self.known.pop_front();
        }
        let until_ms = now_ms + limits::RETRY_KEY_LIFE_MS;
        self.known.push_back(Remembered {
            key,
            fingerprint,
            answer,
            until_ms,
        });
        u64::from(full)
    }

    pub fn expire(&mut self, now_ms: u64) {
        while self
            .known
            .front()
            .is_some_and(|oldest| oldest.until_ms <= now_ms)
        {
            self.known.pop_front();
        }
    }

    pub fn next_timeout(&self) -> Option<u64> {
        self.known.front().map(|oldest| oldest.until_ms)
    }
}
