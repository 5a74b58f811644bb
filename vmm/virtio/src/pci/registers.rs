//! The common configuration structure of virtio-pci: features, status, queues.
//!
//! Does:      holds the one state machine that decides what the guest may write when.
//! Does not:  run queues; it says when the device came alive and when it was reset.
//! Bounds:    the queues of the device; `queue_select` may name any and selects none then.
//! Trusts:    the guest for nothing. Rings are checked against memory before they are used.
//! Start at:  `Registers::write`, status in `Registers::write_status`.

use virtio_queue::{Queue, QueueT};

use crate::device::Memory;
use crate::ring::Ring;

const ACKNOWLEDGE_AND_DRIVER: u8 = 1 | 2;
const DRIVER_OK: u8 = 4;
const FEATURES_OK: u8 = 8;
const NEEDS_RESET: u8 = 64;
const FAILED: u8 = 128;

const FEATURE_INDIRECT: u64 = 1 << 28;
const FEATURE_EVENT_INDEX: u64 = 1 << 29;
const FEATURE_VERSION_1: u64 = 1 << 32;

/// "No vector", in both vector registers.
pub(super) const NO_VECTOR: u16 = 0xffff;

/// What the guest told about one queue.
#[derive(Clone, Copy, Debug)]
struct QueueSetup {
    size_max: u16,
    size: u16,
    vector: u16,
    enabled: bool,
    descriptors: u64,
    driver: u64,
    device: u64,
}

impl QueueSetup {
    fn new(size_max: u16) -> QueueSetup {
        QueueSetup {
            size_max,
            size: size_max,
            vector: NO_VECTOR,
            enabled: false,
            descriptors: 0,
            driver: 0,
            device: 0,
        }
    }

    fn allows(&self, size: u16) -> bool {
        size.is_power_of_two() && size <= self.size_max
    }

    /// A ring whose three parts lie aligned in memory.
    fn build(&self, memory: &Memory, event_index: bool) -> Option<Ring> {
        let mut queue = Queue::new(self.size_max).ok()?;
        queue.try_set_size(self.size).ok()?;
        queue
            .try_set_desc_table_address(vm_memory::GuestAddress(self.descriptors))
            .ok()?;
        queue
            .try_set_avail_ring_address(vm_memory::GuestAddress(self.driver))
            .ok()?;
        queue
            .try_set_used_ring_address(vm_memory::GuestAddress(self.device))
            .ok()?;
        queue.set_event_idx(event_index);
        queue.set_ready(true);
        queue.is_valid(memory).then(|| Ring::new(queue))
    }
}

/// What a write to the common structure came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// DRIVER_OK: build the rings.
    Alive,
    Reset,
}

/// The registers.
#[derive(Debug)]
pub(super) struct Registers {
    offered: u64,
    accepted: u64,
    offered_select: u32,
    accepted_select: u32,
    config_vector: u16,
    status: u8,
    queue_select: u16,
    queues: Vec<QueueSetup>,
}

impl Registers {
    pub(super) fn new(features: u64, queue_sizes: &[u16]) -> Registers {
        Registers {
            offered: features | FEATURE_INDIRECT | FEATURE_EVENT_INDEX | FEATURE_VERSION_1,
            accepted: 0,
            offered_select: 0,
            accepted_select: 0,
            config_vector: NO_VECTOR,
            status: 0,
            queue_select: 0,
            queues: queue_sizes
                .iter()
                .map(|size| QueueSetup::new(*size))
                .collect(),
        }
    }

    pub(super) fn reset(&mut self) {
        let sizes: Vec<u16> = self.queues.iter().map(|queue| queue.size_max).collect();
        *self = Registers {
            offered: self.offered,
            ..Registers::new(0, &sizes)
        };
    }

    pub(super) fn alive(&self) -> bool {
        self.status & (DRIVER_OK | NEEDS_RESET | FAILED) == DRIVER_OK
    }

    /// What the driver accepted of what was offered.
    pub(super) fn accepted(&self) -> u64 {
        self.accepted & self.offered
    }

    pub(super) fn config_vector(&self) -> u16 {
        self.config_vector
    }

    pub(super) fn queue_vector(&self, queue: u16) -> u16 {
        self.queues
            .get(usize::from(queue))
            .map_or(NO_VECTOR, |queue| queue.vector)
    }

    fn queue_count(&self) -> u16 {
        u16::try_from(self.queues.len()).expect("a device type has few queues")
    }

    /// The device can't go on before the guest resets it.
    pub(super) fn need_reset(&mut self) {
        self.status |= NEEDS_RESET;
    }

    /// The rings of the enabled queues; `None` if one of them is unusable.
    pub(super) fn build_rings(&self, memory: &Memory) -> Option<Vec<Option<Ring>>> {
        let event_index = self.accepted & FEATURE_EVENT_INDEX != 0;
        self.queues
            .iter()
            .map(|queue| match queue.enabled {
                true => queue.build(memory, event_index).map(Some),
                false => Some(None),
            })
            .collect()
    }

