//! The one budget: memory for guests, private disks and images.
//!
//! Does:      reserves and releases; refuses what does not fit, with the numbers.
//! Does not:  know who reserved what: `Cloud::check` adds that up in tests.
//! Start at:  `Budget::reserve`.

use crate::Refusal;
use protocol::ByteCount;

/// What is promised of what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryUse {
    pub capacity: ByteCount,
    pub reserved: ByteCount,
}

#[derive(Debug)]
pub(crate) struct Budget {
    used: MemoryUse,
}

impl Budget {
    pub fn new(capacity: ByteCount) -> Self {
        Self {
            used: MemoryUse {
                capacity,
                reserved: ByteCount::ZERO,
            },
        }
    }

    pub fn used(&self) -> MemoryUse {
        self.used
    }

    /// A smaller capacity takes nothing away; it only refuses more.
    pub fn set_capacity(&mut self, capacity: ByteCount) {
        self.used.capacity = capacity;
    }

    pub fn reserve(&mut self, asked: ByteCount, what: &str) -> Result<(), Refusal> {
        let free = self.used.capacity.saturating_sub(self.used.reserved);
        if asked > free {
            let (what, capacity) = (what.to_owned(), self.used.capacity);
            return Err(Refusal::NoCapacity {
                what,
                asked,
                free,
                capacity,
            });
        }
        self.used.reserved = self.used.reserved.saturating_add(asked);
        Ok(())
    }

    pub fn release(&mut self, amount: ByteCount) {
        let left = self.used.reserved.checked_sub(amount);
        debug_assert!(left.is_some(), "released more than was reserved");
        self.used.reserved = left.unwrap_or(ByteCount::ZERO);
    }
}
