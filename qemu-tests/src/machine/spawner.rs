//! Starts child processes that cannot outlive the rig.
//!
//! Does:      spawns from one thread that lives as long as the program, under `setpriv
//!            --pdeathsig`, so that the kernel ends a child when the rig is killed.
//! Does not:  end children in the ordinary case; their owners do.
//! Bounds:    one thread.
//! Trusts:    util-linux's `setpriv`, which is on every Debian.
//! Start at:  `spawn`.

use std::ffi::OsStr;
use std::io;
use std::process::{Child, Command};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};

type Order = (Command, mpsc::Sender<io::Result<Child>>);

/// The kernel signals a child when the *thread* that started it ends, so one thread starts all.
static SPAWNER: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();

/// A command that dies with the rig.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Starts it.
pub fn spawn(command: Command) -> io::Result<Child> {
    let (answer, result) = mpsc::channel();
    let spawner = SPAWNER.get_or_init(|| Mutex::new(start()));
    let sent = spawner
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((command, answer));
    sent.map_err(|_| io::Error::other("the thread that starts processes has ended"))?;
    result.recv().map_err(io::Error::other)?
}

fn start() -> mpsc::Sender<Order> {
    let (orders, inbox) = mpsc::channel::<Order>();
    std::thread::spawn(move || {
        for (mut command, answer) in inbox {
            let _ = answer.send(command.spawn());
        }
    });
    orders
}
