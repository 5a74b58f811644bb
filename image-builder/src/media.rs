//! The USB image: a partition table, the EFI system partition, and one for configuration.
//!
//! Does:      lays out `luc.img`, with every id made from the content's hash.
//! Does not:  boot by BIOS from USB; such machines boot by PXE.
//! Bounds:    fixed sizes, see the constants; a boot program that does not fit is refused.
//! Trusts:    nothing; `verify` reads it all back with another library.
//! Start at:  `disk_image`.

use std::io::{Cursor, Write};

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions, format_volume};

use crate::Error;
use crate::digest::Digest;
use crate::partitions::{FIRST_SECTOR, Partition, SECTOR_BYTES, TAIL_SECTORS, Table};

/// The EFI system partition. Some firmware takes no FAT32 smaller than 64 MiB.
const ESP_SECTORS: usize = 64 * 2048;
/// The partition an operator writes configuration to.
const CONFIG_SECTORS: usize = 8 * 2048;
const ALL_SECTORS: usize = FIRST_SECTOR + ESP_SECTORS + CONFIG_SECTORS + TAIL_SECTORS;

/// "EFI system partition", in the byte order of the disk.
const ESP_TYPE: [u8; 16] = [
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
];
/// "Basic data", which every operating system shows to a person.
const DATA_TYPE: [u8; 16] = [
    0xa2, 0xa0, 0xd0, 0xeb, 0xe5, 0xb9, 0x33, 0x44, 0x87, 0xc0, 0x68, 0xb6, 0xb7, 0x26, 0x99, 0xc7,
];

/// The path where firmware looks when nobody told it anything.
pub const BOOT_PATH: &str = "EFI/BOOT/BOOTX64.EFI";
/// The volume label of the configuration partition.
pub const CONFIG_LABEL: &str = "LUCCFG";

const CONFIG_README: &str = "LUC OS reads its configuration from this partition.\r\n\
    Put a signed luc.toml here. Without one, the node asks the network.\r\n\
    Never put a secret here: whoever holds the stick can read it.\r\n";

/// A whole disk that boots `program` under UEFI.
pub fn disk_image(program: &[u8]) -> Result<Vec<u8>, Error> {
    let seed = Digest::of(program);
    let mut disk = vec![0u8; ALL_SECTORS * SECTOR_BYTES];
    let esp = FIRST_SECTOR..FIRST_SECTOR + ESP_SECTORS;
    let config = esp.end..esp.end + CONFIG_SECTORS;
    let label = *b"LUCBOOT    ";
    let area =
        |range: &std::ops::Range<usize>| range.start * SECTOR_BYTES..range.end * SECTOR_BYTES;
    fat(
        &mut disk[area(&esp)],
        FatType::Fat32,
        label,
        serial(&seed, "esp"),
        &[(BOOT_PATH, program)],
    )?;
    let readme = [("README.TXT", CONFIG_README.as_bytes())];
    let label = *b"LUCCFG     ";
    fat(
        &mut disk[area(&config)],
        FatType::Fat16,
        label,
        serial(&seed, "config"),
        &readme,
    )?;
    let partitions = [
        Partition {
            kind: ESP_TYPE,
            id: guid(&seed, "esp"),
            sectors: esp,
            name: "LUCBOOT",
        },
        Partition {
            kind: DATA_TYPE,
            id: guid(&seed, "config"),
            sectors: config,
            name: CONFIG_LABEL,
        },
    ];
    let table = Table::new(guid(&seed, "disk"), ALL_SECTORS, &partitions);
    disk[..table.front.len()].copy_from_slice(&table.front);
    let back = disk.len() - table.back.len();
    disk[back..].copy_from_slice(&table.back);
    Ok(disk)
}

