//! Split rings: chains come out checked, and go back exactly once.
//!
//! Does:      takes a chain from the available ring, checks order, addresses and sizes of its
//!            descriptors, gives it back on the used ring.
//! Does not:  look into the buffers; devices do.
//! Bounds:    `DESCRIPTORS_MAX` per chain, `CHAINS_PER_TURN_MAX` per turn.
//! Trusts:    `virtio-queue` for ring arithmetic; the guest for nothing.
//! Start at:  `Ring::take`.

use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, VolatileSlice};

use crate::device::{Memory, Turn};

/// Descriptors in one chain: Linux's block driver uses 128 at most. A longer chain is refused.
pub const DESCRIPTORS_MAX: usize = 256;
/// Chains served in one turn, so that one queue can't starve the others or the control channel.
pub const CHAINS_PER_TURN_MAX: u32 = 64;

/// The guest broke the rules of the ring itself; the device must stop until it is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRing {
    /// The available index ran further ahead than the ring is long.
    #[error("the available ring runs further ahead than it is long")]
    Index,
    /// A ring lies outside of guest memory.
    #[error("a ring lies outside of guest memory")]
    Memory,
    /// A chain starts at a descriptor that does not exist.
    #[error("a chain starts outside of the descriptor table")]
    Head,
}

/// Part of a chain: a range that lies wholly in guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    address: GuestAddress,
    len: usize,
}

impl Span {
    /// Bytes in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True for a zero-length descriptor.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The volatile slices that make up the span. They were checked when the chain was parsed.
    pub fn slices<'m>(&self, memory: &'m Memory) -> impl Iterator<Item = VolatileSlice<'m>> {
        memory
            .get_slices(self.address, self.len)
            .filter_map(Result::ok)
    }

    /// The part from `at` on, at most `len` bytes.
    pub fn part(&self, at: usize, len: usize) -> Span {
        let at = at.min(self.len);
        Span {
            address: GuestAddress(self.address.0 + at as u64),
            len: len.min(self.len - at),
        }
    }
}

/// A chain whose descriptors were all checked, not its content.
#[derive(Debug, Default)]
pub struct Chain {
    head: u16,
    readable: Vec<Span>,
    writable: Vec<Span>,
    fault: Option<&'static str>,
}

impl Chain {
    /// Why the chain can't be used, if so: it is to be given back empty.
    pub fn fault(&self) -> Option<&'static str> {
        self.fault
    }

    /// Buffers from the guest.
    pub fn readable(&self) -> &[Span] {
        &self.readable
    }

    /// Buffers for the guest.
    pub fn writable(&self) -> &[Span] {
        &self.writable
    }

    /// Total length of the readable part.
    pub fn readable_len(&self) -> u64 {
        self.readable.iter().map(|span| span.len as u64).sum()
    }

    /// Total length of the writable part.
    pub fn writable_len(&self) -> u64 {
        self.writable.iter().map(|span| span.len as u64).sum()
    }

    /// Copies from the readable part, starting `skip` bytes into it. Returns the bytes copied.
    pub fn copy_out(&self, memory: &Memory, skip: usize, into: &mut [u8]) -> usize {
        let mut done = 0;
        for span in parts(&self.readable, skip, into.len()) {
            let buffer = &mut into[done..done + span.len];
            if memory.read_slice(buffer, span.address).is_err() {
                break;
            }
            done += span.len;
        }
        done
    }

    /// Copies into the writable part, starting `skip` bytes into it. Returns the bytes copied.
    pub fn copy_in(&self, memory: &Memory, skip: usize, from: &[u8]) -> usize {
        let mut done = 0;
        for span in parts(&self.writable, skip, from.len()) {
            if memory
                .write_slice(&from[done..done + span.len], span.address)
                .is_err()
            {
                break;
            }
            done += span.len;
        }
        done
    }

    fn clear(&mut self) {
        self.head = 0;
        self.readable.clear();
        self.writable.clear();
        self.fault = None;
    }
}

/// The window of `len` bytes that starts `skip` bytes into `spans`.
pub(crate) fn parts(spans: &[Span], skip: usize, len: usize) -> impl Iterator<Item = Span> + '_ {
    let mut skip = skip;
    let mut left = len;
    spans.iter().filter_map(move |span| {
        if skip >= span.len {
            skip -= span.len;
            return None;
        }
        let part = span.part(skip, left);
        skip = 0;
        left -= part.len;
        (part.len > 0).then_some(part)
    })
}

/// What became of one chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// Served; so many bytes were written to it.
    Served(u32),
    /// Not usable, given back empty.
    Refused,
}

/// One queue that the guest set up.
#[derive(Debug)]
pub struct Ring {
    queue: Queue,
    chain: Option<Chain>,
    /// Several chains were given back at once, which the queue did not count one by one.
    batch: bool,
}

impl Ring {
    pub(crate) fn new(queue: Queue) -> Ring {
        Ring {
            queue,
            chain: Some(Chain::default()),
            batch: false,
        }
    }

