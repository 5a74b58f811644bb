//! What the node says about itself in the API.
//!
//! Does:      reads the constants once, and the readings at each request.
//! Does not:  cache readings: `GET /v1/node` is rare and tells the truth.
//! Bounds:    one entry per process of ours.
//! Trusts:    /proc, /sys and the image.
//! Start at:  `Node::describe`.

use super::Node;
use crate::init::image::Image;
use protocol::{BootStage, ByteCount, Digest, NodeId, NodeMemory, NodeState, ProcessUse};
use std::cell::Cell;
use std::collections::BTreeMap;

/// UUIDs that boards have in common because nobody filled them in.
pub(crate) const PLACEHOLDERS: [&str; 3] = [
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "03000200-0400-0500-0006-000700080009",
];

/// What does not change while the process lives, but for who it is.
#[derive(Debug)]
pub(crate) struct Facts {
    /// By the node's key, once that is known.
    pub id: Cell<NodeId>,
    pub version: String,
    pub kernel: String,
    pub cpus: u32,
}

impl Facts {
    pub fn read() -> Facts {
        Facts {
            id: Cell::new(node_id(&sys::dmi::Machine::read())),
            version: Image::read(crate::init::image::PATH).version,
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            cpus: sys::usage::processors(),
        }
    }
}

/// The same after each boot where the firmware has a UUID of its own; random otherwise. It is a
/// hint until nodes have keys.
fn node_id(machine: &sys::dmi::Machine) -> NodeId {
    let mut bytes = [0; 16];
    let uuid = machine.uuid.to_lowercase();
    let usable = !uuid.is_empty() && !PLACEHOLDERS.contains(&uuid.as_str());
    let random = rustix::rand::GetRandomFlags::empty();
    if usable || rustix::rand::getrandom(&mut bytes, random).is_err() {
        let text = format!("luc node {uuid} {} {}", machine.product, machine.serial);
        bytes.copy_from_slice(&Digest::of(text.as_bytes()).bytes()[..16]);
    }
    NodeId::from_bytes(bytes)
}

impl Node {
    /// The document of `GET /v1/node`.
    pub fn describe(&self) -> protocol::Node {
        let cloud = self.cloud.borrow();
        let standing = self.standing.borrow();
        let memory = sys::usage::memory().unwrap_or_default();
        let promised = cloud.memory();
        let moment = self.now();
        protocol::Node {
            id: self.facts.id.get(),
            name: standing.name().to_owned(),
            version: self.facts.version.clone(),
            kernel: self.facts.kernel.clone(),
            state: if self.going_down.get() {
                NodeState::GoingDown
            } else {
                standing.state()
            },
            reason: standing
                .waits_for()
                .map(|text| format!("waits for {text}"))
                .or_else(|| {
                    self.parent
                        .last_end()
                        .map(|end| format!("running again after: {end}"))
                }),
            addresses: standing.addresses(),
            now: moment.wall,
            uptime_ms: moment.uptime_ms,
            timeline: self.timeline(),
            cpus: self.facts.cpus,
            memory: NodeMemory {
                total: ByteCount::bytes(memory.total_bytes),
                available: ByteCount::bytes(memory.available_bytes),
                for_guests: promised.capacity,
                reserved: promised.reserved,
            },
            kvm: self.kvm.status(),
            vms: u32::try_from(cloud.vms().count()).unwrap_or(u32::MAX),
            images: u32::try_from(cloud.image_count()).unwrap_or(u32::MAX),
            processes: self.processes(),
            counters: self.all_counters(&cloud),
        }
    }

    fn timeline(&self) -> Vec<BootStage> {
        let marks = self.parent.timeline().into_iter();
        marks
            .map(|mark| BootStage {
                stage: mark.stage,
                at_ms: mark.at_ms,
            })
            .collect()
    }

    fn processes(&self) -> Vec<ProcessUse> {
        let own = std::process::id();
        let mut processes = vec![("init".to_owned(), 1), ("node".to_owned(), own)];
        processes.extend(
            self.monitors
                .processes()
                .map(|(name, pid)| (format!("vmm {name}"), pid)),
        );
        let used = processes.into_iter().filter_map(|(name, pid)| {
            // It may have ended a moment ago.
            let usage = sys::usage::process(&pid.to_string()).ok()?;
            let (resident, open_files) =
                (ByteCount::bytes(usage.resident_bytes), usage.descriptors);
            Some(ProcessUse {
                name,
                pid,
                resident,
                open_files,
            })
        });
        used.collect()
    }

    fn all_counters(&self, cloud: &cloud::Cloud) -> BTreeMap<String, u64> {
        let executor = self.executor.counters();
        let own = &self.counters;
        let ours = [
            ("requests", own.requests.get()),
            ("problems", own.problems.get()),
            ("connections", own.connections.get()),
            ("connections_refused", own.connections_refused.get()),
            ("console_sessions", own.sessions.get()),
            ("console_sessions_too_slow", own.sessions_too_slow.get()),
            ("addresses_lost", own.addresses_lost.get()),
            ("requests_forwarded", own.forwarded.get()),
            ("peer_streams", own.peers_served.get()),
            ("facts_refused", own.facts_refused.get()),
            ("wake_ups", executor.wake_ups),
            ("polls", executor.polls),
            ("spawns_refused", executor.spawns_refused),
            ("tasks", executor.tasks as u64),
            ("node_restarts", u64::from(self.parent.restarts())),
        ];
        let peers = self.transport.as_ref().map(|peers| peers.counters());
        let peers = peers.into_iter().flatten();
        let all = ours.into_iter().chain(cloud.counters().list()).chain(peers);
        all.map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_uuid_gives_the_same_id_and_a_placeholder_never_does() {
        let machine = |uuid: &str| sys::dmi::Machine {
            uuid: uuid.into(),
            ..Default::default()
        };
        let real = machine("4C4C4544-0033-4A10-8051-B4C04F4E4E32");
        assert_eq!(node_id(&real), node_id(&real));
        for uuid in PLACEHOLDERS.iter().copied().chain([""]) {
            assert_ne!(node_id(&machine(uuid)), node_id(&machine(uuid)), "{uuid}");
        }
    }
}
