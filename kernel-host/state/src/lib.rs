//! What a node keeps over power cuts: keys and values on a raw partition.
//!
//! Does:      a `Volume` gives a raw disk the length that a database file has; a `Store` keeps keys
//!            and values in it through redb, whole transactions or nothing.
//! Does not:  find partitions (`sys`), wait for slow disks on a thread of its own (`node`), or know
//!            what the keys mean.
//! Bounds:    `KEY_BYTES_MAX`, `VALUE_BYTES_MAX`, and the partition; a full one refuses the whole
//!            transaction and keeps what it had.
//! Trusts:    a disk to be slow, to fail, and to lose what was not synced; checksums notice the
//!            rest. Never to be ours: foreign bytes are refused, not overwritten.
//! Start at:  `Store::open`, then `Volume`.

#![forbid(unsafe_code)]

pub mod disk;
pub mod faulty;
mod store;
mod volume;

pub use disk::Disk;
pub use store::{Change, KEY_BYTES_MAX, OpenError, SaveError, Store, VALUE_BYTES_MAX};
pub use volume::{BadVolume, Volume, fuzz_header};
