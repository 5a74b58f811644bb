//! Disk images made on the spot: FAT by `fatfs`, ext4 by Debian's own mkfs.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;
use std::process::Command;

/// A name with slashes, and what is in the file.
pub type File<'a> = (&'a str, &'a [u8]);

pub fn fat(bytes: usize, files: &[File<'_>]) -> Vec<u8> {
    let mut image = Cursor::new(vec![0; bytes]);
    let mut options = fatfs::FormatVolumeOptions::new().volume_id(0x1234_abcd);
    if bytes < 1 << 20 {
        options = options.max_root_dir_entries(16).bytes_per_cluster(512);
    }
    fatfs::format_volume(&mut image, options).unwrap();
    {
        let fs = fatfs::FileSystem::new(&mut image, fatfs::FsOptions::new()).unwrap();
        for (path, content) in files {
            let (folders, name) = path
                .trim_start_matches('/')
                .rsplit_once('/')
                .unwrap_or(("", path));
            let mut folder = fs.root_dir();
            for part in folders.split('/').filter(|part| !part.is_empty()) {
                folder = folder.create_dir(part).unwrap();
            }
            let mut file = folder.create_file(name.trim_start_matches('/')).unwrap();
            file.write_all(content).unwrap();
        }
    }
    image.into_inner()
}

/// Runs a program of e2fsprogs, which every Debian has.
pub fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(format!("/sbin/{program}"))
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program} (package e2fsprogs): {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
}

/// Content that starts with `link:` becomes a symbolic link.
pub fn ext4(kib: usize, options: &[&str], files: &[File<'_>]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    for (path, content) in files {
        let path = root.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match content.strip_prefix(b"link:") {
            Some(to) => {
                std::os::unix::fs::symlink(std::str::from_utf8(to).unwrap(), &path).unwrap()
            }
            None => fs::write(&path, content).unwrap(),
        }
    }
    let image = folder.path().join("image");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (root, image, size) = (text(&root), text(&image), format!("{kib}k"));
    let mut arguments = vec!["-q", "-F", "-U", UUID, "-d", &root];
    arguments.extend(options);
    arguments.extend([image.as_str(), size.as_str()]);
    run("mkfs.ext4", &arguments);
    let mut bytes = fs::read(image).unwrap();
    bytes.resize(kib << 10, 0); // the file ends where the last used block does
    bytes
}

pub const UUID: &str = "7d5a1f0e-9d6c-4c8e-8b0e-0d1f2a3b4c5d";

/// Partitions behind each other under an MBR.
pub fn mbr(parts: &[&[u8]]) -> Vec<u8> {
    let mut disk = vec![0; 512];
    disk[440..444].copy_from_slice(&0x1234_abcd_u32.to_le_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    for (number, part) in parts.iter().enumerate() {
        let at = 446 + number * 16;
        let (start, len) = (disk.len() / 512, part.len() / 512);
        disk[at + 4] = 0x83;
        disk[at + 8..at + 12].copy_from_slice(&u32::try_from(start).unwrap().to_le_bytes());
        disk[at + 12..at + 16].copy_from_slice(&u32::try_from(len).unwrap().to_le_bytes());
        disk.extend_from_slice(part);
    }
    disk
}

/// Partitions behind each other under a GPT, numbered as the third of each says.
pub fn gpt(parts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut disk = vec![0; 34 * 512];
    disk[446 + 4] = 0xee;
    disk[446 + 8] = 1;
    disk[446 + 12..446 + 16].fill(0xff);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk[512..520].copy_from_slice(b"EFI PART");
    disk[512 + 72] = 2;
    disk[512 + 80] = 128;
    disk[512 + 84] = 128;
    for (number, part) in parts {
        let at = 1024 + (number - 1) * 128;
        let (start, len) = ((disk.len() / 512) as u64, (part.len() / 512) as u64);
        disk[at..at + 16].fill(0xaf);
        disk[at + 16..at + 32].fill(u8::try_from(*number).unwrap());
        disk[at + 32..at + 40].copy_from_slice(&start.to_le_bytes());
        disk[at + 40..at + 48].copy_from_slice(&(start + len - 1).to_le_bytes());
        disk.extend_from_slice(part);
    }
    disk
}

/// A unified kernel image of these sections, each 512 bytes apart at least.
pub fn unified(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut image = vec![0; 1024];
    image[..2].copy_from_slice(b"MZ");
    image[60] = 64;
    image[64..68].copy_from_slice(b"PE\0\0");
    image[70] = u8::try_from(sections.len()).unwrap();
    for (number, (name, content)) in sections.iter().enumerate() {
        let at = 64 + 24 + number * 40;
        let start = u32::try_from(image.len()).unwrap();
        image[at..at + name.len()].copy_from_slice(name.as_bytes());
        image[at + 8..at + 12]
            .copy_from_slice(&u32::try_from(content.len()).unwrap().to_le_bytes());
        image.extend_from_slice(content);
        image.resize(image.len().next_multiple_of(512), 0);
        let filled = u32::try_from(image.len()).unwrap() - start;
        image[at + 16..at + 20].copy_from_slice(&filled.to_le_bytes());
        image[at + 20..at + 24].copy_from_slice(&start.to_le_bytes());
    }
    image
}
