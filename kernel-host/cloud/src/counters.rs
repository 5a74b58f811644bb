//! What the core counts about itself.
//!
//! Start at:  `Counters::list`.

/// Since the node process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub vms_created: u64,
    pub vms_failed: u64,
    pub vms_deleted: u64,
    pub guest_resets: u64,
    pub refusals: u64,
    /// Events of an older run or of a VM that is gone.
    pub stale_events: u64,
    /// Kills that had to be asked for again.
    pub kills_repeated: u64,
    pub retries_answered: u64,
    pub retry_keys_dropped: u64,
    pub blobs_completed: u64,
    pub blobs_mismatched: u64,
    pub blobs_expired: u64,
}

impl Counters {
    /// Name and value of each, for `GET /v1/node`.
    pub fn list(&self) -> [(&'static str, u64); 12] {
        [
            ("vms_created", self.vms_created),
            ("vms_failed", self.vms_failed),
            ("vms_deleted", self.vms_deleted),
            ("guest_resets", self.guest_resets),
            ("refusals", self.refusals),
            ("stale_events", self.stale_events),
            ("kills_repeated", self.kills_repeated),
            ("retries_answered", self.retries_answered),
            ("retry_keys_dropped", self.retry_keys_dropped),
            ("blobs_completed", self.blobs_completed),
            ("blobs_mismatched", self.blobs_mismatched),
            ("blobs_expired", self.blobs_expired),
        ]
    }
}
