//! The PCI bus: which function is in which slot, and how its interrupts and doorbells reach KVM.
//!
//! Does:      configuration and BAR accesses of vCPUs, doorbells as ioeventfds, MSI-X messages.
//! Does not:  bridges, hot-plug, INTx.
//! Bounds:    `SLOTS_MAX` functions on bus 0, each with BAR 0 only.
//! Trusts:    the guest for nothing; a message is an interrupt whatever address it names.
//! Start at:  `Slots::mmio_write`, `Slots::serve`.
//!
//! A message is sent with KVM_SIGNAL_MSI from whichever thread has one: one system call, as an
//! irqfd would need, but no routing table to keep in step with the guest's MSI-X table.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kvm_bindings::kvm_msi;
use kvm_ioctls::{IoEventAddress, NoDatamatch, VmFd};
use virtio::pci::{BAR_BYTES, ConfigAddress, ConfigSpace, Effects, Face, Service, notify_offset};
use virtio::{Memory, Turn};
use vmm_sys_util::eventfd::EventFd;

use crate::control::{DISKS_MAX, NICS_MAX};
use crate::layout::PCI_WINDOW;

/// Host bridge, console, entropy, disks, network cards.
pub(crate) const SLOTS_MAX: usize = 3 + DISKS_MAX + NICS_MAX;
/// Functions before the first disk.
pub(crate) const CONSOLE_SLOT: usize = 0;

/// One function with its doorbells.
pub(crate) struct Slot {
    face: Arc<Mutex<dyn Face>>,
    doorbells: Vec<EventFd>,
    /// Where the doorbells are registered with KVM now.
    registered: Mutex<Option<u64>>,
}

/// All of bus 0.
pub(crate) struct Slots {
    bridge: Mutex<ConfigSpace>,
    slots: Vec<Slot>,
    vm: Arc<VmFd>,
    memory: Memory,
    served: AtomicU64,
    refused: AtomicU64,
    interrupts_lost: AtomicU64,
}

/// Where BAR 0 of the function in `slot` is at power-on.
pub(crate) fn window(slot: usize) -> u32 {
    let base = PCI_WINDOW + slot as u64 * u64::from(BAR_BYTES);
    u32::try_from(base).expect("the PCI window lies below 4 GiB")
}

