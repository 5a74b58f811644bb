//! The one binary: init, node, vmm or CLI by its first argument.

#![forbid(unsafe_code)]

fn main() {}
