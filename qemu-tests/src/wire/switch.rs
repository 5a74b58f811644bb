//! The learning switch at the heart of a wire.
//!
//! Does:      remembers behind which port an address lives; floods what it does not know.
//! Does not:  age entries by time (a rig run is short), know VLANs, or detect loops.
//! Bounds:    `ADDRESSES_MAX`; at the maximum the oldest entry gives way.
//! Trusts:    nobody: a machine may claim any source address, as on a real switch.
//! Start at:  `Switch::targets`.

use std::collections::VecDeque;

/// Addresses remembered: a rig has tens of NICs; a flood of forged ones must not grow memory.
const ADDRESSES_MAX: usize = 1024;
/// Destination and source stand at the start of every frame.
const HEADER_SIZE: usize = 14;

/// Number of a port on its wire.
pub type PortNumber = usize;

/// Which ports get a frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Targets {
    /// Exactly this one.
    One(PortNumber),
    /// All but the one it came from.
    Others,
    /// None: the frame is broken, or its target lives where it came from.
    None,
}

/// The table of addresses.
#[derive(Debug, Default)]
pub struct Switch {
    learned: VecDeque<([u8; 6], PortNumber)>,
}

impl Switch {
    /// Learns from a frame that came in at `from`, and says where it goes.
    pub fn targets(&mut self, from: PortNumber, frame: &[u8]) -> Targets {
        if frame.len() < HEADER_SIZE {
            return Targets::None;
        }
        let (target, rest) = frame.split_at(6);
        self.learn(&rest[..6], from);
        if is_group(target) {
            return Targets::Others;
        }
        match self.learned.iter().find(|(address, _)| address == target) {
            Some((_, port)) if *port == from => Targets::None,
            Some((_, port)) => Targets::One(*port),
            None => Targets::Others,
        }
    }

    fn learn(&mut self, source: &[u8], port: PortNumber) {
        if is_group(source) {
            return; // no sender has a group address
        }
        if let Some(entry) = self
            .learned
            .iter_mut()
            .find(|(address, _)| address == source)
        {
            entry.1 = port;
            return;
        }
        if self.learned.len() == ADDRESSES_MAX {
            self.learned.pop_front();
        }
        let mut address = [0; 6];
        address.copy_from_slice(source);
        self.learned.push_back((address, port));
    }
}

fn is_group(address: &[u8]) -> bool {
    address[0] & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::{ADDRESSES_MAX, Switch, Targets};

    const A: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const B: [u8; 6] = [2, 0, 0, 0, 0, 2];
    const ALL: [u8; 6] = [0xff; 6];

    fn frame(target: [u8; 6], source: [u8; 6]) -> Vec<u8> {
        [&target[..], &source[..], &[8, 0]].concat()
    }

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn a_switch_floods_the_unknown_and_delivers_the_known() {
        let mut switch = Switch::default();
        //                        port        target source
        assert_eq!(switch.targets(0, &frame(ALL,   A)), Targets::Others);
        assert_eq!(switch.targets(1, &frame(A,     B)), Targets::One(0));
        assert_eq!(switch.targets(0, &frame(B,     A)), Targets::One(1));
        assert_eq!(switch.targets(2, &frame(ALL,   B)), Targets::Others); // B moved
        assert_eq!(switch.targets(0, &frame(B,     A)), Targets::One(2));
        assert_eq!(switch.targets(0, &frame(A,     A)), Targets::None);   // to itself
        assert_eq!(switch.targets(0, &[1, 2, 3]),       Targets::None);   // runt
    }

    #[test]
    fn forged_senders_do_not_grow_the_table() {
        let mut switch = Switch::default();
        for number in 0..ADDRESSES_MAX as u64 * 2 {
            let mut source = [2, 0, 0, 0, 0, 0];
            source[1..].copy_from_slice(&number.to_be_bytes()[3..]);
            switch.targets(0, &frame(ALL, source));
        }
        assert_eq!(switch.learned.len(), ADDRESSES_MAX);
    }
}
