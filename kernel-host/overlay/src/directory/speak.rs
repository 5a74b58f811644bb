//! Who speaks for our site, and when it has something to say.
//!
//! Does:      waits a little after the start; says changes at once, then less and less often while
//!            they go on; renews its word; falls silent when another speaks.
//! Does not:  know the members: its caller hands them in.
//! Bounds:    one word each `GAP_MS_MIN`, one each `GAP_MS_MAX` in a storm.
//! Trusts:    the membership of our site (`swim`).
//! Start at:  `Speech::due`.

use protocol::NodeId;
use protocol::peer::load::Usage;

/// After its start a node first listens: most likely another speaks already.
const LISTEN_MS: u64 = 3_000;
/// Changes that come together are said together.
const GATHER_MS: u64 = 200;
const GAP_MS_MIN: u64 = 500;
const GAP_MS_MAX: u64 = 4_000;
/// Between the first words of a start, which mostly is one of many.
const GAP_MS_START: u64 = 1_000;
/// A word is renewed this often.
pub const RENEW_MS: u64 = 55_000;
/// And said again in full this often, for those who came later.
pub const REPEAT_MS: u64 = 270_000;
/// So long after somebody else took over, one's own word is withdrawn.
const RESIGN_MS: u64 = 5_000;

/// What is to be said now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    Members,
    Load,
    /// Another speaks: withdraw our word.
    Resign,
}

/// When and what our site's speaker says.
#[derive(Debug)]
pub struct Speech {
    listen_until_ms: u64,
    /// We speak since.
    speaks_since_ms: Option<u64>,
    /// Another took over at.
    resign_ms: Option<u64>,
    has_word: bool,
    members_due_ms: Option<u64>,
    load_due_ms: u64,
    said_ms: u64,
    gap_ms: u64,
    pub said: Usage,
}

impl Speech {
    pub fn new(now_ms: u64) -> Self {
        Self {
            listen_until_ms: now_ms + LISTEN_MS,
            speaks_since_ms: None,
            resign_ms: None,
            has_word: false,
            members_due_ms: None,
            load_due_ms: now_ms,
            said_ms: 0,
            gap_ms: GAP_MS_START,
            said: Usage::default(),
        }
    }

    pub const fn is_speaker(&self) -> bool {
        self.speaks_since_ms.is_some()
    }

    /// The lowest node of the site that is alive, ourselves included.
    pub fn elect(&mut self, now_ms: u64, me: NodeId, lowest: NodeId) {
        match (me == lowest, self.speaks_since_ms) {
            (true, None) => {
                self.speaks_since_ms = Some(now_ms);
                self.resign_ms = None;
                self.changed(now_ms);
            }
            (false, Some(_)) => {
                self.speaks_since_ms = None;
                self.members_due_ms = None;
                self.resign_ms = self.has_word.then_some(now_ms + RESIGN_MS);
            }
            _ => {}
        }
    }

    /// The members changed.
    pub fn changed(&mut self, now_ms: u64) {
        if !self.is_speaker() {
            return;
        }
        let at = (now_ms + GATHER_MS)
            .max(self.said_ms + self.gap_ms)
            .max(self.listen_until_ms);
        self.members_due_ms = Some(self.members_due_ms.map_or(at, |old| old.min(at)));
    }

    /// What the site uses, or what it watches, changed.
    pub fn load_changed(&mut self, now_ms: u64) {
        if self.is_speaker() {
            self.load_due_ms = self.load_due_ms.min(now_ms + GATHER_MS);
        }
    }

    /// Our word of an earlier life turned up.
    pub fn has_old_word(&mut self, now_ms: u64) {
        self.has_word = true;
        if self.is_speaker() {
            self.changed(now_ms);
        } else {
            self.resign_ms.get_or_insert(now_ms + RESIGN_MS);
        }
    }

    pub fn next_timeout(&self) -> Option<u64> {
        let load = (self.is_speaker() && self.has_word).then_some(self.load_due_ms);
        [self.members_due_ms, self.resign_ms, load]
            .into_iter()
            .flatten()
            .min()
    }

    pub fn due(&mut self, now_ms: u64, around: u64) -> Option<Due> {
        if self.members_due_ms.is_some_and(|at| at <= now_ms) {
            self.members_due_ms = None;
            let calm_since_ms = self.said_ms.max(self.listen_until_ms);
            let is_storm = now_ms < calm_since_ms + 3 * self.gap_ms;
            self.gap_ms = match is_storm {
                true => (self.gap_ms * 2).min(GAP_MS_MAX),
                false => GAP_MS_MIN,
            };
            self.said_ms = now_ms;
            self.has_word = true;
            // The next word would make it void.
            self.load_due_ms = now_ms + self.gap_ms;
            return Some(Due::Members);
        }
        if self.resign_ms.is_some_and(|at| at <= now_ms) {
            self.resign_ms = None;
            self.has_word = false;
            return Some(Due::Resign);
        }
        if self.is_speaker() && self.has_word && self.load_due_ms <= now_ms {
            if now_ms > self.said_ms + REPEAT_MS {
                self.said_ms = now_ms;
                return Some(Due::Members);
            }
            self.load_due_ms = now_ms + around;
            return Some(Due::Load);
        }
        None
    }
}
