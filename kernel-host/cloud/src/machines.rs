//! The table of VMs.
//!
//! Does:      finds VMs by name, id or start of an id; checks new ones; lists by name.
//! Does not:  know how a VM lives: `machine` does.
//! Bounds:    `VMS_MAX`.
//! Trusts:    names and sizes that `protocol` parsed.
//! Start at:  `Machines::find`.

use crate::{Refusal, machine::Machine};
use protocol::{Name, NewVm, Page, PageRequest, Selector, Vm, VmId, limits, nearest};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

#[derive(Debug, Default)]
pub(crate) struct Machines {
    by_id: BTreeMap<VmId, Machine>,
    /// Names repeat only after a power cut: a VM that comes back may find its name taken.
    by_name: BTreeSet<(Name, VmId)>,
}

impl Machines {
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn all(&self) -> impl Iterator<Item = &Machine> {
        self.by_id.values()
    }

    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut Machine> {
        self.by_id.values_mut()
    }

    pub fn with_id(&mut self, id: VmId) -> Option<&mut Machine> {
        self.by_id.get_mut(&id)
    }

    /// The one VM a selector points at: an exact name wins, then a start of an id.
    pub fn find(&self, selector: &Selector) -> Result<&Machine, Refusal> {
        let id = self.find_id(selector)?;
        self.by_id.get(&id).ok_or_else(|| self.not_found(selector))
    }

    pub fn find_mut(&mut self, selector: &Selector) -> Result<&mut Machine, Refusal> {
        let id = self.find_id(selector)?;
        let missing = self.not_found(selector);
        self.by_id.get_mut(&id).ok_or(missing)
    }

    fn find_id(&self, selector: &Selector) -> Result<VmId, Refusal> {
        let mut fitting: Vec<VmId> = self.named(selector.name()).collect();
        if let (true, Some(start)) = (fitting.is_empty(), selector.id_start(VmId::PREFIX)) {
            let ids = self.by_id.keys().copied();
            fitting = ids.filter(|id| id.to_string().starts_with(start)).collect();
        }
        match fitting.as_slice() {
            [] => Err(self.not_found(selector)),
            [one] => Ok(*one),
            several => Err(Refusal::Ambiguous {
                what: selector.to_string(),
                kind: "VMs",
                count: several.len(),
                fitting: listed(
                    several
                        .iter()
                        .filter_map(|id| Some(&self.by_id.get(id)?.vm.name)),
                ),
            }),
        }
    }

    fn named<'a>(&'a self, name: &Name) -> impl Iterator<Item = VmId> + use<'a> {
        let first = (name.clone(), VmId::from_bytes([0; 16]));
        let last = (name.clone(), VmId::from_bytes([255; 16]));
        self.by_name.range(first..=last).map(|(_, id)| *id)
    }

    fn not_found(&self, selector: &Selector) -> Refusal {
        let names = self.by_name.iter().map(|(name, _)| name.as_str());
        let nearest = nearest(selector.as_str(), names).map(str::to_owned);
        Refusal::NotFound {
            kind: "VM",
            what: selector.to_string(),
            nearest,
        }
    }

    /// Everything about a new VM that does not need memory.
    pub fn check_new(&self, new: &NewVm) -> Result<(), Refusal> {
        check_size(new)?;
        if self.named(&new.name).next().is_some() {
            return Err(Refusal::NameTaken {
                kind: "VM",
                name: new.name.clone(),
            });
        }
        if self.len() >= limits::VMS_MAX {
            return Err(Refusal::LimitReached {
                kind: "VMs",
                max: limits::VMS_MAX,
            });
        }
        Ok(())
    }

    pub fn insert(&mut self, machine: Machine) {
        self.by_name
            .insert((machine.vm.name.clone(), machine.vm.id));
        self.by_id.insert(machine.vm.id, machine);
    }

    pub fn remove(&mut self, id: VmId) -> Option<Machine> {
        let machine = self.by_id.remove(&id)?;
        self.by_name.remove(&(machine.vm.name.clone(), id));
        Some(machine)
    }

    pub fn page(&self, request: &PageRequest) -> Page<Vm> {
        let after = request.after.as_ref().map_or(Bound::Unbounded, |after| {
            Bound::Excluded((after.clone(), VmId::from_bytes([255; 16])))
        });
        let vms = self
            .by_name
            .range((after, Bound::Unbounded))
            .filter_map(|(_, id)| self.by_id.get(id))
            .map(|machine| machine.vm.clone());
        Page::cut(vms, request.limit, |vm| vm.name.to_string())
    }

    /// Names of the VMs made from an image.
    pub fn users_of<'a>(&'a self, image: &'a Name) -> impl Iterator<Item = &'a Name> {
        self.all()
            .map(|machine| &machine.vm)
            .filter(|vm| vm.spec.image == *image)
            .map(|vm| &vm.name)
    }

    /// Panics if the two tables differ or a VM contradicts itself.
    pub fn check(&self) {
        assert_eq!(self.by_id.len(), self.by_name.len());
        assert!(self.len() <= limits::VMS_MAX);
        for (name, id) in &self.by_name {
            assert_eq!(
                self.by_id.get(id).map(|machine| &machine.vm.name),
                Some(name)
            );
        }
        self.all().for_each(Machine::check);
    }
}

/// A few names, and how many more.
pub(crate) fn listed<'a>(names: impl Iterator<Item = &'a Name>) -> String {
    const SHOWN_MAX: usize = 5;
    let names: Vec<&str> = names.map(Name::as_str).collect();
    let more = names.len().saturating_sub(SHOWN_MAX);
    let shown = names
        .iter()
        .take(SHOWN_MAX)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    if more == 0 {
        shown
    } else {
        format!("{shown} and {more} more")
    }
}

fn check_size(new: &NewVm) -> Result<(), Refusal> {
    let bad = |what, why: String, advice: String| Err(Refusal::BadValue { what, why, advice });
    if !(1..=limits::VCPUS_MAX).contains(&new.vcpus) {
        let advice = format!("Give it 1 to {} vCPUs", limits::VCPUS_MAX);
        return bad("vcpus", format!("{} is not possible", new.vcpus), advice);
    }
    let mib = protocol::ByteCount::mib(1).get();
    let (least, most) = (limits::VM_MEMORY_MIN, limits::VM_MEMORY_MAX);
    if new.memory < least || new.memory > most {
        let advice = format!("Give it {least} to {most}");
        return bad("memory", format!("{} is not possible", new.memory), advice);
    }
    if !new.memory.get().is_multiple_of(mib) {
        let why = format!("{} is not a whole number of MiB", new.memory);
        return bad(
            "memory",
            why,
            "Give it a whole number of MiB, for example 128MiB".to_owned(),
        );
    }
    Ok(())
}

/// Kernel arguments are one line of printable ASCII, and short enough for the kernel.
pub(crate) fn check_cmdline(cmdline: &str) -> Result<(), Refusal> {
    let why = if let Some(c) = cmdline.chars().find(|c| !matches!(c, ' '..='~')) {
        format!("{c:?} can't stand in kernel arguments")
    } else if cmdline.len() > limits::CMDLINE_CHARS_MAX {
        format!("{} characters are too many", cmdline.len())
    } else {
        return Ok(());
    };
    let max = limits::CMDLINE_CHARS_MAX;
    let advice = format!(
        "Use at most {max} printable ASCII characters, those of the image and of the VM together"
    );
    Err(Refusal::BadValue {
        what: "cmdline",
        why,
        advice,
    })
}
