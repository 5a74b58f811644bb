//! The order of the search: whose menu is asked, and what is said when nothing boots.
//!
//! Does:      volumes of the disk, then five ways to find a kernel, best first; the command line's
//!            last touches.
//! Does not:  parse menus (`bls`, `grub`, `extlinux`, `uki`, `guess`), or read kernels.
//! Bounds:    `VOLUMES_MAX`; the report of a failure has `REPORT_MAX` bytes.
//! Trusts:    nothing on the disk.
//! Start at:  `peek`.

use std::fmt::Write as _;

use crate::disk::{Disk, Limits, ReadAt, ReadError};
use crate::part::Part;
use crate::partitions;
use crate::volume::{Content, Volume, look};
use crate::{bls, extlinux, grub, guess, uki};

/// Volumes that are looked into. More are named as left out.
const VOLUMES_MAX: usize = 16;
/// A report fits into a control packet of 8 KiB, with room.
const REPORT_MAX: usize = 3000;
/// The console that every VM has.
const CONSOLE: &str = "console=ttyS0";

/// Which way led to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// An entry of the Boot Loader Specification.
    Specification,
    /// GRUB's menu.
    Grub,
    /// The menu of extlinux or syslinux.
    Extlinux,
    /// A unified kernel image.
    Unified,
    /// No menu: the newest vmlinuz.
    Newest,
}

impl How {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            How::Specification => "a Boot Loader Specification entry",
            How::Grub => "grub.cfg",
            How::Extlinux => "extlinux.conf",
            How::Unified => "a unified kernel image",
            How::Newest => "no menu, the newest vmlinuz",
        }
    }
}

/// What the disk would boot.
#[derive(Clone, Debug)]
pub struct Found {
    /// Which way led here.
    pub how: How,
    /// The menu entry's title or the file's name.
    pub title: String,
    /// The kernel.
    pub kernel: Part,
    /// To be put into memory one behind the other, each at a multiple of 4 bytes.
    pub initrds: Vec<Part>,
    /// With `console=ttyS0` added where no serial console was named.
    pub cmdline: String,
    /// Better choices that could not be taken, and why.
    pub passed_over: Vec<String>,
}

/// Why not, for the operator: what was looked for and what was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{report}")]
pub struct NotBootable {
    report: String,
}

/// A file on a volume, by the volume's place in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileName {
    pub(crate) volume: usize,
    pub(crate) path: String,
}

/// One way to boot that a menu names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) title: String,
    pub(crate) kernel: FileName,
    pub(crate) initrds: Vec<FileName>,
    pub(crate) cmdline: String,
}

/// All volumes that can be read.
#[derive(Debug, Default)]
pub(crate) struct Volumes {
    list: Vec<Volume>,
    /// What was seen where, for the report.
    notes: Vec<String>,
}

impl Volumes {
    /// Looks at each partition, or at the whole disk where no table is.
    pub(crate) fn read(&mut self, disk: &Disk) -> Result<(), ReadError> {
        let (table, partitions) = partitions::list(disk)?;
        self.notes
            .push(format!("The disk has {table} partition table"));
        let whole = partitions.is_empty();
        let places = partitions.iter().map(Some).chain(whole.then_some(None));
        for partition in places {
            let number = partition.map_or(0, |partition| partition.number);
            let name = match number {
                0 => "The whole disk".to_owned(),
                number => format!("Partition {number}"),
            };
            if self.list.len() == VOLUMES_MAX {
                self.notes
                    .push(format!("{name} and what follows was not looked at"));
                break;
            }
            match look(disk, partition)? {
                Content::Readable(volume) => {
                    let names = match volume.list("/") {
                        Ok(names) => names.unwrap_or_default(),
                        Err(ReadError::Budget) => return Err(ReadError::Budget),
                        Err(error) => {
                            self.notes.push(format!("{name}: {error}"));
                            continue;
                        }
                    };
                    let names = names.iter().take(24).map(|(name, _)| name.as_str());
                    let names = names.collect::<Vec<_>>().join(" ");
                    self.notes
                        .push(format!("{} holds: {names}", volume.title()));
                    self.list.push(volume);
                }
                Content::Other(what) => self.notes.push(format!("{name}: {what}")),
            }
        }
        Ok(())
    }

