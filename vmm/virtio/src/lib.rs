//! Virtio devices behind the modern PCI transport, as pure state machines.
//!
//! Does:      queues, network, block, console and entropy devices, PCI configuration space, MSI-X,
//!            virtio-pci registers. Every device follows parse, act, complete.
//! Does not:  know KVM, threads, sockets, files or clocks; the caller moves the bytes.
//! Bounds:    see `ring` (descriptors per chain, chains per turn) and each device's header.
//! Trusts:    nothing that the guest writes: registers, rings, descriptors and data are claims.
//! Start at:  `pci::Function` (what a vCPU touches), then `Device` (what a queue kick runs).

#![forbid(unsafe_code)]

mod blk;
mod console;
mod device;
pub mod fuzz;
mod net;
pub mod pci;
mod ring;
mod rng;

pub use blk::{Block, Disk, DiskError, SECTOR_BYTES};
pub use console::{Console, Sink};
pub use device::{Device, Kind, Memory, Turn};
pub use net::{
    FRAME_BYTES_MAX, NET_HEADER_BYTES, Net, NetCounters, Offloads, RECEIVE_QUEUE, TRANSMIT_QUEUE,
    Wire,
};
pub use ring::{BadRing, CHAINS_PER_TURN_MAX, Chain, DESCRIPTORS_MAX, Done, Ring, Span};
pub use rng::{Entropy, EntropySource};
