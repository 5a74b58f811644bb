//! A machine of the rig: one QEMU, its serial port and its power button.
//!
//! Does:      starts QEMU, waits for its serial lines, presses its buttons, cuts its power, and
//!            ends it when dropped.
//! Does not:  know what boots on it.
//! Bounds:    at most `slots::BOOTING_MAX` machines are in their boot at a time; every wait has
//!            a deadline.
//! Trusts:    QEMU to run, not to answer.
//! Start at:  `Machine::start`.

pub mod accel;
mod qmp;
mod serial;
mod shape;
mod slots;
mod spawner;

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;

pub use qmp::Qmp;
pub use serial::{Line, NoSuchLine, Observer, Serial};
pub use shape::{Accel, Boot, Firmware, Nic, OVMF_CODE, OVMF_VARS, Shape, mac_text};
pub use spawner::{command, spawn};

/// How long QEMU may need to end after it was told to.
const EXIT_TIMEOUT: Duration = Duration::from_secs(20);
/// The program that runs machines.
pub const QEMU: &str = "qemu-system-x86_64";

/// A machine did not start, or did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// QEMU could not be started.
    #[error("{name}: starting {QEMU}: {said}")]
    Start {
        /// The machine.
        name: String,
        /// What the system or QEMU said.
        said: String,
    },
    /// QMP failed.
    #[error("{name}: {action}")]
    Control {
        /// The machine.
        name: String,
        /// What was asked for.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// QEMU still runs though it should have ended.
    #[error("{name}: QEMU still runs {waited:?} after it should have ended")]
    StillRuns {
        /// The machine.
        name: String,
        /// How long it was waited for.
        waited: Duration,
    },
}

/// A machine that is switched on. Dropping it cuts its power.
#[derive(Debug)]
pub struct Machine {
    shape: Shape,
    child: Child,
    qmp: Qmp,
    serial: Serial,
    started: Instant,
    boot_slot: Option<slots::Slot>,
    errors: PathBuf,
}

/// Where a machine puts its files.
#[derive(Clone, Copy, Debug)]
pub struct Folders<'a> {
    /// Short path, for sockets.
    pub sockets: &'a Path,
    /// Kept after the run.
    pub logs: &'a Path,
}

