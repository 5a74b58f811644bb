//! Peek boot: kernel, initrd and command line read out of an unmodified disk image.
//!
//! Does:      partition tables (GPT, MBR), FAT and ext4, then what the image's own boot loader
//!            would read: Boot Loader Specification entries, grub.cfg with its environment,
//!            extlinux and syslinux, unified kernel images; the newest vmlinuz as the last resort.
//! Does not:  write to the disk, run firmware, or know KVM and files: bytes come in through
//!            `ReadAt`. Btrfs, XFS, LVM and encryption are named in the error and not read.
//! Bounds:    `Limits` (bytes and reads); each parser names its own. All that is kept in memory
//!            are configuration files; kernel and initrd are read by whoever takes the `Part`s.
//! Trusts:    nothing on the disk: a guest wrote it. Two libraries' worth of code is avoided or
//!            fenced: see `fat` and `ext4`.
//! Start at:  `peek`, then `search`.

#![forbid(unsafe_code)]

mod bls;
mod disk;
mod ext4;
mod extlinux;
mod fat;
pub mod fuzz;
mod grub;
mod guess;
mod part;
mod partitions;
mod search;
mod uki;
mod version;
mod volume;

pub use disk::{Limits, ReadAt, ReadError};
pub use part::Part;
pub use search::{Found, How, NotBootable, peek};
