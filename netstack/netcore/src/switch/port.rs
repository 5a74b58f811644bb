//! A guest's port: what it may send and get, and what it did.
//!
//! Does:      keeps a port's rates, abilities and counters.
//! Does not:  know who may speak from it; the record of its station says that.
//! Bounds:    the named rates; a counter for each reason of a drop.
//! Trusts:    the caller for settings.
//! Start at:  `PortSettings`.

use std::collections::BTreeMap;

use super::bucket::{Bucket, Rate};
use super::records::NetworkId;
use crate::ethernet::Mac;
use crate::offload::Abilities;

/// Questions to the gateway (ARP, neighbours, DHCP, echoes, errors): bursts at boot, few after.
const SERVICES: Rate = Rate {
    per_second: 200,
    burst: 400,
};
/// Frames for everybody: each costs as many copies as there are stations.
const FOR_ALL: Rate = Rate {
    per_second: 50,
    burst: 100,
};
/// Questions about names.
const NAMES: Rate = Rate {
    per_second: 100,
    burst: 300,
};

/// How fast a guest may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that the guest sends.
    pub out_bytes: Rate,
    /// Frames that the guest sends.
    pub out_frames: Rate,
    /// Bytes that the guest gets.
    pub in_bytes: Rate,
}

impl Limits {
    pub const FREE: Limits = Limits {
        out_bytes: Rate::FREE,
        out_frames: Rate::FREE,
        in_bytes: Rate::FREE,
    };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortSettings {
    pub network: NetworkId,
    /// The station that is plugged in.
    pub mac: Mac,
    pub abilities: Abilities,
    pub limits: Limits,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortCounters {
    pub sent_frames: u64,
    pub sent_bytes: u64,
    pub got_frames: u64,
    pub got_bytes: u64,
    /// What the gateway answered.
    pub answers: u64,
    /// What nothing had to be done with.
    pub quiet: u64,
    /// Frames that the guest sent, or was to get, by the reason for which they were dropped.
    pub drops: BTreeMap<&'static str, u64>,
}

#[derive(Debug)]
pub struct Port {
    pub network: NetworkId,
    pub mac: Mac,
    pub abilities: Abilities,
    pub counters: PortCounters,
    pub(super) out_bytes: Bucket,
    pub(super) out_frames: Bucket,
    pub(super) in_bytes: Bucket,
    pub(super) services: Bucket,
    pub(super) for_all: Bucket,
    pub(super) names: Bucket,
    /// When the gateway tells the guest again that it is there.
    pub(super) router_due_ms: u64,
}

impl Port {
    pub(super) fn new(now_ms: u64, settings: PortSettings) -> Port {
        Port {
            network: settings.network,
            mac: settings.mac,
            abilities: settings.abilities,
            counters: PortCounters::default(),
            out_bytes: Bucket::new(settings.limits.out_bytes),
            out_frames: Bucket::new(settings.limits.out_frames),
            in_bytes: Bucket::new(settings.limits.in_bytes),
            services: Bucket::new(SERVICES),
            for_all: Bucket::new(FOR_ALL),
            names: Bucket::new(NAMES),
            router_due_ms: now_ms,
        }
    }

    pub(super) fn count_drop(&mut self, reason: &'static str) {
        *self.counters.drops.entry(reason).or_default() += 1;
    }
}
