//! Devices at fixed ports: serial line, resets, ACPI, clock.

mod clock;
mod power;
mod serial;

pub(crate) use clock::Clock;
pub(crate) use power::{End, Power};
pub(crate) use serial::SerialPort;
