//! A unified kernel image: one UEFI program that holds kernel, initrd and command line.
//!
//! Does:      appends sections to systemd's UEFI stub and keeps its headers true.
//! Does not:  sign; a signature goes on top of these bytes. Never touches the stub's code.
//! Bounds:    sections must fit the stub's header space; 4 GiB altogether (the format's limit).
//! Trusts:    nothing in the stub: each offset is checked before it is followed.
//! Start at:  `assemble`.

use crate::Error;

/// Sections are loaded at whole pages, whatever smaller step the stub allows.
const PAGE_BYTES: u32 = 4096;
const SECTION_HEADER_BYTES: usize = 40;
/// The header before the PE header; its last field says where that is.
const DOS_HEADER_BYTES: usize = 0x40;
/// The optional header of a 64-bit program without data directories.
const OPTIONAL_HEADER_BYTES_MIN: usize = 112;
/// Initialised data, readable.
const SECTION_FLAGS: u32 = 0x4000_0040;
const PE32_PLUS: u16 = 0x20b;
/// Sections of a PE file that we are willing to write; firmware is tested with few.
const SECTIONS_MAX: usize = 32;

/// The stub with these sections after its own, in this order. A section of a name that the stub
/// has already takes its place.
pub fn assemble(stub: &[u8], sections: &[(&str, &[u8])]) -> Result<Vec<u8>, Error> {
    let bad = |reason: String| Error::Uki { reason };
    let mut image = Image::parse(stub).map_err(bad)?;
    for (name, bytes) in sections {
        image.append(name, bytes).map_err(bad)?;
    }
    image.finish().map_err(bad)
}

/// The content of one section of a PE program, as far as it is in the file.
pub fn section<'a>(program: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let image = Image::parse(program).ok()?;
    let found = image.sections.iter().find(|section| section.is(name))?;
    let start = found.file_offset as usize;
    program.get(start..start.checked_add(found.bytes.min(found.file_bytes) as usize)?)
}

/// One section header.
#[derive(Debug, Clone)]
struct Section {
    name: [u8; 8],
    bytes: u32,
    address: u32,
    file_bytes: u32,
    file_offset: u32,
    /// Relocations and line numbers, which executables leave empty, then the flags.
    rest: [u8; 16],
}

impl Section {
    fn is(&self, name: &str) -> bool {
        let length = self.name.iter().position(|byte| *byte == 0).unwrap_or(8);
        &self.name[..length] == name.as_bytes()
    }
}

/// A PE program and where its headers are.
struct Image {
    file: Vec<u8>,
    coff: usize,
    optional: usize,
    table: usize,
    headers_end: usize,
    file_step: u32,
    page_step: u32,
    sections: Vec<Section>,
}

impl Image {
    fn parse(file: &[u8]) -> Result<Image, String> {
        let lies = "its headers point outside the file";
        let pe = read_u32(file, 0x3c).ok_or(lies)? as usize;
        let is_pe = file.get(pe..).is_some_and(|at| at.starts_with(b"PE\0\0"));
        if !file.starts_with(b"MZ") || pe < DOS_HEADER_BYTES || !is_pe {
            return Err("it is no PE program".to_owned());
        }
        let coff = pe + 4;
        let optional = coff + 20;
        let count = usize::from(read_u16(file, coff + 2).ok_or(lies)?);
        let optional_bytes = usize::from(read_u16(file, coff + 16).ok_or(lies)?);
        let table = optional + optional_bytes;
        let is_known = read_u16(file, optional) == Some(PE32_PLUS);
        if !is_known || optional_bytes < OPTIONAL_HEADER_BYTES_MIN || count > SECTIONS_MAX {
            return Err("it is no 64-bit PE program with few sections".to_owned());
        }
        let headers_end = read_u32(file, optional + 60).ok_or(lies)? as usize;
        let file_step = read_u32(file, optional + 36).ok_or(lies)?;
        let page_step = read_u32(file, optional + 32).ok_or(lies)?.max(PAGE_BYTES);
        if !file_step.is_power_of_two() || !page_step.is_power_of_two() {
            return Err("its alignments are no powers of two".to_owned());
        }
        let sections: Option<Vec<Section>> = (0..count)
            .map(|at| read_section(file, table + at * SECTION_HEADER_BYTES))
            .collect();
        let sections = sections.ok_or(lies)?;
        // We write the headers anew, so nothing else may lie among them.
        let intrudes = |section: &Section| {
            section.file_bytes > 0 && (section.file_offset as usize) < headers_end
        };
        let table_end = table + count * SECTION_HEADER_BYTES;
        if headers_end > file.len() || table_end > headers_end || sections.iter().any(intrudes) {
            return Err(lies.to_owned());
        }
        let file = file.to_vec();
        Ok(Image {
            file,
            coff,
            optional,
            table,
            headers_end,
            file_step,
            page_step,
            sections,
        })
    }

