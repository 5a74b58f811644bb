//! Network device: an Ethernet card for the guest.
//!
//! Does:      moves frames between a `Wire` and the guest, each with its offload header; spreads a
//!            long one over several of the guest's buffers; tells the wire what the guest can do.
//! Does not:  look into frames, cut them or complete their checksums: whoever is at the other end
//!            of the wire does that, or the guest. No control queue, no multiqueue.
//! Bounds:    two queues of `QUEUE_SIZE`; one frame each way in hand. A frame for which the guest
//!            has posted no buffers waits here and the others on the wire; one that its buffers
//!            can't hold is dropped and counted.
//! Trusts:    nobody: headers of both sides are held against what the guest negotiated.
//! Start at:  `Net::serve`.

mod frame;

use crate::device::{Device, Kind, Memory, Turn, read_fields};
use crate::ring::{BadRing, CHAINS_PER_TURN_MAX, Chain, Ring};
pub use frame::{FRAME_BYTES_MAX, NET_HEADER_BYTES};

/// Queue with the guest's empty buffers.
pub const RECEIVE_QUEUE: u16 = 0;
/// Queue with the guest's frames.
pub const TRANSMIT_QUEUE: u16 = 1;
/// What Linux's driver likes.
const QUEUE_SIZE: u16 = 256;
/// Buffers that one frame may take: 64 KiB in buffers of a page and less.
const BUFFERS_MAX: usize = 64;

const FEATURE_CHECKSUM: u64 = 1 << 0;
const FEATURE_GUEST_CHECKSUM: u64 = 1 << 1;
const FEATURE_MTU: u64 = 1 << 3;
const FEATURE_MAC: u64 = 1 << 5;
const FEATURE_GUEST_TCP_4: u64 = 1 << 7;
const FEATURE_GUEST_TCP_6: u64 = 1 << 8;
const FEATURE_HOST_TCP_4: u64 = 1 << 11;
const FEATURE_HOST_TCP_6: u64 = 1 << 12;
const FEATURE_MERGEABLE: u64 = 1 << 15;

/// What one side can finish itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Checksums that are still to be completed.
    pub checksum: bool,
    /// TCP packets over IPv4 that are longer than the MTU.
    pub tcp4: bool,
    /// The same over IPv6.
    pub tcp6: bool,
}

/// Where frames go and come from: each a header of `NET_HEADER_BYTES` and an Ethernet frame.
pub trait Wire: Send {
    /// The next packet for the guest. `None`: nothing there now.
    fn receive(&mut self, into: &mut [u8]) -> Option<usize>;
    /// Takes a packet of the guest whole, or drops it. False: no room now, it comes again.
    fn send(&mut self, packet: &[u8]) -> bool;
    /// What the guest's driver can finish; the wire sends nothing else from now on.
    fn guest_can(&mut self, offloads: Offloads);
}

/// Frames that did not go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetCounters {
    /// To the guest.
    pub received: u64,
    /// From the guest.
    pub sent: u64,
    /// The wire's header asked for what the guest can't do.
    pub unfit: u64,
    /// The guest's buffers can't hold the frame.
    pub too_long: u64,
}

/// A virtio network card.
#[derive(Debug)]
pub struct Net<W> {
    wire: W,
    config: [u8; 12],
    /// What the driver accepted.
    features: u64,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
    /// Length of the packet in `incoming` that waits for buffers.
    waiting: Option<usize>,
    counters: NetCounters,
}

/// What became of a packet for the guest.
enum Placed {
    /// In so many buffers.
    Whole(u32),
    /// The guest has posted too few buffers yet.
    Later,
    /// These buffers can't hold it.
    Never,
    /// The guest posted buffers that are none; so many were given back empty.
    Refused(u32),
}

impl<W: Wire> Net<W> {
    /// `mtu` is what the guest may send in one packet of IP.
    pub fn new(wire: W, mac: [u8; 6], mtu: u16) -> Net<W> {
        let mut config = [0; 12];
        config[..6].copy_from_slice(&mac);
        config[10..].copy_from_slice(&mtu.to_le_bytes());
        Net {
            wire,
            config,
            features: 0,
            outgoing: vec![0; NET_HEADER_BYTES + FRAME_BYTES_MAX],
            // One byte more than a packet has shows one that is too long.
            incoming: vec![0; NET_HEADER_BYTES + FRAME_BYTES_MAX + 1],
            waiting: None,
            counters: NetCounters::default(),
        }
    }

    /// What happened so far.
    pub fn counters(&self) -> NetCounters {
        self.counters
    }

    /// The other end.
    pub fn wire_mut(&mut self) -> &mut W {
        &mut self.wire
    }

    fn has(&self, feature: u64) -> bool {
        self.features & feature != 0
    }

    /// What the guest may leave to the other end.
    fn host(&self) -> Offloads {
        let checksum = self.has(FEATURE_CHECKSUM);
        Offloads {
            checksum,
            tcp4: checksum && self.has(FEATURE_HOST_TCP_4),
            tcp6: checksum && self.has(FEATURE_HOST_TCP_6),
        }
    }

    /// What the other end may leave to the guest.
    fn guest(&self) -> Offloads {
        let checksum = self.has(FEATURE_GUEST_CHECKSUM);
        Offloads {
            checksum,
            tcp4: checksum && self.has(FEATURE_GUEST_TCP_4),
            tcp6: checksum && self.has(FEATURE_GUEST_TCP_6),
        }
    }

