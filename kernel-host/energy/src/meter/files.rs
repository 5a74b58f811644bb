//! Small files as a source gets them: what stands in each, or why it could not be read.
//!
//! Does:      keeps texts by path in a buffer that is used again; reads numbers strictly.
//! Does not:  open anything; whoever fills it does, and reads at most `FILE_BYTES_MAX` of each.
//! Start at:  `Files`.

use super::Fault;
use std::collections::BTreeMap;

/// Files of one answer: 64 RAPL zones with five files each. Further ones are left out and counted.
pub const FILES_MAX: usize = 512;
/// Bytes of one file: sysfs shows a page at most, and no number needs more than a line.
pub const FILE_BYTES_MAX: usize = 256;

/// Why a file has no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFault {
    Absent,
    Forbidden,
    /// An error of the device behind it.
    Broken,
}

/// What was read, by path.
#[derive(Debug, Clone, Default)]
pub struct Files {
    all: BTreeMap<String, Result<String, FileFault>>,
    pub left_out: u64,
}

impl Files {
    /// Notes a file; the text is cut at `FILE_BYTES_MAX` and at nothing else.
    pub fn put(&mut self, path: &str, found: Result<&[u8], FileFault>) {
        let text = found.map(|bytes| {
            let bytes = &bytes[..bytes.len().min(FILE_BYTES_MAX)];
            String::from_utf8_lossy(bytes)
        });
        let full = self.all.len() >= FILES_MAX;
        match self.all.get_mut(path) {
            // The usual case, round after round: no new memory.
            Some(Ok(old)) if text.is_ok() => {
                old.clear();
                old.push_str(text.as_deref().unwrap_or_default());
            }
            Some(old) => *old = text.map(Into::into),
            None if full => self.left_out += 1,
            None => {
                self.all.insert(path.to_owned(), text.map(Into::into));
            }
        }
    }

    pub fn clear(&mut self) {
        self.all.clear();
    }

    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.all.keys().map(String::as_str)
    }

    /// The trimmed text of a file.
    ///
    /// # Errors
    /// When it was not read.
    pub fn text(&self, path: &str) -> Result<&str, Fault> {
        let what = || path.to_owned();
        match self.all.get(path) {
            None | Some(Err(FileFault::Absent)) => Err(Fault::Absent { what: what() }),
            Some(Err(FileFault::Forbidden)) => Err(Fault::Forbidden { what: what() }),
            Some(Err(FileFault::Broken)) => {
                Err(Fault::nonsense(path, "reading it failed in the device"))
            }
            Some(Ok(text)) => Ok(text.trim()),
        }
    }

    /// The whole number that a file consists of. An empty or torn text is a fault, not a zero.
    ///
    /// # Errors
    /// When it was not read, or is no number that fits.
    pub fn number(&self, path: &str) -> Result<u64, Fault> {
        let text = self.text(path)?;
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits => Ok(number),
            _ => Err(Fault::nonsense(path, format!("`{text}` is no number"))),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn torn_and_missing_texts_are_faults_and_no_zeros() {
        let mut files = Files::default();
        for (path, text) in [
            ("good", "123\n"),
            ("empty", ""),
            ("line", "\n"),
            ("sign", "+5"),
            ("huge", "99999999999999999999"),
            ("torn", "12\u{0}"),
        ] {
            files.put(path, Ok(text.as_bytes()));
        }
        files.put("locked", Err(FileFault::Forbidden));
        assert_eq!(files.number("good"), Ok(123));
        for path in ["empty", "line", "sign", "huge", "torn"] {
            let fault = files.number(path).unwrap_err();
            assert!(matches!(fault, Fault::Nonsense { .. }), "{path}: {fault}");
        }
        assert!(matches!(
            files.number("locked"),
            Err(Fault::Forbidden { .. })
        ));
        assert!(matches!(files.number("none"), Err(Fault::Absent { .. })));
    }

    #[test]
    fn a_file_that_comes_back_is_read_again() {
        let mut files = Files::default();
        files.put("a", Err(FileFault::Broken));
        files.put("a", Ok(b"7"));
        assert_eq!(files.number("a"), Ok(7));
        files.put("a", Err(FileFault::Absent));
        assert!(files.number("a").is_err());
    }
}
