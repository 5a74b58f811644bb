//! The `cargo rig` command.
//!
//! Does:      reads arguments, makes supplies, runs what was asked for.
//! Does not:  test anything itself.
//! Bounds:    one run at a time in one target folder.
//! Trusts:    the person at the keyboard.
//! Start at:  `main`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    qemu_tests::command::main()
}
