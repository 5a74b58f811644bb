//! Images as distributions make them: what would boot, and what is said when nothing does.
#![allow(clippy::unwrap_used)]

mod disks;

use disks::{UUID, ext4, fat, gpt, mbr, run, unified};
use peek::{Found, How, Limits, NotBootable, Part, ReadAt, peek};

const DEBIAN: &str = include_str!("../corpus/menu/debian");
const UBUNTU: &str = include_str!("../corpus/menu/ubuntu");
const FEDORA: &str = include_str!("../corpus/menu/fedora");
const ALPINE: &str = include_str!("../corpus/menu/extlinux.conf");
const STUB: &str = "search.fs_uuid 7d5a1f0e-9d6c-4c8e-8b0e-0d1f2a3b4c5d root hd0,gpt1\n\
                    set prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n";

struct Image(Vec<u8>);

impl ReadAt for Image {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> std::io::Result<()> {
        let at = usize::try_from(at).unwrap();
        into.copy_from_slice(&self.0[at..at + into.len()]);
        Ok(())
    }
}

fn look(image: Vec<u8>) -> Result<Found, NotBootable> {
    peek(Box::new(Image(image)), Limits::default())
}

fn content(part: &Part) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(part.len()).unwrap()];
    part.read_at(0, &mut bytes).unwrap();
    bytes
}

/// How, kernel, initrds joined, command line.
fn row(found: &Found) -> (How, Vec<u8>, Vec<u8>, &str) {
    let initrds = found.initrds.iter().flat_map(content).collect();
    (found.how, content(&found.kernel), initrds, &found.cmdline)
}

/// Bytes that differ from place to place, so that a misplaced block is seen.
fn kernel(seed: u32, len: usize) -> Vec<u8> {
    (0..)
        .flat_map(|at: u32| (at.wrapping_mul(2_654_435_761) ^ seed).to_le_bytes())
        .take(len)
        .collect()
}

fn debian_root(options: &[&str], grubenv: &[u8]) -> Vec<u8> {
    let (k9, k13) = (kernel(9, 300_000), kernel(13, 700_001));
    ext4(
        16 << 10,
        options,
        &[
            ("boot/grub/grub.cfg", DEBIAN.as_bytes()),
            ("boot/grub/grubenv", grubenv),
            ("boot/vmlinuz-6.1.0-9-cloud-amd64", &k9),
            ("boot/vmlinuz-6.1.0-13-cloud-amd64", &k13),
            ("boot/initrd.img-6.1.0-9-cloud-amd64", b"initrd 9"),
            ("boot/initrd.img-6.1.0-13-cloud-amd64", b"initrd 13"),
            ("etc/os-release", b"ID=debian"),
        ],
    )
}

#[test]
fn debians_image_boots_its_default_whatever_its_ext4_looks_like() {
    for options in [
        &[][..],
        &["-O", "^has_journal,^metadata_csum,^64bit"],
        &[
            "-O",
            "^metadata_csum,^resize_inode",
            "-b",
            "4096",
            "-I",
            "128",
        ],
        &["-b", "1024", "-O", "^extent,^64bit,^flex_bg"],
    ] {
        let root = debian_root(options, b"# GRUB Environment Block\n####");
        let esp = fat(2 << 20, &[("EFI/debian/grub.cfg", STUB.as_bytes())]);
        let found = look(gpt(&[(1, &root), (15, &esp)])).unwrap();
        let cmdline = "root=PARTUUID=abc ro console=tty0 console=ttyS0,115200 \
                       earlyprintk=ttyS0,115200 consoleblank=0";
        let expected = (
            How::Grub,
            kernel(13, 700_001),
            b"initrd 13".to_vec(),
            cmdline,
        );
        assert_eq!(row(&found), expected, "{options:?}");
        assert_eq!(found.title, "Debian GNU/Linux");
    }
}

#[test]
fn the_saved_entry_of_a_menu_inside_a_menu_is_taken() {
    let saved = "# GRUB Environment Block\nsaved_entry=gnulinux-advanced-7d5a>\
                 gnulinux-6.1.0-9-cloud-amd64-advanced-7d5a\nnext_entry=2\n####";
    let found = look(mbr(&[&debian_root(&[], saved.as_bytes())])).unwrap();
    let cmdline = "root=PARTUUID=abc ro single \"a b\" console=ttyS0";
    let expected = (How::Grub, kernel(9, 300_000), b"initrd 9".to_vec(), cmdline);
    assert_eq!(row(&found), expected);
}

#[test]
fn a_stub_in_the_efi_partition_leads_to_the_menu() {
    // The real menu lies where only the stub knows.
    let root = ext4(
        4 << 10,
        &[],
        &[
            ("boot/grub/elsewhere.cfg", b"linux /k root=x quiet"),
            ("k", b"the kernel"),
        ],
    );
    let stub = STUB.replace("grub.cfg", "elsewhere.cfg");
    let esp = fat(2 << 20, &[("EFI/some/grub.cfg", stub.as_bytes())]);
    let found = look(gpt(&[(1, &root), (2, &esp)])).unwrap();
    let expected = (
        How::Grub,
        b"the kernel".to_vec(),
        Vec::new(),
        "root=x quiet console=ttyS0",
    );
    assert_eq!(row(&found), expected);
}

