//! How much there may be of everything, and what was counted.
//!
//! Start at:  `Limits`, `Counters`.

/// The size of each table, and the pace of handshakes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Peers with a session. One more drops the stranger, or else the peer, that was heard of
    /// longest ago (`sessions_evicted`). One takes about 2 kB.
    pub sessions_max: usize,
    /// Strangers among them; one more drops the oldest of them.
    pub strangers_max: usize,
    /// Handshakes that we have begun. One more is refused (`openings_full`).
    pub openings_max: usize,
    /// Handshakes that others have begun. One more forgets the oldest (`answers_evicted`).
    pub answers_max: usize,
    /// Of these from one IP address; one more is not answered (`flood_dropped`).
    pub answers_per_ip_max: usize,
    /// Messages that wait for one handshake. One more drops the oldest (`waiting_dropped`).
    pub waiting_max: usize,
    /// Openings answered without a cookie: per second, and at once. Each costs about 0.3 ms.
    /// Beyond, a cookie is asked for (`cookies_sent`).
    pub answers_per_second: u32,
    pub answers_burst: u32,
    /// The same for openings with a good cookie. Beyond, nothing (`flood_dropped`).
    pub cookied_per_second: u32,
    /// A session is renewed by whoever began it at this age; by the other a quarter later.
    pub rekey_after_ms: u64,
    /// Or after so many messages one way.
    pub rekey_after_messages: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions_max: 512,
            strangers_max: 64,
            openings_max: 256,
            answers_max: 256,
            answers_per_ip_max: 32,
            waiting_max: 8,
            answers_per_second: 100,
            answers_burst: 200,
            cookied_per_second: 200,
            rekey_after_ms: 120_000,
            rekey_after_messages: 1 << 30,
        }
    }
}

/// What has happened since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub sent: u64,
    pub received: u64,
    /// Handshakes that we began, and those that came to a session (begun by either side).
    pub begun: u64,
    pub established: u64,
    pub rekeyed: u64,
    pub roamed: u64,
    /// Handshakes that nobody answered; refused by our gate; refused by theirs.
    pub unanswered: u64,
    pub refused: u64,
    pub refused_by_peer: u64,
    /// Both sides opened at once, and we let theirs go first.
    pub yielded: u64,
    pub cookies_sent: u64,
    pub flood_dropped: u64,
    pub openings_full: u64,
    pub answers_evicted: u64,
    pub sessions_evicted: u64,
    pub waiting_dropped: u64,
    pub early_dropped: u64,
    /// Messages for a node whose address another has now.
    pub wrong_node: u64,
    /// Datagrams: of no known form; of the fabric; with a seal that does not hold; repeated.
    pub malformed: u64,
    pub fabric: u64,
    pub bad_seal: u64,
    pub replayed: u64,
    /// Data packets of sessions that we do not have, and what we said to that.
    pub unknown: u64,
    pub unknown_sent: u64,
}
