//! Virtio queues and devices: parse, act, complete.

#![forbid(unsafe_code)]
