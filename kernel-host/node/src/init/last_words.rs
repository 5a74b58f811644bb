//! What a dying process of ours still says.
//!
//! Does:      panic hooks: PID 1 tells all consoles, the node process tells PID 1.
//! Does not:  go on: the process aborts after the hook, and PID 1's end is a kernel panic, which
//!            reboots after the time that `sysctl::reboot_after_panic` set.
//! Bounds:    one line.
//! Trusts:    the consoles may be gone; nothing is checked any more.
//! Start at:  `install_for_init`.

use crate::supervision::{ToInit, console_text, encode};
use std::panic::PanicHookInfo;
use sys::consoles::{Consoles, Kind};

/// PID 1: the sentence goes to every console; screens keep it, below the status page.
pub fn install_for_init() {
    std::panic::set_hook(Box::new(|info| {
        let text = format!(
            "error PID 1 stopped: {}; the machine reboots",
            sentence(info)
        );
        let at_ms = sys::clock::uptime_ms();
        let line = format!("luc[{}] {text}", super::journal::seconds(at_ms));
        let mut consoles = Consoles::open();
        consoles.write_line(&line);
        consoles.write(
            Kind::Screen,
            format!("\x1b[25;1H\r\n\x1b[31m{line}\x1b[0m\r\n").as_bytes(),
        );
        rustix::fs::sync();
        std::process::abort();
    }));
}

/// The node process: the sentence goes to PID 1, through stdin's socket.
pub fn install_for_node() {
    std::panic::set_hook(Box::new(|info| {
        if let Ok(message) = encode(&ToInit::Panicked(sentence(info))) {
            let _ = sys::seqpacket::send_message(std::io::stdin(), &message);
        }
        std::process::abort();
    }));
}

fn sentence(info: &PanicHookInfo<'_>) -> String {
    let words = info.payload_as_str().unwrap_or("a panic without words");
    let place = info
        .location()
        .map(|at| format!(" ({}:{})", at.file(), at.line()));
    console_text(&format!("{words}{}", place.unwrap_or_default()))
}
