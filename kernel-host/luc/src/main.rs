//! The one binary: init, node or CLI by its first argument.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    let role = std::env::args().nth(1);
    if std::process::id() == 1 || role.as_deref() == Some("init") {
        node::init::run();
    }
    ExitCode::from(2)
}
