//! The console as a person at a terminal and as a script in a pipe meet it.
#![allow(clippy::unwrap_used)]

mod fake;
mod harness;

use cloud::VmEvent;
use fake::FakeNode;
use harness::{Caught, file, luc, luc_with, piped, terminal::Terminal, words};
use protocol::problem::exit;
use std::{io::Write, time::Duration};

/// A node with a running VM `a`.
fn node() -> (FakeNode, String) {
    let node = FakeNode::start();
    let folder = tempfile::tempdir().unwrap();
    let kernel = file(&folder, "kernel", b"a kernel");
    let at = format!("--via {}", node.address());
    luc(&format!("{at} image add img --kernel {}", kernel.display()));
    let made = luc(&format!("{at} vm create a --image img --wait"));
    assert_eq!(made.code, exit::DONE, "{made:?}");
    (node, at)
}

fn typed(node: &FakeNode, wanted: &[u8]) {
    let mut all = Vec::new();
    for _ in 0..400 {
        all.extend(node.typed("a"));
        if all == wanted {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the guest got {all:?}");
}

#[test]
fn a_person_attaches_types_and_detaches() {
    let (node, at) = node();
    let mut terminal = Terminal::new();
    let session = terminal.luc(&format!("{at} vm console a"));
    terminal.sees("Detach with Ctrl-]");
    terminal.sees("hello from"); // scrollback
    terminal.waits_until_raw();
    terminal.types("ls -l\r\x03");
    typed(&node, b"ls -l\r\x03"); // Ctrl-C goes to the guest
    terminal.sees("ls -l");
    node.prints("a", b"total 0\r\n");
    terminal.sees("total 0");
    terminal.types("x\x1d never sent");
    assert_eq!(session.join().unwrap(), exit::DONE);
    typed(&node, b"x");
    terminal.sees("Detached. Back again: luc vm console a");
    assert!(terminal.is_restored());
    assert!(luc(&format!("{at} vm show a")).output.contains("running"));
}

#[test]
fn a_second_person_watches_until_they_take_the_keyboard() {
    let (node, at) = node();
    let mut first = Terminal::new();
    let one = first.luc(&format!("{at} vm console a"));
    first.waits_until_raw();
    first.types("1");
    typed(&node, b"1");
    let mut second = Terminal::new();
    let two = second.luc(&format!("{at} vm console a"));
    second.sees("Somebody else has the keyboard");
    second.types("2");
    second.types("\x1d");
    assert_eq!(two.join().unwrap(), exit::DONE);
    let mut third = Terminal::new();
    let three = third.luc(&format!("{at} vm console a --take"));
    first.sees("Somebody took the keyboard");
    third.waits_until_raw();
    third.types("3");
    typed(&node, b"3"); // and no 2
    first.types("4");
    third.types("\x1d");
    assert_eq!(three.join().unwrap(), exit::DONE);
    first.sees("The keyboard is yours now");
    first.types("5\x1d");
    assert_eq!(one.join().unwrap(), exit::DONE);
    typed(&node, b"5"); // and no 4
}

#[test]
fn a_console_ends_when_its_vm_does() {
    let (node, at) = node();
    let mut terminal = Terminal::new();
    let session = terminal.luc(&format!("{at} vm console a"));
    terminal.waits_until_raw();
    terminal.sees("hello");
    node.happens("a", VmEvent::TripleFault);
    assert_eq!(session.join().unwrap(), exit::DONE);
    terminal.sees("The console closed: the VM is failed.");
    assert!(terminal.is_restored());
}

#[test]
fn a_panic_leaves_the_terminal_as_it_was() {
    struct Panics;
    impl Write for Panics {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            panic!("a bug in the middle of a session");
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (_node, at) = node();
    let terminal = Terminal::new();
    let mut streams = terminal.streams();
    streams.output = Box::new(Panics);
    let words = words(&format!("{at} vm console a"));
    let session = std::thread::spawn(move || cli::run_on(words, &mut streams));
    assert!(session.join().is_err());
    assert!(terminal.is_restored());
}

#[test]
fn a_pipe_gets_the_bytes_and_nothing_else() {
    let (node, at) = node();
    let (output, errors) = (Caught::default(), Caught::default());
    let mut streams = piped(&output, &errors);
    let (read, mut write) = std::io::pipe().unwrap();
    streams.input = Some(read.into());
    let words = words(&format!("{at} vm console a"));
    let session = std::thread::spawn(move || cli::run_on(words, &mut streams));
    write.write_all(b"typed\x1dthrough\n").unwrap(); // Ctrl-] is a byte like any other here
    typed(&node, b"typed\x1dthrough\n");
    drop(write); // the end of the input is not the end of the console
    node.prints("a", b"\xff\x00 raw bytes");
    std::thread::sleep(Duration::from_millis(100));
    luc(&format!("{at} vm stop a --force"));
    assert_eq!(session.join().unwrap(), exit::DONE);
    assert!(
        output.text().ends_with("\u{fffd}\0 raw bytes"),
        "{:?}",
        output.text()
    );
    assert_eq!(errors.text(), "");
}

#[test]
fn a_script_waits_for_a_text() {
    let (node, at) = node();
    let found = luc(&format!("{at} vm console a --for hello"));
    assert_eq!(found.code, exit::DONE, "{found:?}");
    let late = luc(&format!("{at} vm console a --for never --timeout 200ms"));
    assert_eq!(late.code, exit::TIMEOUT, "{late:?}");
    let printer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        for piece in [b"log".as_slice(), b"in: "] {
            node.prints("a", piece);
            std::thread::sleep(Duration::from_millis(30));
        }
        node
    });
    let found = luc(&format!("{at} vm console a --for 'login: ' --read-only"));
    assert_eq!(found.code, exit::DONE, "{found:?}");
    let node = printer.join().unwrap();
    let ender = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        node.happens("a", VmEvent::TripleFault);
        node
    });
    let ended = luc(&format!("{at} vm console a --for never"));
    assert_eq!(ended.code, exit::FAILED, "{ended:?}");
    assert!(ended.errors.contains("closed without `never`"), "{ended:?}");
    drop(ender.join().unwrap());
}

#[test]
fn a_flood_arrives_whole() {
    let (node, at) = node();
    let mut flood = Vec::new();
    for line in 0..40_000 {
        flood.extend_from_slice(format!("line {line}\r\n").as_bytes());
    }
    flood.extend_from_slice(b"END");
    node.prints("a", &flood);
    let ran = luc(&format!("{at} vm console a --for END"));
    assert_eq!(ran.code, exit::DONE);
    assert!(ran.output.ends_with(std::str::from_utf8(&flood).unwrap()));
}

#[test]
fn a_refused_console_says_why() {
    let (node, at) = node();
    let ran = luc(&format!("{at} vm console nobody"));
    assert_eq!(ran.code, exit::NOT_FOUND, "{ran:?}");
    drop(node);
    let ran = luc_with("--via 127.0.0.1:1 vm console a", |_| {});
    assert_eq!(ran.code, exit::UNREACHABLE, "{ran:?}");
}
