//! Where frames come from and go to.
//!
//! Does:      one trait for everything that carries Ethernet frames, and its two kinds: a Linux
//!            interface (`AfPacket`) and a wire between processes (`WirePort`).
//! Does not:  interpret more of a frame than its VLAN tag and checksum offload.
//! Bounds:    `FRAME_LEN_MAX` a frame; what a full port does is written at each kind.
//! Trusts:    the kernel. A peer on a wire may send anything; lengths are checked.
//! Start at:  `FramePort`.

mod packet;
mod wire;

use std::io;
use std::os::fd::BorrowedFd;

pub use netcore::ethernet::Mac;
pub use packet::{AfPacket, AfPacketSettings, PacketCounters, VNET_HEADER_LEN, fuzz_offload};
pub use wire::{WireListener, WirePort, fuzz_wire};

/// The longest frame any port hands out: an aggregate of TCP segments that the kernel put together
/// is one IPv4 packet of at most 65,535 bytes behind an Ethernet header with a tag.
pub const FRAME_LEN_MAX: usize = 65_535 + 18;

/// A non-blocking source and sink of Ethernet frames (without checksum trailer).
pub trait FramePort {
    /// Takes the next frame into `buffer` (at least `FRAME_LEN_MAX` long) and returns its length.
    /// `WouldBlock`: nothing there. Any other error means that the port is gone for good.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Hands a frame over whole. `WouldBlock`: not taken, try again when writable. Any other error
    /// means that the port is gone for good; a frame that only this link refuses is dropped and
    /// counted by the port.
    fn send(&mut self, frame: &[u8]) -> io::Result<()>;

    /// True while bytes that were taken still wait for the kernel; then call `flush` when writable.
    fn is_flush_due(&self) -> bool {
        false
    }

    /// Pushes waiting bytes on. Never blocks.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// The descriptor whose readiness says when to call again.
    fn readiness(&self) -> BorrowedFd<'_>;
}
