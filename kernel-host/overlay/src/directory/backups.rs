//! Which two sites keep copies of a site's records: weighted by both names, so all nodes agree.
//!
//! Start at:  `Backups`.

use protocol::SiteId;

/// Sites that keep copies for one site, best first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backups([Option<(u64, SiteId)>; 2]);

/// How well `keeper` suits `site`: random, but the same everywhere.
fn weight(site: SiteId, keeper: SiteId) -> u64 {
    let half = |id: &SiteId| {
        let mut eight = [0; 8];
        eight.copy_from_slice(&id.bytes()[..8]);
        u64::from_be_bytes(eight)
    };
    let mut z = half(&site).rotate_left(21) ^ half(&keeper);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Backups {
    /// One more site could keep copies. Says whether it does.
    pub fn consider(&mut self, site: SiteId, keeper: SiteId) -> bool {
        let new = Some((weight(site, keeper), keeper));
        if site == keeper || self.0.contains(&new) {
            return false;
        }
        let [first, second] = self.0;
        match () {
            () if new > first => self.0 = [new, first],
            () if new > second => self.0 = [first, new],
            () => return false,
        }
        true
    }

    pub fn sites(&self) -> impl Iterator<Item = SiteId> {
        self.0.into_iter().flatten().map(|(_, site)| site)
    }

    pub fn contains(&self, site: SiteId) -> bool {
        self.sites().any(|keeper| keeper == site)
    }
}