#[test]
fn ubuntus_image_boots_without_initrd_unless_that_failed() {
    let files = |grubenv: &'static str| {
        ext4(
            4 << 10,
            &["-L", "cloudimg-rootfs"],
            &[
                ("boot/grub/grub.cfg", UBUNTU.as_bytes()),
                ("boot/grub/grubenv", grubenv.as_bytes()),
                ("boot/vmlinuz-6.8.0-45-generic", b"kernel"),
                ("boot/initrd.img-6.8.0-45-generic", b"initrd"),
            ],
        )
    };
    let found = look(gpt(&[(1, &files(""))])).unwrap();
    let cmdline = "root=PARTUUID=abc ro console=tty1 console=ttyS0 panic=-1";
    assert_eq!(
        row(&found),
        (How::Grub, b"kernel".to_vec(), Vec::new(), cmdline)
    );
    let menu = UBUNTU.replace("set default=\"0\"", "load_env\nset default=0");
    let failed = ext4(
        4 << 10,
        &["-L", "cloudimg-rootfs"],
        &[
            ("boot/grub/grub.cfg", menu.as_bytes()),
            ("boot/grub/grubenv", b"initrdfail=1\n"),
            ("boot/vmlinuz-6.8.0-45-generic", b"kernel"),
            ("boot/initrd.img-6.8.0-45-generic", b"initrd"),
        ],
    );
    let found = look(gpt(&[(1, &failed)])).unwrap();
    assert_eq!(row(&found).2, b"initrd");
}

#[test]
fn fedoras_entries_boot_the_saved_one_and_else_the_newest() {
    let entry = |version: &str| {
        format!(
            "title Fedora {version}\nversion {version}\nlinux /vmlinuz-{version}\n\
                 initrd /initramfs-{version}.img $tuned_initrd\noptions root=UUID=r ro $kernelopts\n"
        )
    };
    let boot = |grubenv: &str| {
        let (old, new) = (entry("6.8.5"), entry("6.10.1"));
        ext4(
            8 << 10,
            &[],
            &[
                ("grub2/grub.cfg", FEDORA.as_bytes()),
                ("grub2/grubenv", grubenv.as_bytes()),
                ("loader/entries/abc-6.8.5.conf", old.as_bytes()),
                ("loader/entries/abc-6.10.1.conf", new.as_bytes()),
                ("vmlinuz-6.8.5", b"old"),
                ("vmlinuz-6.10.1", b"new"),
                ("initramfs-6.8.5.img", b"old initrd"),
                ("initramfs-6.10.1.img", b"new initrd"),
                ("boot", b"link:."),
            ],
        )
    };
    let found = look(gpt(&[(
        2,
        &boot("saved_entry=abc-6.8.5\nkernelopts=a=b\n"),
    )]))
    .unwrap();
    let line = "root=UUID=r ro a=b console=ttyS0";
    assert_eq!(
        row(&found),
        (
            How::Specification,
            b"old".to_vec(),
            b"old initrd".to_vec(),
            line
        )
    );
    let found = look(gpt(&[(2, &boot(""))])).unwrap();
    assert_eq!(content(&found.kernel), b"new");
}

#[test]
fn alpines_menu_lies_on_a_disk_without_partitions() {
    let image = ext4(
        4 << 10,
        &[],
        &[
            ("boot/extlinux.conf", ALPINE.as_bytes()),
            ("boot/vmlinuz-virt", b"kernel"),
            ("boot/initramfs-virt", b"initrd"),
            ("boot/boot", b"link:."),
        ],
    );
    let found = look(image).unwrap();
    let line = "root=UUID=1-2 modules=ext4 console=ttyS0,115200n8";
    assert_eq!(
        row(&found),
        (How::Extlinux, b"kernel".to_vec(), b"initrd".to_vec(), line)
    );
}

#[test]
fn a_unified_image_is_taken_apart_on_every_width_of_fat() {
    let (linux, initrd) = (kernel(1, 100_001), kernel(2, 50_003));
    let image = unified(&[
        (".linux", &linux),
        (".cmdline", b"root=/dev/vda2 quiet\n\0"),
        (".initrd", &initrd),
    ]);
    for size in [1 << 20, 16 << 20, 300 << 20] {
        let esp = fat(
            size,
            &[
                ("EFI/Linux/linux-6.9-long name.efi", b"not one"),
                ("EFI/Linux/Linux-6.10-with-a-long-name.efi", &image),
            ],
        );
        let found = look(gpt(&[(1, &esp)])).unwrap();
        let line = "root=/dev/vda2 quiet console=ttyS0";
        assert_eq!(
            row(&found),
            (How::Unified, linux.clone(), initrd.clone(), line),
            "{size}"
        );
    }
}

