//! What the cluster is told of this node's VMs, and what it tells.
//!
//! Does:      turns on publishing; takes in records of VMs that others brought back or wrote:
//!            restores what ran here before the power went, deletes what was asked to be deleted
//!            while this node was away, and gives up what another node owns by now.
//! Does not:  verify or version records: the overlay hands in only newer ones by who may write.
//! Bounds:    `VMS_MAX` restored VMs; more are refused and counted.
//! Trusts:    epochs: the higher one owns the VM.
//! Start at:  `Cloud::learn`.

use crate::{
    Cloud, Output, Publication, VmFact,
    bodies::{ImagesBody, VmBody},
    cloud::hands,
    machine::{Fate, Machine},
    publish::Publisher,
};
use protocol::peer::RecordKind;
use protocol::{Capacity, DiskUse, Moment, NodeId, Vm, VmId, VmState, limits};

impl Cloud {
    pub fn node(&self) -> NodeId {
        self.config.node
    }

    /// The node has another name from now on, and what it runs stays its own. Nobody was told of
    /// anything under the old one.
    pub fn rename(&mut self, node: NodeId) {
        let old = std::mem::replace(&mut self.config.node, node);
        for machine in self.machines.all_mut() {
            if machine.vm.node == old {
                machine.vm.node = node;
            }
        }
    }

    /// From now on the node has somebody to tell, perhaps others than before: everything is told
    /// once, then each change.
    pub fn start_publishing(&mut self, now: Moment) {
        self.publisher.turn_on();
        for machine in self.machines.all() {
            let publication = self.publisher.vm(&machine.vm);
            self.outputs.extend(publication.map(Output::Publish));
        }
        self.tell(now);
    }

    /// The epoch under which this node speaks of a VM.
    pub fn epoch(&self, vm: VmId) -> u64 {
        self.publisher.epoch(vm)
    }

    /// What the node has and uses.
    pub fn capacity(&self) -> Capacity {
        let (cpus, load_permille, kvm) = self.machine;
        let memory = self.memory();
        let running = self.vms().filter(|vm| !at_rest(vm.state));
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Capacity {
            cpus,
            vcpus: running.map(|vm| u32::from(vm.spec.vcpus)).sum(),
            memory: memory.capacity,
            reserved: memory.reserved,
            load_permille,
            vms: count(self.machines.len()),
            images: count(self.images.len()),
            kvm,
        }
    }

    /// The images of this node, as their record says it.
    pub fn images_body(&self) -> ImagesBody {
        let images: Vec<_> = self
            .images
            .all()
            .map(|image| self.image_shown(image))
            .collect();
        ImagesBody::new(images.iter())
    }

    /// Tells what is due.
    pub(crate) fn tell(&mut self, now: Moment) {
        if !self.publisher.is_on() {
            return;
        }
        let node = self.config.node.bytes();
        if self.publisher.takes_images() {
            let images = Publisher::images(node, &self.images_body());
            self.outputs.push_back(Output::Publish(images));
        }
        let capacity = self.capacity();
        let capacity = self.publisher.capacity(node, now.uptime_ms, capacity);
        self.outputs.extend(capacity.map(Output::Publish));
    }

    /// Takes in a record of a VM, from the node's own disk or from others.
    pub fn learn(&mut self, now: Moment, fact: VmFact<'_>) {
        let body = match fact.ended {
            true => None,
            false => match VmBody::decode(fact.body) {
                Ok(body) => Some(body),
                Err(_) => {
                    self.counters.bad_records += 1;
                    return;
                }
            },
        };
        if self.machines.with_id(fact.vm).is_some() {
            self.learn_of_ours(now, fact, body);
        } else if let Some(body) = body
            && body.host == self.config.node
        {
            self.learn_of_before(fact, body);
        }
        self.tell(now);
    }

