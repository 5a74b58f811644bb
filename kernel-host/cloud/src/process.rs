//! One monitor process of a VM, and what the VM becomes when it ends.
//!
//! Start at:  the table above `Ending`.

use crate::Ended;

/// What a VM becomes when its process ends. It is decided before the end:
///
/// | what happened                       | ending      | until then  | then                   |
/// |-------------------------------------|-------------|-------------|------------------------|
/// | nothing                             | `Unasked`   | as it was   | `failed`, how it ended |
/// | guest shut down                     | `Stopped`   | `stopping`  | `stopped`              |
/// | stop by force, or before it ran     | `Stopped`   | `stopping`  | `stopped`              |
/// | guest reset                         | `Respawn`   | `starting`  | a new process          |
/// | guest reset, then runs again        | `Unasked`   | `running`   | -                      |
/// | guest reset while asked to stop     | `Stopped`   | `stopping`  | `stopped`              |
/// | triple fault, monitor gave up       | `Failed`    | `stopping`  | `failed`, why          |
/// | delete                              | `Deleted`   | `deleting`  | gone                   |
///
/// `Deleted` beats all others, all others beat `Respawn`, and else the first one stays.
/// A triple fault is not restarted: guests reboot through the reset line, so a fault is a crash,
/// and its last console lines are worth more than another crash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    Unasked,
    Stopped(Option<String>),
    Failed(String),
    Respawn,
    Deleted,
}

/// A stop that the guest was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PendingStop {
    /// When the guest's time is over.
    pub until_ms: u64,
    /// Then end it by force; else it counts as running again.
    pub force: bool,
}

#[derive(Debug)]
pub(crate) struct Process {
    pub run: u32,
    pub spawned_ms: u64,
    pub ending: Ending,
    pub stop: Option<PendingStop>,
    /// When to kill it (again).
    pub kill_at_ms: Option<u64>,
}

impl Process {
    pub fn new(run: u32, spawned_ms: u64) -> Self {
        Self {
            run,
            spawned_ms,
            ending: Ending::Unasked,
            stop: None,
            kill_at_ms: None,
        }
    }
}

/// The end of a process that nobody asked to end, as a reason.
pub(crate) fn told(ended: &Ended) -> String {
    match ended {
        Ended::Code(code) => {
            format!("its monitor process ended by itself with exit code {code}")
        }
        Ended::Signal(signal) => format!("its monitor process was killed by signal {signal}"),
        Ended::NeverStarted(why) => format!("its monitor process could not be made: {why}"),
    }
}
