//! Everything that ends a boot, and the button that asks for an end.
//!
//! Does:      ACPI sleep control and reset, keyboard controller reset, port 0xCF9; keeps the
//!            first reason; the power button as an event of the generic event device.
//! Bounds:    one reason; the first wins.
//! Trusts:    the guest for nothing; all it can do here is end itself.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

use vmm_sys_util::eventfd::EventFd;

use crate::layout::{EVENT_POWER_BUTTON, RESET_VALUE, SLEEP_OFF};

/// Bits of the sleep control register.
const SLEEP_ENABLE: u8 = 1 << 5;
const SLEEP_TYPE_SHIFT: u8 = 2;
/// Keyboard controller command: pulse the reset line.
const PULSE_RESET: u8 = 0xfe;
/// Port 0xCF9: reset the CPU.
const RESET_CPU: u8 = 1 << 2;

/// Why a boot is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Shutdown,
    Reset,
    TripleFault { vcpu: u8 },
    Killed,
    Failed { reason: String },
}

/// The power switch of one machine.
#[derive(Debug)]
pub(crate) struct Power {
    end: Mutex<Option<End>>,
    events: AtomicU8,
    wake: EventFd,
    interrupt: EventFd,
}

impl Power {
    /// `wake` makes the I/O thread look; `interrupt` is that of the generic event device.
    pub(crate) fn new(wake: EventFd, interrupt: EventFd) -> Power {
        Power {
            end: Mutex::new(None),
            events: AtomicU8::new(0),
            wake,
            interrupt,
        }
    }

    /// Ends the boot. The caller's vCPU stops; the I/O thread does the rest.
    pub(crate) fn end(&self, why: End) {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        if end.is_none() {
            *end = Some(why);
        }
        drop(end);
        self.wake();
    }

    pub(crate) fn wake(&self) {
        // It fails only when the counter is full, and then the thread is awake.
        let _ = self.wake.write(1);
    }

    /// Whether and why it's over.
    pub(crate) fn ended(&self) -> Option<End> {
        self.end
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn press_button(&self) {
        self.events.fetch_or(EVENT_POWER_BUTTON, Ordering::SeqCst);
        let _ = self.interrupt.write(1);
    }

    /// The guest reads the event port: what happened, once.
    pub(crate) fn take_events(&self) -> u8 {
        self.events.swap(0, Ordering::SeqCst)
    }

    /// A write to the ACPI ports. True: the machine has ended.
    pub(crate) fn write_acpi(&self, offset: u16, value: u8) -> bool {
        let off = value & SLEEP_ENABLE != 0 && value >> SLEEP_TYPE_SHIFT & 7 == SLEEP_OFF;
        match offset {
            0 if off => self.end(End::Shutdown),
            1 if value == RESET_VALUE => self.end(End::Reset),
            _ => return false,
        }
        true
    }

    /// A write to the keyboard controller's command port.
    pub(crate) fn write_i8042(&self, value: u8) -> bool {
        let reset = value == PULSE_RESET;
        if reset {
            self.end(End::Reset);
        }
        reset
    }

    /// A write to port 0xCF9.
    pub(crate) fn write_reset(&self, value: u8) -> bool {
        let reset = value & RESET_CPU != 0;
        if reset {
            self.end(End::Reset);
        }
        reset
    }
}
