//! Leases of hosts: I1, as far as nodes alone can break it.
//!
//! Does:      a lease is taken from a host only when that host must know it; an epoch is held by
//!            one run of one machine.
//! Does not:  judge what runs under a lease: no VM moves yet.
//! Bounds:    one entry for each epoch that was ever held.
//! Trusts:    the world for who runs and what its clock shows.
//! Start at:  `Leases::taken`.

use super::Found;
use crate::machine::Machine;
use crate::world::{World, at};
use protocol::NodeId;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub struct Leases {
    /// Which boot of which host held an epoch.
    holders: BTreeMap<(NodeId, u64), (u32, u32)>,
}

impl Leases {
    pub fn held<M: Machine>(&mut self, world: &World<M>, host: u32, epoch: u64, found: &mut Found) {
        let place = &world.hosts[at(host)];
        let run = (host, place.boot);
        let before = *self.holders.entry((place.id, epoch)).or_insert(run);
        if before != run {
            let (other, boot) = before;
            let what = format!(
                "epoch {epoch} of {} is held by host {host}, and was by {other} in boot {boot}",
                place.id.short()
            );
            found.add("I1", world.now_ms(), what);
            self.holders.insert((place.id, epoch), run);
        }
    }

    /// A guardian has ended the lease of a host that it thinks is gone: no earlier epoch may be
    /// held any more. A later one may, by a host that heard of it before the guardian did.
    pub fn taken<M: Machine>(
        &self,
        world: &World<M>,
        (of, epoch): (NodeId, u64),
        by: u32,
        found: &mut Found,
    ) {
        let held = world
            .hosts
            .iter()
            .filter(|host| host.id == of)
            .find(|host| {
                let now = host.clock.moment(world.now_us);
                let machine = host.machine.as_ref();
                let held = machine.and_then(|machine| machine.lease(now));
                held.is_some_and(|held| held < epoch)
            });
        if let Some(host) = held {
            let host = host.place.host;
            let what = format!("host {by} took the lease of host {host}, which still holds it");
            found.add("I1", world.now_ms(), what);
        }
    }
}
