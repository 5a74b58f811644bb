//! Images: names for blobs that boot.
//!
//! Does:      checks that every part is complete, and keeps it while the image exists. To make what
//!            is there already changes nothing.
//! Does not:  look into the parts: the VMM does, in its jail.
//! Bounds:    `IMAGES_MAX`.
//! Trusts:    `Blobs` for what is complete.
//! Start at:  `Images::create`.

use crate::{Refusal, blobs::Blobs, machine::Hands, machines::check_cmdline};
use protocol::{BlobRef, Digest, Image, Name, NewImage, PageRequest, limits, nearest};
use std::{collections::BTreeMap, ops::Bound};

#[derive(Debug, Default)]
pub(crate) struct Images {
    known: BTreeMap<Name, Image>,
}

impl Images {
    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn create(
        &mut self,
        new: NewImage,
        blobs: &mut Blobs,
        hands: &Hands<'_>,
    ) -> Result<Image, Refusal> {
        if let Some(known) = self.known.get(&new.name)
            && is_same(known, &new)
        {
            return Ok(known.clone());
        }
        let NewImage {
            name,
            kernel,
            initrd,
            disk,
            cmdline,
        } = new;
        check_cmdline(&cmdline)?;
        if self.known.contains_key(&name) {
            return Err(Refusal::NameTaken {
                kind: "image",
                name,
            });
        }
        if self.known.len() >= limits::IMAGES_MAX {
            return Err(Refusal::LimitReached {
                kind: "images",
                max: limits::IMAGES_MAX,
            });
        }
        let part = |role, digest| complete(blobs, &name, role, digest);
        let kernel = part("kernel", kernel)?;
        let initrd = initrd.map(|digest| part("initrd", digest)).transpose()?;
        let disk = disk.map(|digest| part("disk", digest)).transpose()?;
        let (created_at, size) = (hands.now.wall, protocol::ByteCount::ZERO);
        let mut image = Image {
            name,
            kernel,
            initrd,
            disk,
            cmdline,
            size,
            created_at,
            vms: 0,
            places: Vec::new(),
        };
        image.size = image.parts().map(|part| part.size).sum();
        image.parts().for_each(|part| blobs.hold(part.digest));
        self.known.insert(image.name.clone(), image.clone());
        Ok(image)
    }

    pub fn all(&self) -> impl Iterator<Item = &Image> {
        self.known.values()
    }

    pub fn find(&self, name: &Name) -> Result<&Image, Refusal> {
        self.known.get(name).ok_or_else(|| {
            let names = self.known.keys().map(Name::as_str);
            let nearest = nearest(name.as_str(), names).map(str::to_owned);
            Refusal::NotFound {
                kind: "image",
                what: name.to_string(),
                nearest,
            }
        })
    }

    /// Takes it out of the list; its parts go with their last user.
    pub fn remove(&mut self, name: &Name, blobs: &mut Blobs, hands: &mut Hands<'_>) {
        if let Some(image) = self.known.remove(name) {
            image
                .parts()
                .for_each(|part| blobs.let_go(part.digest, hands));
        }
    }

    /// Sorted by name, from behind `after`.
    pub fn after(&self, request: &PageRequest) -> impl Iterator<Item = &Image> {
        let after = request
            .after
            .as_ref()
            .map_or(Bound::Unbounded, Bound::Excluded);
        self.known
            .range::<Name, _>((after, Bound::Unbounded))
            .map(|(_, image)| image)
    }

    /// How many parts of images name a blob.
    pub fn users_of(&self, digest: Digest) -> usize {
        self.known
            .values()
            .flat_map(Image::parts)
            .filter(|part| part.digest == digest)
            .count()
    }
}

fn is_same(image: &Image, new: &NewImage) -> bool {
    let digest = |part: Option<BlobRef>| part.map(|part| part.digest);
    image.kernel.digest == new.kernel
        && digest(image.initrd) == new.initrd
        && digest(image.disk) == new.disk
        && image.cmdline == new.cmdline
}

fn complete(
    blobs: &Blobs,
    image: &Name,
    role: &'static str,
    digest: Digest,
) -> Result<BlobRef, Refusal> {
    let (received, size) = match blobs.show(digest) {
        Ok(blob) if blob.complete => {
            return Ok(BlobRef {
                digest,
                size: blob.size,
            });
        }
        Ok(blob) => (blob.received, blob.size),
        Err(_) => (0, protocol::ByteCount::ZERO),
    };
    debug_assert!(received <= size.get());
    Err(Refusal::BlobMissing {
        image: image.clone(),
        role,
        digest,
        received,
    })
}
