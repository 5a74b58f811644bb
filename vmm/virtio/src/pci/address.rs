//! Where in configuration space an access points: by port 0xCF8 or by ECAM.

/// One register of one function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigAddress {
    /// Bus number.
    pub bus: u8,
    /// Device on the bus, 0..32.
    pub device: u8,
    /// Function of the device, 0..8.
    pub function: u8,
    /// Byte offset: 0..256 by port, 0..4096 by ECAM.
    pub register: usize,
}

/// The register latched in port 0xCF8, at `offset` 0..4 of port 0xCFC. `None`: not enabled.
pub fn from_cf8(latch: u32, offset: u8) -> Option<ConfigAddress> {
    if latch & 0x8000_0000 == 0 || offset > 3 {
        return None;
    }
    let [register, slot, bus, _] = latch.to_le_bytes();
    Some(ConfigAddress {
        bus,
        device: slot >> 3,
        function: slot & 7,
        register: usize::from(register & 0xfc) + usize::from(offset),
    })
}

/// The register at `offset` bytes into the ECAM window.
pub fn from_ecam(offset: u64) -> Option<ConfigAddress> {
    let bus = u8::try_from(offset >> 20).ok()?;
    let [low, middle, high, _, _, _, _, _] = offset.to_le_bytes();
    Some(ConfigAddress {
        bus,
        device: (high & 0x0f) << 1 | middle >> 7,
        function: middle >> 4 & 7,
        register: usize::from(middle & 0x0f) << 8 | usize::from(low),
    })
}

#[cfg(test)]
mod tests {
    use super::{ConfigAddress, from_cf8, from_ecam};

    fn at(bus: u8, device: u8, function: u8, register: usize) -> Option<ConfigAddress> {
        Some(ConfigAddress {
            bus,
            device,
            function,
            register,
        })
    }

    #[test]
    fn both_ways_name_the_same_register() {
        assert_eq!(from_cf8(0x8000_0000, 0), at(0, 0, 0, 0));
        assert_eq!(from_cf8(0x8002_1d10, 2), at(2, 3, 5, 0x12));
        assert_eq!(from_cf8(0x0002_1d10, 2), None);
        assert_eq!(from_ecam(0), at(0, 0, 0, 0));
        assert_eq!(
            from_ecam(2 << 20 | 3 << 15 | 5 << 12 | 0x12),
            at(2, 3, 5, 0x12)
        );
        assert_eq!(from_ecam(0xfff_ffff), at(255, 31, 7, 0xfff));
        assert_eq!(from_ecam(0x1000_0000), None);
    }
}