    pub(crate) fn list(&self) -> &[Volume] {
        &self.list
    }

    /// The name that GRUB's variables hold.
    pub(crate) fn device(&self, volume: usize) -> String {
        match self.list.get(volume).map_or(0, |volume| volume.number) {
            0 => "hd0".to_owned(),
            number => format!("hd0,{number}"),
        }
    }

    /// `hd0`, `hd0,1`, `hd0,gpt1`, `hd0,msdos1`.
    pub(crate) fn by_device(&self, device: &str) -> Option<usize> {
        let (disk, partition) = device.split_once(',').unwrap_or((device, "0"));
        let digits = partition.trim_start_matches(|letter: char| letter.is_ascii_alphabetic());
        let number: usize = digits.parse().ok()?;
        let same = |volume: &Volume| volume.number == number;
        if disk == "hd0" {
            self.list.iter().position(same)
        } else {
            None
        }
    }

    pub(crate) fn by_uuid(&self, uuid: &str) -> Option<usize> {
        let same = |volume: &Volume| volume.uuid().eq_ignore_ascii_case(uuid);
        self.list.iter().position(same)
    }

    pub(crate) fn by_label(&self, label: &str) -> Option<usize> {
        self.list.iter().position(|volume| volume.label() == label)
    }

    pub(crate) fn by_file(&self, path: &str) -> Result<Option<usize>, ReadError> {
        for (number, volume) in self.list.iter().enumerate() {
            if volume.exists(path)? {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// A configuration file.
    pub(crate) fn text(&self, file: &FileName) -> Result<Option<String>, ReadError> {
        match self.list.get(file.volume) {
            Some(volume) => volume.text(&file.path),
            None => Ok(None),
        }
    }

    /// Whether a file is there, and is what is asked for.
    pub(crate) fn ask(
        &self,
        file: &FileName,
        not_empty: bool,
        folder: bool,
    ) -> Result<bool, ReadError> {
        let Some(volume) = self.list.get(file.volume) else {
            return Ok(false);
        };
        if folder {
            return Ok(volume.list(&file.path)?.is_some());
        }
        if not_empty {
            return Ok(volume
                .open(&file.path)?
                .is_some_and(|part| !part.is_empty()));
        }
        volume.exists(&file.path)
    }

    fn open(&self, file: &FileName) -> Result<Part, String> {
        let Some(volume) = self.list.get(file.volume) else {
            return Err(format!("{} is on no volume that can be read", file.path));
        };
        match volume.open(&file.path) {
            Ok(Some(part)) if !part.is_empty() => Ok(part),
            Ok(Some(part)) => Err(format!("{} is empty", part.name())),
            Ok(None) => Err(format!("{} is not on {}", file.path, volume.title())),
            Err(error) => Err(format!("{}: {error}", file.path)),
        }
    }
}

/// Finds what the disk would boot.
///
/// # Errors
///
/// With a report of what was looked for and what was found.
pub fn peek(source: Box<dyn ReadAt>, limits: Limits) -> Result<Found, NotBootable> {
    let disk = Disk::new(source, limits);
    let mut search = Search {
        volumes: Volumes::default(),
        notes: Vec::new(),
    };
    let found = search.volumes.read(&disk).and_then(|()| search.run());
    let mut notes = std::mem::take(&mut search.volumes.notes);
    let too_large = |found: &Found| {
        let parts = std::iter::once(&found.kernel).chain(&found.initrds);
        parts.map(Part::len).fold(0, u64::saturating_add) > limits.load_bytes
    };
    match found {
        Ok(Some(found)) if too_large(&found) => {
            let (kernel, initrds) = (&found.kernel, &found.initrds);
            notes.push(format!("{kernel:?} and {initrds:?} are too large"));
        }
        Ok(Some(mut found)) => {
            disk.allow(limits.load_bytes);
            found.passed_over = search.notes;
            return Ok(found);
        }
        Ok(None) => {}
        Err(error) => notes.push(format!("The search ended early: {error}")),
    }
    notes.append(&mut search.notes);
    Err(NotBootable {
        report: report(&notes),
    })
}

fn report(notes: &[String]) -> String {
    let mut report = "No kernel to boot was found on the disk (looked for Boot Loader \
                      Specification entries, grub.cfg, extlinux.conf, unified kernel images and \
                      vmlinuz in / and /boot)."
        .to_owned();
    for note in notes {
        if report.len() + note.len() > REPORT_MAX {
            report.push_str(" And more.");
            break;
        }
        let _ = write!(report, " {note}.");
    }
    report
}

struct Search {
    volumes: Volumes,
    notes: Vec<String>,
}

impl Search {
    fn run(&mut self) -> Result<Option<Found>, ReadError> {
        let ways: [(How, Way); 5] = [
            (How::Specification, bls::choices),
            (How::Grub, grub_choices),
            (How::Extlinux, extlinux::choices),
            (How::Unified, uki::choices),
            (How::Newest, guess::choices),
        ];
        for (how, way) in ways {
            let choices = match way(&self.volumes) {
                Err(ReadError::Budget) => return Err(ReadError::Budget),
                Err(error) => {
                    self.notes.push(format!("Reading {}: {error}", how.name()));
                    continue;
                }
                Ok(choices) => choices,
            };
            for choice in choices {
                match self.take(how, &choice) {
                    Ok(found) => return Ok(Some(found)),
                    Err(why) => {
                        let (title, menu) = (&choice.title, how.name());
                        self.notes.push(format!("Entry {title:?} of {menu}: {why}"));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Opens what a choice names.
    fn take(&self, how: How, choice: &Choice) -> Result<Found, String> {
        let kernel = self.volumes.open(&choice.kernel)?;
        let initrds = choice.initrds.iter().map(|file| self.volumes.open(file));
        let mut initrds = initrds.collect::<Result<Vec<_>, _>>()?;
        let mut cmdline = choice.cmdline.clone();
        let kernel = match uki::split(&kernel) {
            Ok(Some(image)) => {
                initrds.extend(image.initrds);
                if cmdline.is_empty() {
                    cmdline = image.cmdline;
                }
                image.kernel
            }
            Ok(None) => kernel,
            Err(error) => return Err(error.to_string()),
        };
        if kernel.is_empty() {
            return Err(format!("{} is empty", kernel.name()));
        }
        Ok(Found {
            how,
            title: choice.title.clone(),
            kernel,
            initrds,
            cmdline: with_console(&cmdline),
            passed_over: Vec::new(),
        })
    }
}

type Way = fn(&Volumes) -> Result<Vec<Choice>, ReadError>;

/// Menus on Linux volumes come before those in an EFI system partition, which point there.
fn grub_choices(volumes: &Volumes) -> Result<Vec<Choice>, ReadError> {
    const PATHS: [&str; 5] = [
        "/boot/grub/grub.cfg",
        "/boot/grub2/grub.cfg",
        "/grub/grub.cfg",
        "/grub2/grub.cfg",
        "/EFI/BOOT/grub.cfg",
    ];
    let mut paths: Vec<(usize, String)> = Vec::new();
    for (number, volume) in volumes.list.iter().enumerate() {
        paths.extend(PATHS.iter().map(|path| (number, (*path).to_owned())));
        let vendors = volume.list("/EFI")?.unwrap_or_default();
        let vendors = vendors
            .into_iter()
            .filter(|(name, folder)| *folder && name != "BOOT");
        paths.extend(vendors.map(|(name, _)| (number, format!("/EFI/{name}/grub.cfg"))));
    }
    paths.sort_by_key(|(number, _)| volumes.list[*number].is_fat());
    let mut found = Vec::new();
    for (volume, path) in paths {
        let file = FileName { volume, path };
        if let Some(text) = volumes.text(&file)? {
            found.append(&mut grub::choices(volumes, volume, &file.path, &text)?);
        }
    }
    Ok(found)
}

/// Names the console that is there, unless a serial one is named already. Line ends become spaces.
fn with_console(cmdline: &str) -> String {
    let line = cmdline.replace(['\n', '\r', '\0', '\t'], " ");
    let line = line.trim();
    let named = |word: &str| word.split(',').next() == Some(CONSOLE);
    match (line.split(' ').any(named), line.is_empty()) {
        (true, _) => line.to_owned(),
        (false, true) => CONSOLE.to_owned(),
        (false, false) => format!("{line} {CONSOLE}"),
    }
}
