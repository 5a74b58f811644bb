//! Network I/O: frames in and out of Linux, the host stack, async sockets.
//!
//! Does:      runs smoltcp over AF_PACKET or a wire on a single-threaded executor, and gives
//!            TCP, UDP, DNS and ping to whoever holds a `HostStack`.
//! Does not:  configure Linux interfaces, and never lets the kernel own an IP address.
//! Bounds:    every table and queue has a named maximum beside its definition.
//! Trusts:    nobody on the network; the process it runs in.
//! Start at:  `executor::Executor`, `frame::FramePort`, `host::HostStack`.

#![deny(unsafe_op_in_unsafe_fn)]

pub mod executor;
pub mod frame;
pub mod host;

/// Fuzz targets: each takes hostile bytes and panics on a broken invariant.
pub mod fuzz {
    pub use crate::frame::{fuzz_offload, fuzz_wire};
    pub use crate::host::fuzz_arp;
}