    fn transmit(&mut self, ring: &mut Ring, memory: &Memory) -> Result<Turn, BadRing> {
        let mut turn = Turn::default();
        while turn.served + turn.refused < CHAINS_PER_TURN_MAX {
            let Some(chain) = ring.take_or_arm(memory)? else {
                return Ok(turn);
            };
            match frame::parse(&chain, memory, self.host(), &mut self.outgoing) {
                Err(_) => turn.refused += 1,
                Ok(length) if self.wire.send(&self.outgoing[..length]) => {
                    turn.served += 1;
                    self.counters.sent += 1;
                }
                Ok(_) => {
                    ring.put_back(chain);
                    turn.stalled = true;
                    return Ok(turn);
                }
            }
            ring.give_back(chain, 0, memory)?;
            turn.used = true;
        }
        turn.again = true;
        Ok(turn)
    }

    /// Ends stalled when the wire has nothing more; without `stalled` and `again` the guest has to
    /// post buffers first.
    fn receive(&mut self, ring: &mut Ring, memory: &Memory) -> Result<Turn, BadRing> {
        let mut turn = Turn::default();
        let mut rounds = 0;
        while turn.served + turn.refused < CHAINS_PER_TURN_MAX && rounds < CHAINS_PER_TURN_MAX {
            rounds += 1;
            let Some(length) = self
                .waiting
                .or_else(|| self.wire.receive(&mut self.incoming))
            else {
                turn.stalled = true;
                return Ok(turn);
            };
            let limit = NET_HEADER_BYTES + FRAME_BYTES_MAX;
            let guest = self.guest();
            if length > limit || !frame::fit(&mut self.incoming[..length], guest) {
                self.counters.unfit += 1;
                continue;
            }
            self.waiting = None;
            match self.place(length, ring, memory)? {
                Placed::Whole(buffers) => {
                    self.counters.received += 1;
                    turn.served += buffers;
                    turn.used = true;
                }
                Placed::Later => {
                    self.waiting = Some(length);
                    return Ok(turn);
                }
                Placed::Never => self.counters.too_long += 1,
                Placed::Refused(buffers) => {
                    turn.refused += buffers;
                    turn.used = true;
                }
            }
        }
        turn.again = true;
        Ok(turn)
    }

    /// Writes the packet into as many of the guest's buffers as it takes; the guest sees all of
    /// them at once or none.
    fn place(
        &mut self,
        length: usize,
        ring: &mut Ring,
        memory: &Memory,
    ) -> Result<Placed, BadRing> {
        let most = if self.has(FEATURE_MERGEABLE) {
            BUFFERS_MAX
        } else {
            1
        };
        let mut chains: Vec<(Chain, u32)> = Vec::with_capacity(1);
        let mut room = 0;
        while room < length {
            if chains.len() == most {
                return Ok(put_back(ring, chains, Placed::Never));
            }
            let Some(chain) = ring.take_or_arm(memory)? else {
                return Ok(put_back(ring, chains, Placed::Later));
            };
            let size = usize::try_from(chain.writable_len()).unwrap_or(usize::MAX);
            let is_bad = chain.fault().is_some() || size == 0;
            let part = size.min(length - room);
            room += part;
            // What the guest broke comes back to it empty, with what was gathered for the frame.
            let written = if is_bad {
                0
            } else {
                u32::try_from(part).unwrap_or(0)
            };
            chains.push((chain, written));
            if is_bad {
                chains.iter_mut().for_each(|(_, written)| *written = 0);
                let count = u32::try_from(chains.len()).unwrap_or(0);
                ring.give_back_all(chains, memory)?;
                return Ok(Placed::Refused(count));
            }
        }
        let count = u16::try_from(chains.len()).unwrap_or(u16::MAX);
        self.incoming[10..NET_HEADER_BYTES].copy_from_slice(&count.to_le_bytes());
        let mut from = &self.incoming[..length];
        for (chain, written) in &chains {
            let (part, rest) = from.split_at(*written as usize);
            chain.copy_in(memory, 0, part);
            from = rest;
        }
        ring.give_back_all(chains, memory)?;
        Ok(Placed::Whole(u32::from(count)))
    }
}

fn put_back(ring: &mut Ring, chains: Vec<(Chain, u32)>, placed: Placed) -> Placed {
    for (chain, _) in chains.into_iter().rev() {
        ring.put_back(chain);
    }
    placed
}

impl<W: Wire> Device for Net<W> {
    fn kind(&self) -> Kind {
        Kind::Network
    }

    fn features(&self) -> u64 {
        FEATURE_CHECKSUM
            | FEATURE_GUEST_CHECKSUM
            | FEATURE_MTU
            | FEATURE_MAC
            | FEATURE_GUEST_TCP_4
            | FEATURE_GUEST_TCP_6
            | FEATURE_HOST_TCP_4
            | FEATURE_HOST_TCP_6
            | FEATURE_MERGEABLE
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &[QUEUE_SIZE, QUEUE_SIZE]
    }

    fn read_config(&self, offset: usize, data: &mut [u8]) {
        read_fields(&self.config, offset, data);
    }

    fn started(&mut self, features: u64) {
        self.features = features;
        let guest = self.guest();
        self.wire.guest_can(guest);
    }

    fn serve(&mut self, queue: u16, ring: &mut Ring, memory: &Memory) -> Result<Turn, BadRing> {
        match queue {
            TRANSMIT_QUEUE => self.transmit(ring, memory),
            _ => self.receive(ring, memory),
        }
    }

    fn reset(&mut self) {
        self.features = 0;
        self.waiting = None;
    }
}
