//! Parsers of this crate over arbitrary bytes: whole disks, and the texts of menus.

use crate::disk::{Bytes, Disk, Limits};
use crate::search::Volumes;
use crate::{bls, extlinux, grub, peek};

/// Enough to find a kernel on every disk of the corpus, and an end for what never ends.
const LIMITS: Limits = Limits {
    search_bytes: 4 << 20,
    search_reads: 200,
    load_bytes: 1 << 20,
};

/// A disk for the menus to look into.
const DISK: &[u8] = include_bytes!("../corpus/disk/fat-unified");

/// A whole disk. What is found can be read to its end, or the reading fails with a reason.
pub fn fuzz_disk(data: &[u8]) {
    if let Ok(found) = peek(Box::new(Bytes(data.into())), LIMITS) {
        assert!(!found.kernel.is_empty() && !found.cmdline.is_empty());
        let mut left = LIMITS.load_bytes;
        for part in std::iter::once(&found.kernel).chain(&found.initrds) {
            left = left.checked_sub(part.len()).expect("within the limit");
            let mut bytes = [0; 1000];
            for at in (0..part.len()).step_by(bytes.len()) {
                let len = usize::try_from(part.len() - at).unwrap_or(usize::MAX);
                let len = len.min(bytes.len());
                if part.read_at(at, &mut bytes[..len]).is_err() {
                    break;
                }
            }
            assert!(part.read_at(part.len(), &mut [0]).is_err());
        }
    }
}

/// The text of a menu, in each language there is.
pub fn fuzz_menu(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    bls::fuzz(&text);
    extlinux::fuzz(&text);
    let mut volumes = Volumes::default();
    let disk = Disk::new(Box::new(Bytes(DISK.into())), Limits::default());
    volumes.read(&disk).expect("a sound disk");
    // Only the disk can fail, and this one doesn't.
    let choices = grub::choices(&volumes, 0, "/grub/grub.cfg", &text);
    for choice in choices.expect("no disk error") {
        assert_eq!(choice.kernel.volume, 0);
    }
}

#[cfg(test)]
mod tests {
    use corpus::replay;

    use super::{fuzz_disk, fuzz_menu};

    const HERE: &str = env!("CARGO_MANIFEST_DIR");

    #[test]
    fn no_disk_breaks_the_search() {
        replay(HERE, "disk", fuzz_disk);
    }

    #[test]
    fn no_menu_breaks_its_reader() {
        replay(HERE, "menu", fuzz_menu);
    }
}
