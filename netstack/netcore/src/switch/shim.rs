//! The eight bytes before a frame that goes from one switch to another.
//!
//! Layout: version 1 in the first four bits, then no flags (4), hops left (4), no priority (4), the
//! network (24), the low bits of the epoch that the sender knows of the target's record (16), zero
//! (8). The version tells it from an IP packet in the same tunnel.

use super::records::NetworkId;

pub const SHIM_LEN: usize = 8;
/// Switches that a frame may cross: the sender's mistake, and one more while records travel.
pub const HOPS_MAX: u8 = 3;
const VERSION: u8 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shim {
    pub network: NetworkId,
    /// How many more switches may pass it on; at most 15.
    pub hops: u8,
    pub epoch: u16,
}

impl Shim {
    /// The shim and the frame behind it. `None`: another version, an unknown flag, no network.
    pub fn parse(bytes: &[u8]) -> Option<(Shim, &[u8])> {
        let (shim, frame) = bytes.split_first_chunk::<SHIM_LEN>()?;
        let [version, hops, a, b, c, high, low, reserved] = *shim;
        if version != VERSION << 4 || hops & 0x0f != 0 || reserved != 0 {
            return None;
        }
        let network = NetworkId::new(u32::from_be_bytes([0, a, b, c]))?;
        let shim = Shim {
            network,
            hops: hops >> 4,
            epoch: u16::from_be_bytes([high, low]),
        };
        Some((shim, frame))
    }

    pub fn emit(self) -> [u8; SHIM_LEN] {
        let [_, a, b, c] = self.network.number().to_be_bytes();
        let [high, low] = self.epoch.to_be_bytes();
        let hops = self.hops.min(15) << 4;
        [VERSION << 4, hops, a, b, c, high, low, 0]
    }

    /// What the wire says of an epoch.
    pub fn short_epoch(epoch: u64) -> u16 {
        let [.., high, low] = epoch.to_be_bytes();
        u16::from_be_bytes([high, low])
    }
}

/// Fuzz target: what parses is written back the same.
pub fn fuzz_shim(data: &[u8]) {
    if let Some((shim, frame)) = Shim::parse(data) {
        assert_eq!(shim.emit()[..], data[..SHIM_LEN], "one form of each shim");
        assert_eq!(frame, &data[SHIM_LEN..]);
    }
}
