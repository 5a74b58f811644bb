//! What this node tells the cluster about its VMs, images and capacity.
//!
//! Does:      one publication for each change of a VM, a tombstone at its end; images when they
//!            change; capacity when it moved by a tenth of the whole, or after a minute.
//! Does not:  sign, number or spread: the overlay does.
//! Bounds:    one epoch per VM; publications by what one input can cause.
//! Trusts:    nobody: of two owners the one with the higher epoch is right.
//! Start at:  `Publisher`.

use crate::bodies::{ImagesBody, VmBody, encode_capacity};
use protocol::peer::RecordKind;
use protocol::{Capacity, Vm, VmId};
use std::collections::BTreeMap;

/// Longest time between two publications of a node's capacity.
const CAPACITY_MS: u64 = 60_000;

/// Least time between two: a burst of starts is told once.
const CAPACITY_PAUSE_MS: u64 = 200;

/// A fact for the overlay, of the realm of the node's own site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    pub kind: RecordKind,
    pub subject: [u8; 16],
    pub epoch: u64,
    /// The thing is gone, and stays gone.
    pub ended: bool,
    pub body: Vec<u8>,
}

/// What other nodes said about a VM, newer than what this node had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VmFact<'a> {
    pub vm: VmId,
    pub epoch: u64,
    /// This node wrote it, perhaps before it lost its memory.
    pub is_ours: bool,
    pub ended: bool,
    pub body: &'a [u8],
}

#[derive(Debug, Default)]
pub(crate) struct Publisher {
    on: bool,
    epochs: BTreeMap<VmId, u64>,
    images_changed: bool,
    told: Option<Capacity>,
    told_at_ms: u64,
}

/// The epoch of a VM that never had another owner.
const FIRST_EPOCH: u64 = 1;

impl Publisher {
    /// From now on the node has somebody to tell.
    pub fn turn_on(&mut self) {
        self.on = true;
        self.images_changed = true;
        self.told = None;
    }

    pub fn is_on(&self) -> bool {
        self.on
    }

    pub fn epoch(&self, vm: VmId) -> u64 {
        self.epochs.get(&vm).copied().unwrap_or(FIRST_EPOCH)
    }

    pub fn set_epoch(&mut self, vm: VmId, epoch: u64) {
        self.epochs.insert(vm, epoch);
    }

    pub fn vm(&self, vm: &Vm) -> Option<Publication> {
        self.on.then(|| Publication {
            kind: RecordKind::VM,
            subject: vm.id.bytes(),
            epoch: self.epoch(vm.id),
            ended: false,
            body: VmBody::from(vm).encode(),
        })
    }

    pub fn end(&mut self, vm: VmId) -> Option<Publication> {
        let epoch = self.epochs.remove(&vm).unwrap_or(FIRST_EPOCH);
        self.on.then(|| Publication {
            kind: RecordKind::VM,
            subject: vm.bytes(),
            epoch,
            ended: true,
            body: Vec::new(),
        })
    }

    pub fn images_changed(&mut self) {
        self.images_changed = true;
    }

    /// Whether the images changed since they were told; from now on they count as told.
    pub fn takes_images(&mut self) -> bool {
        self.on && std::mem::take(&mut self.images_changed)
    }

    pub fn images(node: [u8; 16], body: &ImagesBody) -> Publication {
        Publication {
            kind: RecordKind::IMAGES,
            subject: node,
            epoch: 0,
            ended: false,
            body: body.encode(),
        }
    }

    /// The capacity, if it is time to tell it.
    pub fn capacity(&mut self, node: [u8; 16], now_ms: u64, is: Capacity) -> Option<Publication> {
        let since = now_ms.saturating_sub(self.told_at_ms);
        let due = match &self.told {
            None => true,
            Some(told) => since >= CAPACITY_MS || (since >= CAPACITY_PAUSE_MS && moved(told, &is)),
        };
        if !self.on || !due {
            return None;
        }
        (self.told, self.told_at_ms) = (Some(is), now_ms);
        Some(Publication {
            kind: RecordKind::CAPACITY,
            subject: node,
            epoch: 0,
            ended: false,
            body: encode_capacity(&is),
        })
    }

    /// When the capacity has to be looked at again.
    pub fn next_timeout(&self, is: &Capacity) -> Option<u64> {
        let pause = match &self.told {
            _ if !self.on => return None,
            None => 0,
            Some(told) if moved(told, is) => CAPACITY_PAUSE_MS,
            Some(_) => CAPACITY_MS,
        };
        Some(self.told_at_ms + pause)
    }
}

/// Whether something changed by a tenth of the whole, or at all where it is counted.
fn moved(told: &Capacity, is: &Capacity) -> bool {
    let tenth = |a: u64, b: u64, whole: u64| a.abs_diff(b).saturating_mul(10) >= whole.max(1);
    told.cpus != is.cpus
        || told.kvm != is.kvm
        || told.memory != is.memory && tenth(told.memory.get(), is.memory.get(), is.memory.get())
        || tenth(told.reserved.get(), is.reserved.get(), is.memory.get())
        || tenth(told.vcpus.into(), is.vcpus.into(), is.cpus.into())
        || tenth(told.load_permille.into(), is.load_permille.into(), 1000)
}
