//! What all virtio devices have in common.

use vm_memory::GuestMemoryMmap;

use crate::ring::{BadRing, Ring};

/// The guest's memory.
pub type Memory = GuestMemoryMmap<()>;

/// The device types that exist here, with the numbers of the virtio standard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An Ethernet card.
    Network,
    /// A disk.
    Block,
    /// One serial-like port.
    Console,
    /// A source of random bytes.
    Entropy,
}

impl Kind {
    /// Device id of the standard, section 5.
    pub fn number(self) -> u16 {
        match self {
            Self::Network => 1,
            Self::Block => 2,
            Self::Console => 3,
            Self::Entropy => 4,
        }
    }

    /// PCI class, subclass and programming interface.
    pub fn pci_class(self) -> [u8; 3] {
        match self {
            Self::Network => [0x02, 0x00, 0x00], // Ethernet
            Self::Block => [0x01, 0x80, 0x00],   // mass storage, other
            Self::Console => [0x07, 0x80, 0x00], // communication, other
            Self::Entropy => [0xff, 0x00, 0x00], // none of the defined classes
        }
    }
}

/// How one turn on a queue ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Chains were given back, so the guest may want an interrupt.
    pub used: bool,
    /// The turn's limit was reached and more chains wait: take another turn later.
    pub again: bool,
    /// The outside world has no room or no data; take another turn when it has.
    pub stalled: bool,
    /// Chains refused because the guest built them badly.
    pub refused: u32,
    /// Chains served.
    pub served: u32,
}

/// One device type. `pci::Function` owns it and calls it with the queues that the guest set up.
pub trait Device: Send {
    /// Which type it is.
    fn kind(&self) -> Kind;
    /// Feature bits of this type alone; the transport adds its own.
    fn features(&self) -> u64;
    /// Size of each queue; the length is the number of queues.
    fn queue_sizes(&self) -> &'static [u16];
    /// Reads the device's configuration; bytes past its end read as zero.
    fn read_config(&self, offset: usize, data: &mut [u8]);
    /// The guest's driver is ready and has accepted these feature bits, which were offered.
    fn started(&mut self, _features: u64) {}
    /// The guest has posted something on `queue`. An error is the guest's breach of the ring
    /// rules and stops the device until the guest resets it.
    fn serve(&mut self, queue: u16, ring: &mut Ring, memory: &Memory) -> Result<Turn, BadRing>;
    /// The guest reset the device: forget everything about its queues.
    fn reset(&mut self);
}

/// Copies the part of `fields` that starts at `offset`; zero past its end.
pub(crate) fn read_fields(fields: &[u8], offset: usize, data: &mut [u8]) {
    for (at, byte) in data.iter_mut().enumerate() {
        *byte = offset
            .checked_add(at)
            .and_then(|at| fields.get(at))
            .copied()
            .unwrap_or(0);
    }
}
