//! The `luc` commands, one renderer for every format, and the API client.
//!
//! Does:      reads arguments, asks a node, shows its answer; exit codes with one meaning each.
//! Does not:  know Linux, KVM or the node's insides; `luc vmm run` only hands its options back.
//! Bounds:    `client::ANSWER_BYTES_MAX` of an answer are read; waits end at `--timeout`.
//! Trusts:    the node it was pointed at for facts, not for terminal control: names and reasons are
//!            printed with control characters escaped. A console is raw, as consoles are.
//! Start at:  `parse`, then `arguments::Arguments`.

#![forbid(unsafe_code)]
// A problem ends a command, so its size on the stack costs nothing that matters.
#![allow(clippy::result_large_err)]

mod address;
mod arguments;
pub mod client;
mod commands;
mod complete;
mod confirm;
mod console;
mod progress;
mod render;
mod report;
mod streams;
mod upload;
pub mod wait;

pub use arguments::{Arguments, VmmRunOptions};
pub use streams::Streams;
pub use wait::{Condition, Patience};

use clap::{CommandFactory, Parser};
use protocol::{Problem, problem::exit};
use std::{ffi::OsString, process::ExitCode};

/// How a command ends: what it means is in `protocol::problem::exit`.
type Done = Result<u8, Problem>;

/// What the arguments ask.
#[derive(Debug)]
pub enum Invocation {
    /// `luc vmm run`: for the monitor, on this machine.
    VmmRun(VmmRunOptions),
    /// Any other command: `run` it.
    Command(Box<Command>),
    /// Help, version or completion was printed, or the arguments were wrong and that was told.
    Done(ExitCode),
}

/// A command that talks to a node.
#[derive(Debug)]
pub struct Command(Arguments);

impl Command {
    /// Does it, on the streams of this process.
    pub fn run(self) -> ExitCode {
        ExitCode::from(run(self.0, &mut Streams::of_process()))
    }
}

/// Reads the arguments of this process; the first is the program's name.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Invocation {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if let Some(code) = complete::answer_shell(&arguments) {
        return Invocation::Done(ExitCode::from(code));
    }
    match Arguments::try_parse_from(&arguments) {
        Ok(parsed) => match parsed.vmm_run() {
            Some(options) => Invocation::VmmRun(options.clone()),
            None => Invocation::Command(Box::new(Command(parsed))),
        },
        Err(error) => {
            let code = report::usage(&error, &arguments, &mut Streams::of_process());
            Invocation::Done(ExitCode::from(code))
        }
    }
}

/// Everything but `luc vmm run`, which `run_vmm` does.
pub fn main(
    arguments: impl IntoIterator<Item = OsString>,
    run_vmm: impl FnOnce(VmmRunOptions) -> ExitCode,
) -> ExitCode {
    match parse(arguments) {
        Invocation::VmmRun(options) => run_vmm(options),
        Invocation::Command(command) => command.run(),
        Invocation::Done(code) => code,
    }
}

/// One whole invocation on the given streams; what tests and other programs call.
pub fn run_on(arguments: impl IntoIterator<Item = OsString>, streams: &mut Streams) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    match Arguments::try_parse_from(&arguments) {
        Ok(parsed) => run(parsed, streams),
        Err(error) => report::usage(&error, &arguments, streams),
    }
}

/// The tree of commands, for help and its tests.
pub fn command_tree() -> clap::Command {
    Arguments::command()
}

fn run(arguments: Arguments, streams: &mut Streams) -> u8 {
    match commands::run(&arguments, streams) {
        Ok(code) => code,
        Err(problem) => report::problem(&problem, arguments.common.output, streams),
    }
}

/// A problem of this machine rather than of a node.
fn local(detail: impl Into<String>, advice: impl Into<String>) -> Problem {
    Problem::new(protocol::Code::Local, detail, advice)
}

/// The arguments fit the grammar, but not together.
fn usage(detail: impl Into<String>, advice: impl Into<String>) -> Problem {
    debug_assert_eq!(protocol::Code::BadRequest.exit(), exit::USAGE);
    Problem::new(protocol::Code::BadRequest, detail, advice)
}
