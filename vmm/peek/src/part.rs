//! A kernel or an initrd that was found: bytes on the disk, to be read where they are needed.

use std::fmt;
use std::rc::Rc;

use crate::disk::ReadError;
use crate::ext4::Ext4File;
use crate::fat::FatFile;

enum Content {
    Fat(FatFile),
    Ext4(Box<Ext4File>),
}

/// A file, or a section of one.
#[derive(Clone)]
pub struct Part {
    /// Where it was found, for messages.
    name: String,
    content: Rc<Content>,
    start: u64,
    len: u64,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.name, self.len)
    }
}

impl Part {
    pub(crate) fn fat(name: String, file: FatFile) -> Part {
        let len = file.len;
        Part::new(name, Content::Fat(file), len)
    }

    pub(crate) fn ext4(name: String, file: Ext4File) -> Part {
        let len = file.len;
        Part::new(name, Content::Ext4(Box::new(file)), len)
    }

    fn new(name: String, content: Content, len: u64) -> Part {
        Part {
            name,
            content: Rc::new(content),
            start: 0,
            len,
        }
    }

    /// A section of this part, cut at its end.
    pub(crate) fn section(&self, what: &str, start: u64, len: u64) -> Part {
        let start = start.min(self.len);
        Part {
            name: format!("{}{what}", self.name),
            content: Rc::clone(&self.content),
            start: self.start + start,
            len: len.min(self.len - start),
        }
    }

    /// Its path, with the partition it lies on.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True without any byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fills `into` from the byte `at`. Reading forwards is the fast order.
    pub fn read_at(&self, at: u64, into: &mut [u8]) -> Result<(), ReadError> {
        let end = at.checked_add(into.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(ReadError::Damaged(format!("{} ends early", self.name)));
        }
        match &*self.content {
            Content::Fat(file) => file.read(self.start + at, into),
            Content::Ext4(file) => file.read(self.start + at, into),
        }
    }

    /// All of it, if it has no more than `max` bytes.
    pub(crate) fn read_all(&self, max: u64) -> Result<Vec<u8>, ReadError> {
        if self.len > max {
            let name = &self.name;
            return Err(ReadError::Damaged(format!(
                "{name} has {} bytes, more than {max}",
                self.len
            )));
        }
        let mut bytes = vec![0; usize::try_from(self.len).unwrap_or(usize::MAX)];
        self.read_at(0, &mut bytes)?;
        Ok(bytes)
    }
}
