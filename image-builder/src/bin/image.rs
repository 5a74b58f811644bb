//! The `cargo image` command.

#![forbid(unsafe_code)]

fn main() {}