impl Machine {
    /// Switches a machine on. Waits first until few enough others boot.
    pub fn start(
        shape: Shape,
        folders: Folders<'_>,
        observer: Observer,
    ) -> Result<Self, MachineError> {
        let boot_slot = slots::take();
        let failed = |said: String| MachineError::Start {
            name: shape.name.clone(),
            said,
        };
        let text = |source: io::Error| failed(source.to_string());
        let socket = |kind: &str| folders.sockets.join(format!("{}.{kind}", shape.name));
        let (qmp_path, serial_path, vars) = (socket("qmp"), socket("com1"), socket("vars"));
        if shape.firmware == Firmware::Uefi && !vars.exists() {
            fs::copy(OVMF_VARS, &vars)
                .map_err(|source| failed(format!("{OVMF_VARS}: {source}")))?;
        }
        let qmp_listener = fresh_listener(&qmp_path).map_err(text)?;
        let serial_listener = fresh_listener(&serial_path).map_err(text)?;
        let sockets = shape::Sockets {
            qmp: &qmp_path,
            serial: &serial_path,
            uefi_vars: &vars,
        };
        let arguments = shape::arguments(&shape, shape.accel.unwrap_or_else(accel::best), &sockets);
        // A machine that is switched on again keeps its earlier logs.
        let times = (1..).map(|time| format!("{}.{time}", shape.name));
        let is_free = |name: &String| !folders.logs.join(format!("{name}.serial.txt")).exists();
        let name = times.into_iter().find(is_free).unwrap_or_default();
        let log = |end: &str| folders.logs.join(format!("{name}.{end}"));
        let errors = log("qemu.txt");
        fs::write(log("command.txt"), format!("{QEMU} {arguments:?}\n")).map_err(text)?;
        let mut command = spawner::command(QEMU);
        command
            .args(&arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&errors).map_err(text)?);
        let mut child = spawner::spawn(command).map_err(text)?;
        let started = Instant::now();
        let serial_log = log("serial.txt");
        let connect = || -> io::Result<(Qmp, Serial)> {
            let serial = Serial::accept(&serial_listener, &serial_log, started, observer)?;
            Ok((Qmp::accept(&qmp_listener)?, serial))
        };
        match connect() {
            Ok((qmp, serial)) => Ok(Self {
                shape,
                child,
                qmp,
                serial,
                started,
                boot_slot: Some(boot_slot),
                errors,
            }),
            Err(source) => {
                let _ = child.kill();
                let _ = child.wait();
                let said = fs::read_to_string(&errors).unwrap_or_default();
                Err(failed(format!("{source}; QEMU said: {}", said.trim())))
            }
        }
    }

    /// The machine's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shape.name
    }

    /// What it looks like.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Its serial port.
    #[must_use]
    pub fn serial(&self) -> &Serial {
        &self.serial
    }

    /// When it was switched on: the zero of its serial lines' times.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Since it was switched on.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// The process, for a look at its memory.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Processor time that all threads of the machine have used.
    pub fn cpu_time(&self) -> io::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The program's name comes before, in brackets, and may have any letters.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: Option<Vec<u64>> = ticks.map(|field| field.parse().ok()).collect();
        let wrong = || io::Error::other(format!("what is the processor time in {stat:?}?"));
        let ticks: u64 = ticks.ok_or_else(wrong)?.iter().sum();
        Ok(Duration::from_millis(
            ticks * 1000 / rustix::param::clock_ticks_per_second(),
        ))
    }

    /// What QEMU itself complained about.
    #[must_use]
    pub fn complaints(&self) -> String {
        fs::read_to_string(&self.errors).unwrap_or_default()
    }

    /// Waits for a serial line; the boot slot is given back when it came or the wait failed.
    pub fn booted(&mut self, line: &str, timeout: Duration) -> Result<Line, NoSuchLine> {
        let found = self.serial.wait_for(line, timeout);
        self.boot_slot = None;
        found
    }

    /// Presses the power button.
    pub fn press_power(&mut self) -> Result<(), MachineError> {
        self.control("pressing the power button", "system_powerdown", json!({}))
    }

    /// Presses the reset button.
    pub fn press_reset(&mut self) -> Result<(), MachineError> {
        self.control("pressing the reset button", "system_reset", json!({}))
    }

    /// Presses keys at the same time, by QEMU's names: `["ctrl", "alt", "delete"]`.
    pub fn press_keys(&mut self, keys: &[&str]) -> Result<(), MachineError> {
        let keys: Vec<_> = keys
            .iter()
            .map(|key| json!({"type": "qcode", "data": key}))
            .collect();
        self.control("pressing keys", "send-key", json!({"keys": keys}))
    }

    /// Plugs a NIC's cable in or out, as the card sees it.
    pub fn set_carrier(&mut self, nic: usize, up: bool) -> Result<(), MachineError> {
        let arguments = json!({"name": format!("net{nic}"), "up": up});
        self.control("moving a network plug", "set_link", arguments)
    }

    /// Cuts the power: QEMU is killed, nothing is told to the machine.
    pub fn cut_power(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.boot_slot = None;
    }

    /// Waits until the machine has switched itself off.
    pub fn wait_off(&mut self, timeout: Duration) -> Result<(), MachineError> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.child.try_wait() {
                Ok(Some(_)) => return Ok(()),
                Ok(None) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Ok(None) => {
                    return Err(MachineError::StillRuns {
                        name: self.shape.name.clone(),
                        waited: timeout,
                    });
                }
                Err(source) => return Err(self.control_error("waiting for its end", source)),
            }
        }
    }

    /// Cuts the power when nothing else is wanted of the machine, and waits for QEMU's end.
    pub fn switch_off(mut self) -> Result<(), MachineError> {
        self.cut_power();
        self.wait_off(EXIT_TIMEOUT)
    }

    fn control(
        &mut self,
        action: &'static str,
        command: &str,
        arguments: serde_json::Value,
    ) -> Result<(), MachineError> {
        match self.qmp.run(command, arguments) {
            Ok(_) => Ok(()),
            Err(source) => Err(self.control_error(action, source)),
        }
    }

    fn control_error(&self, action: &'static str, source: io::Error) -> MachineError {
        MachineError::Control {
            name: self.shape.name.clone(),
            action,
            source,
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.cut_power();
    }
}

/// A listener at a path that an earlier run of the same machine may have left.
fn fresh_listener(path: &Path) -> io::Result<UnixListener> {
    if path.exists() {
        fs::remove_file(path)?;
    }
    UnixListener::bind(path)
}

/// Waits until a descriptor can be read; a timeout is an error.
fn wait_readable(fd: &impl AsFd, timeout: Duration) -> io::Result<()> {
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
    let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
    if poll(&mut fds, Some(&timeout))? == 0 {
        return Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "QEMU did not connect",
        ));
    }
    Ok(())
}
