//! The consoles that the kernel was told to use.
//!
//! Does:      finds them all, writes to each without ever waiting for one.
//! Does not:  read from them: nobody logs in here.
//! Bounds:    `CONSOLES_MAX`; bytes that a full console does not take are dropped and counted.
//! Trusts:    /sys/class/tty/console/active.
//! Start at:  `Consoles::open`.

use rustix::fs::{Mode, OFlags, open};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

/// More consoles than any machine has.
pub const CONSOLES_MAX: usize = 8;

/// A screen can be painted; a serial line gets plain lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Screen,
    Line,
}

/// One console.
#[derive(Debug)]
pub struct Console {
    pub name: String,
    pub kind: Kind,
    device: OwnedFd,
    /// Bytes that did not fit.
    pub dropped: u64,
}

/// All consoles of the machine.
#[derive(Debug, Default)]
pub struct Consoles {
    pub all: Vec<Console>,
}

impl Consoles {
    /// Opens every active console; /dev/console alone when the kernel doesn't tell.
    #[must_use]
    pub fn open() -> Consoles {
        let active = crate::read_attribute("/sys/class/tty/console/active").unwrap_or_default();
        let mut all: Vec<Console> = active
            .split_ascii_whitespace()
            .filter_map(|name| Console::open(name).ok())
            .take(CONSOLES_MAX)
            .collect();
        if all.is_empty() {
            all.extend(Console::open("console"));
        }
        Consoles { all }
    }

    /// Writes one line to every serial console.
    pub fn write_line(&mut self, line: &str) {
        let text = format!("{line}\r\n");
        self.write(Kind::Line, text.as_bytes());
    }

    /// Writes to the consoles of one kind.
    pub fn write(&mut self, kind: Kind, bytes: &[u8]) {
        for console in self.all.iter_mut().filter(|console| console.kind == kind) {
            console.write(bytes);
        }
    }

    /// Is there a screen to paint on?
    #[must_use]
    pub fn have_screen(&self) -> bool {
        self.all.iter().any(|console| console.kind == Kind::Screen)
    }

    /// Waits until the serial lines have sent everything, at most `limit`.
    pub fn drain(&self, limit: Duration) {
        let started = crate::clock::uptime_ms();
        let spent = || Duration::from_millis(crate::clock::uptime_ms() - started);
        while self.all.iter().any(|console| console.unsent() > 0) && spent() < limit {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Console {
    fn open(name: &str) -> io::Result<Console> {
        let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let device = open(format!("/dev/{name}"), flags, Mode::empty())?;
        let screen = name.strip_prefix("tty").is_some_and(|rest| {
            !rest.is_empty() && rest.bytes().all(|digit| digit.is_ascii_digit())
        });
        let kind = if screen { Kind::Screen } else { Kind::Line };
        Ok(Console {
            name: name.to_owned(),
            kind,
            device,
            dropped: 0,
        })
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            match rustix::io::write(&self.device, rest) {
                Ok(0) => break,
                Ok(written) => rest = &rest[written..],
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => break,
            }
        }
        self.dropped += rest.len() as u64;
    }

    /// Bytes that the driver still holds.
    fn unsent(&self) -> i32 {
        let mut bytes: libc::c_int = 0;
        // SAFETY: ioctl(2) with TIOCOUTQ wants an open terminal and a live `int` to fill.
        // - Descriptor: owned by `self`, open.
        // - `bytes`: unique reference that outlives the call.
        let ret = unsafe {
            libc::ioctl(
                self.device.as_raw_fd(),
                libc::TIOCOUTQ,
                std::ptr::from_mut(&mut bytes),
            )
        };
        if ret < 0 { 0 } else { bytes }
    }
}
