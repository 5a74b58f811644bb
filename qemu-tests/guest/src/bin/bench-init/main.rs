//! PID 1 of the bench machine: starts VM programs one after the other and times them.
//!
//! Does:      follows the plan in its initrd; prints one line a run for the rig; switches off.
//! Does not:  know the programs: their arguments stand in the plan, so each is treated alike.
//! Bounds:    `ORDERS_MAX` orders, `PAIRS_MAX` pairs; a run has `run::TIMEOUT`.
//! Trusts:    the rig, which wrote the plan; no program that it starts.
//! Start at:  `follow`.

#![forbid(unsafe_code)]

mod footprint;
mod procfs;
mod run;

use std::ffi::CString;
use std::fs;

use guest::bench::{DONE, MARK, PLAN, PROBLEM};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, finit_module, reboot};

use run::Program;

/// A plan has some ten lines.
const ORDERS_MAX: usize = 100;
/// A pair takes about 10 s in emulation.
const PAIRS_MAX: u64 = 100;
/// Tells `finit_module` that the file is still compressed.
const MODULE_INIT_COMPRESSED_FILE: core::ffi::c_int = 4;

fn main() {
    match prepare().and_then(|()| follow()) {
        Ok(()) => println!("{MARK}{DONE}"),
        Err(problem) => println!("{MARK}{PROBLEM} {problem}"),
    }
    let _ = reboot(RebootCommand::PowerOff);
    // Ending would panic the kernel.
    loop {
        std::thread::park();
    }
}

fn prepare() -> Result<(), String> {
    for (kind, at) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/tmp"),
    ] {
        fs::create_dir_all(at).map_err(|source| format!("creating {at}: {source}"))?;
        match mount(kind, at, kind, MountFlags::empty(), None) {
            // The kernel may have mounted devtmpfs by itself.
            Ok(()) | Err(Errno::BUSY) => {}
            Err(source) => return Err(format!("mounting {kind} on {at}: {source}")),
        }
    }
    Ok(())
}

/// Modules first, then the timed programs in alternating order, then the looks at memory.
fn follow() -> Result<(), String> {
    let plan = fs::read_to_string(PLAN).map_err(|source| format!("reading {PLAN}: {source}"))?;
    let (mut pairs, mut timed, mut looks) = (1, Vec::new(), Vec::new());
    for line in plan.lines().take(ORDERS_MAX) {
        let words: Vec<&str> = line.split('\t').collect();
        match words[..] {
            ["load", path] => load(path)?,
            ["pairs", count] => pairs = number(count)?.min(PAIRS_MAX),
            ["time", name, program, ref arguments @ ..] => {
                timed.push(Program::new(name, program, arguments));
            }
            ["footprint", name, memory_mib, program, ref arguments @ ..] => {
                let program = Program::new(name, program, arguments);
                looks.push((program, number(memory_mib)?));
            }
            _ => return Err(format!("{line:?} is no order")),
        }
    }
    // Pair 0 warms caches and is not counted by the rig.
    for pair in 0..=pairs {
        let first = usize::from(pair % 2 == 1);
        for turn in 0..timed.len() {
            let program = &timed[(first + turn) % timed.len()];
            report(program.name, program.time(pair))?;
        }
    }
    for (program, memory_mib) in &looks {
        report(program.name, footprint::measure(program, *memory_mib))?;
    }
    Ok(())
}

/// One program that fails doesn't keep the others from being measured.
fn report(name: &str, outcome: Result<String, String>) -> Result<(), String> {
    match outcome {
        Ok(line) => println!("{MARK}{line}"),
        Err(problem) => {
            println!("{MARK}{PROBLEM} program={name} {problem}");
            for line in run::last_words() {
                println!("{name} said: {line}");
            }
        }
    }
    procfs::end_all_others()
}

fn number(word: &str) -> Result<u64, String> {
    word.parse().map_err(|source| format!("{word:?}: {source}"))
}

fn load(path: &str) -> Result<(), String> {
    let file = fs::File::open(path).map_err(|source| format!("opening {path}: {source}"))?;
    match finit_module(&file, &CString::default(), MODULE_INIT_COMPRESSED_FILE) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        // KVM's module for processors of the other maker.
        Err(Errno::OPNOTSUPP) => Ok(()),
        Err(source) => Err(format!("loading {path}: {source}")),
    }
}
