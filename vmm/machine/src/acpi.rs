//! ACPI: how the guest finds its CPUs, its PCI bus, its serial port, and how it turns itself off.
//!
//! Does:      writes RSDP, XSDT, FADT, MADT, MCFG and DSDT once, before the guest starts.
//! Does not:  PM timer, PIT, legacy PIC: "hardware-reduced", so a power button arrives as an
//!            event of a generic event device, and sleep and reset have one port each.
//! Bounds:    all tables fit between `LOW_RAM_END` and `ACPI_END`.
//! Trusts:    nobody is asked; the guest only reads.
//! Start at:  `write`.

use acpi_tables::Aml;
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, And, Device, EISAName, Equal, Field, FieldAccessType,
    FieldEntry, FieldLockRule, FieldUpdateRule, IO, If, Interrupt, Local, Memory32Fixed, Method,
    Name, Notify, ONE, OpRegion, OpRegionSpace, Package, Path, ResourceTemplate, Store, ZERO,
};
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace as Space, GAS};
use acpi_tables::madt::{
    EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic,
};
use acpi_tables::mcfg::MCFG;
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use virtio::Memory;
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

use crate::layout::{
    ACPI_END, ACPI_PORT, ECAM, ECAM_RESERVED_BYTES, EVENT_GSI, EVENT_PORT, EVENT_POWER_BUTTON,
    IO_APIC, LOCAL_APIC, LOW_RAM_END, PCI_WINDOW, PCI_WINDOW_END, RESET_VALUE, SERIAL_GSI,
    SERIAL_PORT, SLEEP_OFF,
};

const OEM: [u8; 6] = *b"LUCOS ";
const TABLE: [u8; 8] = *b"LUCVM   ";
const REVISION: u32 = 1;
/// Boot architecture flags: no VGA, no CMOS clock (the guest has kvmclock), no keyboard.
const NO_VGA: u16 = 1 << 2;
const NO_CMOS: u16 = 1 << 5;

/// Writes all tables. Returns the address of the root pointer.
pub(crate) fn write(memory: &Memory, vcpus: u8) -> Result<u64, GuestMemoryError> {
    let root = LOW_RAM_END;
    let mut writer = Writer {
        memory,
        next: root + 64,
    };
    let dsdt = writer.put(&dsdt())?;
    let tables = [
        writer.put(&fadt(dsdt))?,
        writer.put(&bytes(&madt(vcpus)))?,
        writer.put(&bytes(&mcfg()))?,
    ];
    let mut xsdt = XSDT::new(OEM, TABLE, REVISION);
    for table in tables {
        xsdt.add_entry(table);
    }
    let xsdt = writer.put(&bytes(&xsdt))?;
    memory.write_slice(&bytes(&Rsdp::new(OEM, xsdt)), GuestAddress(root))?;
    debug_assert!(writer.next <= ACPI_END);
    Ok(root)
}

struct Writer<'a> {
    memory: &'a Memory,
    next: u64,
}

impl Writer<'_> {
    fn put(&mut self, table: &[u8]) -> Result<u64, GuestMemoryError> {
        let at = self.next;
        self.memory.write_slice(table, GuestAddress(at))?;
        self.next = (at + table.len() as u64).next_multiple_of(16);
        Ok(at)
    }
}

fn bytes(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}

fn port(offset: u16) -> GAS {
    GAS::new(
        Space::SystemIo,
        8,
        0,
        AccessSize::ByteAccess,
        u64::from(ACPI_PORT + offset),
    )
}

fn fadt(dsdt: u64) -> Vec<u8> {
    let mut fadt = FADTBuilder::new(OEM, TABLE, REVISION)
        .dsdt_64(dsdt)
        .flag(Flags::HwReducedAcpi)
        .flag(Flags::ResetRegSup)
        .flag(Flags::Wbinvd)
        .flag(Flags::PwrButton) // a control method button, no fixed one
        .flag(Flags::SlpButton)
        .flag(Flags::Headless);
    fadt.iapc_boot_arch = (NO_VGA | NO_CMOS).into();
    fadt.sleep_control_reg = port(0);
    fadt.reset_reg = port(1);
    fadt.reset_value = RESET_VALUE;
    fadt.sleep_status_reg = port(2);
    fadt.hypervisor_vendor_identity = u64::from_le_bytes(*b"LUCVMM  ").into();
    bytes(&fadt.finalize())
}

fn madt(vcpus: u8) -> MADT {
    let mut madt = MADT::new(
        OEM,
        TABLE,
        REVISION,
        LocalInterruptController::Address(LOCAL_APIC),
    );
    for id in 0..vcpus {
        madt.add_structure(ProcessorLocalApic::new(id, id, EnabledStatus::Enabled));
    }
    madt.add_structure(IoApic::new(0, IO_APIC, 0));
    madt
}

fn mcfg() -> MCFG {
    let mut mcfg = MCFG::new(OEM, TABLE, REVISION);
    mcfg.add_ecam(ECAM, 0, 0, 0);
    mcfg
}

fn dsdt() -> Vec<u8> {
    let mut table = Sdt::new(*b"DSDT", 36, 6, OEM, TABLE, REVISION);
    for part in [
        pci_root(),
        board(),
        serial(),
        power_button(),
        events(),
        sleep_off(),
    ] {
        table.append_slice(&part);
    }
    table.as_slice().to_vec()
}

/// 32-bit constants of the map; all of them are below 4 GiB.
fn low(address: u64) -> u32 {
    u32::try_from(address).expect("the address map keeps devices below 4 GiB")
}

