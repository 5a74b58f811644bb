//! The `cargo rig` command.

#![forbid(unsafe_code)]

fn main() {}
