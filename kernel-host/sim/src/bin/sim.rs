//! The `cargo sim` command.
//!
//! Does:      hands over to the library.
//! Does not:  simulate anything itself.
//! Bounds:    none of its own.
//! Trusts:    the person at the keyboard.
//! Start at:  `main`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    sim::command::main()
}
