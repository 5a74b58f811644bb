//! The watchdog: resets the machine when PID 1 stops saying that all is well.
//!
//! Does:      opens the first watchdog device, sets its time, feeds and disarms it.
//! Does not:  decide whether all is well.
//! Bounds:    `TIMEOUT_S`.
//! Trusts:    the driver to do what it confirms.
//! Start at:  `Watchdog::open`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;

/// Long enough for a node on a starved test machine, short enough for a person not to drive out.
pub const TIMEOUT_S: i32 = 60;

/// An armed watchdog. Dropping it without `disarm` leaves it running.
#[derive(Debug)]
pub struct Watchdog {
    device: File,
    name: String,
    timeout_s: i32,
}

impl Watchdog {
    /// Arms the first watchdog; `None` if the machine has none.
    ///
    /// # Errors
    /// When there is one and it can't be opened or set.
    pub fn open() -> io::Result<Option<Watchdog>> {
        let device = match OpenOptions::new().write(true).open("/dev/watchdog0") {
            Ok(device) => device,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let name = crate::read_attribute("/sys/class/watchdog/watchdog0/identity")
            .unwrap_or_else(|_| "unnamed".to_owned());
        let mut timeout_s: i32 = TIMEOUT_S;
        // SAFETY: ioctl(2) with WDIOC_SETTIMEOUT wants an open watchdog and a live `int`.
        // - Descriptor: owned by `device`, open.
        // - `timeout_s`: unique reference; the kernel writes back the time it chose.
        let ret = unsafe {
            libc::ioctl(
                device.as_raw_fd(),
                WDIOC_SETTIMEOUT,
                std::ptr::from_mut(&mut timeout_s),
            )
        };
        // A fixed-time device refuses and keeps its own time, which is still a watchdog.
        if ret < 0 {
            timeout_s = 0;
        }
        Ok(Some(Watchdog {
            device,
            name,
            timeout_s,
        }))
    }

    /// The device's name for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The time the driver confirmed; `None` if it is fixed and unknown.
    #[must_use]
    pub fn timeout_s(&self) -> Option<i32> {
        (self.timeout_s > 0).then_some(self.timeout_s)
    }

    /// All is well for another `TIMEOUT_S`.
    ///
    /// # Errors
    /// When the device is gone.
    pub fn feed(&mut self) -> io::Result<()> {
        self.device.write_all(b"k")
    }

    /// Stops the watchdog for good, as before switching the power off.
    ///
    /// # Errors
    /// When the device is gone.
    pub fn disarm(mut self) -> io::Result<()> {
        self.device.write_all(b"V")
    }
}

/// `_IOWR('W', 6, int)`.
const WDIOC_SETTIMEOUT: libc::Ioctl = 0xC004_5706;
