//! The one binary: its first argument picks the face.
//!
//! Does:      PID 1 or `init`: the appliance's init; `node-run`: the node process; `vmm serve`: the
//!            jailed child of one VM; `vmm run`: one VM in the foreground; else the command line.
//! Does not:  do anything itself.
//! Bounds:    each face's own.
//! Trusts:    nothing: each face checks its own arguments.
//! Start at:  `main`.

#![forbid(unsafe_code)]

use cli::VmmRunOptions;
use machine::standalone::{self, DiskPath, Options, Outcome};
use protocol::problem::exit;
use std::process::ExitCode;

fn main() -> ExitCode {
    // PID 1 gets whatever stood on the kernel's command line; none of it is for us.
    if std::process::id() == 1 {
        node::init::run();
    }
    let arguments: Vec<_> = std::env::args_os().collect();
    let words = arguments
        .iter()
        .skip(1)
        .map(|word| word.to_str().unwrap_or_default());
    match words.collect::<Vec<_>>().as_slice() {
        // Only a machine's first process may mount, load and reboot.
        ["init", ..] => refuse_init(),
        ["node-run"] => node::service::run(),
        ["vmm", "serve"] => machine::child::serve(),
        _ => cli::main(arguments, run_vmm),
    }
}

fn refuse_init() -> ExitCode {
    eprintln!("luc: `luc init` is the first process of the appliance, and this is another one");
    eprintln!("Boot the image instead; to build it: cargo image build");
    ExitCode::from(exit::USAGE)
}

/// `luc vmm run`: works without a node, on any Linux with KVM.
fn run_vmm(options: VmmRunOptions) -> ExitCode {
    let disk = |read_only| move |path| DiskPath { path, read_only };
    let writable = options.disks.into_iter().map(disk(false));
    let options = Options {
        kernel: options.kernel,
        initrd: options.initrd,
        disks: writable
            .chain(options.read_only_disks.into_iter().map(disk(true)))
            .collect(),
        taps: options.taps,
        cmdline: options.cmdline,
        vcpus: options.vcpus,
        memory_mib: u32::try_from(options.memory.get() >> 20).unwrap_or(u32::MAX),
        no_jail: options.without_namespaces,
        no_reboot: options.no_reboot,
        verbose: false,
    };
    match standalone::run(&options) {
        Ok(Outcome::Shutdown | Outcome::Reset | Outcome::Left) => ExitCode::from(exit::DONE),
        Err(error) => {
            eprintln!("luc: {}", sentence(&error));
            eprintln!("{}", error.advice());
            ExitCode::from(exit::FAILED)
        }
    }
}

/// An error with its causes, in one line.
fn sentence(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", sentence(source)),
        None => error.to_string(),
    }
}
