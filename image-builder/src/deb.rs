//! Reads Debian packages: an `ar` archive that holds a compressed `tar`.
//!
//! Does:      walks the files of `data.tar.xz` once, in order, without unpacking to disk.
//! Does not:  run maintainer scripts, or read zstd packages, which Debian does not make.
//! Bounds:    `FILE_BYTES_MAX` a file, `FILES_MAX` files; beyond them the package is refused.
//! Trusts:    the caller, who has checked the package's hash; still nothing here can panic.
//! Start at:  `for_each_file`.

use std::io::Read;

/// The biggest file in a kernel package is `vmlinuz` with 12 MB; a debug kernel has 400 MB.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// The full kernel package has about 4,300 files.
const FILES_MAX: usize = 100_000;

/// Calls `found(path, bytes)` for each regular file whose path (without leading `./`) is wanted.
/// `Err` is a sentence.
pub fn for_each_file(
    deb: impl Read,
    mut wanted: impl FnMut(&str) -> bool,
    mut found: impl FnMut(String, Vec<u8>),
) -> Result<(), String> {
    let mut outer = ar::Archive::new(deb);
    while let Some(entry) = outer.next_entry() {
        let entry = entry.map_err(|error| format!("its outer archive is damaged ({error})"))?;
        match entry.header().identifier() {
            b"data.tar.xz" => {
                let inner = liblzma::read::XzDecoder::new(entry);
                return walk(tar::Archive::new(inner), &mut wanted, &mut found);
            }
            b"data.tar" => return walk(tar::Archive::new(entry), &mut wanted, &mut found),
            _ => {}
        }
    }
    Err("it holds no data.tar.xz".to_owned())
}

fn walk(
    mut archive: tar::Archive<impl Read>,
    wanted: &mut impl FnMut(&str) -> bool,
    found: &mut impl FnMut(String, Vec<u8>),
) -> Result<(), String> {
    let damaged = |error: std::io::Error| format!("its inner archive is damaged ({error})");
    for (count, entry) in archive.entries().map_err(damaged)?.enumerate() {
        if count >= FILES_MAX {
            return Err(format!("it has more than {FILES_MAX} files"));
        }
        let entry = entry.map_err(damaged)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = name.trim_start_matches("./");
        if !entry.header().entry_type().is_file() || !wanted(name) {
            continue;
        }
        let name = name.to_owned();
        let mut bytes = Vec::new();
        entry
            .take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(damaged)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(format!("{name} has more than {FILE_BYTES_MAX} bytes"));
        }
        found(name, bytes);
    }
    Ok(())
}

/// Expands one `.xz` file that may have at most `bytes_max` bytes.
pub fn expand_xz(packed: &[u8], bytes_max: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let decoder = liblzma::read::XzDecoder::new(packed);
    decoder
        .take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("it expands to more than {bytes_max} bytes"));
    }
    Ok(bytes)
}

/// Any bytes at all: the walk ends with an answer.
pub fn fuzz_deb(data: &[u8]) {
    let mut bytes = 0usize;
    let _ = for_each_file(data, |path| path.len() < 64, |_, file| bytes += file.len());
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write;

    /// A package with these files.
    pub(crate) fn pack(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut inner = tar::Builder::new(liblzma::write::XzEncoder::new(Vec::new(), 1));
        for (path, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            inner
                .append_data(&mut header, format!("./{path}"), *bytes)
                .unwrap();
        }
        let data = inner.into_inner().unwrap().finish().unwrap();
        let mut outer = ar::Builder::new(Vec::new());
        for (name, bytes) in [("debian-binary", &b"2.0\n"[..]), ("data.tar.xz", &data)] {
            let header = ar::Header::new(name.as_bytes().to_vec(), bytes.len() as u64);
            outer.append(&header, bytes).unwrap();
        }
        outer.into_inner().unwrap()
    }

    /// An `.xz` file.
    pub(crate) fn pack_xz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn only_wanted_files_come_out_with_their_bytes() {
        let deb = pack(&[("boot/vmlinuz", b"kernel"), ("usr/share/doc/x", b"words")]);
        let mut seen = Vec::new();
        for_each_file(
            &deb[..],
            |path| path.starts_with("boot/"),
            |p, b| seen.push((p, b)),
        )
        .unwrap();
        assert_eq!(seen, [("boot/vmlinuz".to_owned(), b"kernel".to_vec())]);
    }

    #[test]
    fn a_damaged_package_is_an_error_in_words() {
        let deb = pack(&[("boot/vmlinuz", b"kernel")]);
        for broken in [
            &deb[..0],
            &deb[..deb.len() / 2],
            &b"!<arch>\n"[..],
            &b"hello"[..],
        ] {
            assert!(for_each_file(broken, |_| true, |_, _| ()).is_err());
        }
    }

    #[test]
    fn an_expansion_beyond_its_limit_is_refused() {
        let packed = pack_xz(&[0; 1000]);
        assert_eq!(expand_xz(&packed, 1000).unwrap().len(), 1000);
        assert!(expand_xz(&packed, 999).is_err());
    }
}
