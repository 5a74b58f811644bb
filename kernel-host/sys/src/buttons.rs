//! The power button.
//!
//! Does:      finds input devices that have one and tells when it is pressed.
//! Does not:  look at any other key; what is typed is nobody's business here.
//! Bounds:    `BUTTONS_MAX` devices; `EVENTS_MAX` events per reading.
//! Trusts:    the kernel.
//! Start at:  `find`.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// ACPI gives two at most, keyboards one each.
pub const BUTTONS_MAX: usize = 8;
const EVENTS_MAX: usize = 64;
/// Key number of the power button.
const KEY_POWER: u16 = 116;
/// Event type of a key.
const EV_KEY: u16 = 1;
/// `struct input_event` on 64 bits: two 8-byte times, type, code, value.
const EVENT_BYTES: usize = 24;

/// An input device with a power button.
#[derive(Debug)]
pub struct Button {
    pub name: String,
    device: File,
}

/// Opens the buttons that are not in `known` yet.
#[must_use]
pub fn find(known: &[Button]) -> Vec<Button> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/sys/class/input")
        .into_iter()
        .flatten()
        .flatten()
    {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let full = known.len() + found.len() >= BUTTONS_MAX;
        if full || !name.starts_with("event") || known.iter().any(|button| button.name == name) {
            continue;
        }
        let path = entry.path().join("device/capabilities/key");
        let keys = crate::read_attribute(path).unwrap_or_default();
        if has_key(&keys, KEY_POWER) {
            found.extend(Button::open(name));
        }
    }
    found
}

impl Button {
    fn open(name: String) -> std::io::Result<Button> {
        let path = Path::new("/dev/input").join(&name);
        let device = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)?;
        Ok(Button { name, device })
    }

    /// Was it pressed since the last look? An error means that the device is gone.
    ///
    /// # Errors
    /// When the device was unplugged.
    pub fn pressed(&mut self) -> std::io::Result<bool> {
        let mut events = [0; EVENT_BYTES * EVENTS_MAX];
        match self.device.read(&mut events) {
            Ok(read) => Ok(events[..read].chunks_exact(EVENT_BYTES).any(is_power_press)),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Button {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

fn is_power_press(event: &[u8]) -> bool {
    event[16..18] == EV_KEY.to_ne_bytes()
        && event[18..20] == KEY_POWER.to_ne_bytes()
        && event[20..24] == 1_i32.to_ne_bytes()
}

/// Reads a capability bitmap: hexadecimal words of 64 bits, the highest first.
fn has_key(bitmap: &str, key: u16) -> bool {
    let words: Vec<&str> = bitmap.split_ascii_whitespace().rev().collect();
    words
        .get(usize::from(key / 64))
        .and_then(|word| u64::from_str_radix(word, 16).ok())
        .is_some_and(|word| word >> (key % 64) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_power_key_is_found_in_the_bitmap() {
        assert!(
            has_key("10000000000000 0", KEY_POWER),
            "the ACPI button's own bitmap"
        );
        assert!(!has_key(
            "402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe",
            190
        ));
        assert!(!has_key("", KEY_POWER));
    }

    #[test]
    fn only_the_press_of_the_power_key_counts() {
        let event = |kind: u16, code: u16, value: i32| {
            let mut bytes = vec![0; 16];
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(code.to_ne_bytes());
            bytes.extend(value.to_ne_bytes());
            bytes
        };
        assert!(is_power_press(&event(1, 116, 1)));
        assert!(!is_power_press(&event(1, 116, 0)), "the release");
        assert!(!is_power_press(&event(1, 30, 1)), "the letter A");
        assert!(!is_power_press(&event(0, 116, 1)), "no key event");
    }
}
