//! The guest's address map. It is Cloud Hypervisor's, so that its UEFI firmware can run here.

/// Global descriptor table of the boot CPU.
pub(crate) const GDT: u64 = 0x500;
/// Linux's `boot_params`.
pub(crate) const ZERO_PAGE: u64 = 0x7000;
/// Page tables for the 64-bit entry: PML4, PDPT, one PD that maps the first GiB.
pub(crate) const PAGE_TABLES: u64 = 0x9000;
/// Command line.
pub(crate) const CMDLINE: u64 = 0x2_0000;
/// End of usable low memory; RSDP and all other ACPI tables follow.
pub(crate) const LOW_RAM_END: u64 = 0xa_0000;
/// ACPI tables may use the range from `LOW_RAM_END` up to here.
pub(crate) const ACPI_END: u64 = 0x10_0000;
/// Kernel load address, and start of the rest of memory.
pub(crate) const HIGH_RAM: u64 = 0x10_0000;
/// Memory below 4 GiB ends here at the latest.
pub(crate) const RAM_BELOW_4G_MAX: u64 = 0xc000_0000;
/// Windows for BARs.
pub(crate) const PCI_WINDOW: u64 = 0xc000_0000;
/// Their end.
pub(crate) const PCI_WINDOW_END: u64 = 0xe800_0000;
/// Configuration space of PCI segment 0; only bus 0 exists.
pub(crate) const ECAM: u64 = 0xe800_0000;
/// Bytes for one bus.
pub(crate) const ECAM_BYTES: u64 = 1 << 20;
/// What the map keeps free for the buses that don't exist.
pub(crate) const ECAM_RESERVED_BYTES: u64 = 256 << 20;
/// Three pages that KVM wants on Intel processors.
pub(crate) const KVM_TSS: u64 = 0xf800_0000;
/// One more page of that kind.
pub(crate) const KVM_IDENTITY_MAP: u64 = KVM_TSS + 0x3000;
/// I/O APIC, inside KVM.
pub(crate) const IO_APIC: u32 = 0xfec0_0000;
/// Local APICs, inside KVM.
pub(crate) const LOCAL_APIC: u32 = 0xfee0_0000;
/// Memory above the hole.
pub(crate) const RAM_ABOVE_4G: u64 = 0x1_0000_0000;

/// First serial port.
pub(crate) const SERIAL_PORT: u16 = 0x3f8;
/// Its interrupt.
pub(crate) const SERIAL_GSI: u32 = 4;
/// Keyboard controller, of which only the reset line exists.
pub(crate) const I8042_PORT: u16 = 0x60;
/// Real-time clock: index and data.
pub(crate) const CMOS_PORT: u16 = 0x70;
/// PCI configuration address, data, and the reset register in between.
pub(crate) const PCI_PORT: u16 = 0xcf8;
/// ACPI sleep control (+0), reset (+1), sleep status (+2).
pub(crate) const ACPI_PORT: u16 = 0x600;
/// Generic event device: pending events, cleared by reading.
pub(crate) const EVENT_PORT: u16 = 0x610;
/// Its interrupt.
pub(crate) const EVENT_GSI: u32 = 5;
/// Written to the reset register.
pub(crate) const RESET_VALUE: u8 = 1;
/// Sleep type of "off" in `_S5_`.
pub(crate) const SLEEP_OFF: u8 = 5;
/// Event bit: power button.
pub(crate) const EVENT_POWER_BUTTON: u8 = 1;
