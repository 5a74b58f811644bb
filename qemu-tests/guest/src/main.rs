//! The program inside test guests: their `/init`, and all there is besides the kernel.
//!
//! Does:      mounts, reads `luc.nonce=` and `luc.guest=` from the kernel's command line, prints a
//!            token, then behaves as told.
//! Does not:  start processes, use a network, or end: PID 1 that ends is a kernel panic.
//! Bounds:    one thread, one small buffer; `flood` alone writes without end, which is its job.
//! Trusts:    nobody depends on it: it is the stranger that the machine must hold in.
//! Start at:  `main`, then `behaviour::Behaviour`.

#![forbid(unsafe_code)]

mod behaviour;

use behaviour::Behaviour;
use guest::linux::{self, say};

fn main() {
    if let Err(problem) = live() {
        say(&format!("failed: {problem}"));
    }
    // Ending would panic the kernel; a guest that has nothing left to do waits.
    loop {
        std::thread::park();
    }
}

fn live() -> Result<(), String> {
    linux::mount_all()?;
    say("init");
    let cmdline = linux::read_text("/proc/cmdline")?;
    let nonce = guest::argument(&cmdline, "luc.nonce").unwrap_or("none");
    let behaviour =
        Behaviour::from_name(guest::argument(&cmdline, "luc.guest").unwrap_or("token"))?;
    println!(
        "{}{}",
        guest::TOKEN_LINE,
        guest::token(nonce, &linux::kernel_release())
    );
    say(&format!(
        "memory {} KiB, cpus {}",
        linux::memory_kib()?,
        linux::cpus()?
    ));
    behaviour.run()
}