/// Formats `area` and writes files into it. Times are 1980-01-01, the format's own zero.
fn fat(
    area: &mut [u8],
    kind: FatType,
    label: [u8; 11],
    serial: u32,
    files: &[(&str, &[u8])],
) -> Result<(), Error> {
    let bad = |error: std::io::Error| Error::Media {
        reason: error.to_string(),
    };
    let options = FormatVolumeOptions::new()
        .fat_type(kind)
        .bytes_per_cluster(if kind == FatType::Fat32 { 512 } else { 1024 })
        .volume_label(label)
        .volume_id(serial);
    format_volume(Cursor::new(&mut *area), options).map_err(bad)?;
    let volume = FileSystem::new(Cursor::new(&mut *area), FsOptions::new()).map_err(bad)?;
    for (path, bytes) in files {
        let mut folder = volume.root_dir();
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_some() {
                folder = folder.create_dir(part).map_err(bad)?;
            } else {
                let mut file = folder.create_file(part).map_err(bad)?;
                file.write_all(bytes)
                    .and_then(|()| file.flush())
                    .map_err(bad)?;
            }
        }
    }
    volume.unmount().map_err(bad)
}

fn derive(seed: &Digest, what: &str) -> [u8; 32] {
    *Digest::of_parts([&seed.as_bytes()[..], what.as_bytes()]).as_bytes()
}

/// A GUID of version 8 ("made by the application"), in the byte order of the disk.
fn guid(seed: &Digest, what: &str) -> [u8; 16] {
    let mut id = [0; 16];
    id.copy_from_slice(&derive(seed, what)[..16]);
    version_8(id)
}

/// Any bytes as such a GUID.
pub(crate) fn version_8(mut id: [u8; 16]) -> [u8; 16] {
    id[7] = id[7] & 0x0f | 0x80;
    id[8] = id[8] & 0x3f | 0x80;
    id
}

fn serial(seed: &Digest, what: &str) -> u32 {
    let bytes = derive(seed, what);
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// The file at `path` in the FAT volume `area`.
pub fn fat_file(area: &[u8], path: &str) -> Result<Vec<u8>, String> {
    let mut copy = area.to_vec();
    let volume = FileSystem::new(
        Cursor::new(&mut copy[..]),
        FsOptions::new().update_accessed_date(false),
    )
    .map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let mut file = volume
        .root_dir()
        .open_file(path)
        .map_err(|error| format!("{path}: {error}"))?;
    std::io::Read::read_to_end(&mut file, &mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn another_reader_finds_both_partitions_and_the_program_in_the_first() {
        let disk = disk_image(b"MZ the program").unwrap();
        let device = Cursor::new(disk.clone());
        let table = gpt::GptConfig::new()
            .writable(false)
            .open_from_device(device)
            .unwrap();
        assert_eq!(
            table.primary_header().unwrap().disk_guid,
            table.backup_header().unwrap().disk_guid
        );
        let names: Vec<_> = table
            .partitions()
            .values()
            .map(|p| p.name.clone())
            .collect();
        assert_eq!(names, ["LUCBOOT", "LUCCFG"]);
        let esp = &table.partitions()[&1];
        assert_eq!(esp.part_type_guid, gpt::partition_types::EFI);
        let bytes = |sector: u64| usize::try_from(sector * 512).unwrap();
        let area = bytes(esp.first_lba)..bytes(esp.last_lba + 1);
        assert_eq!(fat_file(&disk[area], BOOT_PATH).unwrap(), b"MZ the program");
    }

    #[test]
    fn equal_programs_give_equal_disks_and_other_programs_other_ids() {
        let disk = disk_image(b"one").unwrap();
        assert!(disk_image(b"one").unwrap() == disk);
        assert_ne!(
            disk_image(b"two").unwrap()[512 + 56..512 + 72],
            disk[512 + 56..512 + 72]
        );
    }

    #[test]
    fn a_program_that_does_not_fit_is_refused() {
        assert!(disk_image(&vec![1; ESP_SECTORS * SECTOR_BYTES]).is_err());
    }
}
