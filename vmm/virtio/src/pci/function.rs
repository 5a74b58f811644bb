//! One virtio device as a PCI function: what a vCPU reads and writes, and what it sets off.
//!
//! Does:      configuration space, BAR 0 (common, ISR, device, notify, MSI-X), queue service.
//! Does not:  legacy interrupts (INTx) and the legacy register layout; the guest must know
//!            virtio 1 and MSI-X, as all kernels since 2014 do.
//! Bounds:    BAR 0 has `BAR_BYTES`; what isn't a register reads as zero and ignores writes.
//! Trusts:    the guest for nothing.
//! Start at:  `Face`, then `Function`'s `write_bar` and `serve`.

use crate::console::Sink;
use crate::device::{Device, Memory, Turn};
use crate::pci::config_space::ConfigSpace;
use crate::pci::msix::{Message, Msix, VECTORS_MAX};
use crate::pci::registers::{Change, Registers};
use crate::ring::{BadRing, Ring};

/// Size of BAR 0.
pub const BAR_BYTES: u32 = 0x1_0000;
const COMMON_OFFSET: usize = 0x0000;
const ISR_OFFSET: usize = 0x1000;
const DEVICE_OFFSET: usize = 0x2000;
/// Where the queues' doorbells start.
pub const NOTIFY_OFFSET: usize = 0x3000;
/// Distance between two doorbells.
pub const NOTIFY_STRIDE: usize = 4;
const TABLE_OFFSET: usize = 0x8000;
const PENDING_OFFSET: usize = 0xc000;
/// Bytes of each of the first four structures.
const STRUCTURE_BYTES: usize = 0x1000;

const VENDOR_VIRTIO: u16 = 0x1af4;
/// Modern device ids start here.
const DEVICE_BASE: u16 = 0x1040;
const CAPABILITY_VENDOR: u8 = 0x09;
const CAPABILITY_MSIX: u8 = 0x11;

/// Offset of a queue's doorbell in BAR 0.
pub fn notify_offset(queue: u16) -> u64 {
    (NOTIFY_OFFSET + usize::from(queue) * NOTIFY_STRIDE) as u64
}

/// What an access set off, for the caller to carry out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// A doorbell was rung: serve this queue.
    pub kick: Option<u16>,
    /// BAR 0 may have moved, or decoding was turned on or off.
    pub window: bool,
    /// Vectors to signal now, as bits.
    pub signal: u64,
    /// The device came alive or was reset.
    pub life: bool,
}

/// How a queue's service ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// The turn.
    pub turn: Turn,
    /// A vector to signal now.
    pub signal: Option<u16>,
}

/// What a bus and an I/O loop need of a function, whatever its device type.
pub trait Face: Send {
    /// Where BAR 0 is, if decoded.
    fn window(&self) -> Option<u64>;
    /// Number of queues; there is one vector more.
    fn queues(&self) -> u16;
    /// The message of a vector that can be delivered now.
    fn message(&self, vector: u16) -> Option<Message>;
    /// Whether the guest's driver runs it.
    fn alive(&self) -> bool;
    /// A read from configuration space.
    fn read_config(&mut self, register: usize, data: &mut [u8]);
    /// A write to configuration space.
    fn write_config(&mut self, register: usize, data: &[u8], memory: &Memory) -> Effects;
    /// A read from BAR 0.
    fn read_bar(&mut self, offset: u64, data: &mut [u8]);
    /// A write to BAR 0.
    fn write_bar(&mut self, offset: u64, data: &[u8], memory: &Memory) -> Effects;
    /// Serves a queue for one turn. Nothing happens unless the guest's driver runs it.
    fn serve(&mut self, queue: u16, memory: &Memory) -> Service;
}

/// A virtio device with its PCI face.
#[derive(Debug)]
pub struct Function<D> {
    config: ConfigSpace,
    registers: Registers,
    msix: Msix,
    rings: Vec<Option<Ring>>,
    isr: u8,
    device: D,
    msix_at: usize,
    access_at: usize,
}

