//! The one binary: its first argument picks the face.
//!
//! Does:      PID 1 or `init`: the appliance's init; `node-run`: the node process; `vmm serve`: the
//!            jailed child of one VM; everything else: the command line.
//! Does not:  do anything itself.
//! Trusts:    nothing: each face checks its own arguments.
//! Start at:  `main`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    // PID 1 gets whatever stood on the kernel's command line; none of it is for us.
    if std::process::id() == 1 {
        node::init::run();
    }
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(|word| word.to_str().unwrap_or_default()).collect();
    match words.as_slice() {
        ["node-run"] => node::service::run(),
        ["vmm", "serve"] => machine::child::serve(),
        _ => ExitCode::from(2),
    }
}
