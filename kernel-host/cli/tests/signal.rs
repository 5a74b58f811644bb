//! A signal ends a console session, and the terminal is itself again. Alone in its process,
//! because the signal goes to all of it.
#![allow(clippy::unwrap_used)]

mod fake;
mod harness;

use harness::{file, luc, terminal::Terminal};
use protocol::problem::exit;
use rustix::process::{Signal, getpid, kill_process};

#[test]
fn a_signal_leaves_the_terminal_as_it_was() {
    let node = fake::FakeNode::start();
    let folder = tempfile::tempdir().unwrap();
    let kernel = file(&folder, "kernel", b"a kernel");
    let at = format!("--via {}", node.address());
    luc(&format!("{at} image add img --kernel {}", kernel.display()));
    luc(&format!("{at} vm create a --image img --wait"));
    let mut terminal = Terminal::new();
    let session = terminal.luc(&format!("{at} vm console a"));
    terminal.waits_until_raw();
    terminal.sees("hello");
    kill_process(getpid(), Signal::TERM).unwrap();
    assert_eq!(session.join().unwrap(), exit::FAILED);
    terminal.sees("Ended by a signal; the VM goes on.");
    assert!(terminal.is_restored());
}
