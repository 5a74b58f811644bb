//! Safety rules that tests switch off one by one, to see that their checkers notice.
//!
//! Start at:  `Rules`.

/// Which rules hold: all of them, but in such a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// An owner of a lower epoch can't overwrite one of a higher.
    pub epoch_check: bool,
    /// A tombstone stays until everybody who could bring the thing back has seen it.
    pub tombstone_horizon: bool,
    /// A lease is taken over only after its end, with room for clocks that drift.
    pub lease_margin: bool,
    /// Others try to reach a silent node before it is suspected.
    pub indirect_probe: bool,
}

impl Rules {
    pub const ALL: Self = Self {
        epoch_check: true,
        tombstone_horizon: true,
        lease_margin: true,
        indirect_probe: true,
    };
}

impl Default for Rules {
    fn default() -> Self {
        Self::ALL
    }
}
