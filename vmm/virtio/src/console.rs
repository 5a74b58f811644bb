//! Console device: one port, bytes both ways.
//!
//! Does:      carries the guest's output to a `Sink` and input to the guest's buffers.
//! Does not:  multiport, window size.
//! Bounds:    output stops when the sink is full, in the middle of a buffer if need be; nothing
//!            is dropped and nothing is stored here. Input waits outside until the guest posts
//!            buffers.
//! Trusts:    the guest for nothing.
//! Start at:  `Console::serve` (output), `Console::accept` (input).

use crate::device::{Device, Kind, Memory, Turn, read_fields};
use crate::ring::{BadRing, CHAINS_PER_TURN_MAX, Ring};

/// Queue that carries input to the guest.
pub(crate) const RECEIVE: u16 = 0;
/// Queue that carries the guest's output.
const TRANSMIT: u16 = 1;
/// Bytes moved at once.
const PIECE_BYTES: usize = 512;

/// Where the guest's output goes.
pub trait Sink: Send {
    /// Bytes that `push` would take now.
    fn room(&self) -> usize;
    /// Takes bytes; never more than `room`.
    fn push(&mut self, bytes: &[u8]);
}

/// A virtio console.
#[derive(Debug)]
pub struct Console<S> {
    sink: S,
    /// Bytes of the chain at the head of the transmit ring that already went out.
    sent: usize,
}

impl<S: Sink> Console<S> {
    /// Output goes to `sink`.
    pub fn new(sink: S) -> Console<S> {
        Console { sink, sent: 0 }
    }

    /// Where output goes.
    pub fn sink_mut(&mut self) -> &mut S {
        &mut self.sink
    }

    fn transmit(&mut self, ring: &mut Ring, memory: &Memory) -> Result<Turn, BadRing> {
        let mut turn = Turn::default();
        loop {
            if turn.served + turn.refused == CHAINS_PER_TURN_MAX {
                turn.again = true;
                return Ok(turn);
            }
            let Some(chain) = ring.take_or_arm(memory)? else {
                return Ok(turn);
            };
            if chain.fault().is_some() {
                turn.refused += 1;
            } else {
                let mut piece = [0; PIECE_BYTES];
                loop {
                    let want = self.sink.room().min(PIECE_BYTES);
                    let len = chain.copy_out(memory, self.sent, &mut piece[..want]);
                    self.sink.push(&piece[..len]);
                    self.sent += len;
                    if self.sent as u64 >= chain.readable_len() {
                        break;
                    }
                    if self.sink.room() == 0 {
                        ring.put_back(chain);
                        turn.stalled = true;
                        return Ok(turn);
                    }
                    if len == 0 {
                        break; // the guest took the memory away
                    }
                }
                turn.served += 1;
            }
            self.sent = 0;
            ring.give_back(chain, 0, memory)?;
            turn.used = true;
        }
    }

    /// Gives `input` to the guest. Returns the bytes it had room for.
    pub fn accept(
        &mut self,
        ring: &mut Ring,
        memory: &Memory,
        input: &[u8],
    ) -> Result<(usize, Turn), BadRing> {
        let mut turn = Turn::default();
        let mut done = 0;
        while done < input.len() && turn.served + turn.refused < CHAINS_PER_TURN_MAX {
            let Some(chain) = ring.take_or_arm(memory)? else {
                break;
            };
            let written = match chain.fault() {
                Some(_) => 0,
                None => chain.copy_in(memory, 0, &input[done..]),
            };
            if written == 0 {
                turn.refused += 1;
            } else {
                turn.served += 1;
            }
            done += written;
            ring.give_back(chain, u32::try_from(written).unwrap_or(0), memory)?;
            turn.used = true;
        }
        Ok((done, turn))
    }
}

impl<S: Sink> Device for Console<S> {
    fn kind(&self) -> Kind {
        Kind::Console
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &[64, 64]
    }

    fn read_config(&self, offset: usize, data: &mut [u8]) {
        read_fields(&[], offset, data);
    }

    fn serve(&mut self, queue: u16, ring: &mut Ring, memory: &Memory) -> Result<Turn, BadRing> {
        match queue {
            TRANSMIT => self.transmit(ring, memory),
            // The guest posted room for input; whoever holds the input looks by itself.
            _ => Ok(Turn::default()),
        }
    }

    fn reset(&mut self) {
        self.sent = 0;
    }
}