    /// Adds a section behind everything there is; one of the same name goes.
    fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), String> {
        let too_big = || "it would have more than 4 GiB".to_owned();
        let mut field = [0; 8];
        let room = field
            .get_mut(..name.len())
            .ok_or(format!("{name} is too long a name"))?;
        room.copy_from_slice(name.as_bytes());
        self.sections.retain(|section| !section.is(name));
        let end = self
            .end_address()
            .and_then(|end| end.checked_next_multiple_of(self.page_step));
        let address = end.ok_or_else(too_big)?;
        let size = u32::try_from(bytes.len()).map_err(|_| too_big())?;
        let step = self.file_step as usize;
        self.file.resize(self.file.len().next_multiple_of(step), 0);
        let file_offset = u32::try_from(self.file.len()).map_err(|_| too_big())?;
        self.file.extend_from_slice(bytes);
        self.file.resize(self.file.len().next_multiple_of(step), 0);
        let file_bytes = size
            .checked_next_multiple_of(self.file_step)
            .ok_or_else(too_big)?;
        let mut rest = [0; 16];
        rest[12..].copy_from_slice(&SECTION_FLAGS.to_le_bytes());
        self.sections.push(Section {
            name: field,
            bytes: size,
            address,
            file_bytes,
            file_offset,
            rest,
        });
        Ok(())
    }

    fn end_address(&self) -> Option<u32> {
        self.sections.iter().try_fold(0u32, |end, section| {
            Some(
                end.max(
                    section
                        .address
                        .checked_add(section.bytes.max(section.file_bytes))?,
                ),
            )
        })
    }

    /// Writes the headers anew and returns the program.
    fn finish(mut self) -> Result<Vec<u8>, String> {
        let space = self.headers_end - self.table;
        if self.sections.len() * SECTION_HEADER_BYTES > space {
            return Err(format!(
                "{} sections do not fit its headers",
                self.sections.len()
            ));
        }
        self.file[self.table..self.headers_end].fill(0);
        for (at, section) in self.sections.iter().enumerate() {
            let start = self.table + at * SECTION_HEADER_BYTES;
            write_section(&mut self.file[start..start + SECTION_HEADER_BYTES], section);
        }
        let count = u16::try_from(self.sections.len()).map_err(|error| error.to_string())?;
        let end = self
            .end_address()
            .and_then(|end| end.checked_next_multiple_of(self.page_step));
        let end = end.ok_or("it would have more than 4 GiB")?;
        let data: u32 = self
            .sections
            .iter()
            .filter(|section| section.rest[12] & 0x40 != 0)
            .fold(0, |sum: u32, section| {
                sum.saturating_add(section.file_bytes)
            });
        let (coff, optional) = (self.coff, self.optional);
        self.file[coff + 2..coff + 4].copy_from_slice(&count.to_le_bytes());
        write_u32(&mut self.file, optional + 8, data);
        write_u32(&mut self.file, optional + 56, end);
        write_u32(&mut self.file, optional + 64, 0);
        let sum = checksum(&self.file, optional + 64);
        write_u32(&mut self.file, optional + 64, sum);
        Ok(self.file)
    }
}

