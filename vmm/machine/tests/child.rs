//! The child as its parent sees it: a real process, real sockets, and starts that must fail well.
//!
//! It has a `main` of its own, because the child is this same program started again.
#![allow(clippy::unwrap_used)]

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};

use machine::control::{self, Event, Jail, Request, Stage, Start};
use machine::spawn::{Child, explain_end};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

const TESTS: [(&str, fn()); 5] = [
    ("a_first_packet_that_is_not_start_is_refused", not_start),
    ("a_start_out_of_limits_names_the_field", out_of_limits),
    ("a_file_that_is_no_kernel_fails_inside_the_jail", no_kernel),
    ("a_child_without_a_parent_ends", without_parent),
    ("a_killed_child_is_explained", killed),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments == ["vmm", "serve"] {
        return machine::child::serve();
    }
    if arguments.iter().any(|argument| argument == "--list") {
        if !arguments.iter().any(|argument| argument == "--ignored") {
            TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        }
        return ExitCode::SUCCESS;
    }
    for (name, test) in TESTS {
        let named = arguments
            .iter()
            .find(|argument| !argument.starts_with("--"));
        if named.is_none_or(|wanted| name.contains(wanted.as_str())) {
            test();
            println!("{name} ... ok");
        }
    }
    ExitCode::SUCCESS
}

fn start() -> Start {
    Start {
        name: "test".to_owned(),
        vcpus: 1,
        memory_mib: 128,
        cmdline: String::new(),
        initrd: false,
        disks: Vec::new(),
        nics: Vec::new(),
        uid: 65_534,
        jail: Jail::Full,
    }
}

/// All events until the end, and the exit status in words.
fn events(child: &mut Child) -> (Vec<Event>, String) {
    let mut events = Vec::new();
    while let Some(event) = control::recv(child.control()).unwrap() {
        events.push(event);
    }
    (events, explain_end(child.wait().unwrap()))
}

fn spawn(start: Start) -> Child {
    let null = File::open("/dev/null").unwrap();
    let kvm = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .ok();
    let (console, _) = UnixStream::pair().unwrap();
    let kvm = kvm.as_ref().unwrap_or(&null);
    let fds: [BorrowedFd<'_>; 3] = [kvm.as_fd(), console.as_fd(), null.as_fd()];
    Child::spawn(start, &fds).unwrap()
}

fn not_start() {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    let mut child = Command::new("/proc/self/exe")
        .args(["vmm", "serve"])
        .stdin(Stdio::from(theirs))
        .spawn()
        .unwrap();
    control::send(ours.as_fd(), &Request::PowerButton).unwrap();
    let event = control::recv(ours.as_fd()).unwrap();
    let reason = "the first packet was not Start".to_owned();
    assert_eq!(
        event,
        Some(Event::Failed {
            stage: Stage::Request,
            reason
        })
    );
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

fn out_of_limits() {
    let (events, _) = events(&mut spawn(Start {
        vcpus: 9,
        ..start()
    }));
    let reason = "vcpus is 9; it must be 1 to 8".to_owned();
    assert_eq!(
        events,
        [Event::Failed {
            stage: Stage::Request,
            reason
        }]
    );
}

fn no_kernel() {
    let (events, _) = events(&mut spawn(start()));
    match events.as_slice() {
        [
            Event::Jailed,
            Event::Failed {
                stage: Stage::Boot,
                reason,
            },
        ] => {
            assert!(reason.contains("no bzImage"), "{reason}");
        }
        // Without KVM the start ends one step earlier.
        [
            Event::Jailed,
            Event::Failed {
                stage: Stage::Machine,
                ..
            },
        ] => {}
        // Where namespaces are refused, that is said, with what to do.
        [
            Event::Failed {
                stage: Stage::Jail,
                reason,
            },
        ] => {
            assert!(reason.contains("--without-namespaces"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

fn without_parent() {
    let status = Command::new("/proc/self/exe")
        .args(["vmm", "serve"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
}

fn killed() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut child = Command::new("/proc/self/exe")
        .args(["vmm", "serve"])
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .spawn()
        .unwrap();
    child.kill().unwrap();
    let told = explain_end(child.wait().unwrap());
    assert!(told.contains("SIGKILL"), "{told}");
    drop(ours);
}
