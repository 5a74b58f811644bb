//! The face of the core: commands, events and time in; answers and outputs out.
//!
//! Does:      routes each command to its table and keeps idempotency keys around it. What the
//!            cluster is told and tells stands in `told`.
//! Does not:  decide what a VM does next (`machine`), or do anything outside its tables.
//! Bounds:    those of `protocol::limits`.
//! Trusts:    the node for the order of events; nobody for commands.
//! Start at:  `Cloud::handle`.

use crate::{
    Counters, Disk, Event, MemoryUse, Output, Refusal,
    blobs::{Blobs, Piece},
    images::Images,
    machine::{Fate, Hands, Machine, Recipe},
    machines::{Machines, check_cmdline, listed},
    memory::Budget,
    publish::Publisher,
    retries::Retries,
};
use protocol::{
    Answer, ByteCount, Command, DiskUse, Hasher, Image, Moment, Name, NewVm, NodeId, Page,
    PageRequest, Request, Selector, StopRequest, Vm, VmId, VmSpec, VmState, limits,
};
use std::collections::VecDeque;

/// What the core has to know at its start.
#[derive(Debug, Clone)]
pub struct Config {
    pub node: NodeId,
    /// Random bytes: all ids come from them.
    pub seed: [u8; 32],
    /// What guests and images may use together.
    pub memory: ByteCount,
}

/// The services of one node.
#[derive(Debug)]
pub struct Cloud {
    pub(crate) config: Config,
    ids_made: u64,
    pub(crate) machines: Machines,
    pub(crate) images: Images,
    blobs: Blobs,
    pub(crate) budget: Budget,
    retries: Retries,
    pub(crate) publisher: Publisher,
    /// Processors, load in thousandths, and whether VMs can run.
    pub(crate) machine: (u32, u32, bool),
    pub(crate) counters: Counters,
    pub(crate) outputs: VecDeque<Output>,
}

/// Splits `$cloud` into the hands and the tables beside them.
macro_rules! hands {
    ($cloud:ident, $now:expr) => {
        $crate::machine::Hands {
            now: $now,
            outputs: &mut $cloud.outputs,
            budget: &mut $cloud.budget,
            counters: &mut $cloud.counters,
        }
    };
}
pub(crate) use hands;

