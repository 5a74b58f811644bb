//! Configuration space of one function: 256 bytes, some of which the guest may write.
//!
//! Bounds:    fixed size; extended space (256..4096) reads as zero: no extended capability.
//! Trusts:    the guest for nothing; a write changes only the bits of the mask.

/// Bytes that exist.
pub(crate) const CONFIG_BYTES: usize = 256;
const COMMAND: usize = 0x04;
const BAR0: usize = 0x10;
const CAPABILITIES: usize = 0x34;
/// Memory decoding on, in the command register.
const COMMAND_MEMORY: u8 = 1 << 1;
/// Intel; the bridge that Cloud Hypervisor shows, which its firmware expects.
pub const HOST_BRIDGE_VENDOR: u16 = 0x8086;
/// A Q35 host bridge in name only.
pub const HOST_BRIDGE_DEVICE: u16 = 0x0d57;

/// Registers and their write masks.
#[derive(Clone, Debug)]
pub struct ConfigSpace {
    bytes: [u8; CONFIG_BYTES],
    writable: [u8; CONFIG_BYTES],
    capability_end: usize,
    capability_last: usize,
}

impl ConfigSpace {
    /// A function with these identifiers and class (class, subclass, interface), type 0 header.
    pub fn new(vendor: u16, device: u16, class: [u8; 3], revision: u8) -> ConfigSpace {
        let mut space = ConfigSpace {
            bytes: [0; CONFIG_BYTES],
            writable: [0; CONFIG_BYTES],
            capability_end: 0x40,
            capability_last: 0,
        };
        space.set_u16(0x00, vendor);
        space.set_u16(0x02, device);
        space.bytes[0x08] = revision;
        space.bytes[0x09] = class[2];
        space.bytes[0x0a] = class[1];
        space.bytes[0x0b] = class[0];
        space.set_u16(0x2c, vendor);
        space.set_u16(0x2e, device);
        space.writable[0x0c] = 0xff; // cache line size, without effect
        space.writable[0x3c] = 0xff; // interrupt line, without effect
        space
    }

    /// The host bridge of bus 0.
    pub fn host_bridge() -> ConfigSpace {
        ConfigSpace::new(
            HOST_BRIDGE_VENDOR,
            HOST_BRIDGE_DEVICE,
            [0x06, 0x00, 0x00],
            0,
        )
    }

    /// Declares BAR 0: a 32-bit memory window of `size` bytes (a power of two), at `base`.
    pub(crate) fn add_bar0(&mut self, base: u32, size: u32) {
        debug_assert!(size.is_power_of_two() && size >= 16);
        self.bytes[BAR0..BAR0 + 4].copy_from_slice(&base.to_le_bytes());
        self.writable[BAR0..BAR0 + 4].copy_from_slice(&(!(size - 1)).to_le_bytes());
        // Memory decoding, bus mastering, and no legacy interrupt. Decoding is on from the
        // start: no firmware turns it on before the guest's kernel looks.
        self.bytes[COMMAND] = COMMAND_MEMORY;
        self.writable[COMMAND] = COMMAND_MEMORY | 1 << 2;
        self.writable[COMMAND + 1] = 1 << 2;
    }

    /// Appends a capability. `body` is what follows the two bytes of id and link; `mask` says
    /// which bits of it the guest may write. Returns where the capability starts.
    pub(crate) fn add_capability(&mut self, id: u8, body: &[u8], mask: &[u8]) -> usize {
        let at = self.capability_end;
        assert!(
            at + 2 + body.len() <= CONFIG_BYTES,
            "the capabilities of a device type fit"
        );
        self.bytes[at] = id;
        self.bytes[at + 2..at + 2 + body.len()].copy_from_slice(body);
        self.writable[at + 2..at + 2 + mask.len()].copy_from_slice(mask);
        let link = u8::try_from(at).expect("configuration space has 256 bytes");
        match self.capability_last {
            0 => {
                self.bytes[CAPABILITIES] = link;
                self.bytes[0x06] |= 1 << 4; // status: there is a list
            }
            last => self.bytes[last + 1] = link,
        }
        self.capability_last = at;
        self.capability_end = (at + 2 + body.len()).next_multiple_of(4);
        at
    }

    /// Reads `data.len()` bytes at `register`.
    pub fn read(&self, register: usize, data: &mut [u8]) {
        crate::device::read_fields(&self.bytes, register, data);
    }

    /// Writes the bits that may be written.
    pub fn write(&mut self, register: usize, data: &[u8]) {
        for (at, value) in data.iter().enumerate() {
            let Some(at) = register.checked_add(at).filter(|at| *at < CONFIG_BYTES) else {
                return;
            };
            let mask = self.writable[at];
            self.bytes[at] = self.bytes[at] & !mask | value & mask;
        }
    }

    /// Where BAR 0 is, if the function decodes memory at all.
    pub fn window(&self) -> Option<u64> {
        let base = u32::from_le_bytes([
            self.bytes[BAR0],
            self.bytes[BAR0 + 1],
            self.bytes[BAR0 + 2],
            self.bytes[BAR0 + 3],
        ]) & !0xf;
        (self.bytes[COMMAND] & COMMAND_MEMORY != 0 && base != 0).then_some(u64::from(base))
    }

    pub(crate) fn u16_at(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    pub(crate) fn u32_at(&self, at: usize) -> u32 {
        u32::from(self.u16_at(at)) | u32::from(self.u16_at(at + 2)) << 16
    }

    fn set_u16(&mut self, at: usize, value: u16) {
        self.bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
}