impl<D: Device> Function<D> {
    /// `base` is where BAR 0 is at power-on.
    pub fn new(device: D, base: u32) -> Function<D> {
        let kind = device.kind();
        let vectors = device.queue_sizes().len() + 1;
        assert!(vectors <= VECTORS_MAX, "every device type has few queues");
        let vectors = u16::try_from(vectors).expect("few queues fit");
        let mut config = ConfigSpace::new(
            VENDOR_VIRTIO,
            DEVICE_BASE + kind.number(),
            kind.pci_class(),
            1,
        );
        config.add_bar0(base, BAR_BYTES);
        let mut msix = (vectors - 1).to_le_bytes().to_vec();
        msix.extend(register(TABLE_OFFSET));
        msix.extend(register(PENDING_OFFSET));
        let msix_at = config.add_capability(CAPABILITY_MSIX, &msix, &[0, 0xc0]);
        for (kind, offset) in [
            (1, COMMON_OFFSET),
            (3, ISR_OFFSET),
            (4, DEVICE_OFFSET),
            (2, NOTIFY_OFFSET),
        ] {
            let mut body = structure(kind, offset, STRUCTURE_BYTES);
            if kind == 2 {
                body[0] += 4;
                body.extend(register(NOTIFY_STRIDE));
            }
            config.add_capability(CAPABILITY_VENDOR, &body, &[]);
        }
        // Access through configuration space: the guest writes bar, offset and length.
        let mut body = structure(5, 0, 0);
        body[0] += 4;
        body.extend([0; 4]);
        let mask = [
            0, 0, 0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        ];
        let access_at = config.add_capability(CAPABILITY_VENDOR, &body, &mask);
        Function {
            registers: Registers::new(device.features(), device.queue_sizes()),
            msix: Msix::new(vectors),
            rings: Vec::new(),
            isr: 0,
            config,
            device,
            msix_at,
            access_at,
        }
    }

    /// The device behind the transport.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }

    /// BAR offset that the access capability points to, when `register` is its data and the
    /// pointer makes sense.
    fn access_window(&self, register: usize, len: usize) -> Option<u64> {
        if register != self.access_at + 16 || !matches!(len, 1 | 2 | 4) {
            return None;
        }
        let mut bar = [0];
        self.config.read(self.access_at + 4, &mut bar);
        let offset = self.config.u32_at(self.access_at + 8);
        let wanted = self.config.u32_at(self.access_at + 12);
        let inside = u64::from(offset) + len as u64 <= u64::from(BAR_BYTES);
        (bar == [0] && wanted as usize == len && inside).then_some(u64::from(offset))
    }

    fn come_alive(&mut self, memory: &Memory) -> u64 {
        match self.registers.build_rings(memory) {
            Some(rings) => {
                self.rings = rings;
                self.device.started(self.registers.accepted());
                0
            }
            None => self.stop().map_or(0, |vector| 1 << vector),
        }
    }

    /// The guest broke the rules: no more service until it resets the device.
    fn stop(&mut self) -> Option<u16> {
        self.rings.clear();
        self.registers.need_reset();
        self.isr |= 2;
        let vector = self.registers.config_vector();
        self.msix.fire(vector).then_some(vector)
    }

    fn with_ring(
        &mut self,
        queue: u16,
        memory: &Memory,
        act: impl FnOnce(&mut D, &mut Ring) -> Result<Turn, BadRing>,
    ) -> Service {
        let ring = self
            .rings
            .get_mut(usize::from(queue))
            .and_then(Option::as_mut);
        let Some(ring) = ring.filter(|_| self.registers.alive()) else {
            return Service::default();
        };
        let done = act(&mut self.device, ring).and_then(|turn| {
            let interrupt = turn.used && ring.wants_interrupt(memory)?;
            Ok((turn, interrupt))
        });
        match done {
            Err(_) => {
                let turn = Turn {
                    refused: 1,
                    ..Turn::default()
                };
                Service {
                    turn,
                    signal: self.stop(),
                }
            }
            Ok((turn, false)) => Service { turn, signal: None },
            Ok((turn, true)) => {
                self.isr |= 1;
                let vector = self.registers.queue_vector(queue);
                Service {
                    turn,
                    signal: self.msix.fire(vector).then_some(vector),
                }
            }
        }
    }
}

impl<D: Device> Face for Function<D> {
    fn window(&self) -> Option<u64> {
        self.config.window()
    }

