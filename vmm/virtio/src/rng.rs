//! Entropy device: random bytes for the guest's own generator.
//!
//! Bounds:    at most `BYTES_PER_CHAIN_MAX` bytes for a chain, whatever the guest asks for.
//! Trusts:    the source for randomness, the guest for nothing.

use crate::device::{Device, Kind, Memory, Turn, read_fields};
use crate::ring::{BadRing, Chain, Done, Ring};

/// Linux asks for 64 bytes; a page-sized wish is cut, which the standard allows.
const BYTES_PER_CHAIN_MAX: usize = 256;

/// Where randomness comes from.
pub trait EntropySource: Send {
    /// Fills the buffer; `false` when that failed.
    fn fill(&mut self, buffer: &mut [u8]) -> bool;
}

/// A virtio entropy device.
#[derive(Debug)]
pub struct Entropy<S> {
    source: S,
}

impl<S: EntropySource> Entropy<S> {
    /// Bytes come from `source`.
    pub fn new(source: S) -> Entropy<S> {
        Entropy { source }
    }

    fn run(&mut self, chain: &Chain, memory: &Memory) -> Done {
        let mut bytes = [0; BYTES_PER_CHAIN_MAX];
        let want = usize::try_from(chain.writable_len()).unwrap_or(usize::MAX);
        let bytes = &mut bytes[..want.min(BYTES_PER_CHAIN_MAX)];
        if chain.fault().is_some() || !self.source.fill(bytes) {
            return Done::Refused;
        }
        match u32::try_from(chain.copy_in(memory, 0, bytes)) {
            Ok(written) if written > 0 => Done::Served(written),
            _ => Done::Refused,
        }
    }
}

impl<S: EntropySource> Device for Entropy<S> {
    fn kind(&self) -> Kind {
        Kind::Entropy
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &[16]
    }

    fn read_config(&self, offset: usize, data: &mut [u8]) {
        read_fields(&[], offset, data);
    }

    fn serve(&mut self, _queue: u16, ring: &mut Ring, memory: &Memory) -> Result<Turn, BadRing> {
        ring.take_turn(memory, |chain| self.run(chain, memory))
    }

    fn reset(&mut self) {}
}
