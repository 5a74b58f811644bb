//! Ports and memory-mapped addresses: who answers a vCPU.
//!
//! Does:      finds the device for an access.
//! Does not:  interpret what is written; each device does.
//! Bounds:    constant work per access; nothing answers an unclaimed one (reads give all ones).
//! Trusts:    the guest for nothing: widths and addresses are whatever it chose.
//! Start at:  `Bus::port_write`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use virtio::pci::{from_cf8, from_ecam};

use crate::layout::{
    ACPI_PORT, CMOS_PORT, ECAM, ECAM_BYTES, EVENT_PORT, I8042_PORT, PCI_PORT, SERIAL_PORT,
};
use crate::legacy::{Clock, Power, SerialPort};
use crate::slots::Slots;

/// What a vCPU does after an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Run on.
    Go,
    /// The machine has ended.
    Stop,
}

/// All devices that vCPUs can touch.
pub(crate) struct Bus {
    pub(crate) serial: SerialPort,
    pub(crate) power: Arc<Power>,
    pub(crate) clock: Clock,
    pub(crate) slots: Arc<Slots>,
    /// Port 0xCF8.
    pub(crate) pci_latch: AtomicU32,
    pub(crate) accesses: AtomicU64,
    pub(crate) unclaimed: AtomicU64,
    /// Set by the first access; the I/O thread reports it.
    pub(crate) touched: AtomicBool,
}

impl Bus {
    pub(crate) fn new(serial: SerialPort, power: Arc<Power>, slots: Arc<Slots>) -> Bus {
        Bus {
            serial,
            power,
            clock: Clock::default(),
            slots,
            pci_latch: AtomicU32::new(0),
            accesses: AtomicU64::new(0),
            unclaimed: AtomicU64::new(0),
            touched: AtomicBool::new(false),
        }
    }

    fn count(&self) {
        if self.accesses.fetch_add(1, Ordering::Relaxed) == 0 {
            self.touched.store(true, Ordering::Release);
            self.power.wake();
        }
    }

    fn unclaimed(&self) {
        self.unclaimed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn port_read(&self, port: u16, data: &mut [u8]) {
        self.count();
        data.fill(0xff);
        match port {
            SERIAL_PORT..=0x3ff => {
                for byte in data {
                    *byte = self.serial.read(low(port - SERIAL_PORT));
                }
            }
            PCI_PORT if data.len() == 4 => {
                data.copy_from_slice(&self.pci_latch.load(Ordering::Relaxed).to_le_bytes());
            }
            0xcfc..=0xcff => {
                let latch = self.pci_latch.load(Ordering::Relaxed);
                if let Some(address) = from_cf8(latch, low(port - 0xcfc)) {
                    self.slots.config_read(address, data);
                }
            }
            EVENT_PORT => data.fill(self.power.take_events()),
            ACPI_PORT..=0x602 | 0x60..=0x64 => data.fill(0),
            0x71 => data.fill(self.clock.read()),
            _ => self.unclaimed(),
        }
    }

    pub(crate) fn port_write(&self, port: u16, data: &[u8]) -> Then {
        self.count();
        let Some(&first) = data.first() else {
            return Then::Go;
        };
        let ended = match port {
            SERIAL_PORT..=0x3ff => {
                for byte in data {
                    self.serial.write(low(port - SERIAL_PORT), *byte);
                }
                false
            }
            PCI_PORT if data.len() == 4 => {
                let latch = [data[0], data[1], data[2], data[3]];
                self.pci_latch
                    .store(u32::from_le_bytes(latch), Ordering::Relaxed);
                false
            }
            0xcf9 => self.power.write_reset(first),
            0xcfc..=0xcff => {
                let latch = self.pci_latch.load(Ordering::Relaxed);
                if let Some(address) = from_cf8(latch, low(port - 0xcfc)) {
                    self.slots.config_write(address, data);
                }
                false
            }
            ACPI_PORT..=0x602 => self.power.write_acpi(port - ACPI_PORT, first),
            0x64 => self.power.write_i8042(first),
            CMOS_PORT => {
                self.clock.select(first);
                false
            }
            I8042_PORT | 0x71 | 0x80 | 0xed => false,
            _ => {
                self.unclaimed();
                false
            }
        };
        if ended { Then::Stop } else { Then::Go }
    }

    pub(crate) fn mmio_read(&self, address: u64, data: &mut [u8]) {
        self.count();
        data.fill(0xff);
        if let Some(offset) = address
            .checked_sub(ECAM)
            .filter(|offset| *offset < ECAM_BYTES)
        {
            if let Some(address) = from_ecam(offset) {
                self.slots.config_read(address, data);
            }
        } else if !self.slots.mmio_read(address, data) {
            self.unclaimed();
        }
    }

    pub(crate) fn mmio_write(&self, address: u64, data: &[u8]) {
        self.count();
        if let Some(offset) = address
            .checked_sub(ECAM)
            .filter(|offset| *offset < ECAM_BYTES)
        {
            if let Some(address) = from_ecam(offset) {
                self.slots.config_write(address, data);
            }
        } else if !self.slots.mmio_write(address, data) {
            self.unclaimed();
        }
    }
}

/// Distance between two ports of one device: always small.
fn low(distance: u16) -> u8 {
    distance.to_le_bytes()[0]
}