impl Slots {
    pub(crate) fn new(
        vm: Arc<VmFd>,
        memory: Memory,
        faces: Vec<Arc<Mutex<dyn Face>>>,
    ) -> std::io::Result<Slots> {
        assert!(faces.len() < SLOTS_MAX, "Start was checked");
        let mut slots = Vec::new();
        for face in faces {
            let queues = lock(&face).queues();
            let doorbells = (0..queues)
                .map(|_| EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC))
                .collect::<Result<_, _>>()?;
            slots.push(Slot {
                face,
                doorbells,
                registered: Mutex::new(None),
            });
        }
        Ok(Slots {
            bridge: Mutex::new(ConfigSpace::host_bridge()),
            slots,
            vm,
            memory,
            served: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            interrupts_lost: AtomicU64::new(0),
        })
    }

    /// Every doorbell with its slot and queue.
    pub(crate) fn doorbells(&self) -> impl Iterator<Item = (usize, u16, &EventFd)> {
        self.slots.iter().enumerate().flat_map(|(slot, function)| {
            (0u16..)
                .zip(&function.doorbells)
                .map(move |(queue, fd)| (slot, queue, fd))
        })
    }

    /// Requests served by devices, and chains refused.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (
            self.served.load(Ordering::Relaxed),
            self.refused.load(Ordering::Relaxed),
        )
    }

    fn function(&self, address: ConfigAddress) -> Option<&Slot> {
        if address.bus != 0 || address.function != 0 {
            return None;
        }
        usize::from(address.device)
            .checked_sub(1)
            .and_then(|slot| self.slots.get(slot))
    }

    fn is_bridge(address: ConfigAddress) -> bool {
        (address.bus, address.device, address.function) == (0, 0, 0)
    }

    /// A read from configuration space; nothing there reads as all ones.
    pub(crate) fn config_read(&self, address: ConfigAddress, data: &mut [u8]) {
        if Self::is_bridge(address) {
            lock(&self.bridge).read(address.register, data);
        } else if let Some(slot) = self.function(address) {
            lock(&slot.face).read_config(address.register, data);
        } else {
            data.fill(0xff);
        }
    }

    /// A write to configuration space.
    pub(crate) fn config_write(&self, address: ConfigAddress, data: &[u8]) {
        if Self::is_bridge(address) {
            lock(&self.bridge).write(address.register, data);
        } else if let Some(slot) = self.function(address) {
            let mut face = lock(&slot.face);
            let effects = face.write_config(address.register, data, &self.memory);
            self.carry_out(slot, &mut *face, effects);
        }
    }

    /// The function whose BAR 0 holds `address`, with the offset into it.
    fn claim(&self, address: u64) -> Option<(&Slot, MutexGuard<'_, dyn Face + 'static>, u64)> {
        self.slots.iter().find_map(|slot| {
            let face = lock(&slot.face);
            let offset = face.window().and_then(|base| address.checked_sub(base))?;
            (offset < u64::from(BAR_BYTES)).then_some((slot, face, offset))
        })
    }

    /// A read from a BAR. False: nobody is there.
    pub(crate) fn mmio_read(&self, address: u64, data: &mut [u8]) -> bool {
        match self.claim(address) {
            Some((_, mut face, offset)) => face.read_bar(offset, data),
            None => return false,
        }
        true
    }

    /// A write to a BAR. False: nobody is there.
    pub(crate) fn mmio_write(&self, address: u64, data: &[u8]) -> bool {
        let Some((slot, mut face, offset)) = self.claim(address) else {
            return false;
        };
        let effects = face.write_bar(offset, data, &self.memory);
        self.carry_out(slot, &mut *face, effects);
        true
    }

    fn carry_out(&self, slot: &Slot, face: &mut (dyn Face + 'static), effects: Effects) {
        if let Some(doorbell) = effects
            .kick
            .and_then(|queue| slot.doorbells.get(usize::from(queue)))
        {
            let _ = doorbell.write(1); // a full counter means that it rings already
        }
        if effects.window || effects.life {
            self.place_doorbells(slot, face);
        }
        for vector in 0..face.queues() + 1 {
            if effects.signal & 1 << vector != 0 {
                self.signal(face, vector);
            }
        }
    }

    /// Registers the doorbells where the guest rings them, once its driver runs. Until then,
    /// and if KVM refuses, a ring arrives as an ordinary write and works all the same.
    fn place_doorbells(&self, slot: &Slot, face: &dyn Face) {
        let wanted = face.window().filter(|_| face.alive());
        let mut registered = lock(&slot.registered);
        if *registered == wanted {
            return;
        }
        for (queue, fd) in (0u16..).zip(&slot.doorbells) {
            if let Some(base) = *registered {
                let at = IoEventAddress::Mmio(base + notify_offset(queue));
                let _ = self.vm.unregister_ioevent(fd, &at, NoDatamatch);
            }
            if let Some(base) = wanted {
                let at = IoEventAddress::Mmio(base + notify_offset(queue));
                let _ = self.vm.register_ioevent(fd, &at, NoDatamatch);
            }
        }
        *registered = wanted;
    }

    fn signal(&self, face: &dyn Face, vector: u16) {
        let Some(message) = face.message(vector) else {
            return;
        };
        let [a0, a1, a2, a3, a4, a5, a6, a7] = message.address.to_le_bytes();
        let sent = self.vm.signal_msi(kvm_msi {
            address_lo: u32::from_le_bytes([a0, a1, a2, a3]),
            address_hi: u32::from_le_bytes([a4, a5, a6, a7]),
            data: message.data,
            ..Default::default()
        });
        if sent.is_err() {
            self.interrupts_lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One turn on a queue. The caller repeats it when the turn says so.
    pub(crate) fn serve(&self, slot: usize, queue: u16) -> Turn {
        let Some(slot) = self.slots.get(slot) else {
            return Turn::default();
        };
        let mut face = lock(&slot.face);
        let service = face.serve(queue, &self.memory);
        self.finish(&*face, service)
    }

    /// Completes what a device's service came to: interrupt and counters.
    pub(crate) fn finish(&self, face: &dyn Face, service: Service) -> Turn {
        if let Some(vector) = service.signal {
            self.signal(face, vector);
        }
        self.served
            .fetch_add(u64::from(service.turn.served), Ordering::Relaxed);
        self.refused
            .fetch_add(u64::from(service.turn.refused), Ordering::Relaxed);
        service.turn
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