impl Cloud {
    pub fn new(config: Config) -> Self {
        Self {
            budget: Budget::new(config.memory),
            config,
            ids_made: 0,
            machines: Machines::default(),
            images: Images::default(),
            blobs: Blobs::default(),
            retries: Retries::default(),
            publisher: Publisher::default(),
            machine: (0, 0, false),
            counters: Counters::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Does what is asked, or refuses and leaves everything as it was. Afterwards perform the
    /// outputs, and only then tell the answer: what it promises is true by then.
    pub fn handle(&mut self, now: Moment, request: Request) -> Result<Answer, Refusal> {
        let result = self.handle_once(now, request);
        self.tell(now);
        self.counters.refusals += u64::from(result.is_err());
        result
    }

    /// Something happened outside.
    pub fn handle_event(&mut self, now: Moment, event: Event) {
        let mut hands = hands!(self, now);
        match event {
            Event::Vm { vm, run, what } => match self.machines.with_id(vm) {
                Some(machine) => {
                    if machine.handle_event(run, what, &mut hands) == Fate::Gone {
                        self.machines.remove(vm);
                        self.publisher.images_changed();
                    }
                }
                None => self.counters.stale_events += 1,
            },
            Event::BlobFailed { digest } => self.blobs.failed(digest, &mut hands),
            Event::Capacity(capacity) => self.budget.set_capacity(capacity),
            Event::Machine {
                cpus,
                load_permille,
                kvm,
            } => self.machine = (cpus, load_permille, kvm),
        }
        self.tell(now);
    }

    /// Time passed. Early or repeated calls are harmless.
    pub fn handle_timeout(&mut self, now: Moment) {
        let mut hands = hands!(self, now);
        for machine in self.machines.all_mut() {
            machine.handle_timeout(&mut hands);
        }
        self.blobs.expire(&mut hands);
        self.retries.expire(now.uptime_ms);
        self.tell(now);
    }

    /// The next thing to do. Call until `None` after each of the above.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front()?;
        let publication = match &output {
            Output::VmChanged { vm, .. } => {
                let vm = self.machines.with_id(*vm);
                vm.and_then(|machine| self.publisher.vm(&machine.vm))
            }
            Output::ForgetVm { vm, .. } => self.publisher.end(*vm),
            _ => None,
        };
        if let Some(publication) = publication {
            self.outputs.push_front(Output::Publish(publication));
        }
        Some(output)
    }

    /// When `handle_timeout` is due (uptime). `None`: only an input can wake us.
    pub fn next_timeout(&self) -> Option<u64> {
        let machines = self.machines.all().filter_map(Machine::next_timeout).min();
        [
            machines,
            self.blobs.next_timeout(),
            self.retries.next_timeout(),
            self.publisher.next_timeout(&self.capacity()),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The VM that a selector points at, for its console.
    pub fn vm(&self, selector: &Selector) -> Result<&Vm, Refusal> {
        Ok(&self.machines.find(selector)?.vm)
    }

    /// All VMs.
    pub fn vms(&self) -> impl Iterator<Item = &Vm> {
        self.machines.all().map(|machine| &machine.vm)
    }

    pub fn image_count(&self) -> usize {
        self.images.len()
    }

    pub fn memory(&self) -> MemoryUse {
        self.budget.used()
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn handle_once(&mut self, now: Moment, request: Request) -> Result<Answer, Refusal> {
        self.retries.expire(now.uptime_ms);
        let Some((key, fingerprint)) = request.retry else {
            return self.perform(now, request.command);
        };
        if let Some(answer) = self.retries.find(&key, &fingerprint)? {
            self.counters.retries_answered += 1;
            return Ok(answer);
        }
        let answer = self.perform(now, request.command)?;
        let dropped = self
            .retries
            .keep(now.uptime_ms, key, fingerprint, answer.clone());
        self.counters.retry_keys_dropped += dropped;
        Ok(answer)
    }

    fn perform(&mut self, now: Moment, command: Command) -> Result<Answer, Refusal> {
        match command {
            Command::ListVms(page) => Ok(Answer::Vms(self.machines.page(&page))),
            Command::ShowVm(vm) => Ok(Answer::Vm(self.vm(&vm)?.clone())),
            Command::CreateVm(new) => self.create_vm(now, new).map(Answer::VmCreated),
            Command::StartVm(vm) => self.start_vm(now, &vm).map(Answer::VmAccepted),
            Command::StopVm(vm, how) => {
                check_stop(&how)?;
                self.with_vm(now, &vm, |machine, hands| machine.stop(how, hands))
                    .map(Answer::VmAccepted)
            }
            Command::ResetVm(vm) => self
                .with_vm(now, &vm, |machine, hands| machine.reset(hands))
                .map(Answer::VmAccepted),
            Command::DeleteVm(vm) => self.delete_vm(now, &vm).map(Answer::VmDeleted),
            Command::ListImages(page) => Ok(Answer::Images(self.image_page(&page))),
            Command::ShowImage(name) => {
                Ok(Answer::Image(self.image_shown(self.images.find(&name)?)))
            }
            Command::CreateImage(new) => {
                let hands = hands!(self, now);
                self.publisher.images_changed();
                self.images
                    .create(new, &mut self.blobs, &hands)
                    .map(Answer::ImageCreated)
            }
            Command::DeleteImage(name) => self.delete_image(now, &name).map(Answer::ImageDeleted),
            Command::ShowBlob(digest) => self.blobs.show(digest).map(Answer::Blob),
            Command::PutBlob {
                digest,
                size,
                offset,
                bytes,
            } => {
                let piece = Piece {
                    digest,
                    size,
                    offset,
                    bytes,
                };
                self.blobs
                    .put(piece, &mut hands!(self, now))
                    .map(Answer::Blob)
            }
        }
    }

    fn with_vm(
        &mut self,
        now: Moment,
        selector: &Selector,
        act: impl FnOnce(&mut Machine, &mut Hands<'_>) -> Result<(), Refusal>,
    ) -> Result<Vm, Refusal> {
        let machine = self.machines.find_mut(selector)?;
        act(machine, &mut hands!(self, now))?;
        Ok(machine.vm.clone())
    }

    fn create_vm(&mut self, now: Moment, new: NewVm) -> Result<Vm, Refusal> {
        self.machines.check_new(&new)?;
        let (name, spec) = new.spec();
        let (recipe, disk_bytes) = recipe(self.images.find(&spec.image)?, &spec)?;
        let id = self.new_id();
        let vm = Vm {
            id,
            name,
            node: self.config.node,
            spec,
            state: VmState::Creating,
            reason: None,
            created_at: now.wall,
            changed_at: now.wall,
            starts: 0,
            resets: 0,
            timeline: Vec::new(),
            label: None,
            place: None,
        };
        let machine = Machine::create(vm, recipe, disk_bytes, &mut hands!(self, now))?;
        let vm = machine.vm.clone();
        self.machines.insert(machine);
        self.counters.vms_created += 1;
        self.publisher.images_changed();
        Ok(vm)
    }

    /// A VM from before the node's last start looks for its image again.
    fn start_vm(&mut self, now: Moment, selector: &Selector) -> Result<Vm, Refusal> {
        let machine = self.machines.find_mut(selector)?;
        if machine.needs_recipe() {
            let spec = &machine.vm.spec;
            let image = self
                .images
                .find(&spec.image)
                .map_err(|_| Refusal::ImageGone {
                    vm: machine.vm.name.clone(),
                    image: spec.image.clone(),
                })?;
            let (recipe, disk_bytes) = recipe(image, spec)?;
            machine.start_anew(recipe, disk_bytes, &mut hands!(self, now))?;
        } else {
            machine.start(&mut hands!(self, now))?;
        }
        Ok(machine.vm.clone())
    }

    fn delete_vm(&mut self, now: Moment, selector: &Selector) -> Result<Vm, Refusal> {
        let machine = self.machines.find_mut(selector)?;
        let fate = machine.delete(&mut hands!(self, now));
        let mut vm = machine.vm.clone();
        if fate == Fate::Gone {
            vm.state = VmState::Deleting;
            self.machines.remove(vm.id);
            self.publisher.images_changed();
        }
        Ok(vm)
    }

    pub(crate) fn image_shown(&self, image: &Image) -> Image {
        let vms = self.machines.users_of(&image.name).count();
        Image {
            vms: u32::try_from(vms).unwrap_or(u32::MAX),
            ..image.clone()
        }
    }

    fn image_page(&self, request: &PageRequest) -> Page<Image> {
        let images = self
            .images
            .after(request)
            .map(|image| self.image_shown(image));
        Page::cut(images, request.limit, |image| image.name.to_string())
    }

    fn delete_image(&mut self, now: Moment, name: &Name) -> Result<Image, Refusal> {
        let image = self.image_shown(self.images.find(name)?);
        if image.vms > 0 {
            let users = listed(self.machines.users_of(name));
            return Err(Refusal::InUse {
                what: format!("Image `{name}`"),
                users,
            });
        }
        self.publisher.images_changed();
        self.images
            .remove(name, &mut self.blobs, &mut hands!(self, now));
        Ok(image)
    }

    /// The next id: the start of the hash of the seed and a count, so none comes twice.
    fn new_id(&mut self) -> VmId {
        self.ids_made += 1;
        let mut hasher = Hasher::new();
        hasher.update(&self.config.seed);
        hasher.update(&self.ids_made.to_le_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hasher.finish().bytes()[..16]);
        VmId::from_bytes(bytes)
    }

    /// Panics if the tables contradict each other. For tests and simulations.
    pub fn check(&self) {
        self.machines.check();
        self.blobs.check(|digest| self.images.users_of(digest));
        let held = self
            .machines
            .all()
            .map(Machine::reserved)
            .sum::<ByteCount>();
        let all = held.saturating_add(self.blobs.reserved());
        assert_eq!(all, self.memory().reserved, "memory does not add up");
    }
}

/// What a new VM boots from, and what its own disk costs.
fn recipe(image: &Image, new: &VmSpec) -> Result<(Recipe, ByteCount), Refusal> {
    let cmdline = match (image.cmdline.trim(), new.cmdline.trim()) {
        (ours, "") => ours.to_owned(),
        ("", theirs) => theirs.to_owned(),
        (ours, theirs) => format!("{ours} {theirs}"),
    };
    check_cmdline(&cmdline)?;
    let part = image.disk.filter(|_| new.disk != DiskUse::None);
    let private = new.disk == DiskUse::Private;
    if private && part.is_none() {
        return Err(Refusal::BadValue {
            what: "disk",
            why: format!("image `{}` has no disk to copy", image.name),
            advice: "Leave `disk` out, or add an image with a disk".to_owned(),
        });
    }
    let cost = part
        .filter(|_| private)
        .map_or(ByteCount::ZERO, |part| part.size);
    let disk = part.map(|part| Disk {
        blob: part.digest,
        private,
    });
    let initrd = image.initrd.map(|part| part.digest);
    Ok((
        Recipe {
            kernel: image.kernel.digest,
            initrd,
            disk,
            cmdline,
        },
        cost,
    ))
}

fn check_stop(how: &StopRequest) -> Result<(), Refusal> {
    let max = limits::FORCE_AFTER_MS_MAX;
    match how.force_after_ms {
        Some(ms) if ms > max => Err(Refusal::BadValue {
            what: "force_after_ms",
            why: format!("{ms} is too long"),
            advice: format!("Give at most {max}"),
        }),
        _ => Ok(()),
    }
}