#[test]
fn without_a_menu_the_newest_kernel_boots_with_a_root_that_was_found() {
    let root = ext4(
        4 << 10,
        &[],
        &[
            ("boot/vmlinuz-6.9", b"old"),
            ("boot/vmlinuz-6.10", b"new"),
            ("boot/initrd.img-6.10", b"initrd"),
            ("vmlinuz", b"link:boot/vmlinuz-6.9"),
            ("etc/os-release", b"ID=x"),
        ],
    );
    let found = look(mbr(&[&root])).unwrap();
    let line = format!("root=UUID={UUID} ro console=ttyS0");
    assert_eq!(
        row(&found),
        (
            How::Newest,
            b"new".to_vec(),
            b"initrd".to_vec(),
            line.as_str()
        )
    );
}

#[test]
fn an_entry_whose_kernel_is_gone_is_passed_over_and_named() {
    let root = ext4(
        4 << 10,
        &[],
        &[
            (
                "boot/grub/grub.cfg",
                b"menuentry gone { linux /boot/a }\nmenuentry here { linux /boot/b }",
            ),
            ("boot/b", b"kernel"),
        ],
    );
    let found = look(mbr(&[&root])).unwrap();
    assert_eq!(found.title, "here");
    assert_eq!(
        found.passed_over,
        ["Entry \"gone\" of grub.cfg: /boot/a is not on partition 1 (ext4)"]
    );
}

/// A volume whose journal has another menu than its files have.
fn with_journal(options: &[&str], open: &str) -> Vec<u8> {
    let text = |kernel: &str| [format!("linux {kernel}\n").into_bytes(), vec![b'#'; 1013]].concat();
    let root = ext4(
        16 << 10,
        options,
        &[
            ("boot/grub/grub.cfg", &text("/old")),
            ("old", b"old kernel"),
            ("new", b"new kernel"),
        ],
    );
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("image"), &root).unwrap();
    std::fs::write(path("block"), text("/new")).unwrap();
    let line = b"linux /old\n";
    let at = root
        .windows(line.len())
        .position(|window| window == line)
        .unwrap()
        / 1024;
    let commands = format!("{open}\njw -b {at} {}\njc\n", path("block"));
    std::fs::write(path("commands"), commands).unwrap();
    run("debugfs", &["-w", "-f", &path("commands"), &path("image")]);
    let image = std::fs::read(path("image")).unwrap();
    assert_eq!(image[at * 1024..at * 1024 + line.len()], *line);
    image
}

#[test]
fn what_the_journal_holds_counts_as_written() {
    let image = with_journal(&["-b", "1024"], "jo -c -v 3");
    let found = look(mbr(&[&image])).unwrap();
    assert_eq!(content(&found.kernel), b"new kernel");
}

#[test]
fn a_journal_without_checksums_is_passed_by_as_grub_does() {
    let old = ["-b", "1024", "-O", "^64bit,^metadata_csum"];
    let found = look(mbr(&[&with_journal(&old, "jo")])).unwrap();
    assert_eq!(content(&found.kernel), b"old kernel");
}

#[test]
fn a_disk_that_boots_nothing_is_described() {
    let mut btrfs = vec![0; 1 << 20];
    btrfs[0x10040..0x10048].copy_from_slice(b"_BHRfS_M");
    let esp = fat(
        2 << 20,
        &[
            ("EFI/BOOT/BOOTX64.EFI", b"a loader"),
            ("grub/grub.cfg", b"linux /x"),
        ],
    );
    let error = look(gpt(&[(1, &esp), (3, &btrfs)]))
        .unwrap_err()
        .to_string();
    for part in [
        "looked for Boot Loader Specification entries, grub.cfg, extlinux.conf, unified kernel",
        "The disk has GPT partition table. partition 1 (FAT) holds: EFI grub.",
        "Partition 3: Btrfs, which can't be read.",
        "Entry \"/grub/grub.cfg\" of grub.cfg: /x is not on partition 1 (FAT).",
    ] {
        assert!(error.contains(part), "{error}");
    }
    let error = look(vec![0; 4096]).unwrap_err().to_string();
    assert!(
        error.contains("The disk has no partition table. The whole disk: no known file"),
        "{error}"
    );
}

#[test]
fn a_search_ends_at_its_limits() {
    let image = mbr(&[&debian_root(&[], b"")]);
    let limits = Limits {
        search_reads: 3,
        ..Limits::default()
    };
    let error = peek(Box::new(Image(image.clone())), limits)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("took more reads or bytes than it is allowed"),
        "{error}"
    );
    let limits = Limits {
        load_bytes: 700_000,
        ..Limits::default()
    };
    let error = peek(Box::new(Image(image)), limits)
        .unwrap_err()
        .to_string();
    assert!(error.contains("are too large"), "{error}");
}
