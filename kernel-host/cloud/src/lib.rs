//! The services' state machines: VMs and images.

#![forbid(unsafe_code)]
