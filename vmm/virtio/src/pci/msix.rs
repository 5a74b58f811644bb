//! MSI-X: the table of messages, their masks, and what is pending.
//!
//! Does:      keeps the table, decides whether a vector may be delivered now.
//! Does not:  deliver; the caller routes the messages to the interrupt controller.
//! Bounds:    `VECTORS_MAX` vectors.
//! Trusts:    the guest for nothing: a message may name any address; the caller's interrupt
//!            controller treats it as a message, never as memory.

/// Vectors of one function: one per queue and one for configuration changes.
pub const VECTORS_MAX: usize = 4;
/// Bytes of one table entry.
const ENTRY_BYTES: usize = 16;
const CONTROL_ENABLE: u16 = 1 << 15;
const CONTROL_MASK_ALL: u16 = 1 << 14;

/// What the guest wants written to signal a vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Address, in the local APICs' window for any sane guest.
    pub address: u64,
    /// Vector number and delivery mode.
    pub data: u32,
}

/// The state of one function's MSI-X.
#[derive(Clone, Debug)]
pub struct Msix {
    table: [u8; VECTORS_MAX * ENTRY_BYTES],
    pending: u64,
    control: u16,
    count: u16,
}

impl Msix {
    pub(crate) fn new(count: u16) -> Msix {
        debug_assert!(usize::from(count) <= VECTORS_MAX);
        let mut msix = Msix {
            table: [0; VECTORS_MAX * ENTRY_BYTES],
            pending: 0,
            control: 0,
            count,
        };
        msix.mask_all();
        msix
    }

    fn mask_all(&mut self) {
        for entry in self.table.chunks_exact_mut(ENTRY_BYTES) {
            entry[12] = 1; // masked until the guest says otherwise
        }
    }

    /// Number of vectors.
    pub fn count(&self) -> u16 {
        self.count
    }

    /// The message of a vector that is enabled and not masked.
    pub fn message(&self, vector: u16) -> Option<Message> {
        if vector >= self.count
            || self.control & (CONTROL_ENABLE | CONTROL_MASK_ALL) != CONTROL_ENABLE
        {
            return None;
        }
        let entry = &self.table[usize::from(vector) * ENTRY_BYTES..][..ENTRY_BYTES];
        let [a0, a1, a2, a3, a4, a5, a6, a7, d0, d1, d2, d3, mask, ..] = *entry else {
            return None;
        };
        (mask & 1 == 0).then_some(Message {
            address: u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7]),
            data: u32::from_le_bytes([d0, d1, d2, d3]),
        })
    }

    /// A vector wants to fire. True: deliver it now. False: it's pending until unmasked, or it
    /// isn't a vector at all (the guest said "none").
    pub(crate) fn fire(&mut self, vector: u16) -> bool {
        if vector >= self.count {
            return false;
        }
        if self.message(vector).is_some() {
            return true;
        }
        if self.control & CONTROL_ENABLE != 0 {
            self.pending |= 1 << vector;
        }
        false
    }

    /// The pending vectors that may be delivered now, as bits; they are pending no more.
    pub(crate) fn take_deliverable(&mut self) -> u64 {
        let mut bits = 0;
        for vector in 0..self.count {
            if self.pending & 1 << vector != 0 && self.message(vector).is_some() {
                bits |= 1 << vector;
            }
        }
        self.pending &= !bits;
        bits
    }

    pub(crate) fn set_control(&mut self, control: u16) {
        self.control = control & (CONTROL_ENABLE | CONTROL_MASK_ALL);
        if self.control & CONTROL_ENABLE == 0 {
            self.pending = 0;
        }
    }

    pub(crate) fn read_table(&self, offset: usize, data: &mut [u8]) {
        let used = usize::from(self.count) * ENTRY_BYTES;
        crate::device::read_fields(&self.table[..used], offset, data);
    }

    /// Whole and aligned double or quad words only, as the PCI standard demands.
    pub(crate) fn write_table(&mut self, offset: usize, data: &[u8]) {
        let used = usize::from(self.count) * ENTRY_BYTES;
        let fits = offset
            .checked_add(data.len())
            .is_some_and(|end| end <= used);
        if !fits || !matches!(data.len(), 4 | 8) || !offset.is_multiple_of(data.len()) {
            return;
        }
        self.table[offset..offset + data.len()].copy_from_slice(data);
        let entry = offset / ENTRY_BYTES * ENTRY_BYTES;
        self.table[entry + 12] &= 1;
        self.table[entry + 13..entry + 16].fill(0);
    }

    pub(crate) fn read_pending(&self, offset: usize, data: &mut [u8]) {
        crate::device::read_fields(&self.pending.to_le_bytes(), offset, data);
    }
}

#[cfg(test)]
mod tests {
    use super::{Message, Msix};

    #[test]
    fn a_masked_vector_waits_and_fires_once_when_unmasked() {
        let mut msix = Msix::new(2);
        msix.write_table(16, &0xfee0_1000u64.to_le_bytes());
        msix.write_table(24, &0x41u32.to_le_bytes());
        assert!(!msix.fire(1), "not enabled");
        msix.set_control(0x8000);
        assert_eq!(
            msix.take_deliverable(),
            0,
            "nothing was kept while disabled"
        );
        assert!(!msix.fire(1), "still masked");
        assert_eq!(msix.take_deliverable(), 0);
        msix.write_table(28, &0u32.to_le_bytes());
        assert_eq!(msix.take_deliverable(), 1 << 1);
        assert_eq!(msix.take_deliverable(), 0, "only once");
        assert_eq!(
            msix.message(1),
            Some(Message {
                address: 0xfee0_1000,
                data: 0x41
            })
        );
        msix.set_control(0xc000);
        assert!(!msix.fire(1), "the function mask holds");
        assert!(!msix.fire(9), "no such vector");
    }

    #[test]
    fn odd_accesses_change_nothing() {
        let mut msix = Msix::new(2);
        let before = msix.table;
        msix.write_table(1, &[1; 4]);
        msix.write_table(4, &[1; 8]);
        msix.write_table(0, &[1; 2]);
        msix.write_table(32, &[1; 4]);
        msix.write_table(usize::MAX, &[1; 4]);
        assert_eq!(msix.table, before);
    }
}
