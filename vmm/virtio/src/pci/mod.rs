//! The PCI side: addresses, configuration space, MSI-X, and the virtio registers in BAR 0.

mod address;
mod config_space;
mod function;
mod msix;
mod registers;

pub use address::{ConfigAddress, from_cf8, from_ecam};
pub use config_space::{ConfigSpace, HOST_BRIDGE_DEVICE, HOST_BRIDGE_VENDOR};
pub use function::{
    BAR_BYTES, Effects, Face, Function, NOTIFY_OFFSET, NOTIFY_STRIDE, Service, notify_offset,
};
pub use msix::{Message, Msix, VECTORS_MAX};
