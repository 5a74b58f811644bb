//! Images and the blobs they are made of, as the API shows them.
//!
//! Does:      an image names a kernel, perhaps an initrd and a disk, each by content.
//! Start at:  `Image`.

use crate::{ByteCount, Digest, Name, Place, Timestamp};
use serde::{Deserialize, Serialize};

/// A request to name blobs that are already on the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewImage {
    pub name: Name,
    /// A Linux kernel (bzImage).
    pub kernel: Digest,
    #[serde(default)]
    pub initrd: Option<Digest>,
    /// A raw disk.
    #[serde(default)]
    pub disk: Option<Digest>,
    /// Kernel arguments of every VM made from it.
    #[serde(default)]
    pub cmdline: String,
}

/// A part of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRef {
    pub digest: Digest,
    pub size: ByteCount,
}

/// What VMs boot from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    pub name: Name,
    pub kernel: BlobRef,
    pub initrd: Option<BlobRef>,
    pub disk: Option<BlobRef>,
    pub cmdline: String,
    /// Of all its parts.
    pub size: ByteCount,
    pub created_at: Timestamp,
    /// How many VMs were made from it and still exist.
    pub vms: u32,
    /// The nodes that have it, and how fresh that knowledge is.
    #[serde(default)]
    pub places: Vec<Place>,
}

impl Image {
    /// Its parts, each once by role.
    pub fn parts(&self) -> impl Iterator<Item = BlobRef> {
        [Some(self.kernel), self.initrd, self.disk]
            .into_iter()
            .flatten()
    }
}

/// Bytes named by their content, perhaps still arriving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    pub digest: Digest,
    pub size: ByteCount,
    /// The next byte to send.
    pub received: u64,
    /// All bytes are here and their digest was checked.
    pub complete: bool,
}