    /// Reads `data.len()` bytes at `offset`; fields may be read in parts.
    pub(super) fn read(&self, offset: usize, data: &mut [u8]) {
        let mut fields = [0u8; 0x38];
        let queue = self.queues.get(usize::from(self.queue_select));
        let half = |features: u64, select: u32| match select {
            0 => (features & 0xffff_ffff) as u32,
            1 => (features >> 32) as u32,
            _ => 0,
        };
        let mut put = |at: usize, bytes: &[u8]| fields[at..at + bytes.len()].copy_from_slice(bytes);
        put(0x00, &self.offered_select.to_le_bytes());
        put(0x04, &half(self.offered, self.offered_select).to_le_bytes());
        put(0x08, &self.accepted_select.to_le_bytes());
        put(
            0x0c,
            &half(self.accepted, self.accepted_select).to_le_bytes(),
        );
        put(0x10, &self.config_vector.to_le_bytes());
        put(0x12, &self.queue_count().to_le_bytes());
        put(0x14, &[self.status, 0]);
        put(0x16, &self.queue_select.to_le_bytes());
        if let Some(queue) = queue {
            put(0x18, &queue.size.to_le_bytes());
            put(0x1a, &queue.vector.to_le_bytes());
            put(0x1c, &u16::from(queue.enabled).to_le_bytes());
            put(0x1e, &self.queue_select.to_le_bytes());
            put(0x20, &queue.descriptors.to_le_bytes());
            put(0x28, &queue.driver.to_le_bytes());
            put(0x30, &queue.device.to_le_bytes());
        }
        crate::device::read_fields(&fields, offset, data);
    }

    /// Writes one whole field, or half of a 64-bit one. Anything else changes nothing.
    pub(super) fn write(&mut self, offset: usize, data: &[u8], vectors: u16) -> Change {
        match *data {
            [value] if offset == 0x14 => return self.write_status(value),
            [b0, b1] => self.write_u16(offset, u16::from_le_bytes([b0, b1]), vectors),
            [b0, b1, b2, b3] => self.write_u32(offset, u32::from_le_bytes([b0, b1, b2, b3])),
            [b0, b1, b2, b3, b4, b5, b6, b7] if matches!(offset, 0x20 | 0x28 | 0x30) => {
                self.write_u32(offset, u32::from_le_bytes([b0, b1, b2, b3]));
                self.write_u32(offset + 4, u32::from_le_bytes([b4, b5, b6, b7]));
            }
            _ => {}
        }
        Change::None
    }

    /// The life of the device: bits are only added, in order; zero starts over.
    fn write_status(&mut self, value: u8) -> Change {
        if value == 0 {
            self.reset();
            return Change::Reset;
        }
        let mut added = value & !self.status & !NEEDS_RESET;
        let negotiated = self.status & FEATURES_OK != 0;
        let introduced = (self.status | added) & ACKNOWLEDGE_AND_DRIVER == ACKNOWLEDGE_AND_DRIVER;
        if added & FEATURES_OK != 0 && !(introduced && self.acceptable()) {
            added &= !FEATURES_OK; // the guest reads the status back and finds it refused
        }
        let ready = negotiated || added & FEATURES_OK != 0;
        if added & DRIVER_OK != 0 && !ready {
            added &= !DRIVER_OK;
        }
        self.status |= added;
        if added & DRIVER_OK != 0 {
            Change::Alive
        } else {
            Change::None
        }
    }

    fn acceptable(&self) -> bool {
        self.accepted & !self.offered == 0 && self.accepted & FEATURE_VERSION_1 != 0
    }

    fn write_u16(&mut self, offset: usize, value: u16, vectors: u16) {
        let vector = if value < vectors { value } else { NO_VECTOR };
        let configurable = self.status & DRIVER_OK == 0;
        match offset {
            0x10 => self.config_vector = vector,
            0x16 => self.queue_select = value,
            _ => {
                let Some(queue) = self.queues.get_mut(usize::from(self.queue_select)) else {
                    return;
                };
                match offset {
                    0x18 if configurable && !queue.enabled && queue.allows(value) => {
                        queue.size = value;
                    }
                    0x1a => queue.vector = vector,
                    0x1c if configurable && value == 1 => queue.enabled = true,
                    _ => {}
                }
            }
        }
    }

    fn write_u32(&mut self, offset: usize, value: u32) {
        match offset {
            0x00 => self.offered_select = value,
            0x08 => self.accepted_select = value,
            0x0c if self.status & FEATURES_OK == 0 => match self.accepted_select {
                0 => set_low(&mut self.accepted, value),
                1 => set_high(&mut self.accepted, value),
                _ => {}
            },
            0x20..0x38 => self.write_address(offset, value),
            _ => {}
        }
    }

    fn write_address(&mut self, offset: usize, value: u32) {
        let configurable = self.status & DRIVER_OK == 0;
        let Some(queue) = self.queues.get_mut(usize::from(self.queue_select)) else {
            return;
        };
        if !configurable || queue.enabled {
            return;
        }
        match offset {
            0x20 => set_low(&mut queue.descriptors, value),
            0x24 => set_high(&mut queue.descriptors, value),
            0x28 => set_low(&mut queue.driver, value),
            0x2c => set_high(&mut queue.driver, value),
            0x30 => set_low(&mut queue.device, value),
            0x34 => set_high(&mut queue.device, value),
            _ => {}
        }
    }
}

fn set_low(field: &mut u64, value: u32) {
    *field = *field & !0xffff_ffff | u64::from(value);
}

fn set_high(field: &mut u64, value: u32) {
    *field = *field & 0xffff_ffff | u64::from(value) << 32;
}
