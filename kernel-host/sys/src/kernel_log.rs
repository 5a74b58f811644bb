//! The kernel's log.
//!
//! Does:      reads records as they come; sets how much of it reaches the consoles.
//! Does not:  keep them; the kernel's ring does.
//! Bounds:    one record of `RECORD_MAX` bytes at a time.
//! Trusts:    the kernel for the prefix, nobody for the text: control characters are removed.
//! Start at:  `KernelLog::read_record`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

/// The kernel's own maximum for a record with its prefix.
const RECORD_MAX: usize = 8192;

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// 0 is an emergency, 3 an error, 4 a warning, 6 information.
    pub level: u8,
    pub at_ms: u64,
    pub text: String,
}

/// A reader of the log.
#[derive(Debug)]
pub struct KernelLog {
    device: File,
}

impl KernelLog {
    /// Opens the log at its oldest record.
    ///
    /// # Errors
    /// When the device is missing or the caller may not.
    pub fn open() -> io::Result<KernelLog> {
        let device = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")?;
        Ok(KernelLog { device })
    }

    /// The next record; `None` when there is no more for now.
    #[must_use]
    pub fn read_record(&mut self) -> Option<Record> {
        let mut bytes = [0; RECORD_MAX];
        loop {
            match self.device.read(&mut bytes) {
                Ok(read) => match parse(&bytes[..read]) {
                    Some(record) => return Some(record),
                    None => continue,
                },
                // The ring overtook us: the next read continues at its oldest record.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(_) => return None,
            }
        }
    }
}

impl AsFd for KernelLog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

/// Parses `level,sequence,microseconds,flags;text`.
fn parse(bytes: &[u8]) -> Option<Record> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (prefix, text) = text.split_once(';')?;
    let mut fields = prefix.split(',');
    let level: u32 = fields.next()?.parse().ok()?;
    let at_us: u64 = fields.nth(1)?.parse().ok()?;
    let line = text.lines().next().unwrap_or_default();
    Some(Record {
        // The upper bits are the facility.
        level: u8::try_from(level & 7).ok()?,
        at_ms: at_us / 1000,
        text: line
            .chars()
            .filter(|character| !character.is_control())
            .collect(),
    })
}

/// From now on only messages more severe than `level` reach the consoles; all stay in the log.
///
/// # Errors
/// When the caller may not.
pub fn limit_consoles(level: u8) -> Result<(), crate::sysctl::SettingError> {
    crate::sysctl::set("kernel/printk", &level.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_its_level_its_time_and_its_first_line() {
        let record =
            parse(b"30,339,5140900,-;virtio_net virtio0 eth0: renamed\x1b\n SUBSYSTEM=x\n");
        let expected = Record {
            level: 6,
            at_ms: 5140,
            text: "virtio_net virtio0 eth0: renamed".to_owned(),
        };
        assert_eq!(record, Some(expected));
        assert_eq!(parse(b"nonsense"), None);
        assert_eq!(parse(b"1;x"), None);
    }
}
