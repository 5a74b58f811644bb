//! The jailed child of one VM: `luc vmm serve`, control socket on standard input.
//!
//! Does:      receives `Start`, locks itself in, builds the machine, runs it for one boot.
//! Does not:  open anything by name after `Start` came, or outlive its parent's end of the socket.
//! Bounds:    one machine, one boot (see `control`).
//! Trusts:    the parent. From `Jailed` on, nothing that this process does depends on trust in
//!            the guest.
//! Start at:  `serve`.

use std::error::Error as StdError;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use crate::control::{self, Event, Request, Stage, Start};
use crate::io_loop::IoLoop;
use crate::jail;
use crate::legacy::End;
use crate::vcpu;
use crate::vm::{self, Machine};

/// Stack of a vCPU thread: it answers exits and nothing deep.
const VCPU_STACK_BYTES: usize = 128 << 10;

/// A start that failed.
struct Failure {
    stage: Stage,
    reason: String,
}

impl Failure {
    fn new(stage: Stage, error: &dyn StdError) -> Failure {
        Failure {
            stage,
            reason: chain(error),
        }
    }
}

/// An error with all its causes, in one line.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Serves one VM from `Start` to its end. The exit code only matters to a person: 0 after an
/// orderly end of the boot, 1 otherwise; parents read the events.
pub fn serve() -> ExitCode {
    let control = match std::io::stdin().as_fd().try_clone_to_owned() {
        Ok(fd) => fd,
        Err(error) => {
            eprintln!("luc vmm serve: standard input: {error}");
            return ExitCode::FAILURE;
        }
    };
    match start_and_run(control.as_fd()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { stage, reason }) => {
            let failed = Event::Failed {
                stage,
                reason: reason.clone(),
            };
            if control::send_event(control.as_fd(), &failed).is_err() {
                eprintln!(
                    "luc vmm serve: {reason} (this command is for parents with a control socket \
                     on standard input; people use: luc vmm run)"
                );
            }
            ExitCode::FAILURE
        }
    }
}

fn start_and_run(control: BorrowedFd<'_>) -> Result<(), Failure> {
    let request = |reason: String| Failure {
        stage: Stage::Request,
        reason,
    };
    let (start, fds) = receive_start(control)?;
    let began = Instant::now();
    let descriptors = vm::check(&start, fds).map_err(request)?;
    let keep = descriptors.numbers(control);
    jail::enter(&start, &keep).map_err(|error| Failure::new(Stage::Jail, &error))?;
    let jail_us = elapsed_us(began);
    let _ = control::send_event(control, &Event::Jailed);

    let began = Instant::now();
    let vm::Descriptors {
        kvm,
        console,
        kernel,
        initrd,
        disks,
        nics,
    } = descriptors;
    let machine = Machine::build(&start, kvm, &kernel, initrd.as_ref(), disks, nics)
        .map_err(|error| Failure::new(stage_of(&error), &error))?;
    drop((kernel, initrd));
    let (entry, left_packed) = (machine.entry, machine.left_packed);
    let owned = control
        .try_clone_to_owned()
        .map_err(|error| Failure::new(Stage::Machine, &error))?;
    let mut io_loop = IoLoop::new(machine, owned, console)
        .map_err(|error| Failure::new(Stage::Machine, &error))?;
    if let Some(why) = left_packed {
        io_loop.tell(&Event::Warning(format!(
            "The kernel unpacks itself, which is slower: {why}"
        )));
    }
    io_loop.tell(&Event::Started {
        entry,
        jail_us,
        build_us: elapsed_us(began),
    });
    run(&mut io_loop)
}

fn stage_of(error: &vm::BuildError) -> Stage {
    match error {
        vm::BuildError::Boot(_) => Stage::Boot,
        _ => Stage::Machine,
    }
}

fn receive_start(control: BorrowedFd<'_>) -> Result<(Start, Vec<OwnedFd>), Failure> {
    let request = |reason: String| Failure {
        stage: Stage::Request,
        reason,
    };
    match control::recv_request(control) {
        Ok(Some((Request::Start(start), fds))) => Ok((start, fds)),
        Ok(Some(_)) => Err(request("the first packet was not Start".to_owned())),
        Ok(None) => Err(request("the parent closed the control socket".to_owned())),
        Err(error) => Err(Failure::new(Stage::Request, &error)),
    }
}

/// Starts the vCPUs, then becomes the I/O thread.
fn run(io_loop: &mut IoLoop) -> Result<(), Failure> {
    let failed = |error: &dyn StdError| Failure::new(Stage::Run, error);
    let vcpus = std::mem::take(&mut io_loop.machine_mut().vcpus);
    for (id, mut vcpu) in (0u8..).zip(vcpus) {
        let bus = Arc::clone(&io_loop.machine_mut().board.bus);
        std::thread::Builder::new()
            .name(format!("vcpu{id}"))
            .stack_size(VCPU_STACK_BYTES)
            .spawn(move || {
                match jail::filter_vcpu_thread() {
                    Ok(()) => vcpu::run(id, &mut vcpu, &bus),
                    Err(error) => bus.power.end(End::Failed {
                        reason: chain(&error),
                    }),
                }
                loop {
                    std::thread::park(); // the process ends as a whole
                }
            })
            .map_err(|error| failed(&error))?;
    }
    jail::filter_io_thread().map_err(|error| failed(&error))?;
    let end = io_loop.run().map_err(|error| failed(&error))?;
    io_loop.send_last_words();
    io_loop.tell(&match end {
        End::Shutdown => Event::GuestShutdown,
        End::Reset => Event::GuestReset,
        End::TripleFault { vcpu } => Event::TripleFault { vcpu },
        End::Killed => Event::Killed,
        End::Failed { reason } => {
            return Err(Failure {
                stage: Stage::Run,
                reason,
            });
        }
    });
    io_loop.tell(&Event::Exited(io_loop.counters()));
    Ok(())
}

fn elapsed_us(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
