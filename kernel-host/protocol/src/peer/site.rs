//! A site's id comes from its name, so that both are known wherever one is.
//!
//! Start at:  `id_of`.

use crate::{Hasher, Name, SiteId};

/// The id of the site with this name, the same in every cluster.
pub fn id_of(name: &Name) -> SiteId {
    let mut hasher = Hasher::new();
    hasher.update(b"luc site\0");
    hasher.update(name.to_string().as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finish().bytes()[..16]);
    SiteId::from_bytes(bytes)
}
