//! The least that a Linux kernel can start: says when it was started, and switches off.
//!
//! Does:      prints the kernel's clock at its first instruction.
//! Does not:  mount, load, wait for or allocate anything: it is the floor that LUC OS is
//!            measured against.
//! Bounds:    one line.
//! Trusts:    the kernel.
//! Start at:  `main`.

#![forbid(unsafe_code)]

use rustix::system::{RebootCommand, reboot};
use rustix::time::{ClockId, clock_gettime};

fn main() {
    let now = clock_gettime(ClockId::Boottime);
    let clock = now.tv_sec * 1000 + now.tv_nsec / 1_000_000;
    println!(
        "{}{} clock_ms={clock}",
        guest::bench::MARK,
        guest::bench::BARE
    );
    let _ = reboot(RebootCommand::PowerOff);
    // Ending would panic the kernel.
    loop {
        std::thread::park();
    }
}
