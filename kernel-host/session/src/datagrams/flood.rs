//! What strangers may cost us: a rate of work, and cookies beyond it.
//!
//! Start at:  `Bucket`, `Cookies`.

use crate::crypto::{self, Rng};
use crate::packet::COOKIE_BYTES;
use std::net::{IpAddr, SocketAddr};

/// How long a cookie is good: between one and two of these.
const COOKIE_MS: u64 = 60_000;

/// Allows `per_second` things, and `burst` at once.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: u64,
    full_milli: u64,
    level_milli: u64,
    at_ms: u64,
}

impl Bucket {
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        let full_milli = u64::from(burst) * 1000;
        Self {
            per_second: u64::from(per_second),
            full_milli,
            level_milli: full_milli,
            at_ms: 0,
        }
    }

    /// Takes one, if one is there.
    pub(super) fn take(&mut self, now_ms: u64) -> bool {
        let gained = now_ms.saturating_sub(self.at_ms);
        self.at_ms = now_ms;
        let gained = gained.saturating_mul(self.per_second);
        self.level_milli = self.level_milli.saturating_add(gained).min(self.full_milli);
        match self.level_milli.checked_sub(1000) {
            Some(rest) => {
                self.level_milli = rest;
                true
            }
            None => false,
        }
    }
}

/// Proofs that somebody receives what is sent to an address. Nothing is kept for each.
#[derive(Debug)]
pub(super) struct Cookies {
    current: [u8; 32],
    previous: [u8; 32],
    turn_ms: u64,
}

impl Cookies {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self {
            current: rng.draw(),
            previous: rng.draw(),
            turn_ms: COOKIE_MS,
        }
    }

    /// The cookie of `from` for the handshake that it calls `sender`.
    pub(super) fn make(
        &mut self,
        now_ms: u64,
        rng: &mut Rng,
        from: SocketAddr,
        sender: u32,
    ) -> [u8; COOKIE_BYTES] {
        self.turn(now_ms, rng);
        crypto::short_mac(&self.current, &bytes_of(from, sender))
    }

    pub(super) fn holds(
        &mut self,
        now_ms: u64,
        rng: &mut Rng,
        (from, sender): (SocketAddr, u32),
        cookie: &[u8; COOKIE_BYTES],
    ) -> bool {
        self.turn(now_ms, rng);
        let bytes = bytes_of(from, sender);
        let matches = |key| crypto::equal(&crypto::short_mac(key, &bytes), cookie);
        *cookie != [0; COOKIE_BYTES] && (matches(&self.current) || matches(&self.previous))
    }

    fn turn(&mut self, now_ms: u64, rng: &mut Rng) {
        if now_ms >= self.turn_ms {
            self.previous = std::mem::replace(&mut self.current, rng.draw());
            self.turn_ms = now_ms + COOKIE_MS;
        }
    }
}

fn bytes_of(from: SocketAddr, sender: u32) -> Vec<u8> {
    let mut bytes = match from.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    bytes.extend_from_slice(&from.port().to_le_bytes());
    bytes.extend_from_slice(&sender.to_le_bytes());
    bytes
}
