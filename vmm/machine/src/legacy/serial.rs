//! The 8250 at COM1, around `vm-superio`.
//!
//! Does:      output into `console_stream`, input from it, interrupt 4 by irqfd.
//! Bounds:    64 bytes of input; the rest stays in the socket. Output: see `console_stream`.
//! Trusts:    the guest for nothing.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use vm_superio::serial::SerialEvents;
use vm_superio::{Serial, Trigger};
use vmm_sys_util::eventfd::EventFd;

use crate::console_stream::{Output, SerialWriter};

/// Register offset of the data register.
const DATA: u8 = 0;
/// Register offset of the modem control register.
const MODEM_CONTROL: u8 = 4;
/// Loopback, in that register: no input is taken meanwhile.
const LOOPBACK: u8 = 1 << 4;

#[derive(Debug)]
struct Interrupt(EventFd);

impl Trigger for Interrupt {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

/// Wakes the I/O thread when the guest has read all of its input.
#[derive(Debug)]
struct Drained(EventFd);

impl SerialEvents for Drained {
    fn buffer_read(&self) {}
    fn out_byte(&self) {}
    fn tx_lost_byte(&self) {}
    fn in_buffer_empty(&self) {
        // The counter can't overflow: the I/O thread resets it.
        let _ = self.0.write(1);
    }
}

/// The port.
#[derive(Debug)]
pub(crate) struct SerialPort {
    chip: Mutex<Serial<Interrupt, Drained, SerialWriter>>,
    output: Arc<Output>,
    /// Shared with virtio-console: who spoke last gets the input.
    console_used: Arc<AtomicBool>,
    drained: EventFd,
}

impl SerialPort {
    /// `interrupt` is wired to the interrupt controller; `drained` wakes the I/O thread.
    pub(crate) fn new(
        interrupt: EventFd,
        drained: EventFd,
        output: Arc<Output>,
        console_used: Arc<AtomicBool>,
    ) -> io::Result<SerialPort> {
        let writer = SerialWriter(Arc::clone(&output));
        let again = drained.try_clone()?;
        let chip = Serial::with_events(Interrupt(interrupt), Drained(drained), writer);
        Ok(SerialPort {
            chip: Mutex::new(chip),
            output,
            console_used,
            drained: again,
        })
    }

    pub(crate) fn read(&self, register: u8) -> u8 {
        self.chip
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .read(register)
    }

    pub(crate) fn write(&self, register: u8, value: u8) {
        if register == DATA {
            // The vCPU waits here, without the chip's lock, so that input still arrives.
            self.output.wait_for_room();
        }
        let before = self.output.counts().1;
        // Errors are a full interrupt counter, which means that an interrupt is pending anyway.
        let _ = self
            .chip
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(register, value);
        if register == MODEM_CONTROL && value & LOOPBACK == 0 {
            // Input that was refused during loopback gets another chance.
            let _ = self.drained.write(1);
        }
        if register == DATA && self.output.counts().1 != before {
            self.console_used.store(false, Ordering::Relaxed);
        }
    }

    /// Gives input to the guest. Returns the bytes that fit.
    pub(crate) fn accept(&self, input: &[u8]) -> usize {
        let mut chip = self.chip.lock().unwrap_or_else(PoisonError::into_inner);
        chip.enqueue_raw_bytes(input).unwrap_or(0)
    }
}
