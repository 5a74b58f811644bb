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
    /// VMs from before the node's last start.
    pub vms_restored: u64,
    /// Such VMs beyond `VMS_MAX`: not taken in, and left to the others' lists.
    pub restores_refused: u64,
    /// VMs given up because another node owns them.
    pub vms_fenced: u64,
    /// Records whose body could not be read.
    pub bad_records: u64,
}

impl Counters {
    /// Name and value of each, for `GET /v1/node`.
    pub fn list(&self) -> [(&'static str, u64); 16] {
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
            ("vms_restored", self.vms_restored),
            ("restores_refused", self.restores_refused),
            ("vms_fenced", self.vms_fenced),
            ("bad_records", self.bad_records),
        ]
    }
}