    /// The next chain. `None`: the guest has posted nothing more.
    pub fn take(&mut self, memory: &Memory) -> Result<Option<Chain>, BadRing> {
        let size = self.queue.size();
        let found = {
            let mut iter = self.queue.iter(memory).map_err(|error| match error {
                virtio_queue::Error::InvalidAvailRingIndex => BadRing::Index,
                _ => BadRing::Memory,
            })?;
            iter.next()
        };
        let Some(descriptors) = found else {
            return Ok(None);
        };
        if descriptors.head_index() >= size {
            return Err(BadRing::Head);
        }
        let mut chain = self.chain.take().unwrap_or_default();
        chain.clear();
        chain.head = descriptors.head_index();
        for descriptor in descriptors {
            let span = Span {
                address: descriptor.addr(),
                len: descriptor.len() as usize,
            };
            if chain.readable.len() + chain.writable.len() == DESCRIPTORS_MAX {
                chain.fault = Some("more descriptors than a chain may have");
            } else if !memory.check_range(span.address, span.len) {
                chain.fault = Some("a buffer outside of guest memory");
            } else if descriptor.is_write_only() {
                chain.writable.push(span);
            } else if chain.writable.is_empty() {
                chain.readable.push(span);
            } else {
                chain.fault = Some("a readable buffer behind a writable one");
            }
            if chain.fault.is_some() {
                break;
            }
        }
        if chain.fault.is_none() && chain.readable.is_empty() && chain.writable.is_empty() {
            chain.fault = Some("no buffer at all");
        }
        Ok(Some(chain))
    }

    /// As `take`; when nothing is posted, asks the guest for a kick when it posts more.
    pub fn take_or_arm(&mut self, memory: &Memory) -> Result<Option<Chain>, BadRing> {
        if let Some(chain) = self.take(memory)? {
            return Ok(Some(chain));
        }
        let posted_meanwhile = self
            .queue
            .enable_notification(memory)
            .map_err(|_| BadRing::Memory)?;
        if !posted_meanwhile {
            return Ok(None);
        }
        // A ring that claims a chain and has none must not make us spin.
        self.take(memory)?.map(Some).ok_or(BadRing::Memory)
    }

    /// Serves chains until none is left or the turn's limit is reached.
    pub fn take_turn(
        &mut self,
        memory: &Memory,
        mut act: impl FnMut(&Chain) -> Done,
    ) -> Result<Turn, BadRing> {
        let mut turn = Turn::default();
        while turn.served + turn.refused < CHAINS_PER_TURN_MAX {
            let Some(chain) = self.take_or_arm(memory)? else {
                return Ok(turn);
            };
            let written = match act(&chain) {
                Done::Served(written) => {
                    turn.served += 1;
                    written
                }
                Done::Refused => {
                    turn.refused += 1;
                    0
                }
            };
            self.give_back(chain, written, memory)?;
            turn.used = true;
        }
        turn.again = true;
        Ok(turn)
    }

    /// Returns a chain to the guest with `written` bytes in its writable part.
    pub fn give_back(
        &mut self,
        chain: Chain,
        written: u32,
        memory: &Memory,
    ) -> Result<(), BadRing> {
        let head = chain.head;
        self.chain = Some(chain); // its storage serves the next one
        self.queue
            .add_used(memory, head, written)
            .map_err(|_| BadRing::Memory)
    }

    /// Returns several chains so that the guest sees all of them at once or none: a frame in
    /// several buffers is whole when the guest looks.
    pub fn give_back_all(
        &mut self,
        mut chains: Vec<(Chain, u32)>,
        memory: &Memory,
    ) -> Result<(), BadRing> {
        let Some((last, written)) = chains.pop() else {
            return Ok(());
        };
        let first = self.queue.next_used();
        for (at, (chain, written)) in (0u16..).zip(&chains) {
            let slot = first.wrapping_add(at) % self.queue.size();
            let mut element = [0; 8];
            element[..2].copy_from_slice(&chain.head.to_le_bytes());
            element[4..].copy_from_slice(&written.to_le_bytes());
            let place = self.queue.used_ring() + 4 + u64::from(slot) * 8;
            memory
                .write_slice(&element, GuestAddress(place))
                .map_err(|_| BadRing::Memory)?;
            self.queue
                .set_next_used(first.wrapping_add(at).wrapping_add(1));
        }
        self.batch |= !chains.is_empty();
        self.give_back(last, written, memory)
    }

    /// Undoes the last `take`: the same chain will come again.
    pub fn put_back(&mut self, chain: Chain) {
        self.chain = Some(chain);
        self.queue
            .set_next_avail(self.queue.next_avail().wrapping_sub(1));
    }

    /// Whether the guest wants an interrupt for what was given back.
    pub(crate) fn wants_interrupt(&mut self, memory: &Memory) -> Result<bool, BadRing> {
        let wanted = self.queue.needs_notification(memory);
        let batch = std::mem::take(&mut self.batch);
        wanted
            .map(|wanted| wanted || batch)
            .map_err(|_| BadRing::Memory)
    }
}