    fn queues(&self) -> u16 {
        self.msix.count() - 1
    }

    fn message(&self, vector: u16) -> Option<Message> {
        self.msix.message(vector)
    }

    fn alive(&self) -> bool {
        self.registers.alive()
    }

    fn read_config(&mut self, register: usize, data: &mut [u8]) {
        match self.access_window(register, data.len()) {
            Some(offset) => self.read_bar(offset, data),
            None => self.config.read(register, data),
        }
    }

    fn write_config(&mut self, register: usize, data: &[u8], memory: &Memory) -> Effects {
        if let Some(offset) = self.access_window(register, data.len()) {
            return self.write_bar(offset, data, memory);
        }
        let window = self.config.window();
        let control = self.config.u16_at(self.msix_at + 2);
        self.config.write(register, data);
        let now = self.config.u16_at(self.msix_at + 2);
        let mut effects = Effects {
            window: self.config.window() != window,
            ..Effects::default()
        };
        if now != control {
            self.msix.set_control(now);
            effects.signal = self.msix.take_deliverable();
        }
        effects
    }

    fn read_bar(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        let Ok(offset) = usize::try_from(offset) else {
            return;
        };
        match offset {
            COMMON_OFFSET..ISR_OFFSET => self.registers.read(offset, data),
            ISR_OFFSET => {
                if let Some(first) = data.first_mut() {
                    *first = std::mem::take(&mut self.isr);
                }
            }
            DEVICE_OFFSET..NOTIFY_OFFSET => self.device.read_config(offset - DEVICE_OFFSET, data),
            TABLE_OFFSET..PENDING_OFFSET => self.msix.read_table(offset - TABLE_OFFSET, data),
            PENDING_OFFSET.. => self.msix.read_pending(offset - PENDING_OFFSET, data),
            _ => {}
        }
    }

    fn write_bar(&mut self, offset: u64, data: &[u8], memory: &Memory) -> Effects {
        let mut effects = Effects::default();
        let Ok(offset) = usize::try_from(offset) else {
            return effects;
        };
        match offset {
            COMMON_OFFSET..ISR_OFFSET => {
                match self.registers.write(offset, data, self.msix.count()) {
                    Change::None => {}
                    Change::Alive => {
                        effects.life = true;
                        effects.signal = self.come_alive(memory);
                    }
                    Change::Reset => {
                        effects.life = true;
                        self.rings.clear();
                        self.isr = 0;
                        self.device.reset();
                    }
                }
            }
            NOTIFY_OFFSET..TABLE_OFFSET => {
                let queue = (offset - NOTIFY_OFFSET) / NOTIFY_STRIDE;
                effects.kick = u16::try_from(queue)
                    .ok()
                    .filter(|queue| *queue < self.queues());
            }
            TABLE_OFFSET..PENDING_OFFSET => {
                self.msix.write_table(offset - TABLE_OFFSET, data);
                effects.signal = self.msix.take_deliverable();
            }
            _ => {}
        }
        effects
    }

    fn serve(&mut self, queue: u16, memory: &Memory) -> Service {
        self.with_ring(queue, memory, |device, ring| {
            device.serve(queue, ring, memory)
        })
    }
}

impl<S: Sink> Function<crate::Console<S>> {
    /// Gives console input to the guest. Returns the bytes taken.
    pub fn accept(&mut self, input: &[u8], memory: &Memory) -> (usize, Service) {
        let mut taken = 0;
        let service = self.with_ring(crate::console::RECEIVE, memory, |console, ring| {
            let (bytes, turn) = console.accept(ring, memory, input)?;
            taken = bytes;
            Ok(turn)
        });
        (taken, service)
    }
}

/// Offsets in BAR 0, as the four bytes of a register.
fn register(offset: usize) -> [u8; 4] {
    u32::try_from(offset).expect("BAR 0 is small").to_le_bytes()
}

/// Body of a virtio capability, without id and link: length, type, bar, offset, length.
fn structure(kind: u8, offset: usize, len: usize) -> Vec<u8> {
    let mut body = vec![16, kind, 0, 0, 0, 0];
    body.extend(register(offset));
    body.extend(register(len));
    body
}