/// The PE checksum: 16-bit words added with end-around carry, plus the length.
fn checksum(file: &[u8], at: usize) -> u32 {
    let mut sum = 0u32;
    for (index, pair) in file.chunks(2).enumerate() {
        if index * 2 != at && index * 2 != at + 2 {
            let word = u16::from_le_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
            sum += u32::from(word);
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    sum.wrapping_add(u32::try_from(file.len()).unwrap_or(u32::MAX))
}

fn read_section(file: &[u8], at: usize) -> Option<Section> {
    let header = file.get(at..at.checked_add(SECTION_HEADER_BYTES)?)?;
    let section = Section {
        name: header[..8].try_into().ok()?,
        bytes: read_u32(header, 8)?,
        address: read_u32(header, 12)?,
        file_bytes: read_u32(header, 16)?,
        file_offset: read_u32(header, 20)?,
        rest: header[24..].try_into().ok()?,
    };
    let end = (section.file_offset as usize).checked_add(section.file_bytes as usize)?;
    (end <= file.len()).then_some(section)
}

fn write_section(header: &mut [u8], section: &Section) {
    header[..8].copy_from_slice(&section.name);
    write_u32(header, 8, section.bytes);
    write_u32(header, 12, section.address);
    write_u32(header, 16, section.file_bytes);
    write_u32(header, 20, section.file_offset);
    header[24..40].copy_from_slice(&section.rest);
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(
        bytes.get(at..at.checked_add(2)?)?.try_into().ok()?,
    ))
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

fn write_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// Any bytes as a stub: an error, or a program in which the sections are found again.
pub fn fuzz_uki(data: &[u8]) {
    if let Ok(program) = assemble(data, &[(".linux", b"kernel"), (".initrd", b"files")]) {
        assert_eq!(section(&program, ".linux"), Some(&b"kernel"[..]));
        assert_eq!(section(&program, ".initrd"), Some(&b"files"[..]));
        let again = assemble(&program, &[]).expect("what was written can be read");
        assert_eq!(section(&again, ".linux"), Some(&b"kernel"[..]));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use object::read::pe::PeFile64;
    use object::{Object, ObjectSection};

    /// The smallest program that has what the stub has: headers with room, and one section.
    pub(crate) fn toy_stub() -> Vec<u8> {
        let mut file = vec![0u8; 0x400];
        file[..2].copy_from_slice(b"MZ");
        write_u32(&mut file, 0x3c, 0x40);
        file[0x40..0x44].copy_from_slice(b"PE\0\0");
        file[0x44..0x46].copy_from_slice(&0x8664u16.to_le_bytes());
        file[0x54..0x56].copy_from_slice(&240u16.to_le_bytes());
        file[0x58..0x5a].copy_from_slice(&PE32_PLUS.to_le_bytes());
        for (at, value) in [(32, 512), (36, 512), (56, 0x1000), (60, 0x400), (108, 16)] {
            write_u32(&mut file, 0x58 + at, value);
        }
        let image = Image::parse(&file);
        let mut image = image.unwrap();
        image.append(".text", b"code").unwrap();
        image.append(".sbat", b"sbat,1\n").unwrap();
        image.finish().unwrap()
    }

    #[test]
    fn another_reader_finds_the_sections_where_firmware_will_load_them() {
        let big = vec![7u8; 10_000];
        let program = assemble(&toy_stub(), &[(".cmdline", b"quiet"), (".initrd", &big)]).unwrap();
        let file = PeFile64::parse(&*program).unwrap();
        let initrd = file.section_by_name(".initrd").unwrap();
        assert_eq!(initrd.data().unwrap()[..big.len()], big);
        let mut end = 0;
        for section in file.sections() {
            assert!(section.address() >= end, "sections do not overlap");
            assert_eq!(section.address() % u64::from(PAGE_BYTES), 0);
            end = section.address() + section.size();
        }
        let size = file
            .nt_headers()
            .optional_header
            .size_of_image
            .get(object::LittleEndian);
        assert!(u64::from(size) >= end);
    }

    #[test]
    fn a_section_of_a_known_name_replaces_the_old_one() {
        let program = assemble(&toy_stub(), &[(".sbat", b"sbat,1\nluc,1\n")]).unwrap();
        assert_eq!(section(&program, ".sbat"), Some(&b"sbat,1\nluc,1\n"[..]));
        let file = PeFile64::parse(&*program).unwrap();
        assert_eq!(
            file.sections().filter(|s| s.name() == Ok(".sbat")).count(),
            1
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let many: Vec<String> = (0..40).map(|at| format!(".s{at}")).collect();
        let many: Vec<(&str, &[u8])> = many.iter().map(|name| (&**name, &b"x"[..])).collect();
        assert!(assemble(&toy_stub(), &many).is_err());
        assert!(assemble(&toy_stub(), &[(".much-too-long", b"x")]).is_err());
        assert!(assemble(b"MZ", &[]).is_err());
    }
}