    /// A newer owner, or a wish under a higher epoch, about a VM that is here.
    fn learn_of_ours(&mut self, now: Moment, fact: VmFact<'_>, body: Option<VmBody>) {
        let epoch = self.publisher.epoch(fact.vm);
        if fact.is_ours && fact.epoch == epoch && self.is_stale(fact, body.as_ref()) {
            // What we said before we lost our memory came back, and counts as newer.
            return self.tell_again(fact.vm);
        }
        if fact.epoch <= epoch {
            return; // our own word, or an older one
        }
        let me = self.config.node;
        match body {
            // Deleted stays deleted: what follows from us is said under a higher epoch.
            None => self.publisher.set_epoch(fact.vm, fact.epoch + 1),
            Some(body) if body.host == me => {
                self.publisher.set_epoch(fact.vm, fact.epoch + 1);
                if body.state != VmState::Deleting {
                    return self.tell_again(fact.vm);
                }
            }
            // Fenced: whatever we still say about it has the lower epoch, and nobody takes it.
            Some(_) => self.counters.vms_fenced += 1,
        }
        let mut hands = hands!(self, now);
        let fate = self
            .machines
            .with_id(fact.vm)
            .map(|machine| machine.delete(&mut hands));
        if fate == Some(Fate::Gone) {
            self.machines.remove(fact.vm);
            self.publisher.images_changed();
        }
    }

    /// Whether a word of ours is not what is true here.
    fn is_stale(&mut self, fact: VmFact<'_>, body: Option<&VmBody>) -> bool {
        let machine = self.machines.with_id(fact.vm);
        machine.is_some_and(|machine| body != Some(&VmBody::from(&machine.vm)))
    }

    fn tell_again(&mut self, vm: VmId) {
        let machine = self.machines.with_id(vm);
        let publication = machine.and_then(|machine| self.publisher.vm(&machine.vm));
        self.outputs.extend(publication.map(Output::Publish));
    }

    /// A VM that this node had before it lost its memory.
    fn learn_of_before(&mut self, fact: VmFact<'_>, body: VmBody) {
        if body.state == VmState::Deleting {
            self.outputs.push_back(Output::Publish(Publication {
                kind: RecordKind::VM,
                subject: fact.vm.bytes(),
                epoch: fact.epoch + 1,
                ended: true,
                body: Vec::new(),
            }));
            return;
        }
        if self.machines.len() >= limits::VMS_MAX {
            self.counters.restores_refused += 1;
            return;
        }
        let (state, reason) = after_power_cut(&body);
        let vm = Vm {
            state,
            reason: reason.clone(),
            ..body.into_vm(fact.vm)
        };
        self.publisher.set_epoch(vm.id, fact.epoch);
        self.outputs.push_back(Output::VmChanged {
            vm: vm.id,
            name: vm.name.clone(),
            state,
            reason,
        });
        self.counters.vms_restored += 1;
        self.machines.insert(Machine::restored(vm));
        self.publisher.images_changed();
    }

    /// The wish that an unreachable host delete its VM, or the end of one whose host is gone for
    /// good. `lost`: nobody will come back to do it.
    pub fn wish_to_delete(vm: &Vm, epoch: u64, lost: bool) -> Publication {
        let host = vm
            .place
            .as_ref()
            .map_or_else(|| vm.node.short(), |place| place.name.clone());
        let asked = VmBody {
            state: VmState::Deleting,
            reason: Some(format!(
                "its host {host} does not answer; it deletes the VM on its return"
            )),
            ..VmBody::from(vm)
        };
        Publication {
            kind: RecordKind::VM,
            subject: vm.id.bytes(),
            epoch: epoch + 1,
            ended: lost,
            body: if lost { Vec::new() } else { asked.encode() },
        }
    }
}

fn at_rest(state: VmState) -> bool {
    matches!(state, VmState::Stopped | VmState::Failed | VmState::Lost)
}

/// What became of a VM whose node lost its memory, and why.
fn after_power_cut(body: &VmBody) -> (VmState, Option<String>) {
    let private = body.spec.disk == DiskUse::Private;
    let lost = |what: &str| Some(format!("the node lost power; the VM's {what} lost"));
    match body.state {
        state @ (VmState::Stopped | VmState::Failed) if !private => (state, body.reason.clone()),
        VmState::Stopped | VmState::Failed => (VmState::Stopped, lost("private disk was")),
        _ if private => (VmState::Stopped, lost("memory and private disk were")),
        _ => (VmState::Stopped, lost("memory was")),
    }
}
