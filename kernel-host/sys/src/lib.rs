//! Linux: mounts, modules, devices, watchdog, power.

#![deny(unsafe_op_in_unsafe_fn)]
