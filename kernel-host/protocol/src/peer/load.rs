//! The body of `SITE_LOAD`: what a site has and uses, and that its members still hold.
//!
//! Start at:  `SiteLoad`.

use super::admission::Few;
use super::coordinate::Coordinate;
use super::{Stamp, Version};
use crate::SiteId;
use serde::{Deserialize, Serialize};

/// Sites that one site watches and may call lost.
pub const WATCHED_MAX: usize = 16;

/// What a site has and uses. It also renews the speaker's `SITE_MEMBERS` without repeating them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteLoad {
    pub site: SiteId,
    /// The `SITE_MEMBERS` of the same speaker that still hold.
    pub members: Version,
    pub nodes_alive: u32,
    pub usage: Usage,
    /// Sites that this one watches and that no longer answer, sorted.
    pub lost: Few<SiteId, WATCHED_MAX>,
    /// Everything written before this anywhere has reached this site.
    pub acknowledged: Stamp,
    /// Where the site is, by its speaker.
    pub place: Coordinate,
}

/// Sums over the nodes of a site that are there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub vcpus: u32,
    pub vcpus_used: u32,
    pub memory_mib: u64,
    pub memory_used_mib: u64,
    pub vms: u32,
}

impl SiteLoad {
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, Vec::with_capacity(96)).unwrap_or_default()
    }

    /// Fields of later versions, which stand behind ours, are ignored.
    pub fn decode(body: &[u8]) -> Option<Self> {
        let (load, _later) = postcard::take_from_bytes(body).ok()?;
        Some(load)
    }
}

impl Usage {
    /// Whether a reader would want to know: a tenth of anything, or another VM.
    pub fn differs_from(&self, other: &Self) -> bool {
        let tenth = |a: u64, b: u64| a.abs_diff(b) * 10 > a.max(b);
        tenth(self.vcpus.into(), other.vcpus.into())
            || tenth(self.vcpus_used.into(), other.vcpus_used.into())
            || tenth(self.memory_mib, other.memory_mib)
            || tenth(self.memory_used_mib, other.memory_used_mib)
            || tenth(self.vms.into(), other.vms.into())
    }

    #[must_use]
    pub const fn plus(self, other: &Self) -> Self {
        Self {
            vcpus: self.vcpus.saturating_add(other.vcpus),
            vcpus_used: self.vcpus_used.saturating_add(other.vcpus_used),
            memory_mib: self.memory_mib.saturating_add(other.memory_mib),
            memory_used_mib: self.memory_used_mib.saturating_add(other.memory_used_mib),
            vms: self.vms.saturating_add(other.vms),
        }
    }
}