fn pci_root() -> Vec<u8> {
    bytes(&Device::new(
        Path::new("_SB_.PCI0"),
        vec![
            &Name::new(Path::new("_HID"), &EISAName::new("PNP0A08")),
            &Name::new(Path::new("_CID"), &EISAName::new("PNP0A03")),
            &Name::new(Path::new("_UID"), &ZERO),
            &Name::new(Path::new("_SEG"), &ZERO),
            &Name::new(Path::new("_CCA"), &ONE),
            &Name::new(
                Path::new("_CRS"),
                &ResourceTemplate::new(vec![
                    &AddressSpace::new_bus_number(0u16, 0u16),
                    &IO::new(0xcf8, 0xcf8, 1, 8),
                    &AddressSpace::new_memory(
                        AddressSpaceCacheable::NotCacheable,
                        true,
                        low(PCI_WINDOW),
                        low(PCI_WINDOW_END - 1),
                        None,
                    ),
                ]),
            ),
        ],
    ))
}

/// Claims the ECAM window, without which Linux doesn't use it.
fn board() -> Vec<u8> {
    bytes(&Device::new(
        Path::new("_SB_.MBRD"),
        vec![
            &Name::new(Path::new("_HID"), &EISAName::new("PNP0C02")),
            &Name::new(Path::new("_UID"), &ZERO),
            &Name::new(
                Path::new("_CRS"),
                &ResourceTemplate::new(vec![&Memory32Fixed::new(
                    true,
                    low(ECAM),
                    low(ECAM_RESERVED_BYTES),
                )]),
            ),
        ],
    ))
}

fn serial() -> Vec<u8> {
    bytes(&Device::new(
        Path::new("_SB_.COM1"),
        vec![
            &Name::new(Path::new("_HID"), &EISAName::new("PNP0501")),
            &Name::new(Path::new("_UID"), &ZERO),
            &Name::new(Path::new("_DDN"), &"COM1"),
            &Name::new(
                Path::new("_CRS"),
                &ResourceTemplate::new(vec![
                    &Interrupt::new(true, true, false, false, SERIAL_GSI),
                    &IO::new(SERIAL_PORT, SERIAL_PORT, 1, 8),
                ]),
            ),
        ],
    ))
}

fn power_button() -> Vec<u8> {
    bytes(&Device::new(
        Path::new("_SB_.PWRB"),
        vec![
            &Name::new(Path::new("_HID"), &EISAName::new("PNP0C0C")),
            &Name::new(Path::new("_UID"), &ZERO),
        ],
    ))
}

/// Reading the event port tells what happened and forgets it.
fn events() -> Vec<u8> {
    let pending = Path::new("GDAT");
    bytes(&Device::new(
        Path::new("_SB_.GED_"),
        vec![
            &Name::new(Path::new("_HID"), &"ACPI0013"),
            &Name::new(Path::new("_UID"), &ZERO),
            &Name::new(
                Path::new("_CRS"),
                &ResourceTemplate::new(vec![&Interrupt::new(true, true, false, false, EVENT_GSI)]),
            ),
            &OpRegion::new(
                Path::new("GDST"),
                OpRegionSpace::SystemIO,
                &(EVENT_PORT as usize),
                &1usize,
            ),
            &Field::new(
                Path::new("GDST"),
                FieldAccessType::Byte,
                FieldLockRule::NoLock,
                FieldUpdateRule::WriteAsZeroes,
                vec![FieldEntry::Named(*b"GDAT", 8)],
            ),
            &Method::new(
                Path::new("_EVT"),
                1,
                true,
                vec![
                    &Store::new(&Local(0), &pending),
                    &And::new(&Local(1), &Local(0), &EVENT_POWER_BUTTON),
                    &If::new(
                        &Equal::new(&Local(1), &EVENT_POWER_BUTTON),
                        vec![&Notify::new(&Path::new("\\_SB_.PWRB"), &0x80usize)],
                    ),
                ],
            ),
        ],
    ))
}

fn sleep_off() -> Vec<u8> {
    bytes(&Name::new(
        Path::new("_S5_"),
        &Package::new(vec![&SLEEP_OFF, &ZERO]),
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use virtio::Memory;
    use vm_memory::{Bytes, GuestAddress};

    use super::{ACPI_END, write};

    fn bytes(memory: &Memory, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        bytes
    }

    fn sums_to_zero(bytes: &[u8]) -> bool {
        bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) == 0
    }

    #[test]
    fn every_table_is_found_from_the_root_and_sums_to_zero() {
        let memory = Memory::from_ranges(&[(GuestAddress(0), 2 << 20)]).unwrap();
        let root = write(&memory, 8).unwrap();
        let pointer = bytes(&memory, root, 36);
        assert_eq!(&pointer[..8], b"RSD PTR ");
        assert!(sums_to_zero(&pointer) && sums_to_zero(&pointer[..20]));
        let xsdt: u64 = memory.read_obj(GuestAddress(root + 24)).unwrap();
        let mut found = Vec::new();
        let mut tables = vec![xsdt];
        while let Some(at) = tables.pop() {
            let len: u32 = memory.read_obj(GuestAddress(at + 4)).unwrap();
            let table = bytes(&memory, at, len as usize);
            assert!(sums_to_zero(&table), "{at:#x}");
            assert!(at + u64::from(len) <= ACPI_END);
            let pointers: &[u8] = match &table[..4] {
                b"XSDT" => &table[36..],
                b"FACP" => &table[140..148], // the 64-bit pointer to the DSDT
                _ => &[],
            };
            let (pointers, _) = pointers.as_chunks();
            tables.extend(pointers.iter().map(|pointer| u64::from_le_bytes(*pointer)));
            found.push(String::from_utf8(table[..4].to_vec()).unwrap());
        }
        found.sort();
        assert_eq!(found, ["APIC", "DSDT", "FACP", "MCFG", "XSDT"]);
    }
}
